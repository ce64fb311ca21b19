"""Whom a node talks to: the members as its log has them, who was a member of late, and who says that it is one.

Rule: a node that is no member yet, as far as it knows, talks to those of --peers, and for them --peers counts: while it takes over
an old log it meets members as they once were, and must not lose its leader over an address of then.
Rule: a former member is kept for FORMER_MS, since it must hear that it is none any more; so is a node that we have heard of and
that is no member as far as we know: we may be the ones who know too little."""

from __future__ import annotations

from fastzk.config import Address, ConfigError, NodeConfig, parse_address
from fastzk.node.ports import Nodes
from fastzk.node.roster import NOWHERE, Roster
from fastzk.raft.messages import ProtocolError, Range
from fastzk.state.members import Members

FORMER_MS = 30_000


class Contacts:
    """One node's.  Follows the log by way of the roster, and tells the links."""

    def __init__(self, config: NodeConfig, roster: Roster, nodes: Nodes) -> None:
        self._config = config
        self._roster = roster
        self._nodes = nodes
        # Nodes that are no members as far as we know: (address, until when it is kept).
        self._others: dict[int, tuple[Address, int]] = {}
        self._tell()

    @property
    def members(self) -> Members:
        """Those in force."""
        return self._roster.in_force

    @property
    def own(self) -> Address | None:
        """Where this node was told to be reached; None for one that stands alone."""
        return self._config.peers.get(self._config.node_id)

    def log_changed(self, cut: int | None, appended: tuple[Range, ...], now_ms: int) -> None:
        """The log was cut after an index, and has grown by these batches."""
        former = self._roster.in_force
        if cut is not None:
            self._roster.cut(cut)
        for batch in appended:
            self._roster.append(batch)
        if self._roster.in_force is former:
            return
        for each in former.members:
            if self._roster.in_force.get(each.node_id) is None:
                self._others[each.node_id] = (each.address, now_ms + FORMER_MS)
        self._tell()

    def hear(self, sender: int, text: str, now_ms: int) -> None:
        """A node says where it is reached; empty: nowhere.  Raises ProtocolError for what is no address."""
        if not text or sender in self._roster.in_force.addresses:
            return
        try:
            address = parse_address(text, f"node {sender}")
        except ConfigError as error:
            raise ProtocolError(str(error)) from error
        known = self._others.get(sender)
        self._others[sender] = (address, now_ms + FORMER_MS)
        if known is None or known[0] != address:
            self._tell()

    def tick(self, now_ms: int) -> None:
        """Forgets those that were kept for long enough."""
        gone = [node_id for node_id, (_, until_ms) in self._others.items() if now_ms > until_ms]
        for node_id in gone:
            del self._others[node_id]
        if gone:
            self._tell()

    def _tell(self) -> None:
        in_force = self._roster.in_force.addresses
        members = {node_id: address for node_id, address in in_force.items() if address != NOWHERE}
        # What the log says counts, unless we are no member yet; of a member that it does not know how to reach the option tells.
        is_member = self._config.node_id in in_force
        given = {each: where for each, where in self._config.peers.items() if not is_member or in_force.get(each) == NOWHERE}
        others = {node_id: address for node_id, (address, _) in self._others.items()}
        self._nodes.set_addresses({**others, **members, **given})
