"""Instructions per operation of the compiled paths, counted by valgrind and held against bench/instructions.json.

    python bench/instructions.py             counts and compares: status 1 when a row has changed by more than its margin
    python bench/instructions.py --write     counts, and makes that the file

A count is the same on a busy machine as on an idle one, so it tells a change of a few percent that no clock tells.  It says
nothing of caches, of the kernel, or of how long an instruction takes: bench/ and docs/internals/profiling.md have those.

How it works: valgrind runs counted.py, which does each operation N and 2N times in one compiled call; the difference, divided by
N, is the cost of one, with what it calls in libraries.  Everything outside is not counted.  What callgrind has found of each row
stays in build/callgrind/ROW.COUNT, for `callgrind_annotate --auto=no FILE`: which function spends how much.

Rule: counts are compared only with those of equal make.  A compiler, its flags, Cython, Python or the C library make others:
then the comparison is left out and said to be (Incomparable), and --write begins anew.  For the same reason the C library is told
to use none of what only some processors have."""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import fastzk._core.serve

HERE = Path(__file__).parent
FILE = HERE / "instructions.json"
BUILD = HERE.parent / "build" / "callgrind"
COUNT = 300  # operations; a reply's worth of each must stay below the backlog at which a worker stops reading
MARGIN_PERCENT = 5.0
VALGRIND_S_MAX = 300.0
# What glibc is told not to have.
FEATURES = "-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-BMI2,-SSE4_2,-SSE4_1,-SSSE3,-ERMS,-FSRM"
NAMED = re.compile(r"^desc: Trigger: Client Request: (.+) x (\d+)$", re.MULTILINE)
TOTAL = re.compile(r"^totals: (\d+)$", re.MULTILINE)
PRODUCER = re.compile(rb"GNU C\d* [^\0]+|clang version [^\0]+")


class Uncountable(Exception):  # noqa: N818
    """Nothing can be counted here; says what is missing, and how to get it."""


class Incomparable(Exception):  # noqa: N818
    """Counts of another make than those in the file."""


@dataclass(frozen=True)
class Change:
    """One row, then and now."""

    name: str
    written: float | None
    counted: float | None
    margin_percent: float

    @property
    def percent(self) -> float:
        """By how much it has changed; a row that is new, or gone, is wholly changed."""
        if self.written is None or self.counted is None:
            return 100.0
        return 100 * (self.counted - self.written) / self.written

    @property
    def is_within(self) -> bool:
        """Whether that is nothing to speak of."""
        return abs(self.percent) <= self.margin_percent

    def __str__(self) -> str:
        written = "new" if self.written is None else f"{self.written:,.1f}"
        counted = "gone" if self.counted is None else f"{self.counted:,.1f}"
        told = "" if self.is_within else f"   MORE THAN {self.margin_percent:g} %"
        return f"{self.name:38} {written:>10} {counted:>10} {self.percent:+7.2f} %{told}"


def make() -> dict[str, str]:
    """What the counts depend on besides the sources.  Raises Uncountable for a build that is no release."""
    module = Path(fastzk._core.serve.__file__)
    producers = sorted({found.decode() for found in PRODUCER.findall(module.read_bytes())})
    if not producers or "-O3" not in producers[0]:
        raise Uncountable(f"{module.name} is no release build of gcc or clang ({producers}); FASTZK_BUILD=release makes one")
    return {
        "compiler": producers[0],
        "cython": version("Cython"),
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine() + (" with avx2" if " avx2 " in Path("/proc/cpuinfo").read_text(encoding="utf-8") else ""),
        "xxhash": version("xxhash"),  # it takes the widest registers there are; valgrind has those of AVX2 at most
    }


def tool(name: str, brings: str) -> str:
    """Where a command is.  Raises Uncountable."""
    found = shutil.which(name)
    if found is None:
        raise Uncountable(f"no {name} here; `apt-get install {brings}` brings it")
    return found


def shim() -> Path:
    """The marks, compiled.  Raises Uncountable."""
    made = BUILD / "callgrind.so"
    command = [tool("cc", "gcc libc6-dev"), "-O1", "-shared", "-fPIC", "-o", str(made), str(HERE / "callgrind.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Uncountable(f"callgrind.c cannot be compiled; valgrind's package has its header\n{done.stderr}")
    return made


def count() -> dict[str, float]:
    """Instructions of one operation of each row.  Raises Uncountable."""
    valgrind = tool("valgrind", "valgrind")
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    environment = os.environ | {
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(Path(fastzk.__file__).parents[1]),
        "LD_BIND_NOW": "1",  # else the first call of each library function costs more
        "GLIBC_TUNABLES": f"glibc.cpu.hwcaps={FEATURES}",
    }
    command = [valgrind, "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={BUILD / 'out'}"]
    command += [sys.executable, str(HERE / "counted.py"), str(COUNT), str(shim())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=VALGRIND_S_MAX)
    if done.returncode != 0:
        raise Uncountable(f"valgrind ended with status {done.returncode}\n{done.stderr[-4000:]}")
    dumps = {path: path.read_text(encoding="utf-8") for path in BUILD.glob("out.*")}
    for path, text in dumps.items():
        if named := NAMED.search(text):
            path.rename(BUILD / f"{re.sub('[^A-Za-z]+', '-', named[1])}.{named[2]}")
    return costs({path.name: text for path, text in dumps.items()})


def costs(dumps: dict[str, str]) -> dict[str, float]:
    """The rows of callgrind's dumps: the text of each by its file's name, in the order of the rows."""
    totals: dict[str, dict[int, int]] = {}
    for name in sorted(dumps, key=lambda name: int(name.rpartition(".")[2])):
        named, total = NAMED.search(dumps[name]), TOTAL.search(dumps[name])
        assert named is not None, f"{name} does not say of which row it is"
        assert total is not None, f"{name} has no total"
        totals.setdefault(named[1], {})[int(named[2])] = int(total[1])
    found = {}
    for name, of_count in totals.items():
        few, many = sorted(of_count)
        assert many == 2 * few, f"{name}: counted {few} and {many} times"
        found[name] = round((of_count[many] - of_count[few]) / few, 1)
    return found


def read() -> dict[str, dict[str, str] | dict[str, float]]:
    """The file."""
    found: dict[str, dict[str, str] | dict[str, float]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def differences(now: dict[str, str]) -> list[str]:
    """What the file's counts were made with, and what there is now, where that is not the same."""
    then = read()["make"] if FILE.exists() else {}
    unequal = [name for name in now if then.get(name) != now[name]]
    return [f"{name} was {then.get(name, 'unknown')}, here it is {now[name]}" for name in unequal]


def compare(counted: dict[str, float]) -> list[Change]:
    """Every row, then and now."""
    written, margins = read()["instructions"], read()["margin_percent"]
    return [
        Change(name, written.get(name), counted.get(name), float(margins.get(name, MARGIN_PERCENT)))  # type: ignore[arg-type]
        for name in dict.fromkeys([*written, *counted])
    ]


def checked() -> list[Change]:
    """Counts and compares.  Raises Uncountable, and Incomparable before it counts."""
    if different := differences(make()):
        raise Incomparable("not comparable: " + "; ".join(different))
    return compare(count())


def write(counted: dict[str, float]) -> None:
    """Makes these counts the file; margins stay."""
    margins = read()["margin_percent"] if FILE.exists() else {}
    content = {"make": make(), "margin_percent": margins, "instructions": counted}
    FILE.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="make what is counted the file")
    options = parser.parse_args()
    try:
        different = differences(make())
        counted = count()
    except Uncountable as error:
        print(f"instructions: {error}", file=sys.stderr)
        return 2
    changes = compare(counted) if FILE.exists() else []
    print(f"{'instructions of one operation':38} {'written':>10} {'counted':>10}")
    print("\n".join(map(str, changes)) or "\n".join(f"{name:38} {value:21,.1f}" for name, value in counted.items()))
    if options.write:
        write(counted)
        print(f"-- written to {FILE}")
        return 0
    for line in different:
        print(f"instructions: NOT COMPARABLE: {line}", file=sys.stderr)
    if different:
        return 2
    return 0 if all(change.is_within for change in changes) else 1


if __name__ == "__main__":
    sys.exit(main())
