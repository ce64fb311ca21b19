"""The members of an ensemble: who they are, where they are reached, and what they may do.  What an OP_MEMBERS entry carries.

    fastzk members 1                                    the form
    version 3                                           counts the changes that were completed
    old 1 2 3                                           only while joint: who decides besides the new voters
    asker 93 4294967297 17 5 1 2 40                     only while joint, if a client asked for it: fields of Asker
    member 1 voter 10.0.0.1:2881 10.0.0.1:2181 0        id, role, ensemble address, where its clients go (or -),
    member 3 leaving 10.0.0.3:2881 - 0                        and the port for elections that ZooKeeper would have
    member 4 voter [fd00::4]:2881 - 3888

Roles.  voter and observer are what a member is asked to be.  The other two stand there only while a change is under way: a
learner is new and catches up, so that as a voter it does not hold anybody up; a member that is leaving decides with the old
voters until the joint membership is committed.  So whoever leads can tell, from the members alone, how a change ends that
somebody else began: settled() drops the one and the other.  And `asker` tells whom to answer: a request that was carried out is
not carried out again because its leader died over it (Z10).

Rules: values only, canonical: equal members are equal bytes, and other bytes are refused.  Text of clients (a server's
specification, /zookeeper/config) is ZooKeeper's and is written here, read in state/reconfig.py."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fastzk import limits
from fastzk.config import Address, ConfigError, parse_address
from fastzk.raft.membership import Membership

Role = Literal["voter", "observer", "learner", "leaving"]
ROLES: tuple[Role, ...] = ("voter", "observer", "learner", "leaving")

_FORM = "fastzk members 1"
# Neither what separates words here, nor what does so in ZooKeeper's text (= ; |).
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}")  # up to 64 bits, which _check looks at


class MembersError(ValueError):
    """These are no members; the text says why."""


class Asker(NamedTuple):
    """The entry of the client that asked for a change, but for its body."""

    session_id: int
    attach_zxid: int
    serial: int
    cxid: int
    node_id: int
    worker: int
    connection: int


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the ensemble."""

    node_id: int
    role: Role
    # Where other nodes reach it.
    address: Address
    # Where its clients of ZooKeeper's protocol go, if whoever added it said so; else the node itself tells.
    client: Address | None = None
    # ZooKeeper's port for elections, told to clients as it was given; no node listens there.
    election_port: int = 0


@dataclass(frozen=True, slots=True)
class Members:
    """All members.  Raises MembersError when they cannot be an ensemble."""

    members: tuple[Member, ...]  # by id
    old_voters: tuple[int, ...] = ()  # while joint
    version: int = 0
    asker: Asker | None = None  # while joint: who waits for it

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def from_peers(cls, peers: Mapping[int, Address], observers: Collection[int] = ()) -> Members:
        """The members of a list like that of --peers.  Raises MembersError."""
        return cls(
            tuple(Member(each, "observer" if each in observers else "voter", address) for each, address in sorted(peers.items()))
        )

    @classmethod
    def decode(cls, data: bytes) -> Members:
        """The members that these bytes name.  Raises MembersError."""
        if len(data) > limits.MEMBERS_BYTES_MAX:
            raise MembersError(f"{len(data)} bytes of members")
        try:
            lines = data.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise MembersError("members that are not ASCII") from error
        if lines[0] != _FORM or lines[-1] != "":
            raise MembersError(f"members begin with {lines[0][:40]!r} instead of {_FORM!r}, or end in the middle of a line")
        version = 0
        old_voters: tuple[int, ...] = ()
        asker = None
        members: list[Member] = []
        for line in lines[1:-1]:
            match line.split(" "):
                case ["version", number]:
                    version = _number(number)
                case ["old", *numbers]:
                    old_voters = tuple(map(_number, numbers))
                case ["asker", *numbers] if len(numbers) == len(Asker._fields):
                    asker = Asker(*map(_number, numbers))
                case ["member", number, role, address, client, election_port]:
                    members.append(_member(number, role, address, client, election_port))
                case _:
                    raise MembersError(f"members have a line {line[:80]!r}")
        made = cls(tuple(members), old_voters, version, asker)
        if made.encode() != data:
            raise MembersError("members that are not in their canonical form")
        return made

    def encode(self) -> bytes:
        """The same members always give the same bytes."""
        lines = [_FORM, f"version {self.version}"]
        if self.old_voters:
            lines.append("old " + " ".join(map(str, self.old_voters)))
        if self.asker:
            lines.append("asker " + " ".join(map(str, self.asker)))
        lines += [f"member {m.node_id} {m.role} {m.address} {m.client or '-'} {m.election_port}" for m in self.members]
        return ("\n".join(lines) + "\n").encode("ascii")

    @property
    def membership(self) -> Membership:
        """What the consensus is told."""
        return Membership(
            voters=self.ids("voter"),
            observers=tuple(sorted(self.ids("observer") + self.ids("learner"))),
            old_voters=self.old_voters,
        )

    @property
    def addresses(self) -> dict[int, Address]:
        """Where nodes reach one another, those that join or leave included."""
        return {each.node_id: each.address for each in self.members}

    @property
    def is_settled(self) -> bool:
        """Whether no change of them is under way."""
        return not self.old_voters and not self.ids("learner")

    def settled(self, version: int | None = None) -> Members:
        """The members once the change under way has ended: a joint one completed, one that is not joint taken back."""
        kept = tuple(each for each in self.members if each.role in ("voter", "observer"))
        return Members(kept, (), self.version if version is None else version)

    def ids(self, role: Role) -> tuple[int, ...]:
        """Who has this role."""
        return tuple(each.node_id for each in self.members if each.role == role)

    def get(self, node_id: int) -> Member | None:
        """The member of this id."""
        return next((each for each in self.members if each.node_id == node_id), None)

    def zookeeper_text(self, clients: Mapping[int, Address]) -> str:
        """The data of /zookeeper/config once settled; `clients` is where nodes say that their clients go.

        What whoever added a member said of its clients comes first: the node itself may know less of the network."""
        lines = [
            f"server.{each.node_id}={_spec(each, each.client or clients.get(each.node_id))}\n" for each in self.settled().members
        ]
        return "".join(lines) + f"version={self.version:x}"


def _spec(member: Member, client: Address | None) -> str:
    """host:port:election port:role;clients.  That port is 0 for who was given none: ZooKeeper's own reader lets it be 0, and not
    the same as the other."""
    host = f"[{member.address.host}]" if ":" in member.address.host else member.address.host
    role = "participant" if member.role == "voter" else "observer"
    return f"{host}:{member.address.port}:{member.election_port}:{role}" + (f";{client}" if client is not None else "")


def _check(members: Members) -> None:
    ids = [each.node_id for each in members.members]
    voters = members.ids("voter")
    if ids != sorted(set(ids)):
        raise MembersError(f"members {ids} are not in rising order, each once")
    if not voters:
        raise MembersError("no member is a voter")
    if len(voters) > limits.PEERS_MAX:
        raise MembersError(f"{len(voters)} voters; at most {limits.PEERS_MAX} are allowed")
    if len(ids) > limits.MEMBERS_MAX:
        raise MembersError(f"{len(ids)} members; at most {limits.MEMBERS_MAX} are allowed")
    if not 0 <= members.version < 1 << 63:
        raise MembersError(f"version {members.version}")
    for each in members.members:
        _check_member(each)
    addresses = [each.address for each in members.members]
    if len(set(addresses)) != len(addresses):
        raise MembersError("two members have one address")
    old = members.old_voters
    if list(old) != sorted(set(old)) or len(old) > limits.PEERS_MAX or not set(old) <= set(ids):
        raise MembersError(f"old voters {list(old)} of members {ids}")
    if stray := set(members.ids("leaving")) - set(old):
        raise MembersError(f"member {min(stray)} is leaving and no old voter")
    if old and members.ids("learner"):
        raise MembersError("a joint membership with learners")
    if members.asker and not old:
        raise MembersError("somebody asked for a membership that is not joint")
    if members.asker and not all(0 <= number < 1 << 64 for number in members.asker):
        raise MembersError(f"an asker {members.asker}")


def _check_member(member: Member) -> None:
    if not 1 <= member.node_id <= 254:
        raise MembersError(f"node id {member.node_id}; it must be from 1 to 254")
    if member.role not in ROLES:
        raise MembersError(f"member {member.node_id} has the role {member.role!r}")
    for address in (member.address, member.client):
        if address is None:
            continue
        if len(address.host) > limits.HOST_BYTES_MAX or not _HOST.fullmatch(address.host):
            raise MembersError(f"member {member.node_id} has a host {address.host[:80]!r}")
        if not 0 < address.port < 65536:
            raise MembersError(f"member {member.node_id} has a port {address.port}")
    if not 0 <= member.election_port < 65536:
        raise MembersError(f"member {member.node_id} has a port {member.election_port}")


def _member(number: str, role: str, address: str, client: str, election_port: str) -> Member:
    try:
        where = parse_address(address, f"member {number}")
        theirs = None if client == "-" else parse_address(client, f"member {number}")
    except ConfigError as error:
        raise MembersError(str(error)) from error
    if role not in ROLES:
        raise MembersError(f"member {number} has the role {role!r}")
    return Member(_number(number), role, where, theirs, _number(election_port))


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise MembersError(f"{text[:40]!r} is no number")
    return int(text)
