"""What is asked of a server, how hard, and what came of it: plain values.

Rule: a Workload that can be made makes sense; what does not raises ValueError, in words for whoever typed it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fastzk.bench._load import bucket_floor
from fastzk.bench._requests import OPERATIONS
from fastzk.errors import ErrorCode

PROTOCOLS = ("zookeeper", "native")
DISTRIBUTIONS = ("uniform", "zipf")
ZIPF_EXPONENT = 0.99
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
KEYS_MAX = 100_000_000
CONNECTIONS_MAX = 100_000
WINDOW_MAX = 1_000_000


@dataclass(frozen=True)
class Workload:
    """What is asked, and how hard.  Raises ValueError for what makes no sense."""

    connections: int = 30
    window: int = 50  # requests under way on each connection
    get_percent: int = 100
    create_percent: int = 0  # what is left of 100 is setData
    value_bytes: int = 100
    keys: int = 1000
    warm_up_s: float = 0.5
    duration_s: float = 3.0
    operations: int = 0  # ends earlier after so many; 0: no bound
    threads: int = 1
    prefix: str = "/bench"
    protocol: str = "zookeeper"  # or native
    batch: int = 1  # requests in each message of the native protocol
    rate: float = 0.0  # requests per second of an open loop, all connections together; 0: a closed loop
    mix: Mapping[str, int] = field(default_factory=dict)  # weights by operation; instead of the two percentages
    multi: int = 5  # setData in each multi
    distribution: str = "uniform"  # of the keys; or zipf: few of them get most
    is_cleaning: bool = False  # removes the znodes it made afterwards

    def __post_init__(self) -> None:
        """Refuses what makes no sense."""
        positive = {
            "connections": CONNECTIONS_MAX,
            "window": WINDOW_MAX,
            "keys": KEYS_MAX,
            "threads": CONNECTIONS_MAX,
            "batch": WINDOW_MAX,
            "multi": 1000,
        }
        for name, most in positive.items():
            if not 0 < getattr(self, name) <= most:
                raise ValueError(f"{name} must be 1 to {most:,}, not {getattr(self, name):,}")
        for name in ("warm_up_s", "duration_s", "operations", "value_bytes", "rate"):
            if not 0 <= getattr(self, name) < 1e9:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name):,}")
        for name, allowed in (("protocol", PROTOCOLS), ("distribution", DISTRIBUTIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if self.protocol == "zookeeper" and self.batch > 1:
            raise ValueError("batches are messages of the native protocol; over TCP all that is to be sent leaves together")
        if self.batch > self.window:
            raise ValueError(f"a batch of {self.batch} does not fit in a window of {self.window}")
        if not self.prefix.startswith("/") or self.prefix.endswith("/"):
            raise ValueError(f"the prefix must be a path below /, not {self.prefix!r}")
        self.weights()

    def weights(self) -> list[int]:
        """Of each operation, in the order of OPERATIONS."""
        mix = self.mix
        if not mix:
            set_percent = 100 - self.get_percent - self.create_percent
            mix = {"get": self.get_percent, "create": self.create_percent, "set": set_percent}
        unknown = sorted(set(mix) - set(OPERATIONS))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no operation; there are {', '.join(OPERATIONS)}")
        weights = [mix.get(operation, 0) for operation in OPERATIONS]
        if min(weights) < 0 or not 0 < sum(weights) <= 1_000_000:
            raise ValueError(f"the weights of a mix are 0 or more, and together 1 to 1,000,000: {dict(mix)}")
        return weights

    def key_table(self) -> bytes:
        """A key for each of 2^n equally likely draws; empty: all keys are as likely.

        With zipf, key number k is drawn in proportion to 1 / (k + 1) ** 0.99."""
        if self.distribution == "uniform":
            return b""
        draws = 1 << (16 if self.keys <= 10_000 else 20)
        upto = np.cumsum(1.0 / np.arange(1, self.keys + 1) ** ZIPF_EXPONENT)
        found = np.searchsorted(upto, (np.arange(draws) + 0.5) / draws * upto[-1])
        return bytes(np.minimum(found, self.keys - 1).astype(np.uint32))


@dataclass
class Result:
    """What came of it.  Latencies are in microseconds, each the lower end of a step of 3 percent."""

    per_second: float = 0.0
    operations: int = 0
    errors: int = 0
    first_error: int = 0
    disorders: int = 0  # replies out of order
    read_us: dict[str, float] = field(default_factory=dict)  # p50, p90, p99, p999, max; nothing when there were none
    write_us: dict[str, float] = field(default_factory=dict)
    first_error_operation: str = ""
    unanswered: int = 0  # 10 seconds after the last request
    unsent: int = 0  # of an open loop: due and not sent, since the server was behind
    elapsed_s: float = 0.0
    reads: list[int] = field(default_factory=list, repr=False)  # counts by place, see fastzk.bench._load.bucket_floor
    writes: list[int] = field(default_factory=list, repr=False)

    @property
    def is_clean(self) -> bool:
        """Nothing failed, and every reply came in order: only then do the figures mean anything."""
        return not self.errors and not self.disorders and not self.unanswered

    def describe_faults(self) -> str:
        """Why it is worth nothing, in a line; empty when it is clean."""
        told = []
        if self.errors:
            told.append(f"{self.errors:,} errors, the first {error_name(self.first_error)} of {self.first_error_operation}")
        if self.disorders:
            told.append(f"{self.disorders:,} replies out of order")
        if self.unanswered:
            told.append(f"{self.unanswered:,} requests never answered")
        return "; ".join(told)


def error_name(code: int) -> str:
    """An error as people know it: `NO_NODE (-101)`."""
    return f"{ErrorCode(code).name} ({code})" if code in set(ErrorCode) else f"error {code}"


def percentiles(histogram: Sequence[int], max_ns: int) -> dict[str, float]:
    """p50, p90, p99, p999 and max of a histogram, in microseconds; nothing when it is empty."""
    total = sum(histogram)
    if not total:
        return {}
    found: dict[str, float] = {}
    for label, share in SHARES.items():
        seen = 0
        for place, count in enumerate(histogram):
            seen += count
            if seen >= share * total:
                found[label] = bucket_floor(place) / 1000
                break
    found["max"] = max_ns / 1000
    return found
