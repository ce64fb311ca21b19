"""Apache ZooKeeper to compare with: one server or an ensemble on loopback, the newest 3.9 from Maven Central.

Rule: it gets what fastzk gets: the same machine, the same file system, a sync of each write before its answer, and no limit on
connections.  Its own defaults otherwise, with a heap of fixed size; describe() tells what was measured.

The version is pinned in bench/zookeeper/pom.xml.  Where Maven cannot bring it, Debian's package serves (`apt-get install
zookeeper`; no service is needed): older, and describe() says so."""

import contextlib
import functools
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import foreign
from fastzk.testing import maven
from fastzk.testing.ensemble import LOOPBACK, Address, four_letter_word, free_ports

POM = Path(__file__).parent / "zookeeper" / "pom.xml"
DEBIAN_JAR = Path("/usr/share/java/zookeeper.jar")
HEAP = ("-Xms1g", "-Xmx1g")
QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
VERSION_MAIN = "org.apache.zookeeper.version.VersionInfoMain"
VERSION_S_MAX = 30.0
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


@functools.cache
def classpath() -> str:
    """ZooKeeper's classes: Maven's, or else Debian's.  Raises maven.Unavailable, saying how to get either."""
    try:
        return maven.classpath(POM)
    except maven.Unavailable as missing:
        maven.need("java")
        if DEBIAN_JAR.exists():
            print(f"zookeeper: {missing}; measuring Debian's package instead", flush=True)
            return str(DEBIAN_JAR)
        raise maven.Unavailable(f"no Apache ZooKeeper: {missing}; or `apt-get install zookeeper`") from missing


def is_installed() -> bool:
    """True when there is one to be had, here or from Maven Central."""
    try:
        return bool(classpath())
    except maven.Unavailable:
        return False


def describe() -> str:
    """Which ZooKeeper, which Java, how much heap.  Raises maven.Unavailable."""
    classes = classpath()
    version = _said(["java", "-cp", classes, VERSION_MAIN])
    found = re.search(r"version:? (\d[\w.]*)", version)
    java = re.search(r'version "([^"]+)"', _said(["java", "-version"]))
    origin = "Debian" if classes == str(DEBIAN_JAR) else "Maven Central"
    return (
        f"Apache ZooKeeper {found[1] if found else version} ({origin}), "
        f"Java {java[1] if java else 'of unknown version'}, {' '.join(HEAP)}"
    )


def _said(command: list[str]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=VERSION_S_MAX)
    return (done.stdout + done.stderr).strip()


def mode(address: Address) -> str:
    """leader, follower, standalone; empty while it does not serve."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Mode: (\w+)", four_letter_word(address, "srvr"), re.MULTILINE)
        return found[1] if found else ""
    return ""


@contextlib.contextmanager
def running(size: int, directory: Path) -> Iterator[list[Address]]:
    """Starts so many servers and gives their client addresses, the leader's first; ends them and removes their data afterwards.

    Raises maven.Unavailable when there is none, RuntimeError, with the logs, when they do not serve within a minute."""
    classes = classpath()
    ports = free_ports(3 * size)
    clients: list[Address] = [(LOOPBACK, port) for port in ports[:size]]
    members = "".join(f"server.{n + 1}={LOOPBACK}:{ports[size + n]}:{ports[2 * size + n]}\n" for n in range(size) if size > 1)
    with foreign.home_below(directory, "zookeeper") as home:
        commands = []
        for number, (_, port) in enumerate(clients, 1):
            data = home / str(number)
            data.mkdir()
            (data / "myid").write_text(f"{number}\n")
            (data / "zoo.cfg").write_text(CONFIG.format(data=data, port=port) + members)
            commands.append(["java", *HEAP, *QUIET, "-cp", classes, MAIN, str(data / "zoo.cfg")])
        with foreign.serving(commands, home, lambda: all(map(mode, clients)), "ZooKeeper"):
            yield sorted(clients, key=lambda address: mode(address) != "leader")


if __name__ == "__main__":
    print(describe(), flush=True)
    with running(3, Path("build/bench")) as hosts:
        print(",".join(f"{host}:{port}" for host, port in hosts), flush=True)
        while True:
            time.sleep(3600)
