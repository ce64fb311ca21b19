# Nothing here is for Python: the tree and the apply path are its callers.
