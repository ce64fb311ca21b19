"""Who a connection is.  Nothing of it is for Python: see serve.pyi."""
