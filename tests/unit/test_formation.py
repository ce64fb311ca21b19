"""Goal: nodes that begin with empty directories found an ensemble exactly if all of them are new; whoever has lost something
does not vote before it has rejoined.

Method: stories of a few nodes that hear each other's words, and random orders of words, losses and replaced directories."""

from random import Random

from fastzk.state.formation import Formation, SoundState

VOTERS = (1, 2, 3)


class Node:
    """A node and the directory it has at the moment."""

    def __init__(self, number: int, uid: int) -> None:
        self.number, self.uid = number, uid
        self.formation = Formation(number, uid, VOTERS)

    def tell(self, other: "Node") -> None:
        other.formation.hear(self.number, self.uid, self.formation.state, dict(self.formation.seen))


def test_a_single_voter_is_sound_at_once() -> None:
    assert Formation(1, 77, [1]).state is SoundState.SOUND


def test_three_new_nodes_found_an_ensemble_and_two_of_three_do_not() -> None:
    nodes = [Node(number, number * 11) for number in VOTERS]
    for _ in range(3):
        nodes[0].tell(nodes[1])
        nodes[1].tell(nodes[0])
    assert nodes[0].formation.state is SoundState.NEW, "node 3 may be the only one that knows of the ensemble's past"
    assert nodes[0].formation.missing() == [3]
    for _ in range(3):
        for one in nodes:
            for other in nodes:
                if one is not other:
                    one.tell(other)
    assert {node.formation.state for node in nodes} == {SoundState.SOUND}
    assert {tuple(sorted(node.formation.seen.items())) for node in nodes} == {((1, 11), (2, 22), (3, 33))}


def test_a_sound_node_vouches_for_the_directories_it_was_founded_with_and_for_no_others() -> None:
    founded = {1: 11, 2: 22, 3: 33}
    late, wiped, stranger = Formation(3, 33, VOTERS), Formation(3, 34, VOTERS), Formation(4, 44, (1, 4))
    for formation in (late, wiped, stranger):
        formation.hear(1, 11, SoundState.SOUND, founded)
    assert late.state is SoundState.SOUND
    assert wiped.state is stranger.state is SoundState.REJOINING


def test_hearing_of_a_node_that_rejoins_decides_nothing() -> None:
    """An observer may hear the first sound node before the last founder does; founders once gave up for its word."""
    nodes = [Node(number, number * 11) for number in VOTERS]
    late = Formation(3, 33, VOTERS)
    late.hear(4, 44, SoundState.REJOINING, {})
    assert late.state is SoundState.NEW
    late.hear(1, 11, SoundState.SOUND, {node.number: node.uid for node in nodes})
    assert late.state is SoundState.SOUND


def test_no_two_sound_nodes_were_founded_with_different_directories() -> None:
    """Directories are lost meanwhile, words are lost; words of an older life are not heard (transport/links.py)."""
    for seed in range(400):
        random = Random(seed)
        nodes = [Node(number, number * 100) for number in VOTERS]
        for _ in range(60):
            one, other = random.sample(nodes, 2)
            one.tell(other)
            if random.random() < 0.05:
                number = random.randrange(3)
                nodes[number] = Node(number + 1, nodes[number].uid + 1)
            sound = [node for node in nodes if node.formation.state is SoundState.SOUND]
            assert len({tuple(sorted(node.formation.seen.items())) for node in sound}) <= 1, f"seed {seed}"
            for node in sound:
                assert node.formation.seen[node.number] == node.uid, f"seed {seed}"
