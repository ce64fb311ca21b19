"""Goal: what the load generator reports is what happened.

Method: the histogram's places against plain arithmetic, and a run against a small server of the protocol, written here
in plain Python, that answers wrongly on request."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastzk.bench._load import bucket, bucket_floor
from fastzk.bench.load import Workload, percentiles, receive_frame, run

STAT = bytes(68)


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
    assert found["p50"] == pytest.approx(1, rel=0.04)
    assert found["p99"] == found["p999"] == pytest.approx(1000, rel=0.04)
    assert found["max"] == 1234.567
    assert percentiles([0] * 2048, 0) == {}


class Judge(threading.Thread):
    """A server of a few operations for one connection; remembers what it was asked."""

    def __init__(self, stream: socket.socket, err: int, xid_shift: int) -> None:
        super().__init__(daemon=True)
        self.stream, self.err, self.xid_shift = stream, err, xid_shift
        self.asked: dict[int, int] = {}

    def run(self) -> None:
        with self.stream:
            receive_frame(self.stream)
            self.answer(struct.pack(">iiqi16s?", 0, 30000, 1, 16, bytes(16), False))
            zxid, op = 0, 0
            while op != -11:
                request = receive_frame(self.stream)
                xid, op = struct.unpack_from(">ii", request)
                size = struct.unpack_from(">i", request, 8)[0] if op != -11 else 0
                assert request[12 : 12 + size].startswith(b"/bench") or op == -11
                self.asked[op] = self.asked.get(op, 0) + 1
                zxid += 1
                err, shift = (self.err, self.xid_shift) if op in (4, 5) else (0, 0)
                self.answer(struct.pack(">iqi", xid + shift, zxid, err) + STAT)

    def answer(self, payload: bytes) -> None:
        self.stream.sendall(struct.pack(">i", len(payload)) + payload)


@contextmanager
def serving(err: int = 0, xid_shift: int = 0) -> Iterator[tuple[tuple[str, int], list[Judge]]]:
    """A listening socket whose connections are judged, each by a thread."""
    judges: list[Judge] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    stream, _ = listener.accept()
                except OSError:
                    return
                judges.append(Judge(stream, err, xid_shift))
                judges[-1].start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        yield listener.getsockname(), judges
        listener.shutdown(socket.SHUT_RDWR)
    acceptor.join()
    for judge in judges:
        judge.join()


BRIEF = Workload(connections=3, window=4, get_percent=50, create_percent=25, keys=10, warm_up_s=0.0, operations=500)


def test_a_run_counts_what_the_server_answered() -> None:
    with serving() as (address, judges):
        result = run([address], BRIEF)
    assert result.is_clean
    assert result.operations >= 500
    asked = {op: sum(judge.asked.get(op, 0) for judge in judges[1:]) for op in (1, 4, 5, -11)}
    assert asked[-11] == 3
    assert result.operations <= asked[1] + asked[4] + asked[5] <= result.operations + 3 * 4
    assert asked[4] > asked[5] > 0
    assert result.read_us["p50"] > 0
    assert result.write_us["max"] >= result.write_us["p50"]


def test_an_error_makes_a_run_worthless() -> None:
    with serving(err=-101) as (address, _):
        result = run([address], BRIEF)
    assert not result.is_clean
    assert result.first_error == -101
    assert result.errors > 100


def test_a_reply_out_of_order_makes_a_run_worthless() -> None:
    with serving(xid_shift=1) as (address, _):
        result = run([address], BRIEF)
    assert result.disorders > 100
    assert not result.is_clean
