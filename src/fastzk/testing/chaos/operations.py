"""What a client of the workload asks next: drawn from a seed, on few keys that all fight for and on many.

    chooser = Chooser(Random(seed), "client-3")
    request = chooser.next(now_s)                 a request of wire/records.py
    chooser.learn(path, version)                  what a reply said; so that sets with a version can succeed

Rules: every value that is written is written once in a run, so that a read tells which write it saw.  A hot key is asked for a
few seconds and then never again: the search for a linear order wants few operations on a key.  It knows only what is done to one
key alone, and reads right behind a sync: so a multi has keys of its own, and half of the reads such a sync.

How it works: at every moment there are HOT_KEYS hot keys below /hot; their number grows with time.  The many keys are below
/many, those of the multis below /pair, ephemeral and sequential znodes below /own and /line."""

from random import Random

from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.defs import ANY_VERSION, CreateMode
from fastzk.wire import records

HOT_KEYS = 3
HOT_S = 3.0  # how long a hot key is asked for
MANY_KEYS = 400
PAIR_KEYS = 20
PARENTS = ("/own", "/line", "/hot", "/many", "/pair")
READ_SHARE = 0.45
SYNC_SHARE = 0.5  # of the reads
VERSIONS_MAX = 4096  # that are remembered


class Chooser:
    """One client's choices."""

    def __init__(self, random: Random, name: str) -> None:
        self._random = random
        self._name = name
        self._count = 0
        self._versions: dict[str, int] = {}
        self._read_behind: records.Request | None = None

    def learn(self, path: str, version: int) -> None:
        """A reply told a znode's version; -1: it is not there."""
        if len(self._versions) >= VERSIONS_MAX:
            self._versions.clear()
        self._versions[path] = version

    def next(self, now_s: float) -> records.Request:
        """A request."""
        self._count += 1
        if self._read_behind is not None:
            request, self._read_behind = self._read_behind, None
            return request
        dice = self._random.random()
        if dice < 0.30:
            return self._on(self._hot(now_s))
        if dice < 0.75:
            return self._on(f"/many/k{self._random.randrange(MANY_KEYS)}")
        if dice < 0.80:
            return self._on(self._pair())
        if dice < 0.92:
            return self._special()
        return self._multi()

    def _hot(self, now_s: float) -> str:
        return f"/hot/k{int(now_s / HOT_S) * HOT_KEYS + self._random.randrange(HOT_KEYS)}"

    def _pair(self) -> str:
        return f"/pair/k{self._random.randrange(PAIR_KEYS)}"

    def _value(self) -> bytes:
        return f"{self._name} {self._count}".encode()

    def _version(self, path: str) -> int:
        """One that was seen, or any."""
        version = self._versions.get(path, ANY_VERSION)
        return version if self._random.random() < 0.7 else ANY_VERSION

    def _on(self, path: str) -> records.Request:
        """A read or a write of one key."""
        random = self._random
        if random.random() < READ_SHARE:
            if random.random() >= SYNC_SHARE:
                return self._read(path)
            self._read_behind = self._read(path)
            return records.Sync(path)
        if self._versions.get(path, -1) < 0 or random.random() < 0.15:
            return records.Create(path, self._value(), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT)
        if random.random() < 0.15:
            return records.Delete(path, self._version(path))
        return records.SetData(path, self._value(), self._version(path))

    def _read(self, path: str) -> records.Request:
        is_watching = self._random.random() < 0.2
        dice = self._random.random()
        if dice < 0.6:
            return records.GetData(path, is_watching)
        if dice < 0.9:
            return records.Exists(path, is_watching)
        return records.GetChildren(self._random.choice(PARENTS[:2]), is_watching)

    def _special(self) -> records.Request:
        """Ephemeral and sequential znodes."""
        random = self._random
        dice = random.random()
        if dice < 0.4:
            # A line that is sometimes shortened: getChildren gives all of it.
            path = f"/line/{self._count % 10}-"
            return records.Create(path, self._value(), OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL)
        path = f"/own/{self._name}-{random.randrange(8)}"
        if dice < 0.75:
            return records.Create(path, self._value(), OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL)
        return records.Delete(path, ANY_VERSION)

    def _multi(self) -> records.Request:
        """Two or three writes together, some of which cannot succeed."""
        operations: list[records.Request] = []
        for _ in range(self._random.randint(2, 3)):
            path = self._pair()
            version = self._versions.get(path, -1)
            if version < 0:
                operations.append(records.Create(path, self._value(), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT))
            elif self._random.random() < 0.3:
                operations.append(records.Check(path, version))
            else:
                operations.append(records.SetData(path, self._value(), ANY_VERSION))
        return records.Multi(operations)
