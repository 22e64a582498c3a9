"""A child forked from a process that has used threads computes the same, and does not wait for threads it lacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels.compiled import require_library

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, torch
from tests.kernels.cases import Case, make_seq2seq, make_terms
from tests.kernels.test_dcrnn_seq2seq import run

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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_hang() -> None:
    require_library()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    assert done.stdout == "0\n"
