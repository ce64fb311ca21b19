# Nothing here is for Python: what the machine notes of the digest.
