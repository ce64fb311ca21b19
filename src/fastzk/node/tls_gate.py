"""The TLS gate: the process behind --zk-tls.  It ends the encryption and hands the bytes on to the node's workers, as they are.

    client == TLS ==> gate -- DATA/run/gate-PLACE (Unix socket) --> worker: one connection for each client
                                introduction: int length | string address | int port | vector<Id>     then the client's bytes

The introduction says to the worker for whom the connection speaks: the client's address, and the name in its certificate
(certificates.py), if it gave one, as an identity of scheme x509.  Then the worker serves it like any other, four-letter words
included.  A connection goes to the worker that has the fewest.

Rules: the worker's socket lies in a directory that is the owner's only, and a worker believes who connects there.  Nothing is
queued beyond BUFFER_BYTES on either side: who does not read stops the other's reading.  A handshake has HANDSHAKE_S and one of
HANDSHAKES_MAX places; what comes after it is the worker's business, which cuts who says nothing for 10 s.
Certificates that change on disk are read anew within a second, for new connections; what cannot be read leaves the old in use."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from fastzk.config import TlsConfig
from fastzk.data import Id
from fastzk.node.certificates import subject_name
from fastzk.node.stats import StatsPage
from fastzk.node.tls_context import CertificateFiles
from fastzk.wire.frames import frame
from fastzk.wire.jute import IDS, INT, STRING, encode_fields

HANDSHAKE_S = 10.0
SHUTDOWN_S = 2.0  # for the client's last word of TLS
HANDSHAKES_MAX = 512
HANDSHAKES_PER_ADDRESS_MAX = 64  # so that one who hangs does not take all places
BUFFER_BYTES = 256 << 10
RELOAD_S = 1.0
ACCEPTS_MAX = 64
END_S = 1.0
# No descriptor is left: so long is nobody let in.
EXHAUSTED_S = 0.5

logger = logging.getLogger("fastzk.gate")


@dataclass(frozen=True, slots=True)
class GateConfig:
    """What the supervisor hands to the gate; descriptors are inherited."""

    tls: TlsConfig
    listen_fd: int
    worker_paths: list[str]  # of the workers' sockets, by place
    stats_fd: int


def run_gate(config: GateConfig) -> None:
    """Serves until SIGTERM.  Raises ConfigError when the certificates cannot be used."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it would tell each client's mistakes with a stack
    asyncio.run(Gate(config).run())


class Gate:
    """All connections of one gate."""

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._files = CertificateFiles(config.tls)
        self._stats = StatsPage(config.stats_fd)
        self._listener = socket.socket(fileno=config.listen_fd)
        self._listener.setblocking(False)
        self._handshakes: Counter[str] = Counter()
        self._handshake_count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._places: Counter[int] = Counter()  # connections by the place of their worker
        self._clients: dict[_Client, None] = {}
        self._refused = 0
        self._complained = 0

    async def run(self) -> None:
        """Runs until SIGTERM; connections get a moment to be ended by their workers."""
        loop = asyncio.get_running_loop()
        ending = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ending.set)
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # the supervisor says when to end
        self._listen(True)
        self._start(self._reload())
        await ending.wait()
        self._listen(False)
        deadline_s = loop.time() + END_S
        while self._clients and loop.time() < deadline_s:
            await asyncio.sleep(0.01)
        for task in list(self._tasks):
            task.cancel()
        for client in list(self._clients):
            client.abort()

    def _listen(self, wanted: bool) -> None:
        loop = asyncio.get_running_loop()
        if wanted:
            loop.add_reader(self._listener, self._accept)
        else:
            loop.remove_reader(self._listener)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_S)
            self._files.look()
            self._tell()

    # --- clients

    def _accept(self) -> None:
        for _ in range(ACCEPTS_MAX):
            try:
                client, peer = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors are left, most likely: it would stay ready and spin
                logger.warning("nobody is let in for %.1f s: %s", EXHAUSTED_S, error.strerror)
                self._listen(False)
                asyncio.get_running_loop().call_later(EXHAUSTED_S, self._listen, True)
                return
            address = str(peer[0])
            if self._handshake_count >= HANDSHAKES_MAX or self._handshakes[address] >= HANDSHAKES_PER_ADDRESS_MAX:
                self._refused += 1
                client.close()
                continue
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._let_in(client, address, int(peer[1])))

    async def _let_in(self, sock: socket.socket, address: str, port: int) -> None:
        """Shakes hands with a client; from then on _Client and _Worker move its bytes."""
        self._handshakes[address] += 1
        self._handshake_count += 1
        self._tell()
        client = _Client(self, address, port)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: client, sock, ssl=self._files.context, ssl_handshake_timeout=HANDSHAKE_S, ssl_shutdown_timeout=SHUTDOWN_S
            )
        except (OSError, ssl.SSLError) as error:  # timeouts and resets are OSErrors
            self._complain(address, error)
            sock.close()
            return
        finally:
            self._handshake_count -= 1
            self._handshakes[address] -= 1
            if not self._handshakes[address]:
                del self._handshakes[address]
            self._tell()
        await self._connect(client)

    async def _connect(self, client: _Client) -> None:
        place = self._least_loaded()
        self._places[place] += 1
        client.place = place
        try:
            introduction = client.introduction()
            worker = _Worker(client)
            await asyncio.get_running_loop().create_unix_connection(lambda: worker, self._config.worker_paths[place])
        except (OSError, ValueError) as error:
            logger.warning("a client at %s cannot be handed to worker %d: %s", client.address, place + 1, error)
            client.abort()
            return
        client.join(worker, introduction)

    def _least_loaded(self) -> int:
        """The place whose worker has the fewest connections, the gate's own counted as they are now."""
        places = range(len(self._config.worker_paths))
        return min(places, key=lambda place: (max(self._stats.worker(place)["connections"], self._places[place]), place))

    def came(self, client: _Client) -> None:
        """A client has shaken hands."""
        self._clients[client] = None

    def went(self, client: _Client) -> None:
        """A client's connection is over."""
        self._clients.pop(client, None)
        if client.place >= 0:
            self._places[client.place] -= 1

    # --- what people are told

    def _tell(self) -> None:
        values = {"tls_handshakes": self._handshake_count, "tls_connections": len(self._clients), "tls_refused": self._refused}
        self._stats.tell_gate(values)

    def _complain(self, address: str, error: Exception) -> None:
        """Logs a handshake that failed: the first ten, then each thousandth."""
        self._complained += 1
        if self._complained <= 10 or self._complained % 1000 == 0:
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            logger.warning("no TLS with a client at %s: %s (%d so far)", address, reason, self._complained)


class _Side(asyncio.Protocol):
    """One side of a connection: what arrives here leaves on the other side."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self._is_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "streams only"
        self.transport = transport
        transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        other = self.other
        if other is not None and other.transport is not None and not other.transport.is_closing():
            other.transport.write(data)

    def eof_received(self) -> bool:
        """Its end is told to the other side; a worker still answers what it has, and then closes."""
        other = self.other
        if other is not None and other.transport is not None and other.transport.can_write_eof():
            other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        self._is_full = True
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_full = False
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        other, self.other = self.other, None
        if other is not None:
            other.other = None
            if other.transport is not None:
                other.transport.close()

    def abort(self) -> None:
        """Cuts the connection, sent or not."""
        if self.transport is not None:
            self.transport.abort()


class _Client(_Side):
    """The side of TLS."""

    def __init__(self, gate: Gate, address: str, port: int) -> None:
        super().__init__()
        self.address = address
        self.port = port
        self.place = -1  # of its worker
        self._gate = gate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None, "just made"
        self.transport.pause_reading()  # until there is a worker to take it
        self._gate.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gate.went(self)

    def introduction(self) -> bytes:
        """What the worker is told first.  Raises ValueError for a certificate whose name makes no sense."""
        assert self.transport is not None, "after the handshake"
        tls = self.transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True)
        identities = [Id("x509", subject_name(certificate))] if certificate else []
        return frame(encode_fields([STRING, INT, IDS], [self.address, self.port, identities]))

    def join(self, worker: _Worker, introduction: bytes) -> None:
        """From now on what one side says is said to the other."""
        assert worker.transport is not None, "connected"
        if self.transport is None or self.transport.is_closing():
            worker.transport.abort()
            return
        self.other, worker.other = worker, self
        worker.transport.write(introduction)
        worker.transport.resume_reading()
        self.transport.resume_reading()


class _Worker(_Side):
    """The side of the worker."""

    def __init__(self, client: _Client) -> None:
        super().__init__()
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None, "just made"
        self.transport.pause_reading()  # until the client's side knows it

    def eof_received(self) -> bool:
        return False  # it closes; what it said before still goes to the client
