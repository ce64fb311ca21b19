"""What a session that is not in the log may not do.  Nothing of it is for Python: see serve.pyi."""
