"""`python -m fastzk.bench HOST:PORT,...`: loads any server of ZooKeeper's protocol and prints what it gave."""

import argparse
import sys

from fastzk.bench.load import Address, Result, Workload, run

OPS = {"get": (100, 0), "set": (0, 0), "create": (0, 100), "mix": (90, 0)}


def address(text: str) -> Address:
    """`host:port` as a pair.  Raises ValueError."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def describe(result: Result) -> str:
    """The result in a line or two."""
    lines = [f"{result.per_second:12,.0f} per second   {result.operations:,} operations"]
    for name, values in (("reads", result.read_us), ("writes", result.write_us)):
        if values:
            lines.append(f"{name:>12}: " + "  ".join(f"{label} {value:,.0f} us" for label, value in values.items()))
    if not result.is_clean:
        lines.append(f"worthless: {result.errors} errors (first: {result.first_error}), {result.disorders} replies out of order")
    return "\n".join(lines)


def main() -> int:
    """The command line; exit status 1 when a reply failed or came out of order."""
    default = Workload()
    parser = argparse.ArgumentParser(prog="python -m fastzk.bench", description=__doc__)
    parser.add_argument("hosts", help="host:port,host:port,...; the connections go round them")
    parser.add_argument("--op", choices=sorted(OPS), default="get", help="mix is 90 percent get, the rest set")
    parser.add_argument("--connections", type=int, default=default.connections)
    parser.add_argument("--window", type=int, default=default.window, help="requests under way on each connection")
    parser.add_argument("--value-bytes", type=int, default=default.value_bytes)
    parser.add_argument("--keys", type=int, default=default.keys)
    parser.add_argument("--warm-up-s", type=float, default=default.warm_up_s)
    parser.add_argument("--duration-s", type=float, default=default.duration_s)
    parser.add_argument("--operations", type=int, default=0, help="end earlier, after so many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prefix", default=default.prefix, help="the znode below which all is done")
    options = vars(parser.parse_args())
    hosts = [address(text) for text in options.pop("hosts").split(",")]
    get_percent, create_percent = OPS[options.pop("op")]
    result = run(hosts, Workload(get_percent=get_percent, create_percent=create_percent, **options))
    print(describe(result))
    return 0 if result.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
