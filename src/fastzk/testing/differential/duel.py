"""Two servers, one conversation: the first difference between their answers, and the shortest conversation that shows it.

Rules: the oracle is right.  Steps go to both at once and the answers are compared one by one; after a step that changed
something, the connections with watches are asked for what it made come; after the last step, all connections, and then the
whole tree as the super user sees it.  The two trees are cleared behind each conversation, whatever became of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from fastzk.defs import OpCode
from fastzk.testing.differential import rules, steps, tree
from fastzk.testing.differential.player import SLOTS, Admin, Answer, Player
from fastzk.testing.differential.steps import Burst, Connect, Drop, Request, Resume, Step
from fastzk.testing.differential.view import View
from fastzk.testing.ensemble import Address


class Difference(NamedTuple):
    """Where two servers part: the step's number, where it was seen, and what each said."""

    number: int
    step: Step | None
    where: str
    oracle: Any
    candidate: Any

    @property
    def signature(self) -> tuple[Any, ...]:
        """What tells this kind of difference from others."""
        name = type(self.step).__name__ if not isinstance(self.step, Request) else steps.op_name(self.step.op)
        return (name, self.where.split()[0], _outline(self.oracle), _outline(self.candidate))


class Exchange(NamedTuple):
    """A step and what both answered, for printing."""

    number: int
    step: Step
    seen: tuple[Any, Any]


class Duel:
    """An oracle and a candidate, to be asked the same things."""

    def __init__(self, oracle: Address, candidate: Address, credential: bytes, is_self_check: bool = False) -> None:
        """is_self_check: the candidate is a ZooKeeper too."""
        self._is_self_check = is_self_check
        self._players = (Player(oracle), Player(candidate))
        self._admins = (Admin(oracle, credential), Admin(candidate, credential))
        # The last conversation: every step, and what came.
        self.exchanges: list[Exchange] = []
        self.operations = 0
        # How often each rule has allowed a difference.
        self.allowed: Counter[str] = Counter()
        trees = [tree.walk(admin) for admin in self._admins]
        # What the servers had before anything was done with them.
        self.fresh = [_seen(View(player), whole) for player, whole in zip(self._players, trees, strict=True)]
        self._settle(trees, is_same=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for player in self._players:
            player.reset(0)
        for admin in self._admins:
            admin.close()

    def replace_candidate(self, player: Player) -> None:
        """Lets another player stand for the candidate."""
        self._players = (self._players[0], player)

    def judge(self, conversation: Sequence[Step]) -> Difference | None:
        """As play(); but a difference that a container may be the cause of counts only if it comes again.

        A server that finds an empty container removes it; at what moment, nobody has asked for."""
        difference = self.play(conversation)
        if difference is None or not any(map(_may_make_container, conversation)):
            return difference
        difference = self.play(conversation)
        if difference is None:
            self.allowed[rules.UPKEEP.name] += 1
        return difference

    def play(self, conversation: Sequence[Step]) -> Difference | None:
        """Plays a conversation and clears up; the first difference, or None."""
        for player, admin in zip(self._players, self._admins, strict=True):
            player.reset(admin.zxid)
        views = (View(self._players[0]), View(self._players[1]))
        self.exchanges = []
        difference = None
        for number, step in enumerate(conversation, 1):
            difference = self._step(number, step, views)
            if difference is not None:
                break
        else:
            difference = self._barrier(len(conversation), None, range(SLOTS), views)
        for player in self._players:
            player.reset(0)
        trees = [tree.walk(admin) for admin in self._admins]
        if difference is None:
            difference = compare_trees(len(conversation), [_seen(view, whole) for view, whole in zip(views, trees, strict=True)])
        self._settle(trees, difference is None)
        if difference is None or self._is_self_check:
            return difference
        rule = rules.allowed(difference.step, difference.where, difference.oracle, difference.candidate)
        if rule is None:
            return difference
        self.allowed[rule.name] += 1
        return None

    def _settle(self, trees: list[tree.Tree], is_same: bool) -> None:
        """Clears both servers; makes them count the same again when they have done different things."""
        for admin, whole in zip(self._admins, trees, strict=True):
            tree.clear(admin, whole)
        if not is_same:
            tree.align(self._admins)

    def _step(self, number: int, step: Step, views: tuple[View, View]) -> Difference | None:
        oracle, candidate = self._players
        watchers = oracle.watching | candidate.watching
        if isinstance(step, Resume):
            # ZooKeeper closes the connection that the session had.
            watchers |= {slot for player in self._players if (slot := player.slot_of(step.session)) is not None}
        asked = rules.for_oracle(step)
        if self._is_self_check:
            step = asked
        began = oracle.begin(asked), candidate.begin(step)
        if not any(began):
            return None
        assert all(began), f"only one has a connection for {step}: {began}"
        self.operations += len(step.requests) if isinstance(step, Burst) else 1
        answers = oracle.finish(asked), candidate.finish(step)
        seen = views[0].see(number, asked, answers[0]), views[1].see(number, step, answers[1])
        self.exchanges.append(Exchange(number, step, seen))
        if seen[0] != seen[1]:
            return Difference(number, step, "answer", *seen)
        if not self._is_self_check and rules.is_parting(step, seen[0]):
            return Difference(number, step, rules.STATE, *seen)
        if isinstance(step, Drop | Connect) or not (watchers and _may_change(step, answers[0])):
            return None
        return self._barrier(number, step, sorted(watchers - ({step.slot} if isinstance(step, Resume) else set())), views)

    def _barrier(self, number: int, step: Step | None, slots: Sequence[int], views: tuple[View, View]) -> Difference | None:
        """Compares what comes on connections without being asked for."""
        asked = [slot for slot in slots if any(player.slots[slot] is not None for player in self._players)]
        for player in self._players:
            player.ask(asked)
        heard = [[player.hear(slot) for player in self._players] for slot in asked]
        for slot, answers in zip(asked, heard, strict=True):
            seen = views[0].see_barrier(answers[0]), views[1].see_barrier(answers[1])
            if step is not None and (seen[0] != seen[1] or len(seen[0]) > 2 or seen[0][-1] != "open"):
                self.exchanges.append(Exchange(number, Drop(slot), seen))
            if seen[0] != seen[1]:
                return Difference(number, step, f"connection {slot}", *seen)
        return None


def _may_make_container(step: Step) -> bool:
    if isinstance(step, Burst):
        return any(map(_may_make_container, step.requests))
    return isinstance(step, Request) and step.op in (OpCode.CREATE_CONTAINER, OpCode.MULTI)


def _may_change(step: Step, answer: Answer) -> bool:
    """True when a step may have made something come on another connection."""
    if isinstance(step, Request):
        # Reads and refusals change nothing; a multi says in its body that it was refused, and is asked about in any case.
        return step.op not in _QUIET and bool(answer.records) and answer.records[-1][12:16] == b"\0\0\0\0"
    return True


_QUIET = frozenset(
    {
        OpCode.EXISTS, OpCode.GET_DATA, OpCode.GET_ACL, OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2, OpCode.SYNC, OpCode.PING,
        OpCode.MULTI_READ, OpCode.CHECK_WATCHES, OpCode.REMOVE_WATCHES, OpCode.GET_EPHEMERALS, OpCode.GET_ALL_CHILDREN_NUMBER,
        OpCode.WHO_AM_I, OpCode.ADD_WATCH, OpCode.AUTH, OpCode.SASL,
    }
)  # fmt: skip


def _seen(view: View, whole: tree.Tree) -> dict[str, list[Any]]:
    return {path: [view.see_plain(op, *reply) for op, reply in zip(tree.TREE_OPS, whole[path], strict=True)] for path in whole}


def compare_trees(number: int, seen: list[dict[str, list[Any]]]) -> Difference | None:
    """The first znode, if any, that two trees do not have alike."""
    for path in sorted(seen[0].keys() | seen[1].keys()):
        pair = [whole.get(path, "missing") for whole in seen]
        if pair[0] != pair[1]:
            return Difference(number, None, f"tree {path}", *pair)
    return None


# ---- the shortest conversation


def shrink(conversation: Sequence[Step], shows: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """Leaves out steps, in ever smaller runs, for as long as what is left shows the difference."""
    left = list(conversation)
    size = len(left) // 2
    while size:
        at = 0
        while at < len(left):
            fewer = left[:at] + left[at + size :]
            if fewer and shows(fewer):
                left = fewer
            else:
                at += size
        size //= 2
    return left


def _outline(seen: Any) -> Any:
    """An answer without its particulars: kinds, error codes, lengths."""
    if isinstance(seen, tuple):
        if seen and seen[0] == "reply":
            return ("reply", seen[3], seen[4] is None)
        if seen and seen[0] == "event":
            return ("event", seen[3])
        return tuple(_outline(one) for one in seen)
    return type(seen).__name__ if not isinstance(seen, str | int) else seen
