"""The plan of a training beside the training: memory within 15 %. Times are for ``bench.planning``."""

import pytest

from bench.planning import SMALL, memory_of


@pytest.mark.prove
@pytest.mark.parametrize("name", SMALL)
def test_memory_is_within_15_percent_of_the_plan(name: str) -> None:
    found = memory_of(SMALL[name])
    assert 0.85 < found.ratio < 1.15, found
