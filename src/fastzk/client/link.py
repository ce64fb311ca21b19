"""One connection attempt to one server over ZeroMQ: a DEALER of its own, and a monitor that tells how it fares.

Rule: a link connects once and is thrown away; libzmq never reconnects it, so no message can be lost unseen in between.
Rule: only the client's thread touches it."""

import zmq
from zmq.utils.monitor import parse_monitor_message

from fastzk.client.hosts import Address
from fastzk.client.session import FAREWELL
from fastzk.limits import FAREWELL_MS, MESSAGE_BYTES_MAX

_OVER: dict[int, str] = {
    zmq.EVENT_CLOSED: "could not connect",
    zmq.EVENT_CONNECT_RETRIED: "could not connect",
    zmq.EVENT_DISCONNECTED: "was disconnected",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "does not speak ZeroMQ",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "does not speak ZeroMQ",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "refuses this client",
}
_WATCHED = zmq.EVENT_HANDSHAKE_SUCCEEDED
for _event in _OVER:
    _WATCHED |= _event


class Link:
    """A connection to a server, being made, standing, or over."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", address: Address, attempt: int, connect_s: float) -> None:
        """Starts to connect.  attempt: another for each link of the context.

        Raises zmq.ZMQError when the address makes no sense to libzmq."""
        self.address = address
        connect_ms = int(connect_s * 1000)
        # Moves to True with the ZeroMQ handshake, and back when the connection is over.
        self.is_open = False
        self.socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.CONNECT_TIMEOUT, connect_ms)
        self.socket.setsockopt(zmq.HANDSHAKE_IVL, connect_ms)
        self.socket.setsockopt(zmq.IPV6, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        self.monitor: zmq.Socket[bytes] = self.socket.get_monitor_socket(_WATCHED, f"inproc://monitor-{attempt}")
        self.monitor.linger = 0
        try:
            self.socket.connect(address.endpoint)
        except zmq.ZMQError:
            self.close()
            raise

    def send(self, message: bytes) -> bool:
        """Passes a message on; False when there is no room for it now."""
        try:
            self.socket.send(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def take_news(self) -> tuple[bool, str | None]:
        """Whether the connection has begun to stand since the last time, and why it is over, if it is."""
        is_opened = False
        while True:
            try:
                event = parse_monitor_message(self.monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return is_opened, None
            if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.is_open = is_opened = True
            elif event["event"] in _OVER:
                self.is_open = False
                return is_opened, f"{self.address.endpoint} {_OVER[event['event']]}"

    def close(self) -> None:
        """Ends it, telling the server if it still listens."""
        is_told = self.is_open and self.send(FAREWELL)
        self.is_open = False
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=FAREWELL_MS if is_told else 0)
