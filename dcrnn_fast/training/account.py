"""How the run was understood, for ``--check`` and the first lines of training; what looks wrong comes first."""

import torch

from dcrnn_fast.checkpoints.files import Checkpoint
from dcrnn_fast.config.sections import DataConfig
from dcrnn_fast.data.account import (
    facts_of,
    readings_line,
    series_lines,
    series_looks,
    window_lines,
    window_looks,
)
from dcrnn_fast.data.facts import SeriesFacts
from dcrnn_fast.data.scale_notes import input_words
from dcrnn_fast.device import device_notes
from dcrnn_fast.graph.account import account_lines, look_lines
from dcrnn_fast.model.build import backend_line, precision_notes
from dcrnn_fast.training.run import Run, loss_notes, worker_notes
from dcrnn_fast.training.schedule import rate_scale

LOOK = "look: "
_SHOWN_LOOKS = 3
"""so that the first ten lines of training have room for everything else"""


def whole_account(run: Run, asked: DataConfig, found: Checkpoint | None) -> list[str]:
    """All that was understood, for ``--check``.

    Args:
        asked: the data section as it was given, with ``auto`` not yet resolved.
    """
    facts = facts_of(run.data)
    lines = [
        *looks(run, facts, asked),
        *series_lines(run.data.series, facts),
        _data_line(run),
        *account_lines(run.data.graph),
        *window_lines(run.data),
        *_model_lines(run),
    ]
    if found is not None:
        lines.append(f"resume: {found.path}, epoch {found.state['training']['epoch']}")
    return [*lines, *other_notes(run)]


def first_lines(run: Run, asked: DataConfig) -> list[str]:
    """The most important of ``whole_account``, ten lines at most."""
    facts = facts_of(run.data)
    doubts = looks(run, facts, asked)
    if len(doubts) > _SHOWN_LOOKS:
        rest = len(doubts) - _SHOWN_LOOKS + 1
        doubts = [*doubts[: _SHOWN_LOOKS - 1], f"{LOOK}... and {rest} more: --check shows them"]
    return [
        *doubts,
        _data_line(run),
        *account_lines(run.data.graph),
        readings_line(run.data.series, facts),
        window_lines(run.data)[0],
        *_model_lines(run)[1:],
    ]


def other_notes(run: Run) -> list[str]:
    """The other notes for the user."""
    config = run.config
    notes = [note for note in run.data.notes if not note.startswith(LOOK)]
    return [
        input_words(run.data.config),
        *loss_notes(run),
        *run.fitted,
        *_step_notes(run),
        *notes,
        *device_notes(config.training.device),
        *worker_notes(run),
        *precision_notes(config),
        *run.ranks.notes,
    ]


def _step_notes(run: Run) -> list[str]:
    """The learning rate that is scaled, and the weights that are averaged."""
    training, windows, notes = run.config.training, run.batches.batch_size, []
    if training.lr_scaling == "linear":
        rate = training.learning_rate * rate_scale(training, windows)
        notes.append(
            f"learning rate: {training.learning_rate:g} x {windows} / {training.base_batch_size} = {rate:.6g} "
            "(--lr-scaling linear)"
        )
    if training.ema_decay is not None:
        notes.append(f"weights: validation and forecasts use their moving average, decay {training.ema_decay:g}")
    return notes


def looks(run: Run, facts: SeriesFacts, asked: DataConfig) -> list[str]:
    """Each thing that a human would doubt, once; the rule for zeros first."""
    data = run.data
    lines = (
        *series_looks(data.series, facts, asked),
        *window_looks(data, facts),
        *look_lines(data.graph),
        *(note for note in data.notes if note.startswith(LOOK)),
    )
    return list(dict.fromkeys(lines))


def _data_line(run: Run) -> str:
    data = run.data
    return f"data: {data.series.num_steps} steps, {data.graph.num_nodes} sensors, {data.graph.num_edges} edges"


def _model_lines(run: Run) -> list[str]:
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    training = run.config.training
    return [
        f"model: {parameters} parameters, forecasts {', '.join(run.data.window_format.target_names)}",
        backend_line(run.model, run.config.training.precision),
        f"training: {run.batches.num_batches()} steps an epoch of {run.batches.batch_size} windows "
        f"({training.batch_size} x {run.ranks.replicas.size} process(es) x {training.accumulate}), "
        f"device {run.ranks.device}, {torch.get_num_threads()} thread(s)",
    ]
