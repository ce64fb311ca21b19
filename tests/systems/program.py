"""A program of a test's own or of others: told what to do in lines, heard in lines, killed and paused at will.

Rules: its standard error and what it logs go to a file that a failed wait shows; it never outlives its `with`."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

END_S_MAX = 15.0
TAIL_BYTES = 4000


class Program:
    """One program; `said` is each line it printed, in order."""

    def __init__(self, name: str, command: Sequence[str], home: Path) -> None:
        self.name = name
        self.home = home
        self.command = list(command)
        self.log_path = home / f"{name}.log"
        self.said: list[str] = []
        self.heard = threading.Condition()
        self.address = ""  # where it is reached, when its test says so
        self.process: subprocess.Popen[str] | None = None
        self.reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill9()
        if error is not None:
            error.add_note(self.tail())

    def start(self) -> None:
        """Starts it, or starts it again; does not wait."""
        assert not self.is_running, f"{self.name} runs already"
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(
                self.command, stdin=pipe, stdout=pipe, stderr=log, text=True, encoding="utf-8", errors="replace", cwd=self.home
            )
        self.reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.reader.start()

    @property
    def is_running(self) -> bool:
        """True while its process lives."""
        return self.process is not None and self.process.poll() is None

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as lines, self.log_path.open("a") as log:
            for line in lines:
                log.write(line)
                log.flush()
                with self.heard:
                    self.said.append(line.rstrip("\n"))
                    self.heard.notify_all()
        with self.heard:
            self.heard.notify_all()

    def await_line(self, pattern: str, seconds: float, since: int = 0) -> re.Match[str]:
        """The first line after the first `since` ones that matches.  Raises TimeoutError with what was printed, also
        when the program ended."""
        ends = time.monotonic() + seconds
        seen = since
        with self.heard:
            while True:
                for line in self.said[seen:]:
                    if match := re.search(pattern, line):
                        return match
                seen = len(self.said)
                left = ends - time.monotonic()
                if left <= 0 or not self.is_running:
                    status = self.process.poll() if self.process else None
                    raise TimeoutError(f"{self.name}: no {pattern!r} within {seconds:g} s; status {status}\n{self.tail()}")
                self.heard.wait(min(left, 0.5))

    def ask(self, command: str, pattern: str, seconds: float = 60.0) -> re.Match[str]:
        """Gives it a line, and waits for one that answers it."""
        assert self.process is not None
        assert self.process.stdin is not None
        before = len(self.said)
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.await_line(pattern, seconds, before)

    def kill9(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(END_S_MAX)
            assert self.reader is not None
            self.reader.join(END_S_MAX)
            if self.process.stdin is not None and not self.process.stdin.closed:
                self.process.stdin.close()

    def pause(self) -> None:
        """SIGSTOP: alive and silent."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def tail(self) -> str:
        """The end of all it printed and logged."""
        text = self.log_path.read_bytes()[-TAIL_BYTES:] if self.log_path.exists() else b""
        return f"---- {self.name}\n{text.decode(errors='replace')}"
