"""The differences from ZooKeeper that are intended, and no others: each a rule with a name and a reason.

Rules: a rule is as narrow as it can be: it knows the request and what each of the two answers to it, and anything else is
a difference.  docs/compatibility.md has the same names in its table; tests/compat/test_differential.py holds the two together.
There is no rule for what ZooKeeper leaves open (view.py sorts that) nor for numbers that must differ.

How it works: what a rule allows ends the conversation, since the two servers are no longer in the same state."""

import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from fastzk.defs import OpCode
from fastzk.errors import ErrorCode
from fastzk.testing.differential.steps import Request, Resume, Step
from fastzk.wire import jute

UNKNOWN_OP = 99
_SET_WATCHES = (OpCode.SET_WATCHES, OpCode.SET_WATCHES2)
STATE = "state"  # where the same answers leave two servers in different states

_IP = rb"\x00\x00\x00\x02ip\x00\x00\x00."  # the scheme of an identity, and the size of the string behind it
# A number with a sign or with zeros in front; an IPv6 address that ends as an IPv4 address does.
_LOOSE_IP = re.compile(_IP + rb"[0-9a-f:./+]*?(?:\+|(?<![0-9a-f])0[0-9])", re.DOTALL)
_MIXED_IP = re.compile(_IP + rb"[0-9a-f]*:[0-9a-f:]*\.", re.DOTALL)
_FOREIGN_SCHEME = re.compile(rb"\x00\x00\x00\x04(?:sasl|x509)\x00\x00\x00.")
# An entry of an ACL: perms, a scheme, and a null behind it; or perms, a null scheme and an id.
_NULL_ID = re.compile(
    rb"\x00\x00\x00.(?:world|digest|ip|auth)\xff\xff\xff\xff|\x00\x00\x00.\xff\xff\xff\xff\x00\x00\x00.", re.DOTALL
)


# What a request with a good ACL may still be told, in a multi or not.
_BEHIND_THE_ACL = {
    ErrorCode.OK, ErrorCode.NO_NODE, ErrorCode.NO_AUTH, ErrorCode.BAD_ARGUMENTS, ErrorCode.NODE_EXISTS, ErrorCode.BAD_VERSION,
    ErrorCode.NO_CHILDREN_FOR_EPHEMERALS, ErrorCode.QUOTA_EXCEEDED, ErrorCode.NOT_EMPTY, ErrorCode.RUNTIME_INCONSISTENCY,
}  # fmt: skip


class Rule(NamedTuple):
    """One intended difference: what is done differently and why, and which difference it allows."""

    name: str
    reason: str
    allows: Callable[[Step | None, str, Any, Any], bool]


def for_oracle(step: Step) -> Step:
    """The step as ZooKeeper gets it: what it should not know is asked under a number that it does not know."""
    if isinstance(step, Request) and step.op in (OpCode.DELETE_CONTAINER, OpCode.CREATE_SESSION):
        return step._replace(op=UNKNOWN_OP)
    return step


def is_parting(step: Step, oracle: Any) -> bool:
    """True when ZooKeeper may have done half of what it refused; fastzk has done nothing."""
    return (
        isinstance(step, Request)
        and step.op in _SET_WATCHES
        and _errors(oracle) == [ErrorCode.MARSHALLING_ERROR]
        and _is_whole(step.body, 3 if step.op == OpCode.SET_WATCHES else 5)
    )


def _is_whole(body: bytes, vectors: int) -> bool:
    """True when the vectors of paths are all there, null or not: what is cut short, ZooKeeper does not even begin with."""
    at = 0
    try:
        for _ in range(vectors):
            count, at = jute.INT.decode(body, at)
            for _ in range(count):
                _, at = jute.BUFFER.decode(body, at)
    except (jute.RecordError, struct.error):
        return False
    return True


def allowed(step: Step | None, where: str, oracle: Any, candidate: Any) -> Rule | None:
    """The rule that allows a difference, if there is one."""
    return next((rule for rule in RULES if rule.allows(step, where, oracle, candidate)), None)


def _errors(seen: Any) -> list[int]:
    """The error codes of an answer's replies, those inside a multi's reply included."""
    codes: list[int] = []
    for one in seen:
        if isinstance(one, tuple) and one and one[0] == "reply":
            codes.append(one[3])
            if isinstance(one[4], list):
                codes += [part[1] for part in one[4] if isinstance(part, tuple) and len(part) == 3]
    return codes


def _is_half_read(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    """ZooKeeper's answer has events before its refusal, or it armed what came before; fastzk's is the refusal alone."""
    return (
        isinstance(step, Request)
        and step.op in _SET_WATCHES
        and _errors(oracle) in ([ErrorCode.MARSHALLING_ERROR], [ErrorCode.OK])
        and _errors(candidate) == [ErrorCode.MARSHALLING_ERROR]
        and len(candidate) == 2
    )


def _is_half_answered(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    """ZooKeeper's refusal has what it had found so far behind it."""
    return (
        isinstance(step, Request)
        and step.op == OpCode.MULTI_READ
        and _errors(oracle)[:1] == _errors(candidate) == [ErrorCode.MARSHALLING_ERROR]
        and candidate[0][4] is None
    )


def _is_null_path(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    return (
        isinstance(step, Request)
        and step.op in (OpCode.ADD_WATCH, OpCode.CHECK_WATCHES, OpCode.REMOVE_WATCHES)
        and step.body[:4] == b"\xff\xff\xff\xff"
        and _errors(oracle) in ([ErrorCode.OK], [ErrorCode.NO_WATCHER])
        and _errors(candidate) == [ErrorCode.MARSHALLING_ERROR]
    )


def _is_stranger(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    return (
        isinstance(step, Resume)
        and step.password is not None
        and where.startswith("connection")
        and oracle == ("closed",)
        and candidate[-1] == "open"
    )


def _is_address(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    if not isinstance(step, Request):
        return False
    if _is_refused_and_taken(candidate, oracle):
        return _LOOSE_IP.search(step.body) is not None
    return _is_refused_and_taken(oracle, candidate) and _MIXED_IP.search(step.body) is not None


def _is_refused_and_taken(refusing: Any, taking: Any) -> bool:
    """One refuses the ACL; the other takes it, and does the rest or finds another fault."""
    return ErrorCode.INVALID_ACL in _errors(refusing) and _BEHIND_THE_ACL.issuperset(_errors(taking))


def _is_null_id(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    return (
        isinstance(step, Request)
        and _NULL_ID.search(step.body) is not None
        and _errors(oracle) == [ErrorCode.MARSHALLING_ERROR]
        and ErrorCode.INVALID_ACL in _errors(candidate)
    )


def _is_quota_in_multi(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    """One of the two refuses for a quota, in the multi's body, what the other does; or its limits make no sense."""
    if not isinstance(step, Request) or step.op != OpCode.MULTI:
        return False
    judged = tuple(ErrorCode.QUOTA_EXCEEDED in _errors(seen) for seen in (oracle, candidate))
    is_unreadable = _errors(oracle) == [ErrorCode.MARSHALLING_ERROR] and ErrorCode.MARSHALLING_ERROR in _errors(candidate)[1:]
    return judged in ((True, False), (False, True)) or is_unreadable


def _is_count_of_root(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    return (
        isinstance(step, Request)
        and step.op == OpCode.GET_ALL_CHILDREN_NUMBER
        and step.body[:4] == b"\0\0\0\0"
        and _errors(oracle) == _errors(candidate) == [ErrorCode.OK]
        and oracle[0][4] == candidate[0][4] + 1
    )


def _is_foreign_scheme(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    return isinstance(step, Request) and _FOREIGN_SCHEME.search(step.body) is not None and _is_refused_and_taken(oracle, candidate)


def _is_repeated_entry(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    return bool(oracle != candidate and _without_repetition(oracle) == candidate)


def _without_repetition(seen: Any) -> Any:
    """An answer, with each entry of an ACL in it kept once."""
    if isinstance(seen, tuple):
        return tuple(map(_without_repetition, seen))
    if isinstance(seen, list):
        is_acl = all(isinstance(one, tuple) and len(one) == 3 and isinstance(one[1], str) for one in seen)
        return list(dict.fromkeys(seen)) if is_acl else list(map(_without_repetition, seen))
    return seen


def _never(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    return False


UPKEEP = Rule("upkeep", "when a server looks for empty containers is its own affair", _never)  # Duel.judge sees to it
RULES = (
    UPKEEP,
    # The next two need no look at what came: rules.for_oracle() and view.text() see to them.
    Rule("server-only operations", "only ZooKeeper's servers need them; from a client they can only do harm", _never),
    Rule("text that is not UTF-8", "a name is what its client says it is; ZooKeeper has Java's text in between", _never),
    Rule("session of a stranger", "whoever guesses a session's id could end its connection again and again", _is_stranger),
    Rule("setWatches with a null path", "a request is done or refused, not half of each; no client sends it", _is_half_read),
    Rule("multiRead with a null path", "an error has no body, as everywhere else", _is_half_answered),
    Rule("watch on a null path", "no znode has that path; every other operation refuses it", _is_null_path),
    Rule("addresses in ACLs", "010.0.0.1 is 10.0.0.1 to Java and 8.0.0.1 to others; ::ffff:1.2.3.4 is a usual form", _is_address),
    Rule("quotas in a multi", "a multi could go beyond a hard limit by as much as it likes", _is_quota_in_multi),
    Rule("descendants of the empty path", '"" is another name of the root, which is not its own descendant', _is_count_of_root),
    Rule("sasl and x509 in ACLs", "every node must judge an ACL alike, whatever it is configured for", _is_foreign_scheme),
    Rule("entries that auth repeats", "what auth stands for is in the ACL once, as everything else is", _is_repeated_entry),
    Rule("null id in an ACL", "the ACL is invalid, and that is said; ZooKeeper stumbles over it", _is_null_id),
)
