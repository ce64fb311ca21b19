"""Builds the compiled modules: every .pyx below src/ is one extension of the same dotted name.

FASTZK_BUILD chooses the mode (run `make clean` when changing it):
    release  -O3; FZ_ASSERT stays on (the default)
    debug    -Og, bounds checks, FZ_DEBUG's expensive walks, .pyx line numbers in C
    asan     debug plus AddressSanitizer and UndefinedBehaviorSanitizer
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SOURCE = Path("src")
MODE = os.environ.get("FASTZK_BUILD", "release")
FLAGS = {
    "release": ["-O3", "-g1", "-fno-plt", "-fno-semantic-interposition"],
    "debug": ["-Og", "-g3", "-DFZ_DEBUG=1"],
    "asan": ["-O1", "-g3", "-DFZ_DEBUG=1", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"],
}
if MODE not in FLAGS:
    raise SystemExit(f"FASTZK_BUILD={MODE!r} is not a build mode; use one of {', '.join(FLAGS)}")
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
CHECKED = MODE != "release"


def extensions() -> list[Extension]:
    """One extension for each .pyx, named by its place below src/."""
    headers = sorted(str(path) for path in SOURCE.rglob("*.h"))
    return [
        Extension(
            ".".join(path.relative_to(SOURCE).with_suffix("").parts),
            [str(path)],
            include_dirs=[str(SOURCE / "fastzk" / "_core")],
            depends=headers,
            extra_compile_args=["-std=gnu11", *WARNINGS, *FLAGS[MODE]],
            extra_link_args=["-fsanitize=address,undefined"] if MODE == "asan" else [],
        )
        for path in sorted(p for p in SOURCE.rglob('*.pyx') if 'transport' not in str(p) and 'bench' not in str(p) and p.stem not in ('connection','serve','handshake','_testing_torture','_testing_tree'))
    ]


setup(
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",
        include_path=[str(SOURCE)],
        nthreads=int(os.environ.get("FASTZK_BUILD_JOBS", os.cpu_count() or 1)),
        emit_linenums=CHECKED,
        compiler_directives={
            "language_level": 3,
            "binding": True,
            "embedsignature": True,
            "wraparound": False,
            "cdivision": True,
            "boundscheck": CHECKED,
            "initializedcheck": CHECKED,
            "freethreading_compatible": False,
        },
    ),
)
