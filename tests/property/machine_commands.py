"""Random commands of several sessions, as entries: what the property tests of the state machine are fed with.

A command is drawn without knowing the state; what depends on it (versions, serials, the attachment that speaks) is taken from
the model when it is the command's turn."""

import struct
from typing import NamedTuple

from hypothesis import strategies as st

from fastzk._core.blocks import make_entry
from fastzk.testing.model import Model, packed

NODE_ID, OTHER_NODE_ID = 1, 2
SESSION_IDS = (0x0100000000000001, 0x0100000000000002, 0x02FFFFFFFFFFFFFF)
CREATE, DELETE, SET_DATA, SET_ACL, SYNC, CHECK, MULTI, CREATE2, RECONFIG = 1, 2, 5, 7, 9, 13, 14, 15, 16
CREATE_CONTAINER, REAP, CREATE_TTL = 19, 20, 21
CREATES = (CREATE, CREATE2, CREATE_CONTAINER, CREATE_TTL)
CREATE_SESSION, CLOSE_SESSION, ATTACH_SESSION, IDENTIFY, CONFIG, RECONFIGURED = -10, -11, -12, -13, -14, -17

PATHS = (
    b"/a", b"/a/b", b"/a/b/c", b"/e", b"/e/f", b"/s-", b"/a/s-", "/é".encode(), b"/a/", b"/",
    b"", b"a", b"//", b"/a//b", b"/a/.", b"/a/..", b"/..a", b"/a\x00", b"/\x01", b"/\xff", "/\ue000".encode(),
    "/\U0001f600".encode(), b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config", b"/zookeeper/config/x",
    b"/zookeeper/quota/x", b"/" + b"x" * 4095, b"/" + b"x" * 4096, b"/" + b"x" * 4084, b"/" + b"x" * 4085, None,
)  # fmt: skip
LIKELY_PATHS = PATHS[:6]
QUOTA_PATHS = (
    b"/zookeeper/quota/a", b"/zookeeper/quota/a/zookeeper_limits", b"/zookeeper/quota/a/zookeeper_stats",
    b"/zookeeper/quota/a/b", b"/zookeeper/quota/a/b/zookeeper_limits", b"/zookeeper/quota/a/b/zookeeper_stats",
    b"/zookeeper/quota/zookeeper_limits", b"/zookeeper/quota/zookeeper_stats",
    b"/zookeeper/quota/zookeeper", b"/zookeeper/quota/zookeeper/zookeeper_limits", b"/zookeeper/quota/zookeeper/zookeeper_stats",
)  # fmt: skip
QUOTA_TEXTS = (
    b"count=3,bytes=-1", b"count=-1,bytes=12", b"count=-1,bytes=-1=;countHardLimit=3", b"count=2,bytes=9=;byteHardLimit=25",
    b"count=1,bytes=1=;byteHardLimit=9;countHardLimit=2", b"", b"garbage", b"count=", b"count==5", b"zzz=7;aaa=8,,count=+4=x",
    b",count=1", b"count=1,", b"bytes=9223372036854775807", b"bytes=9223372036854775808", b"=5", b"count=--1", b";,",
)  # fmt: skip


def acl(*ids: tuple[int, bytes | None, bytes | None]) -> bytes:
    return struct.pack(">i", len(ids)) + b"".join(struct.pack(">i", p) + packed(s) + packed(i) for p, s, i in ids)


def identities(*ids: tuple[bytes | None, bytes | None]) -> bytes:
    return struct.pack(">i", len(ids)) + b"".join(packed(scheme) + packed(name) for scheme, name in ids)


OPEN = acl((31, b"world", b"anyone"))
USER = (b"digest", b"user:hash")
ACLS = (
    OPEN,
    acl((1, b"world", b"anyone")),
    acl((14, b"world", b"anyone")),
    acl((0, b"world", b"anyone"), (31, *USER)),
    acl((31, *USER)),
    acl((31, b"auth", b"")),
    acl((31, b"world", b"anyone"), (31, b"world", b"anyone"), (1, b"ip", b"10.0.0.0/8")),
    acl((31, b"ip", b"10.0.0.0/8")),
    acl((31, b"world", b"everyone")),
    acl((31, b"digest", b"user")),
    acl((31, b"world", b"anyone"), (31, b"ip", b"10.0.0.0/33")),
    acl((31, None, b"anyone")),
    acl((31, b"world", None)),
    struct.pack(">i", 0),
    struct.pack(">i", -1),
    struct.pack(">i", -7),
)
IDENTITIES = (
    b"",
    identities((b"ip", b"127.0.0.1")),
    identities((b"ip", b"10.1.2.3"), USER),
    identities((b"super", b"")),
    identities(),
    identities((b"ip", None)),
    identities(USER)[:-1],
    identities(USER) + b"x",
    struct.pack(">i", -1),
    b"\0",
)


class Command(NamedTuple):
    """What a session is about to do; what depends on the state is resolved when it is its turn."""

    session: int
    op: int
    path: bytes | None
    pick: int | None  # instead of the path one that is there, or a child of it
    data: bytes | None
    acl: bytes
    flags: int
    ttl: int
    version_skew: int | None  # None: any version
    serial_skew: int
    is_stale: bool
    is_damaged: int | None  # bytes left of the body
    garbage: bytes
    identities: bytes
    origin: tuple[int, int]  # node, worker
    parts: tuple["Command", ...]  # of a multi


def mostly(usual: object, *rare: object) -> st.SearchStrategy[object]:
    return st.sampled_from([usual] * (20 * len(rare)) + list(rare))


WRITES = [CREATE] * 6 + [CREATE2] * 6 + [DELETE] * 8 + [SET_DATA] * 8 + [SET_ACL] * 2 + [CREATE_CONTAINER, CREATE_TTL] * 3
OTHERS = [SYNC, RECONFIG, RECONFIGURED, 77, IDENTIFY, CONFIG, REAP, CREATE_SESSION, ATTACH_SESSION, CLOSE_SESSION]


def commands_of(ops: st.SearchStrategy[int], parts: st.SearchStrategy[tuple[Command, ...]]) -> st.SearchStrategy[Command]:
    return st.builds(
        Command,
        session=mostly(0, 1, 1, 1, 2),
        op=ops,
        path=st.one_of(
            *[st.sampled_from(LIKELY_PATHS)] * 9, *[st.sampled_from(QUOTA_PATHS)] * 3, st.sampled_from(PATHS),
        ),
        pick=st.one_of(st.none(), *[st.integers(0, 10**6)] * 3),
        data=st.one_of(st.none(), st.binary(max_size=20), st.sampled_from(QUOTA_TEXTS)),
        acl=mostly(OPEN, *ACLS),
        flags=st.sampled_from([0] * 40 + [1] * 20 + [2, 3] * 10 + [4, 5, 6] * 8 + [7, -1]),
        ttl=st.sampled_from([1, 5000, 5000, 60_000, 1 << 39, (1 << 40) - 1, 1 << 40, 0, -1]),
        version_skew=st.sampled_from([None] * 5 + [0] * 5 + [1]),
        serial_skew=mostly(0, -1, 1),
        is_stale=mostly(False, True),
        is_damaged=mostly(None, 0, 3, 7, 11),
        garbage=mostly(b"", b"\x00", b"garbage"),
        identities=st.sampled_from(IDENTITIES[:4] * 4 + IDENTITIES),
        origin=st.sampled_from([(NODE_ID, 1), (NODE_ID, 2), (NODE_ID, 3), (OTHER_NODE_ID, 1)]),
        parts=parts,
    )  # fmt: skip


# setACL may not be part of a multi; a multi that has it, or sync, is refused as a whole.
PARTS = commands_of(st.sampled_from([op for op in WRITES * 6 if op != SET_ACL] + [CHECK] * 20 + [SYNC, SET_ACL]), st.just(()))
COMMANDS = st.lists(
    commands_of(st.sampled_from(WRITES * 2 + [MULTI] * 20 + [REAP] * 6 + OTHERS), st.lists(PARTS, max_size=4).map(tuple)),
    min_size=20,
    max_size=60,
)


def session_of(session: int, **fields: object) -> Command:
    """The command that begins a session."""
    usual = Command(session, CREATE_SESSION, None, None, None, b"", 0, 0, None, 0, False, None, b"", b"", (NODE_ID, 1), ())
    return usual._replace(**fields)


def create_of(path: bytes, data: bytes = b"") -> Command:
    """A plain create by the first session."""
    return session_of(0, op=CREATE, path=path, data=data, acl=OPEN)


def body_of(command: Command, model: Model) -> bytes:
    if command.op in (CREATE_SESSION, ATTACH_SESSION):
        wrong = command.is_damaged is not None
        return struct.pack(">i", 4000 + command.session) + (b"w" if wrong else b"p") * 16 + command.identities
    if command.op == CLOSE_SESSION:
        return b""
    if command.op == CONFIG:
        return command.data or b""
    if command.op == IDENTIFY:
        body = command.identities
    elif command.op == RECONFIGURED:
        body = struct.pack(">i", -command.flags)
    elif command.op == MULTI:
        body = b"".join(multi_part(part, model) for part in command.parts) + struct.pack(">i?i", -1, True, -1)
    else:
        body = record_of(command, model)
    return body[: command.is_damaged] + (command.garbage if command.is_damaged is None else b"")


def multi_part(part: Command, model: Model) -> bytes:
    return struct.pack(">i?i", part.op, False, -1) + record_of(part, model)


def path_of(command: Command, model: Model) -> bytes | None:
    if command.pick is None:
        return command.path
    paths = sorted(path for path in model.znodes if len(path) < 100)
    path = paths[command.pick % len(paths)]
    if command.op not in CREATES:
        return path
    names = (b"a", b"b", b"s-", b"zookeeper_stats", b"zookeeper_limits") if b"quota" in path else (b"a", b"b", b"s-")
    return path.rstrip(b"/") + b"/" + names[command.pick // 1000 % len(names)]


def record_of(command: Command, model: Model) -> bytes:
    """The record of one operation on a path."""
    path = path_of(command, model)
    version = -1
    if command.version_skew is not None:
        znode = model.znodes.get(path or b"")
        found = 0 if znode is None else znode.aversion if command.op == SET_ACL else znode.version
        version = found + command.version_skew
    body = packed(path)
    if command.op in CREATES:
        flags = command.flags
        if command.op == CREATE_TTL and flags < 4:
            flags = 5  # else hardly one would be right
        elif command.op in (CREATE, CREATE2) and flags > 4 and command.version_skew is None:
            flags -= 4
        body += packed(command.data) + command.acl + struct.pack(">i", flags)
        if command.op == CREATE_TTL:
            body += struct.pack(">q", command.ttl)
    elif command.op == SET_DATA:
        body += packed(command.data) + struct.pack(">i", version)
    elif command.op == SET_ACL:
        body += command.acl + struct.pack(">i", version)
    elif command.op in (DELETE, CHECK):
        body += struct.pack(">i", version)
    return body


def entry_of(command: Command, model: Model, nonce: int) -> bytes:
    """The command as an entry, for the state that the model is in."""
    if command.op in (CONFIG, REAP):
        return make_entry(command.op, body_of(command, model))
    session = model.sessions.get(SESSION_IDS[command.session])
    attach_zxid = session.attach_zxid if session else 1
    serial = session.last_serial + 1 + command.serial_skew if session else 1
    if command.op in (CREATE_SESSION, ATTACH_SESSION):
        attach_zxid, serial = 0, nonce
        if command.serial_skew and session:
            serial = session.nonce
    elif command.op == CLOSE_SESSION and command.flags == 1:
        serial = 0
    node_id, worker = command.origin
    return make_entry(
        command.op,
        body_of(command, model),
        session_id=SESSION_IDS[command.session],
        attach_zxid=max(attach_zxid - command.is_stale, 0),
        serial=max(serial, 0),
        node_id=node_id,
        worker=worker,
        connection=7 + command.session,
        cxid=nonce,
    )
