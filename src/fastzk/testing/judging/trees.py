"""C14, E6: every node's tree is the one that the log makes.

The digest of a node must be that of every other at the same zxid, and that of a fresh machine which applies the log; and the
fresh machine's tree must answer like the model for every path.  Where a node tells its znodes, they must be the model's."""

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.reads import answer
from fastzk._core.tree import digest, format_tree
from fastzk.defs import OpCode
from fastzk.testing.judging.case import Case
from fastzk.testing.model import Model, packed

ARENA_BYTES_MIN = 1 << 24
BYTES_FACTOR = 4  # of a log's bytes: more than its tree can need
NODE_ID = 1
SUPER = b"\0\0\0\1" + packed(b"super") + packed(b"")


def judge_trees(case: Case, blocks: list[bytes], model: Model) -> None:
    """All nodes."""
    digests: dict[int, tuple[str, str]] = {}
    for node in case.history.nodes:
        if node.digest:
            name, first = digests.setdefault(node.applied_zxid, (node.name, node.digest))
            if first != node.digest:
                what = f"{name} and {node.name} have other trees at {node.applied_zxid:#x}: {first}, {node.digest}"
                case.flag("C14", what)
        if node.znodes is not None and node.applied_zxid == case.last_zxid:
            judge_listing(case, node.name, dict(node.znodes), model)
    judge_machine(case, blocks, model, digests)


def judge_listing(case: Case, name: str, znodes: dict[bytes, bytes], model: Model) -> None:
    """What a node has, znode by znode."""
    for path in sorted(znodes.keys() | model.znodes.keys()):
        znode = model.znodes.get(path)
        expected = packed(znode.data) + znode.stat() if znode else None
        if znodes.get(path) != expected:
            case.flag("C14", f"{name} has {path!r} as {znodes.get(path)!r}, the log makes it {expected!r}")


def judge_machine(case: Case, blocks: list[bytes], model: Model, digests: dict[int, tuple[str, str]]) -> None:
    """The log, applied once more by what the nodes run."""
    arena = Arena.create(bytearray(ARENA_BYTES_MIN + BYTES_FACTOR * sum(map(len, blocks))))
    format_tree(arena)
    machine = Machine(arena, NODE_ID)
    for block in blocks:
        machine.apply(block)
        if machine.applied_zxid in digests:
            name, told = digests[machine.applied_zxid]
            if told != f"{machine.digest:032x}":
                what = f"{name} has the digest {told} at {machine.applied_zxid:#x}, its log makes {machine.digest:032x}"
                case.flag("C14", what)
    if machine.digest != digest(arena):
        case.flag("C14", f"the digest that was kept is {machine.digest:032x}, that of the tree {digest(arena):032x}")
    for path, znode in model.znodes.items():
        err, _, body = answer(arena, OpCode.GET_DATA, path, SUPER)
        if (err, body) != (0, packed(znode.data) + znode.stat()):
            case.flag("C14", f"the machine makes {path!r} {err} {body!r}, the model {znode.stat()!r} {znode.data!r}")
    if machine.counts["znodes"] != len(model.znodes):
        case.flag("C14", f"the machine has {machine.counts['znodes']} znodes, the model {len(model.znodes)}")
