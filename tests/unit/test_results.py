"""Goal: a write that a client asks again over another connection is answered as the first time, and done once (Z10).

Method: one Machine is given the entries of a session whose results are remembered: writes, new attachments, the same requests
again under their old xids; its answers and its tree are compared with what the first time gave.  Memory: what a session
kept goes with it."""

import struct

import pytest

from fastzk import limits
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import make_entry, seal
from fastzk._core.tree import format_tree
from fastzk.testing.items import RESULT, Item, parse_items

SESSION_ID = 0x0100_0000_0001_0000
NODE_ID, WORKER = 1, 3
CREATE, SET_DATA, SYNC, CREATE2, CREATE_SESSION, CLOSE_SESSION, ATTACH_SESSION = 1, 5, 9, 15, -10, -11, -12
REMEMBER, FORGET = 1, 0
KEPT_MAX = limits.RESULTS_REMEMBERED_MAX
BODY_MAX = 16384
OPEN = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"
GREETING = struct.pack(">i", 4000) + b"p" * 16
SEQUENTIAL = 2


def packed(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def create_body(path: bytes, flags: int = SEQUENTIAL) -> bytes:
    return packed(path) + packed(b"x") + OPEN + struct.pack(">i", flags)


class Talk:
    """A session at one node, and what is said in it."""

    def __init__(self, remember: int = REMEMBER, node_id: int = NODE_ID) -> None:
        self.arena = Arena.create(bytearray(4 << 20))
        format_tree(self.arena)
        self.machine = Machine(self.arena, node_id)
        self.machine.add_worker(WORKER)
        self.zxid = 1 << 32
        self._apply(make_entry(0))
        self.nonce = 100
        self.attach_zxid = self.zxid
        self.serial = 0
        self._apply(self._entry(CREATE_SESSION, GREETING, remember, self.nonce))

    def attach(self, remember: int = REMEMBER) -> int:
        """Another connection speaks for the session; whether its results are remembered."""
        self.nonce += 1
        self.attach_zxid = self.zxid
        self.serial = 0
        (result,) = (
            item for item in self._apply(self._entry(ATTACH_SESSION, GREETING, remember, self.nonce)) if item.kind == RESULT
        )
        assert result.err == 0
        return result.event

    def ask(self, op: int, body: bytes, xid: int) -> Item | None:
        """A write; its result, None when another node's worker is told."""
        self.serial += 1
        told = self._apply(self._entry(op, body, xid, self.serial))
        results = [item for item in told if item.kind == RESULT]
        assert len(results) <= 1
        return results[0] if results else None

    def count(self) -> int:
        """How many znodes there are."""
        return self.machine.counts["znodes"]

    def close(self) -> None:
        """Ends the session."""
        self.serial += 1
        self._apply(self._entry(CLOSE_SESSION, b"", 1 << 30, self.serial))

    def _entry(self, op: int, body: bytes, xid: int, serial: int) -> bytes:
        attach_zxid = 0 if op in (CREATE_SESSION, ATTACH_SESSION) else self.attach_zxid
        return make_entry(op, body, SESSION_ID, attach_zxid, serial, NODE_ID, WORKER, connection=9, cxid=xid)

    def _apply(self, entry: bytes) -> list[Item]:
        index = self.machine.applied_index + 1
        self.machine.apply(seal([entry], 1, index, self.zxid, 1000, 0))
        self.zxid += 1
        return parse_items(self.machine.take_items(WORKER))


def told(item: Item | None) -> tuple[int, int, bytes]:
    assert item is not None
    return item.xid, item.err, item.body


def test_a_repeated_write_is_answered_as_the_first_time_and_not_done_again() -> None:
    talk = Talk()
    first = [
        talk.ask(CREATE2, create_body(b"/n"), 7),
        talk.ask(CREATE, create_body(b"/none/n"), 9),
        talk.ask(CREATE, create_body(b"/m"), 10),
    ]
    assert [told(item)[1] for item in first] == [0, -101, 0]
    there, digest = talk.count(), talk.machine.digest
    talk.attach()
    again = [
        talk.ask(CREATE2, create_body(b"/n"), 7),
        talk.ask(CREATE, create_body(b"/none/n"), 9),
        talk.ask(CREATE, create_body(b"/m"), 10),
    ]
    assert [told(item) for item in again] == [told(item) for item in first]
    assert (talk.count(), talk.machine.digest) == (there, digest)
    new = talk.ask(CREATE, create_body(b"/n"), 11)
    assert told(new) == (11, 0, packed(b"/n0000000002"))
    assert talk.count() == there + 1


def test_a_repeat_may_come_to_a_node_that_did_not_answer_the_first_time() -> None:
    talk = Talk(node_id=2)
    assert talk.ask(CREATE2, create_body(b"/n"), 7) is None
    here = Talk()
    first = here.ask(CREATE2, create_body(b"/n"), 7)
    there = talk.count()
    talk.machine.add_worker(WORKER + 1)
    entry = make_entry(ATTACH_SESSION, GREETING, SESSION_ID, 0, 500, 2, WORKER + 1, connection=1, cxid=REMEMBER)
    talk.attach_zxid = talk.zxid
    talk._apply(entry)
    talk.machine.take_items(WORKER + 1)
    talk._apply(make_entry(CREATE2, create_body(b"/n"), SESSION_ID, talk.attach_zxid, 1, 2, WORKER + 1, connection=1, cxid=7))
    (result,) = parse_items(talk.machine.take_items(WORKER + 1))
    assert (result.kind, *told(result)) == (RESULT, *told(first))
    assert talk.count() == there


def test_a_connection_that_does_not_ask_for_it_ends_it_for_good() -> None:
    """Another client may have spoken meanwhile, whose xids begin at 1: what is asked again later cannot be told from new writes."""
    talk = Talk()
    talk.ask(CREATE, create_body(b"/n"), 1)
    assert talk.attach(REMEMBER) == REMEMBER
    assert talk.attach(FORGET) == FORGET
    assert told(talk.ask(CREATE, create_body(b"/n"), 1)) == (1, 0, packed(b"/n0000000001"))
    assert talk.attach(REMEMBER) == FORGET, "the client is told"
    assert told(talk.ask(CREATE, create_body(b"/n"), 1)) == (1, 0, packed(b"/n0000000002"))


def test_as_many_are_remembered_as_a_client_may_have_unanswered() -> None:
    talk = Talk()
    first = {xid: told(talk.ask(CREATE, create_body(b"/n"), xid)) for xid in range(1, KEPT_MAX + 2)}
    talk.attach()
    there = talk.count()
    for xid in range(2, KEPT_MAX + 2):
        assert told(talk.ask(CREATE, create_body(b"/n"), xid)) == first[xid]
    assert talk.count() == there
    assert told(talk.ask(CREATE, create_body(b"/n"), 1)) != first[1]


def test_xids_begin_again_at_one() -> None:
    talk = Talk()
    last = told(talk.ask(CREATE, create_body(b"/n"), 2**31 - 1))
    one = told(talk.ask(CREATE, create_body(b"/n"), 1))
    assert last[2] != one[2]
    talk.attach()
    assert told(talk.ask(CREATE, create_body(b"/n"), 2**31 - 1)) == last
    assert told(talk.ask(CREATE, create_body(b"/n"), 1)) == one


def test_a_reply_too_long_to_keep_is_asked_again_in_vain_but_not_done_again() -> None:
    talk = Talk()
    path = b"/" + b"n" * (BODY_MAX + 1)
    assert told(talk.ask(SYNC, packed(path), 5)) == (5, 0, packed(path))
    talk.attach()
    assert told(talk.ask(SYNC, packed(path), 5)) == (5, -4, b"")


@pytest.mark.parametrize("remember", [REMEMBER, FORGET])
def test_what_was_kept_goes_with_the_session(remember: int) -> None:
    talk = Talk(remember)
    used = []
    for round_ in range(20):
        for xid in range(1, 2 * KEPT_MAX):
            talk.ask(CREATE, create_body(b"/nothing/there", 0), xid + 1000 * round_)
        talk.attach(remember)
        used.append(talk.arena.counters()["used"])
    assert used[-1] == used[3], "memory grows"
    talk.close()
    assert talk.machine.counts["sessions"] == 0
