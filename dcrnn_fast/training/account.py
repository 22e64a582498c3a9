"""How the run was understood, for ``--check`` and the first lines of training; what looks wrong comes first."""

import numpy as np
import torch

from dcrnn_fast.checkpoints.read import Checkpoint
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.account import readings_line, series_lines, series_looks
from dcrnn_fast.data.facts import SeriesFacts
from dcrnn_fast.data.known_ahead import known_lines, known_looks
from dcrnn_fast.data.scale_notes import input_words
from dcrnn_fast.data.window_account import facts_of, window_lines, window_looks
from dcrnn_fast.device import device_notes
from dcrnn_fast.graph.account import account_lines, look_lines
from dcrnn_fast.graph.operators import graph_operators
from dcrnn_fast.messages import sized
from dcrnn_fast.model.build import backend_line, chosen_backend, precision_notes
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
        *known_lines(run.data, facts),
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
        *known_lines(run.data, facts),
        *_model_lines(run)[1:],
    ]


def other_notes(run: Run) -> list[str]:
    """The other notes for the user."""
    config = run.config
    notes = [note for note in run.data.notes if not note.startswith(LOOK)]
    return [
        input_words(run.data.config),
        *loss_notes(run),
        *(line for line in run.begun if not line.startswith(LOOK)),
        *run.fitted,
        *_step_notes(run),
        *_shared_lines(run),
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


def _shared_lines(run: Run) -> list[str]:
    """Who has which part of a graph that partners share, and what they exchange; on the first rank."""
    if run.shared is None or not run.ranks.is_first:
        return []
    form, model, training = run.data.window_format, run.config.model, run.config.training
    partition = run.shared.partition
    account = partition.account(graph_operators(run.data.graph, run.config.graph))
    sent_G = account.halo_bytes_per_step(
        batch=training.batch_size * training.accumulate,
        past_steps=form.past_steps,
        future_steps=form.future_steps,
        channels=form.input_channels,
        output_channels=form.output_channels,
        units=model.hidden_units,
        layers=model.num_layers,
        itemsize=2 if training.precision in ("bf16", "fp16") else 4,
        save=model.save,
        backend=chosen_backend(run.model),
        known_channels=form.num_known,
    )
    return [
        f"node-parallel: {run.ranks.replicas.size} group(s) of {partition.parts} processes share the graph "
        f"({partition.how}): {_from_to(account.nodes_G)} nodes each, the most work {account.balance:.3f} of the mean",
        f"node-parallel: a process reads {_from_to(account.halo_forward_G)} rows of others in a diffusion, "
        f"{_from_to(account.halo_backward_G)} in one of the backward, and sends up to {sized(sent_G.max())} "
        "in a step",
    ]


def _from_to(numbers: np.ndarray) -> str:
    least, most = int(numbers.min()), int(numbers.max())
    return f"{most}" if least == most else f"{least} to {most}"


def looks(run: Run, facts: SeriesFacts, asked: DataConfig) -> list[str]:
    """Each thing that a human would doubt, once; the rule for zeros first."""
    data = run.data
    lines = (
        *series_looks(data.series, facts, asked),
        *known_looks(data, facts),
        *window_looks(data, facts),
        *look_lines(data.graph),
        *(note for note in (*data.notes, *run.begun) if note.startswith(LOOK)),
    )
    return list(dict.fromkeys(lines))


def _data_line(run: Run) -> str:
    data = run.data
    return f"data: {data.series.num_steps} steps, {data.graph.num_nodes} sensors, {data.graph.num_edges} edges"


def _model_lines(run: Run) -> list[str]:
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    training = run.config.training
    together = "process(es)" if run.shared is None else "group(s)"
    return [
        f"model: {parameters} parameters, forecasts {', '.join(run.data.window_format.target_names)}",
        backend_line(run.model, run.config.training.precision),
        f"training: {run.batches.num_batches()} steps an epoch of {run.batches.batch_size} windows "
        f"({training.batch_size} x {run.ranks.replicas.size} {together} x {training.accumulate}), "
        f"device {run.ranks.device}, {torch.get_num_threads()} thread(s)",
    ]
