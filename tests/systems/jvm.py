"""A Java program: the same as any other, with what the virtual machine is given."""

from collections.abc import Sequence
from pathlib import Path

from program import Program


class Jvm(Program):
    """One Java program.  `arguments` begin with its main class."""

    def __init__(self, name: str, jars: str, arguments: Sequence[str], home: Path, options: Sequence[str] = ("-Xmx128m",)) -> None:
        super().__init__(name, ["java", "-XX:TieredStopAtLevel=1", *options, "-cp", jars, *arguments], home)
