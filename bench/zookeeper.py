"""Apache ZooKeeper as Debian packages it, to compare with: one server or an ensemble, on loopback, on a real disk.

Rule: it gets what fastzk gets: the same machine, the same file system, a sync of each write before its answer, and no
limit on connections.  Its own defaults otherwise.  `apt-get install zookeeper` brings it; no service is needed."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fastzk.testing.ensemble import Address, four_letter_word, free_ports, wait_for

JAR = Path("/usr/share/java/zookeeper.jar")
START_S_MAX = 60.0
CONFIG = """
tickTime=2000
initLimit=10
syncLimit=5
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=*
"""


def is_installed() -> bool:
    """True when there is a Java and ZooKeeper's classes."""
    return JAR.exists() and shutil.which("java") is not None


def is_serving(address: Address) -> bool:
    """True when it leads, follows or stands alone."""
    with contextlib.suppress(OSError):
        return "Mode:" in four_letter_word(address, "srvr")
    return False


@contextlib.contextmanager
def running(size: int, directory: Path) -> Iterator[list[Address]]:
    """Starts so many servers and gives their client addresses; ends them and removes their data afterwards.

    Raises RuntimeError, with the log, when they do not serve within a minute."""
    directory.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="zookeeper-", dir=directory)).resolve()
    ports = free_ports(3 * size)
    clients = [("127.0.0.1", port) for port in ports[:size]]
    members = "".join(f"server.{n + 1}=127.0.0.1:{ports[size + n]}:{ports[2 * size + n]}\n" for n in range(size) if size > 1)
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for number, (_, port) in enumerate(clients, 1):
            data = home / str(number)
            data.mkdir()
            (data / "myid").write_text(f"{number}\n")
            config = data / "zoo.cfg"
            config.write_text(CONFIG.format(data=data, port=port) + members)
            servers.append(start(config, data))
        wait_for(
            lambda: all(map(is_serving, clients)) or any(server.poll() is not None for server in servers),
            START_S_MAX,
            "ZooKeeper to serve",
        )
        if any(server.poll() is not None for server in servers):
            raise TimeoutError("a ZooKeeper ended at once")
        yield clients
    except TimeoutError as late:
        logs = "\n".join((home / str(n) / "log").read_text()[-2000:] for n in range(1, len(servers) + 1))
        raise RuntimeError(f"{late}\n{logs}") from late
    finally:
        for server in servers:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        shutil.rmtree(home)


def start(config: Path, data: Path) -> "subprocess.Popen[bytes]":
    """One server in a process group of its own."""
    command = ["java", "-Xms512m", "-Xmx2g", "-cp", str(JAR), "org.apache.zookeeper.server.quorum.QuorumPeerMain"]
    with (data / "log").open("wb") as log:
        return subprocess.Popen([*command, str(config)], stdout=log, stderr=log, start_new_session=True, cwd=data)


if __name__ == "__main__":
    with running(3, Path("build/bench")) as hosts:
        print(",".join(f"{host}:{port}" for host, port in hosts), flush=True)
        while True:
            time.sleep(3600)
