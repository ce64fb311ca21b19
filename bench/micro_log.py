"""What the log gives on this machine's disk: `PYTHONPATH=src python bench/micro_log.py [directory]`.

Each row keeps so many blocks in flight, as a leader under load does: appends per second, blocks per sync, MB/s, and how
long a sync and an append (until it is known to be synced) take.  The directory must be on the disk in question; a tmpfs
syncs nothing.  Blocks are made beforehand, so the figures are the log's own."""

import argparse
import select
import tempfile
import time
from collections import deque
from pathlib import Path

from fastzk.storage.disk import RealDisk
from fastzk.storage.log import LogWriter, SegmentLog
from fastzk.storage.segments import End
from fastzk.testing.blocks import next_range

ROWS = [(1, 120), (1, 4000), (2, 4000), (8, 4000), (64, 120), (64, 4000), (2, 60_000), (8, 60_000), (4, 500_000)]


def percentile(values: list[float], part: float) -> float:
    values.sort()
    return values[min(len(values) - 1, int(len(values) * part))]


def run(directory: str, in_flight: int, body_size: int, seconds: float) -> str:
    """One row."""
    end, log = End(), SegmentLog.open(RealDisk(), directory)
    writer = LogWriter(log)
    body = bytes(range(256)) * (body_size // 256 + 1)
    ranges = [next_range(end, body[:body_size]) for _ in range(min(20_000, 200_000_000 // (body_size + 200)))]
    waiting: deque[float] = deque()
    appends_us: list[float] = []
    syncs_us: list[float] = []
    done_count = next_count = syncs = 0
    begin = time.perf_counter()
    while done_count < len(ranges) and time.perf_counter() - begin < seconds:
        more = ranges[next_count : done_count + in_flight]
        next_count += len(more)
        waiting.extend([time.perf_counter()] * len(more))
        writer.append(more)
        select.select([writer.fd], [], [])
        done = writer.take_done()
        if done is None:
            continue
        now = time.perf_counter()
        syncs_us += [done.sync_ns / 1e3] * (done.syncs - syncs)
        syncs = done.syncs
        for _ in range(done.last_index - done_count):
            appends_us.append((now - waiting.popleft()) * 1e6)
        done_count = done.last_index
    took = time.perf_counter() - begin
    writer.close()
    log.close()
    size, rate = ranges[0].size, done_count / took
    return (
        f"{in_flight:9} {size:8} {rate:10,.0f} {done_count / syncs:11.1f} {rate * size / 1e6:7.1f}"
        f" {percentile(syncs_us, 0.5):8,.0f} {percentile(syncs_us, 0.99):8,.0f}"
        f" {percentile(appends_us, 0.5):10,.0f} {percentile(appends_us, 0.99):8,.0f}"
    )


def recovery(directory: str, count: int) -> str:
    """How fast a log of blocks of one small entry is read at a start, the worst there is."""
    end, log = End(), SegmentLog.open(RealDisk(), directory)
    writer = LogWriter(log)
    writer.append([next_range(end, bytes(100)) for _ in range(count)])
    writer.close()
    begin = time.perf_counter()
    again = SegmentLog.open(RealDisk(), directory)
    took = time.perf_counter() - begin
    assert again.last_index == count
    return f"recovery: {count:,} blocks of one entry in {took:.2f} s, {count / took:,.0f} blocks/s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default="build/bench", help="on the disk to be measured")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row")
    options = parser.parse_args()
    Path(options.directory).mkdir(parents=True, exist_ok=True)
    print("in flight    bytes  appends/s blocks/sync    MB/s  sync p50      p99 append p50      p99   (microseconds)")
    for in_flight, body_size in ROWS:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            print(run(directory, in_flight, body_size, options.seconds), flush=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        print(recovery(directory, 50_000))


if __name__ == "__main__":
    main()
