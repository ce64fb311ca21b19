"""Goal: listening sockets are found out to be impossible before anything starts, and a group shares a port with nobody else.

Method: real sockets on loopback."""

import contextlib
import select
import socket
from collections import Counter

import pytest

from fastzk.config import Address, ConfigError
from fastzk.transport.listen import listen, listen_group


def test_a_port_in_use_is_named() -> None:
    with listen(Address("127.0.0.1", 0), "--zk") as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--zk 127.0.0.1:{port}: the port is in use"):
            listen(Address("127.0.0.1", port), "--zk")


def test_a_group_spreads_connections_and_lets_no_other_node_in() -> None:
    with contextlib.ExitStack() as stack:
        group = [stack.enter_context(listener) for listener in listen_group(Address("127.0.0.1", 0), "--native", 3)]
        address = group[0].getsockname()
        assert {listener.getsockname() for listener in group} == {address}
        with pytest.raises(ConfigError, match="the port is in use"):
            listen_group(Address("127.0.0.1", address[1]), "--native", 3)
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(120)]
        accepted: Counter[int] = Counter()
        while sum(accepted.values()) < len(clients):
            ready = select.select(group, [], [], 5)[0]
            assert ready, f"{accepted} of {len(clients)}"
            for listener in ready:
                listener.accept()[0].close()
                accepted[listener.fileno()] += 1
        assert len(accepted) == 3
        assert min(accepted.values()) >= 10  # 40 is the mean; chance misses this once in 10^10


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot listen there"):
        listen(Address("192.0.2.1", 2181), "--zk")
