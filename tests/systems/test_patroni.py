"""Goal: Patroni, as Debian packages it, keeps a replicated PostgreSQL 15 in fastzk.

Method: two members; who leads, where they are and what they are to do stands in ZooKeeper alone.  The leader of fastzk is
killed and PostgreSQL goes on with the same leader; then Patroni's leader is killed with its database, the other member
takes over with every row that was committed, and the killed one comes back as its standby.

PostgreSQL refuses to be root's, so root starts the members as the user postgres, which its package makes."""

import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from harness import Figures, Servers
from program import Program

from fastzk.testing.ensemble import free_ports, wait_for

PATRONI = Path("/usr/bin/patroni")
POSTGRES = Path("/usr/lib/postgresql/15/bin")
WAIT_S = 90.0
ROWS = 100
pytestmark = [
    pytest.mark.process,
    pytest.mark.long,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        not (PATRONI.exists() and POSTGRES.exists()),
        reason=f"no {PATRONI} or no {POSTGRES}: `apt-get install patroni python3-kazoo postgresql-15` brings them",
    ),
]
CONFIG = """
scope: judged
name: {name}
restapi: {{listen: "127.0.0.1:{api}", connect_address: "127.0.0.1:{api}"}}
zookeeper: {{hosts: [{hosts}]}}
bootstrap:
  dcs: {{ttl: 20, loop_wait: 2, retry_timeout: 6, maximum_lag_on_failover: 1048576, synchronous_mode: true}}
  initdb: [encoding: UTF8, data-checksums]
  pg_hba: ["host replication rep 127.0.0.1/32 trust", "host all all 127.0.0.1/32 trust", "local all all trust"]
postgresql:
  listen: "127.0.0.1:{port}"
  connect_address: "127.0.0.1:{port}"
  data_dir: {home}/data
  pgpass: {home}/pgpass
  bin_dir: {bin}
  authentication: {{replication: {{username: rep}}, superuser: {{username: postgres}}}}
  parameters: {{unix_socket_directories: {home}, shared_buffers: 16MB, max_connections: 20}}
"""


def unprivileged(directory: Path) -> list[str]:
    """What a command begins with so that root runs it as postgres; the directory is given to it."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    os.chown(directory, user.pw_uid, grp.getgrgid(user.pw_gid).gr_gid)
    prefix = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    if subprocess.run([*prefix, "test", "-w", str(directory)], check=False).returncode:
        pytest.skip(f"the user postgres cannot reach {directory}: PostgreSQL refuses to be root's")
    return prefix


class Member:
    """One Patroni with its PostgreSQL."""

    def __init__(self, name: str, hosts: str, directory: Path) -> None:
        self.home = directory / name
        self.home.mkdir()
        self.prefix = unprivileged(self.home)
        self.api, self.port = free_ports(2)
        config = self.home / "patroni.yml"
        values = {"name": name, "api": self.api, "port": self.port, "home": self.home, "bin": POSTGRES}
        config.write_text(CONFIG.format(hosts=", ".join(f'"{host}"' for host in hosts.split(",")), **values))
        config.chmod(0o644)
        self.program = Program(name, [*self.prefix, str(PATRONI), str(config)], self.home)

    def status(self) -> dict[str, object]:
        """What it says of itself; nothing while it is down."""
        with suppress(OSError, ValueError):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.api}/patroni", timeout=5) as answer:
                    return dict(json.load(answer))
            except urllib.error.HTTPError as unwell:
                with unwell:
                    return dict(json.load(unwell))
        return {}

    def is_leader(self) -> bool:
        """True when it leads and takes writes."""
        assert self.program.is_running, "Patroni has ended"
        return self.status().get("role") in ("master", "primary", "leader") and self.status().get("state") == "running"

    def sql(self, statement: str) -> str:
        """What one statement gives.  Raises RuntimeError with what PostgreSQL said against it."""
        command = [str(POSTGRES / "psql"), "-qtAX", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", statement]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def streams(self) -> bool:
        """True when a synchronous standby follows it: what is committed then is at both."""
        with suppress(RuntimeError):
            return self.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1"
        return False

    def kill9(self) -> None:
        """The end of Patroni and, at the same time, of its PostgreSQL."""
        self.program.kill9()
        with suppress(OSError, ValueError):
            postmaster = int((self.home / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGKILL)
            wait_for(lambda: not Path(f"/proc/{postmaster}").exists(), WAIT_S, "PostgreSQL to be gone")


@pytest.fixture
def members(servers: Servers, home: Path) -> Iterator[list[Member]]:
    """Two members, the second begun when the first leads."""
    home.chmod(0o755)
    with ExitStack() as running:
        found = [Member(name, servers.hosts, home) for name in ("one", "two")]
        for member in found:
            running.enter_context(member.program)
            running.callback(member.kill9)
            wait_for(found[0].is_leader, WAIT_S, "the first member to lead")
        wait_for(found[0].streams, WAIT_S, "the second to follow, synchronously")
        yield found


@pytest.mark.skipif(not shutil.which("setpriv"), reason="there is no setpriv: `apt-get install util-linux` brings it")
def test_patroni(members: list[Member], servers: Servers, figures: Figures) -> None:
    one, two = members
    figures.begin()
    one.sql("CREATE TABLE rows (id int PRIMARY KEY)")
    one.sql(f"INSERT INTO rows SELECT generate_series(1, {ROWS})")
    wait_for(lambda: two.sql("SELECT count(*) FROM rows") == str(ROWS), WAIT_S, "the rows at the standby")
    figures.done(f"{ROWS} rows committed at both")
    timeline = one.status().get("timeline")
    if servers.replace_leader():
        for number in range(ROWS + 1, ROWS + 11):
            one.sql(f"INSERT INTO rows VALUES ({number})")
        assert one.is_leader()
        assert one.status().get("timeline") == timeline, "the leader of fastzk goes, PostgreSQL's stays"
        figures.done("fastzk's leader killed, PostgreSQL's goes on")
    committed = one.sql("SELECT count(*) FROM rows")
    figures.begin()
    one.kill9()
    wait_for(two.is_leader, WAIT_S, "the other member to take over")
    assert two.sql("SELECT count(*) FROM rows") == committed
    two.sql("INSERT INTO rows VALUES (0)")
    figures.done("the leader killed, the other takes over with every row (ttl 20 s)")
    one.program.start()
    wait_for(two.streams, WAIT_S, "the killed one to come back as the standby")
    wait_for(lambda: one.sql("SELECT count(*) FROM rows") == two.sql("SELECT count(*) FROM rows"), WAIT_S, "the same rows")
    assert not one.is_leader()
    figures.done("the killed one back, as the standby")
