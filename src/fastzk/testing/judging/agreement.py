"""C1: the nodes' logs are one log.

The committed log is what the nodes had applied when they stopped, up to the highest of them; what stands behind it in a node's
log was never promised.  A node whose snapshots replaced the beginning, or all of it, is completed from the others."""

from collections.abc import Sequence

from fastzk._core.blocks import BlockDamaged, BlockInfo, check
from fastzk.testing.history import NodeEnd
from fastzk.testing.judging.verdict import Verdict

EPOCH_SHIFT, COUNTER_MASK = 32, 0xFFFFFFFF


def agreed_blocks(nodes: Sequence[NodeEnd], verdict: Verdict) -> list[bytes]:
    """The blocks of the committed log, in order; of blocks that differ those of the node that is named first."""
    committed_zxid = max((node.applied_zxid for node in nodes), default=0)
    known: dict[int, tuple[BlockInfo, bytes, str]] = {}
    for node in nodes:
        last: BlockInfo | None = None
        for block in node.blocks:
            head = checked(block, node.name, last, verdict)
            if head is None:
                break
            if head.first_zxid > committed_zxid:
                break
            last = head
            other, _, name = known.setdefault(head.first_index, (head, block, node.name))
            if other.checksum != head.checksum:
                verdict.flag("C1", f"the logs of {name} and {node.name} differ at index {head.first_index}", other, head)
        if last is not None and node.applied_zxid > last.last_zxid:
            verdict.flag("C1", f"{node.name} had applied {node.applied_zxid:#x}, its log ends at {last.last_zxid:#x}")
    return chained(known, verdict)


def checked(block: bytes, name: str, last: BlockInfo | None, verdict: Verdict) -> BlockInfo | None:
    """The head of a block that is right in itself and follows the one before; None: the log is not one from here on."""
    try:
        head = check(block)
    except BlockDamaged as damage:
        verdict.flag("C1", f"a block of {name} is damaged ({damage}), behind {last}")
        return None
    if last is None:
        return head
    if (head.first_index, head.previous) != (last.last_index + 1, last.checksum):
        verdict.flag("C1", f"in the log of {name} a block does not follow the one before", last, head)
        return None
    if head.first_zxid <= last.last_zxid:
        verdict.flag("C1", f"in the log of {name} zxids fall from {last.last_zxid:#x} to {head.first_zxid:#x}", last, head)
    is_next = head.first_zxid == last.last_zxid + 1
    is_epoch = head.first_zxid >> EPOCH_SHIFT > last.last_zxid >> EPOCH_SHIFT and head.first_zxid & COUNTER_MASK == 0
    if head.first_zxid > last.last_zxid and not (is_next or is_epoch):
        verdict.flag("C1", f"in the log of {name} zxids have a gap behind {last.last_zxid:#x}", last, head)
    return head


def chained(known: dict[int, tuple[BlockInfo, bytes, str]], verdict: Verdict) -> list[bytes]:
    """The blocks from index 1 on, as far as each follows the one before."""
    found: list[bytes] = []
    index = 1
    while index in known:
        head, block, _ = known[index]
        found.append(block)
        index = head.last_index + 1
    if len(found) < len(known):
        verdict.invalid.append(f"no log has the entry {index}: {len(known) - len(found)} blocks behind it cannot be judged")
    return found
