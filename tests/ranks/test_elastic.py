"""torchrun's elastic start: a node that is lost for good leaves a run that goes on without it."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import psutil
import pytest

from tests.checkout import ROOT
from tests.ports import free_port
from tests.training.same_run import events_of, metrics

EPOCHS = 200


@pytest.mark.prove
def test_a_run_of_two_nodes_goes_on_with_one(tmp_path: Path) -> None:
    port = free_port()
    results = tmp_path / "results"
    words = [
        str(Path(sysconfig.get_path("scripts"), "torchrun")), "--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3",
        "--rdzv-backend=c10d", "--rdzv-id=lost", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-conf=last_call_timeout=3",
        "-m", "dcrnn_fast.train", "--config", "debug", "--threads", "1", "--epochs", str(EPOCHS),
        "--patience", str(EPOCHS), "--dist-timeout", "60", "--resume", "auto", "--results", str(results),
    ]  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environment = kept | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(2):  # the first serves the meeting place
            with open(tmp_path / f"node{number}.log", "wb") as log:
                nodes.append(subprocess.Popen(words, env=environment, stdout=log, stderr=log))
            time.sleep(2)
        give_up = time.monotonic() + 120
        while not (results / "checkpoints" / "latest.pt").exists():
            assert time.monotonic() < give_up, (tmp_path / "node0.log").read_text()
            time.sleep(0.1)
        for process in (nodes[1], *psutil.Process(nodes[1].pid).children(recursive=True)):
            process.send_signal(signal.SIGKILL)
        assert nodes[0].wait(200) == 0, (tmp_path / "node0.log").read_text()
    finally:
        for node in nodes:
            if node.poll() is None:
                node.terminate()
                node.wait(60)
    starts = [(event["event"], event["ranks"]) for event in events_of(results) if event["event"] in ("start", "resume")]
    assert starts == [("start", 2), ("resume", 1)]
    assert [row["epoch"] for row in metrics(results)] == [str(epoch + 1) for epoch in range(EPOCHS)]
