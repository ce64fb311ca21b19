"""Goal: a session expires in (timeout, timeout + bucket] after it was last heard of, and never otherwise.

Method: random histories of put, touch, remove and time against a twin that keeps one number per session."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fastzk.state.expiry import ExpiryTable

BUCKET_MS = 500
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 5), st.sampled_from([4000, 10_000, 40_000])),
        st.tuples(st.just("touch"), st.integers(1, 6), st.just(0)),
        st.tuples(st.just("remove"), st.integers(1, 6), st.just(0)),
        st.tuples(st.just("wait"), st.just(0), st.integers(0, 6000)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(0, 10_000))
def test_sessions_expire_in_time_and_never_early(steps: list[tuple[str, int, int]], start_ms: int) -> None:
    now_ms = start_ms
    table = ExpiryTable(BUCKET_MS)
    table.begin([], now_ms)
    heard: dict[int, tuple[int, int]] = {}  # session -> (last heard, timeout)
    zxid = 0
    for action, session_id, number in steps:
        if action == "put":
            zxid += 1
            table.put(session_id, zxid, number, now_ms)
            heard[session_id] = (now_ms, number)
        elif action == "touch":
            table.touch([session_id], now_ms)
            if session_id in heard:
                heard[session_id] = (now_ms, heard[session_id][1])
        elif action == "remove":
            table.remove(session_id)
            heard.pop(session_id, None)
        else:
            for _ in range(number // 100):  # the engine asks often; each expiry is seen at the first asking after it is due
                now_ms += 100
                for expired, _ in table.due(now_ms):
                    last_ms, timeout_ms = heard[expired]
                    assert timeout_ms < now_ms - last_ms <= timeout_ms + BUCKET_MS + 100
                    heard[expired] = (now_ms, timeout_ms)
                for last_ms, timeout_ms in heard.values():
                    assert now_ms - last_ms <= timeout_ms + BUCKET_MS + 100, "an expiry was missed"
        assert len(table) == len(heard)


def test_begin_starts_every_timer_anew() -> None:
    table = ExpiryTable(BUCKET_MS)
    table.begin([(1, 10, 4000), (2, 20, 8000)], 1_000_000)
    assert table.due(1_004_000) == []
    assert table.due(1_004_501) == [(1, 10)]
    assert table.due(1_008_501) == [(2, 20)]
    table.begin([(3, 30, 4000)], 2_000_000)
    assert len(table) == 1
    assert table.due(2_004_501) == [(3, 30)]
