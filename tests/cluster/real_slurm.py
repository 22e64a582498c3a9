"""A real Slurm on this machine, as root: several nodes that share it, GPUs that only count, accounting in MariaDB.

Each node is a slurmd of its own name and port. A GPU is a character device with /dev/null's number: Slurm hands it out
and sets CUDA_VISIBLE_DEVICES, nothing computes on it. Everything lies in a folder below /tmp. A process of its own
watches over it and, at ``stop`` or when this process is gone, ends what runs and removes the folder.
"""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.cluster import slurm_watcher
from tests.cluster.slurm_watcher import DAEMONS, HOSTS, mark

PACKAGES = (
    "munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins slurm-wlm-torque slurmdbd slurm-wlm-mysql-plugin "
    "mariadb-server"
)


def missing_daemons() -> list[str]:
    """The programs that are not installed; they lie in sbin, which an ordinary PATH may lack."""
    return [name for name in DAEMONS if shutil.which(name, path=_path()) is None]


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def wait_until(what: str, true: Callable[[], bool], seconds: float) -> None:
    """Polls; AssertionError naming ``what`` when it does not become true in time."""
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up, f"{what}: not within {seconds:g} s"
        time.sleep(0.2)


class RealSlurm:
    """The cluster; ``environment`` is what its clients need.

    Args:
        nodes, cpus, gpus: of the cluster, of each node, of each node.
        memory: MiB of each node.
        accounting: keep accounts, which sacct shows.
    """

    def __init__(
        self, nodes: int = 3, cpus: int = 16, gpus: int = 4, memory: int = 16_000, *, accounting: bool = True
    ) -> None:
        self.nodes = [f"vnode{i}" for i in range(1, nodes + 1)]
        self._cpus, self._gpus, self._memory, self._accounting = cpus, gpus, memory, accounting
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(self.folder / "slurm.conf")}
        for name in [name for name in self.environment if name.startswith(("SLURM_", "SBATCH_"))]:
            if name != "SLURM_CONF":
                del self.environment[name]
        self._started: list[subprocess.Popen[bytes]] = []
        words = (sys.executable, "-I", str(Path(slurm_watcher.__file__)), str(self.folder))
        self._watcher = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
        self._pending: dict[tuple[str, str], float] = {}

    # ------------------------------------------------------------------ up and down

    def start(self) -> None:
        """Starts all daemons and waits until every node is idle.

        AssertionError, with the last lines of every log, if one does not come up.
        """
        try:
            self._start()
        except AssertionError as error:
            logs = [f"{path.name}: {path.read_text(errors='replace')[-600:]}" for path in self.folder.glob("*.[lo]*")]
            raise AssertionError("\n".join([str(error), *logs])) from error

    def _start(self) -> None:
        self.folder.chmod(0o755)
        first = _free_ports(len(self.nodes) + 2)
        self._write_configuration(first)
        self._name_nodes()
        self._start_munge()
        if self._accounting:
            self._start_accounting(first + 1)
        self._daemon("slurmctld", "-D", "-c", "-f", str(self.folder / "slurm.conf"))
        wait_until("slurmctld", lambda: self._succeeds("scontrol", "ping"), 60)
        for node in self.nodes:
            self._daemon("slurmd", "-D", "-N", node, "-f", str(self.folder / "slurm.conf"))
        wait_until("idle nodes", lambda: self.states() == dict.fromkeys(self.nodes, "idle"), 60)

    def stop(self) -> None:
        """Cancels all jobs, ends all daemons, and removes the folder."""
        with suppress(AssertionError, subprocess.SubprocessError, OSError):
            self.run("scancel", "--user=root")
            wait_until("the last job", lambda: not self.run("squeue", "-h").strip(), 60)
        self._watcher.communicate()
        for daemon in self._started:
            daemon.wait()

    # ------------------------------------------------------------------ clients

    def run(self, *words: str, check: bool = True, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
        """A client's stdout."""
        env = env or self.environment
        done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 or not check, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def states(self) -> dict[str, str]:
        """Node -> state, as sinfo shows it."""
        lines = self.run("sinfo", "-h", "-N", "-p", "work", "-o", "%N %T", check=False).split("\n")
        return {line.split()[0]: line.split()[1] for line in lines if line.strip()}

    def job(self, number: str) -> dict[str, str]:
        """What slurmctld knows about a job."""
        words = self.run("scontrol", "show", "job", number, "-o").split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for(self, number: str, states: tuple[str, ...], seconds: float = 180) -> dict[str, str]:
        """Polls until a job is in one of the states."""
        give_up = time.monotonic() + seconds
        while (job := self.job(number))["JobState"] not in states:
            assert time.monotonic() < give_up, f"job {number}: {job['JobState']}, not {states} within {seconds:g} s"
            if job["JobState"] == "PENDING":
                self.hasten(number)
            time.sleep(0.5)
        return job

    def hasten(self, number: str) -> None:
        """Starts a requeued job three seconds after its end: Slurm waits until the former start's credential expires.

        Not earlier, or Slurm may take the last word of the former start for one of the next.
        """
        since = self._pending.setdefault((number, self.job(number)["Restarts"]), time.monotonic())
        if time.monotonic() > since + 3:
            self.run("scontrol", "update", f"jobid={number}", "StartTime=now", check=False)

    # ------------------------------------------------------------------ parts

    def _succeeds(self, *words: str) -> bool:
        return subprocess.run(words, env=self.environment, capture_output=True, check=False).returncode == 0

    def _daemon(self, *words: str) -> None:
        with open(self.folder / f"{Path(words[0]).name}-{len(self._started)}.out", "wb") as out:
            daemon = subprocess.Popen(
                words, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._started.append(daemon)

    def _name_nodes(self) -> None:
        """The nodes' names lead to this machine, for ranks that meet at the first node's."""
        with HOSTS.open("a") as hosts:
            hosts.writelines(f"127.0.0.1 {node} {mark(self.folder)}\n" for node in self.nodes)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = {"key-file": key, "socket": self.folder / "munge.sock"}
        files |= {f"{name}-file": self.folder / f"munge.{name}" for name in ("pid", "log", "seed")}
        self._daemon(
            "munged", "--foreground", "--force", "--num-threads=2", *(f"--{k}={path}" for k, path in files.items())
        )
        wait_until("munged", lambda: self._succeeds("munge", "-n", "-S", str(files["socket"])), 60)

    def _start_accounting(self, port: int) -> None:
        database, door = self.folder / "database", self.folder / "database.sock"
        self.run(
            *("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={database}", "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        )
        self._daemon(
            *("mariadbd", "--no-defaults", "--user=root", f"--datadir={database}", f"--socket={door}"),
            *("--skip-networking", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"),
        )
        client = ("mariadb", "--no-defaults", f"--socket={door}", "-uroot", "-e", "select 1")
        wait_until("mariadbd", lambda: self._succeeds(*client), 90)
        self.environment["MYSQL_UNIX_PORT"] = str(door)  # slurmdbd has no setting for a socket's place
        self._daemon("slurmdbd", "-D")
        wait_until("slurmdbd", lambda: _answers(port), 90)
        sacctmgr = ("sacctmgr", "-n", "-i")
        wait_until("slurmdbd's tables", lambda: self._succeeds(*sacctmgr, "add", "cluster", "test"), 120)
        self.run(*sacctmgr, "add", "account", "lab", "Cluster=test")
        self.run(*sacctmgr, "add", "user", "root", "Account=lab", "Cluster=test")

    def _write_configuration(self, first: int) -> None:
        """``first``: of the free ports: slurmctld's, slurmdbd's, and one for each node."""
        here, folder, last = socket.gethostname().split(".")[0], self.folder, len(self.nodes)
        for name in ("state", *(f"spool-{node}" for node in self.nodes), "devices"):
            (folder / name).mkdir()
        for number in range(self._gpus):
            os.mknod(folder / "devices" / f"nvidia{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        names = f"vnode[1-{last}]"
        devices = f"{folder}/devices/nvidia[0-{self._gpus - 1}]"
        (folder / "gres.conf").write_text(f"NodeName={names} Name=gpu File={devices}\n")
        auth = f"AuthType=auth/munge\nAuthInfo=socket={folder}/munge.sock,cred_expire=6\n"
        accounts = f"""AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={first + 1}
AccountingStoragePass={folder}/munge.sock
AccountingStorageTRES=gres/gpu
"""
        if not self._accounting:
            accounts = ""
        ports = f"{first + 2}-{first + 1 + last}"
        (folder / "slurm.conf").write_text(
            f"""ClusterName=test
SlurmctldHost={here}(127.0.0.1)
SlurmctldPort={first}
SlurmUser=root
SlurmdUser=root
{auth}StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
JobRequeue=1
DefMemPerCPU={self._memory // self._cpus}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
KillWait=10
CompleteWait=0
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdTimeout=60
{accounts}NodeName={names} NodeHostname={here} NodeAddr=127.0.0.1 Port=[{ports}] CPUs={self._cpus} \
RealMemory={self._memory} Gres=gpu:{self._gpus} State=UNKNOWN
PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""
        )
        store = folder / "slurmdbd.conf"
        store.write_text(
            f"""{auth}DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={first + 1}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounting
"""
        )
        store.chmod(0o600)


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row; another cluster may start at the same time, and begins elsewhere."""
    for first in range(17_000 + os.getpid() % 100 * 100, 32_000, 100):
        if not any(_answers(first + i) for i in range(count)):
            return first
    raise AssertionError("no free ports")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":  # by hand: up until Enter
    cluster = RealSlurm()
    try:
        cluster.start()
        input(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}\nEnter ends it")
    finally:
        cluster.stop()
