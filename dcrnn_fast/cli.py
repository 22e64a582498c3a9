"""The console command ``dcrnn-fast``: a subcommand for each module that ``python -m`` can run too."""

import importlib
import sys
from functools import partial

from dcrnn_fast import __version__
from dcrnn_fast.command import run_command
from dcrnn_fast.config.foreign import as_command
from dcrnn_fast.config.plain import nearest
from dcrnn_fast.errors import UserError

COMMANDS = {
    "train": "trains a model; without arguments: on the built-in city",
    "plan": "says what a training would take: memory by item, time of a step and an epoch",
    "evaluate": "measures a checkpoint at every horizon, beside last value and other baselines",
    "forecast": "forecasts from a checkpoint and the newest readings",
    "compare": "tables and plots runs side by side, also those that still go on or were killed",
    "report": "writes the page of a run, run.html, with curves, errors, times, hardware and settings",
    "launch": "starts a training on a cluster: Slurm, PBS, ssh, or here",
    "graph": "makes a graph: from roads, postmiles, rivers, areas or positions to the list that --graph reads",
    "prepare": "turns any source into a checked, memory-mapped store",
    "convert": "makes a checkpoint from other people's DCRNN weights",
    "export": "writes a model for ONNX runtimes, or for PyTorch without this package",
    "verify": "checks a backend against reference vectors",
    "doctor": "says what is installed, what runs and why, and what is broken",
}
MODULES = {"graph": "graph_command"}
"""commands whose module has another name, for theirs is a folder's"""


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast SUBCOMMAND ...`` and returns its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in COMMANDS:
        # Imported only now: --help and a mistyped name must not wait for torch. Seconds may pass, and memory may run
        # out, before a command can say so itself.
        return run_command(words[0], partial(_run, words[0]), words[1:])
    return run_command("COMMAND", _without_command, words)


def _run(name: str, words: list[str]) -> int:
    return int(importlib.import_module(f"dcrnn_fast.{MODULES.get(name, name)}").main(words))


def _without_command(words: list[str]) -> int:
    if words and words[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if words and words[0] == "--version":
        print(f"dcrnn_fast {__version__}")
        return 0
    if not words:
        raise UserError(f"which one? known: {', '.join(COMMANDS)}; dcrnn-fast --help says what each does")
    like = as_command(words[0]) or nearest(words[0], list(COMMANDS))
    hint = f"; did you mean {like}?" if like else ";"
    raise UserError(f"unknown command {words[0]}{hint} known: {', '.join(COMMANDS)}")


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join(
        [
            "usage: dcrnn-fast COMMAND [FLAGS]",
            "",
            "DCRNN forecasts on sensor graphs.",
            "",
            *lines,
            "",
            "dcrnn-fast COMMAND --help shows its flags with their defaults.",
            "Each is also a module: python -m dcrnn_fast.COMMAND",
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
