"""Goal: Apache BookKeeper, the storage of Pulsar, unmodified, keeps its cluster and its ledgers' metadata in fastzk.

Method: three bookies and a driver as processes of their own.  A bookie that holds the ledger being written is killed, so
another takes its place in the metadata, and comes back; a server's leader is killed; another client recovers the ledger,
which must fence its writer.  Every acknowledged entry must be there."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import Figures, Servers
from jvm import Jvm

from fastzk.testing.ensemble import free_ports, wait_for

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(400)]

BOOKIES = 3
ENTRIES = 500
WAIT_S = 60.0
CONFIG = """bookiePort={port}
bookieId=bookie-{number}
metadataServiceUri={uri}
zkTimeout=6000
listeningInterface=lo
allowLoopback=true
advertisedAddress=127.0.0.1
journalDirectories={data}/journal
ledgerDirectories={data}/ledgers
ledgerStorageClass=org.apache.bookkeeper.bookie.SortedLedgerStorage
journalMaxSizeMB=16
journalPreAllocSizeMB=4
diskUsageThreshold=0.99
diskUsageWarnThreshold=0.98
httpServerEnabled=false
autoRecoveryDaemonEnabled=true
"""
OPTIONS = ("-Xmx256m", "-XX:MaxDirectMemorySize=128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


def test_bookkeeper(servers: Servers, home: Path, with_driver: Callable[[str], str], figures: Figures) -> None:
    jars = with_driver("bookkeeper")
    uri = f"zk+hierarchical://{servers.hosts.replace(',', ';')}/ledgers"
    with ExitStack() as running:
        driver = running.enter_context(Jvm("driver", jars, ["Driver", uri], home, OPTIONS))

        def does(command: str, answer: str = "OK") -> str:
            driver.ask(command, "^[A-Z]+", 90.0)
            assert driver.said[-1].startswith(answer), f"{command}: {driver.said[-1]}"
            return driver.said[-1].split()[-1]

        def becomes(command: str, answer: str) -> None:
            wait_for(lambda: driver.ask(command, "^[A-Z]+") and driver.said[-1] == answer, WAIT_S, f"{command}: {answer}")

        figures.begin()
        does("format")
        bookies: dict[str, Jvm] = {}
        for number, port in enumerate(free_ports(BOOKIES), 1):
            config = home / f"bookie-{number}.conf"
            config.write_text(CONFIG.format(port=port, number=number, uri=uri, data=home / f"bookie-{number}"))
            arguments = ["org.apache.bookkeeper.server.Main", "--conf", str(config)]
            bookies[f"bookie-{number}"] = running.enter_context(Jvm(f"bookie-{number}", jars, arguments, home, OPTIONS))
        becomes("bookies", f"BOOKIES {BOOKIES}")
        figures.done(f"a cluster made, {BOOKIES} bookies started and registered")
        ledger = does("create", "LEDGER")
        does(f"write 0 {ENTRIES}")
        figures.done(f"{ENTRIES} entries written")

        holder = bookies[does(f"holder {ledger}", "HOLDER")]
        holder.kill9()
        does(f"write {ENTRIES} {2 * ENTRIES}")
        assert int(does(f"ensembles {ledger}", "ENSEMBLES")) > 1, "another bookie has taken the place of a dead one"
        figures.done(f"a bookie that held them killed, another in its place, {ENTRIES} entries more")
        becomes("bookies", f"BOOKIES {BOOKIES - 1}")
        figures.done("its session over (6000 ms), all know of its death")
        holder.start()
        becomes("bookies", f"BOOKIES {BOOKIES}")
        figures.done("it is back")

        if servers.replace_leader():
            figures.done("the servers' leader killed, another leads, the killed one back")
        does(f"write {2 * ENTRIES} {3 * ENTRIES}")
        does(f"recover {ledger} {3 * ENTRIES}")
        does(f"write {3 * ENTRIES} {3 * ENTRIES + 1}", "FENCED")
        figures.done(f"{ENTRIES} entries more, all {3 * ENTRIES} recovered by another client, the writer fenced")
        does(f"drop {ledger}")
        does("create", "LEDGER")
        does("write 0 10")
        figures.done("the ledger deleted, another written")
