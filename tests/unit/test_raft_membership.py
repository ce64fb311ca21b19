"""Goal: who the voters are changes without two ensembles ever deciding apart; leadership moves when it is asked to; a node
that has lost what it promised counts for nothing until it has it again.

Method: the values by hand, and small ensembles driven command by command (fastzk/testing/raft_script.py); the random
worlds are in tests/sim.
"""

from random import Random

import pytest

from fastzk.raft.membership import Membership
from fastzk.raft.messages import Append, AppendReply, Range, TimeoutNow, Vote, VoteReply
from fastzk.raft.peer import Busy, ChangePending, NotLeader, Peer, Role
from fastzk.raft.quorum import Quorum, Tally
from fastzk.testing.raft_script import RaftScript
from fastzk.testing.range_disk import RangeDisk, Snapshot


def script(*commands: str) -> RaftScript:
    story = RaftScript()
    for command in commands:
        story.run(command)
    return story


def tell(story: RaftScript, *commands: str) -> str:
    return "\n".join(story.run(command) for command in commands)


# The values.


def test_a_membership_is_in_order_whatever_order_it_is_made_of() -> None:
    made = Membership((3, 1), (5, 4), (2, 1))
    assert (made.voters, made.observers, made.old_voters) == ((1, 3), (4, 5), (1, 2))
    assert made.ids == (1, 2, 3, 4, 5)
    assert made.is_joint
    assert [made.has_voter(node_id) for node_id in range(1, 6)] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("voters", "observers", "old"), [((), (1,), ()), ((1, 1), (), ()), ((1,), (1,), ()), ((1,), (2, 2), ()), ((1,), (), (2, 2))]
)
def test_what_cannot_be_a_membership_is_refused(voters: tuple[int, ...], observers: tuple[int, ...], old: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"node is named twice|no voters|overlap"):
        Membership(voters, observers, old)


@pytest.mark.parametrize(
    ("first", "following", "is_legal"),
    [
        (Membership((1, 2)), Membership((1, 2), (3,)), True),
        (Membership((1, 2)), Membership((1, 3), (), (1, 2)), True),
        (Membership((1, 3), (), (1, 2)), Membership((1, 3)), True),
        (Membership((1, 2)), Membership((1, 2, 3)), False),
        (Membership((1, 2)), Membership((1, 3), (), (1,)), False),
        (Membership((1, 3), (), (1, 2)), Membership((1, 2)), False),
        (Membership((1, 3), (), (1, 2)), Membership((1, 4), (), (1, 3)), False),
    ],
)
def test_voters_change_through_a_joint_membership_only(first: Membership, following: Membership, is_legal: bool) -> None:
    assert first.is_step(following) == is_legal


def test_a_joint_quorum_needs_both_majorities() -> None:
    quorum = Quorum(Membership((3, 4, 5), (), (1, 2, 3)))
    assert quorum.voters == (1, 2, 3, 4, 5)
    assert quorum.reached({1: 9, 2: 9, 3: 9}) == 0
    assert quorum.reached({1: 9, 3: 7, 4: 8}) == 7
    assert quorum.tally({3: True, 4: True}) is Tally.OPEN
    assert quorum.tally({1: True, 3: True, 4: True}) is Tally.WON
    assert quorum.tally({3: True, 4: True, 1: False, 2: False}) is Tally.LOST


# Changes.


def test_a_membership_is_in_force_when_it_is_appended_and_back_when_it_is_cut() -> None:
    story = script("nodes 3", "elect 1", "cut 1", "change 1 1,2,3 observers=4", "turn 1", "sync 1")
    leader = story.peers[1]
    assert leader.membership == Membership((1, 2, 3), (4,))
    assert leader.committed_membership == Membership((1, 2, 3))
    assert leader.membership_index == leader.last_index
    tell(story, "elect 2 by 3", "stabilize 2 3", "mend", "tick 2", "stabilize")
    assert story.disks[1].ranges() == story.disks[2].ranges()
    assert leader.membership == Membership((1, 2, 3))


def test_a_membership_survives_a_restart() -> None:
    story = script("nodes 3", "elect 1", "change 1 1,2,3 observers=4", "stabilize", "crash 2", "restart 2")
    assert story.peers[2].membership == Membership((1, 2, 3), (4,))
    assert story.peers[2].membership_index == 2


def test_one_change_at_a_time_and_none_before_the_epoch_has_committed() -> None:
    story = script("nodes 3", "elect 1 by 2", "turn 1")
    leader = story.peers[1]
    with pytest.raises(ChangePending, match="nothing of epoch"):
        leader.propose_membership(b"", 1, Membership((1, 2, 3), (4,)))
    story.run("stabilize")
    leader.propose_membership(b"", 1, Membership((1, 2, 3), (4,)))
    with pytest.raises(ChangePending, match="not committed"):
        leader.propose_membership(b"", 1, Membership((1, 2, 3)))
    story.run("stabilize")
    leader.propose_membership(b"", 1, Membership((1, 2, 3)))
    with pytest.raises(NotLeader):
        story.peers[2].propose_membership(b"", 1, Membership((1, 2, 3)))


def test_an_illegal_step_is_a_mistake_of_the_caller() -> None:
    story = script("nodes 3", "elect 1")
    with pytest.raises(AssertionError, match="cannot follow"):
        story.peers[1].propose_membership(b"", 1, Membership((1, 2)))


def test_a_new_node_learns_the_log_and_then_decides() -> None:
    story = script("nodes 1 spare=2", "turn 1", "stabilize", "propose 1 3 work", "stabilize")
    tell(story, "change 1 1 observers=2,3", "stabilize", "tick 1", "stabilize")
    assert story.disks[3].ranges() == story.disks[1].ranges()
    assert set(story.peers[1].streaming()) == {2, 3}
    tell(story, "change 1 1,2,3 old=1", "stabilize", "change 1 1,2,3", "stabilize")
    assert [peer.committed_membership for peer in story.peers.values()] == [Membership((1, 2, 3))] * 3
    tell(story, "crash 1", "elect 2 by 3", "propose 2 1 on", "stabilize")
    assert story.peers[2].committed_index == story.peers[2].last_index


def test_a_joint_membership_commits_nothing_without_the_old_majority() -> None:
    story = script("nodes 3 spare=2", "elect 1", "change 1 1,2,3 observers=4,5", "stabilize", "tick 1", "stabilize")
    tell(story, "cut 2 3", "change 1 1,4,5 old=1,2,3", "stabilize")
    assert story.peers[1].committed_membership == Membership((1, 2, 3), (4, 5))
    tell(story, "mend", "tick 1", "stabilize")
    assert story.peers[1].committed_membership == Membership((1, 4, 5), (), (1, 2, 3))


def test_a_leader_that_is_removed_commits_that_without_itself_and_then_goes() -> None:
    story = script("nodes 3", "elect 1", "change 1 2,3 old=1,2,3", "stabilize", "cut 3", "change 1 2,3", "stabilize")
    assert story.peers[1].role is Role.LEADER, "node 2 alone is no majority of the new voters"
    tell(story, "mend", "tick 1", "stabilize")
    assert story.peers[1].role is Role.FOLLOWER
    assert story.peers[1].committed_membership == Membership((2, 3))
    assert Role.LEADER in (story.peers[2].role, story.peers[3].role), "it has asked another to take over"
    for _ in range(100):
        story.peers[1].tick()
    assert story.peers[1].role is Role.FOLLOWER, "it is no voter any more"


def test_a_removed_node_hears_of_it_and_is_then_left_alone() -> None:
    story = script("nodes 3", "elect 1", "change 1 1,2 old=1,2,3", "stabilize", "change 1 1,2", "stabilize", "tick 1", "stabilize")
    assert story.peers[3].committed_membership == Membership((1, 2))
    assert 3 not in story.peers[1].matched()


def test_a_removed_node_that_does_not_answer_is_given_up() -> None:
    story = script("nodes 3 leave_ticks=5", "elect 1", "change 1 1,2 old=1,2,3", "stabilize", "cut 3", "change 1 1,2", "stabilize")
    assert 3 in story.peers[1].matched()
    for _ in range(7):
        tell(story, "tick 1", "stabilize")
    assert 3 not in story.peers[1].matched()


def test_a_node_that_missed_its_removal_deposes_nobody() -> None:
    story = script("nodes 3 leave_ticks=1", "elect 1", "cut 3", "change 1 1,2 old=1,2,3", "stabilize", "change 1 1,2", "stabilize")
    tell(story, "tick 1 3", "stabilize", "mend")
    for _ in range(5):
        tell(story, "tick 3 30", "tick 1", "stabilize")
    assert (story.peers[1].role, story.peers[1].epoch) == (Role.LEADER, 1)
    story.peers[2].step(Vote(3, 9, 99, 1, False))
    story.peers[1].step(VoteReply(3, 9, False, False))
    story.peers[1].step(AppendReply(3, 9, True, 0, 0, 0, 0))
    assert [story.peers[node_id].epoch for node_id in (1, 2)] == [1, 1]


def test_a_node_follows_and_votes_by_epoch_and_log_whatever_its_membership_says() -> None:
    peer = Peer(7, Membership((1,)), log=RangeDisk(), epoch=0, vote=None, random=Random(7))
    peer.step(Vote(8, 1, 0, 0, False))
    ready = peer.ready()
    assert ready is not None
    assert ready.messages == ((8, VoteReply(7, 1, True, False)),)
    peer.step(Append(8, 1, 0, 0, (Range(1, 1, 1, 1 << 32, b"", Membership((7, 8))),), 0, 1))
    assert (peer.leader_id, peer.membership) == (8, Membership((7, 8)))
    assert peer.may_campaign


# Transfer.


def test_leadership_goes_to_whom_it_is_given() -> None:
    story = script("nodes 3", "elect 1", "propose 1 2 work", "transfer 1 3")
    assert story.peers[1].is_transferring
    with pytest.raises(Busy, match="node 3"):
        story.peers[1].propose(1, b"")
    story.run("stabilize")
    assert (story.peers[3].role, story.peers[3].epoch, story.peers[1].leader_id) == (Role.LEADER, 2, 3)
    assert story.peers[3].committed_index == 4


def test_a_transfer_to_a_dead_node_is_given_up() -> None:
    story = script("nodes 3", "elect 1", "propose 1 1 work", "stabilize", "cut 3", "transfer 1 3", "stabilize")
    for _ in range(9):
        tell(story, "tick 1", "stabilize")
    assert story.peers[1].is_busy
    tell(story, "tick 1", "propose 1 1 on", "stabilize")
    assert not story.peers[1].is_busy
    assert story.peers[1].role is Role.LEADER
    assert story.peers[1].committed_index == 3


def test_who_cannot_lead_is_not_asked_to() -> None:
    story = script("nodes 3 observers=1", "elect 1")
    assert not story.peers[2].transfer()
    assert not story.peers[1].transfer(4)
    assert not story.peers[1].transfer(1)
    assert not story.peers[1].transfer(9)
    assert story.peers[1].transfer()


def test_a_request_to_take_over_counts_in_its_epoch_and_from_its_leader_only() -> None:
    story = script("nodes 3", "elect 1", "elect 2")
    epoch = story.peers[3].epoch
    for request in (TimeoutNow(1, epoch), TimeoutNow(2, epoch - 1), TimeoutNow(2, epoch + 1)):
        story.peers[3].step(request)
        assert (story.peers[3].role, story.peers[3].epoch) == (Role.FOLLOWER, epoch)
    story.peers[3].step(TimeoutNow(2, epoch))
    assert (story.peers[3].role, story.peers[3].epoch) == (Role.CANDIDATE, epoch + 1)


# Snapshots.


def test_a_log_that_begins_behind_a_snapshot() -> None:
    start = Snapshot(10, 3, 3 << 32 | 9, Membership((1, 2, 3)))
    disk = RangeDisk()
    disk.install(start)
    peer = Peer(1, start.membership, log=disk, epoch=4, vote=None, random=Random(1))
    assert (peer.last_index, peer.last_epoch, peer.committed_index, peer.applied_index) == (10, 3, 10, 10)
    peer.step(Append(2, 4, 5, 2, (), 7, 1))
    ready = peer.ready()
    assert ready is not None
    assert ready.messages == ((2, AppendReply(1, 4, False, 10, 0, 0, 1)),), "the leader goes on from the snapshot"


def test_a_leader_older_than_the_snapshot_hears_that_its_epoch_is_over() -> None:
    """It may have another entry where the snapshot ends, and would take the answer for an acknowledgement of it."""
    disk = RangeDisk()
    disk.install(Snapshot(10, 3, 3 << 32 | 9, Membership((1, 2, 3))))
    disk.hard_state = (5, None)
    peer = Peer(1, disk.start.membership, log=disk, epoch=5, vote=None, random=Random(1))
    peer.step(Append(2, 4, 9, 2, (Range(10, 10, 4, 4 << 32, b""),), 8, 1))
    ready = peer.ready()
    assert ready is not None
    assert ready.messages == ((2, AppendReply(1, 5, True, 0, 0, 0, 0)),)


def test_what_contradicts_a_snapshot_goes_and_what_agrees_with_it_stays() -> None:
    ranges = (Range(1, 4, 1, 1 << 32, b""), Range(5, 6, 2, 2 << 32, b""))
    for epoch, left in ((1, ranges[1:]), (2, ())):
        disk = RangeDisk()
        disk.order(None, ranges, 0)
        disk.begin_sync()
        disk.end_sync()
        disk.install(Snapshot(4, epoch, epoch << 32, Membership((1,))))
        assert (disk.first_index, disk.ranges()) == (5, left)


def test_a_follower_that_got_a_snapshot_is_behind_no_more() -> None:
    story = script("nodes 3", "elect 1", "cut 3", "change 1 1,2,3 observers=4", "stabilize")
    for number in range(5):
        tell(story, f"propose 1 2 number {number}", "stabilize")
    tell(story, "compact 1 8", "mend")
    for _ in range(3):
        tell(story, "tick 1", "stabilize")
    assert 3 in story.peers[1].behind()
    tell(story, "install 3 1")
    assert story.peers[3].membership == Membership((1, 2, 3), (4,)), "it came with the snapshot"
    for _ in range(12):
        tell(story, "tick 1", "stabilize")
    assert 3 not in story.peers[1].behind()
    assert story.peers[3].applied_index == story.peers[1].last_index


# Soundness.


def test_a_node_that_is_not_sound_neither_votes_nor_campaigns_nor_counts() -> None:
    story = script("nodes 3", "elect 1", "propose 1 1 work", "stabilize", "wipe 3", "restart 3", "cut 2", "tick 1", "stabilize")
    tell(story, "tick 1", "stabilize", "propose 1 1 more", "stabilize")
    assert story.disks[3].ranges() == story.disks[1].ranges(), "it gets the log"
    assert story.peers[1].committed_index == 2, "and does not count for it"
    assert story.peers[1].matched()[3] == story.peers[1].last_index
    assert 3 not in story.peers[1].counted(), "else members could be chosen of whom too few may vote"
    unsound = story.peers[3]
    for _ in range(50):
        unsound.tick()
    assert unsound.role is Role.FOLLOWER
    unsound.step(Vote(2, 9, 99, 8, True))
    unsound.step(Vote(2, 9, 99, 8, False))
    ready = unsound.ready()
    assert ready is not None
    assert [message.is_granted for _, message in ready.messages if isinstance(message, VoteReply)] == [False, False]


def test_a_node_that_became_sound_votes_in_later_epochs_only() -> None:
    story = script("nodes 3", "elect 1", "wipe 3", "restart 3", "tick 1", "stabilize", "propose 1 1 rejoin", "stabilize")
    tell(story, "sound 3", "tick 1", "stabilize")
    assert story.peers[1].counted()[3] == 2
    peer = story.peers[3]
    for _ in range(10):
        peer.tick()
    peer.step(Vote(2, 1, 99, 1, False))
    assert peer.epoch == 1
    peer.step(Vote(2, 2, 99, 1, False))
    ready = peer.ready()
    assert ready is not None
    votes = [message for _, message in ready.messages if isinstance(message, VoteReply) and not message.is_pre]
    assert votes == [VoteReply(3, 1, False, False), VoteReply(3, 2, True, False)]


def test_a_leader_that_hears_no_sound_quorum_steps_down() -> None:
    story = script("nodes 3", "elect 1", "wipe 3", "restart 3", "cut 2")
    for _ in range(12):
        tell(story, "tick 1", "stabilize")
    assert story.peers[1].role is not Role.LEADER
