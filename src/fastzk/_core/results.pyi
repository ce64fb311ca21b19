# Nothing here is for Python: the session table and the apply path are its callers.
