"""The torture of watches: writers that never rest, watchers of every kind, and a judge on each connection.

Goal: no event is late (a read shows a change that the client was still to be told of), lost, doubled, or told to who did not
ask, however workers, engines and nodes are scheduled.  Method: real nodes; on each of them connections with every kind of
watch on the same few znodes, two of which also write.  What each is told is counted against the versions that its reads
show (src/fastzk/testing/_watcher.pyx says how).  A round is one event.  At the end all is read once more, so that an event
that never came is seen too.

    python tests/crash/torture_watches.py --rounds 1000000
    python tests/crash/torture_watches.py --rounds 20000 --spoil late       # must fail: it shows that the judge can
"""

import argparse
import bisect
import selectors
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastzk.bench.load import Address, connections, create_frame, receive_frame
from fastzk.testing._watcher import Watcher
from fastzk.testing.ensemble import Ensemble

KEYS = 24
KINDS = {1: "data", 2: "child", 3: "persistent", 4: "recursive"}
WINDOW = 8  # writes under way of a connection that writes
RECEIVE_BYTES = 1 << 16
SILENCE_S_MAX = 30.0  # without a byte from any node
WORKERS = 2

Spoil = Callable[[bytes], bytes]


@dataclass
class Outcome:
    """What a run has seen."""

    events: int = 0
    requests: int = 0
    seconds: float = 0.0
    events_of: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    first_wrong: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Nothing was wrong, and watches of every kind had something to tell."""
        return not self.wrong and all(self.events_of[kind] for kind in KINDS.values())


class Crowd:
    """The watchers of a run, and the loop that moves their bytes."""

    def __init__(
        self,
        prefix: bytes,
        kinds: Sequence[int],
        streams: Sequence[socket.socket],
        places: Sequence[int],
        seed: int,
        spoil: str,
    ) -> None:
        self.streams = streams
        self.watchers = [
            Watcher(
                kind=kind,
                prefix=prefix,
                keys=KEYS,
                window=WINDOW if place >= len(KINDS) else 0,
                number=number,
                seed=seed,
            )
            for number, (kind, place) in enumerate(zip(kinds, places, strict=True))
        ]
        self.spoils: list[Spoil] = [spoiler(spoil) for _ in self.watchers]
        self.selector = selectors.DefaultSelector()
        for number, stream in enumerate(streams):
            stream.setblocking(False)
            self.selector.register(stream, selectors.EVENT_READ, number)

    def close(self) -> None:
        self.selector.close()
        for stream in self.streams:
            stream.setblocking(True)

    def begin(self) -> None:
        for number, watcher in enumerate(self.watchers):
            watcher.begin()
            self.send(number)

    def send(self, number: int) -> None:
        """Sends what the socket takes; what is left goes with the next turn, or when the socket has room."""
        watcher, stream = self.watchers[number], self.streams[number]
        data = watcher.output()
        if data:
            try:
                watcher.sent(stream.send(data))
            except BlockingIOError:
                pass
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if watcher.output() else 0)
        if self.selector.get_key(stream).events != wanted:
            self.selector.modify(stream, wanted, number)

    def turn(self) -> None:
        """Takes what has come, and sends.  Raises TimeoutError when nothing comes any more."""
        ready = self.selector.select(SILENCE_S_MAX)
        if not ready:
            waiting = [number for number, watcher in enumerate(self.watchers) if not watcher.is_idle]
            raise TimeoutError(f"watchers {waiting} wait in vain")
        for key, mask in ready:
            number: int = key.data
            if mask & selectors.EVENT_READ:
                data = self.streams[number].recv(RECEIVE_BYTES)
                if not data:
                    raise ConnectionError(f"the node of watcher {number} closed its connection")
                self.watchers[number].take(self.spoils[number](data))
            self.send(number)

    def turn_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.turn()

    def events(self) -> int:
        return sum(watcher.events for watcher in self.watchers)

    def are_idle(self) -> bool:
        return all(watcher.is_idle for watcher in self.watchers)


def spoiler(how: str) -> Spoil:
    """What befalls the stream of one connection: nothing, or every hundredth event is late, lost or doubled."""
    if not how:
        return lambda data: data
    rest = b""
    count = 0
    held = b""

    def spoiled(data: bytes) -> bytes:
        nonlocal rest, count, held
        frames, rest = split(rest + data)
        out = []
        for frame in frames:
            is_event = frame[4:8] == b"\xff\xff\xff\xff"
            count += is_event
            if is_event and count % 100 == 0:
                if how == "late" and not held:
                    held = frame
                    continue
                if how == "lost":
                    continue
                out.append(frame)
            out.append(frame)
            if held:
                out.append(held)
                held = b""
        return b"".join(out)

    return spoiled


def split(stream: bytes) -> tuple[list[bytes], bytes]:
    """Whole frames with their lengths, and what is left."""
    frames = []
    at = 0
    while len(stream) - at >= 4:
        (size,) = struct.unpack_from(">i", stream, at)
        if len(stream) - at < 4 + size:
            break
        frames.append(stream[at : at + 4 + size])
        at += 4 + size
    return frames, stream[at:]


def prepare(host: Address, prefix: bytes) -> None:
    """Makes the znodes, which must not be there: their versions count what happens from now on."""
    paths = [prefix, *(b"%b/k%04d" % (prefix, key) for key in range(KEYS))]
    with connections([host], 1) as [stream]:
        for xid, path in enumerate(paths, 1):
            stream.sendall(create_frame(xid, path, b""))
            (err,) = struct.unpack_from(">i", receive_frame(stream), 12)
            assert err == 0, f"create {path!r}: {err}"


def nothing() -> None:
    """What happens in the middle of a run by default."""


def torture(
    hosts: Sequence[Address],
    rounds: int,
    seed: int = 1,
    spoil: str = "",
    prefix: bytes = b"/watched",
    midway: Callable[[], None] = nothing,
) -> Outcome:
    """Plays so many rounds against nodes that run, on znodes below a new `prefix`; calls `midway` in the middle.

    Raises ConnectionError when a node closes a connection, TimeoutError when it does not answer any more."""
    prepare(hosts[0], prefix)
    # Six connections to each node, which connections() takes in turn: one of each kind, and two that write as well.
    places = [place for place in range(len(KINDS) + 2) for _ in hosts]
    kinds = [[*KINDS, 1 + seed % 2, 3 + seed % 2][place] for place in places]
    outcome = Outcome()
    began = time.monotonic()
    with connections(hosts, len(kinds)) as streams:
        crowd = Crowd(prefix, kinds, streams, places, seed, spoil)
        crowd.begin()
        crowd.turn_until(lambda: crowd.events() >= rounds // 2)
        midway()
        crowd.turn_until(lambda: crowd.events() >= rounds)
        for watcher in crowd.watchers:
            watcher.stop()
        crowd.turn_until(crowd.are_idle)
        for number, watcher in enumerate(crowd.watchers):
            watcher.finish()
            crowd.send(number)
        crowd.turn_until(crowd.are_idle)
        crowd.close()
    outcome.seconds = time.monotonic() - began
    for kind, watcher in zip(kinds, crowd.watchers, strict=True):
        outcome.events += watcher.events
        outcome.requests += watcher.requests
        outcome.events_of[KINDS[kind]] += watcher.events
        outcome.wrong.update(watcher.wrong)
        if watcher.first_wrong:
            outcome.first_wrong.append(watcher.first_wrong)
    false_claims = judge_claims(crowd.watchers)
    outcome.wrong["false claims"] += len(false_claims)
    outcome.wrong += Counter()  # without zeros
    outcome.first_wrong += false_claims[:1]
    return outcome


def judge_claims(watchers: Sequence[Watcher]) -> list[str]:
    """What is not so of what the watchers of lasting kinds claim about the moments at which their watches were armed: an
    event that came too soon, or was lost right then.  Only they and nobody else may have written to the znodes."""
    changes: dict[tuple[int, bool], list[int]] = {(key, of): [] for key in range(KEYS) for of in (False, True)}
    for watcher in watchers:
        for zxid, key, is_of_children in watcher.changes:
            changes[key, is_of_children].append(zxid)
    for zxids in changes.values():
        zxids.sort()
    return [
        f"at {zxid:#x} znode {key} had version {version} and cversion {cversion}, with {seen} changes of its data and children"
        for watcher in watchers
        for zxid, key, version, cversion in watcher.claims
        if (seen := tuple(bisect.bisect_right(changes[key, of], zxid) for of in (False, True))) != (version, cversion)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100_000, help="events, of all connections")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--workers", type=int, default=WORKERS, help="of each node")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--spoil", choices=("late", "lost", "doubled"), default="", help="spoil the streams: the run must then fail"
    )
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="torture-watches-") as directory,
        Ensemble(options.nodes, Path(directory), ["--workers", str(options.workers)]) as nodes,
    ):
        outcome = torture([node.zk for node in nodes.nodes], options.rounds, options.seed, options.spoil)
    print(f"{outcome.events} events and {outcome.requests} replies in {outcome.seconds:.1f} s with seed {options.seed}")
    print(f"events by kind: {dict(outcome.events_of)}")
    print(f"wrong: {dict(outcome.wrong)}", *outcome.first_wrong[:3], sep="\n")
    print("good" if outcome.is_good else "BAD")
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
