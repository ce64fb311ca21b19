"""Goal: the consensus tells the stories that its design promises: elections, replication, conflicts, catching up.

Method: each file of tests/script/raft is a story: comments, commands (see fastzk/testing/raft_script.py) and, after a
line of dashes, what they caused.  A story that ends differently fails; `pytest tests/script --rewrite` writes the new
ending into the file, for a human to read in the diff.
"""

from pathlib import Path

import pytest

from fastzk.testing.raft_script import RaftScript

STORIES = sorted((Path(__file__).parent / "raft").glob("*.txt"))
DASHES = "----"


def play(text: str) -> str:
    """The same story with what its commands cause now."""
    script, told = RaftScript(), []
    for paragraph in text.strip().split("\n\n"):
        lines = paragraph.split("\n")
        commands = lines[: lines.index(DASHES)] if DASHES in lines else lines
        output = [script.run(line) for line in commands if not line.startswith("#")]
        told.append("\n".join(commands))
        if output:
            said = [line for line in output if line != "ok"] or ["ok"]
            told[-1] += f"\n{DASHES}\n" + "\n".join(said)
    return "\n\n".join(told) + "\n"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.stem)
def test_story(story: Path, request: pytest.FixtureRequest) -> None:
    text = story.read_text()
    told = play(text)
    if request.config.getoption("--rewrite", default=False):
        story.write_text(told)
    else:
        assert told == text


def test_there_are_stories() -> None:
    assert len(STORIES) >= 8
