"""The table of launchers, from variables as real launchers set them (shortened)."""

from pathlib import Path

import pytest

from dcrnn_fast.ranks.environment import Launch, read_launch, translate
from dcrnn_fast.ranks.launchers import FIRST_PORT, LAST_PORT, PORTS_OF_A_JOB, hosts_of_file, ports_of

SRUN = {  # srun -N2 -n4 --distribution=cyclic in a job of four nodes; this is the third task
    "SLURM_JOB_ID": "71", "SLURM_STEP_ID": "3", "SLURM_PROCID": "2", "SLURM_LOCALID": "1", "SLURM_NODEID": "0",
    "SLURM_NTASKS": "16", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "3,1",
    "SLURM_JOB_NODELIST": "n[01-04]", "SLURM_STEP_NODELIST": "n[02-03]", "SLURM_STEP_NUM_NODES": "2",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.9", "SLURMD_NODENAME": "n02",
}  # fmt: skip
MPIRUN = {  # mpirun on vm, tasks on n1 and n2
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1", "PMIX_NAMESPACE": "130547713", "PMIX_RANK": "1",
    "OMPI_MCA_orte_node_regex": "vm,n[2:1-2]@0(3)", "OMPI_MCA_orte_num_nodes": "2",
    "OMPI_MCA_orte_hnp_uri": "130547712.0;tcp://192.0.2.2,10.1.0.2:47965;tcp6://[fd00::2]:58811",
}  # fmt: skip


def test_srun_meets_on_the_steps_first_host() -> None:
    launch = read_launch(SRUN)
    assert launch == Launch(
        2, 4, 1, 3, hosts=("n02", "n03"), ports=launch.ports, job="slurm 71.3", launcher="Slurm's srun"
    )
    added = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3"}
    assert translate(SRUN) == added | {"MASTER_ADDR": "n02", "MASTER_PORT": str(launch.ports[0])}


def test_one_host_needs_no_name() -> None:
    alone = SRUN | {"SLURM_STEP_NODELIST": "n02", "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "4"}
    assert read_launch(alone).hosts == ("127.0.0.1",)
    assert read_launch(MPIRUN | {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"}).hosts == ("127.0.0.1",)


def test_what_the_user_sets_wins() -> None:
    both = {"MASTER_ADDR": "head", "MASTER_PORT": "7000"}
    for environment in (SRUN, MPIRUN):
        launch = read_launch(environment | both)
        assert (launch.hosts, launch.ports, launch.job) == (("head",), (7000,), ""), "no search"
        launch = read_launch(environment | {"MASTER_PORT": "7000"})
        assert (len(launch.hosts), launch.ports) == (len(read_launch(environment).hosts), (7000,))
        assert launch.job


def test_a_world_size_of_the_batch_script_agrees_with_srun() -> None:
    assert read_launch(SRUN | {"WORLD_SIZE": "4"}) == read_launch(SRUN)


def test_mpirun_may_have_rank_0_on_any_of_its_hosts() -> None:
    launch = read_launch(MPIRUN)
    assert launch.hosts == ("n01", "n02", "vm", "192.0.2.2", "10.1.0.2", "fd00::2")
    assert (launch.rank, launch.world, launch.local_rank, launch.local_world) == (1, 2, 0, 1)
    assert read_launch(MPIRUN | {"OMPI_MCA_orte_num_nodes": "3"}).hosts[0] == "vm", "mpirun's own host has tasks too"


def test_a_newer_mpirun_names_its_own_host() -> None:
    newer = {name: value for name, value in MPIRUN.items() if not name.startswith("OMPI_MCA")}
    assert read_launch(newer | {"PMIX_NAMESPACE": "prterun-gpu-a-7-4242@1"}).hosts == ("gpu-a-7",)


def test_mpirun_under_slurm_and_pmi_under_slurm_count_their_own_tasks() -> None:
    """Their daemons are the tasks of the Slurm step."""
    daemon = {"SLURM_JOB_ID": "3", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}
    assert read_launch(MPIRUN | daemon) == read_launch(MPIRUN)
    hydra = daemon | {"PMI_RANK": "7", "PMI_SIZE": "8", "MPI_LOCALRANKID": "3", "MPI_LOCALNRANKS": "4"}
    hydra |= {"SLURM_JOB_NODELIST": "n[1-2]"}
    launch = read_launch(hydra)
    assert (launch.rank, launch.world, launch.local_rank, launch.local_world) == (7, 8, 3, 4)
    assert launch.hosts == ("n1", "n2")


def test_torchrun_in_a_task_wins() -> None:
    names = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "n02", "MASTER_PORT": "29500"}
    assert read_launch(SRUN | names).rank == 5
    assert translate(SRUN | names) == {}


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        (
            {"JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_SIZE": "4", "LSB_JOBID": "9", "LSB_HOSTS": "h1 h1 h2"},
            (1, 4, None, None, ("h1", "h2")),
        ),
        (
            {"PALS_RANKID": "2", "PMI_SIZE": "4", "PALS_LOCAL_RANKID": "0", "PMI_LOCAL_SIZE": "2", "PALS_APID": "z"},
            (2, 4, 0, 2, ("p1", "p2")),
        ),
        (
            {"FLUX_TASK_RANK": "3", "FLUX_JOB_SIZE": "4", "FLUX_TASK_LOCAL_ID": "1", "FLUX_JOB_ID": "f2"},
            (3, 4, 1, None, ("p1", "p2")),
        ),
        (
            {
                "MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_LOCAL_RANK": "1",
                "MV2_COMM_WORLD_LOCAL_SIZE": "2", "MPIRUN_ID": "5",
            },
            (1, 2, 1, 2, ("127.0.0.1",)),
        ),
    ],
)  # fmt: skip
def test_other_launchers(environment: dict[str, str], launch: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("p1\np1\n# a comment\n\np2 slots=4\n")
    nodes = {} if "LSB_HOSTS" in environment else {"PBS_NODEFILE": str(tmp_path / "nodes")}
    read = read_launch(nodes | environment)
    assert (read.rank, read.world, read.local_rank, read.local_world, read.hosts) == launch
    assert set(read.ports) <= set(range(FIRST_PORT, LAST_PORT + 1))


def test_a_file_of_hosts_that_cannot_be_read_names_none(tmp_path: Path) -> None:
    assert hosts_of_file(tmp_path / "absent") == []
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    assert hosts_of_file(tmp_path / "bytes") == []


def test_neighbouring_jobs_and_steps_have_their_own_ports() -> None:
    jobs = {ports_of(f"slurm {job}.{step}") for job in range(1000, 1100) for step in range(7)}
    assert len(jobs) == 700
    assert len({port for ports in jobs for port in ports}) == 700 * PORTS_OF_A_JOB
    for name in ("slurm 1.0", "slurm 999999999999999999.4", "PMIX_NAMESPACE 131923969", "x"):
        ports = ports_of(name)
        assert len(ports) == PORTS_OF_A_JOB
        assert min(ports) >= FIRST_PORT
        assert max(ports) <= LAST_PORT < 29500
