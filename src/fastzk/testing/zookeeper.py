"""A real Apache ZooKeeper server on loopback, to ask what is right: the version that a pinned pom names.

Rules: it stands alone, on free ports and in a directory of its own, and is gone with both when the `with` ends.
TTL znodes and the four-letter words are on, and its administration server is off."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fastzk.testing.ensemble import Address, four_letter_word, free_ports, wait_for

START_S_MAX = 60.0
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
OPTIONS = (
    "-Xmx256m",
    "-XX:TieredStopAtLevel=1",
    "-Dzookeeper.extendedTypesEnabled=true",
    "-Dzookeeper.admin.enableServer=false",
    "-Dzookeeper.4lw.commands.whitelist=*",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
CONFIG = """tickTime=2000
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=*
"""


class ZooKeeper:
    """One server, standing alone, from `with` to its end.  `options` are more of Java's, `config` more lines of zoo.cfg."""

    def __init__(self, jars: str, directory: Path, options: Sequence[str] = (), config: str = "") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.home = Path(tempfile.mkdtemp(prefix="zookeeper-", dir=directory)).resolve()
        self.address: Address = ("127.0.0.1", free_ports(1)[0])
        self.log_path = self.home / "log"
        (self.home / "zoo.cfg").write_text(CONFIG.format(data=self.home / "data", port=self.address[1]) + config)
        self.command = ["java", *OPTIONS, *options, "-cp", jars, MAIN, str(self.home / "zoo.cfg")]
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        (self.home / "data").mkdir()
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        process = self.process
        try:
            wait_for(lambda: self.is_serving() or process.poll() is not None, START_S_MAX, "ZooKeeper to serve")
            if process.poll() is not None:
                raise RuntimeError(f"ZooKeeper ended with status {process.returncode}")
        except BaseException as error:
            error.add_note(self.log_path.read_text(errors="replace")[-4000:])
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.home)

    @property
    def zk_host(self) -> str:
        """host:port of its clients."""
        return f"{self.address[0]}:{self.address[1]}"

    def is_serving(self) -> bool:
        """True when it answers with its mode."""
        with contextlib.suppress(OSError):
            return "Mode:" in four_letter_word(self.address, "srvr")
        return False
