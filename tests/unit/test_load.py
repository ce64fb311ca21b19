"""Goal: what the load generator reports is what happened.

Method: the histogram's places against plain arithmetic, and runs against a small server of the protocol that judges each
request (bench_judge.py) and answers wrongly or late on request."""

from collections import Counter
from dataclasses import replace

import pytest
from bench_judge import CLOSE, CREATE, DELETE, GET, MULTI, SET, judging, judging_natively
from hypothesis import given
from hypothesis import strategies as st

from fastzk.bench._load import bucket, bucket_floor
from fastzk.bench.load import OPERATIONS, Interrupted, Progress, Result, UnreachableError, Workload, percentiles, run


@given(st.integers(0, 2**63 - 1))
def test_a_place_of_the_histogram_is_within_3_percent_of_its_values(value: int) -> None:
    low = bucket_floor(bucket(value))
    assert low <= value < bucket_floor(bucket(value) + 1)
    assert value - low <= value / 32


def test_percentiles_are_taken_over_the_whole_histogram() -> None:
    histogram = [0] * 2048
    histogram[bucket(1_000)] = 98
    histogram[bucket(1_000_000)] = 2
    found = percentiles(histogram, 1_234_567)
    assert found["p50"] == found["p90"] == pytest.approx(1, rel=0.04)
    assert found["p99"] == found["p999"] == pytest.approx(1000, rel=0.04)
    assert found["max"] == 1234.567
    assert percentiles([0] * 2048, 0) == {}


BRIEF = Workload(connections=3, window=4, get_percent=50, create_percent=25, keys=10, warm_up_s=0.0, operations=500)


def test_a_run_counts_what_the_server_answered() -> None:
    with judging() as judge:
        result = run([judge.address], BRIEF)
    assert result.is_clean
    assert result.operations == 500
    assert judge.connections == 1 + 3
    assert judge.asked[CLOSE] == 1 + 3
    assert judge.asked[CREATE] - 11 + judge.asked[GET] + judge.asked[SET] == 500
    assert judge.asked[GET] > judge.asked[SET] > 0
    assert sum(result.reads) == judge.asked[GET]
    assert sum(result.writes) == 500 - judge.asked[GET]
    assert result.read_us["p50"] > 0
    assert result.write_us["max"] >= result.write_us["p50"]


def test_every_operation_comes_as_often_as_its_weight_says() -> None:
    """The judge sees that each is a whole record, no create doubled and no delete in vain."""
    mix = {"get": 4, "set": 1, "create": 2, "exists": 1, "children": 1, "delete": 1, "multi": 1}
    assert set(mix) == set(OPERATIONS)
    with judging() as judge:
        result = run([judge.address], Workload(connections=2, window=5, keys=20, mix=mix, multi=3, operations=1100, warm_up_s=0))
    assert result.is_clean
    counts = {4: judge.asked[GET], 2: judge.asked[CREATE] - 21, 1: judge.asked[MULTI]}
    for weight, count in counts.items():
        assert count == pytest.approx(100 * weight, rel=0.5)
    assert judge.asked[3] > 50
    assert judge.asked[8] > 50
    assert judge.asked[DELETE] > 50
    assert len(judge.read) == 20


def test_a_load_of_deletes_creates_what_it_deletes() -> None:
    with judging() as judge:
        result = run([judge.address], Workload(connections=2, window=3, keys=1, mix={"delete": 1}, operations=200, warm_up_s=0))
    assert result.is_clean
    assert judge.asked[CREATE] - 2 == pytest.approx(100, abs=10)
    assert judge.asked[DELETE] == pytest.approx(100, abs=10)


def test_cleaning_leaves_nothing() -> None:
    workload = Workload(connections=3, window=4, mix={"create": 3, "delete": 1}, keys=10, operations=200, prefix="/a/b",
                        warm_up_s=0, is_cleaning=True)  # fmt: skip
    with judging() as judge:
        run([judge.address], workload)
    assert judge.asked[CREATE] > 100
    assert judge.znodes == set()


def test_with_zipf_few_keys_get_most() -> None:
    with judging() as judge:
        run([judge.address], Workload(connections=1, keys=100, distribution="zipf", operations=1000, warm_up_s=0))
    assert judge.read["/bench/k00000000"] == pytest.approx(1000 / 5.2, rel=0.3)
    assert sum(judge.read[f"/bench/k{key:08}"] for key in range(10)) > 500


def test_an_error_makes_a_run_worthless_and_is_named() -> None:
    with judging(err=-101) as judge:
        result = run([judge.address], BRIEF)
    assert not result.is_clean
    assert result.first_error == -101
    assert result.errors > 100
    assert f"{result.errors} errors, the first NO_NODE (-101) of {result.first_error_operation}" in result.describe_faults()
    assert result.first_error_operation in ("get", "set")


def test_a_reply_out_of_order_makes_a_run_worthless() -> None:
    with judging(xid_shift=1) as judge:
        result = run([judge.address], BRIEF)
    assert result.disorders > 100
    assert not result.is_clean


def test_a_connection_that_ends_ends_the_run() -> None:
    with judging(closes_after=50) as judge, pytest.raises(ConnectionError, match="closed 1 of 3 connections while loading"):
        run([judge.address], BRIEF)


def test_a_server_that_gives_no_session_is_named() -> None:
    with judging(has_session=False) as judge, pytest.raises(UnreachableError, match=f":{judge.address[1]}: .* does not serve"):
        run([judge.address], BRIEF)


# ---- the native protocol

NATIVE = Workload(connections=2, window=9, keys=10, operations=401, warm_up_s=0, protocol="native")


@pytest.mark.parametrize("batch", [1, 4])
def test_every_message_of_the_native_protocol_has_one_batch(batch: int) -> None:
    """But the last of a run, and those of preparing (ten keys) and of goodbyes."""
    with judging_natively() as judge:
        result = run([judge.address], replace(NATIVE, batch=batch, mix={"get": 3, "set": 1}))
    assert result.is_clean
    assert result.operations == 401 == judge.asked[GET] + judge.asked[SET]
    assert judge.connections == 1 + 2
    judge.messages.subtract({10: 1, 1: 1 + 3})  # the keys; the prefix, and three sessions closed
    assert +judge.messages == (Counter({1: 401}) if batch == 1 else Counter({4: 100, 1: 1}))


def test_a_native_server_that_says_goodbye_ends_the_run() -> None:
    with judging_natively(closes_after=50) as judge, pytest.raises(ConnectionError, match="while loading"):
        run([judge.address], NATIVE)


def test_cleaning_over_the_native_protocol_leaves_nothing() -> None:
    with judging_natively() as judge:
        run([judge.address], replace(NATIVE, mix={"create": 3, "delete": 1}, batch=3, is_cleaning=True))
    assert judge.asked[CREATE] > 200
    assert judge.znodes == set()


# ---- the open loop

STEADY = Workload(connections=2, window=500, keys=1, rate=1000.0, duration_s=0.3, warm_up_s=0.0)


def late(result: Result, more_than_s: float) -> int:
    """How many reads took at least so long."""
    return sum(count for place, count in enumerate(result.reads) if bucket_floor(place) >= more_than_s * 1e9)


def test_an_open_loop_sends_what_is_due_and_no_more() -> None:
    with judging() as judge:
        result = run([judge.address], STEADY)
    assert result.is_clean
    assert result.unsent == 0
    assert sum(result.reads) == int(result.elapsed_s * 1000) + 1
    assert judge.asked[GET] == sum(result.reads)


def test_a_server_that_stands_still_is_not_spared_the_requests_meanwhile() -> None:
    """Without this, one request of hundreds would be late: coordinated omission."""
    pause = {"pauses_after": 20, "pause_s": 0.2}
    closed = Workload(connections=1, window=1, keys=1, operations=300, warm_up_s=0.0)
    with judging(**pause) as judge:
        assert 1 <= late(run([judge.address], closed), 0.1) <= 10
    opened = Workload(connections=1, window=1, keys=1, rate=500.0, duration_s=0.5, warm_up_s=0.0)
    with judging(**pause) as judge:
        assert late(run([judge.address], opened), 0.1) >= 40


def test_a_run_tells_once_a_second_how_far_it_is() -> None:
    told: list[Progress] = []
    with judging() as judge:
        run([judge.address], Workload(connections=1, keys=1, rate=300.0, duration_s=1.1, warm_up_s=0.0), told.append)
    assert {each.phase for each in told} == {"loading"}
    assert told[0].per_second == pytest.approx(300, rel=0.5)


def test_a_server_that_falls_behind_is_told_of() -> None:
    with judging(pauses_after=5, pause_s=0.3) as judge:
        result = run([judge.address], Workload(connections=1, window=2, keys=1, rate=200.0, duration_s=0.2, warm_up_s=0.0))
    assert result.unsent > 20
    assert sum(result.reads) + result.unsent == int(result.elapsed_s * 200) + 1


# ---- what makes no sense


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"connections": 0}, "connections must be 1 to"),
        ({"batch": 2}, "batches are messages of the native protocol"),
        ({"protocol": "native", "batch": 51}, "does not fit in a window of 50"),
        ({"protocol": "http"}, "one of zookeeper, native"),
        ({"mix": {"push": 1}}, "'push' is no operation"),
        ({"mix": {"get": 0}}, "the weights of a mix"),
        ({"get_percent": 90, "create_percent": 20}, "the weights of a mix"),
        ({"prefix": "bench"}, "the prefix must be a path"),
        ({"rate": -1.0}, "rate must be 0 or more"),
    ],
)
def test_a_workload_that_makes_no_sense_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Workload(**wrong)  # type: ignore[arg-type]


def test_ctrl_c_is_a_keyboard_interrupt_that_has_the_result() -> None:
    """Callers that know nothing of Interrupted end as with any other Ctrl-C."""
    assert issubclass(Interrupted, KeyboardInterrupt)
    assert Interrupted(Result(operations=7)).result.operations == 7
