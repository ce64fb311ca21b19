"""A short torture of the arena (torture_arena.py tells goal and method), and the proof that it can fail."""

from torture_arena import torture


def test_no_read_that_won_its_race_is_torn() -> None:
    outcome = torture(reads=1_000_000, readers=2)
    assert not outcome.failures
    assert not outcome.wrong
    assert outcome.reads >= 1_000_000
    assert outcome.writes > 1000
    assert sum(outcome.torn.values()) > 0, "no read was ever torn, so the checks had nothing to find"


def test_a_reader_that_believes_every_read_is_found_out() -> None:
    """Without arena_read_valid the same reads are wrong, and counted as wrong."""
    outcome = torture(reads=300_000, readers=2, is_checked=False)
    assert not outcome.failures
    assert sum(outcome.wrong.values()) > 0
    assert not outcome.is_good
