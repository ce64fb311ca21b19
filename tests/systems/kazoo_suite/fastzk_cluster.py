"""A cluster of fastzk in the place of the cluster of ZooKeeper that kazoo's own tests start, stop and configure.

Rule: kazoo's tests and their harness are unchanged.  They ask `kazoo.testing.common` for a ZookeeperCluster and give it
ZooKeeper's configuration; this module stands there, and tells fastzk what that configuration says.

How it works: pytest loads this module first (`-p fastzk_cluster`), so that the harness finds it under kazoo's name."""

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastzk.testing.certificates import Authority
from fastzk.testing.ensemble import Ensemble, Node, free_ports

sys.modules["kazoo.testing.common"] = sys.modules[__name__]

SUPER = "-Dzookeeper.DigestAuthenticationProvider.superDigest="
# Words for every test; sessions as short as kazoo's tests ask for; the read-only tests wait for a server to notice.
OPTIONS = ("--4lw-whitelist", "*", "--tick-time", "1000", "--max-client-cnxns", "0", "--read-only-mode")


class Server:
    """One node, as kazoo's tests know a server."""

    def __init__(self, node: Node, secure_port: int) -> None:
        self.node = node
        self.address = node.zk_host
        self.secure_address = f"127.0.0.1:{secure_port}"

    @property
    def running(self) -> bool:
        """True while its processes live."""
        return self.node.is_running

    def run(self) -> None:
        """Starts it; does not wait."""
        if not self.running:
            self.node.start()

    def stop(self) -> None:
        """Ends it; its data stays."""
        if self.running:
            self.node.stop()


class ZookeeperCluster:
    """What kazoo's harness calls so, made of fastzk's nodes."""

    def __init__(
        self,
        size: int,
        configuration_entries: Sequence[str] = (),
        java_system_properties: Sequence[str] = (),
        jaas_config: str | None = None,
        **_: object,  # where ZooKeeper is installed, and its ports
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="kazoo-", dir=Path.cwd()))
        options = list(OPTIONS)
        if "localSessionsEnabled=true" in configuration_entries:
            options.append("--local-sessions")
        for entry in java_system_properties:
            if entry.startswith(SUPER):
                options += ["--super-digest-file", self._secret("super", entry.removeprefix(SUPER))]
        if jaas_config is not None:
            users = "".join(f"{user}:{password}\n" for user, password in re.findall(r'user_(\w+)="([^"]*)"', jaas_config))
            options += ["--sasl-users", self._secret("users", users)]
        authority = Authority(self.home)
        own = authority.issue("node", "/CN=node")
        self.authority, self.mine = authority.own, authority.issue("client", "/CN=client")
        options += ["--tls-cert", str(own.certificate), "--tls-key", str(own.key), "--tls-ca", str(self.authority.certificate)]
        self.ensemble = Ensemble(size, self.home, options)
        ports = free_ports(size)
        for node, port in zip(self.ensemble.nodes, ports, strict=True):
            node.command += ["--zk-tls", f"127.0.0.1:{port}"]
        self.servers = [Server(node, port) for node, port in zip(self.ensemble.nodes, ports, strict=True)]

    def _secret(self, name: str, text: str) -> str:
        path = self.home / name
        path.touch(mode=0o600)
        path.write_text(text.rstrip("\n") + "\n")
        return str(path)

    def __getitem__(self, index: int) -> Server:
        return self.servers[index]

    def __iter__(self) -> Iterator[Server]:
        return iter(self.servers)

    def start(self) -> None:
        """Starts what does not run, and waits until all serve."""
        for server in self.servers:
            server.run()
        self.ensemble.wait_all_serving()

    def stop(self) -> None:
        """Ends all; the data stays."""
        for server in self.servers:
            server.stop()

    def terminate(self) -> None:
        """Ends all, and the data goes."""
        if self.ensemble.home.exists():
            self.ensemble.__exit__(None, None, None)

    def get_logs(self) -> list[str]:
        """What the nodes logged."""
        return [node.log_tail() for node in self.ensemble.nodes]

    def get_ssl_client_configuration(self) -> dict[str, bytes]:
        """What a client needs inside TLS."""
        return {
            "client_key": self.mine.key.read_bytes(),
            "client_cert": self.mine.certificate.read_bytes(),
            "ca_cert": self.authority.certificate.read_bytes(),
        }
