"""Goal: what clients write into a reconfig is read as ZooKeeper reads it, and members come of it only if they make sense.

Method: requests spelled out, and the members that must come of them; errors with their codes, and whether they are found by
reading alone (before the permission is asked for) or by looking at the members."""

import struct

import pytest

from fastzk import limits
from fastzk.config import Address
from fastzk.errors import ErrorCode
from fastzk.state.members import Asker, Member, Members, Role
from fastzk.state.reconfig import (
    Reconfig,
    ReconfigError,
    decode_reconfig,
    joint,
    new_voters,
    parse_reconfig,
    wanted_members,
    with_learners,
)
from fastzk.testing.model import packed


def at(number: int) -> Address:
    return Address(f"10.0.0.{number}", 2881)


def member(number: int, role: Role = "voter") -> Member:
    return Member(number, role, at(number))


THREE = Members((member(1), member(2), member(3)), version=4)


def body(joining: str | None = None, leaving: str | None = None, new: str | None = None, version: int = -1) -> bytes:
    texts = [None if text is None else text.encode() for text in (joining, leaving, new)]
    return b"".join(map(packed, texts)) + struct.pack(">q", version)


def parsed(request: bytes) -> Reconfig:
    return parse_reconfig(decode_reconfig(request))


def wanted(now: Members = THREE, *, joining: str | None = None, leaving: str | None = None, new: str | None = None) -> Members:
    return wanted_members(parsed(body(joining, leaving, new)), now)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("server.4=host:2881:3881:participant;host2:2181", Member(4, "voter", Address("host", 2881), Address("host2", 2181), 3881)),
        ("server.4=host:2881:3881:observer;2181", Member(4, "observer", Address("host", 2881), Address("0.0.0.0", 2181), 3881)),
        ("server.4=host:2881:3881;2181", Member(4, "voter", Address("host", 2881), Address("0.0.0.0", 2181), 3881)),
        ("server.4=host:2881", Member(4, "voter", Address("host", 2881))),
        ("server.4=host:2881:observer", Member(4, "observer", Address("host", 2881))),
        ("server.4=host:2881:0:OBSERVER", Member(4, "observer", Address("host", 2881))),
        (" server.4 = [::1]:2881:0;[fd00::1]:2181 ", Member(4, "voter", Address("::1", 2881), Address("fd00::1", 2181))),
    ],
)
def test_a_server(text: str, found: Member) -> None:
    assert parsed(body(joining=text)).joining == (found,)


def test_a_request() -> None:
    request = parsed(body("server.4=h:1,server.5=h:2", " 1, 2,", version=9) + b"more")
    assert request == Reconfig((Member(4, "voter", Address("h", 1)), Member(5, "voter", Address("h", 2))), (1, 2), None)
    assert decode_reconfig(body(version=9)).version == 9
    assert parsed(body()) == Reconfig((), (), None)
    assert parsed(body("", "", "")) == Reconfig((), (), ())
    assert parsed(body("", "3", "")).new is None, "clients that send empty strings for none"
    text = "# a file\nserver.1=h:1\r\nserver.2=h:2,server.3=h:3\nversion=100000003\n"
    assert [each.node_id for each in parsed(body(new=text)).new or ()] == [1, 2, 3]


@pytest.mark.parametrize(
    "text",
    [
        "some thing", "server.4", "server.=h:1", "server.x=h:1", "server.4=h", "server.4=h:", "server.4=:1", "server.4=h:1:2:3:4",
        "server.4=h:1:2:learner", "server.4=h:1;", "server.4=h:1;x", "server.4=h:1;h:1:2", "server.4=h:1;1;2", "server.4=h:1 2",
        "server.4=a:1|b:2", "group.1=1:2", "server.4=h:1=2", "server.4=::1:2881",
    ],
)  # fmt: skip
def test_what_is_no_server(text: str) -> None:
    for request in (body(joining=text), body(new=text)):
        with pytest.raises(ReconfigError) as refused:
            parsed(request)
        assert refused.value.code == ErrorCode.BAD_ARGUMENTS


def test_what_is_no_request() -> None:
    for request, code in (
        (body()[:-1], ErrorCode.MARSHALLING_ERROR),
        (b"", ErrorCode.MARSHALLING_ERROR),
        (packed(b"\xff") + body()[4:], ErrorCode.MARSHALLING_ERROR),
        (body("server.4=h:1", None, "server.1=h:1"), ErrorCode.BAD_ARGUMENTS),
        (body(None, "1", "server.1=h:1"), ErrorCode.BAD_ARGUMENTS),
        (body(leaving="one"), ErrorCode.BAD_ARGUMENTS),
        (body(leaving="1;2"), ErrorCode.BAD_ARGUMENTS),
        (body(leaving="," * (limits.MEMBERS_BYTES_MAX + 1)), ErrorCode.BAD_ARGUMENTS),
    ):
        with pytest.raises(ReconfigError) as refused:
            parsed(request)
        assert refused.value.code == code


def test_members_join_leave_and_change_their_roles() -> None:
    assert wanted(joining="server.4=10.0.0.4:2881") == Members((*THREE.members, member(4)), version=5)
    assert wanted(leaving="2,9") == Members((member(1), member(3)), version=5), "one that is not there is passed over"
    assert wanted(joining="server.3=10.0.0.3:2881:observer").ids("observer") == (3,)
    assert wanted(new="server.1=10.0.0.1:2881,server.4=10.0.0.4:2881") == Members((member(1), member(4)), version=5)
    replaced = wanted(joining="server.4=10.0.0.4:2881;2184", leaving="3")
    assert replaced.ids("voter") == (1, 2, 4)
    assert wanted(joining="server.3=10.0.0.3:2881;c:5").get(3) == Member(3, "voter", at(3), Address("c", 5))
    assert wanted() == Members(THREE.members, version=5), "nothing, under a new version, as ZooKeeper does"


@pytest.mark.parametrize(
    ("joining", "leaving", "new", "reason"),
    [
        ("server.999=10.0.0.9:1", None, None, "1 to 254"),
        ("server.0=10.0.0.9:1", None, None, "1 to 254"),
        ("server.4=10.0.0.9:1,server.4=10.0.0.8:1", None, None, "named twice"),
        (None, None, "server.1=10.0.0.1:2881,server.1=10.0.0.1:2881", "named twice"),
        ("server.4=10.0.0.1:2881", None, None, "one address"),
        ("server.4=10.0.0.4:1;c:1,server.5=10.0.0.5:1;c:1", None, None, "clients of two"),
        ("server.3=10.0.0.9:2881", None, None, "remove it, then add"),
        ("server.3=10.0.0.9:2881", "3", None, "remove it, then add"),
        ("server.4=10.0.0.3:2881", "3", None, "one address"),
        (None, "1,2,3", None, "no member is a voter"),
        (None, None, "server.1=10.0.0.1:2881:observer", "no member is a voter"),
        (None, None, "", "no member is a voter"),
        ("server.4=10.0.0.4:70000", None, None, "port"),
        ("server.4=10.0.0.4:0", None, None, "port"),
        (",".join(f"server.{n}=10.0.1.{n}:1" for n in range(10, 30)), None, None, "at most 15"),
    ],
)
def test_what_makes_no_sense(joining: str | None, leaving: str | None, new: str | None, reason: str) -> None:
    request = parsed(body(joining, leaving, new))
    with pytest.raises(ReconfigError, match=reason) as refused:
        wanted_members(request, THREE)
    assert refused.value.code == ErrorCode.BAD_ARGUMENTS


def test_clients_that_are_told_a_port_only_may_have_the_same() -> None:
    assert len(wanted(joining="server.4=10.0.0.4:1;2181,server.5=10.0.0.5:1;2181").members) == 5


def test_the_steps() -> None:
    goal = wanted(joining="server.4=10.0.0.4:2881,server.5=10.0.0.5:2881:observer", leaving="2")
    assert new_voters(THREE, goal) == (4,)
    learning = with_learners(THREE, goal)
    assert learning == Members((*THREE.members, member(4, "learner")), version=4)
    asker = Asker(1, 2, 3, 4, 5, 6, 7)
    both = joint(learning, goal, asker)
    assert both.members == (member(1), member(2, "leaving"), member(3), member(4), member(5, "observer"))
    assert (both.old_voters, both.version, both.asker) == ((1, 2, 3), 4, asker)
    assert both.settled(5) == goal
    assert learning.settled() == THREE
