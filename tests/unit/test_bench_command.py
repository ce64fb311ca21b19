"""Goal: fastzk-bench says what it measured and, in one line, what went wrong; scripts can rely on its JSON and exit status.

Method: its main() against a judging server (bench_judge.py); Ctrl-C against a process of it."""

import importlib
import json
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
from bench_judge import Judge, judging

from fastzk.bench.command import main, parse

BRIEF = ["--connections", "2", "--window", "3", "--keys", "5", "--warm-up-s", "0", "--operations", "300"]


def host_of(judge: Judge) -> str:
    return f"127.0.0.1:{judge.address[1]}"


def test_the_package_installs_the_command() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["fastzk-bench"].partition(":")
    assert getattr(importlib.import_module(module), function) is main


def test_options_become_a_workload() -> None:
    hosts, workload, json_path = parse(
        ["h1,[::1]:99/app", "--mix", "get=9,set=1", "--rate", "5e3", "--json", "-", "--connections", "7", "--clean"]
    )
    assert hosts == [("h1", 2181), ("::1", 99)]
    assert (workload.prefix, workload.connections, workload.rate, workload.is_cleaning) == ("/app/bench", 7, 5000, True)
    assert workload.weights() == [9, 1, 0, 0, 0, 0, 0]
    assert json_path == "-"


def test_the_native_protocol_has_a_port_of_its_own() -> None:
    hosts, workload, _ = parse(["h1", "--protocol", "native", "--batch", "10", "--op", "mix"])
    assert hosts == [("h1", 2281)]
    assert workload.batch == 10
    assert workload.weights()[:2] == [90, 10]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (["h1:x"], "not host:port"),
        (["h1:2181", "--mix", "get"], "not operation=number"),
        (["h1:2181", "--mix", "get=1,get=2"], "once for each operation"),
        (["h1:2181", "--mix", "push=2"], "'push' is no operation"),
        (["h1:2181", "--op", "get", "--mix", "set=2"], "not allowed with"),
        (["h1:2181", "--batch", "2"], "the native protocol"),
        (["h1:2181", "--window", "0"], "window must be 1 to"),
        (["h1:2181", "--wind", "5"], "unrecognized"),
        ([], "required: hosts"),
    ],
)
def test_what_is_typed_wrong_is_told_in_a_line(wrong: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith("fastzk-bench: ")
    assert why in told
    assert told.count("\n") == 1


def test_a_clean_run_has_status_0_and_is_told_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    with judging() as judge:
        assert main([host_of(judge), *BRIEF]) == 0
    told = capsys.readouterr().out
    assert "300 operations in" in told
    assert "reads: p50" in told
    assert "worthless" not in told


def test_the_json_has_rates_percentiles_and_histograms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "result.json"
    with judging() as judge:
        assert main([host_of(judge), *BRIEF, "--mix", "get=1,set=1", "--json", str(file)]) == 0
        assert "per second" in capsys.readouterr().out
        assert main([host_of(judge), *BRIEF, "--json", "-"]) == 0
        assert json.loads(capsys.readouterr().out)["writes"] is None
    told = json.loads(file.read_text())
    assert told["version"] == 1
    assert told["hosts"] == [host_of(judge)]
    assert told["workload"]["mix"] == {"get": 1, "set": 1}
    assert told["operations"] == 300 == told["reads"]["count"] + told["writes"]["count"]
    assert told["per_second"] == pytest.approx(300 / told["elapsed_s"])
    assert (told["is_clean"], told["is_interrupted"], told["errors"], told["first_error"]) == (True, False, 0, None)
    for kind in (told["reads"], told["writes"]):
        assert 0 < kind["p50_us"] <= kind["p90_us"] <= kind["p99_us"] <= kind["p999_us"] <= kind["max_us"]
        assert sum(count for _, count in kind["histogram_us"]) == kind["count"]
        floors = [floor for floor, _ in kind["histogram_us"]]
        assert floors == sorted(floors)
        assert kind["p50_us"] in floors


def test_a_file_that_cannot_be_written_is_told_and_the_result_too(capsys: pytest.CaptureFixture[str]) -> None:
    with judging() as judge:
        assert main([host_of(judge), *BRIEF, "--json", "/nowhere/result.json"]) == 2
    told = capsys.readouterr()
    assert "per second" in told.out
    assert "/nowhere/result.json" in told.err


def test_error_answers_have_status_1_and_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with judging(err=-102) as judge:
        assert main([host_of(judge), *BRIEF, "--op", "set"]) == 1
    assert "worthless: 300 errors, the first NO_AUTH (-102) of set" in capsys.readouterr().out


def test_a_connection_lost_under_load_has_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with judging(closes_after=10) as judge:
        assert main([host_of(judge), *BRIEF]) == 1
    assert capsys.readouterr().err.startswith("fastzk-bench: the server closed ")


def test_who_is_not_there_or_does_not_serve_has_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for options, why in (([], "connection refused"), (["--protocol", "native"], "could not connect")):
        assert main([f"127.0.0.1:{port}", *BRIEF, *options]) == 2
        assert capsys.readouterr().err == f"fastzk-bench: 127.0.0.1:{port}: {why}\n"
    with judging(has_session=False) as judge:
        assert main([host_of(judge), *BRIEF]) == 2
        assert "does not serve" in capsys.readouterr().err
        assert main([host_of(judge), *BRIEF, "--protocol", "native"]) == 2
        told = capsys.readouterr().err
    assert "is it the port of the native protocol?" in told
    assert told.count("\n") == 1


def test_ctrl_c_ends_early_with_what_there_is() -> None:
    is_loaded = threading.Event()
    with judging(on_get=lambda count: is_loaded.set() if count > 100 else None) as judge:
        command = [sys.executable, "-m", "fastzk.bench", host_of(judge), "--json", "-", "--clean"]
        command += ["--duration-s", "100", "--warm-up-s", "0", "--keys", "20"]
        bench = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert is_loaded.wait(30), "no load came"
        bench.send_signal(signal.SIGINT)
        out, err = bench.communicate(timeout=30)
    assert (bench.returncode, err) == (0, b"")
    told = json.loads(out)
    assert told["is_interrupted"]
    assert told["operations"] > 0
    assert judge.znodes == set()
