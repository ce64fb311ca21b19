"""Goal: an ensemble's members change while it serves, and nothing that was acknowledged is lost over it: an operator can grow one
node to three, shrink it back, replace what is dead, promote an observer and remove the leader.

Method: real nodes on a real disk, told by reconfig over both protocols.  Where there is load, writers note what they were
promised, and the tree is held against it (testing/ledger.py)."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import kazoo.exceptions
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import BadArgumentsError, BadVersionError, NewConfigNoQuorumError, NoAuthError, UnimplementedError

from fastzk import Client, errors
from fastzk.testing.clients import kazoo_client, native_client
from fastzk.testing.ensemble import SERVE_S_MAX, Ensemble, Node, four_letter_word, wait_for
from fastzk.testing.growing import CONFIG_PATH, SUPER, GrowingEnsemble
from fastzk.testing.ledger import Writer, progress

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

SESSION_S = 20.0
LOST = (
    *(kazoo.exceptions.ConnectionLoss, kazoo.exceptions.OperationTimeoutError, kazoo.exceptions.SessionExpiredError),
    *(errors.ConnectionLoss, errors.OperationTimeoutError, errors.SessionExpiredError),
)


@contextlib.contextmanager
def super_client(*nodes: Node) -> Iterator[KazooClient]:
    with kazoo_client(",".join(node.zk_host for node in nodes), SESSION_S) as client:
        client.add_auth("digest", SUPER)
        yield client


def version_of(config: bytes) -> int:
    return int(config.decode().rpartition("version=")[2], 16)


def write_on(writers: list[Writer], more: int = 50) -> None:
    for writer in writers:
        writer.allow(1000)
    wait_for(progress(writers, more), 60.0, f"{more} writes of each writer")


def test_one_node_grows_to_three_and_shrinks_to_another_under_load(disk: Path) -> None:
    with contextlib.ExitStack() as stack:
        ensemble = stack.enter_context(GrowingEnsemble(1, disk))
        (first,) = ensemble.nodes
        admin = stack.enter_context(super_client(first))
        admin.create("/ledger")
        second, third = ensemble.add(), ensemble.add()
        hosts = ",".join(node.zk_host for node in ensemble.nodes)
        writers = [
            Writer("kazoo", stack.enter_context(kazoo_client(hosts, SESSION_S)), "/ledger", LOST),
            Writer("native", stack.enter_context(native_client(ensemble.native_hosts, SESSION_S)), "/ledger", LOST),
        ]
        for writer in writers:
            writer.prepare()
            writer.start()
        write_on(writers)
        data, stat = admin.reconfig(f"{ensemble.spec(second)},{ensemble.spec(third)}", None, None)
        assert data.decode().splitlines() == [ensemble.spec(first), ensemble.spec(second), ensemble.spec(third), "version=1"]
        assert admin.get(CONFIG_PATH) == (data, stat)
        write_on(writers)
        ensemble.wait_all_serving()
        first.kill9()
        write_on(writers)
        first.start()
        write_on(writers)
        with super_client(third) as other:
            other.reconfig(None, "1", None)
            ensemble.leave(first)
            write_on(writers)
            data, _ = other.reconfig(None, "2", None)
        assert data.decode().splitlines() == [ensemble.spec(third), "version=3"]
        ensemble.leave(second)
        write_on(writers)
        for writer in writers:
            writer.stop()
        with kazoo_client(third.zk_host, SESSION_S) as reader:
            for writer in writers:
                assert writer.complaints(reader) == []
        third.kill9()
        ensemble.restart(third)
        assert third.mode() == "leader"


def test_a_dead_node_is_replaced_and_its_place_may_be_taken_again(disk: Path) -> None:
    with GrowingEnsemble(3, disk) as ensemble:
        lost = ensemble.followers()[0]
        with super_client(*ensemble.nodes) as admin:
            admin.create("/kept", b"kept")
            ensemble.leave(lost)
            fourth = ensemble.add(4)
            data, _ = admin.reconfig(ensemble.spec(fourth), str(lost.number), None)
            assert sorted(data.decode().splitlines()[:-1]) == sorted(ensemble.spec(node) for node in ensemble.nodes)
            ensemble.wait_all_serving()
            again = ensemble.add(lost.number)
            admin.reconfig(ensemble.spec(again), None, None)
        ensemble.wait_all_serving()
        for node in ensemble.nodes:
            with kazoo_client(node.zk_host, SESSION_S) as reader:
                reader.sync("/")
                assert reader.get("/kept")[0] == b"kept"
        assert ensemble.digest()


def test_an_observer_serves_is_promoted_and_goes_back(disk: Path) -> None:
    with GrowingEnsemble(2, disk) as ensemble, super_client(ensemble.nodes[0]) as admin:
        watcher = ensemble.add()
        data, _ = admin.reconfig(ensemble.spec(watcher, "observer"), None, None)
        assert ensemble.spec(watcher, "observer") in data.decode()
        wait_for(lambda: watcher.mode() == "observer", SERVE_S_MAX, "the observer to serve")
        assert "peerType=1\n" in four_letter_word(watcher.zk, "conf")
        assert "zk_peer_state\tobserving - broadcast\n" in four_letter_word(watcher.zk, "mntr")
        assert "zk_quorum_size\t2\n" in four_letter_word(watcher.zk, "mntr")
        wait_for(lambda: "zk_synced_observers\t1\n" in four_letter_word(ensemble.leader().zk, "mntr"), 10.0, "it to be counted")
        with kazoo_client(watcher.zk_host, SESSION_S) as client:
            client.create("/through-an-observer", b"1", ephemeral=True)
            assert client.exists("/through-an-observer") is not None
        admin.reconfig(ensemble.spec(watcher), None, None)
        ensemble.wait_all_serving()
        ensemble.leader().kill9()
        with super_client(watcher) as again:
            again.create("/by-two-of-three", b"1")
            assert version_of(again.get(CONFIG_PATH)[0]) == 2
            others = [node for node in ensemble.nodes if node.is_running]
            with pytest.raises(NewConfigNoQuorumError):
                again.reconfig(ensemble.spec(others[0], "observer"), None, None)
            dead = next(node for node in ensemble.nodes if not node.is_running)
            again.reconfig(None, str(dead.number), None)
            ensemble.leave(dead)
            data, _ = again.reconfig(ensemble.spec(watcher, "observer"), None, None)
            assert ensemble.spec(watcher, "observer") in data.decode()
            wait_for(lambda: watcher.mode() == "observer", SERVE_S_MAX, "it to be an observer again")


def test_the_leader_is_removed_and_another_takes_over(disk: Path) -> None:
    with GrowingEnsemble(3, disk) as ensemble:
        leader = ensemble.leader()
        others = [node for node in ensemble.nodes if node is not leader]
        with super_client(*others) as admin:
            admin.create("/before", b"1")
            data, _ = admin.reconfig(None, str(leader.number), None)
            assert sorted(data.decode().splitlines()[:-1]) == sorted(ensemble.spec(node) for node in others)
            admin.create("/after", b"2")
        wait_for(lambda: leader.mode() == "", SERVE_S_MAX, "the removed node to serve no more")
        assert leader.is_running, "it waits for who started it to end it"
        ensemble.leave(leader)
        ensemble.wait_all_serving()


def test_what_is_refused(disk: Path) -> None:
    with GrowingEnsemble(3, disk) as ensemble, super_client(*ensemble.nodes) as admin:
        joining = ensemble.spec(ensemble.nodes[0]).replace("server.1", "server.9")
        ensemble.wait_members([ensemble.spec(node) for node in ensemble.nodes], ensemble.nodes)
        config, _ = admin.get(CONFIG_PATH)
        with kazoo_client(ensemble.nodes[0].zk_host, SESSION_S) as nobody, pytest.raises(NoAuthError):
            nobody.reconfig("server.9=127.0.0.1:9:9:observer;9", None, None)
        with pytest.raises(BadVersionError):
            admin.reconfig("server.9=127.0.0.1:9:9:observer;9", None, None, from_config=version_of(config) + 1)
        for text, leaving in ((joining, None), ("some thing", None), (None, "1,2,3"), ("server.999=h:1:2", None)):
            with pytest.raises(BadArgumentsError):
                admin.reconfig(text, leaving, None)
        waiting = admin.reconfig_async("server.9=127.0.0.1:9:0;127.0.0.1:9", None, None, -1)
        behind = admin.create_async("/behind", b"1")
        with kazoo_client(ensemble.nodes[1].zk_host, SESSION_S) as second:
            second.add_auth("digest", SUPER)
            with pytest.raises(kazoo.exceptions.ReconfigInProcessError):
                second.reconfig(None, "3", None)
            second.create("/meanwhile", b"1")
        assert not waiting.ready()
        with pytest.raises(NewConfigNoQuorumError):
            waiting.get(timeout=60)
        assert behind.get(timeout=60) == "/behind", "a session's writes keep their order"
        assert admin.get(CONFIG_PATH)[0] == config
        ensemble.followers()[0].kill9()
        with pytest.raises(NewConfigNoQuorumError):
            admin.reconfig(None, str(next(node.number for node in ensemble.nodes if node.is_running)), None)


def test_all_clients_that_watch_the_configuration_hear_of_it(disk: Path) -> None:
    with contextlib.ExitStack() as stack:
        ensemble = stack.enter_context(GrowingEnsemble(3, disk))
        ensemble.wait_members([ensemble.spec(node) for node in ensemble.nodes], ensemble.nodes)
        heard: list[str] = []
        for node in ensemble.nodes:
            client = stack.enter_context(kazoo_client(node.zk_host, SESSION_S))
            client.get(CONFIG_PATH, watch=lambda event, n=node.number: heard.append(f"kazoo {n} {event.path}"))
            native = stack.enter_context(Client(f"{node.native_host}/somewhere", timeout=SESSION_S))
            native.get_config(watch=lambda event, n=node.number: heard.append(f"native {n} {event.path}"))
        leader = ensemble.leader()
        with Client(leader.native_host, auth_data=[("digest", SUPER)]) as admin:
            data, _ = admin.reconfig(joining="server.9=127.0.0.1:9:7:observer;127.0.0.1:9", from_config=0)
            assert b"server.9=127.0.0.1:9:7:observer;127.0.0.1:9\nversion=1" in data
            assert admin.get_config()[0] == data
            expected = sorted(f"{kind} {n} {CONFIG_PATH}" for kind in ("kazoo", "native") for n in (1, 2, 3))
            wait_for(lambda: sorted(heard) == expected, 10.0, f"{expected}, not {heard}")
            with pytest.raises(errors.BadVersionError):
                admin.reconfig(leaving="9", from_config=0)


def test_a_change_survives_a_restart_of_everybody(disk: Path) -> None:
    with GrowingEnsemble(1, disk) as ensemble:
        with super_client(ensemble.nodes[0]) as admin:
            second = ensemble.add()
            admin.reconfig(ensemble.spec(second), None, None)
        for node in ensemble.nodes:
            node.kill9()
        ensemble.nodes[0].start()
        wait_for(lambda: b"waits for a leader" in ensemble.nodes[0].log_path.read_bytes(), SERVE_S_MAX, "it to miss the other")
        assert ensemble.nodes[0].mode() == "", "though its --peers names nobody else"
        second.start()
        ensemble.wait_all_serving()


def test_it_can_be_switched_off_and_a_node_without_peers_cannot(disk: Path) -> None:
    with GrowingEnsemble(1, disk, ["--no-reconfig"]) as ensemble, super_client(ensemble.nodes[0]) as admin:
        with pytest.raises(kazoo.exceptions.ZookeeperError) as refused:
            admin.reconfig(None, "9", None)
        assert refused.value.code == -123
    with Ensemble(1, disk) as alone, kazoo_client(alone.nodes[0].zk_host, SESSION_S) as client, pytest.raises(UnimplementedError):
        client.reconfig(None, "9", None)


def test_an_ensemble_may_be_founded_with_an_observer(disk: Path) -> None:
    with GrowingEnsemble(3, disk, observers=[2]) as ensemble:
        first, second, third = ensemble.nodes
        wait_for(lambda: second.mode() == "observer", SERVE_S_MAX, "the observer to serve")
        ensemble.wait_members([ensemble.spec(first), ensemble.spec(second, "observer"), ensemble.spec(third)], ensemble.nodes)
        with super_client(second) as admin:
            data, _ = admin.reconfig(ensemble.spec(second), None, None)
            assert ensemble.spec(second) in data.decode()
        first.kill9()
        with super_client(second, third) as admin:
            admin.create("/by-the-promoted", b"1")


def test_a_node_that_stood_alone_is_given_an_address_and_grows(disk: Path) -> None:
    ensemble = GrowingEnsemble(1, disk)
    (first,) = ensemble.nodes
    at = first.command.index("--peers")
    peers = first.command[at : at + 2]
    del first.command[at : at + 2]
    with ensemble:
        assert first.mode() == "standalone"
        with super_client(first) as admin:
            admin.create("/kept", b"kept")
        assert first.stop() == 0
        first.command += peers
        ensemble.restart(first)
        second = ensemble.add()
        with super_client(first) as admin:
            admin.reconfig(ensemble.spec(second), None, None)
        ensemble.wait_all_serving()
        with kazoo_client(second.zk_host, SESSION_S) as reader:
            reader.sync("/")
            assert reader.get("/kept")[0] == b"kept"
