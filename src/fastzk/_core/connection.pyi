"""One client connection.  Nothing of it is for Python: see serve.pyi."""
