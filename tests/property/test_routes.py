"""Goal: the table from routing numbers to slots never loses or invents a peer, whatever comes and goes.

Method: hypothesis drives it beside a dict.  Numbers are drawn so that many share a home: that is where taking one out of
the middle of a run must not hide those behind it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fastzk.transport._routes import Routes

# Consecutive numbers, as libzmq gives them; and multiples of 2**26, which lie close together in a table of 256.
NUMBERS = st.one_of(st.integers(0, 40), st.integers(0, 63).map(lambda n: n << 26), st.integers(0xFFFFFFF0, 0xFFFFFFFF))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NUMBERS, st.integers(0, 1 << 30)), max_size=200))
def test_it_is_a_dict(steps: list[tuple[int, int]]) -> None:
    routes, twin = Routes(), dict[int, int]()
    for number, slot in steps:
        assert routes.find(number) == twin.get(number, -1)
        if number in twin:
            routes.remove(number)
            del twin[number]
        else:
            routes.add(number, slot)
            twin[number] = slot
        assert len(routes) == len(twin)
    for number in {number for number, _ in steps}:
        assert routes.find(number) == twin.get(number, -1)


def test_it_grows_and_empties() -> None:
    routes = Routes()
    for number in range(10_000):
        routes.add(number * 7919, number)
    assert [routes.find(number * 7919) for number in range(10_000)] == list(range(10_000))
    for number in range(0, 10_000, 2):
        routes.remove(number * 7919)
    assert [routes.find(number * 7919) for number in range(6)] == [-1, 1, -1, 3, -1, 5]
    assert len(routes) == 5000
