"""The differences from ZooKeeper that are intended, and no others: each a rule with a name and a reason.

Rules: a rule is as narrow as it can be: it knows the request and what each of the two answers to it, and anything else is
a difference.  docs/compatibility.md has the same names in its table; tests/compat/test_differential.py holds the two together.
There is no rule for what ZooKeeper leaves open (view.py sorts that) nor for numbers that must differ.

How it works: what a rule allows ends the conversation, since the two servers are no longer in the same state."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from fastzk.defs import OpCode
from fastzk.errors import ErrorCode
from fastzk.testing.differential.steps import Request, Resume, Step

UNKNOWN_OP = 99

# An ip identity (its scheme, then a string) with a number that has a sign or zeros in front.
_LOOSE_IP = re.compile(rb"\x00\x00\x00\x02ip\x00\x00\x00.[0-9a-f:./+]*?(?:\+|(?<![0-9a-f])0[0-9])", re.DOTALL)
_ANSWERS_OF_WATCHES = {OpCode.ADD_WATCH: (ErrorCode.OK,), OpCode.CHECK_WATCHES: (ErrorCode.NO_WATCHER, ErrorCode.OK)}


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
    """ZooKeeper's answer has events before its refusal, or armed what came before; fastzk's is the refusal alone."""
    return (
        isinstance(step, Request)
        and step.op in (OpCode.SET_WATCHES, OpCode.SET_WATCHES2)
        and _errors(oracle) in ([ErrorCode.MARSHALLING_ERROR], [ErrorCode.OK])
        and _errors(candidate) == [ErrorCode.MARSHALLING_ERROR]
        and len(candidate) == 2
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


def _is_loose_ip(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    return (
        isinstance(step, Request)
        and _LOOSE_IP.search(step.body) is not None
        and ErrorCode.INVALID_ACL in _errors(candidate)
        and ErrorCode.INVALID_ACL not in _errors(oracle)
    )


def _never(step: Step | None, where: str, oracle: Any, candidate: Any) -> bool:
    return False


RULES = (
    # Needs for_oracle() alone: asked under another number, ZooKeeper must answer the same.
    Rule(
        "server-only operations",
        "they are what ZooKeeper's servers say to themselves; from a client they can only do harm",
        _never,
    ),
    Rule(
        "session of a stranger",
        "whoever guesses a session's id could end its connection again and again",
        _is_stranger,
    ),
    Rule("setWatches with a null path", "a request is done or refused, not both; no client sends it", _is_half_read),
    Rule("watch on a null path", "no znode has that path, so the watch could never fire; all other operations refuse it", _is_null_path),
    Rule("loose ip addresses", "010.0.0.1 is 10.0.0.1 to Java and 8.0.0.1 to others; an ACL must not depend on that", _is_loose_ip),
)
