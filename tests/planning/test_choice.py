"""Choices of batch size, accumulation and saving: the same windows, the fastest first, none that does not fit."""

import pytest

from dcrnn_fast.planning.choice import Choice, choices, first_that_fits, relative_time, saves_of, windows_a_round


def test_every_choice_takes_as_many_windows() -> None:
    found = choices(24, ["all", "h"], 2)
    assert {choice.windows for choice in found} == {24}
    assert {choice.batch_size for choice in found} == {1, 2, 3, 4, 6, 8, 12, 24}
    assert len(set(found)) == len(found) == 16


def test_what_keeps_all_in_one_part_is_the_fastest() -> None:
    found = choices(24, saves_of((3, 4)), 2)
    assert found[0] == Choice(24, 1, "all")
    times = [relative_time(choice, 2) for choice in found]
    assert times == sorted(times)
    # Parts cost less than computing again, unless threads wait in them.
    assert relative_time(Choice(2, 12, "all"), 2) < relative_time(Choice(24, 1, "h"), 2)
    assert relative_time(Choice(1, 24, "all"), 2) > relative_time(Choice(24, 1, "h"), 2)


def test_of_equals_the_states_of_every_step_come_first() -> None:
    found = [choice for choice in choices(8, saves_of((3, 4)), 2) if choice.save != "all" and choice.batch_size == 8]
    assert [choice.save for choice in found] == ["h", "segments:2", "segments:3", "segments:4"]


@pytest.mark.parametrize(("room", "wanted"), [(99, Choice(8, 1, "all")), (4, Choice(4, 2, "all")), (0, None)])
def test_the_first_that_fits(room: int, wanted: Choice | None) -> None:
    every = choices(8, ["all"], 2)
    assert first_that_fits(every, lambda choice: choice.batch_size, room) == wanted


def test_large_numbers_of_windows_and_steps_take_no_time() -> None:
    assert len(choices(10**9, ["all"], 2)) == 100
    assert saves_of((12, 24)) == ["all", "h", *(f"segments:{length}" for length in (2, 3, 4, 6, 8, 12, 16, 24))]
    assert len(saves_of((10**6, 1))) < 45
    assert saves_of((1, 1)) == ["all", "h"]


def test_a_round() -> None:
    assert [windows_a_round(nodes, 2) for nodes in (10, 207, 325, 11_160)] == [16, 4, 2, 2]
