"""Children of a process that has used threads, forked or a DataLoader's workers, compute the same and do not hang."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.kernels.compiled import require_library

PROGRAM = """
import os, torch
from bench.cases import Case, make_seq2seq, make_terms
from tests.kernels.operators import run

torch.set_num_threads(2)
case = Case(B=40)
inputs, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)
with torch.no_grad():
    before = run(inputs, terms, "cpu")
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(run(inputs, terms, "cpu"), before) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


IN_WORKERS = """
import sys, torch
from torch.utils.data import DataLoader, Dataset
from bench.cases import Case
from tests.kernels.operators import forward_and_gradients

CASE = Case(B=40)


class Steps(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        prediction, gradients = forward_and_gradients(CASE, torch.float32, "cpu", True)
        return [prediction.detach(), *gradients]


def main():
    torch.set_num_threads(2)
    wanted = Steps()[0]
    batches = DataLoader(Steps(), batch_size=None, num_workers=2, multiprocessing_context=sys.argv[1], timeout=100)
    found = [all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True)) for got in batches]
    print(found)


if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.timeout(240)
def test_a_step_in_the_workers_of_a_data_loader(start: str, tmp_path: Path) -> None:
    require_library()
    if start == "fork" and not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    program = tmp_path / "in_workers.py"
    program.write_text(IN_WORKERS)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, program, start], capture_output=True, text=True, timeout=200, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[True, True, True, True]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_hang() -> None:
    require_library()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    assert done.stdout == "0\n"
