"""Goal: what the house style says of files can be checked, so it is checked here and not by eye.

Method: every tracked file is read as text: its length, its opening docstring, the contract files of compiled modules,
the error contract of each cdef function, and words that do not belong into a source."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES_MAX = 600
FUNCTION_LINES_MAX = 70


def tracked() -> list[Path]:
    """Every file of the project: those that git knows or would add, or all of them where there is no git."""
    try:
        names = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\0")
        found = [ROOT / name for name in names if name]
    except (OSError, subprocess.CalledProcessError):
        found = [path for part in ("src", "tests", "bench", "tools", "docs") for path in (ROOT / part).rglob("*")]
    return sorted(path for path in found if path.is_file())


FILES = tracked()
CODE = [path for path in FILES if path.suffix in (".py", ".pyi", ".pyx", ".pxd", ".h", ".c", ".sh")]
PYTHON = [path for path in FILES if path.suffix == ".py"]
CYTHON = [path for path in FILES if path.suffix in (".pyx", ".pxd")]
COMPILED = [path for path in FILES if path.suffix == ".pyx"]

# Pieced together, so that this file may be checked too.
WORDS = re.compile(
    "|".join(
        [
            r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b(?!\()",
            r"/(?:wor" + r"k|ro" + r"ot|ho" + r"me)/\w",
            r"/tm" + r"p/v/",
            r"\b(?:Clau" + r"de|Anthro" + r"pic|Chat" + r"GPT|Co" + r"pilot)\b",
            r"\b(?:sub)?ag" + r"ents?\b",
            r"\biss" + r"ues? (?:#?\d|says|text)",
            r"\bwork" + r"tree\b",
        ]
    )
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CODE, ids=name)
def test_a_file_is_one_idea_and_not_too_long(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= LINES_MAX, f"{name(path)} has {lines} lines; {LINES_MAX} are allowed: split it by idea"


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_a_function_fits_a_screen(path: Path) -> None:
    for item in ast.walk(ast.parse(path.read_text())):
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (item.end_lineno or item.lineno) - item.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{name(path)}: {item.name} has {lines} lines"


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_a_file_opens_with_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree), f"{name(path)} has no docstring"


@pytest.mark.parametrize("path", CYTHON, ids=name)
def test_a_compiled_file_opens_with_what_it_is(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert lines, f"{name(path)} is empty"
    assert lines[0].startswith(('"""', 'r"""')), f"{name(path)} opens with {lines[0]!r} and not with a docstring"


@pytest.mark.parametrize("path", COMPILED, ids=name)
def test_a_compiled_module_has_a_python_face_and_a_contract(path: Path) -> None:
    if re.search(r"^(def|class|cpdef|cdef class) ", path.read_text(), re.MULTILINE):
        assert path.with_suffix(".pyi").exists(), f"{name(path)} has no .pyi: what may Python call?"
    declares = re.search(r"^cdef (?!extern|enum|object|list|dict)\w", path.read_text(), re.MULTILINE)
    if path.parent.name == "_core" and declares and not path.stem.startswith("_"):
        assert path.with_suffix(".pxd").exists(), f"{name(path)} has no .pxd: what may other compiled modules use?"


CDEF = re.compile(
    r"^[ \t]*cdef[ \t]+(?:inline[ \t]+)?(?P<type>(?:const[ \t]+|unsigned[ \t]+)*\w+[ \t]*\**)[ \t]*"
    r"\b(?P<name>\w+)\((?P<rest>[^)]*\)[^\n]*)$",
    re.MULTILINE,
)
OBJECTS = {"object", "bytes", "str", "list", "tuple", "dict", "set", "bytearray", "memoryview"}


def missing_contracts(text: str) -> list[str]:
    """The cdef functions of C type that say neither except nor noexcept.  Python objects carry their own NULL."""
    text = re.sub(r'"""[\s\S]*?"""', "", text)
    return [
        found["name"]
        for found in CDEF.finditer(text)
        if found["type"].strip() not in OBJECTS | {"class"}
        and not found["type"].strip()[:1].isupper()
        and not re.search(r"\)[^\n]*\b(noexcept|except)\b", found["rest"])
    ]


@pytest.mark.parametrize("path", CYTHON, ids=name)
def test_every_cdef_function_states_its_error_contract(path: Path) -> None:
    text = path.read_text()
    declared = path.with_suffix(".pxd")
    if "cdef extern" in text:  # C functions raise nothing
        text = re.sub(r"^cdef extern[^\n]*\n(?:[ \t]+[^\n]*\n|\n)*", "", text, flags=re.MULTILINE)
    missing = missing_contracts(text)
    assert not missing, f"{name(path)}: {missing} state no error contract ({declared.name} must say the same)"


def test_the_search_for_contracts_finds_what_it_should() -> None:
    text = (
        "cdef int bad(int a):\ncdef inline uint64_t *worse(\n    int a) nogil:\ncdef int good(int a) except -1:\n"
        "cdef void fine() noexcept nogil:\ncdef object free(int a):\ncdef Arena also(int a):\ncdef class Sub(Base):\n"
        "cdef bytes *p(x) except NULL\n"
    )
    assert missing_contracts(text) == ["bad", "worse"]


@pytest.mark.parametrize("path", [path for path in FILES if path.name != "LICENSE"], ids=name)
def test_nothing_is_left_undone_and_no_place_is_named_that_only_one_machine_has(path: Path) -> None:
    lines = enumerate(path.read_text().splitlines(), 1)
    found = [f"{number}: {word.group()}" for number, line in lines for word in WORDS.finditer(line)]
    assert not found, f"{name(path)} has {found}"


@pytest.mark.parametrize("path", [path for path in PYTHON if path.is_relative_to(ROOT / "tests")], ids=name)
def test_a_test_waits_for_conditions_and_not_for_time(path: Path) -> None:
    assert not re.search(r"\btime\.sleep\(|\bfrom time import .*\bsleep\b", path.read_text()), f"{name(path)} sleeps"


def test_every_test_module_has_a_name_of_its_own() -> None:
    """pytest imports test modules by their bare names: two of one name and one of them is never run."""
    names = [path.name for path in PYTHON if path.is_relative_to(ROOT / "tests") and path.name != "conftest.py"]
    assert sorted(set(names)) == sorted(names)
