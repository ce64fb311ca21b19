"""Goal: MetaMQ (Metamorphosis), unmodified, works on fastzk: an old client library (ZooKeeper 3.5, through zkclient 0.3), in
which brokers, producers and consumers find each other.

Method: a broker and a driver with a producer and a consumer, as processes of their own.  The broker is killed while it
has the session that announces it, and started again; a server's leader is killed.  Every message must arrive.

The jars that Maven Central has: metamorphosis-server, metamorphosis-client and metamorphosis-commons 1.4.6.2, gecko
1.1.4.  It does not have metamorphosis-server-wrapper, which only packs the server with its scripts."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Figures, Servers
from jvm import Jvm

from fastzk.testing.ensemble import free_ports

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(300)]

MESSAGES = 1000
ANSWER_S_MAX = 90.0
MAIN = "com.taobao.metamorphosis.server.MetamorphosisStartup"
CONFIG = """[system]
brokerId=0
hostName=127.0.0.1
serverPort={port}
numPartitions=2
dashboardHttpPort={dashboard}
dataPath={data}
dataLogPath={data}
unflushThreshold=1
unflushInterval=10000
maxSegmentSize=1073741824
maxTransferSize=1048576
deletePolicy=delete,168
deleteWhen=0 0 6,18 * * ?
maxCheckpoints=3
checkpointInterval=3600000
maxTxTimeoutTimerCapacity=30000
maxTxTimeoutInSeconds=60
flushTxLogAtCommit=1
getProcessThreadCount=4
putProcessThreadCount=4
[zookeeper]
zk.zkEnable=true
zk.zkConnect={hosts}
zk.zkSessionTimeoutMs=6000
zk.zkConnectionTimeoutMs=10000
[topic=orders]
"""
LOGGING = """log4j.rootLogger=WARN, stderr
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=%d %p %c{1} %m%n
"""


def test_metamq(servers: Servers, home: Path, with_driver: Callable[[str], str], figures: Figures) -> None:
    jars = with_driver("metamq")
    port, dashboard = free_ports(2)
    (home / "log4j.properties").write_text(LOGGING)
    ini = home / "server.ini"
    ini.write_text(CONFIG.format(port=port, dashboard=dashboard, data=home / "data", hosts=servers.hosts))
    options = ("-Xmx256m", f"-Dlog4j.configuration=file:{home / 'log4j.properties'}", f"-Duser.home={home}")
    with (
        Jvm("broker", jars, [MAIN, "-f", str(ini)], home, options) as broker,
        Jvm("driver", jars, ["Driver", servers.hosts], home, options) as driver,
    ):

        def does(command: str) -> None:
            answer = driver.ask(command, "^(OK|CONSUMED|ERROR)", ANSWER_S_MAX)[1]
            assert answer != "ERROR", f"{command}: {driver.said[-1]}"

        figures.begin()
        does("produce orders 0 1")
        does("consume orders 1")
        figures.done("broker, producer and consumer found each other, first message through")
        does(f"produce orders 1 {MESSAGES}")
        does(f"consume orders {MESSAGES}")
        figures.done(f"{MESSAGES} messages produced and consumed")
        broker.kill9()
        broker.start()
        does(f"produce orders {MESSAGES} {2 * MESSAGES}")
        does(f"consume orders {2 * MESSAGES}")
        figures.done(f"broker killed and started again, {MESSAGES} messages more")
        if servers.replace_leader():
            figures.done("the servers' leader killed, another leads, the killed one back")
        does(f"produce orders {2 * MESSAGES} {3 * MESSAGES}")
        does(f"consume orders {3 * MESSAGES}")
        figures.done(f"{MESSAGES} messages more")
