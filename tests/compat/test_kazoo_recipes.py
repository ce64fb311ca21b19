"""Goal: every recipe of kazoo, as PyPI has it, keeps its promise on fastzk.

Method: clients of their own contend, wait, crash and take over, each recipe judged by what kazoo documents of it; the
recipes that watch are in test_kazoo_watchers.py.  Clients are at different servers, and a server may be behind another:
what one client must see of another's write it reads after a sync.  `--hosts` puts the same to any ZooKeeper."""

import contextlib
import datetime
import functools
import itertools
import queue
import threading
from collections.abc import Callable

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import CancelledError, LockTimeout
from kazoo.recipe.partitioner import PartitionState, SetPartitioner

from fastzk.testing.ensemble import wait_for

pytestmark = pytest.mark.process
WAIT_S = 20.0
Connect = Callable[..., KazooClient]


class Aside:
    """A function in a thread of its own; `with` waits for its end and raises what it raised."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Aside":
        self.thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.thread.join(WAIT_S)
        if kind is None:
            assert not self.thread.is_alive(), "it never came back"
            if self.error is not None:
                raise self.error

    def _run(self) -> None:
        try:
            self.function()
        except BaseException as error:
            self.error = error


# Locks


def test_a_lock_has_one_owner_and_goes_to_the_next_in_line(connect: Connect, place: str) -> None:
    first, second = connect(), connect()
    held = first.Lock(f"{place}/lock", "first")
    wanted = second.Lock(f"{place}/lock", "second")
    assert held.acquire()
    assert held.is_acquired
    assert not wanted.acquire(blocking=False)
    got = threading.Event()
    with Aside(lambda: wanted.acquire() and got.set()):
        wait_for(lambda: first.Lock(f"{place}/lock").contenders() == ["first", "second"], WAIT_S, "the second in line")
        assert not got.is_set()
        held.release()
    assert got.is_set()
    assert wanted.is_acquired
    assert held.contenders() == ["second"]
    wanted.release()
    first.sync(place)
    assert held.contenders() == []


def test_a_lock_that_is_not_got_in_time(connect: Connect, place: str) -> None:
    first, second = connect(), connect()
    with first.Lock(f"{place}/lock", "first"):
        wanted = second.Lock(f"{place}/lock", "second")
        with pytest.raises(LockTimeout):
            wanted.acquire(timeout=0.2)
        first.sync(place)
        assert first.Lock(f"{place}/lock").contenders() == ["first"]
    assert wanted.acquire(timeout=WAIT_S)


def test_waiting_for_a_lock_can_be_given_up(connect: Connect, place: str) -> None:
    first, second = connect(), connect()
    with first.Lock(f"{place}/lock", "first"):
        wanted = second.Lock(f"{place}/lock", "second")

        def wait() -> None:
            with pytest.raises(CancelledError):
                wanted.acquire()

        with Aside(wait):
            wait_for(lambda: len(first.get_children(f"{place}/lock")) == 2, WAIT_S, "the second in line")
            wanted.cancel()
        first.sync(place)
        assert first.Lock(f"{place}/lock").contenders() == ["first"]


def test_a_lock_goes_with_its_owners_session(connect: Connect, place: str) -> None:
    first, second = connect(), connect()
    assert first.Lock(f"{place}/lock", "first").acquire()
    first.stop()
    assert second.Lock(f"{place}/lock", "second").acquire(timeout=WAIT_S)


def test_many_contenders_hold_a_lock_one_at_a_time(connect: Connect, place: str) -> None:
    inside, seen = [], []

    def contend(client: KazooClient) -> None:
        for _ in range(5):
            with client.Lock(f"{place}/lock"):
                inside.append(client)
                seen.append(len(inside))
                client.exists(place)
                inside.remove(client)

    with contextlib.ExitStack() as all_done:
        for client in [connect() for _ in range(4)]:
            all_done.enter_context(Aside(functools.partial(contend, client)))
    assert seen == [1] * 20


def test_readers_share_and_a_writer_is_alone(connect: Connect, place: str) -> None:
    clients = [connect() for _ in range(4)]
    readers = [client.ReadLock(f"{place}/lock", f"reader {n}") for n, client in enumerate(clients[:2])]
    writer = clients[2].WriteLock(f"{place}/lock", "writer")
    late = clients[3].ReadLock(f"{place}/lock", "late reader")
    assert all(reader.acquire(blocking=False) for reader in readers)
    assert not writer.acquire(blocking=False)
    wrote, read = threading.Event(), threading.Event()
    with Aside(lambda: writer.acquire() and wrote.set()):
        wait_for(lambda: "writer" in writer.contenders(), WAIT_S, "the writer in line")
        with Aside(lambda: late.acquire() and read.set()):
            wait_for(lambda: "late reader" in writer.contenders(), WAIT_S, "a reader behind it")
            readers[0].release()
            assert not wrote.is_set()
            readers[1].release()
            wait_for(wrote.is_set, WAIT_S, "the writer")
            assert not read.is_set(), "it came after the writer"
            writer.release()
    assert read.is_set()
    assert readers[0].acquire(blocking=False)


def test_a_semaphore_lets_in_so_many(connect: Connect, place: str) -> None:
    semaphores = [connect().Semaphore(f"{place}/semaphore", f"holder {n}", max_leases=2) for n in range(3)]
    assert semaphores[0].acquire(blocking=False)
    assert semaphores[1].acquire(blocking=False)
    assert not semaphores[2].acquire(blocking=False)
    assert sorted(semaphores[2].lease_holders()) == ["holder 0", "holder 1"]
    got = threading.Event()
    with Aside(lambda: semaphores[2].acquire() and got.set()):
        assert not got.is_set()
        semaphores[0].release()
    assert got.is_set()
    assert sorted(semaphores[0].lease_holders()) == ["holder 1", "holder 2"]
    with pytest.raises(ValueError, match="max leases: 2"):
        connect().Semaphore(f"{place}/semaphore", max_leases=3).acquire()


# Leases, elections


def test_a_lease_is_one_holders_until_its_end(connect: Connect, place: str) -> None:
    now = [datetime.datetime(2026, 1, 1)]

    def lease(client: KazooClient, who: str) -> bool:
        minute = datetime.timedelta(minutes=1)
        return bool(client.NonBlockingLease(f"{place}/lease", minute, identifier=who, utcnow=lambda: now[0]))

    first, second = connect(), connect()
    assert lease(first, "first")
    assert not lease(second, "second")
    assert lease(first, "first"), "its holder may renew it"
    first.stop()
    assert not lease(second, "second"), "it outlives the session"
    now[0] += datetime.timedelta(minutes=2)
    assert lease(second, "second")


def test_several_leases_have_so_many_holders(connect: Connect, place: str) -> None:
    hour = datetime.timedelta(hours=1)
    client = connect()
    got = [bool(client.MultiNonBlockingLease(2, f"{place}/leases", hour, identifier=f"holder {n}")) for n in range(3)]
    assert got == [True, True, False]


def test_one_is_elected_and_then_the_next(connect: Connect, place: str) -> None:
    first, second = connect(), connect()
    leads: queue.Queue[str] = queue.Queue()
    resign = threading.Event()

    def lead(name: str) -> None:
        leads.put(name)
        resign.wait(WAIT_S)

    elections = [client.Election(f"{place}/election", name) for client, name in ((first, "first"), (second, "second"))]
    with Aside(lambda: elections[0].run(lead, "first")):
        assert leads.get(timeout=WAIT_S) == "first"
        with Aside(lambda: elections[1].run(lead, "second")):
            wait_for(lambda: elections[0].contenders() == ["first", "second"], WAIT_S, "two candidates")
            assert leads.empty()
            resign.set()
            assert leads.get(timeout=WAIT_S) == "second"
    first.sync(place)
    assert elections[0].contenders() == []


def test_a_candidate_may_withdraw(connect: Connect, place: str) -> None:
    first, second = connect(), connect()
    leads, resign = threading.Event(), threading.Event()

    def lead() -> None:
        leads.set()
        resign.wait(WAIT_S)

    with Aside(lambda: first.Election(f"{place}/election", "first").run(lead)):
        assert leads.wait(WAIT_S)
        candidate = second.Election(f"{place}/election", "second")
        with Aside(lambda: candidate.run(pytest.fail, "it was never elected")):
            wait_for(lambda: "second" in candidate.contenders(), WAIT_S, "a second candidate")
            candidate.cancel()
        assert candidate.contenders() == ["first"]
        resign.set()


# Barriers


def test_a_barrier_holds_until_it_is_removed(connect: Connect, place: str) -> None:
    first, second = connect(), connect()
    barrier = first.Barrier(f"{place}/barrier")
    barrier.create()
    second.sync(place)
    assert second.Barrier(f"{place}/barrier").wait(0.1) is False
    passed: list[bool] = []
    with Aside(lambda: passed.append(second.Barrier(f"{place}/barrier").wait(WAIT_S))):
        assert barrier.remove() is True
    assert passed == [True]
    assert barrier.remove() is False, "it is gone already"
    assert barrier.wait() is True


def test_a_double_barrier_lets_all_in_and_all_out_together(connect: Connect, place: str) -> None:
    count = 3
    entered, left = itertools.count(1), itertools.count(1)
    inside = threading.Barrier(count)
    watcher = connect()
    barriers = [connect().DoubleBarrier(f"{place}/double", count) for _ in range(count)]

    def take_part(number: int) -> None:
        barriers[number].enter()
        assert barriers[number].participating
        next(entered)
        inside.wait(WAIT_S)
        barriers[number].leave()
        next(left)

    with Aside(lambda: take_part(0)), Aside(lambda: take_part(1)):
        wait_for(lambda: watcher.exists(f"{place}/double") and len(watcher.get_children(f"{place}/double")) == 2, WAIT_S, "two")
        assert next(entered) == 1, "nobody is in before all are there"
        take_part(2)
    assert next(left) == count + 1


# Queues


def test_a_queue_gives_the_urgent_first_and_then_in_order(connect: Connect, place: str) -> None:
    first, second = connect(), connect()
    put, got = first.Queue(f"{place}/queue"), second.Queue(f"{place}/queue")
    assert got.get() is None
    for value, priority in ((b"one", 100), (b"two", 100), (b"urgent", 10)):
        put.put(value, priority=priority)
    second.sync(place)
    assert len(got) == 3
    assert [got.get() for _ in range(4)] == [b"urgent", b"one", b"two", None]


def test_each_value_of_a_queue_is_taken_once(connect: Connect, place: str) -> None:
    put = connect().Queue(f"{place}/queue")
    for number in range(40):
        put.put(b"%d" % number)
    taken: list[bytes] = []

    def take(client: KazooClient) -> None:
        client.sync(place)
        mine = client.Queue(f"{place}/queue")
        while (value := mine.get()) is not None:
            taken.append(value)

    clients = connect(), connect()
    with Aside(lambda: take(clients[0])), Aside(lambda: take(clients[1])):
        pass
    assert sorted(map(int, taken)) == list(range(40))


def test_a_value_of_a_locking_queue_stays_until_it_is_consumed(connect: Connect, place: str) -> None:
    first, second = (connect().LockingQueue(f"{place}/queue") for _ in range(2))
    first.put_all([b"one", b"two"])
    first.put(b"urgent", priority=1)
    assert first.get() == b"urgent"
    assert first.holds_lock()
    assert second.get(timeout=1) == b"one", "what another holds is passed over"
    assert second.release()
    assert first.consume()
    assert not first.holds_lock()
    assert first.get(timeout=1) == b"one"
    assert first.consume()
    assert second.get(timeout=1) == b"two"
    assert second.consume()
    assert first.get(timeout=0.1) is None


def test_what_a_dead_consumer_held_comes_back(connect: Connect, place: str) -> None:
    crashing, other = connect(), connect()
    other.LockingQueue(f"{place}/queue").put(b"value")
    assert crashing.LockingQueue(f"{place}/queue").get(timeout=1) == b"value"
    waiting: list[bytes] = []
    with Aside(lambda: waiting.append(other.LockingQueue(f"{place}/queue").get(timeout=WAIT_S))):
        crashing.stop()
    assert waiting == [b"value"]


# Counters, parties, partitions


def test_a_counter_counts_what_all_add(connect: Connect, place: str) -> None:
    def add(client: KazooClient) -> None:
        counter = client.Counter(f"{place}/counter")
        for _ in range(10):
            counter += 1

    clients = connect(), connect()
    with Aside(lambda: add(clients[0])), Aside(lambda: add(clients[1])):
        pass
    clients[0].sync(place)
    counter = clients[0].Counter(f"{place}/counter")
    assert counter.value == 20
    counter -= 5
    assert (counter.pre_value, counter.post_value) == (20, 15)
    ratio = connect().Counter(f"{place}/ratio", default=1.5)
    ratio += 2.0
    assert ratio.value == 3.5


def test_a_counter_of_curators_kind(connect: Connect, place: str) -> None:
    client = connect()
    counter = client.Counter(f"{place}/counter", support_curator=True)
    counter += 258
    assert client.get(f"{place}/counter")[0] == b"\0\0\1\2"
    assert counter.value == 258


@pytest.mark.parametrize("kind", ["Party", "ShallowParty"])
def test_a_party_knows_who_is_there(connect: Connect, place: str, kind: str) -> None:
    first, second = connect(), connect()
    parties = [getattr(client, kind)(f"{place}/party", name) for client, name in ((first, "first"), (second, "second"))]
    assert len(parties[0]) == 0
    for party in parties:
        party.join()
    second.sync(place)
    assert sorted(parties[1]) == ["first", "second"]
    assert len(parties[1]) == 2
    parties[0].leave()
    second.sync(place)
    assert list(parties[1]) == ["second"]
    second.stop()
    first.sync(place)
    assert list(parties[0]) == []


def test_a_set_is_parted_among_its_members(connect: Connect, place: str) -> None:
    items = tuple(f"part-{n}" for n in range(6))

    def member(client: KazooClient, name: str) -> SetPartitioner:
        path = f"{place}/parts"
        return client.SetPartitioner(path, items, identifier=name, time_boundary=0.2, max_reaction_time=0.2)

    def settle(*members: SetPartitioner) -> list[set[str]]:
        """Does what a member's loop does until each has what is its own and all is somebody's."""

        def is_settled() -> bool:
            for each in members:
                assert not each.failed
                if each.release:
                    each.release_set()
                elif each.allocating:
                    each.wait_for_acquire(0.1)
            return all(each.acquired for each in members) and sum(len(list(each)) for each in members) == len(items)

        wait_for(is_settled, WAIT_S, "the set to be parted")
        return [set(each) for each in members]

    first = member(connect(), "first")
    assert settle(first) == [set(items)]
    second = member(connect(), "second")
    wait_for(lambda: first.release, WAIT_S, "the first to be told")
    assert settle(first, second) == [{"part-0", "part-2", "part-4"}, {"part-1", "part-3", "part-5"}]
    first.finish()
    assert first.state == PartitionState.FAILURE
    wait_for(lambda: second.release, WAIT_S, "the second to be told")
    assert settle(second) == [set(items)]
    second.finish()
