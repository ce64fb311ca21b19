"""Goal: ZooKeeper's numbers mean the same in the compiled core and in Python.

Method: the core's list is read as text and compared with the enums of floor 0."""

import re
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

import fastzk
from fastzk.defs import CreateMode, EventType, OpCode, Perms
from fastzk.errors import ErrorCode

TEXT = (Path(fastzk.__file__).parent / "_core" / "codes.pxd").read_text()
CODES = {name: int(value) for name, value in re.findall(r"^    ([A-Z0-9_]+) = (-?\d+)$", TEXT, re.MULTILINE)}
# Where the core's short name is not Python's.
OTHER_NAMES = {
    "ERR_SYSTEM": "SYSTEM_ERROR",
    "ERR_MARSHALLING": "MARSHALLING_ERROR",
    "OPCODE_CLOSE": "CLOSE_SESSION",
    "EVENT_DATA_CHANGED": "CHANGED",
    "EVENT_CHILDREN_CHANGED": "CHILD",
    "CREATE_SEQUENTIAL": "PERSISTENT_SEQUENTIAL",
}
ENUMS: dict[str, type[IntEnum] | type[IntFlag]] = {
    "OPCODE": OpCode,
    "ERR": ErrorCode,
    "PERM": Perms,
    "EVENT": EventType,
    "CREATE": CreateMode,
}


@pytest.mark.parametrize("name", CODES)
def test_a_code_is_the_same_on_both_sides(name: str) -> None:
    kind, _, rest = name.partition("_")
    assert ENUMS[kind][OTHER_NAMES.get(name, rest)] == CODES[name]


def test_the_list_was_read() -> None:
    assert len(CODES) > 30
    assert CODES["OPCODE_SYNC"] == 9
