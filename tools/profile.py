"""`make profile`: a node under load, its engine and a worker sampled by perf (tools/profile.sh), for reads and for writes."""

import argparse
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastzk.bench.load import Workload, run
from fastzk.testing.ensemble import Ensemble

DIRECTORY = Path("build/profile")
SHELL = Path(__file__).with_name("profile.sh")
LOADS = {"getData": (100, 0), "setData": (0, 0), "create": (0, 100)}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1, help="nodes; the leader is sampled")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--ops", nargs="+", choices=list(LOADS), default=["getData", "setData"])
    options = parser.parse_args()
    with Ensemble(options.size, DIRECTORY, ["--max-client-cnxns", "0"]) as ensemble, ThreadPoolExecutor() as pool:
        leader = ensemble.leader()
        for op in options.ops:
            get_percent, create_percent = LOADS[op]
            workload = Workload(
                get_percent=get_percent, create_percent=create_percent, duration_s=options.seconds + 1.5, warm_up_s=0.5
            )
            loading = threading.Thread(target=lambda w=workload: print(f"{op}: {run([leader.zk], w).per_second:,.0f}/s"))  # noqa: B023
            loading.start()
            pids = [leader.engine_pid(), leader.worker_pids()[0]]
            command = [[SHELL, str(pid), str(options.seconds), str(DIRECTORY / op)] for pid in pids]
            told = list(pool.map(lambda each: subprocess.run(each, capture_output=True, text=True, check=False), command))
            loading.join()
            for each in told:
                print(f"\n==== {op}\n{each.stdout}{each.stderr}", flush=True)
    return max(each.returncode for each in told)


if __name__ == "__main__":
    sys.exit(main())
