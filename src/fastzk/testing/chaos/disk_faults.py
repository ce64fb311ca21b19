"""What is done to the nodes' disks: errors, slowness, and damage.

Rules: a node whose write or sync fails must end within a second, with a status other than 0, and say which file it was.
Damage is done to one node that does not run, never to more, and not again before that one was whole: more than the ensemble
promises to bear is no test of it."""

import errno
import shutil
from abc import abstractmethod
from pathlib import Path
from random import Random

from fastzk.testing.chaos.nemesis import Fault
from fastzk.testing.chaos.site import ChaosNode
from fastzk.testing.ensemble import wait_for

FAIL_STOP_S_MAX = 3.0  # one second, on a machine that has nothing else to do
SLOW_US = (5_000, 200_000)
ZERO_PAGE = 4096


class DiskError(Fault):
    """One write or sync of a node fails: it must end."""

    codes: tuple[int, ...] = (errno.EIO,)

    def begin(self) -> None:
        self.node = self.any_node()
        code, number = self.random.choice(self.codes), self.random.randint(1, 20)
        self.run.fault(self.name, target=self.node.name, code=errno.errorcode.get(code, "short"), number=number)
        self._told = self.node.log_path.stat().st_size
        self._failures = self.node.disk.control.get("failures")
        self._process = self.node.process
        self.arm(code, number)

    @abstractmethod
    def arm(self, code: int, number: int) -> None:
        """Tells the disk which of the next ones fails."""

    def heal(self) -> None:
        # What has not failed by now need not fail any more.
        control = self.node.disk.control
        control.set("sync_countdown", 0)
        control.set("write_countdown", 0)

    def check(self) -> None:
        control, node, process = self.node.disk.control, self.node, self._process
        # Whatever else was done to it meanwhile: it may have had nothing to write, or have ended before.
        if control.get("failures") > self._failures and process is not None:
            wait_for(lambda: process.poll() is not None, FAIL_STOP_S_MAX, f"node {node.number} to end, since its disk failed")
            assert process.returncode != 0, f"node {node.number} ended as if all were well when its disk failed"
            told = node.log_path.read_bytes()[self._told :].decode(errors="replace")
            assert "fastzk-node: " in told, f"node {node.number} did not say why it ended:\n{told}"


class SyncError(DiskError):
    """A sync fails."""

    name = "sync-error"

    def arm(self, code: int, number: int) -> None:
        self.node.disk.control.fail_sync(code, number)


class WriteError(DiskError):
    """A write fails, or is cut short."""

    name = "write-error"
    codes = (errno.EIO, errno.ENOSPC, errno.EDQUOT, 0)

    def arm(self, code: int, number: int) -> None:
        self.node.disk.control.fail_write(code, number)


class SlowDisk(Fault):
    """Every sync of a node, or of all, takes long."""

    name = "slow-disk"

    def begin(self) -> None:
        nodes = self.site.nodes if self.random.random() < 0.3 else [self.any_node()]
        delay_us = self.random.randint(*SLOW_US)
        self.run.fault(self.name, target=",".join(node.name for node in nodes), delay_us=delay_us)
        for node in nodes:
            node.disk.control.set("sync_delay_us", delay_us)

    def heal(self) -> None:
        for node in self.site.nodes:
            node.disk.control.set("sync_delay_us", 0)


# ---- damage


class Damage(Fault):
    """A node is killed, its files are changed, and it is started again."""

    is_alone = True

    def begin(self) -> None:
        self.site.start_all()
        self.site.wait_all_serving()  # no other node may be without what it promised
        node = self.any_node()
        node.kill9()
        node.settle()
        said = damage(node, self.name, self.random)
        self.run.fault(self.name, target=node.name, **said)
        node.start()

    def check(self) -> None:
        self.site.wait_all_serving()


class Corrupt(Damage):
    """Some bytes of a file are wrong."""

    name = "corrupt"


class Truncate(Damage):
    """A file is shorter than it was."""

    name = "truncate"


class Remove(Damage):
    """A file is gone."""

    name = "remove"


class Wipe(Damage):
    """The whole data directory is gone."""

    name = "wipe"


def damage(node: ChaosNode, how: str, random: Random) -> dict[str, object]:
    """Does it to a node that does not run; says what was done."""
    if how == "wipe":
        shutil.rmtree(node.data_dir)
        return {}
    file = random.choice(damageable(node.data_dir))
    size = file.stat().st_size
    said: dict[str, object] = {"file": str(file.relative_to(node.data_dir)), "size": size}
    if how == "remove":
        file.unlink()
        return said
    at = random.randrange(max(1, size))
    if how == "truncate":
        with file.open("r+b") as stream:
            stream.truncate(at)
        return said | {"at": at}
    data = bytearray(file.read_bytes())
    if random.random() < 0.5:
        at &= -ZERO_PAGE
        data[at : at + ZERO_PAGE] = bytes(min(ZERO_PAGE, size - at))
    elif data:
        data[at] ^= 1 << random.randrange(8)
    with file.open("r+b") as stream:
        stream.write(data)
    return said | {"at": at}


def damageable(data_dir: Path) -> list[Path]:
    """Log, snapshots and vote."""
    files = [path for folder in ("log", "snapshots") for path in sorted((data_dir / folder).glob("*"))]
    return [*files, data_dir / "vote"]


DISK_FAULTS: list[type[Fault]] = [SyncError, WriteError, SlowDisk]
DAMAGE_FAULTS: list[type[Fault]] = [Corrupt, Truncate, Remove, Wipe]
