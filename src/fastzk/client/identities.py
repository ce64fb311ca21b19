"""The calls about who may do what, and who we are: add_auth, whoami, get_acls, set_acls.

Rule: what was shown once is shown again to every server that the client connects to, before any other request.
Rule: a server that refuses it ends the client (KeeperState.AUTH_FAILED): nothing may be done under a weaker identity."""

from collections.abc import Sequence

from fastzk.client import values
from fastzk.client.caller import Caller
from fastzk.client.results import AsyncResult
from fastzk.data import ACL, Id, ZnodeStat
from fastzk.defs import ANY_VERSION
from fastzk.wire import records


class Identities(Caller):
    """Of a Client."""

    # Schemes and credentials, in the order in which they are shown.
    auth_data: list[tuple[str, str | bytes]]

    def add_auth(self, scheme: str, credential: str | bytes) -> bool:
        """Shows the server who this client is, now and after each reconnect; "digest" takes "user:password".

        Gives True.  Raises AuthFailedError when the server refuses it; then every other call does, too, until the client
        is started again (with `auth_data` put right)."""
        return self.add_auth_async(scheme, credential).get()

    def add_auth_async(self, scheme: str, credential: str | bytes) -> AsyncResult[bool]:
        """As add_auth()."""
        values.check_credential(scheme, credential)
        if (scheme, credential) not in self.auth_data:
            self.auth_data.append((scheme, credential))
        shown = credential.encode() if isinstance(credential, str) else credential
        return self._call(records.Auth(0, scheme, shown), None, values.true_of)

    def whoami(self) -> list[Id]:
        """The identities that the server in use takes this client for."""
        return self.whoami_async().get()

    def whoami_async(self) -> AsyncResult[list[Id]]:
        """As whoami()."""
        return self._call(records.WhoAmI(), None, values.ids_of)

    def get_acls(self, path: str) -> tuple[list[ACL], ZnodeStat]:
        """A znode's ACL and Stat.  Raises NoNodeError."""
        return self.get_acls_async(path).get()

    def get_acls_async(self, path: str) -> AsyncResult[tuple[list[ACL], ZnodeStat]]:
        """As get_acls()."""
        path = values.checked_path(path)
        return self._read(records.GetAcl(self._full(path)), path, values.acls_and_stat, None)

    def set_acls(self, path: str, acls: Sequence[ACL], version: int = ANY_VERSION) -> ZnodeStat:
        """Changes a znode's ACL, if it has the aversion.  Raises NoNodeError, BadVersionError, InvalidACLError."""
        return self.set_acls_async(path, acls, version).get()

    def set_acls_async(self, path: str, acls: Sequence[ACL], version: int = ANY_VERSION) -> AsyncResult[ZnodeStat]:
        """As set_acls()."""
        path = values.checked_path(path)
        entries = values.checked_acl(acls)
        values.check_version(version)
        return self._call(records.SetAcl(self._full(path), entries, version), path, values.value_of)
