"""The links between this node's engine and the other nodes' engines, over ZeroMQ.

Each node binds one ROUTER and connects one DEALER to every other node; what it says goes out through its DEALER, what it hears
comes in through its ROUTER.  Each message begins with a head part:

    u16 magic 'fz'  u8 version  u8 spare  u32 sender  u64 uid  u64 history  u64 incarnation  u64 sequence   (little-endian)

ZeroMQ reconnects by itself and may then lose messages, or deliver late ones: `incarnation` is random per process start and
`sequence` counts 1, 2, 3... per link, so a hole is seen (`holes`) and an echo of an older life is dropped.  Raft needs neither;
forwarded writes do, to be sent again at once rather than after a timeout.
`uid` is the sender's data directory's: while one node of a number is alive, another that calls itself so is not listened to.
`history` tells ensembles apart (storage/history.py); 0 is not known yet, and fits any.
Who the members are may change: set_addresses() says whom to talk to.  Anybody with our history is listened to, too: a node
that was away while the members changed hears of it from nodes that it does not know yet.
Rule: nothing waits here.  A message to a node that is not connected, or is too far behind, is dropped: ZMQ_IMMEDIATE keeps none
for later, and the consensus above repeats what matters.
Rule: routing ids are not trusted, the head is; who may connect is limited by the loopback rule (config.py)."""

from __future__ import annotations

import ctypes
import logging
import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence

import zmq

from fastzk import limits
from fastzk.config import Address
from fastzk.transport.inbound import HEARD_S, Heard, Inbound

HEAD = struct.Struct("<HBBIQQQQ")
# With any domain set, libzmq closes peers that speak ZMTP 1 or 2 (there is no handler, so nobody else is asked).  Without,
# it takes whatever does not begin like ZMTP, an HTTP request for example, for ZMTP 1, and keeps the connection for ever.
ZMTP_3_ONLY = "fastzk"
MAGIC = 0x7A66
VERSION = 3
NODE_ID_MAX = 254

logger = logging.getLogger("fastzk.links")


class Links:
    """All links of one node.  `socket_fd` is the listening socket of its ensemble address; what is to be waited for is
    registered with `poller`."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        node_id: int,
        peers: Mapping[int, Address],
        socket_fd: int,
        incarnation: int,
        poller: zmq.Poller,
        *,
        uid: int,
    ) -> None:
        self._context = context
        self.poller = poller
        self._node_id = node_id
        self._uid = uid
        # This node's; set when it becomes known.
        self.history = 0
        self._incarnation = incarnation
        # Sequence of the last message to each node, kept while it is no member: to it we are the same all along.
        self._sequence: dict[int, int] = {}
        self._inbound: dict[int, Inbound] = {}
        # Nodes whose link was closed by them since the last take_lost(): a killed process closes its sockets at once.
        self._lost: dict[int, None] = {}
        # Nodes from which a message is missing since the last take_holes().
        self._holes: dict[int, None] = {}
        self._complained = 0
        # Nodes that are no members and have said something, as a node does that is to be added.
        self._knocked: set[int] = set()
        # libzmq numbers its peers from rand(), which it does not seed, and aborts when a stranger has claimed the next number.
        ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))
        self.router = context.socket(zmq.ROUTER)
        self.router.setsockopt(zmq.LINGER, 0)
        self.router.setsockopt(zmq.IPV6, 1)
        self.router.setsockopt_string(zmq.ZAP_DOMAIN, ZMTP_3_ONLY)
        self.router.setsockopt(zmq.MAXMSGSIZE, limits.LINK_MESSAGE_BYTES_MAX)
        self.router.setsockopt(zmq.HANDSHAKE_IVL, 5000)
        self.router.setsockopt(zmq.RCVHWM, 10_000)
        self.router.setsockopt(zmq.USE_FD, socket_fd)
        self.router.bind(f"tcp://{peers[node_id]}")
        poller.register(self.router, zmq.POLLIN)
        self._addresses: dict[int, Address] = {}
        self._dealers: dict[int, zmq.Socket[bytes]] = {}
        self._monitors: dict[int, zmq.Socket[bytes]] = {}
        self.set_addresses(peers)

    def set_addresses(self, addresses: Mapping[int, Address]) -> None:
        """From now on these are the nodes to talk to; this one's own address may be among them."""
        for peer in [peer for peer, address in self._addresses.items() if addresses.get(peer) != address]:
            self._disconnect(peer)
        for peer, address in addresses.items():
            if peer != self._node_id and peer not in self._dealers:
                self._connect(peer, address)

    def _connect(self, peer: int, address: Address) -> None:
        dealer = self._context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.IPV6, 1)
        dealer.setsockopt(zmq.IMMEDIATE, 1)
        dealer.setsockopt(zmq.RECONNECT_IVL, 20)
        dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        dealer.setsockopt(zmq.HANDSHAKE_IVL, 5000)
        dealer.setsockopt(zmq.CONNECT_TIMEOUT, limits.LINK_CONNECT_MS_MAX)
        # A cut that is healed must be noticed: TCP itself would try again only after as long as the cut has lasted.
        dealer.setsockopt(zmq.HEARTBEAT_IVL, limits.LINK_PING_MS)
        dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, limits.LINK_SILENCE_MS_MAX)
        dealer.setsockopt(zmq.HEARTBEAT_TTL, limits.LINK_SILENCE_MS_MAX)
        dealer.setsockopt(zmq.SNDHWM, 10_000)
        self._monitors[peer] = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.poller.register(self._monitors[peer], zmq.POLLIN)
        dealer.connect(f"tcp://{address}")
        self._dealers[peer] = dealer
        self._addresses[peer] = address

    def _disconnect(self, peer: int) -> None:
        dealer, monitor = self._dealers.pop(peer), self._monitors.pop(peer)
        del self._addresses[peer]
        self.poller.unregister(monitor)
        dealer.disable_monitor()
        monitor.close(linger=0)
        dealer.close()

    def send(self, peer: int, parts: Sequence[bytes]) -> bool:
        """Sends to a node; False when the message was dropped: it cannot leave now, or we do not know where that node is."""
        if peer not in self._dealers:
            return False
        sequence = self._sequence.get(peer, 0) + 1
        head = HEAD.pack(MAGIC, VERSION, 0, self._node_id, self._uid, self.history, self._incarnation, sequence)
        try:
            self._dealers[peer].send_multipart([head, *parts], zmq.NOBLOCK, copy=True)
        except zmq.Again:
            return False
        self._sequence[peer] = sequence
        return True

    def send_all(self, parts: Sequence[bytes]) -> None:
        """Sends to every other node; it does not matter whether it arrives."""
        for peer in self._dealers:
            self.send(peer, parts)

    def receive(self) -> Iterator[tuple[int, list[bytes]]]:
        """(sender, parts) of what has arrived, at most a turn's worth."""
        for _ in range(limits.MESSAGES_PER_TURN_MAX):
            try:
                message = self.router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            sender = self._accept(message)
            if sender:
                yield sender, message[2:]

    def watch(self) -> None:
        """Takes in what the monitors report: links that other nodes closed."""
        for peer, monitor in self._monitors.items():
            while int(monitor.get(zmq.EVENTS)) & zmq.POLLIN:
                monitor.recv_multipart(zmq.NOBLOCK)
                self._lost[peer] = None
                if peer in self._inbound:
                    self._inbound[peer].close()

    def take_lost(self) -> list[int]:
        """Nodes that closed their link since the last call."""
        lost = list(self._lost)
        self._lost.clear()
        return lost

    def take_holes(self) -> list[int]:
        """Nodes from which at least one message was lost since the last call."""
        holes = list(self._holes)
        self._holes.clear()
        return holes

    def heard(self) -> list[int]:
        """Nodes that have said something in the last HEARD_S: they say that they are there each second."""
        now_s = time.monotonic()
        return [peer for peer, inbound in self._inbound.items() if inbound.uid and now_s - inbound.heard_s < HEARD_S]

    def close(self) -> None:
        """Closes every socket; nothing more can be sent or received."""
        for peer in list(self._dealers):
            self._disconnect(peer)
        self.poller.unregister(self.router)
        self.router.close()

    def complain(self, sender: object, reason: object) -> None:
        """Logs bytes that make no sense: the first ten, then each thousandth."""
        self._complained += 1
        if self._complained <= 10 or self._complained % 1000 == 0:
            logger.warning("dropped a message on the ensemble port, from %s: %s (%d so far)", sender, reason, self._complained)

    def _accept(self, message: Sequence[bytes]) -> int:
        """The sender of a message whose head is good and new, else 0."""
        if len(message) < 3 or len(message[1]) != HEAD.size:
            self.complain("somebody", f"{len(message)} parts, and no head of {HEAD.size} bytes")
            return 0
        magic, version, _, sender, uid, history, incarnation, sequence = HEAD.unpack(message[1])
        if magic != MAGIC or version != VERSION or not 1 <= sender <= NODE_ID_MAX or sender == self._node_id:
            self.complain(f"node {sender}", f"magic {magic:#x}, version {version}: not a node of this ensemble and version")
            return 0
        if self.history and history and history != self.history:
            self.complain(f"node {sender}", f"its data is of another ensemble: history {history:016x}, ours {self.history:016x}")
            return 0
        if sender not in self._addresses and self.history != history:
            if sender not in self._knocked:
                self._knocked.add(int(sender))
                logger.info("node %d knocks, and is no member: it is heard once it is added (reconfig)", sender)
            return 0
        inbound = self._inbound.setdefault(int(sender), Inbound())
        found = inbound.hear(uid, incarnation, sequence, time.monotonic())
        if found is Heard.STRANGER:
            what = f"two nodes call themselves {sender}: data directory {uid:016x}, and {inbound.uid:016x}, which is listened to"
            self.complain(f"node {sender}", what)
        elif found is Heard.BEHIND_A_HOLE:
            self._holes[sender] = None
        return int(sender) if found in (Heard.NEXT, Heard.BEHIND_A_HOLE) else 0
