"""A few kills at random moments; ``make prove`` has a hundred."""

import pytest

from tests.faults import kills

pytestmark = pytest.mark.cluster


def test_a_few_random_kills_cost_no_saved_step_and_no_bit() -> None:
    ways = {name: kills.WAYS[name] for name in ("3 ranks", "2 ranks, saved every 3 steps")}
    for name, counts in kills.measure(3, 7, ways).items():
        print(name, counts)
        assert (counts["runs with other bits"], counts["resumes that lost a saved step"]) == (0, 0), name
        assert counts["most steps lost"] <= 2 * ways[name].every, name
