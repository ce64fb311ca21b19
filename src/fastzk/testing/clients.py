"""Clients that outlive kills, for tests and the demonstration: a kazoo that tries again at once and for ever, and fastzk's own."""

import contextlib
from collections.abc import Iterator

from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

from fastzk import Client


@contextlib.contextmanager
def kazoo_client(hosts: str, session_s: float) -> Iterator[KazooClient]:
    """A client of ZooKeeper's protocol that never gives up and does not wait long between its tries."""
    retry = KazooRetry(max_tries=-1, delay=0.05, backoff=1, max_delay=0.2)
    client = KazooClient(hosts, timeout=session_s, connection_retry=retry)
    client.start(timeout=session_s)
    try:
        yield client
    finally:
        client.stop()
        client.close()


@contextlib.contextmanager
def native_client(hosts: str, session_s: float) -> Iterator[Client]:
    """fastzk's own client, over ZeroMQ."""
    client = Client(hosts, timeout=session_s)
    client.start(timeout=session_s)
    try:
        yield client
    finally:
        client.stop()
        client.close()
