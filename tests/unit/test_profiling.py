"""Goal: a flame graph shows what was sampled, in proportion and by names that can be read; a tool that is missing is named.

Method: what perf and py-spy print is parsed from examples of it; the SVG is read back as XML.  One test samples a real process
with whichever of the tools may be used here."""

import importlib
import itertools
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

TOOLS = Path(__file__).parents[2] / "tools"
SVG = "{http://www.w3.org/2000/svg}"
BUSY = "def busy_loop():\n    while True: sum(range(1000))\nprint(flush=True)\nbusy_loop()"

sys.path.append(str(TOOLS))
flamegraph: ModuleType = importlib.import_module("flamegraph")
sampling: ModuleType = importlib.import_module("sampling")

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=";"), min_size=1)
STACKS = st.dictionaries(st.lists(NAMES, min_size=1, max_size=5).map(tuple), st.integers(1, 1000), min_size=1, max_size=8)

PERF = """fzk1-engine  700/700
\tffffffff821f8914 finish_task_switch.isra.0 ([kernel.kallsyms])
\t           10aba4 __send (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t           28db5 [unknown] (/x/zmq/backend/_zmq.cpython-311-x86_64-linux-gnu.so)
\t          158ba2 PyObject_Vectorcall (/usr/lib/libpython3.11.so.1.0)
\t           fd9c2 _PyEval_EvalFrameDefault (/usr/lib/libpython3.11.so.1.0)
\t           27304 __libc_start_main@@GLIBC_2.34 (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t            1080 _start (/usr/bin/python3.11)

fzk1-engine  700/700
\t            5e21 __pyx_f_6fastzk_5_core_4tree_tree_find.part.0 (/x/fastzk/_core/tree.cpython-311-x86_64-linux-gnu.so)
\t            5e21 __pyx_pw_6fastzk_5_core_5apply_7Machine_9apply (/x/fastzk/_core/apply.cpython-311-x86_64-linux-gnu.so)
\t           fd9c2 _PyEval_EvalFrameDefault (/usr/lib/libpython3.11.so.1.0)

ZMQbg/IO/0  700/701
\t           78cfc [unknown] (/x/pyzmq.libs/libzmq-2f02442c.so.5.2.5)

fzk1-worker1  702/702

"""
SPY = """main (fastzk/node/main.py);Engine._turn (fastzk/node/engine.py);Poller.poll (zmq/sugar/poll.py);poll (libc.so.6) 7
Event.wait (threading.py);Condition.wait (threading.py);0x7f61 (libpython3.11.so.1.0);0x7f61 (libc.so.6);0x7f60 (libc.so.6) 4
main (fastzk/node/main.py);NodeCore._apply (fastzk/node/core.py);apply (fastzk/_core/apply.pyx);hash_bytes (bytes.h) 2
main (fastzk/node/main.py);0x7f6077 (zmq/_zmq.cpython-311-x86_64-linux-gnu.so) 1
"""


def boxes(svg: str) -> list[tuple[str, float, float, int]]:
    """(name, left, width, depth) of each frame."""
    frames = [each.attrib for each in ElementTree.fromstring(svg).iter(f"{SVG}g") if each.get("class") == "frame"]
    return [(each["data-name"], float(each["data-left"]), float(each["data-width"]), int(each["data-depth"])) for each in frames]


# ---- the graph


def test_a_frame_is_as_wide_as_its_share_and_stands_below_its_caller() -> None:
    stacks = {("engine", "apply"): 60, ("engine", "poll"): 20, ("worker", "apply"): 15, ("engine",): 5}
    found = {(name, depth, round(width, 4)) for name, _, width, depth in boxes(flamegraph.flame_graph(stacks, "load"))}
    assert found == {
        ("all", 0, 1.0), ("engine", 1, 0.85), ("worker", 1, 0.15), ("apply", 2, 0.6), ("poll", 2, 0.2), ("apply", 2, 0.15),
    }  # fmt: skip


@settings(max_examples=40)
@given(STACKS)
def test_every_frame_lies_within_one_caller_and_none_upon_another(stacks: dict[tuple[str, ...], int]) -> None:
    found = boxes(flamegraph.flame_graph(stacks, "any"))
    rounding = 1e-6
    for _, left, width, depth in found[1:]:
        callers = [b for b in found if b[3] == depth - 1 and b[1] <= left + rounding and left + width <= b[1] + b[2] + rounding]
        assert len(callers) == 1
    for depth in {each[3] for each in found}:
        row = sorted((left, width) for _, left, width, at in found if at == depth)
        assert all(a[0] + a[1] <= b[0] + rounding for a, b in itertools.pairwise(row))


def test_names_may_hold_what_xml_means_something_by() -> None:
    svg = flamegraph.flame_graph({('operator<<"a&b"_[c]',): 1}, "<title> & more")
    assert boxes(svg)[1][0] == 'operator<<"a&b"'
    assert 'operator<<"a&b": 1 samples, 100.00 %' in [each.text for each in ElementTree.fromstring(svg).iter(f"{SVG}title")]


def test_each_kind_has_its_colour_and_a_name_keeps_it() -> None:
    colours = {kind: flamegraph.colour("apply", kind) for kind in flamegraph.COLOURS}
    assert len(set(colours.values())) == len(colours)
    assert colours == {kind: flamegraph.colour("apply", kind) for kind in flamegraph.COLOURS}


def test_nothing_sampled_is_no_graph() -> None:
    with pytest.raises(ValueError, match="no sample"):
        flamegraph.flame_graph({}, "idle")


@settings(max_examples=40)
@given(STACKS)
def test_folded_stacks_are_read_back(stacks: dict[tuple[str, ...], int]) -> None:
    assert flamegraph.parse_folded(iter(flamegraph.folded(stacks).splitlines())) == stacks


def test_a_line_that_is_no_stack_is_named() -> None:
    with pytest.raises(ValueError, match=r"line 2 .*'b;c'"):
        flamegraph.parse_folded(iter(["a;b 1", "b;c"]))


# ---- the samplers' words


def test_stacks_of_perf() -> None:
    found = sampling.parse_perf(PERF.splitlines(keepends=True))
    assert found[700].running == Counter({
        ("[interpreter]_[i]", "[_zmq]", "__send", "finish_task_switch_[k]"): 1,
        ("[interpreter]_[i]", "apply.Machine.apply_[c]", "tree.tree_find_[c]"): 1,
        ("thread ZMQbg/IO/0", "[libzmq]"): 1,
    })  # fmt: skip
    assert found[700].binaries == Counter({"[kernel.kallsyms]": 1, "tree": 1, "libzmq": 1})
    assert found[702].running == Counter({(): 1})
    assert sampling.own_shares(found[700].running) == Counter(["finish_task_switch_[k]", "tree.tree_find_[c]", "[libzmq]"])
    assert sampling.thread_shares(found[700].running) == Counter({"the first thread": 2, "thread ZMQbg/IO/0": 1})
    assert sampling.called_shares(found[700].running) == Counter(["__send", "apply.Machine.apply_[c]"])


def test_stacks_of_py_spy() -> None:
    found = sampling.parse_spy(SPY.splitlines())
    assert found.waiting == 7 + 4
    assert found.running == Counter({
        ("main (node/main.py)_[p]", "NodeCore._apply (node/core.py)_[p]", "apply (apply.pyx)_[c]", "hash_bytes (bytes.h)_[c]"): 2,
        ("main (node/main.py)_[p]", "[_zmq]"): 1,
    })  # fmt: skip
    assert sampling.python_shares(found.running) == Counter({"NodeCore._apply (node/core.py)_[p]": 2})


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("__pyx_f_6fastzk_5_core_5serve_6Server_take_result", "serve.Server.take_result"),
        ("__pyx_pw_6fastzk_9transport_5_loop_4Loop_11turn", "transport._loop.Loop.turn"),
        ("__pyx_f_6fastzk_5_core_8requests_8Requests_8of_eight", "requests.Requests.of_eight"),
        ("buffer_append", "buffer_append"),
    ],
)
def test_compiled_names_are_those_of_the_source(symbol: str, name: str) -> None:
    assert sampling.cython_name(symbol) == name


# ---- the command


def test_a_missing_tool_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(sampling.Missing, match="apt-get install linux-perf"):
        sampling.perf_command()
    with pytest.raises(sampling.Missing, match="pip install py-spy"):
        sampling.spy_command()


def profile(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable}
    return subprocess.run([TOOLS / "profile.sh", *words], capture_output=True, text=True, check=False, env=environment)


def test_what_does_not_run_cannot_be_sampled(tmp_path: Path) -> None:
    told = profile(str(tmp_path))
    assert (told.returncode, told.stdout) == (2, "")
    assert f"no running node has the data directory {tmp_path}" in told.stderr


def test_a_process_that_holds_a_data_directory_is_sampled(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        busy = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, pass_fds=[lock.fileno()])
    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        told = profile(str(tmp_path), "1", str(tmp_path))
    finally:
        busy.kill()
        busy.communicate()
    if told.returncode == 2 and "cannot sample" in told.stderr:
        pytest.skip(f"neither perf nor py-spy may be used here: {told.stderr}")
    assert told.returncode == 0, told.stderr
    graphs = {path.stem: {name for name, *_ in boxes(path.read_text())} for path in tmp_path.glob("*.svg")}
    assert graphs
    if "python" in graphs:
        assert any(name.startswith("busy_loop") for name in graphs["python"])
    if "perf" in graphs:
        assert "[interpreter]" in graphs["perf"]
    assert all(any(re.search(rf" {busy.pid}$", name) for name in names) for names in graphs.values())
