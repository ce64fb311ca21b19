"""The whole tree of a server, as the super user sees it: looked at, cleared, and made to count as another server's does.

Rule: what lasts (the root and the reserved znodes) goes on counting from one conversation to the next.  As long as two
servers do the same, they count the same; after a difference they are brought together again: align()."""

import struct
from typing import NamedTuple

from fastzk.defs import OpCode
from fastzk.testing.differential import steps
from fastzk.testing.differential.player import Admin

_OPEN_ACL = steps.vector([steps.acl_entry(31, "world", "anyone")])
_CONFIG_ACL = steps.vector([steps.acl_entry(1, "world", "anyone")])
CONFIG = "/zookeeper/config"
LASTING = {"/": _OPEN_ACL, "/zookeeper": _OPEN_ACL, "/zookeeper/quota": _OPEN_ACL, CONFIG: _CONFIG_ACL}
TREE_OPS = (OpCode.GET_CHILDREN2, OpCode.GET_DATA, OpCode.GET_ACL)

_STAT = struct.Struct("!qqqqiiiqiiq")
_CALLS_MAX = 500  # sent in one go

# Path -> error code and body of the replies to TREE_OPS.
Tree = dict[str, list[tuple[int, bytes]]]


def walk(admin: Admin) -> Tree:
    """Every znode, level by level."""
    tree: Tree = {}
    level = ["/"]
    while level:
        encoded = [steps.string(path) for path in level]
        calls = [(op, path if op == OpCode.GET_ACL else path + steps.boolean(0)) for op in TREE_OPS for path in encoded]
        replies = admin.call([(int(op), body) for op, body in calls])
        below = []
        for n, path in enumerate(level):
            tree[path] = replies[n :: len(level)]
            below += [path.rstrip("/") + "/" + name for name in _names(*tree[path][0])]
        level = below
    return tree


def _names(err: int, body: bytes) -> list[str]:
    assert err == 0, f"the super user may list every znode, not {err}"
    names, at = [], 4
    while at < len(body) - _STAT.size:
        size = int.from_bytes(body[at : at + 4], "big")
        names.append(body[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return names


def clear(admin: Admin, tree: Tree) -> None:
    """Deletes every znode but the lasting ones, and gives those their ACL and data again."""
    calls = [(int(OpCode.DELETE), steps.string(path) + steps.integer(-1)) for path in reversed(tree) if path not in LASTING]
    for path, acl in LASTING.items():
        _, data, got = (body for _, body in tree[path])
        if got[: -_STAT.size] != acl:
            calls.append((int(OpCode.SET_ACL), steps.string(path) + acl + steps.integer(-1)))
        if path != CONFIG and data[: -_STAT.size] != steps.buffer(b""):
            calls.append(_set_data(path))
    calls.append((int(OpCode.EXISTS), steps.string("/") + steps.boolean(0)))
    admin.call(calls)


def align(admins: tuple[Admin, Admin]) -> None:
    """Makes the lasting znodes of two cleared servers count the same, by changes that change nothing else."""
    for path in LASTING:
        if path == CONFIG:
            continue
        for admin in admins:
            admin.call([_set_data(path)])
        counts = [_Counts.of(admin, path) for admin in admins]
        most = _Counts(*map(max, *counts))
        for admin, count in zip(admins, counts, strict=True):
            _call_many(admin, [_set_data(path)] * (most.version - count.version))
            _call_many(admin, [_set_acl(path)] * (most.aversion - count.aversion))
            # A create and a delete count two.
            _call_many(admin, _create_and_delete(path) * ((most.cversion - count.cversion) // 2))


class _Counts(NamedTuple):
    version: int
    cversion: int
    aversion: int

    @classmethod
    def of(cls, admin: Admin, path: str) -> "_Counts":
        ((err, body),) = admin.call([(int(OpCode.EXISTS), steps.string(path) + steps.boolean(0))])
        assert err == 0, f"{path} lasts, but: {err}"
        return cls(*_STAT.unpack(body)[4:7])


def _call_many(admin: Admin, calls: list[tuple[int, bytes]]) -> None:
    for at in range(0, len(calls), _CALLS_MAX):
        admin.call(calls[at : at + _CALLS_MAX])


def _set_data(path: str) -> tuple[int, bytes]:
    return int(OpCode.SET_DATA), steps.string(path) + steps.buffer(b"") + steps.integer(-1)


def _set_acl(path: str) -> tuple[int, bytes]:
    return int(OpCode.SET_ACL), steps.string(path) + LASTING[path] + steps.integer(-1)


def _create_and_delete(path: str) -> list[tuple[int, bytes]]:
    child = steps.string(path.rstrip("/") + "/align")
    return [
        (int(OpCode.CREATE), child + steps.buffer(b"") + _OPEN_ACL + steps.integer(0)),
        (int(OpCode.DELETE), child + steps.integer(-1)),
    ]
