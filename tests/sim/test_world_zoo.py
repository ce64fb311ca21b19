"""Goal: the whole-node simulator sees what it is for: nodes with one thing broken do not pass.

Method: the bug zoo (zoo.py), whose table in docs/internals/simulation.md says how many seeds each animal survives; here are the
fast ones of Python, each in a process of its own, and a look at whether all other pieces still fit.  `make zoo` hunts them all."""

import pytest
from zoo import ANIMALS, ROOT, Animal, first_seed, pieces
from zoo_build import NAME, planted

FAST = ("acks what is not synced", "takes handed over for synced", "does not sync its vote", "begins with an empty tree",
        "counts itself before its disk has it")  # fmt: skip
SEEDS = range(12)


@pytest.mark.parametrize("animal", [animal for animal in ANIMALS if animal.name in FAST], ids=lambda animal: animal.name)
def test_an_animal_is_found(animal: Animal) -> None:
    found = first_seed(animal, SEEDS)
    assert found is not None, f"{len(SEEDS)} seeds pass with a node that {animal.name}"


@pytest.mark.parametrize("animal", [animal for animal in ANIMALS if not animal.is_compiled], ids=lambda animal: animal.name)
def test_a_piece_of_python_still_fits(animal: Animal) -> None:
    assert (ROOT / "src" / animal.file).read_text().count(animal.old) == 1


def test_the_pieces_of_compiled_code_still_fit() -> None:
    """planted() says which one does not."""
    assert len(planted(pieces())) > 3


def test_no_module_that_is_built_knows_of_the_zoo() -> None:
    built = list((ROOT / "src").rglob("*.so"))
    assert built, "nothing is built"
    for module in built:
        assert NAME.encode() not in module.read_bytes(), f"{module} can be broken at run time"
