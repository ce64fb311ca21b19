# Nothing here is for Python: the apply path is its only caller.
