"""Plays a story with an ensemble, command by command, and tells what each command caused.

Rule: nothing happens but what a command says: no time passes, nothing is delivered or synced by itself.

    nodes 3 [observers=1] [spare=1] [election=10] [limit=value ...]    a new ensemble; a limit is a field of raft's Limits;
                           a spare node is not of it and knows of nobody
    elect 1                all forget the leader they had, node 1 is elected, and everything settles; not told
    elect 1 by 2 3         the same with the votes of these, and nothing else happens
    timeout 1              ticks node 1 until it asks for votes
    tick 1 [5]             ticks node 1 once, or so often
    propose 1 3 [text]     node 1 proposes a range of 3 entries
    change 1 2,3 [observers=4] [old=1,2]    node 1 proposes the membership of these voters
    transfer 1 [3]         node 1 begins to make node 3 the leader, or whoever is most advanced
    turn 1                 node 1 does what its Ready says; its messages wait
    deliver [to=2] [from=1]     hands over the waiting messages, of which these are meant
    drop [to=2] [from=1]        loses them
    repeat [to=2] [from=1]      hands them over, and keeps them too
    sync 1                 node 1's disk finishes its work and reports it
    late 1                 the same, but the report waits until "report 1"
    stabilize [1 2]        turns, syncs and deliveries among these nodes (or all) until nothing is left to do
    cut 3                  whatever is sent to or from node 3 is lost from now on; "mend" ends it
    lost 1 2               node 1 sees its link to node 2 closed
    crash 1                node 1 loses what it has not synced; restart 1
    wipe 3                 node 3 crashes and gets a new disk, so it is not sound when it starts again
    sound 3                node 3 has applied the entry of its rejoining, the last thing it has applied
    compact 1 5            node 1's log begins behind its snapshot of entry 5
    install 3 1            node 3 restarts with a snapshot of where node 1's log begins
    log                    every node's log and positions
"""

from collections.abc import Callable
from random import Random

from fastzk.raft.peer import (
    Busy,
    ChangePending,
    EpochFull,
    Limits,
    Membership,
    Message,
    NotLeader,
    Peer,
    ProtocolError,
    Range,
    Ready,
    Role,
)
from fastzk.testing.raft_words import short
from fastzk.testing.range_disk import RangeDisk, Report

STABILIZE_ROUNDS_MAX = 200
ELECT_ROUNDS_MAX = 10


class RaftScript:
    """One story."""

    def __init__(self) -> None:
        self.peers: dict[int, Peer] = {}
        self.disks: dict[int, RangeDisk] = {}
        self._mail: list[tuple[int, int, Message]] = []
        self._reports: dict[int, list[Report]] = {}
        self._cut: dict[int, bool] = {}
        self._lines: list[str] = []
        self._election_ticks = 10
        self._limits = Limits()

    def run(self, command: str) -> str:
        """Obeys one command; returns what it caused, line by line, or "ok"."""
        self._lines = []
        name, *words = command.split()
        handler: Callable[[list[str]], None] | None = getattr(self, f"_do_{name}", None)
        if handler is None:
            raise ValueError(f"no command {name!r}")
        handler(words)
        return "\n".join(self._lines) or "ok"

    def obey(self, node_id: int) -> bool:
        """One turn of a node.  False if it had nothing to do."""
        ready = self.peers[node_id].ready()
        if ready is None:
            return False
        self._tell(node_id, ready)
        disk = self.disks[node_id]
        if ready.hard_state is not None:
            disk.hard_state = ready.hard_state
        if ready.is_new_leader:
            self._propose(node_id, 1, b"epoch")
        disk.order(ready.truncate_after, ready.append, ready.generation)
        for receiver, message in ready.messages:
            if node_id not in self._cut and receiver not in self._cut:
                self._mail.append((node_id, receiver, message))
        for entries in ready.committed:
            self.peers[node_id].applied(entries.last_index)
        return True

    # The commands.

    def _do_nodes(self, words: list[str]) -> None:
        options = dict(word.split("=") for word in words[1:])
        count, observers = int(words[0]), int(options.pop("observers", "0"))
        spare = int(options.pop("spare", "0"))
        self._election_ticks = int(options.pop("election", "10"))
        self._limits = Limits(**{name: int(value) for name, value in options.items()})
        members = range(1, count + observers + 1)
        self._membership = Membership(tuple(members[:count]), tuple(members[count:]))
        for node_id in range(1, count + observers + spare + 1):
            self.disks[node_id] = RangeDisk(self._membership)
            self._do_restart([str(node_id)])

    def _do_restart(self, words: list[str]) -> None:
        node_id = int(words[0])
        epoch, vote = self.disks[node_id].hard_state
        self._reports[node_id] = []
        self.peers[node_id] = Peer(
            node_id,
            self.disks[node_id].start.membership,
            log=self.disks[node_id],
            epoch=epoch,
            vote=vote,
            is_sound=self.disks[node_id].is_sound,
            random=Random(node_id),
            election_ticks=self._election_ticks,
            limits=self._limits,
        )

    def _do_crash(self, words: list[str]) -> None:
        node_id = int(words[0])
        del self.peers[node_id]
        lost = self.disks[node_id].crash(None)
        self._lines.append(f"{node_id} crashes and loses {lost} orders; its disk ends at {self.disks[node_id].last_index}")

    def _do_timeout(self, words: list[str]) -> None:
        peer = self.peers[int(words[0])]
        while peer.role is Role.FOLLOWER:
            peer.tick()

    def _do_elect(self, words: list[str]) -> None:
        node_id = int(words[0])
        voters = [int(word) for word in words[2:]] or [other for other in sorted(self.peers) if other != node_id]
        for voter in voters:
            self._do_tick([str(voter), str(self._election_ticks)])
            self.obey(voter)
        self._mail.clear()
        for _ in range(ELECT_ROUNDS_MAX):
            if self.peers[node_id].role is Role.LEADER:
                break
            # It asks again when it has learned of a later epoch.
            self._do_timeout(words[:1])
            self.obey(node_id)
            for voter in voters:
                self._do_deliver([f"from={node_id}", f"to={voter}"])
                self.obey(voter)
                self._do_deliver([f"from={voter}", f"to={node_id}"])
        assert self.peers[node_id].role is Role.LEADER, f"node {node_id} is not elected by {voters}"
        self._mail.clear()
        if len(words) == 1:
            self._do_stabilize([])
        self._lines = [f"{node_id} is leader in {self.peers[node_id].epoch}"]

    def _do_tick(self, words: list[str]) -> None:
        for _ in range(int(words[1]) if len(words) > 1 else 1):
            self.peers[int(words[0])].tick()

    def _do_propose(self, words: list[str]) -> None:
        self._propose(int(words[0]), int(words[1]), " ".join(words[2:]).encode())

    def _do_turn(self, words: list[str]) -> None:
        self.obey(int(words[0]))

    def _do_deliver(self, words: list[str]) -> None:
        for sender, receiver, message in self._take(words):
            self._hand_over(sender, receiver, message)

    def _do_drop(self, words: list[str]) -> None:
        for _, receiver, message in self._take(words):
            self._lines.append(f"{receiver} never gets {short(message)}")

    def _do_repeat(self, words: list[str]) -> None:
        taken = self._take(words)
        for sender, receiver, message in taken:
            self._hand_over(sender, receiver, message)
        self._mail.extend(taken)

    def _do_sync(self, words: list[str]) -> None:
        self._do_late(words)
        self._do_report(words)

    def _do_late(self, words: list[str]) -> None:
        node_id = int(words[0])
        disk = self.disks[node_id]
        while disk.begin_sync():
            report = disk.end_sync()
            if report is not None:
                self._reports[node_id].append(report)

    def _do_report(self, words: list[str]) -> None:
        node_id = int(words[0])
        for last_index, epoch, generation in self._reports[node_id]:
            self._lines.append(f"{node_id} synced {last_index}@{epoch}")
            self.peers[node_id].synced(last_index, epoch, generation)
        self._reports[node_id].clear()

    def _do_stabilize(self, words: list[str]) -> None:
        nodes = [int(word) for word in words] or sorted(self.peers)
        for _ in range(STABILIZE_ROUNDS_MAX):
            is_busy = False
            for node_id in nodes:
                is_busy |= self.obey(node_id)
            for node_id in nodes:
                before = len(self._lines)
                self._do_sync([str(node_id)])
                is_busy |= len(self._lines) > before
            meant = [mail for mail in self._mail if mail[0] in nodes and mail[1] in nodes]
            self._mail = [mail for mail in self._mail if mail not in meant]
            for sender, receiver, message in meant:
                self._hand_over(sender, receiver, message)
            if not is_busy and not meant:
                return
        raise AssertionError(f"nodes {nodes} find no rest in {STABILIZE_ROUNDS_MAX} rounds")

    def _do_change(self, words: list[str]) -> None:
        options = dict(word.split("=") for word in words[2:])
        groups = [words[1], options.get("observers", ""), options.get("old", "")]
        membership = Membership(*(tuple(int(number) for number in group.split(",") if number) for group in groups))
        self._propose(int(words[0]), 1, b"members", membership)

    def _do_transfer(self, words: list[str]) -> None:
        to = int(words[1]) if len(words) > 1 else None
        if not self.peers[int(words[0])].transfer(to):
            self._lines.append(f"{words[0]} cannot")

    def _do_wipe(self, words: list[str]) -> None:
        self._do_crash(words)
        self.disks[int(words[0])] = self.disks[int(words[0])].wiped(self._membership)

    def _do_sound(self, words: list[str]) -> None:
        peer = self.peers[int(words[0])]
        peer.become_sound(peer.applied_index, peer.epoch_at(peer.applied_index) or 0)
        self.disks[int(words[0])].is_sound = True

    def _do_compact(self, words: list[str]) -> None:
        node_id = int(words[0])
        self.disks[node_id].compact(int(words[1]))
        self.peers[node_id].purged()

    def _do_install(self, words: list[str]) -> None:
        node_id = int(words[0])
        if node_id in self.peers:
            self._do_crash(words[:1])
        self.disks[node_id].install(self.disks[int(words[1])].start)
        self._do_restart(words[:1])

    def _do_cut(self, words: list[str]) -> None:
        self._cut.update((int(word), True) for word in words)
        self._mail = [mail for mail in self._mail if mail[0] not in self._cut and mail[1] not in self._cut]

    def _do_mend(self, words: list[str]) -> None:
        self._cut.clear()

    def _do_lost(self, words: list[str]) -> None:
        self.peers[int(words[0])].peer_lost(int(words[1]))

    def _do_log(self, words: list[str]) -> None:
        for node_id, peer in sorted(self.peers.items()):
            ranges = [*self.disks[node_id].ranges()]
            stored = " ".join(f"{entries.first_index}..{entries.last_index}@{entries.epoch}" for entries in ranges)
            role = f"{peer.role.value} in {peer.epoch}"
            places = f"last {peer.last_index} synced {peer.synced_index} committed {peer.committed_index}"
            self._lines.append(f"{node_id} {role}, {places}, disk [{stored}]")

    # What they share.

    def _propose(self, node_id: int, count: int, payload: bytes, membership: Membership | None = None) -> None:
        peer = self.peers[node_id]
        try:
            if membership is None:
                entries = peer.propose(count, payload)
            else:
                entries = peer.propose_membership(payload, count, membership)
            self._lines.append(f"{node_id} proposes {short(entries)}")
        except (NotLeader, Busy, EpochFull, ChangePending) as refusal:
            self._lines.append(f"{node_id} refuses: {type(refusal).__name__}: {refusal}")

    def _take(self, words: list[str]) -> list[tuple[int, int, Message]]:
        options = dict(word.split("=") for word in words)
        senders = [int(options["from"])] if "from" in options else [*self.disks]
        receivers = [int(options["to"])] if "to" in options else [*self.disks]
        taken = [mail for mail in self._mail if mail[0] in senders and mail[1] in receivers]
        self._mail = [mail for mail in self._mail if mail not in taken]
        return taken

    def _hand_over(self, sender: int, receiver: int, message: Message) -> None:
        if receiver not in self.peers:
            self._lines.append(f"{receiver} is down and misses {short(message)}")
            return
        self._lines.append(f"{receiver} gets {short(message)}")
        try:
            self.peers[receiver].step(message)
        except ProtocolError as error:
            self._lines.append(f"{receiver} refuses: ProtocolError: {error}")

    def _tell(self, node_id: int, ready: Ready) -> None:
        def told(ranges: tuple[Range, ...]) -> str:
            return " ".join(f"{entries.first_index}..{entries.last_index}@{entries.epoch}" for entries in ranges)

        if ready.soft is not None:
            leader = f"follows {ready.soft.leader_id}" if ready.soft.leader_id else "knows no leader"
            self._lines.append(f"{node_id} is {ready.soft.role.value} in {ready.soft.epoch}, {leader}")
        if ready.hard_state is not None:
            self._lines.append(f"{node_id} persists epoch {ready.hard_state[0]}, vote {ready.hard_state[1]}")
        if ready.truncate_after is not None:
            self._lines.append(f"{node_id} truncates after {ready.truncate_after}")
        if ready.append:
            self._lines.append(f"{node_id} appends {told(ready.append)}")
        if ready.committed:
            self._lines.append(f"{node_id} applies {told(ready.committed)}")
