"""Goal: the rules of the peer that a story or a seed meets too rarely: limits, stale replies, nonsense, compaction.

Method: peers driven by hand, message by message; RaftScript brings them where the test begins.
"""

from random import Random

import pytest

from fastzk.raft.messages import EPOCH_MAX
from fastzk.raft.peer import (
    COUNTER_BITS,
    COUNTER_MAX,
    Append,
    AppendReply,
    Busy,
    EpochFull,
    Limits,
    Membership,
    Message,
    NotLeader,
    Peer,
    ProtocolError,
    Range,
    Role,
    Vote,
    VoteReply,
)
from fastzk.testing.raft_script import RaftScript
from fastzk.testing.range_disk import RangeDisk


def new_peer(node_id: int = 1, nodes: int = 3, limits: Limits | None = None, disk: RangeDisk | None = None) -> Peer:
    log = disk or RangeDisk()
    epoch, vote = log.hard_state
    voters = tuple(range(1, nodes + 1))
    return Peer(node_id, Membership(voters), log=log, epoch=epoch, vote=vote, random=Random(node_id), limits=limits)


def candidate(peer: Peer, helper: int = 2) -> None:
    """Brings a peer to a real candidacy."""
    while peer.role is not Role.PRE_CANDIDATE:
        peer.tick()
    peer.step(VoteReply(helper, peer.epoch + 1, True, True))
    assert peer.role is Role.CANDIDATE


def new_leader(limits: Limits | None = None, nodes: int = 3) -> Peer:
    """A peer that leads and has opened its epoch; nothing is synced or acknowledged yet."""
    peer = new_peer(nodes=nodes, limits=limits)
    candidate(peer, 2)
    if nodes > 3:
        peer.step(VoteReply(3, peer.epoch, True, False))
    peer.step(VoteReply(2, peer.epoch, True, False))
    ready = peer.ready()
    assert ready is not None
    assert ready.is_new_leader
    peer.propose(1, b"epoch")
    return peer


def messages(peer: Peer) -> list[tuple[int, Message]]:
    ready = peer.ready()
    return list(ready.messages) if ready is not None else []


def script(*commands: str) -> RaftScript:
    story = RaftScript()
    for command in commands:
        story.run(command)
    return story


def test_nothing_is_proposed_before_the_caller_knows_that_it_leads() -> None:
    """A seed found it: a batch could get in before the entry that opens the epoch."""
    peer = new_peer()
    candidate(peer)
    peer.step(VoteReply(2, peer.epoch, True, False))
    assert peer.role is Role.LEADER
    with pytest.raises(NotLeader):
        peer.propose(1, b"too early")
    peer.ready()
    assert peer.next_zxid == 1 << 32
    assert peer.propose(1, b"epoch").first_zxid == 1 << 32
    assert peer.propose(4, b"batch").first_zxid == 1 << 32 | 1
    assert (peer.next_index, peer.next_zxid) == (6, 1 << 32 | 5)


def test_only_a_leader_proposes() -> None:
    peer = new_peer()
    with pytest.raises(NotLeader, match="follower"):
        peer.propose(1, b"")
    with pytest.raises(NotLeader):
        _ = peer.next_zxid


def test_an_uncommitted_tail_is_bounded_by_busy_and_freed_by_commit() -> None:
    peer = new_leader(Limits(uncommitted_bytes_max=10))
    peer.propose(1, b"0123456789")
    assert peer.is_busy
    with pytest.raises(Busy):
        peer.propose(1, b"x")
    peer.ready()
    peer.synced(2, 1, 0)
    peer.step(AppendReply(2, 1, False, 2, 0, 0, 1))
    assert not peer.is_busy
    peer.propose(1, b"x")


def test_an_epoch_ends_at_its_last_counter_and_the_leader_asks_for_the_next() -> None:
    peer = new_leader(Limits(counter_max=3))
    peer.propose(3, b"")
    with pytest.raises(EpochFull):
        peer.propose(1, b"")
    assert (peer.role, peer.epoch, peer.vote) == (Role.CANDIDATE, 2, 1)
    with pytest.raises(NotLeader):
        peer.propose(1, b"")


def test_the_counter_never_comes_to_its_true_end() -> None:
    """2^32 writes of one leader take hours: this reign begins near the end.  The last 2^16 zxids of an epoch are never given."""
    peer = new_peer(nodes=1)
    peer.ready()
    peer.propose(1, b"")
    assert peer._leader is not None
    peer._leader.counter = COUNTER_MAX - (1 << 16) - 4
    epoch = peer.epoch
    last = peer.propose(5, b"").last_zxid
    assert last == (epoch << COUNTER_BITS) + COUNTER_MAX - (1 << 16)
    with pytest.raises(EpochFull):
        peer.propose(1, b"")
    assert (peer.role, peer.epoch) == (Role.LEADER, epoch + 1), "who decides alone goes on at once"
    peer.ready()
    assert peer.next_zxid == (epoch + 1) << COUNTER_BITS > last


def test_after_the_last_epoch_a_node_stops_and_says_so() -> None:
    disk = RangeDisk()
    disk.hard_state = (EPOCH_MAX, 2)
    peer = new_peer(disk=disk)
    peer.step(Append(2, EPOCH_MAX, 0, 0, (), 0, 1))
    with pytest.raises(AssertionError, match="is the last there is"):
        peer.peer_lost(2)


def test_votes_of_an_earlier_epoch_count_for_nothing() -> None:
    peer = new_peer(nodes=5)
    candidate_epoch = 0
    while candidate_epoch < 2:
        while peer.role is not Role.PRE_CANDIDATE:
            peer.tick()
        peer.step(VoteReply(2, peer.epoch + 1, True, True))
        peer.step(VoteReply(3, peer.epoch + 1, True, True))
        candidate_epoch = peer.epoch
        if candidate_epoch < 2:
            while peer.role is Role.CANDIDATE:
                peer.tick()
    assert peer.role is Role.CANDIDATE
    peer.step(VoteReply(2, 1, True, False))
    peer.step(VoteReply(3, 1, True, False))
    assert peer.role is Role.CANDIDATE
    peer.step(VoteReply(2, 2, True, False))
    peer.step(VoteReply(2, 2, True, False))
    assert peer.role is Role.CANDIDATE, "one voter counts once"
    peer.step(VoteReply(3, 2, True, False))
    assert peer.role is Role.LEADER


def test_acknowledgements_of_an_earlier_epoch_count_for_nothing() -> None:
    peer = new_leader()
    messages(peer)
    peer.synced(1, 1, 0)
    peer.step(AppendReply(2, 0, False, 1, 0, 0, 1))
    assert peer.committed_index == 0
    peer.step(AppendReply(2, 1, False, 1, 0, 0, 1))
    assert peer.committed_index == 1


def test_a_leader_whose_epoch_is_over_is_told_so() -> None:
    """Otherwise a node of a higher epoch, which nobody follows, would stay away from a leader for ever."""
    story = script("nodes 3", "elect 1")
    away = story.peers[3]
    story.run("tick 3 10")
    away.step(Vote(2, 7, 1, 1, False))
    assert away.epoch == 7
    story.run("turn 3")
    story.run("drop")
    for command in ("tick 1", "turn 1", "deliver", "turn 2", "turn 3", "deliver"):
        story.run(command)
    assert (story.peers[1].role, story.peers[1].epoch) == (Role.FOLLOWER, 7)


def test_a_leader_that_hears_no_quorum_steps_down_and_one_that_does_stays() -> None:
    peer = new_leader()
    for _ in range(10):
        peer.tick()
        peer.step(AppendReply(3, 1, True, 0, 0, 0, 0))
    assert peer.role is Role.LEADER
    for _ in range(10):
        peer.tick()
    assert peer.role is Role.LEADER
    peer.tick()
    assert (peer.role, peer.leader_id) == (Role.FOLLOWER, None)


def test_a_vote_is_given_once_in_an_epoch_and_repeated_to_whom_it_was_given() -> None:
    peer = new_peer()
    for sender, is_granted in ((2, True), (3, False), (2, True)):
        peer.step(Vote(sender, 1, 0, 0, False))
        assert messages(peer) == [(sender, VoteReply(1, 1, is_granted, False))]


def test_a_vote_survives_a_restart() -> None:
    disk = RangeDisk()
    disk.hard_state = (4, 2)
    peer = new_peer(disk=disk)
    peer.step(Vote(3, 4, 9, 3, False))
    assert messages(peer) == [(3, VoteReply(1, 4, False, False))]


@pytest.mark.parametrize(
    "message",
    [
        Vote(1, 5, 0, 0, True),
        Append(1, 5, 0, 0, (), 0, 1),
        Append(2, 5, 0, 0, (Range(2, 2, 5, 5 << 32, b""),), 0, 1),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(message: Message) -> None:
    peer = new_peer()
    with pytest.raises(ProtocolError):
        peer.step(message)
    assert (peer.epoch, peer.last_index, peer.ready()) == (0, 0, None)


def test_two_leaders_of_one_epoch_are_refused() -> None:
    peer = new_peer()
    peer.step(Append(2, 1, 0, 0, (), 0, 1))
    with pytest.raises(ProtocolError, match="both lead"):
        peer.step(Append(3, 1, 0, 0, (), 0, 1))
    with pytest.raises(ProtocolError, match="both lead"):
        new_leader().step(Append(3, 1, 0, 0, (), 0, 1))


def test_an_answer_to_what_was_never_asked_is_refused() -> None:
    peer = new_leader()
    with pytest.raises(ProtocolError, match="never asked"):
        peer.step(AppendReply(2, 1, False, 7, 0, 0, 0))
    with pytest.raises(ProtocolError, match="never asked"):
        peer.step(AppendReply(2, 1, False, 0, 0, 0, 99))


def test_an_observer_is_not_asked_for_votes_and_asks_for_none() -> None:
    story = script("nodes 2 observers=1", "elect 1")
    observer = story.peers[3]
    for _ in range(100):
        observer.tick()
    assert (observer.role, observer.leader_id, observer.epoch) == (Role.FOLLOWER, None, 1)


def test_what_the_window_no_longer_holds_comes_from_the_disk() -> None:
    story = script("nodes 3 window_bytes_max=0", "elect 1", "cut 3")
    for number in range(20):
        story.run(f"propose 1 2 number {number}")
        story.run("stabilize")
    for command in ("mend", "tick 1", "stabilize"):
        story.run(command)
    assert story.disks[3].ranges() == story.disks[1].ranges()
    assert story.disks[3].last_index == 41


def test_a_hint_skips_a_whole_foreign_epoch() -> None:
    """The leader goes back to where the logs part in one step, however long the foreign tail is."""
    story = script("nodes 3", "elect 1", "cut 1")
    for _ in range(50):
        story.run("propose 1 1 alone")
    for command in ("turn 1", "sync 1", "elect 2 by 3", "stabilize 2 3", "mend", "tick 2"):
        story.run(command)
    told = story.run("stabilize")
    assert told.count("AppendReply 1 e2 refuses") <= 1
    assert story.disks[1].ranges() == story.disks[2].ranges()


class CompactedDisk(RangeDisk):
    """A disk whose log begins later: a snapshot replaced what was before."""

    first = 1

    @property
    def first_index(self) -> int:
        return self.first


def test_who_needs_what_was_compacted_is_named_and_kept_quiet() -> None:
    disk = CompactedDisk()
    ranges = tuple(Range(index, index, 1, 1 << 32 | index - 1, b"") for index in range(1, 11))
    disk.order(None, ranges, 0)
    disk.begin_sync()
    disk.end_sync()
    disk.hard_state, disk.first = (1, None), 8
    leader, follower = new_peer(disk=disk), new_peer(2)
    candidate(leader, 3)
    leader.step(VoteReply(3, 2, True, False))
    leader.ready()
    leader.propose(1, b"epoch")
    for _ in range(12):
        leader.tick()
        leader.step(AppendReply(3, 2, True, 0, 0, 0, 0))
        for receiver, message in messages(leader):
            if receiver == 2:
                follower.step(message)
        for _, message in messages(follower):
            leader.step(message)
        follower.tick()
    assert leader.behind() == (2,)
    assert (follower.role, follower.leader_id) == (Role.FOLLOWER, 1), "heartbeats keep it from asking for votes"


def test_nobody_gets_a_snapshot_before_its_hard_state_has_the_epoch() -> None:
    """A leader in between, which may have something else where the snapshot ends, could take its answer for an acknowledgement."""
    story = script("nodes 3", "cut 3", "elect 1 by 2", "turn 1", "stabilize 1 2", "propose 1 3 work", "stabilize 1 2")
    for command in ("compact 1 4", "lost 1 3", "turn 1"):
        story.run(command)
    assert story.peers[1].behind() == (), "node 3 has answered nothing in this epoch"
    for command in ("mend", "tick 1", "stabilize"):
        story.run(command)
    assert story.disks[3].hard_state[0] == story.peers[1].epoch
    assert story.peers[1].behind() == (3,)


def test_a_follower_whose_disk_was_replaced_is_filled_again() -> None:
    """It refuses what it once acknowledged; the leader sees by the probe that this is no old refusal."""
    story = script("nodes 3", "elect 1", "propose 1 3 a", "stabilize", "crash 3")
    story.disks[3] = RangeDisk()
    story.disks[3].hard_state = (1, 1)
    for command in ("restart 3", "lost 1 3", "tick 1", "stabilize"):
        story.run(command)
    assert story.disks[3].ranges() == story.disks[1].ranges()


def test_a_lost_link_makes_the_leader_probe_and_the_follower_ask_at_once() -> None:
    story = script("nodes 3", "elect 1", "lost 2 3")
    assert story.peers[2].role is Role.FOLLOWER
    story.run("lost 2 1")
    assert (story.peers[2].role, story.peers[2].leader_id) == (Role.PRE_CANDIDATE, None)
    story.run("lost 1 2")
    assert story.peers[1].role is Role.LEADER
    story.peers[1].peer_lost(9)


def test_a_restarted_log_is_given_out_in_bounded_portions() -> None:
    story = script("nodes 1 apply_bytes_max=1", "turn 1", "sync 1", "stabilize")
    for _ in range(5):
        story.run("propose 1 1 payload")
    story.run("stabilize")
    for command in ("crash 1", "restart 1", "turn 1", "turn 1", "sync 1"):
        story.run(command)
    peer, portions = story.peers[1], []
    while (ready := peer.ready()) is not None:
        portions.append([entries.first_index for entries in ready.committed])
        assert ready.is_more_committed == (ready.committed[-1].last_index < peer.committed_index)
    assert portions == [[1], [2], [3], [4], [5], [6], [7]]


def test_the_hard_state_of_a_log_is_not_older_than_the_log() -> None:
    disk = RangeDisk()
    disk.order(None, (Range(1, 1, 5, 5 << 32, b""),), 0)
    disk.begin_sync()
    disk.end_sync()
    with pytest.raises(AssertionError, match="Z1"):
        new_peer(disk=disk)


def test_apply_never_passes_what_was_given_out() -> None:
    with pytest.raises(AssertionError, match="Z4"):
        new_peer().applied(1)
