"""What a snapshot costs whoever writes meanwhile: `PYTHONPATH=src python bench/snapshots.py [--znodes N] [--seconds S] [DIR]`.

A node that stands alone, a million znodes of 100 bytes, and clients that write one after the other to random ones, on real disk.
It takes a snapshot again and again; each write's time goes to one of two heaps, by whether a snapshot was being written when it
ended.  Then the two heaps' medians and 99th percentiles, and the engine's memory before the first snapshot and at its highest."""

import argparse
import os
import struct
import threading
import time
from pathlib import Path
from random import Random

from fastzk.testing.aged import grow, path_of
from fastzk.testing.ensemble import Ensemble, Node, memory_bytes
from fastzk.testing.rawclient import RawClient
from fastzk.wire.records import SetData

CLIENTS = 4
POLL_S = 0.005


class Watch(threading.Thread):
    """Notes when snapshots are being written, and how much memory the engine has."""

    def __init__(self, node: Node) -> None:
        super().__init__(daemon=True)
        self.directory = node.data_dir / "snapshots"
        self.pid = node.engine_pid()
        self.is_writing = False
        self.is_over = False
        self.written = 0
        self.peak_bytes = 0

    def run(self) -> None:
        while not self.is_over:
            before, self.is_writing = self.is_writing, any(name.endswith(".tmp") for name in os.listdir(self.directory))
            self.written += before and not self.is_writing
            self.peak_bytes = max(self.peak_bytes, memory_bytes(self.pid)[0])
            time.sleep(POLL_S)


def write(node: Node, watch: Watch, seed: int, znodes: int, heaps: tuple[list[float], list[float]], until_s: float) -> None:
    """One client: writes, one after the other."""
    random = Random(seed)
    with RawClient(node.zk) as raw:
        raw.connect()
        while time.perf_counter() < until_s:
            data = struct.pack("<Q", random.getrandbits(64)) * 12 + b"1234"
            begin = time.perf_counter()
            assert raw.call(SetData(path_of(random.randrange(znodes)), data, -1)).err == 0
            heaps[watch.is_writing].append(time.perf_counter() - begin)


def quantile(times: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))] * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default="build/bench-snapshots", help="on the disk to be measured")
    parser.add_argument("--znodes", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    with Ensemble(1, Path(options.directory), ["--snapshot-entries", "20000"]) as ensemble:
        node = ensemble.node(1)
        node.stop()
        grow(node.data_dir, options.znodes)
        ensemble.restart(node)
        before_bytes = memory_bytes(node.engine_pid())[0]
        watch = Watch(node)
        watch.start()
        heaps: tuple[list[float], list[float]] = ([], [])
        until_s = time.perf_counter() + options.seconds
        arguments = [(node, watch, seed, options.znodes, heaps, until_s) for seed in range(CLIENTS)]
        threads = [threading.Thread(target=write, args=each) for each in arguments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        watch.is_over = True
        watch.join()
    print(f"{options.znodes:,} znodes, {sum(map(len, heaps)):,} writes by {CLIENTS} clients, {watch.written} snapshots")
    for what, times in zip(("outside snapshots", "during snapshots"), heaps, strict=True):
        p50, p99, worst = quantile(times, 0.5), quantile(times, 0.99), max(times) * 1000
        print(f"  {what:18} {len(times):7,} writes   p50 {p50:6.3f} ms   p99 {p99:6.3f} ms   longest {worst:7.2f} ms")
    print(f"  p99 during / outside: {quantile(heaps[1], 0.99) / quantile(heaps[0], 0.99):.2f}")
    print(f"  engine's memory: {before_bytes / 1e6:.0f} MB before, {watch.peak_bytes / 1e6:.0f} MB at its highest")


if __name__ == "__main__":
    main()
