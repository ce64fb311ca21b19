"""Goal: the floors of docs/ARCHITECTURE.md hold: a file imports its own floor or lower, and below floor 3 nothing
touches the outside world.

Method: every import and cimport of every source file is read, without running it.  One more test shows that the reader
of imports sees each form of them, so that an empty answer means something."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PACKAGE = SOURCE / "fastzk"
FILES = sorted(path for suffix in ("py", "pyi", "pyx", "pxd") for path in PACKAGE.rglob(f"*.{suffix}"))

# By the first name below fastzk.  A new name must be given its floor here before anything may import it.
FLOOR = {
    **dict.fromkeys(("defs", "data", "errors", "paths", "limits", "config", "version"), 0),
    "_core": 1,
    **dict.fromkeys(("wire", "raft", "state"), 2),
    **dict.fromkeys(("storage", "transport", "clock"), 3),
    **dict.fromkeys(("node", "client"), 4),
    **dict.fromkeys(("recipes", "cli", "testing", "bench"), 5),
}
TOP = 5  # fastzk itself, which offers what users have

# What floors 0 to 2 must not know: clocks, chance, sockets, files, threads, logs, the machine.
OUTSIDE = re.compile(
    "asyncio|concurrent|ctypes|datetime|fcntl|glob|io|logging|mmap|multiprocessing|os|random|resource|secrets|"
    "select|selectors|shutil|signal|socket|ssl|subprocess|sys|tempfile|threading|time|uuid|zmq"
)
OUTSIDE_CIMPORTS = ("posix", "libc.time", "libc.signal", "libc.stdio", "cpython.time", "cpython.pythread", "zmq")
OUTSIDE_CALLS = {"open", "print", "input", "breakpoint"}
# These may be named below floor 3, for values that are passed in: a path, a generator with its seed.
VALUES = {"pathlib.Path", "random.Random"}
PATH_CALLS = re.compile(
    "open|(read|write)_.*|exists|is_(dir|file|mount|symlink)|mkdir|l?stat|unlink|iterdir|r?glob|resolve|cwd|home"
)
HEADERS_ALLOWED = {
    "stddef.h",
    "stdint.h",
    "stdio.h",
    "stdlib.h",
    "string.h",
    "immintrin.h",
    "arpa/inet.h",  # inet_pton, which only looks at text
}
HEADERS = HEADERS_ALLOWED | {path.name for path in (PACKAGE / "_core").glob("*.h")}

CYTHON_FROM = re.compile(r"^[ \t]*from[ \t]+([\w.]+)[ \t]+c?import[ \t]+(\([^)]*\)|[^\n]*)", re.MULTILINE)
CYTHON_IMPORT = re.compile(r"^[ \t]*c?import[ \t]+([\w., \t]+)", re.MULTILINE)
CYTHON_EXTERN = re.compile(r"^[ \t]*cdef[ \t]+extern[ \t]+from[ \t]+[<\"']+([^>\"']+)", re.MULTILINE)
DOCSTRINGS = re.compile(r'"""[\s\S]*?"""|#[^\n]*')


def imports_of_python(text: str, module: str) -> set[str]:
    """The modules that Python text imports, by their full names; `from a import b` gives a.b."""
    found: set[str] = set()
    for item in ast.walk(ast.parse(text)):
        if isinstance(item, ast.Import):
            found.update(alias.name for alias in item.names)
        elif isinstance(item, ast.ImportFrom):
            base = item.module or ""
            if item.level:
                base = ".".join([*module.split(".")[: -item.level], *filter(None, [base])])
            found.update(f"{base}.{alias.name}" for alias in item.names)
    return found


def imports_of_cython(text: str) -> set[str]:
    """The same of a .pyx or .pxd, whose grammar only Cython knows; relative imports are refused."""
    text = DOCSTRINGS.sub("", text)
    found: set[str] = set()
    for base, names in CYTHON_FROM.findall(text):
        assert not base.startswith("."), f"a relative import: {base}"
        found.update(f"{base}.{name.split()[0]}" for name in names.strip("() \n").split(",") if name.strip())
    for names in CYTHON_IMPORT.findall(text):
        found.update(name.split()[0] for name in names.split(",") if name.strip())
    return found


def imports_of(path: Path) -> set[str]:
    text = path.read_text()
    module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    return imports_of_cython(text) if path.suffix in (".pyx", ".pxd") else imports_of_python(text, module)


def outside_calls(text: str, has_paths: bool) -> list[str]:
    """Calls in Python text that touch the world without an import, or through a value that could."""
    found = []
    for item in ast.walk(ast.parse(text)):
        if isinstance(item, ast.Call):
            called = item.func
            name = called.id if isinstance(called, ast.Name) else ""
            method = called.attr if isinstance(called, ast.Attribute) else ""
            if name in OUTSIDE_CALLS or (name == "Random" and not item.args) or (has_paths and PATH_CALLS.fullmatch(method)):
                found.append(f"{name or method}() in line {item.lineno}")
    return found


def floor_of(module: str) -> int:
    """The floor of a module named in full, fastzk.a.b."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] in ("__init__", "__version__", "Client"):
        return TOP
    assert parts[1] in FLOOR, f"{module} has no floor; give fastzk.{parts[1]} one in {Path(__file__).name}"
    return FLOOR[parts[1]]


def floor_of_file(path: Path) -> int:
    return floor_of(".".join(path.relative_to(SOURCE).with_suffix("").parts))


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_imports_its_own_floor_or_lower(path: Path) -> None:
    own = floor_of_file(path)
    above = sorted(m for m in imports_of(path) if m.split(".")[0] == "fastzk" and floor_of(m) > own)
    assert not above, f"{name(path)} is of floor {own} and imports {above}"


@pytest.mark.parametrize("path", [path for path in FILES if floor_of_file(path) < 3], ids=name)
def test_below_floor_3_nothing_touches_the_outside_world(path: Path) -> None:
    modules = imports_of(path)
    touched = sorted(m for m in modules if OUTSIDE.fullmatch(m.split(".")[0]) or m.startswith(OUTSIDE_CIMPORTS))
    text = path.read_text()
    if path.suffix in (".py", ".pyi"):
        touched = [module for module in touched if module not in VALUES]
        touched += outside_calls(text, "pathlib.Path" in modules)
    else:
        touched += [header for header in CYTHON_EXTERN.findall(text) if header not in HEADERS | {"*"}]
    assert not touched, f"{name(path)} is of floor {floor_of_file(path)} and touches {touched}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "_core").glob("*.h")), ids=name)
def test_the_headers_of_the_core_include_nothing_of_the_outside_world(path: Path) -> None:
    included = set(re.findall(r"^\s*#\s*include\s*[<\"]([^>\"]+)", path.read_text(), re.MULTILINE))
    assert included <= HEADERS, f"{name(path)} includes {sorted(included - HEADERS)}"


def test_the_reader_of_imports_sees_every_form() -> None:
    python = (
        "import a.b\nfrom fastzk.raft import peer as p\nfrom . import twin\nfrom ..node import engine\ndef f():\n    import late\n"
    )
    assert imports_of_python(python, "fastzk.wire.x") == {
        "a.b",
        "fastzk.raft.peer",
        "fastzk.wire.twin",
        "fastzk.node.engine",
        "late",
    }
    cython = (
        '"""from fastzk.node import no"""\nfrom fastzk._core.arena cimport (\n    Arena,\n    arena_t as a,\n)\n'
        "cimport cython\nimport os, sys\nfrom libc.stdint cimport uint32_t, uint64_t  # from x import y\n"
    )
    assert imports_of_cython(cython) == {
        "fastzk._core.arena.Arena",
        "fastzk._core.arena.arena_t",
        "cython",
        "os",
        "sys",
        "libc.stdint.uint32_t",
        "libc.stdint.uint64_t",
    }
    extern = 'cdef extern from "layout.h" nogil:\n cdef extern from <time.h>:\n'
    assert CYTHON_EXTERN.findall(extern) == ["layout.h", "time.h"]


def test_calls_that_touch_the_world_are_seen() -> None:
    text = "a = Random(seed)\nb = Random()\nwith open(x) as f: pass\np.read_text()\np.parent\n"
    assert outside_calls(text, has_paths=True) == ["Random() in line 2", "read_text() in line 4", "open() in line 3"]
    assert outside_calls(text, has_paths=False) == ["Random() in line 2", "open() in line 3"]
