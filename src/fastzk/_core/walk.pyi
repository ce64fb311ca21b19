# Nothing here is for Python: walks over many znodes, for the read path.
