"""fastzk: a coordination service with ZooKeeper's data model and guarantees.

What users need is `from fastzk import Client`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastzk.client.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    """The client, imported when it is asked for: a node needs none of it."""
    if name == "Client":
        from fastzk.client.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
