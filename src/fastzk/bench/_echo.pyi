"""What Python may call of the echo server: see _echo.pyx."""

from typing import Never

GET_DATA_REPLY_BYTES: int

class Echo:
    """A listening socket, and the connections that came to it."""

    def __new__(cls, listener: int) -> Echo: ...
    def serve(self) -> Never: ...
