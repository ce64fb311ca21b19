"""Goal: a request to change the members goes the whole way or none of it, is answered once, and survives its leader.

Method: stories on a twin of the leading node (testing/change_twin.py), which asserts that each step is a legal one; then random
programs, in which nodes catch up, commits come late, leaders die in any state and workers ask again, with the rule that the
newest committed members are what the answered requests add up to."""

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastzk import limits
from fastzk._core.blocks import Entry
from fastzk.config import Address
from fastzk.errors import ErrorCode
from fastzk.node.reconfig import ReconfigDriver
from fastzk.state.members import Member, Members, Role
from fastzk.testing.change_twin import ChangeTwin, reconfig_entry
from fastzk.testing.model import packed


def at(number: int) -> Address:
    return Address(f"10.0.0.{number}", 2881)


def member(number: int, role: Role = "voter") -> Member:
    return Member(number, role, at(number))


def spec(number: int, role: str = "participant") -> str:
    return f"server.{number}=10.0.0.{number}:2881:0:{role}"


THREE = Members((member(1), member(2), member(3)))


def body(joining: Iterable[str] = (), leaving: Iterable[int] = (), version: int = -1) -> bytes:
    texts = [",".join(joining).encode(), ",".join(map(str, leaving)).encode(), None]
    return b"".join(packed(text) for text in texts) + struct.pack(">q", version)


class Story:
    """A leader and its driver; time in milliseconds."""

    def __init__(self, members: Members | None = THREE, *, is_enabled: bool = True) -> None:
        self.twin = ChangeTwin(members, following={2, 3})
        self.driver = ReconfigDriver(self.twin, is_enabled=is_enabled)
        self.now_ms = 1000

    def ask(self, request: bytes, session_id: int = 7, serial: int = 3, node_id: int = 1, cxid: int = 5) -> Entry:
        entry = reconfig_entry(request, session_id, serial, node_id, cxid)
        self.driver.take([entry], self.twin.last_index)
        self.step()
        return entry

    def step(self, ms: int = 0) -> None:
        self.now_ms += ms
        self.driver.step(self.now_ms)

    def commit(self) -> None:
        self.twin.commit()
        self.step()

    def catch_up(self, *node_ids: int, is_sound: bool = True) -> None:
        for node_id in node_ids:
            self.twin.held[node_id] = self.twin.last_index
            if is_sound:
                self.twin.following.add(node_id)
        self.step()

    @property
    def steps(self) -> list[Members]:
        return [block.members for block in self.twin.log if block.members is not None]


def test_a_voter_joins() -> None:
    story = Story()
    story.ask(body([spec(4)]), node_id=2, cxid=-5)
    assert story.steps == [Members((*THREE.members, member(4, "learner")))]
    story.commit()
    assert len(story.steps) == 1, "it has nothing yet"
    story.catch_up(4, is_sound=False)
    assert len(story.steps) == 1, "it does not know yet what it promised"
    story.catch_up(4)
    assert story.steps[-1].old_voters == (1, 2, 3)
    story.step(60_000)
    assert len(story.steps) == 2, "a majority of both has not got it yet"
    story.commit()
    assert story.steps[-1] == Members((*THREE.members, member(4)), version=1)
    assert story.twin.answers == [(7, 0)], "in the block of the members themselves"
    answer = story.twin.log[-1].answers[0]
    assert (answer.serial, answer.attach_zxid, answer.node_id, answer.worker, answer.connection, answer.cxid) == (
        3,
        11,
        2,
        2,
        40,
        -5,
    )
    config = story.twin.log[-1].config
    assert config is not None
    assert config.startswith("server.1=10.0.0.1:2881:0:participant;127.0.0.1:2181\n")
    assert config.endswith("server.4=10.0.0.4:2881:0:participant\nversion=1")
    assert story.twin.asked_again == []
    story.commit()
    assert story.twin.asked_again == [2], "what the session wrote behind it comes again"
    assert story.driver.is_idle


def test_voters_leave() -> None:
    story = Story(Members((*THREE.members, member(4), member(5))))
    story.ask(body(leaving=[4, 5]))
    assert story.steps[-1].members[-1].role == "leaving"
    assert story.steps[-1].old_voters == (1, 2, 3, 4, 5)
    story.commit()
    assert story.steps[-1] == Members(THREE.members, version=1)


def test_observers_come_and_go_in_one_step_and_need_not_be_there() -> None:
    story = Story()
    story.ask(body([spec(9, "observer")]))
    assert story.steps == [Members((*THREE.members, member(9, "observer")), version=1)]
    story.commit()
    story.ask(body(leaving=[9]), serial=4)
    assert story.steps[-1] == Members(THREE.members, version=2)
    assert story.twin.answers == [(7, 0), (7, 0)]


def test_an_observer_is_promoted_when_it_is_level() -> None:
    story = Story(Members((*THREE.members, member(4, "observer"))))
    story.ask(body(leaving=[9]), session_id=8)  # something to be level with
    story.commit()
    story.ask(body([spec(4)]))
    assert len(story.steps) == 1, "it is not heard of"
    story.catch_up(4)
    assert story.steps[-1].old_voters == (1, 2, 3)
    assert story.steps[-1].ids("voter") == (1, 2, 3, 4)


def test_a_voter_becomes_an_observer() -> None:
    story = Story()
    story.ask(body([spec(3, "observer")]))
    assert story.steps[-1].membership.observers == (3,)
    assert story.steps[-1].membership.old_voters == (1, 2, 3)
    story.commit()
    assert story.steps[-1].ids("voter") == (1, 2)


def test_one_that_stands_still_does_not_become_a_voter() -> None:
    story = Story()
    story.ask(body([spec(4), spec(5)]))
    story.commit()
    story.catch_up(4)
    story.step(limits.CATCH_UP_MS_MAX - 1)
    assert story.twin.answers == []
    story.step(1)
    assert story.steps[-1] == THREE, "the learners are sent away"
    assert story.twin.answers == [(7, ErrorCode.NEW_CONFIG_NO_QUORUM)]
    story.commit()
    assert story.twin.asked_again == [1]
    assert story.driver.is_idle


def test_one_that_comes_nearer_gets_its_time() -> None:
    story = Story()
    for serial in range(3, 9):
        story.ask(body(leaving=[9]), session_id=8, serial=serial)  # the log gets longer
        story.commit()
    story.ask(body([spec(4)]))
    story.commit()
    for index in range(1, story.twin.last_index):
        story.step(limits.CATCH_UP_MS_MAX - 1)
        story.twin.held[4] = index
        story.step()
    story.catch_up(4)
    assert story.steps[-1].old_voters == (1, 2, 3)


def test_a_change_that_leaves_too_few_is_refused_once_all_could_have_been_heard() -> None:
    story = Story()
    story.twin.following.discard(3)
    story.ask(body(leaving=[2]))
    story.commit()
    assert story.twin.answers == [], "who was elected just now has not heard of everybody yet"
    story.step(limits.TRANSFER_MS_MAX)
    story.commit()
    assert story.twin.answers == [(7, ErrorCode.NEW_CONFIG_NO_QUORUM)]
    assert story.steps == []
    story.ask(body(leaving=[3]), serial=4)
    assert story.steps[-1].ids("voter") == (1, 2), "one that is gone may be removed"


def test_a_leader_that_is_to_leave_hands_over_first() -> None:
    story = Story()
    story.twin.held = {2: 0, 3: 5}
    story.ask(body(leaving=[1]))
    assert (story.twin.transfers, story.steps) == ([3], [])
    story.driver.end()
    assert story.driver.is_idle, "the new leader is asked again"


def test_a_leader_that_cannot_hand_over_removes_itself() -> None:
    story = Story()
    story.ask(body(leaving=[1]))
    story.step(limits.TRANSFER_MS_MAX)
    assert story.steps[-1].ids("leaving") == (1,)
    story.commit()
    assert story.twin.answers == [(7, 0)]
    alone = Story(Members((member(1),)))
    alone.twin.following.clear()
    alone.ask(body([spec(2)], leaving=[1]))
    alone.commit()
    alone.catch_up(2)
    assert alone.twin.transfers == []
    assert alone.steps[-1].membership.voters == (2,)


@pytest.mark.parametrize(
    ("request_body", "judged", "err"),
    [
        (body([spec(4)], version=1), 0, ErrorCode.BAD_VERSION),
        (body([spec(4)], version=1), -102, ErrorCode.BAD_VERSION),
        (body(["some thing"], version=1), 0, ErrorCode.BAD_VERSION),
        (body([spec(4)]), -102, ErrorCode.NO_AUTH),
        (body(["some thing"]), -102, ErrorCode.BAD_ARGUMENTS),
        (body([spec(999)]), -102, ErrorCode.NO_AUTH),
        (body([spec(999)]), 0, ErrorCode.BAD_ARGUMENTS),
        (body(leaving=[1, 2, 3]), 0, ErrorCode.BAD_ARGUMENTS),
        (body()[:-1], 0, ErrorCode.MARSHALLING_ERROR),
        (body([spec(4)]), -112, ErrorCode.SESSION_EXPIRED),
        (body([spec(4)]), -118, ErrorCode.SESSION_MOVED),
    ],
)
def test_what_is_refused(request_body: bytes, judged: int, err: ErrorCode) -> None:
    story = Story()
    story.twin.verdicts[7] = judged
    story.ask(request_body, node_id=3)
    story.commit()
    assert (story.twin.answers, story.steps, story.twin.asked_again) == ([(7, err)], [], [3])


def test_what_was_done_already_is_not_done_again() -> None:
    story = Story()
    story.twin.verdicts[7] = 1
    story.ask(body([spec(4)]))
    assert (story.twin.log, story.twin.pending, story.driver.is_idle) == ([], [], True)
    story.twin.verdicts[7] = 2
    story.ask(body([spec(4)]))
    story.commit()
    assert len(story.twin.answers) == 1, "logged, so that the session is told what came of it"
    assert story.steps == []


def test_it_can_be_switched_off_and_needs_an_address() -> None:
    for story, err in ((Story(is_enabled=False), ErrorCode.RECONFIG_DISABLED), (Story(None), ErrorCode.UNIMPLEMENTED)):
        story.ask(body([spec(4)]))
        story.ask(body()[:-1], serial=4)
        story.commit()
        assert story.twin.answers == [(7, err), (7, ErrorCode.MARSHALLING_ERROR)]


def test_one_change_at_a_time() -> None:
    story = Story()
    story.ask(body([spec(4)]))
    story.commit()
    story.ask(body([spec(5)]), session_id=8)
    story.ask(body([spec(4)]))
    story.commit()
    assert story.twin.answers == [(8, ErrorCode.RECONFIG_IN_PROGRESS)], "and the same request sent again is no other"


def test_a_client_that_came_back_is_answered_over_its_new_connection() -> None:
    story = Story()
    story.ask(body([spec(4)]))
    story.commit()
    entry = reconfig_entry(body([spec(4)]), serial=1)._replace(attach_zxid=12)
    story.driver.take([entry], story.twin.last_index)
    other = reconfig_entry(body([spec(5)]), serial=2)._replace(attach_zxid=12)  # the same number, but another request
    story.driver.take([other], story.twin.last_index)
    story.commit()
    story.catch_up(4)
    story.commit()
    answers = [(answer.attach_zxid, answer.serial) for block in story.twin.log for answer in block.answers]
    assert answers == [(12, 2), (12, 1)]
    assert [err for _, err in story.twin.answers] == [ErrorCode.RECONFIG_IN_PROGRESS, 0]


def test_a_request_waits_for_what_its_session_wrote_before() -> None:
    story = Story()
    story.driver.take([reconfig_entry(body(leaving=[9]))], behind_index=5)
    story.step()
    assert not story.driver.is_idle
    assert story.steps == []


def test_too_many_requests_come_again() -> None:
    story = Story()
    waiting = [reconfig_entry(body(), session_id=9, serial=serial) for serial in range(1, limits.RECONFIGS_WAITING_MAX + 2)]
    story.driver.take(waiting, behind_index=5)
    story.step()
    assert story.twin.asked_again == [1]


def test_whoever_cannot_be_told_is_told_later() -> None:
    story = Story()
    story.twin.verdicts[7] = -102
    story.twin.is_busy = True
    story.ask(body(), node_id=3)
    story.step()
    assert story.twin.asked_again == []
    story.twin.is_busy = False
    story.step()
    assert story.twin.asked_again == [3]


def restarted(story: Story) -> Story:
    """Another leader with the same log."""
    story.twin.epoch += 1
    story.driver = ReconfigDriver(story.twin, is_enabled=True)
    return story


def test_a_new_leader_ends_a_joint_membership_and_answers() -> None:
    story = Story()
    entry = story.ask(body([spec(4)], leaving=[3]))
    story.commit()
    story.catch_up(4)
    restarted(story)
    other = reconfig_entry(body([spec(5)], version=1), session_id=8)
    story.driver.take([entry, other], story.twin.last_index)
    story.step()
    assert story.twin.answers == [], "nothing follows before the joint one is committed"
    story.commit()
    assert story.steps[-1] == Members((member(1), member(2), member(4)), version=1)
    assert story.twin.answers == [(7, 0)]
    story.commit()
    assert story.steps[-1].ids("learner") == (5,), "and another waited for that"
    assert story.steps[-1].version == 1, "which was done once"


def test_a_new_leader_sends_learners_away_and_begins_anew() -> None:
    story = Story()
    entry = story.ask(body([spec(4)]))
    restarted(story)
    story.commit()
    assert story.steps[-1] == THREE
    story.driver.take([entry], story.twin.last_index)
    story.commit()
    assert story.steps[-1].ids("learner") == (4,)


REQUESTS = st.sampled_from(
    [
        body([spec(4)]), body([spec(4), spec(5)]), body(leaving=[2]), body(leaving=[1]), body([spec(4)], leaving=[3]),
        body([spec(2, "observer")]), body([spec(6, "observer")]), body(leaving=[6, 4]), body([spec(3)]), body([spec(2)]),
    ]
)  # fmt: skip
ACTIONS = st.one_of(
    st.tuples(st.just("ask"), REQUESTS),
    st.tuples(st.just("again"), st.none()),
    st.tuples(st.just("commit"), st.none()),
    st.tuples(st.just("catch up"), st.integers(1, 6)),
    st.tuples(st.just("lose"), st.integers(1, 6)),
    st.tuples(st.just("wait"), st.sampled_from([1, 1000, 5000])),
    st.tuples(st.just("busy"), st.booleans()),
    st.tuples(st.just("lead"), st.integers(0, 3)),
)


@given(st.lists(ACTIONS, max_size=40))
def test_any_program_ends_in_settled_members_and_one_answer_for_each_request(program: list[tuple[str, object]]) -> None:
    story, asked = Story(), {}
    for action, value in program:
        if action == "ask" and len(asked) == len(story.twin.answers):
            assert isinstance(value, bytes)
            serial = len(asked) + 1
            asked[serial] = story.ask(value, serial=serial)
        elif action == "again" and asked:
            again(story, asked)
        elif action == "commit":
            story.commit()
        elif action in ("catch up", "lose"):
            assert isinstance(value, int)
            story.catch_up(value)
            if action == "lose":
                story.twin.following.discard(value)
        elif action == "wait":
            assert isinstance(value, int)
            story.step(value)
        elif action == "busy":
            story.twin.is_busy = bool(value)
        elif action == "lead":
            assert isinstance(value, int)
            lead(story, value)
    story.twin.is_busy = False
    story.twin.following = {1, 2, 3, 4, 5, 6}
    for _ in range(30):
        again(story, asked)
        story.twin.held = dict.fromkeys(range(1, 7), story.twin.last_index)
        story.step(1000)
        story.commit()
    assert story.twin.members is not None
    assert story.twin.members.is_settled
    assert story.driver.is_idle
    assert len(story.twin.answers) == len(asked)
    succeeded = sum(err == 0 for _, err in story.twin.answers)
    assert story.twin.members.version == succeeded, "a change that was done was answered, and was done once"


def again(story: Story, asked: dict[int, Entry]) -> None:
    """The workers send what is unanswered again."""
    for entry in asked.values():
        story.twin.flush()
        story.driver.take([entry], story.twin.last_index)
        story.step()


def lead(story: Story, lost: int) -> None:
    """Another node leads: of what was not committed it may hold less, but for the others it is the same log."""
    twin = story.twin
    del twin.log[max(twin.committed_index, len(twin.log) - lost) :]
    twin.pending.clear()
    members = [block.members for block in twin.log if block.members is not None]
    twin.members = members[-1] if members else THREE
    twin.held = {each: min(index, len(twin.log)) for each, index in twin.held.items()}
    restarted(story)
    story.step()
