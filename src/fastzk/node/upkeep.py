"""What a leader proposes by itself: the removal of containers and TTL znodes whose time is over, and /zookeeper/config.

    reap    each tick a piece of the index is looked through; a whole sweep begins at most once in SWEEP_MS, and minds containers
            once in the configured time, since the next child of one that is empty may be under way
    config  once a second: if the text that the ensemble should have differs from what the znode has

Both are entries without a session, and say what they want, not what to do: each node finds out again, when it applies them, whether
it still holds.  So a proposal that comes late, twice or in vain does no harm; what this file adds is that it happens seldom.
Rules: one round of proposals is under way at most: the next begins when all of the last is applied, or the leader has changed.
Client addresses of nodes that have not said anything yet are taken from the znode, so that a new leader that knows less does
not write less."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from fastzk._core.arena import Arena
from fastzk._core.blocks import make_entry
from fastzk._core.reads import answer
from fastzk.config import Address, ConfigError, NodeConfig, parse_address
from fastzk.defs import OpCode
from fastzk.node.dynamic import client_address, clients_of
from fastzk.state.members import Members
from fastzk.wire.jute import BUFFER, STRING, RecordError, decode_fields, encode_fields

OP_CONFIG, OP_REAP = -14, 20
CONFIG_PATH = b"/zookeeper/config"

SWEEP_MS = 1000
CONFIG_MS = 1000
# Of the index in one tick: about a millisecond where each is a miss of the cache.
BUCKETS_PER_TICK = 8192


class Machine(Protocol):
    """What is asked of the state machine."""

    @property
    def applied_index(self) -> int: ...
    def find_reapable(self, cursor: int, buckets: int, now_ms: int, has_containers: bool) -> tuple[int, list[bytes]]: ...


class Upkeep:
    """One node's; it proposes only while the node leads."""

    def __init__(self, config: NodeConfig, machine: Machine, arena: Arena) -> None:
        self._config = config
        self._machine = machine
        self._arena = arena
        # Where nodes have said that their clients go.
        self._clients: dict[int, Address] = {}
        own = client_address(config)
        if own is not None:
            self._clients[config.node_id] = own
        # Epoch in which the fields below count.
        self._epoch = -1
        # Where the sweep is; a new one begins at 0 when its time has come.
        self._cursor = 0
        self._swept_ms = 0
        self._has_containers = False
        self._containers_ms = 0
        self._configured_ms = 0
        # The log's last index once all of the round is in it: nothing new is proposed before that is applied; 0 = no round.
        self._round_index = 0
        self._is_round_open = False

    def hear_client_address(self, node_id: int, text: str) -> None:
        """Another node has said where its clients go; empty: it does not want that told."""
        try:
            self._clients[node_id] = parse_address(text, "a node's client address")
        except ConfigError:
            self._clients.pop(node_id, None)

    def clients(self) -> Mapping[int, Address]:
        """Where the clients of nodes go, as far as that is known."""
        return self._clients_known(config_text(self._arena))

    def due(self, epoch: int, now_ms: int, wall_ms: int, last_index: int, members: Members | None, *, is_idle: bool) -> list[bytes]:
        """The entries to propose now; for a leader whose epoch has begun, once each tick.

        `members` are those that /zookeeper/config is to tell of, None while they change, or for a node that stands alone;
        `is_idle` says that everything it was asked to propose is in the log, which ends at `last_index`."""
        if epoch != self._epoch:
            self._epoch, self._cursor, self._is_round_open, self._round_index = epoch, 0, False, 0
            self._configured_ms = self._swept_ms = 0
            self._containers_ms = now_ms + self._config.container_check_ms
        if self._is_round_open:
            if not self._round_index:
                self._round_index = last_index if is_idle else 0
            if not self._round_index or self._machine.applied_index < self._round_index:
                return []
            self._is_round_open, self._round_index = False, 0
        entries = [*self._config_due(now_ms, members), *self._reaps_due(now_ms, wall_ms)]
        self._is_round_open = bool(entries)
        return entries

    def _config_due(self, now_ms: int, members: Members | None) -> Iterable[bytes]:
        if members is None or now_ms < self._configured_ms:
            return
        self._configured_ms = now_ms + CONFIG_MS
        present = config_text(self._arena)
        text = members.zookeeper_text(self._clients_known(present))
        if text != present:
            yield make_entry(OP_CONFIG, text.encode())

    def _clients_known(self, present: str) -> Mapping[int, Address]:
        return {**clients_of(present), **self._clients}

    def _reaps_due(self, now_ms: int, wall_ms: int) -> Iterable[bytes]:
        if self._cursor == 0:
            if now_ms < self._swept_ms:
                return
            self._swept_ms = now_ms + SWEEP_MS
            self._has_containers = now_ms >= self._containers_ms
            if self._has_containers:
                self._containers_ms = now_ms + self._config.container_check_ms
        self._cursor, paths = self._machine.find_reapable(self._cursor, BUCKETS_PER_TICK, wall_ms, self._has_containers)
        for path in paths:
            yield make_entry(OP_REAP, encode_fields([STRING], [path.decode()]))


def config_text(arena: Arena) -> str:
    """What /zookeeper/config holds."""
    err, _, body = answer(arena, OpCode.GET_DATA, CONFIG_PATH)
    if err:
        return ""
    try:
        (data,), _ = decode_fields([BUFFER], body)
    except RecordError as error:
        raise AssertionError(f"our own reply makes no sense: {error}") from error
    return data.decode(errors="replace") if data else ""
