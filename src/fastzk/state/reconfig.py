"""What a client's reconfig asks for, and the members that come of it.  ZooKeeper's text, read; values only.

    request   ustring joining | ustring leaving | ustring new members | long version        (null: not given; version -1: any)
    joining   server.N=host:port[:election port][:participant|observer][;[clients' host:]clients' port], separated by commas
    leaving   ids, separated by commas
    new       servers, separated by commas or line feeds: all members there will be; excludes the other two

Theory of operation.  Members change in up to three steps, each of which is safe by itself (raft/membership.py):

    with_learners   the new voters get the log and decide nothing                            if there are new voters
    joint           old and new voters decide, each by their majority                        if the voters change
    wanted          what was asked for, under the next version

Rule: what cannot be read is told apart from what makes no sense, since the permission is asked for in between, as ZooKeeper
does.  Rule: a member's ensemble address never changes: others may be on their way to the old one; remove it, then add it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from fastzk import limits
from fastzk.config import Address
from fastzk.errors import ErrorCode
from fastzk.state.members import Asker, Member, Members, MembersError, Role
from fastzk.wire.jute import LONG, STRING_OR_NULL, RecordError, decode_fields

_SERVER = re.compile(r"server\.([0-9]{1,18})\s*=\s*(\S+)")
# host:port, then ZooKeeper's election port and the role; an IPv6 address stands in brackets.
_WHERE = re.compile(r"(\[[^\]]*\]|[^:\[\]]+):([0-9]{1,5})(?::([0-9]{1,5}))?(?::([a-zA-Z]+))?")
_CLIENTS = re.compile(r"(?:(\[[^\]]*\]|[^:\[\]]+):)?([0-9]{1,5})")
_ROLES: dict[str, Role] = {"participant": "voter", "observer": "observer"}
ANY_HOST = "0.0.0.0"  # what ZooKeeper writes for clients that are told a port only


class ReconfigError(ValueError):
    """A request that is refused, with what the client is told."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Reconfig:
    """A request, taken apart."""

    joining: tuple[Member, ...]
    leaving: tuple[int, ...]
    new: tuple[Member, ...] | None  # all there will be; then the other two are empty


class Texts(NamedTuple):
    """A request as it comes."""

    joining: str | None
    leaving: str | None
    new: str | None
    version: int  # of the members it means, -1 for any


def decode_reconfig(body: bytes) -> Texts:
    """The fields of a request's body.  Raises ReconfigError (MarshallingError)."""
    try:
        fields, _ = decode_fields([*[STRING_OR_NULL] * 3, LONG], body)
    except RecordError as error:
        raise ReconfigError(ErrorCode.MARSHALLING_ERROR, str(error)) from error
    return Texts(*fields)


def parse_reconfig(texts: Texts) -> Reconfig:
    """What they say.  Raises ReconfigError (BadArguments) for text that is none."""
    joining, leaving, new, _ = texts
    if sum(len(text or "") for text in (joining, leaving, new)) > limits.MEMBERS_BYTES_MAX:
        raise _senseless("a request of too many servers")
    if new and (joining or leaving):
        raise _senseless("servers that join or leave, and all new members")
    return Reconfig(
        joining=tuple(map(_server, _words(joining or "", ","))),
        leaving=tuple(map(_id, _words(leaving or "", ","))),
        new=None if new is None or joining or leaving else tuple(map(_server, _new_words(new))),
    )


def wanted_members(request: Reconfig, now: Members) -> Members:
    """The members that a request makes of those that are there.  Raises ReconfigError (BadArguments) when they make no sense."""
    assert now.is_settled, "one change at a time"
    found = {each.node_id: each for each in now.members} if request.new is None else {}
    for node_id in request.leaving:
        found.pop(node_id, None)  # one that is not there is passed over, as ZooKeeper does
    joining = request.joining if request.new is None else request.new
    if len({each.node_id for each in joining}) != len(joining):
        raise _senseless("a server is named twice")
    for member in joining:
        known = now.get(member.node_id)
        if known is not None and known.address != member.address:
            raise _senseless(f"server {member.node_id} is at {known.address}: remove it, then add it at {member.address}")
        found[member.node_id] = member
    clients = [each.client for each in found.values() if each.client is not None and each.client.host != ANY_HOST]
    if len(set(clients)) != len(clients):
        raise _senseless("clients of two servers have one address")
    try:
        members = Members(tuple(found[node_id] for node_id in sorted(found)), version=now.version + 1)
        joint(now, members, None)
    except MembersError as error:
        raise _senseless(str(error)) from error
    return members


def new_voters(now: Members, wanted: Members) -> tuple[int, ...]:
    """Who becomes a voter."""
    return tuple(sorted(set(wanted.ids("voter")) - set(now.ids("voter"))))


def with_learners(now: Members, wanted: Members) -> Members:
    """The members there are, and the voters to be that are new, as learners."""
    learners = [replace(each, role="learner") for each in wanted.members if each.role == "voter" and now.get(each.node_id) is None]
    return replace(now, members=_sorted([*now.members, *learners]))


def joint(now: Members, wanted: Members, asker: Asker | None) -> Members:
    """Old and new voters together; `now` without its learners, who are in `wanted`.  Raises MembersError."""
    voters = [each for each in now.members if each.role == "voter"]
    leaving = [replace(each, role="leaving") for each in voters if wanted.get(each.node_id) is None]
    return Members(_sorted([*wanted.members, *leaving]), now.ids("voter"), now.version, asker)


def _sorted(members: list[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda each: each.node_id))


def _senseless(reason: str) -> ReconfigError:
    return ReconfigError(ErrorCode.BAD_ARGUMENTS, reason)


def _words(text: str, separators: str) -> list[str]:
    return [word.strip() for word in re.split(f"[{separators}]", text) if word.strip()]


def _new_words(text: str) -> list[str]:
    """The servers of a whole configuration, which may be a file's text: with a version, which says nothing here, and remarks."""
    return [word for word in _words(text, ",\r\n") if not re.match(r"version\s*=|#|!", word)]


def _id(word: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", word):
        raise _senseless(f"{word[:40]!r} is no server's number")
    return int(word)


def _server(word: str) -> Member:
    named = _SERVER.fullmatch(word)
    if named is None:
        raise _senseless(f"{word[:80]!r} is not server.N=HOST:PORT...")
    place, semicolon, clients = named[2].partition(";")
    where = _WHERE.fullmatch(place)
    theirs = _CLIENTS.fullmatch(clients) if semicolon else None
    if where is None or (semicolon and theirs is None):
        raise _senseless(f"{word[:80]!r} is not server.N=HOST:PORT[:PORT][:ROLE][;[HOST:]PORT]")
    role = _ROLES.get((where[4] or "participant").lower())
    if role is None:
        raise _senseless(f"{where[4][:40]!r} is neither participant nor observer")
    client = None if theirs is None else Address(_host(theirs[1] or ANY_HOST), int(theirs[2]))
    return Member(int(named[1]), role, Address(_host(where[1]), int(where[2])), client, int(where[3] or 0))


def _host(text: str) -> str:
    return text.removeprefix("[").removesuffix("]")
