"""Goal: ZooKeeper's own shell, zkCli of 3.8 and of 3.9, does with fastzk what it does with ZooKeeper, in every command.

Method: one script of all its commands, mistakes among them, is given to a fresh ZooKeeper 3.9, to a fresh node of
fastzk and to a follower of three; the transcripts must be the same.  (A server of 3.8 loses persistent watches to
requests that remove watches of other kinds, so the shell of 3.8 is held to 3.9 too.)"""

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from zkshell import batch, transcript

from fastzk.testing.ensemble import Ensemble, wait_for
from fastzk.testing.zookeeper import ZooKeeper

# The first time, Maven fetches the jars.
pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

VERSIONS = ("3.8", "3.9")
CONFIGURED_S_MAX = 20.0

# A command in each line, see zkshell.transcript.
SCRIPT = """
version
whoami
create /a
create /a one
create /a/b/c
create /a/b two
create /a/q/ bad
create relative
get /a
get -s /a/b
get /none
get -b /a/b
get -x /a/b
stat /a
stat /none
set /a three
set -s /a/b four
set -v 7 /a five
set -v 1 /a six
set /none seven
set -b /a ZWlnaHQ=
get /a
create -s /a/seq- x
create -s /a/seq- x
create -e /a/eph mine
create -e -s /a/ephseq- mine
create /a/eph/child
stat /a/eph
create -c /a/con holds
create -t 100000 /a/ttl late
create -s -t 100000 /a/ttlseq- late
create -e -t 100000 /a/no
create -t -5 /a/no
create -c -e /a/no
stat /a/con
stat /a/ttl
ls /a
ls -s /a
ls -R /a
ls /none
ls /
ls /zookeeper
getAllChildrenNumber /a
getAllChildrenNumber /none
getEphemerals /a
getEphemerals /none
getEphemerals
ls -w /a
create /a/new # 1
get -w /a/new
set /a/new changed # 1
stat -w /a/new
delete /a/new # 1
stat -w /a/later
create /a/later # 1
get -s -w /a/later
set -v 0 /a/later x # 1
addWatch /a/b
create /a/b/deep x # 1
create /a/b/deep/er x # 1
set /a/b/deep/er y # 1
delete /a/b/deep/er # 1
addWatch -m PERSISTENT /a/later
set /a/later z # 1
set /a/later z # 1
create /a/later/child x # 1
delete /a/later/child # 1
addWatch -m WRONG /a
addWatch /none
create /none x # 1
removewatches /none # 1
delete /none
removewatches /a/b # 1
removewatches /a/b
set /a/b none
removewatches /a/later -c
removewatches /a/later -d
removewatches /a/later -a # 1
get -w /a/later
removewatches /a/later -d # 1
ls -w /a/later
removewatches /a/later -c # 1
get -w /a/later
removewatches /a/later -l # 1
set /a/later quiet
printwatches off
printwatches on
getAcl /a
getAcl -s /a
addauth digest user:secret
whoami
setAcl /a/later auth::cdrwa
getAcl /a/later
setAcl -s /a/later auth::crwa,world:anyone:r
setAcl -v 9 /a/later world:anyone:r
setAcl /a/later world:anyone:r,ip:127.0.0.1:w
getAcl -s /a/later
set /a/later allowed
create /a/later/forbidden
setAcl /a/later world:anyone:cdrwa
setAcl /a/b digest:user:O3h7xGVwdOxcHKALnLB3MdSzQds=:cdrwa
setAcl /a/b wrong:scheme:r
setAcl /a/b world:nobody:r
setAcl -R /a/b world:anyone:cdrwa
getAcl /a/b/deep
getAcl /none
create /a/mine data auth:user:secret:cdrwa
getAcl /a/mine
create /a/worlds data world:anyone:r
set /a/worlds more
setAcl /a/worlds world:anyone:cdrwa
create /q limited
listquota /q
setquota -n 2 /q
setquota -b 100 /q
listquota /q
create /q/1 0123456789
create /q/2 0123456789
listquota /q
setquota -N 10 /q
setquota -B 1000 /q
listquota /q
setquota -n 1 /q/1
setquota -n 1 /none
delquota -n /q
listquota /q
delquota -N /q
delquota -B /q
delquota -b /q
listquota /q
delquota /q
listquota /q
delquota /q
listquota /none
ls -R /zookeeper/quota
sync /a
sync /none
delete -v 5 /a/b
delete /a/b
delete /none
deleteall /a/b
deleteall /none
deleteall /q -b 1
delete /zookeeper
history
redo 2
redo
create
nonsense words
reconfig -remove 9
connect $HOST # 2
getEphemerals /a
ls /a
whoami
close # 1
get /a
connect $HOST # 1
ls /a
ls /
"""


@pytest.fixture(scope="module", params=VERSIONS)
def jars(request: pytest.FixtureRequest, java_jars: Callable[[str], str]) -> str:
    """The class path of one shell."""
    return java_jars(f"zookeeper-{request.param}")


@pytest.fixture(scope="module")
def reference(jars: str, java_jars: Callable[[str], str], disk: Path) -> Iterator[str]:
    """A fresh ZooKeeper for each shell."""
    with ZooKeeper(java_jars("zookeeper-3.9"), disk) as server:
        yield server.zk_host


@pytest.fixture(scope="module", params=["alone", "follower"])
def judged(request: pytest.FixtureRequest, jars: str, disk: Path) -> Iterator[str]:
    """The server in question, fresh for each shell: a node of fastzk alone, or one of three."""
    if request.config.getoption("--hosts"):
        pytest.skip("zkCli's transcripts need a fresh server each; ZooKeeper itself is always one of the two compared")
    # ZooKeeper's is off unless it is asked for.
    with Ensemble(1 if request.param == "alone" else 3, disk, ["--no-reconfig"]) as nodes:
        yield (nodes.followers() or nodes.nodes)[0].zk_host


@pytest.fixture(scope="module")
def expected(jars: str, reference: str) -> list[str]:
    """What the shell prints with ZooKeeper."""
    return transcript(jars, reference, SCRIPT)


def test_every_command_prints_what_it_prints_with_zookeeper(jars: str, expected: list[str], judged: str) -> None:
    found = transcript(jars, judged, SCRIPT)
    differences = list(difflib.unified_diff(expected, found, "with ZooKeeper", "with fastzk", n=4, lineterm=""))
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("jars", ["3.9"], indirect=True)
@pytest.mark.parametrize("command", ["get /not-there", "ls /zookeeper", "nonsense"])
def test_a_command_as_arguments_ends_with_the_same_status(
    jars: str, reference: str, shared_ensemble: Ensemble, command: str
) -> None:
    assert batch(jars, shared_ensemble.zk_hosts, *command.split()) == batch(jars, reference, *command.split())


def test_the_configuration_names_every_node_and_where_its_clients_go(
    java_jars: Callable[[str], str], shared_ensemble: Ensemble
) -> None:
    jars, hosts = java_jars("zookeeper-3.9"), shared_ensemble.zk_hosts
    # A new ensemble writes it within a second or two of its first leader's election.
    wait_for(lambda: "version=0" in batch(jars, hosts, "config")[1], CONFIGURED_S_MAX, "the ensemble's configuration")
    status, lines = batch(jars, hosts, "config")
    assert status == 0
    for node, (host, port) in zip(shared_ensemble.nodes, shared_ensemble.peers, strict=True):
        assert f"server.{node.number}={host}:{port}:0:participant;{node.zk_host}" in lines
    status, lines = batch(jars, hosts, "config", "-c")
    assert status == 0
    assert sorted(lines[-1].split()[-1].split(",")) == sorted(node.zk_host for node in shared_ensemble.nodes)
