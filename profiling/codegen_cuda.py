"""nvcc's machine code of the CUDA C++ kernels, and its budget.

``python -m profiling.codegen_cuda --write`` replaces ``records/codegen_cuda.csv``.
"""

import argparse
import re
import runpy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiling.records import CUDA, line, report
from profiling.sass import Sass, blocks_per_multiprocessor, inspect

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = (80, 90)
WARPS, BATCH_ROWS = 8, 4
# By the last template argument of a kernel's mangled name.
PRECISIONS = {"4HalfILb1E": "bf16", "4HalfILb0E": "fp16", "6SingleILb0E": "tf32", "6SingleILb1E": "tf32x3"}
TASKS = {"CandidateTask": "candidate_cuda", "GradientTask": "candidate_gradient_cuda"}


@dataclass(frozen=True)
class Budget:
    """The most that a block may use, how many must fit on a multiprocessor, and the instruction that multiplies.

    ``shared`` is the amount that the launch asks for (``csrc/cuda/candidate.cu`` asserts it).
    """

    registers: int
    shared: int
    blocks: int
    tensor_core: str


BUDGETS = {
    "bf16": Budget(128, 77824, 2, "HMMA.16816.F32.BF16"),
    "fp16": Budget(128, 77824, 2, "HMMA.16816.F32"),
    "tf32": Budget(255, 138240, 1, "HMMA.1688.F32.TF32"),
    "tf32x3": Budget(255, 138240, 1, "HMMA.1688.F32.TF32"),
}


@dataclass(frozen=True)
class Compiled:
    """One kernel for one architecture."""

    arch: int
    precision: str
    kernel: str
    sass: Sass

    @property
    def blocks(self) -> int:
        """How many fit on a multiprocessor."""
        return blocks_per_multiprocessor(self.arch, self.sass.registers, BUDGETS[self.precision].shared, WARPS)

    def problems(self) -> list[str]:
        """The points in which it breaks its budget."""
        sass, budget = self.sass, BUDGETS[self.precision]
        found = sass.problems()
        if sass.registers > budget.registers:
            found.append(f"{sass.registers} registers, {budget.registers} are planned")
        if not any(name.startswith(budget.tensor_core) for name in sass.tensor_core):
            found.append(f"no {budget.tensor_core}, but {sass.tensor_core}")
        if sass.count("LDGSTS.E.BYPASS.128") == 0 or sass.count("LDG.E.128") == 0 or sass.count("STG.E.128") == 0:
            found.append("no 16-byte copies, loads or stores of global memory")
        if self.blocks < budget.blocks:
            found.append(f"{self.blocks} blocks on a multiprocessor, {budget.blocks} are planned")
        return found

    def row(self) -> list[str]:
        """Its line in the record."""
        shared = BUDGETS[self.precision].shared
        return line(self.arch, (self.precision, "any", self.kernel), BATCH_ROWS, WARPS, self.sass, shared, self.blocks)


def compiled(made: Path) -> Iterator[Compiled]:
    """Every kernel in an object or shared object that nvcc made."""
    for arch in ARCHITECTURES:
        for name, sass in sorted(inspect(made, arch).items()):
            task = next((kernel for part, kernel in TASKS.items() if part in name), None)
            if task is not None:
                found = re.search("|".join(PRECISIONS), name)
                assert found is not None, name
                yield Compiled(arch, PRECISIONS[found[0]], task, sass)


def compile_kernels(compiler: str = "g++", root: Path = ROOT) -> Path:
    """The object that the package's build would make from the sources under ``root``.

    Raises:
        Exception: ``NotBuiltError`` of csrc/cuda/build.py, if there is no nvcc or it fails.
    """
    build = runpy.run_path(str(root / "csrc" / "cuda" / "build.py"))
    made: Path = build["compile_object"](build["find_nvcc"](), compiler, ROOT / "build" / "cuda", root)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles for every architecture, prints or writes the record; exits with 1 if a budget is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m profiling.codegen_cuda", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--write", action="store_true", help=f"replace {CUDA.name}; left out: print")
    options = parser.parse_args(argv)
    build = runpy.run_path(str(ROOT / "csrc" / "cuda" / "build.py"))
    kernels = sorted(compiled(compile_kernels()), key=lambda one: (one.arch, list(BUDGETS).index(one.precision)))
    rows = [one.row() for one in kernels]
    report(CUDA, rows, write=options.write)
    broken = [f"{one.row()[:4]}: {problem}" for one in kernels for problem in one.problems()]
    print(f"nvcc {build['nvcc_version'](build['find_nvcc']())}")
    print("\n".join(broken) or f"{len(kernels)} kernels within their budgets")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
