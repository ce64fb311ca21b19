"""The allocator and the write barrier under random use.

Goal: blocks never overlap, keep their content, are used again, and a full arena says so and recovers; every page that was
in use at a pin stays as it was.  Method: hypothesis allocates, fills and frees blocks of all sizes, beside a dict of what
each must hold and a copy of the region as of the pin."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fastzk._core import _testing_tree as probe
from fastzk._core.arena import Arena

GRANULE = 16
PAGE = 4096

sizes = st.one_of(st.integers(0, 600), st.integers(0, 70_000), st.sampled_from([16, 512, 513, 640, 641, 1024, 65536]))


@given(st.integers(0, 1 << 31))
def test_a_block_is_large_enough_and_not_much_larger(size: int) -> None:
    block = probe.block_size(size)
    assert block >= max(size, 1)
    assert block % GRANULE == 0
    assert probe.block_size(block) == block, "a block asked for by its own size is of the same class"
    if size <= 512:
        assert block - size <= GRANULE
    elif size <= 1 << 22:
        assert block < size * 1.25 + GRANULE
    else:
        assert block < size * 2


@given(st.integers(1, 1 << 31))
def test_classes_are_in_order(size: int) -> None:
    below = probe.block_size(size - 1)
    assert below <= probe.block_size(size)
    if below != probe.block_size(size):
        assert below <= size - 1 or size == 1


def test_there_are_at_most_96_classes() -> None:
    classes = []
    size = probe.block_size(0)
    while size:
        classes.append(size)
        size = probe.block_size(size + 1)
    assert classes[0] == 16
    assert classes[-1] == 1 << 31
    assert len(classes) == len(set(classes)) <= 96


class ArenaMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.region = bytearray(1 << 18)
        self.arena = Arena.create(self.region)
        self.blocks: dict[int, tuple[int, bytes]] = {}  # by ref: the size asked for, the content
        self.freed: dict[int, list[int]] = {}  # by class, last one last
        self.pinned: bytes | None = None

    @rule(size=sizes, byte=st.integers(0, 255))
    def alloc(self, size: int, byte: int) -> None:
        block = probe.block_size(size)
        free = self.freed.get(block, [])
        used = self.arena.used
        ref = probe.alloc(self.arena, size)
        if free:
            assert ref == free.pop(), "the block freed last is used first"
            assert self.arena.used == used
        elif used + block <= self.arena.capacity:
            assert ref == used // GRANULE
            assert self.arena.used == used + block
        else:
            assert ref == 0
            assert self.arena.used == used
            return
        content = bytes([byte]) * size
        if size:
            probe.fill(self.arena, ref, content)
        self.blocks[ref] = (size, content)

    @precondition(lambda self: self.blocks)
    @rule(choice=st.integers(0, 10**6))
    def free(self, choice: int) -> None:
        ref = sorted(self.blocks)[choice % len(self.blocks)]
        size, content = self.blocks.pop(ref)
        assert probe.see(self.arena, ref, size) == content
        probe.release(self.arena, ref, size)
        self.freed.setdefault(probe.block_size(size), []).append(ref)

    @precondition(lambda self: self.blocks)
    @rule(choice=st.integers(0, 10**6), byte=st.integers(0, 255))
    def fill(self, choice: int, byte: int) -> None:
        ref = sorted(self.blocks)[choice % len(self.blocks)]
        size, _ = self.blocks[ref]
        if size:
            self.blocks[ref] = (size, bytes([byte]) * size)
            probe.fill(self.arena, ref, self.blocks[ref][1])

    @precondition(lambda self: self.pinned is None)
    @rule()
    def pin(self) -> None:
        self.arena.pin()
        self.pinned = bytes(self.region)

    @precondition(lambda self: self.pinned is not None)
    @rule()
    def unpin(self) -> None:
        self.check_pin()
        self.arena.unpin()
        self.pinned = None

    def check_pin(self) -> None:
        if self.pinned is None:
            return
        for first, end in self.arena.pinned_ranges():
            for page in range(first, end):
                assert self.arena.pinned_pages(page, page + 1) == self.pinned[page * PAGE : (page + 1) * PAGE], f"page {page}"

    @invariant()
    def blocks_do_not_overlap(self) -> None:
        spans = [(ref * GRANULE, probe.block_size(size)) for ref, (size, _) in self.blocks.items()]
        spans += [(ref * GRANULE, size) for size, free in self.freed.items() for ref in free]
        at = self.arena.heap_offset
        for offset, size in sorted(spans):
            assert offset == at
            at += size
        assert at == self.arena.used

    def teardown(self) -> None:
        for ref, (size, content) in self.blocks.items():
            assert probe.see(self.arena, ref, size) == content
        self.check_pin()
        assert sorted(probe.free_blocks(self.arena)) == sorted(
            (size, ref * GRANULE) for size, free in self.freed.items() for ref in free
        )


TestArena = ArenaMachine.TestCase
TestArena.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
