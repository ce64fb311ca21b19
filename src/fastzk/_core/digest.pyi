# Nothing here is for Python: tree.digest() asks for it.
