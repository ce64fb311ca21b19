"""The requests of a worker's connections.  Python's face of them is in serve.pyi."""

from fastzk._core.credentials import Credentials

class Requests(Credentials): ...
