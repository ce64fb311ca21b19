"""A small server of ZooKeeper's protocol, or of the native one, in plain Python, that judges what a load asks: each request must
be a whole record of its kind, a create new and a delete of something that is there.  On request it answers wrongly, late, or not
at all."""

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import zmq

from fastzk.bench.connections import receive_frame
from fastzk.wire.frames import frame, split_message
from fastzk.wire.records import decode_request

Address = tuple[str, int]
GREETED = struct.pack(">iiqi16s?", 0, 30000, 1, 16, bytes(16), False)
CREATE, DELETE, GET, SET, MULTI, CLOSE = 1, 2, 4, 5, 14, -11


@dataclass
class Manners:
    """How a judge behaves: towards reads and sets of keys only, so that preparing succeeds."""

    err: int = 0
    xid_shift: int = 0
    closes_after: int = 0  # getData on a connection; 0: never
    pauses_after: int = 0
    pause_s: float = 0.0
    has_session: bool = True
    on_get: Callable[[int], None] = lambda count: None


@dataclass
class Judge:
    """What all connections have asked."""

    manners: Manners
    address: Address = ("", 0)
    connections: int = 0
    asked: Counter[int] = field(default_factory=Counter)  # by operation, the preparing's too
    read: Counter[str] = field(default_factory=Counter)  # getData, by path
    messages: Counter[int] = field(default_factory=Counter)  # of the native protocol, by the frames in them
    znodes: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, stream: socket.socket) -> None:
        """One connection."""
        with stream, contextlib.suppress(ConnectionError):
            receive_frame(stream)
            if not self.manners.has_session:
                return
            self.answer(stream, GREETED)
            zxid, op, gets = 0, 0, 0
            while op != CLOSE:
                payload = receive_frame(stream)
                xid, op = struct.unpack_from(">ii", payload)
                gets += op == GET
                err, shift = self.judge(op, payload, gets)
                if gets and gets == self.manners.closes_after:
                    return
                zxid += 1
                self.answer(stream, struct.pack(">iqi", xid + shift, zxid, err) + bytes(68))

    def serve_message(self, greeted: dict[bytes, Counter[int]], client: bytes, message: bytes) -> bytes | None:
        """One message over ZeroMQ; gives the answer, empty for a goodbye and None for none."""
        if not message:
            greeted.pop(client, None)
            return None
        requests = split_message(message, 1 << 20)
        if client not in greeted:
            self.connections += 1
            greeted[client] = Counter()
            return frame(GREETED)
        self.messages[len(requests)] += 1
        replies = []
        for payload in requests:
            xid, op = struct.unpack_from(">ii", payload)
            greeted[client][op] += 1
            err, shift = self.judge(op, payload, greeted[client][GET])
            if greeted[client][GET] and greeted[client][GET] == self.manners.closes_after:
                return b""
            replies.append(frame(struct.pack(">iqi", xid + shift, greeted[client].total(), err) + bytes(68)))
        return b"".join(replies)

    def judge(self, op: int, payload: bytes, gets: int) -> tuple[int, int]:
        """Remembers and checks a request; gives the error and what is added to the xid."""
        request = decode_request(op, payload, 8)
        with self.lock:
            self.asked[op] += 1
            if op == CREATE:
                err = -110 if request.path in self.znodes else 0
                self.znodes.add(request.path)
                return err, 0
            if op == DELETE:
                assert request.path in self.znodes, f"{request.path} was not there"
                self.znodes.remove(request.path)
                return 0, 0
            if op == GET:
                self.read[request.path] += 1
        if op == GET:
            self.manners.on_get(gets)
            if gets == self.manners.pauses_after:
                threading.Event().wait(self.manners.pause_s)
        return (self.manners.err, self.manners.xid_shift) if op in (GET, SET) else (0, 0)

    def answer(self, stream: socket.socket, payload: bytes) -> None:
        """Sends a frame."""
        stream.sendall(struct.pack(">i", len(payload)) + payload)


@contextlib.contextmanager
def judging(**manners: object) -> Iterator[Judge]:
    """A listening socket whose connections are judged, each by a thread."""
    judge = Judge(Manners(**manners))  # type: ignore[arg-type]
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        judge.address = listener.getsockname()

        def accept() -> None:
            while True:
                try:
                    stream, _ = listener.accept()
                except OSError:
                    return
                judge.connections += 1
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threads.append(threading.Thread(target=judge.serve, args=(stream,), daemon=True))
                threads[-1].start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield judge
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    acceptor.join()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def judging_natively(**manners: object) -> Iterator[Judge]:
    """The same behind a ROUTER, in one thread."""
    judge = Judge(Manners(**manners))  # type: ignore[arg-type]
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.PAIR) as end:
        router.linger = 0
        port = router.bind_to_random_port("tcp://127.0.0.1")
        judge.address = ("127.0.0.1", port)
        end.bind("inproc://end")

        def serve() -> None:
            greeted: dict[bytes, Counter[int]] = {}
            with context.socket(zmq.PAIR) as ended:
                ended.connect("inproc://end")
                while not ended.poll(0):
                    if router.poll(10):
                        client, message = router.recv_multipart()
                        answer = judge.serve_message(greeted, client, message)
                        if answer is not None:
                            router.send_multipart([client, answer])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield judge
        finally:
            end.send(b"")
            thread.join()
