"""Goal: Kafka 3.9 in ZooKeeper's mode, unmodified, keeps its cluster in fastzk.

Method: two brokers as processes of their own, and a driver that talks to them as any client.  What ZooKeeper does for
Kafka is done: brokers register, one becomes the controller, topics are made, changed and deleted.  The broker that is the
controller is killed and comes back, and a server's leader is killed; no acknowledged record may be lost."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import Figures, Servers
from jvm import Jvm

from fastzk.testing.ensemble import free_ports, wait_for

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(400)]

WAIT_S = 60.0
PARTITIONS = 4
RECORDS = 2000
HEAP = ("-Xms64m", "-Xmx384m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
PROPERTIES = """broker.id={number}
listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs={data}
zookeeper.connect={hosts}/kafka
zookeeper.session.timeout.ms=6000
num.network.threads=2
num.io.threads=2
background.threads=2
offsets.topic.num.partitions=2
offsets.topic.replication.factor=2
group.initial.rebalance.delay.ms=0
default.replication.factor=2
log.cleaner.enable=false
delete.topic.enable=true
"""


@pytest.fixture
def brokers(servers: Servers, home: Path, java_jars: Callable[[str], str]) -> Iterator[dict[str, Jvm]]:
    """Two brokers, started, by their ids."""
    jars = java_jars("kafka")
    with ExitStack() as running:
        found: dict[str, Jvm] = {}
        for number, port in enumerate(free_ports(2), 1):
            properties = home / f"server-{number}.properties"
            properties.write_text(PROPERTIES.format(number=number, port=port, data=home / f"data-{number}", hosts=servers.hosts))
            broker = Jvm(f"broker-{number}", jars, ["kafka.Kafka", str(properties)], home, HEAP)
            broker.address = f"127.0.0.1:{port}"
            found[str(number)] = running.enter_context(broker)
        yield found


def test_kafka(brokers: dict[str, Jvm], servers: Servers, home: Path, with_driver: Callable[[str], str], figures: Figures) -> None:
    addresses = ",".join(broker.address for broker in brokers.values())
    with Jvm("driver", with_driver("kafka"), ["Driver", addresses], home, ("-Xmx256m", HEAP[-1])) as driver:

        def does(command: str) -> None:
            assert driver.ask(command, "^(OK|CONSUMED|ERROR)", 90.0)[1] != "ERROR", f"{command}: {driver.said[-1]}"

        def becomes(command: str, answer: str) -> None:
            wait_for(lambda: driver.ask(command, "^[A-Z]")[0] and driver.said[-1] == answer, WAIT_S, f"{command}: {answer}")

        becomes("brokers", "BROKERS 1,2")
        figures.done("two brokers started and registered")
        does(f"create orders {PARTITIONS} 2")
        becomes("insync orders", f"INSYNC {2 * PARTITIONS}")
        figures.done(f"a topic made, {PARTITIONS} partitions on both")
        does(f"produce orders 0 {RECORDS}")
        does(f"consume orders readers {RECORDS}")
        figures.done(f"{RECORDS} records produced and consumed")

        number = driver.ask("controller", r"^CONTROLLER (\d+)")[1]
        other = "2" if number == "1" else "1"
        figures.begin()
        brokers[number].kill9()
        becomes("controller", f"CONTROLLER {other}")
        becomes("brokers", f"BROKERS {other}")
        figures.done("the controller killed, the other broker controller (session 6000 ms)")
        does(f"produce orders {RECORDS} {2 * RECORDS}")
        does(f"consume orders readers {2 * RECORDS}")
        figures.done(f"{RECORDS} records more with one broker")

        brokers[number].start()
        becomes("brokers", "BROKERS 1,2")
        becomes("insync orders", f"INSYNC {2 * PARTITIONS}")
        figures.done("the killed one back, all replicas in sync")

        if servers.replace_leader():
            figures.done("the servers' leader killed, another leads, the killed one back")
        does(f"produce orders {2 * RECORDS} {3 * RECORDS}")
        does(f"consume orders readers {3 * RECORDS}")
        does(f"consume orders others {3 * RECORDS}")
        becomes("brokers", "BROKERS 1,2")
        assert driver.ask("controller", r"^CONTROLLER (\d+)")[1] == other, "nobody lost a session"
        figures.done(f"{RECORDS} records more, and all {3 * RECORDS} by another group")

        does("retain orders 7200000")
        becomes("retention orders", "RETENTION 7200000")
        does(f"create fleeting {PARTITIONS} 2")
        becomes("topics", "TOPICS fleeting orders")
        does("delete fleeting")
        becomes("topics", "TOPICS orders")
        becomes(f"create fleeting {PARTITIONS} 1", "OK")  # once the znodes of the deleted one are gone
        figures.done("a topic's setting changed, a topic deleted and made again")
