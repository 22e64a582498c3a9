"""One of the pytest-benchmark suites runs and records what it promises; all of them are ``pytest bench``."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.checkout import ROOT
from tests.kernels.compiled import require_library

ONE = "bench/time_ops.py::test_bench_operator[diffusion_conv-nothing_divides_a_tile-forward_backward-cpu:generic]"


def test_one_benchmark_leaves_its_circumstances(tmp_path: Path) -> None:
    require_library()
    record = tmp_path / "record.json"
    flags = ["-q", "-p", "no:cacheprovider", "-n", "0", f"--benchmark-json={record}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *flags, ONE], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (benchmark,) = json.loads(record.read_text())["benchmarks"]
    info = benchmark["extra_info"]
    assert {"machine", "versions", "commit", "gemm_gflops", "process_peak_mib", "shape", "dtype"} <= info.keys()
    assert info["gflop_per_s"] > 0
    assert info["gigabytes_per_s"] > 0
    assert 0 < info["roofline_fraction"] <= 1.05
