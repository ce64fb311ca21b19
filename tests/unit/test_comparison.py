"""Goal: a node whose tree is not that of most others notices, and only that node; without a majority it waits a while.

Method: short stories of samples."""

from fastzk.state.comparison import WAIT_MS, Comparison

VOTERS = (1, 2, 3)
OURS = {128: (5, 50), 256: (6, 60)}


def comparison() -> Comparison:
    return Comparison(1, OURS.get)


def test_all_are_alike() -> None:
    compared = comparison()
    compared.hear(2, 256, OURS[256])
    compared.hear(3, 128, OURS[128])
    assert not compared.is_wrong(VOTERS, 0)
    assert (compared.agreed_index, compared.differed_index) == (256, 0)


def test_a_node_that_differs_from_most_is_wrong_and_the_others_are_not() -> None:
    compared = comparison()
    compared.hear(2, 128, OURS[128])
    compared.hear(2, 256, (6, 61))
    assert not compared.is_wrong(VOTERS, 0), "one of two that may be wrong themselves"
    compared.hear(3, 256, (6, 61))
    assert compared.is_wrong(VOTERS, 0)
    assert (compared.agreed_index, compared.differed_index) == (128, 256)
    right = comparison()
    right.hear(2, 256, (6, 61))
    right.hear(3, 256, OURS[256])
    assert not right.is_wrong(VOTERS, 10 * WAIT_MS)


def test_two_that_differ_and_no_third_give_up_after_a_while() -> None:
    compared = comparison()
    compared.hear(2, 256, (1, 1))
    assert not compared.is_wrong(VOTERS, 1000)
    assert not compared.is_wrong(VOTERS, 1000 + WAIT_MS - 1)
    assert compared.is_wrong(VOTERS, 1000 + WAIT_MS)


def test_what_is_ahead_of_us_is_compared_when_we_get_there() -> None:
    ours: dict[int, tuple[int, int]] = {}
    compared = Comparison(1, ours.get)
    compared.hear(2, 256, (6, 61))
    compared.hear(3, 256, (6, 61))
    compared.advance()
    assert not compared.is_wrong(VOTERS, 0)
    ours[256] = OURS[256]
    compared.advance()
    assert compared.is_wrong(VOTERS, 0)


def test_observers_have_no_say() -> None:
    compared = comparison()
    for observer in (4, 5, 6):
        compared.hear(observer, 256, (0, 0))
    assert not compared.is_wrong(VOTERS, WAIT_MS * 2)
