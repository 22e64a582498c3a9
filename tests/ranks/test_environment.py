"""What torchrun's variables say, from plain dicts."""

import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.environment import Launch, read_launch

MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, Launch()),
        ({"RANK": "0"}, Launch()),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "2"}, Launch(local_rank=2)),
        ({"RANK": "1", "WORLD_SIZE": "3", **MEETING}, Launch(1, 3, 1, 3)),
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", **MEETING},
            Launch(5, 8, 1, 4),
        ),
        ({"TORCHELASTIC_RUN_ID": "x"}, Launch(sets_one_thread=True)),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x", **MEETING},
            Launch(0, 2, 0, 2, sets_one_thread=True),
        ),
    ],
)
def test_torchruns_names_are_read(environment: dict[str, str], launch: Launch) -> None:
    assert read_launch(environment) == launch


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number, got 'two'"),
        ({"RANK": "", "WORLD_SIZE": "2"}, "RANK must be a whole number, got ''"),
        ({"RANK": "3", "WORLD_SIZE": "2"}, r"RANK must lie in 0 \.\. WORLD_SIZE - 1 = 1, got 3"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR, MASTER_PORT is not set"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x"}, "but MASTER_PORT is not set"),
    ],
)
def test_an_incomplete_environment_is_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_launch(environment)
