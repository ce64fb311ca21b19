"""How many connections each address has.  Nothing of it is for Python: see serve.pyi."""
