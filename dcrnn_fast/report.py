"""``dcrnn-fast report``: writes the page of a run, run.html, in its folder: also of one that goes on or was killed."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.report_files import PAGE
from dcrnn_fast.files import folder_for_new_files, write_bytes
from dcrnn_fast.runs.page import page_of
from dcrnn_fast.runs.record import read_runs

_PURPOSE = "Writes the page of a run, run.html, in its folder: also of one that goes on or was killed."


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportFlags:
    """The runs, and where a page goes."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN...")]
    """results folders of runs, or folders of such folders (a sweep's)"""
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"])] = None
    """an .html file for the page of one run; left out: RUN/run.html"""

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("which run? name its results folder")
        if self.output is not None and Path(self.output).suffix.lower() not in (".html", ".htm"):
            raise UserError(f"the page is written as .html, got {self.output!r}")


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast report ...``: 0 written, 2 a mistake."""
    return run_command("report", _run, argv)


def _run(argv: list[str]) -> int:
    flags = parse(ReportFlags, argv, prog="dcrnn-fast report", description=_PURPOSE)
    runs, looks = read_runs(flags.runs)
    for line in looks:
        print(line, file=sys.stderr)
    if flags.output is not None and len(runs) > 1:
        raise UserError(f"-o takes the page of one run, these are {len(runs)}: leave it out")
    for run in runs:
        path = Path(flags.output) if flags.output is not None else run.folder / PAGE
        with folder_for_new_files(path.parent, f"folder of {path.name}"):
            write_bytes(path, page_of(run).encode())
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
