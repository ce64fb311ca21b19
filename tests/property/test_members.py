"""Goal: members survive the way through the log, and nothing else is taken for members.

Method: random members are encoded and decoded; random damage to their bytes must be refused or give other members whose bytes
are exactly the damaged ones.  The text of /zookeeper/config is compared with ZooKeeper's form by hand-written examples."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastzk import limits
from fastzk.config import Address
from fastzk.raft.membership import Membership
from fastzk.state.members import Asker, Member, Members, MembersError, Role

HOSTS = st.one_of(
    st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,20})", fullmatch=True), st.sampled_from(["::1", "fd00::4", "fe80::1%eth0"])
)
ADDRESSES = st.builds(Address, HOSTS, st.integers(1, 65535))


@st.composite
def any_members(draw: st.DrawFn) -> Members:
    addresses = draw(st.lists(ADDRESSES, min_size=1, max_size=8, unique=True))
    ids = sorted(draw(st.sets(st.integers(1, 254), min_size=len(addresses), max_size=len(addresses))))
    is_joint = draw(st.booleans())
    third: Role = "leaving" if is_joint else "learner"
    roles: st.SearchStrategy[Role] = st.sampled_from(["voter", "observer", third])
    members = [
        Member(number, draw(roles), address, draw(st.none() | ADDRESSES), draw(st.integers(0, 65535)))
        for number, address in zip(ids, addresses, strict=True)
    ]
    if not any(each.role == "voter" for each in members):
        members[0] = replace(members[0], role="voter")
    old = {each.node_id for each in members if each.role == "leaving"}
    if is_joint:
        old |= draw(st.sets(st.sampled_from(ids)))
    asker = draw(st.none() | st.builds(Asker, *[st.integers(0, 2**64 - 1)] * 7)) if old else None
    return Members(tuple(members), tuple(sorted(old)), draw(st.integers(0, 2**63 - 1)), asker)


@given(any_members())
def test_members_come_back_as_they_were(members: Members) -> None:
    assert Members.decode(members.encode()) == members
    assert members.settled().is_settled


@given(any_members(), st.data())
def test_damaged_bytes_are_refused_or_are_other_members(members: Members, data: st.DataObject) -> None:
    text = bytearray(members.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        if data.draw(st.booleans()):
            text[place] = data.draw(st.integers(0, 255))
        else:
            del text[place : place + data.draw(st.integers(1, 10))]
        if not text:
            return
    try:
        found = Members.decode(bytes(text))
    except MembersError:
        return
    assert found.encode() == bytes(text)


@given(any_members(), st.binary(max_size=40))
def test_what_is_behind_members_is_refused(members: Members, rest: bytes) -> None:
    if rest:
        with pytest.raises(MembersError):
            Members.decode(members.encode() + rest)


A, B, C, D = (Address(f"10.0.0.{number}", 2881) for number in (1, 2, 3, 4))
THREE = Members((Member(1, "voter", A), Member(2, "voter", B, Address("0.0.0.0", 2182)), Member(3, "observer", C)), version=26)


def test_the_bytes() -> None:
    members = (Member(1, "voter", A), Member(2, "leaving", B), Member(4, "voter", D, Address("h", 1), 3888))
    joint = Members(members, (1, 2), 7, Asker(9, 8, 7, 6, 5, 4, 3))
    assert joint.encode() == (
        b"fastzk members 1\nversion 7\nold 1 2\nasker 9 8 7 6 5 4 3\nmember 1 voter 10.0.0.1:2881 - 0\n"
        b"member 2 leaving 10.0.0.2:2881 - 0\nmember 4 voter 10.0.0.4:2881 h:1 3888\n"
    )
    assert joint.membership == Membership((1, 4), (), (1, 2))
    assert joint.settled(8) == Members((members[0], members[2]), (), 8)
    assert joint.settled(8).zookeeper_text({}) == (
        "server.1=10.0.0.1:2881:0:participant\nserver.4=10.0.0.4:2881:3888:participant;h:1\nversion=8"
    )
    assert joint.addresses == {1: A, 2: B, 4: D}


def test_learners_are_observers_for_the_consensus_and_nobody_for_clients() -> None:
    members = Members((*THREE.members, Member(4, "learner", D)), version=26)
    assert members.membership == Membership((1, 2), (3, 4))
    assert members.zookeeper_text({}) == THREE.zookeeper_text({})
    assert members.settled() == THREE


def test_the_text_of_the_configuration() -> None:
    clients = {1: Address("127.0.0.1", 2181), 2: Address("127.0.0.1", 9999), 7: Address("127.0.0.1", 7)}
    assert THREE.zookeeper_text(clients) == (
        "server.1=10.0.0.1:2881:0:participant;127.0.0.1:2181\n"
        "server.2=10.0.0.2:2881:0:participant;0.0.0.0:2182\n"
        "server.3=10.0.0.3:2881:0:observer\n"
        "version=1a"
    )


def test_peers_are_members() -> None:
    assert Members.from_peers({2: B, 1: A}) == Members((Member(1, "voter", A), Member(2, "voter", B)))
    assert Members.from_peers({1: A, 2: B}, [2]).membership == Membership((1,), (2,))


@pytest.mark.parametrize(
    ("members", "old", "reason"),
    [
        ((), (), "no member is a voter"),
        ((Member(1, "observer", A),), (), "no member is a voter"),
        ((Member(2, "voter", A), Member(1, "voter", B)), (), "rising order"),
        ((Member(1, "voter", A), Member(1, "voter", B)), (), "each once"),
        ((Member(1, "voter", A), Member(2, "voter", A)), (), "one address"),
        ((Member(0, "voter", A),), (), "1 to 254"),
        ((Member(255, "voter", A),), (), "1 to 254"),
        ((Member(1, "voter", Address("a b", 1)),), (), "host"),
        ((Member(1, "voter", Address("a;b", 1)),), (), "host"),
        ((Member(1, "voter", Address("a" * 254, 1)),), (), "host"),
        ((Member(1, "voter", A, Address("a", 65536)),), (), "port"),
        ((Member(1, "voter", A), Member(2, "leaving", B)), (1,), "no old voter"),
        ((Member(1, "voter", A),), (1, 2), "old voters"),
        ((Member(1, "voter", A), Member(2, "learner", B)), (1,), "joint membership with learners"),
        (tuple(Member(n, "voter", Address("h", n)) for n in range(1, limits.PEERS_MAX + 2)), (), "at most 15"),
        (
            (Member(1, "voter", A), *(Member(n, "observer", Address("h", n)) for n in range(2, limits.MEMBERS_MAX + 2))),
            (),
            "at most 64",
        ),
    ],
)
def test_what_is_no_ensemble(members: tuple[Member, ...], old: tuple[int, ...], reason: str) -> None:
    with pytest.raises(MembersError, match=reason):
        Members(members, old)


def test_the_largest_ensemble_has_room() -> None:
    long = "h" * (limits.HOST_BYTES_MAX - 3)
    whole = Members(
        tuple(
            Member(n, "voter" if n <= limits.PEERS_MAX else "observer", Address(f"{long}{n}", 65535), Address(f"{long}{n}", 65535))
            for n in range(1, limits.MEMBERS_MAX + 1)
        ),
        version=2**63 - 1,
    )
    assert Members.decode(whole.encode()) == whole
