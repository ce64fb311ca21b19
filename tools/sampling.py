"""What processes do, as stacks with counts: two samplers, each right about what the other cannot see.

  perf     what runs, in every thread, the kernel included, at the cost of an interrupt.  It cannot see which Python function
           runs: all of them are the interpreter's own loop.
  py-spy   Python and compiled frames in one stack (--native), without the kernel.  It stops the process for each sample, and
           samples what waits as well: stacks that end in a waiting call are counted apart.

Rule: whoever needs a tool that is missing hears which one, and how to get it (Missing).
A stack begins with the frames that the caller wants above it; the kinds of frames are those of flamegraph.py."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

Stack = tuple[str, ...]

PERF_HZ = 499  # not a multiple of any timer's rate
SPY_HZ = 40  # a stop of some milliseconds each
STACK_BYTES = 16_384  # copied with each of perf's samples, to be unwound later
HEAD = re.compile(r"^(\S.*?)\s+(\d+)/(\d+)\s*$")
FRAME = re.compile(r"^\s+[0-9a-f]+ (.*) \(([^()]*)\)$")
# The steps by which the interpreter calls: a run of them is one frame.
CALLS = re.compile(
    r"_?Py(Eval|Run|_Run|_Bytes)\w*|_?PyFunction_Vectorcall|_?PyObject_(Fast|Make)?(Tp)?(Vectorc|C)all\w*|_?PyVectorcall_\w+|"
    r"(run_mod|vectorcall|method_vectorcall|cfunction|gen_send_ex|gen_iternext|slot_tp_call|__libc_start|_start\b|main\b)\w*"
)
INTERPRETER = "[interpreter]_[i]"
WAITS = re.compile(r"_*(p?poll|epoll_p?wait|p?select|futex\w*|pthread_cond_\w*wait\w*|(clock_)?nanosleep|wait4|waitpid)\b")
# The C library's wait for a lock has no name where it is stripped; who asked for it has.
LOCK_WAITS = re.compile(
    r";(Condition\.wait|Thread\._wait_for_tstate_lock) \(threading\.py[^;]*\)(;[^;]+ \((libpython|libc\.so)[^;]*\))+$"
)
SPY_FRAME = re.compile(r"^(.*) \((.*)\)$")


class Missing(Exception):  # noqa: N818
    """A tool that is not installed, or may not be used; says how to get it."""


@dataclass
class Samples:
    """What one process was seen doing."""

    running: Counter[Stack] = field(default_factory=Counter)
    waiting: int = 0  # samples in which it waited; only py-spy sees them
    # Samples by the binary that the leaf is in; only of perf.
    binaries: Counter[str] = field(default_factory=Counter)


def perf_command() -> str:
    """Where perf is.  Raises Missing."""
    found = shutil.which("perf")
    if found is None:
        raise Missing("no perf here; `apt-get install linux-perf` (Debian) or `linux-tools-generic` (Ubuntu) brings it")
    return found


def spy_command() -> str:
    """Where py-spy is: beside this Python, or on the path.  Raises Missing."""
    beside = Path(sys.executable).parent / "py-spy"
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise Missing("no py-spy here; `pip install py-spy` brings it (it is one of requirements/dev.txt)")
    return found


def perf(pids: Iterable[int], seconds: float, data: Path) -> dict[int, Samples]:
    """Samples all threads of these processes by the software clock, which virtual machines have too.

    Leaves perf's own record in `data`.  Raises Missing when perf is not there or not permitted."""
    listed = ",".join(map(str, pids))
    command = [perf_command(), "record", "-F", str(PERF_HZ), "-e", "cpu-clock", "--call-graph", f"dwarf,{STACK_BYTES}"]
    command += ["-p", listed, "-o", str(data), "--", "sleep", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = done.stderr.strip() or f"status {done.returncode}, without a word"
        raise Missing(
            f"perf cannot sample {listed}: {why}; it takes root, or CAP_PERFMON, "
            "or kernel.perf_event_paranoid <= 1 and processes of one's own"
        )
    told = [perf_command(), "script", "--no-inline", "-i", str(data), "-F", "comm,pid,tid,ip,sym,dso"]
    with subprocess.Popen(told, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as script:
        assert script.stdout is not None
        return parse_perf(script.stdout)


def parse_perf(lines: Iterable[str]) -> dict[int, Samples]:
    """What `perf script` prints: a head line, then the frames from the leaf up, then an empty line."""
    found: dict[int, Samples] = {}
    frames: list[tuple[str, str]] = []
    head: re.Match[str] | None = None
    for line in [*lines, ""]:
        if not line.strip():
            if head is not None:
                samples = found.setdefault(int(head[2]), Samples())
                # Threads have names of their own; the first has the process's, which the caller knows.
                thread = () if head[2] == head[3] else (f"thread {head[1]}",)
                samples.running[thread + perf_stack(frames)] += 1
                samples.binaries[binary_of(frames[0][1]) if frames else "[unknown]"] += 1
            head, frames = None, []
        elif head is None:
            head = HEAD.match(line)
        elif frame := FRAME.match(line):
            frames.append((frame[1], frame[2]))
    return found


def perf_stack(frames: list[tuple[str, str]]) -> Stack:
    """Frames as perf has them, leaf first, from the root on and readable."""
    stack: list[str] = []
    for symbol, binary in reversed(frames):
        name = perf_frame(symbol, binary)
        if name != INTERPRETER or not stack or stack[-1] != INTERPRETER:
            stack.append(name)
    return tuple(stack)


def perf_frame(symbol: str, binary: str) -> str:
    """One frame of perf's: its name, and the mark of its kind."""
    symbol = re.sub(r"(\+0x[0-9a-f]+|@@?[\w.]+|\.(constprop|isra|part|cold|lto_priv)[.\w]*)+$", "", symbol).replace(";", ":")
    if binary.startswith("[kernel") or binary.endswith(".ko"):
        return f"{symbol}_[k]"
    if symbol == "[unknown]":
        return f"[{binary_of(binary)}]"
    if "/fastzk/" in binary and ".so" in binary:
        return f"{cython_name(symbol)}_[c]"
    if re.search(r"/(lib)?python3[^/]*$|/libc\.so[^/]*$", binary) and CALLS.fullmatch(symbol):
        return INTERPRETER
    return f"{symbol}_[i]" if re.search(r"/(lib)?python3[^/]*$", binary) else symbol


def binary_of(path: str) -> str:
    """A binary's name without what tells its version and machine."""
    return re.sub(r"(-[0-9a-f]{8})?(\.cpython-\w+-[\w-]+)?\.so.*$", "", Path(path).name) or path


def cython_name(symbol: str) -> str:
    """A name as the source has it: __pyx_f_6fastzk_5_core_5serve_6Server_take_result is serve.Server.take_result."""
    head = re.match(r"__pyx_(?:f|fuse_\d+f|pf|pw|tp_\w+?|getprop|gb)_(?=\d)", symbol)
    if head is None:
        return symbol
    parts: list[str] = []
    rest = symbol[head.end() :]
    while size := re.match(r"\d+", rest):
        length = int(size[0])
        name, behind = rest[size.end() : size.end() + length], rest[size.end() + length :]
        if len(name) < length or not (behind.startswith("_") or not behind):
            rest = rest[size.end() :]  # a method's number, and its name
            break
        parts.append(name)
        rest = behind[1:]
    return ".".join([part for part in parts if part not in ("fastzk", "_core")] + ([rest] if rest else []))


def spy(pid: int, seconds: float) -> Samples:
    """Samples one process by py-spy.  Raises Missing when that is not there or not permitted."""
    with tempfile.NamedTemporaryFile("r", suffix=".folded") as raw:
        command = [spy_command(), "record", "--native", "--function", "--threads", "--format", "raw", "--rate", str(SPY_HZ)]
        command += ["--pid", str(pid), "--duration", f"{seconds:.0f}", "--output", raw.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Missing(f"py-spy cannot sample {pid}: {done.stderr.strip()}; it takes root, or CAP_SYS_PTRACE")
        return parse_spy(raw)


def parse_spy(lines: Iterable[str]) -> Samples:
    """What py-spy writes with --format raw: folded stacks."""
    samples = Samples()
    for line in lines:
        stack, _, count = line.strip().rpartition(" ")
        frames = stack.split(";")
        if WAITS.match(frames[-1]) or LOCK_WAITS.search(stack):
            samples.waiting += int(count)
        else:
            samples.running[tuple(map(spy_frame, frames))] += int(count)
    return samples


def spy_frame(text: str) -> str:
    """One frame of py-spy's: `Engine.run (fastzk/node/engine.py)`, `__send (libc.so.6)`."""
    frame = SPY_FRAME.match(text)
    if frame is None:
        return text
    name, place = frame[1], re.sub(r":\d+$", "", frame[2])
    if place.endswith(".py") or place == "<string>":
        return f"{name} ({place.removeprefix('fastzk/')})_[p]"
    if place.endswith((".pyx", ".pxd", ".h")):
        return f"{name} ({Path(place).name})_[c]"
    return f"[{binary_of(place)}]" if name.startswith("0x") else name


def own_shares(stacks: Counter[Stack]) -> Counter[str]:
    """Samples by the function that ran."""
    own: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[stack[-1] if stack else "[unknown]"] += count
    return own


def thread_shares(stacks: Counter[Stack]) -> Counter[str]:
    """Samples by thread.  A thread without a name of its own has its process's."""
    shares: Counter[str] = Counter()
    for stack, count in stacks.items():
        shares[stack[0] if stack and stack[0].startswith("thread ") else "the first thread"] += count
    return shares


def called_shares(stacks: Counter[Stack]) -> Counter[str]:
    """Samples by the compiled function that the interpreter called, with what that called; its own are the interpreter's."""
    shares: Counter[str] = Counter()
    for stack, count in stacks.items():
        last = max((place for place, name in enumerate(stack) if name.endswith("_[i]")), default=-1)
        if last >= 0:
            # A library without symbols has no name that tells anything; what it calls may have one.
            below = stack[last + 1 :]
            shares[next((name for name in below if not name.startswith("[")), below[0] if below else INTERPRETER)] += count
    return shares


def python_shares(stacks: Counter[Stack]) -> Counter[str]:
    """Samples by each Python function that was in the stack, itself or what it called; without those that always were."""
    shares: Counter[str] = Counter()
    for stack, count in stacks.items():
        for name in {frame for frame in stack if frame.endswith("_[p]")}:
            shares[name] += count
    return Counter({name: count for name, count in shares.items() if count < stacks.total()})
