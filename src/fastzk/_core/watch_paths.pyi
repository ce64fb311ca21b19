"""The paths that somebody watches.  Nothing of it is for Python: see watches.pyi."""
