"""Credentials and what becomes of them.  Python's face of them is in serve.pyi."""

from fastzk._core.entrance import Entrance

class Credentials(Entrance): ...
