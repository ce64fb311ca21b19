"""The calls about the ensemble itself: who its members are, and other members.

Rule: these know no chroot: there is one /zookeeper/config for all."""

from fastzk.client import values
from fastzk.client.caller import Caller
from fastzk.client.results import AsyncResult
from fastzk.client.watches import WatchFunction, WatchKind, outside
from fastzk.data import ZnodeStat
from fastzk.wire import records

CONFIG_PATH = "/zookeeper/config"


class Ensemble(Caller):
    """Of a Client."""

    def get_config(self, watch: WatchFunction | None = None, linearizable: bool | None = None) -> tuple[bytes, ZnodeStat]:
        """The members of the ensemble, a line `server.ID=...` each and `version=...`, and the Stat of /zookeeper/config.

        Empty for a node that stands alone.  watch: called once when it changes."""
        return self.get_config_async(watch, linearizable).get()

    def get_config_async(
        self, watch: WatchFunction | None = None, linearizable: bool | None = None
    ) -> AsyncResult[tuple[bytes, ZnodeStat]]:
        """As get_config()."""
        path = outside(CONFIG_PATH) if self.chroot else CONFIG_PATH
        request = records.GetData(CONFIG_PATH, watch is not None)
        return self._read(request, path, values.data_and_stat, linearizable, WatchKind.DATA, watch)

    def reconfig(
        self, joining: str | None = None, leaving: str | None = None, new_members: str | None = None, from_config: int = -1
    ) -> tuple[bytes, ZnodeStat]:
        """Changes the members of the ensemble, and gives what get_config() does then.

        joining: servers `server.ID=HOST:PORT[:PORT][:participant|observer][;[HOST:]PORT]`, separated by commas.  leaving: ids,
        likewise.  new_members: all servers there will be, instead of these two.  from_config: only if this is the version.
        It takes as long as a new voter needs to get everything.  Raises NoAuthError (it takes WRITE on /zookeeper/config: the
        super user has it), BadArgumentsError, BadVersionError, NewConfigNoQuorumError (a new voter is not there, or does not
        get level), ReconfigInProcessError, ReconfigDisabledError, UnimplementedError (a node without --peers)."""
        return self.reconfig_async(joining, leaving, new_members, from_config).get()

    def reconfig_async(
        self, joining: str | None = None, leaving: str | None = None, new_members: str | None = None, from_config: int = -1
    ) -> AsyncResult[tuple[bytes, ZnodeStat]]:
        """As reconfig()."""
        for name, text in (("joining", joining), ("leaving", leaving), ("new_members", new_members)):
            if text is not None and not isinstance(text, str):
                raise TypeError(f"Invalid type for '{name}' (string expected)")
        if not isinstance(from_config, int) or not -(2**63) <= from_config < 2**63:
            raise TypeError("Invalid type for 'from_config' (int expected)")
        return self._call(records.Reconfig(joining, leaving, new_members, from_config), None, values.data_and_stat)
