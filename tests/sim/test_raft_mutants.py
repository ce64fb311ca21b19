"""Goal: the checkers of the simulator can fail: each broken rule of the consensus is seen.

Method: each mutant of mutants.py runs on the seed that is known to find it.  When a change of the simulator or of the
consensus moves what the seeds meet, `python tests/sim/mutants.py` finds the new ones; a mutant that no seed finds any
more is a hole in the simulator."""

import pytest
from mutants import MUTANTS, Mutant, planted


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_a_broken_rule_is_seen(mutant: Mutant) -> None:
    with planted(mutant) as simulation, pytest.raises(simulation.SimulationFailed, match=f"seed {mutant.seed}"):
        simulation.Simulation(mutant.seed).run()
