"""The differences from ZooKeeper that are intended, and no others: each a rule with a name and a reason.

Rule: a rule is as narrow as it can be: it names the request and what each of the two answers, and anything else is a
difference.  docs/compatibility.md has the same names in its table; tests/compat/test_differential.py holds the two together.
Rule: there is no rule for what ZooKeeper leaves open (view.py sorts that) nor for numbers that must differ."""

from typing import NamedTuple

from fastzk.defs import OpCode
from fastzk.testing.differential.steps import Request, Step

UNKNOWN_OP = 99


class Rule(NamedTuple):
    """One intended difference."""

    name: str
    reason: str


SERVER_ONLY = Rule(
    "server-only operations",
    "deleteContainer (20) and createSession (-10) are what ZooKeeper's servers say to themselves; ZooKeeper takes them from any "
    "client, without a look at an ACL.  fastzk answers them like an operation that it does not know.",
)

RULES = (SERVER_ONLY,)


def for_oracle(step: Step) -> Step:
    """The step as ZooKeeper gets it: what it should not know is asked under a number that it does not know."""
    if isinstance(step, Request) and step.op in (OpCode.DELETE_CONTAINER, OpCode.CREATE_SESSION):
        return step._replace(op=UNKNOWN_OP)
    return step
