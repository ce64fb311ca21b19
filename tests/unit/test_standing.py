"""Goal: a node serves only while it is up to date for all it knows, and goes on through short elections.

Method: stories of a few moments each; the clock is a number."""

from fastzk.state.standing import Standing

BOUND_MS = 2000


def serving(now_ms: int = 0) -> Standing:
    standing = Standing(BOUND_MS, now_ms)
    standing.update(now_ms, has_leader=True, applied_index=5, is_epoch_applied=True)
    assert standing.is_serving
    return standing


def test_it_serves_once_the_epochs_first_entry_is_applied() -> None:
    standing = Standing(BOUND_MS, 0)
    standing.update(10, has_leader=False, applied_index=0, is_epoch_applied=False)
    standing.update(20, has_leader=True, applied_index=0, is_epoch_applied=False)
    assert not standing.is_serving
    standing.update(30, has_leader=True, applied_index=1, is_epoch_applied=True)
    assert standing.is_serving


def test_it_goes_on_through_an_election_and_not_longer_than_the_bound() -> None:
    standing = serving()
    standing.update(BOUND_MS, has_leader=False, applied_index=5, is_epoch_applied=False)
    assert standing.is_serving
    standing.update(BOUND_MS + 1, has_leader=False, applied_index=5, is_epoch_applied=False)
    assert not standing.is_serving
    assert standing.is_alone
    standing.update(BOUND_MS + 2, has_leader=True, applied_index=6, is_epoch_applied=True)
    assert standing.is_serving
    assert not standing.is_alone


def test_a_node_that_hears_and_is_not_heard_stops_serving() -> None:
    """It once went on for ever: a leader was there, and what it committed never came."""
    standing = serving()
    for now_ms in range(0, 3 * BOUND_MS, 100):
        standing.hear_committed(6 + now_ms)
        standing.update(now_ms, has_leader=True, applied_index=5, is_epoch_applied=True)
    assert standing.is_stuck
    assert not standing.is_serving
    standing.update(3 * BOUND_MS, has_leader=True, applied_index=7, is_epoch_applied=True)
    assert standing.is_serving


def test_a_node_that_lags_and_moves_goes_on() -> None:
    standing = serving()
    for now_ms in range(0, 5 * BOUND_MS, 1000):
        standing.hear_committed(1_000_000 + now_ms)
        standing.update(now_ms, has_leader=True, applied_index=5 + now_ms, is_epoch_applied=True)
        assert standing.is_serving
