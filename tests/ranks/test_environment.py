"""What the launchers' variables say, from plain dicts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.environment import Launch, enter, launcher_notes, read_launch, translate

MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
PLACE = {"hosts": ("127.0.0.1",), "ports": (29500,)}
HAND = {"launcher": "RANK and WORLD_SIZE"} | PLACE
STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x"}


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, Launch()),
        ({"RANK": "0"}, Launch()),
        ({"RANK": "1"}, Launch()),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "2"}, Launch(local_rank=2)),
        ({"RANK": "1", "WORLD_SIZE": "3", **MEETING}, Launch(1, 3, None, None, **HAND)),
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", **MEETING},
            Launch(5, 8, 1, 4, **HAND),
        ),
        (TORCHRUN, Launch(sets_one_thread=True)),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True", **TORCHRUN, **MEETING},
            Launch(0, 2, None, None, sets_one_thread=True, launcher="torchrun", **PLACE, agent_serves=True),
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
        ({"RANK": "0", "WORLD_SIZE": "2", **MEETING, "LOCAL_RANK": "-1"}, "LOCAL_RANK must be at least 0, got -1"),
        (STEP | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "n[1-"}, "cannot be read: no list of hosts"),
        (
            STEP | {"SLURM_STEP_NUM_TASKS": "2", "WORLD_SIZE": "4"},
            "WORLD_SIZE is 4, but this is one of 2 tasks of Slurm",
        ),
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
        ({"PALS_RANKID": "1", "PALS_SIZE": "2", "PALS_APID": "7"}, "nothing says rank 0's machine"),
        ({"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "0", "MASTER_ADDR": "n1"}, "nothing says a port of it"),
        (STEP | {"SLURM_STEP_NUM_TASKS": "2"}, r"nothing says rank 0's machine .MASTER_ADDR.; set it in all tasks"),
    ],
)
def test_tasks_that_know_nothing_of_each_other_are_refused(environment: dict[str, str], known: str) -> None:
    with pytest.raises(UserError, match=known) as refused:
        read_launch(environment)
    assert "each" in str(refused.value)
    assert "would train alone: nothing says " in str(refused.value)
    assert "start one task per node, and in it torchrun" in str(refused.value)
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


NAMES = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", *MEETING, "SLURM_STEP_ID", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE",
    "SLURM_PROCID", "SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "OMPI_MCA_orte_node_regex",
    "OMPI_COMM_WORLD_RANK", "OMPI_MCA_orte_hnp_uri", "PBS_NODEFILE", "PMIX_NAMESPACE",
)  # fmt: skip


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
        assert launch.world == 1 or (all(launch.hosts) and all(0 < port < 65536 for port in launch.ports))
        assert launch.world == 1 or (launch.hosts and launch.ports)
    assert words == "" or words.isprintable()


def test_a_number_without_a_world_is_refused() -> None:
    with pytest.raises(UserError, match=r"^WORLD_SIZE is 2 but RANK is not set, and each process would train alone"):
        read_launch({"WORLD_SIZE": "2"})


def test_the_environment_gets_torchruns_names_once() -> None:
    environment = {"MASTER_PORT": "7000", "OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "1"}
    environment |= {"OMPI_COMM_WORLD_LOCAL_SIZE": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
    added = {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1"}
    assert translate(environment) == added
    assert translate(environment | added) == {}
    entered = dict(environment)
    assert enter(entered) == read_launch(environment)
    assert entered == environment | added
    assert translate({"RANK": "0"}) == translate({}) == {}


def test_torchrun_that_would_die_of_sigusr1_is_named() -> None:
    assert launcher_notes({}) == []
    (note,) = launcher_notes(TORCHRUN | {"TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT"})
    assert note.endswith("torchrun --signals-to-handle=SIGTERM,SIGINT,SIGUSR1 passes it on too")
    assert launcher_notes(TORCHRUN | {"TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGUSR1"}) == []
    assert launcher_notes(TORCHRUN), "torchrun's own list, of a version without the flag"
