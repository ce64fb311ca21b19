"""Goal: ClickHouse, as Debian packages it, keeps its replicated tables in fastzk.

Method: two servers with a table whose two replicas find each other through ZooKeeper alone.  Rows are inserted at both at
once, a block is inserted twice, parts are merged and rows deleted; a replica is killed, misses rows and comes back; the
leader of fastzk is killed while rows are inserted.  In the end both have the same rows, and the ones that were confirmed.

The version is what Debian 12 has, 18.16.  Its ports are found and not fixed, and its data goes with the test."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import Figures, Servers
from program import Program

from fastzk.testing.ensemble import free_ports, wait_for

SERVER = Path("/usr/sbin/clickhouse-server")
WAIT_S = 60.0
ROWS = 1000
pytestmark = [
    pytest.mark.process,
    pytest.mark.long,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not SERVER.exists(), reason=f"{SERVER} is not there: `apt-get install clickhouse-server` brings it"),
]
CONFIG = """<yandex>
<logger><level>information</level><console>1</console></logger>
<http_port>{http}</http_port> <tcp_port>{tcp}</tcp_port> <listen_host>127.0.0.1</listen_host>
<interserver_http_port>{between}</interserver_http_port> <interserver_http_host>127.0.0.1</interserver_http_host>
<max_concurrent_queries>20</max_concurrent_queries> <mark_cache_size>5000000</mark_cache_size>
<path>{home}/data/</path> <tmp_path>{home}/tmp/</tmp_path>
<user_files_path>{home}/files/</user_files_path> <format_schema_path>{home}/schemas/</format_schema_path>
<users_config>users.xml</users_config> <default_profile>default</default_profile> <default_database>default</default_database>
<zookeeper>{servers}<session_timeout_ms>6000</session_timeout_ms></zookeeper>
<macros><replica>{name}</replica></macros>
</yandex>"""
USERS = """<yandex>
<profiles><default><max_memory_usage>1000000000</max_memory_usage><background_pool_size>4</background_pool_size></default></profiles>
<users><default><password></password><networks><ip>127.0.0.1</ip></networks>
<profile>default</profile><quota>default</quota></default></users>
<quotas><default></default></quotas>
</yandex>"""
TABLE = """CREATE TABLE events (day Date, id UInt64, text String)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{place}/events', '{{replica}}') PARTITION BY toYYYYMM(day) ORDER BY id"""


class Replica:
    """One server, asked over HTTP."""

    def __init__(self, name: str, hosts: str, home: Path) -> None:
        http, tcp, between = free_ports(3)
        self.url = f"http://127.0.0.1:{http}/"
        directory = home / name
        for part in ("data", "tmp", "files", "schemas"):
            (directory / part).mkdir(parents=True)
        servers = "".join(
            f"<node><host>{host}</host><port>{port}</port></node>" for host, port in (each.split(":") for each in hosts.split(","))
        )
        values = {"http": http, "tcp": tcp, "between": between, "home": directory, "servers": servers, "name": name}
        (directory / "config.xml").write_text(CONFIG.format(**values))
        (directory / "users.xml").write_text(USERS)
        self.program = Program(name, [str(SERVER), "--config-file=config.xml"], directory)

    def ask(self, query: str) -> str:
        """What a query gives.  Raises RuntimeError with what the server said against it."""
        request = urllib.request.Request(self.url, data=query.encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
                return str(answer.read().decode().strip())
        except urllib.error.HTTPError as refused:
            raise RuntimeError(f"{query}: {refused.read().decode()}") from None

    def is_ready(self) -> bool:
        """True when it answers."""
        try:
            return self.ask("SELECT 1") == "1"
        except OSError:
            return False

    def insert(self, first: int, rows: int = ROWS) -> None:
        """One block of rows, with ids from the first one on."""
        self.ask(
            f"INSERT INTO events SELECT toDate('2026-01-01') + number % 60, number, toString(number)"
            f" FROM system.numbers WHERE number >= {first} LIMIT {rows}"
        )

    def rows(self) -> tuple[int, int]:
        """How many rows it has, and the sum of their ids."""
        count, total = self.ask("SELECT count(), sum(id) FROM events").split("\t")
        return int(count), int(total)

    def is_idle(self) -> bool:
        """True when it has nothing to fetch or merge and has its session."""
        return self.ask("SELECT queue_size + inserts_in_queue + is_session_expired + is_readonly FROM system.replicas") == "0"


@pytest.fixture
def replicas(servers: Servers, home: Path) -> Iterator[list[Replica]]:
    """Two servers, each with its replica of an empty table."""
    with ExitStack() as running:
        found = [Replica(name, servers.hosts, home) for name in ("one", "two")]
        for replica in found:
            running.enter_context(replica.program)
        for replica in found:
            wait_for(replica.is_ready, WAIT_S, f"ClickHouse {replica.program.name}")
            replica.ask(TABLE.format(place=home.name))
        yield found
        for replica in found:
            replica.ask("DROP TABLE events")


def agree(replicas: list[Replica], count: int, total: int) -> None:
    """Waits until both have so many rows with such a sum."""
    wait_for(lambda: all(each.is_idle() for each in replicas), WAIT_S, "both to have nothing to do")
    assert [each.rows() for each in replicas] == [(count, total)] * len(replicas)


def sum_of(first: int, count: int) -> int:
    return sum(range(first, first + count))


def test_clickhouse(replicas: list[Replica], servers: Servers, figures: Figures) -> None:
    one, two = replicas
    figures.begin()
    for block in range(5):
        one.insert(2 * block * ROWS)
        two.insert((2 * block + 1) * ROWS)
    two.insert(0)  # the first block again, elsewhere: it is known
    agree(replicas, 10 * ROWS, sum_of(0, 10 * ROWS))
    figures.done(f"11 blocks of {ROWS} rows inserted at both, one of them twice, both the same")
    one.ask("OPTIMIZE TABLE events PARTITION 202601 FINAL")
    parts = "SELECT count() FROM system.parts WHERE active AND partition = '202601'"
    wait_for(lambda: [each.ask(parts) for each in replicas] == ["1"] * 2, WAIT_S, "one part at each")
    figures.done("a partition merged into one part at both")

    two.program.kill9()
    one.insert(10 * ROWS, 5 * ROWS)
    one.ask("ALTER TABLE events DELETE WHERE id < 1000")
    two.program.start()
    figures.begin()
    wait_for(two.is_ready, WAIT_S, "the killed replica")
    kept = 14 * ROWS, sum_of(ROWS, 14 * ROWS)
    wait_for(lambda: [each.rows() for each in replicas] == [kept] * 2, WAIT_S, "the killed replica to have what it missed")
    agree(replicas, *kept)
    figures.done("a replica killed and back, with the rows it missed and without those deleted")

    if servers.ensemble is not None:
        confirmed: list[int] = []
        failed: list[str] = []
        stop = threading.Event()

        def insert(replica: Replica, first: int) -> None:
            while not stop.is_set():
                try:
                    replica.insert(first, 100)
                    confirmed.append(first)
                    first += 200
                except RuntimeError as refused:
                    # What was under way may be in or not; the same block again settles it, for it is known by its hash.
                    failed.append(str(refused))

        threads = [threading.Thread(target=insert, args=(each, 20 * ROWS + 100 * n)) for n, each in enumerate(replicas)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(confirmed) > 4, WAIT_S, "some blocks")
        servers.replace_leader()
        before = len(confirmed)
        wait_for(lambda: len(confirmed) > before + 4, WAIT_S, "more blocks")
        stop.set()
        for thread in threads:
            thread.join(WAIT_S)
        agree(replicas, kept[0] + 100 * len(confirmed), kept[1] + sum(sum_of(first, 100) for first in confirmed))
        figures.done(f"the leader killed among {len(confirmed)} blocks, {len(failed)} refused and sent again; both the same")
