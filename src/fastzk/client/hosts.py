"""Where the servers are: the connection string, and whose turn it is.

    h1:2281,h2:2281,[::1]:2281/chroot        a port may be left out

Rule: names stay names; they are resolved anew at every attempt, by libzmq, so a server that moved is found."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from fastzk import paths
from fastzk.defs import NATIVE_PORT
from fastzk.errors import ConfigurationError


class Address(NamedTuple):
    """One server's host and port."""

    host: str
    port: int

    @property
    def endpoint(self) -> str:
        """As libzmq wants it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


def parse_hosts(hosts: str | Sequence[str], default_port: int = NATIVE_PORT) -> tuple[tuple[Address, ...], str]:
    """The addresses in a connection string, or in a list of its parts, and its chroot ("" when there is none).

    Raises ConfigurationError, or InvalidPathError for the chroot."""
    text = hosts if isinstance(hosts, str) else ",".join(part.strip() for part in hosts).replace(",/", "/")
    names, slash, chroot = text.partition("/")
    addresses = tuple(_parse_address(part.strip(), default_port) for part in names.split(",") if part.strip())
    if not addresses:
        raise ConfigurationError(f"no host in {text!r}")
    return addresses, paths.normalise(slash + chroot) if chroot.strip("/") else ""


def _parse_address(text: str, default_port: int) -> Address:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        is_port_wrong = not bracket or (rest != "" and not rest.startswith(":"))
        port = rest[1:]
    else:
        host, colon, port = text.partition(":")
        is_port_wrong = ":" in port or (colon != "" and not port)
    if is_port_wrong or not host or (port and not port.isdecimal()):
        raise ConfigurationError(f"{text!r} is not host:port")
    number = int(port) if port else default_port
    if not 0 < number < 65536:
        raise ConfigurationError(f"port {number} of {text!r} does not exist")
    return Address(host, number)


class HostRing:
    """The servers in the order in which they are tried; shuffled once, so that clients spread."""

    def __init__(self, addresses: Sequence[Address], random: Random | None) -> None:
        """With random None the given order is kept."""
        assert addresses
        self._addresses = list(addresses)
        if random is not None:
            random.shuffle(self._addresses)
        self._next = 0
        # Servers tried in vain since one served us.
        self._failed_count = 0

    def __len__(self) -> int:
        return len(self._addresses)

    def take(self) -> Address:
        """The one to try now."""
        address = self._addresses[self._next]
        self._next = (self._next + 1) % len(self._addresses)
        return address

    def on_failed(self) -> bool:
        """The one taken last did not serve us.  True when all have been tried: pause before going on."""
        self._failed_count += 1
        return self._failed_count % len(self._addresses) == 0

    def on_served(self) -> None:
        """The one taken last serves us."""
        self._failed_count = 0
