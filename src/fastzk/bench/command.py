"""`fastzk-bench HOST:PORT,...`: a load for any server of ZooKeeper's protocol or of fastzk's native one, and what it gave.

    fastzk-bench 127.0.0.1:2181                                   as many getData as it gives
    fastzk-bench 127.0.0.1:2181 --op set --connections 100
    fastzk-bench 127.0.0.1:2181 --mix get=90,set=10 --rate 20000  so many per second, with the latency at that load
    fastzk-bench 127.0.0.1:2281 --protocol native --batch 10 --json -

Exit status: 0 when all was answered as it should be, 1 when the figures are worth nothing, 2 for what was typed wrong or a server
that is not there."""

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import IO, Any, NoReturn

from fastzk.bench._load import bucket_floor
from fastzk.bench.load import OPERATIONS, Address, Interrupted, Progress, UnreachableError, run
from fastzk.bench.workload import DISTRIBUTIONS, PROTOCOLS, Result, Workload, error_name
from fastzk.client.hosts import Address as Host
from fastzk.client.hosts import parse_hosts
from fastzk.defs import NATIVE_PORT
from fastzk.errors import FastzkError

JSON_VERSION = 1
ZOOKEEPER_PORT = 2181
STATUS_CLEAN, STATUS_WORTHLESS, STATUS_USAGE = 0, 1, 2
MIXED = {"get": 90, "set": 10}
LABELS = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "max": "max"}


class Parser(argparse.ArgumentParser):
    """One whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Says what was typed wrong, and ends."""
        self.exit(STATUS_USAGE, f"{self.prog}: {message}  (--help tells more)\n")


def parser() -> argparse.ArgumentParser:
    """The options; their defaults are Workload's."""
    default = Workload()
    found = Parser(
        prog="fastzk-bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = found.add_argument
    add(
        "hosts",
        help=f"host:port,host:port,.../chroot; the connections go round them (ports: {ZOOKEEPER_PORT}, native {NATIVE_PORT})",
    )
    add("--protocol", choices=PROTOCOLS, default=default.protocol)
    what = found.add_mutually_exclusive_group()
    what.add_argument(
        "--op",
        choices=[*OPERATIONS, "mix"],
        help="get (default), set, create, exists; children lists all --keys; delete takes what the connection created, "
        "creating it first; multi is --multi setData at once; mix is 90 percent get, the rest set",
    )
    what.add_argument("--mix", metavar="OP=N,...", help="several of these operations at random, each as often as its number says")
    add("--connections", type=int, metavar="N", default=default.connections, help="each a session; default %(default)s")
    add("--window", type=int, metavar="N", default=default.window, help="requests under way on each; default %(default)s")
    add("--batch", type=int, metavar="N", default=default.batch, help="requests in each message (native); default %(default)s")
    add("--rate", type=float, metavar="R", default=default.rate, help="an open loop: so many requests per second in all, "
        "whether or not they are answered; latencies count from when a request should have left")  # fmt: skip
    add("--value-bytes", type=int, metavar="N", default=default.value_bytes, help="default %(default)s")
    add("--keys", type=int, metavar="N", default=default.keys, help="znodes that are made first; default %(default)s")
    add("--distribution", choices=DISTRIBUTIONS, default=default.distribution, help="of the keys: all alike, or few get most")
    add("--multi", type=int, metavar="N", default=default.multi, help="setData in a multi; default %(default)s")
    add("--warm-up-s", type=float, metavar="S", default=default.warm_up_s, help="not measured; default %(default)s")
    add("--duration-s", type=float, metavar="S", default=default.duration_s, help="default %(default)s")
    add("--operations", type=int, metavar="N", default=default.operations, help="end after so many, if they come first")
    add("--threads", type=int, metavar="N", default=default.threads, help="of load; default %(default)s")
    add("--prefix", default=default.prefix, help="the znode below which all is done; default %(default)s")
    add("--json", metavar="FILE", help="the result for programs, with the histograms; - is the output, instead of the text")
    add("--clean", action="store_true", dest="is_cleaning", help="remove the znodes of this run afterwards")
    return found


def parse(arguments: Sequence[str]) -> tuple[list[Address], Workload, str | None]:
    """Hosts, workload and where the JSON goes.  Ends the program, with status 2, when something was typed wrong."""
    known = parser()
    options = vars(known.parse_args(arguments))
    hosts, op, mix, json_path = (options.pop(name) for name in ("hosts", "op", "mix", "json"))
    try:
        addresses, chroot = parse_hosts(hosts, NATIVE_PORT if options["protocol"] == "native" else ZOOKEEPER_PORT)
        options["prefix"] = chroot + options["prefix"]
        options["mix"] = parse_mix(mix) if mix else MIXED if op == "mix" else {op or "get": 100}
        return [(each.host, each.port) for each in addresses], Workload(**options), json_path
    except (ValueError, FastzkError) as error:
        known.error(str(error))


def parse_mix(text: str) -> dict[str, int]:
    """`get=90,set=10` as weights.  Raises ValueError."""
    mix: dict[str, int] = {}
    for part in text.split(","):
        operation, equals, weight = part.strip().partition("=")
        if not equals or not weight.isdecimal() or operation in mix:
            raise ValueError(f"{part.strip()!r} in the mix is not operation=number, once for each operation")
        mix[operation] = int(weight)
    return mix


# ---- what is told


def describe(result: Result, workload: Workload) -> str:
    """The result for people."""
    lines = [f"{result.per_second:12,.0f} per second   {result.operations:,} operations in {result.elapsed_s:.2f} s"]
    for name, values in (("reads", result.read_us), ("writes", result.write_us)):
        if values:
            told = (f"{LABELS[label]} {value:,.0f}" for label, value in values.items())
            lines.append(f"{name:>12}: " + "   ".join(told) + "   microseconds")
    if result.unsent:
        lines.append(
            f"behind: {result.unsent:,} of the requests due at {workload.rate:,.0f} per second never left: "
            f"the windows ({workload.connections} x {workload.window}) were full"
        )
    if not result.is_clean:
        lines.append(f"worthless: {result.describe_faults()}")
    return "\n".join(lines)


def kind_for_programs(counts: Sequence[int], values: Mapping[str, float]) -> dict[str, Any] | None:
    """Reads or writes: how many, percentiles, and the histogram as [lower end in microseconds, count]; None when there are none."""
    if not values:
        return None
    histogram = [[bucket_floor(place) / 1000, count] for place, count in enumerate(counts) if count]
    return {"count": sum(counts), **{f"{label}_us": value for label, value in values.items()}, "histogram_us": histogram}


def for_programs(hosts: Sequence[Address], workload: Workload, result: Result, is_interrupted: bool) -> dict[str, Any]:
    """What --json gives.  `version` changes when a reader would have to."""
    asked = asdict(workload) | {"mix": {op: weight for op, weight in zip(OPERATIONS, workload.weights(), strict=True) if weight}}
    for name in ("get_percent", "create_percent"):  # the mix says it
        del asked[name]
    first = {"code": result.first_error, "name": error_name(result.first_error), "operation": result.first_error_operation}
    return {
        "version": JSON_VERSION,
        "hosts": [Host(*address).endpoint.removeprefix("tcp://") for address in hosts],
        "workload": asked,
        "per_second": result.per_second,
        "operations": result.operations,
        "elapsed_s": result.elapsed_s,
        "reads": kind_for_programs(result.reads, result.read_us),
        "writes": kind_for_programs(result.writes, result.write_us),
        "is_clean": result.is_clean,
        "is_interrupted": is_interrupted,
        "errors": result.errors,
        "first_error": first if result.errors else None,
        "disorders": result.disorders,
        "unanswered": result.unanswered,
        "unsent": result.unsent,
    }


def tell_progress(progress: Progress) -> None:
    """A line on the terminal, once a second."""
    rate = f"{progress.per_second:12,.0f} per second"
    print(f"{rate}   {progress.phase}, {progress.elapsed_s:.0f} s", file=sys.stderr, flush=True)


def write_json(told: Mapping[str, Any], path: str) -> None:
    """To the file, or with `-` to the output.  Raises OSError."""

    def write(to: IO[str]) -> None:
        json.dump(told, to, indent=1)
        to.write("\n")

    if path == "-":
        write(sys.stdout)
    else:
        with open(path, "w", encoding="utf-8") as file:
            write(file)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; gives the exit status."""
    hosts, workload, json_path = parse(sys.argv[1:] if arguments is None else arguments)
    is_interrupted = False
    # In a shell's background it is ignored otherwise.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = run(hosts, workload, tell_progress if sys.stderr.isatty() else None)
    except Interrupted as ended:
        result, is_interrupted = ended.result, True
    except KeyboardInterrupt:
        return fail("interrupted", STATUS_WORTHLESS)
    except UnreachableError as error:
        return fail(str(error), STATUS_USAGE)
    except (ConnectionError, RuntimeError) as error:
        return fail(str(error), STATUS_WORTHLESS)
    except OSError as error:
        return fail(str(error), STATUS_USAGE)
    if json_path != "-":
        print(("interrupted\n" if is_interrupted else "") + describe(result, workload))
    if json_path is not None:
        try:
            write_json(for_programs(hosts, workload, result, is_interrupted), json_path)
        except OSError as error:
            return fail(str(error), STATUS_USAGE)
    if result.operations == 0:
        return fail("interrupted before anything was measured" if is_interrupted else "nothing was answered", STATUS_WORTHLESS)
    return STATUS_CLEAN if result.is_clean else STATUS_WORTHLESS


def fail(why: str, status: int) -> int:
    """Says why, in a line; gives the status."""
    print(f"fastzk-bench: {why}", file=sys.stderr)
    return status
