"""What Python may call of the native echo server: see _router_echo.pyx."""

from typing import Never

import zmq

class RouterEcho:
    """A bound ROUTER."""

    def __new__(cls, router: zmq.Socket[bytes]) -> RouterEcho: ...
    def serve(self) -> Never: ...
