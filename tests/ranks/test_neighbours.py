"""Which ranks share a machine, and its cores."""

from dcrnn_fast.ranks.neighbours import Neighbours, Seat, binding_notes, neighbours


def test_ranks_that_may_use_the_same_cores_share_them() -> None:
    seats = [Seat("n1", "a", list(range(9)))] * 3 + [Seat("n2", "b", [0, 1]), Seat("n2", "b", [2, 3])]
    assert [neighbours(seats, rank) for rank in range(5)] == [(0, 3, 3), (1, 3, 3), (2, 3, 3), (0, 2, 2), (1, 2, 2)]


def test_a_launcher_that_binds_each_task_to_its_cores_has_divided_them_already() -> None:
    seats = [Seat("n1", "a", [0, 1, 2, 3]), Seat("n1", "a", [4, 5, 6, 7])]
    assert [neighbours(seats, rank).cores for rank in range(2)] == [4, 4]
    assert neighbours([Seat("n1", "a", [0])] * 4, 2) == (2, 4, 1), "never fewer than one"


def test_machines_of_one_name_are_told_apart() -> None:
    seats = [Seat("localhost", "a", [0]), Seat("localhost", "b", [0])]
    assert neighbours(seats, 1) == (0, 1, 1)


def test_a_launcher_that_leaves_cores_idle_is_told() -> None:
    (note,) = binding_notes(Neighbours(0, 2, 1), 64)
    assert note.startswith("this rank may use 1 of the machine's 64 cores, which 2 ranks share: mpirun --bind-to none")
    assert binding_notes(Neighbours(0, 2, 32), 64) == binding_notes(Neighbours(0, 2, 1), 3) == []
