"""ZooKeeper's own shell as a process: given a script of commands, it gives a transcript that can be compared.

Zxids and session ids are named in the order in which they appear, so that one in a wrong place is seen; times, ports and
the order of listings are taken out.  Events come from a thread of the shell's own, so they stand behind the output of
their command, which says how many it must bring."""

import queue
import re
import subprocess
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from fastzk.testing.ensemble import wait_for

ANSWER_S_MAX = 30.0
EVENTS_S_MAX = 10.0
JAVA = ("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off")
MAIN = "org.apache.zookeeper.ZooKeeperMain"
SENTINEL = "redo 999999"  # answers with one line, without the server
SENTINEL_ANSWER = "Command index out of range"


class Shell:
    """A running zkCli: takes commands one by one, and keeps the output and the events of each apart."""

    def __init__(self, jars: str, host: str, options: Sequence[str] = (), flag: str = "-waitforconnection") -> None:
        command = [*JAVA, *options, "-cp", jars, MAIN, flag, "-server", host]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, encoding="utf-8")
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.events: list[str] = []
        self.awaited = 1  # events so far by what the commands said, the one of being connected included
        self.patience_s = EVENTS_S_MAX

    def __enter__(self) -> Self:
        self.reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self.process.kill()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=ANSWER_S_MAX)
        self.reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        """Events are taken out here, and empty lines: their place among the output is nobody's promise."""
        assert self.process.stdout is not None
        for line in map(str.rstrip, self.process.stdout):
            if line.startswith("WatchedEvent "):
                self.events.append(line)
            elif line and line != "WATCHER::":
                self.lines.put(line)

    def _write(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def ask(self, command: str, events: int) -> list[str]:
        """The output of a command.  Returns when its last line is there, and so many events more than before.  Events
        that do not come are told in the output; after the first of them none is waited for as long."""
        self.awaited += events
        self._write(command)
        self._write(SENTINEL)
        seen: list[str] = []
        while not seen or seen[-1] != SENTINEL_ANSWER:
            try:
                seen.append(self.lines.get(timeout=ANSWER_S_MAX))
            except queue.Empty:
                raise AssertionError(f"{command}: no end of {seen}") from None
        try:
            wait_for(lambda: len(self.events) >= self.awaited, self.patience_s, "events")
        except TimeoutError:
            self.patience_s = 0.1
            seen.insert(-1, f"{self.awaited - len(self.events)} of {events} events did not come")
            self.awaited = len(self.events)
        return seen[:-1]

    def quit(self) -> int:
        """Its exit status."""
        self._write("quit")
        return self.process.wait(timeout=ANSWER_S_MAX)


class Names:
    """Calls numbers that differ from run to run by the order in which they are seen first."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {-1: "-1", 0: "0"}

    def name(self, number: int) -> str:
        return self.known.setdefault(number, f"#{len(self.known) - 1}")

    def plain(self, line: str) -> str:
        """A line with its zxids and session ids named, without times, and with the names of a listing in order."""
        line = re.sub(r"\b([cmp]?time|ctime|mtime) = .*", r"\1 = TIME", line)
        line = re.sub(r"((?:[cmp]Zxid|ephemeralOwner) = )0x([0-9a-f]+)", lambda m: m[1] + self.name(int(m[2], 16)), line)
        line = re.sub(r"( zxid: )(-?\d+)", lambda m: m[1] + self.name(int(m[2])), line)
        if line.startswith("[") and line.endswith("]"):
            line = f"[{', '.join(sorted(line[1:-1].split(', ')))}]"
        return line


def transcript(jars: str, host: str, script: str, options: Sequence[str] = ()) -> list[str]:
    """What a script prints against a server, made comparable.  `# N` behind a command: so many events come of it; $HOST in
    it is the server.  `options` are more of Java's."""
    names = Names()
    found: list[str] = []
    with Shell(jars, host, options) as shell:
        wait_for(lambda: shell.events, ANSWER_S_MAX, "the event of being connected")
        shown = 1
        for line in script.strip().splitlines():
            command, _, events = line.partition(" # ")
            output = shell.ask(command.replace("$HOST", host), int(events or 0))
            found.append(f"> {line}")
            if command == "whoami":
                output.sort()  # ZooKeeper keeps identities in a hash table
            found += [names.plain(each).replace(host, "$HOST") for each in output]
            found += [names.plain(each) for each in shell.events[shown:]]
            shown = len(shell.events)
        found.append(f"exit status {shell.quit()}")
    return found


def batch(jars: str, host: str, *command: str) -> tuple[int, list[str]]:
    """Exit status and output of one command given as arguments."""
    done = subprocess.run(
        [*JAVA, "-cp", jars, MAIN, "-waitforconnection", "-server", host, *command],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWER_S_MAX,
    )  # fmt: skip
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line and not line.startswith(("Watche", "WATCHER"))]
    return done.returncode, [Names().plain(line).replace(host, "$HOST") for line in lines]
