"""The bug zoo's compiled animals: a copy of the package in which some compiled lines can be made wrong at run time.

Each animal is a piece of a .pyx, replaced in a copy below build/zoo; the copy's modules ask `fz_zoo()`, a number of the
environment (FASTZK_ZOO), which of the pieces is to be wrong.  So the sources know nothing of the zoo, and a piece that is no longer
there, or is there twice, is an error.  Only the modules that hold animals are compiled again; all others are the built ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT / "build" / "zoo"
NAME = "FASTZK_ZOO"

ASK = '''

cdef extern from *:
    """
    #include <stdlib.h>
    static int fz_zoo_number = -1;
    static inline int fz_zoo(void) {
        if (fz_zoo_number < 0) {
            const char *text = getenv("FASTZK_ZOO");
            fz_zoo_number = text == NULL ? 0 : atoi(text);
        }
        return fz_zoo_number;
    }
    """
    int fz_zoo() noexcept nogil
'''

SETUP = """
import sys
from Cython.Build import cythonize
from setuptools import Extension, setup
files = sys.argv[2:]
del sys.argv[2:]
setup(
    script_args=["-q", "build_ext", "--inplace"],
    ext_modules=cythonize(
        [Extension(f.removesuffix(".pyx").replace("/", "."), [f], include_dirs=["fastzk/_core"],
                   extra_compile_args=["-std=gnu11", "-O2"]) for f in files],
        build_dir=sys.argv[1], include_path=["."], quiet=True,
        compiler_directives={"language_level": 3, "binding": True, "wraparound": False, "cdivision": True, "boundscheck": False,
                             "initializedcheck": False, "freethreading_compatible": False},
    ),
)
"""


@dataclass(frozen=True)
class Piece:
    """This text of a .pyx becomes that."""

    file: str
    old: str
    new: str


def planted(pieces: Iterable[Piece]) -> dict[str, str]:
    """The files that hold pieces, with all of them in their place."""
    sources: dict[str, str] = {}
    for piece in pieces:
        source = sources.get(piece.file) or (ROOT / "src" / piece.file).read_text() + ASK
        found = source.count(piece.old)
        assert found == 1, f"{piece.file}: {piece.old!r} is there {found} times"
        sources[piece.file] = source.replace(piece.old, piece.new)
    return sources


def build(pieces: Iterable[Piece]) -> Path:
    """Makes the copy, if it is not there and up to date; gives the directory to import fastzk from."""
    sources = planted(pieces)
    # Python files are always copied; what is compiled is compiled again when its text has changed.
    own = [pattern for file in sources for pattern in (Path(file).name, f"{Path(file).stem}.*.so")]
    shutil.copytree(ROOT / "src", ZOO, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", *own))
    changed = []
    for file, source in sources.items():
        path = ZOO / file
        stamp = path.with_suffix(".zoo")
        text = source + "".join(sorted(header.read_text() for header in (ROOT / "src").rglob("*.pxd")))
        if not stamp.exists() or stamp.read_text() != text:
            path.write_text(source)
            changed.append((file, stamp, text))
        elif not list(path.parent.glob(f"{path.stem}.*.so")):
            changed.append((file, stamp, text))
    if changed:
        for file, _, _ in changed:
            for old in (ZOO / file).parent.glob(f"{Path(file).stem}.*.so"):
                old.unlink()
        command = [sys.executable, "-c", SETUP, "cython", *(file for file, _, _ in changed)]
        subprocess.run(command, cwd=ZOO, check=True, env={**os.environ, "PYTHONPATH": ""})
        for _, stamp, text in changed:
            stamp.write_text(text)
    return ZOO
