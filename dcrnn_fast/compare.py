"""``dcrnn-fast compare``: a table over runs, going on, ended or killed: errors, speed, what differs in settings."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.plot_format import lost_picture, require_plot_format
from dcrnn_fast.files import folder_for_new_files, require_apart, require_creatable_folder, write_bytes
from dcrnn_fast.runs.record import read_runs
from dcrnn_fast.runs.table import grouped, to_csv, to_text

_PURPOSE = "A table over runs, going on, ended or killed: errors, speed, and in what their settings differ."


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareFlags:
    """The runs, and where the table and the picture go."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN...")]
    """results folders of runs, or folders of such folders (a sweep's)"""
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"])] = None
    """a .csv file with every figure and every setting that differs"""
    plot: str | None = None
    """draw validation errors over epochs and over time, and the final errors (.png, .pdf or .svg)"""
    sort: str | None = None
    """column of the .csv file by which runs are sorted, the smallest first; left out: the best validation error"""

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("which runs? name their results folders, or a folder of such folders")
        if self.output is not None and Path(self.output).suffix.lower() != ".csv":
            raise UserError(f"the table is written as .csv, got {self.output!r}")
        if self.plot is not None:
            require_plot_format(self.plot)


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast compare ...``: 0 shown, 2 a mistake."""
    return run_command("compare", _run, argv)


def _run(argv: list[str]) -> int:
    flags = parse(CompareFlags, argv, prog="dcrnn-fast compare", description=_PURPOSE)
    outputs = [Path(path) for path in (flags.output, flags.plot) if path is not None]
    for path in outputs:
        require_creatable_folder(path.parent, f"folder of {path.name}")
    runs, looks = read_runs(flags.runs)
    require_apart(outputs, [run.folder for run in runs], "-o or --plot")
    groups, why_several = grouped(runs, flags.sort)
    for line in (*looks, *why_several):
        print(line, file=sys.stderr)
    print(to_text(groups), flush=True)
    if flags.output is not None:
        with folder_for_new_files(Path(flags.output).parent, "folder of -o"):
            write_bytes(Path(flags.output), to_csv(groups))
        print(f"written: {flags.output}")
    if flags.plot is not None:
        from dcrnn_fast.evaluation.style import save_figure  # matplotlib, for nothing else
        from dcrnn_fast.runs.plot import plot_runs

        try:
            with folder_for_new_files(Path(flags.plot).parent, "folder of --plot"):
                print(f"drawn: {save_figure(plot_runs(groups), flags.plot)}")
        except Exception as error:  # the table was printed
            raise UserError(lost_picture(Path(flags.plot), error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
