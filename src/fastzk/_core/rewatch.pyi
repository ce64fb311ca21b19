"""setWatches.  Nothing of it is for Python: see serve.pyi."""
