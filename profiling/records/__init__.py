"""Records of the kernels' machine code: one CSV file for each compiler, a line for each configuration."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

from dcrnn_fast.files import write_bytes
from profiling.sass import Sass

FOLDER = Path(__file__).resolve().parent
TRITON, CUDA = FOLDER / "codegen_triton.csv", FOLDER / "codegen_cuda.csv"
COLUMNS = [
    "architecture", "arithmetic", "shape", "kernel", "batch rows", "warps", "registers", "shared bytes", "spills",
    "blocks", "tensor-core instructions", "16-byte loads", "atomics",
]  # fmt: skip


def line(
    arch: int, names: Sequence[str], batch_rows: int | str, warps: int, sass: Sass, shared: int, blocks: int
) -> list[str]:
    """One line of a record; ``names``: arithmetic, shape, kernel."""
    cores = ", ".join(f"{number} {name}" for name, number in sorted(sass.tensor_core.items())) or "-"
    spills = "/".join(map(str, sass.spills))
    numbers = (batch_rows, warps, sass.registers, shared, spills, blocks, cores, sass.loads_16_bytes, sass.atomics)
    return [f"sm_{arch}", *names, *map(str, numbers)]


def read_rows(path: Path) -> list[list[str]]:
    """The lines of a record, without its header."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == COLUMNS, f"{path}: columns {header}"
    return rows


def as_csv(rows: Iterable[Sequence[str]]) -> str:
    """Lines with their header."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue()


def report(path: Path, rows: Iterable[Sequence[str]], *, write: bool) -> None:
    """Replaces a record, or prints what it would be."""
    write_bytes(path, as_csv(rows).encode()) if write else print(as_csv(rows))
