"""What Python may call of the load over DEALER sockets: see _dealer.pyx."""

import numpy as np
import numpy.typing as npt
import zmq

class Dealers:
    """Sockets under load."""

    last_xids: list[int]

    def __new__(
        cls, sockets: list[zmq.Socket[bytes]], frame: bytes, window: int, batch: int, samples: npt.NDArray[np.uint64]
    ) -> Dealers: ...
    def run(self, duration_ns: int) -> tuple[int, int, int, int, int]: ...
