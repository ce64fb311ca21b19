"""Goal: a process that is killed while it appends loses nothing that it has acknowledged, however often it happens.

Method: a child appends, truncates and rolls on real files, and tells over a pipe each index that take_done() reported,
and each cut before it asks for it.  It is killed at a random moment; the log is recovered here, compared, and the next
child goes on with it.  (What a power failure may do beyond that is simulated: tests/property/test_log_crashes.py.)"""

import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from time import monotonic

from fastzk.storage.disk import RealDisk
from fastzk.storage.log import SegmentLog

CHILD = """
import os, select, sys
from random import Random
from dataclasses import replace
from fastzk.storage.disk import RealDisk
from fastzk.storage.log import LogWriter, SegmentLog
from fastzk.testing.blocks import random_ranges

log = SegmentLog.open(RealDisk(), sys.argv[1])
writer, random = LogWriter(log, segment_bytes_max=100_000), Random(int(sys.argv[2]))
ends = [replace(log.end)]
os.write(1, b"begun %d\\n" % log.last_index)
while True:
    if random.random() < 0.02:
        ends = ends[-20:]
        cut = random.randrange(len(ends))
        del ends[cut + 1 :]
        os.write(1, b"cut %d\\n" % ends[-1].last_index)
        writer.truncate_after(ends[-1].last_index)
    end = replace(ends[-1])
    writer.append(random_ranges(random, end, random.randint(1, 4), body_max=random.choice((50, 2000))))
    ends.append(end)
    while writer.in_flight_count > 20 or random.random() < 0.5:
        select.select([writer.fd], [], [], 0 if writer.in_flight_count <= 20 else None)
        done = writer.take_done()
        if done is not None:
            os.write(1, b"done %d %d\\n" % (done.last_index, done.epoch))
"""

ROUNDS = 25


def test_nothing_that_was_acknowledged_is_lost(tmp_path: Path) -> None:
    random = Random(11)
    acknowledged = 0
    torn = 0
    last = (0, 0)
    for number in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stderr is not None
        first = child.stdout.readline()
        assert first.startswith(b"begun"), child.stderr.read().decode()
        # It is killed after some of its reports, so at any point of what it does next.
        deadline = monotonic() + random.random() * 0.15
        lines: list[bytes] = []
        while monotonic() < deadline:
            lines.append(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
        assert child.wait() == -signal.SIGKILL, child.stderr.read().decode()
        child.stdout.close()
        child.stderr.close()
        for line in lines:
            if line.startswith(b"cut") and line.endswith(b"\n"):
                last = min(last, (int(line.split()[1]), last[1]))
            elif line.startswith(b"done") and line.endswith(b"\n"):
                last = (int(line.split()[1]), int(line.split()[2]))
                acknowledged += 1
        log = SegmentLog.open(RealDisk(), str(tmp_path))
        assert log.last_index >= last[0], f"round {number}: {log.last_index} is left, {last[0]} was acknowledged"
        assert sum(1 for _ in log.ranges(log.first_index)) == len(log.blocks)
        torn += log.cut is not None
        last = (log.last_index, log.last_epoch)
        log.close()
    assert acknowledged > 100
    print(f"{acknowledged} acknowledgements, {last[0]} entries, {torn} torn tails in {ROUNDS} kills")
