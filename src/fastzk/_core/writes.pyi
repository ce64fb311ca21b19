# Nothing here is for Python: apply.pyx is its only caller.
