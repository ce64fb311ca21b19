"""Goal: of what arrives in a node's name, what is new is taken, what is old or another's is not, and nobody is unheard for ever.

Method: heads of messages in the orders in which a network may bring them."""

import pytest

from fastzk.transport.inbound import HEARD_S, SUCCESSION_S, Heard, Inbound

UID = 7


def test_holes_and_repeats_are_seen() -> None:
    inbound = Inbound()
    heard = [inbound.hear(UID, 5, sequence, 0.0) for sequence in (1, 2, 2, 4, 3, 5)]
    assert heard == [Heard.NEXT, Heard.NEXT, Heard.ECHO, Heard.BEHIND_A_HOLE, Heard.ECHO, Heard.NEXT]


def test_a_new_process_replaces_the_old_one_whose_echo_is_dropped() -> None:
    inbound = Inbound()
    assert inbound.hear(UID, 5, 9, 0.0) is Heard.NEXT
    assert inbound.hear(UID, 6, 1, 0.1) is Heard.NEXT
    assert inbound.hear(UID, 5, 10, 0.2) is Heard.ECHO
    assert inbound.hear(UID, 6, 2, 0.3) is Heard.NEXT


@pytest.mark.parametrize("late_s", [0.0, 1.0])
def test_the_living_is_heard_again_after_the_last_words_of_the_dead(late_s: float) -> None:
    """A node that has just started may hear the new process first: it must not take it for the echo from then on."""
    inbound = Inbound()
    assert inbound.hear(UID, 6, 1, 0.0) is Heard.NEXT
    assert inbound.hear(UID, 5, 30, late_s) is Heard.NEXT
    heard = [inbound.hear(UID, 6, sequence, late_s + sequence / 10) for sequence in range(2, 40)]
    first = heard.index(Heard.BEHIND_A_HOLE)
    assert (first + 2) / 10 == pytest.approx(HEARD_S, abs=0.11)
    assert set(heard[first + 1 :]) == {Heard.NEXT}


def test_another_directory_takes_the_number_only_of_who_is_silent() -> None:
    inbound = Inbound()
    assert inbound.hear(UID, 5, 1, 0.0) is Heard.NEXT
    assert inbound.hear(8, 6, 1, SUCCESSION_S / 2) is Heard.STRANGER
    assert inbound.hear(8, 6, 2, SUCCESSION_S + 0.1) is Heard.NEXT
    assert inbound.hear(UID, 5, 2, SUCCESSION_S + 0.2) is Heard.STRANGER
