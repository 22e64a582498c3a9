"""What the launchers' variables say, from plain dicts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.environment import Launch, launcher_notes, read_launch

MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
PLACE = {"host": "127.0.0.1", "port": 29500}
STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x"}


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, Launch()),
        ({"RANK": "0"}, Launch()),
        ({"RANK": "1"}, Launch()),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "2"}, Launch(local_rank=2)),
        ({"RANK": "1", "WORLD_SIZE": "3", **MEETING}, Launch(1, 3, 1, 3, **PLACE)),
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", **MEETING},
            Launch(5, 8, 1, 4, **PLACE),
        ),
        (TORCHRUN, Launch(sets_one_thread=True)),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True", **TORCHRUN, **MEETING},
            Launch(0, 2, 0, 2, sets_one_thread=True, **PLACE, agent_serves=True),
        ),
    ],
)
def test_torchruns_names_are_read(environment: dict[str, str], launch: Launch) -> None:
    assert read_launch(environment) == launch


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number, got 'two'"),
        ({"RANK": "0", "WORLD_SIZE": "²"}, "WORLD_SIZE must be a whole number, got '²'"),
        ({"RANK": "", "WORLD_SIZE": "2"}, "RANK must be a whole number, got ''"),
        ({"RANK": "3", "WORLD_SIZE": "2"}, r"RANK must lie in 0 \.\. WORLD_SIZE - 1 = 1, got 3"),
        ({"RANK": "0", "WORLD_SIZE": "9999999999"}, "WORLD_SIZE must be at most 65536"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR, MASTER_PORT is not set"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x"}, "but MASTER_PORT is not set"),
        (
            {"RANK": "0", "WORLD_SIZE": "2", **MEETING, "MASTER_PORT": "0"},
            r"MASTER_PORT must lie in 1 \.\. 65535, got 0",
        ),
        ({"RANK": "0", "WORLD_SIZE": "2", **MEETING, "MASTER_PORT": "http"}, "MASTER_PORT must be a whole number"),
        ({"RANK": "0", "WORLD_SIZE": "2", **MEETING, "MASTER_PORT": "99999"}, "MASTER_PORT must lie in"),
        ({"RANK": "0", "WORLD_SIZE": "2", **MEETING, "MASTER_ADDR": " "}, "MASTER_ADDR must be the name or address"),
        ({"RANK": "0", "WORLD_SIZE": "2", **MEETING, "MASTER_ADDR": "a\nb"}, "MASTER_ADDR must be the name or address"),
    ],
)
def test_an_environment_that_cannot_be_is_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        read_launch(environment)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        (STEP | {"SLURM_NTASKS": "2"}, "SLURM_NTASKS=2"),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, "SLURM_NTASKS=2"),
        ({"SLURM_PROCID": "1"}, "SLURM_PROCID=1"),
        (STEP | {"SLURM_STEP_NUM_TASKS": "3", "SLURM_NTASKS": "1"}, "SLURM_STEP_NUM_TASKS=3"),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, "OMPI_COMM_WORLD_SIZE=2"),
        ({"PMI_SIZE": "2", "PMI_RANK": "0"}, "PMI_SIZE=2"),
        ({"PMIX_RANK": "1"}, "PMIX_RANK=1"),
        ({"RANK": "1", "PMI_SIZE": "2"}, "PMI_SIZE=2"),
        ({"WORLD_SIZE": "2", "SLURM_PROCID": "1"}, "WORLD_SIZE is 2 but RANK is not set"),
    ],
)
def test_tasks_that_know_nothing_of_each_other_are_refused(environment: dict[str, str], known: str) -> None:
    with pytest.raises(UserError, match=known) as refused:
        read_launch(environment)
    assert "each" in str(refused.value)
    assert "would train alone: start one task per node, and in it torchrun" in str(refused.value)
    ranks = {"RANK": "0", "WORLD_SIZE": "4"} | MEETING
    assert read_launch(environment | ranks).world == 4, "torchrun in each task"
    assert read_launch(environment | {"RANK": "0", "WORLD_SIZE": "1"}).world == 1, "a separate run, as the message says"


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"},  # a batch script
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_STEP_ID": "batch"},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_STEP_ID": "4294967291"},
        {
            "SLURM_JOB_ID": "7",
            "SLURM_NTASKS": "8",
            "SLURM_STEP_ID": "4294967290",
            "SLURM_STEP_NUM_TASKS": "1",
        },  # salloc
        STEP | {"SLURM_NTASKS": "1"},  # srun --pty
        STEP | {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1"},
        {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
        {"PMI_SIZE": "many"},
        {"PMIX_RANK": "0"},
        {"WORLD_SIZE": "1"},
    ],
)
def test_a_task_without_others_trains(environment: dict[str, str]) -> None:
    assert read_launch(environment) == Launch()


NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", *MEETING, "SLURM_STEP_ID", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=8) | st.integers(-3, 70_000).map(str)))
@settings(max_examples=300, deadline=None)
def test_any_environment_is_a_launch_or_one_line(environment: dict[str, str]) -> None:
    try:
        launch = read_launch(environment)
    except UserError as error:
        words = str(error)
    else:
        words = ""
        assert 0 <= launch.rank < launch.world
        assert launch.world == 1 or (launch.host and 0 < launch.port < 65536)
    assert words == "" or words.isprintable()


def test_torchrun_that_would_die_of_sigusr1_is_named() -> None:
    assert launcher_notes({}) == []
    (note,) = launcher_notes(TORCHRUN | {"TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT"})
    assert note.endswith("torchrun --signals-to-handle=SIGTERM,SIGINT,SIGUSR1 passes it on too")
    assert launcher_notes(TORCHRUN | {"TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGUSR1"}) == []
    assert launcher_notes(TORCHRUN), "torchrun's own list, of a version without the flag"
