"""What the names of a folder's files say: a date, a number, the part of a split."""

import re
from pathlib import Path

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "holdout", "eval", "evaluation"), "test"),
}
_SCENARIO_WORDS = {
    *("scenario", "scenarios", "scen", "run", "sim", "simulation", "case", "member", "ens", "ensemble", "event"),
    *("storm", "flood", "wave", "outbreak", "realization", "realisation", "r", "s", "e", "exp", "experiment", "trial"),
    *("sample", "seed", "part", "file", "city", "network", "episode", "week", "day"),
}
_ALTERNATIVES = {
    *("base", "baseline", "control", "reference", "wet", "dry", "high", "medium", "low", "best", "worst"),
    *("optimistic", "pessimistic", "ssp", "rcp", "historical", "future", "with", "without", "before", "after"),
}
FLAGS = (
    "channels of the same sensors: --data-format channels; stretches of one series: --data-format continued; "
    "scenarios, each cut into windows of its own: --data-format scenarios"
)


def require_no_split(folder: Path, stems: list[str], names: list[str]) -> None:
    """Refuses train.npz beside val.npz and test.npz."""
    parts = [{_SPLIT_WORDS[word] for word in _words(stem) if word in _SPLIT_WORDS} for stem in stems]
    if len(set().union(*parts)) > 1:
        named = [name for name, part in zip(names, parts, strict=True) if part]
        raise UserError(
            f"{folder} holds {first_few(named)}: the parts of a split, as reference code cuts them into windows; give "
            "the series that they were cut from (it is split here: --train-fraction, --test-fraction), or, where they "
            "are stretches of one series, --data-format continued"
        )


def _words(stem: str) -> list[str]:
    return [word.casefold() for word in re.findall(r"[^\W\d_]+", stem)]


def are_numbered(stems: list[str]) -> bool:
    """Whether the names are run1, run2 or scenario_03, or numbers alone: one word at most, which scenarios have."""
    words = [tuple(_words(stem)) for stem in stems]
    if len(set(words)) > 1 or not all(re.search(r"\d", stem) for stem in stems):
        return False
    return not words[0] or bool(set(words[0]) & _SCENARIO_WORDS)


def are_names_of_channels(stems: list[str]) -> bool:
    """Whether names (speed, flow) have no number and no word for one of several alternatives."""
    words = {word for stem in stems for word in _words(stem)}
    return not any(re.search(r"\d", stem) for stem in stems) and not words & _ALTERNATIVES


def names_its_date(stem: str, first: np.datetime64) -> bool:
    """Whether a name holds the year (or month, or day) in which its file begins: 2019, flow_2019-01, grid250_20190131.

    Args:
        first: the file's first time.
    """
    date = str(first)[:10].replace("-", "")
    runs = re.findall(r"\d+", stem)
    later = ("".join(runs[k:]) for k in range(len(runs)))
    return any(len(digits) >= 4 and date.startswith(digits[:8]) for digits in later)


def flags_for(names: list[str]) -> str:
    """What files of these names may be, with the flag for each."""
    of_table = names[0].lower().endswith((".csv", ".tsv", ".txt", ".parquet", ".pq"))
    pieces = "; pieces of one table with a row for each reading: --data-format partitioned"
    return FLAGS + (pieces if of_table else "")
