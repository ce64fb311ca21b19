"""How a connection comes in.  Nothing of it is for Python: see serve.pyi."""

from fastzk._core.slots import Slots

class Entrance(Slots): ...
