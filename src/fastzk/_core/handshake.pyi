"""What a new connection may say first.  Nothing of it is for Python: see serve.pyi."""
