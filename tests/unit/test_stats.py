"""Goal: what the workers of a node count becomes the node's numbers.

Method: slots of a page are written as workers would, and read through another mapping of the same memory."""

import os
from collections.abc import Iterator

import pytest

from fastzk.node.stats import ENGINE_NAMES, OWN_NAMES, SLOT_COUNTERS, SLOTS, STATS_BYTES, StatsPage
from fastzk.storage.shm import create_shared
from fastzk.transport._loop import STAT_NAMES


@pytest.fixture
def fd() -> Iterator[int]:
    fd = create_shared("test-stats", STATS_BYTES)
    yield fd
    os.close(fd)


def test_counters_are_summed_and_extremes_are_not(fd: int) -> None:
    writer, reader = StatsPage(fd), StatsPage(fd)
    assert set(reader.total().values()) == {0}
    for place, low in ((0, 5), (2, 3)):
        writer.claim(place)
        for index, name in enumerate(STAT_NAMES, place * SLOT_COUNTERS):
            writer.counters[index] = low if name == "latency_ms_min" else 10 * (place + 1)
    total = reader.total()
    assert total["received"] == 40
    assert (total["latency_ms_min"], total["latency_ms_max"], total["heartbeat_ms"]) == (3, 30, 30)
    assert reader.worker(1) == dict.fromkeys((*STAT_NAMES, *OWN_NAMES), 0)
    assert reader.worker(2)["sent"] == 30


def test_a_worker_without_a_write_has_no_smallest_latency(fd: int) -> None:
    page = StatsPage(fd)
    for place in (0, 1):
        page.counters[place * SLOT_COUNTERS + STAT_NAMES.index("heartbeat_ms")] = 1
    page.counters[STAT_NAMES.index("latency_count")] = 1
    page.counters[STAT_NAMES.index("latency_ms_min")] = 9
    assert page.total()["latency_ms_min"] == 9


def test_a_claimed_slot_begins_at_0(fd: int) -> None:
    page = StatsPage(fd)
    first = (SLOTS - 1) * SLOT_COUNTERS
    page.counters[first] = page.counters[first - 1] = 7
    page.claim(SLOTS - 1)
    assert page.counters[first - 1 : first + SLOT_COUNTERS].tolist() == [7] + [0] * SLOT_COUNTERS


def test_what_python_and_the_engine_count_has_places_of_its_own(fd: int) -> None:
    writer, reader = StatsPage(fd), StatsPage(fd)
    writer.claim(0)
    writer.counters[STAT_NAMES.index("heartbeat_ms")] = 1
    writer.count(0, "auth_failed", 3)
    writer.tell({name: number for number, name in enumerate(ENGINE_NAMES, 1)})
    told = reader.engine()
    assert (reader.total()["auth_failed"], told["ticks"], told["proposals"]) == (3, 1, len(ENGINE_NAMES))
    assert reader.engine_ticks() == told["ticks"]
    assert reader.worker(SLOTS - 1)["turns"] == 0, "the engine's slot is nobody else's"
