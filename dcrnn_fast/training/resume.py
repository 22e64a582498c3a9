"""From a running training to the state in a checkpoint, and back.

Bit for bit: with the same backend, instruction set, number of ranks and threads, a resumed run computes what the
uninterrupted one would have; on the compiled CPU kernels with any number of threads. A checkpoint records those four,
and a resumed run prints which of them differ.
"""

import io
import random
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dcrnn_fast.checkpoints.save import torch_bytes
from dcrnn_fast.checkpoints.state import (
    EMA,
    State,
    make_state,
    require_copyable,
    require_count,
    require_dense,
    require_named,
    require_text,
)
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.plain import shown, to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.saved_form import saved_form
from dcrnn_fast.data.window_format import WindowFormat, known_ahead_words
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line
from dcrnn_fast.model.build import same_bits_with_any_threads
from dcrnn_fast.model.weights import require_weights
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.training.optimizer import optimizer_state, require_optimizer_state, restore_optimizer
from dcrnn_fast.training.precision import LossScale
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.run import Run
from dcrnn_fast.training.schedule import rate_scale

# Without these in agreement the weights, the optimiser's moments or the windows mean something else.
_MUST_AGREE = {
    "graph": ("supports", "hops", "recursion", "orientation", "edge_order"),
    "data": ("scaler",),
    "model": ("hidden_units", "num_layers"),
    "training": ("seed", "optimizer", "precision", "loss_unit", "ema_decay", "reading"),
}
# What a run did in versions that had no such choice.
_BEFORE = {"loss_unit": "original", "scaler": "published", "reading": "shuffled"}
_SAME_DATA = "resume with the data that the run was started with, or train anew on this with another --results folder"
_WHERE_AND_HOW_LONG = {
    "graph": ("graph",),
    "data": ("data", "stage"),
    "training": (
        *("epochs", "device", "threads", "patience", "dist_timeout", "num_workers"),
        *("start_from", "start_scaler"),  # the run has weights and scaler of its own by now
    ),
    "output": None,
    "watch": None,
}


def state_of(run: Run, progress: Progress) -> State:
    """The complete state, as ``save_checkpoint`` takes it."""
    training = {
        **progress.to_state(),
        "best": {"epoch": progress.best_epoch, "validation_mae": progress.best_validation_mae},
        "optimizer": optimizer_state(run.optimizer),
        "loss_scale": run.loss_scale.to_state(),
        "train_windows": len(run.data.train),
        "data": run.data_digests,
        "part": run.training_part.to_state(),
        "random": _random_states(run.ranks),
        "environment": environment(run),
    }
    ema = None if run.average is None else run.average.to_state()
    return make_state(run.config, run.model, run.data.graph, run.data.window_format, run.data.scaler, training, ema)


def environment(run: Run) -> dict[str, Any]:
    """The facts that bit equality depends on."""
    return {
        "ranks": run.ranks.world,
        "global batch": run.batches.batch_size,
        "model backend": run.config.model.backend,
        "gradient backend": run.ranks.backend,
        "device": run.ranks.device.type,
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def require_resumable(state: State, where: str) -> None:
    """Checks all that a resumed run takes from a checkpoint, before it opens data or writes anything.

    Raises:
        UserError: a part is not what ``state_of`` makes, or the model was not trained here.
    """
    form = saved_form(state, where)
    training = state["training"]
    if training is None:
        raise UserError(f"{where} holds a converted model without a training state; it can be evaluated, not resumed")
    try:
        require_copyable(state)
        require_weights(
            state["model"],
            form.config,
            input_channels=form.window_format.input_channels,
            output_channels=form.window_format.output_channels,
            known_channels=form.window_format.num_known,
        )
        if form.config.training.ema_decay is not None and EMA not in state:
            raise UserError("the moving average of its weights is missing")
        _require_training(training, state["model"])
    except UserError as error:
        raise UserError(f"checkpoint {where} cannot be resumed: {error}") from error


def _require_training(training: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    progress = Progress.from_state(training)
    if len(progress.history) != progress.epoch:
        raise UserError(f"its history has {len(progress.history)} epochs, {progress.epoch} are finished")
    windows: Any = training.get("train_windows")
    require_count("train_windows", windows)
    # A step takes at least one window.
    if progress.step > (progress.epoch + 1) * max(windows, 1) or progress.position > windows:
        raise UserError(
            f"step {progress.step}, {progress.position} windows into epoch {progress.epoch + 1}, cannot be of "
            f"{windows} training windows"
        )
    best: Any = training.get("best")
    require_named("best", best)
    if type(best.get("epoch")) not in (int, type(None)) or type(best.get("validation_mae")) not in (float, type(None)):
        raise UserError(f"best must be an epoch with its error, got {shown(best)}")
    require_optimizer_state(training.get("optimizer"), weights)
    LossScale.require_state(training.get("loss_scale"))
    environment: Any = training.get("environment")
    require_named("environment", environment)
    if "ranks" not in environment:
        raise UserError(f"environment must say on how many ranks it was trained, got {shown(environment)}")
    for name, value in environment.items():
        if type(value) is not int:
            require_text(f"environment: {name}", value)
    _require_random(training.get("random"))


def saved_choices(config: Config, state: State) -> Config:
    """``config`` with each choice that it leaves open (``auto``) replaced by the one that the checkpoint's run made.

    The defaults follow the data and may change from version to version; what a run was started with does not.
    """
    for section, names in (("data", ("missing", "missing_input", "scaler")), ("training", ("loss_unit",))):
        ours = getattr(config, section)
        left_open = {name: _saved(state, section, name) for name in names if getattr(ours, name) == "auto"}
        config = replace(config, **{section: replace(ours, **left_open)})
    return config


def _saved(state: State, section: str, name: str) -> Any:
    """A field of the checkpoint's configuration, plain.

    A field that the checkpoint's version did not have gets its meaning of then; ``auto`` becomes what the run chose.
    """
    value = state["config"].get(section, {}).get(name, to_dict(Config())[section][name])
    if value != "auto":
        return value
    return state["window_format"].get(name, _BEFORE.get(name, value))


def in_saved_order(data: ForecastData, config: DataConfig, state: State) -> ForecastData:
    """Reorders the sensors of ``data`` to match the checkpoint; returns it unchanged if the sets of sensors differ."""
    ids = tuple(state["graph"]["ids"])
    if data.graph.ids == ids or set(data.graph.ids) != set(ids):
        return data
    return assemble_data(data.series.take_sensors(ids), data.graph.take(ids), config, scaler=data.scaler)


def require_fitting(run: Run, state: State, where: str) -> None:
    """Raises UserError, one line, when the checkpoint is not of this graph, shape, configuration and data."""
    data = run.data
    saved_graph = state["graph"]
    if tuple(saved_graph["ids"]) != data.graph.ids:
        raise UserError(
            f"{where} is of another graph: its {len(saved_graph['ids'])} sensors are not the data's "
            f"{data.graph.num_nodes}; resume with the data that the run was started with"
        )
    if type(data.graph).from_state(saved_graph).digest() != data.graph.digest():
        raise UserError(f"{where} is of another graph: same sensors, other edges or weights; give the run's own graph")
    saved_format = WindowFormat.from_state(state["window_format"])
    now, then = known_ahead_words(data.window_format), known_ahead_words(saved_format)
    if now != then:
        raise UserError(
            f"{where} was trained with {then} known ahead, this run has {now}: give the same --known-ahead, or train "
            "anew with another --results folder"
        )
    ours, theirs = data.window_format.to_state(), saved_format.to_state()
    for name in ours:
        unknown = name == "in_utc" and None in (ours[name], theirs.get(name))
        if ours[name] != theirs.get(name) and not unknown:
            raise UserError(f"{where} was trained with {name} = {theirs.get(name)}, this run has {ours[name]}")
    ours = to_dict(run.config)
    for section, fields in _MUST_AGREE.items():
        for name in fields:
            if (got := _saved(state, section, name)) != ours[section][name]:
                raise UserError(f"{where} was trained with {name} = {got}, this run has {ours[section][name]}")
    if (windows := state["training"]["train_windows"]) != len(data.train):
        raise UserError(f"{where} was trained on {windows} windows, this run has {len(data.train)}; {_SAME_DATA}")
    saved = state["training"].get("data", run.data_digests)
    if other := [name for name, digest in run.data_digests.items() if saved.get(name) != digest]:
        raise UserError(f"{where} was trained on data with other {', '.join(other)}; {_SAME_DATA}")


def differences(run: Run, state: State) -> list[str]:
    """One line for each thing in which this run differs from the one that saved ``state``."""
    lines = []
    if "data" not in state["training"]:
        lines.append("the checkpoint is an older one that does not say on which data it was trained; taken to be these")
    saved = state["training"]["environment"]
    for name, now in environment(run).items():
        if saved.get(name) != now and not (name == "threads" and same_bits_with_any_threads(run.model)):
            lines.append(f"{name}: was {saved.get(name)}, now {now}; the run continues, but not bit for bit")
    if (line := _rate_line(run, state)) is not None:
        lines.append(line)
    for section, fields in to_dict(run.config).items():
        free = _WHERE_AND_HOW_LONG.get(section, ())
        for name, now in fields.items():
            if free is not None and name not in free and (was := _saved(state, section, name)) != now:
                lines.append(f"{name}: was {was}, now {now}")
    return lines


def _rate_line(run: Run, state: State) -> str | None:
    """The learning rate before and now, where it follows a global batch that has changed."""
    training, now = run.config.training, run.batches.batch_size
    was = state["training"]["environment"].get("global batch")
    if training.lr_scaling != "linear" or type(was) is not int or was == now:
        return None
    before, after = (training.learning_rate * rate_scale(training, windows) for windows in (was, now))
    return f"learning rate: was {before:.6g}, now {after:.6g}: it follows the global batch (--lr-scaling linear)"


def restore(run: Run, state: State) -> Progress:
    """Restores weights, optimiser, loss scale and random states; returns the run's position."""
    training = state["training"]
    run.model.load_state_dict(state["model"])
    if run.average is not None:
        run.average.restore(state[EMA])
    restore_optimizer(run.optimizer, training["optimizer"])
    run.loss_scale.restore(training["loss_scale"])
    _restore_random(training["random"], run.ranks)
    return Progress.from_state(training)


def broadcast_state(state: State | None, ranks: Ranks) -> State | None:
    """Rank 0's ``state`` on every rank: the others may not see its disk."""
    if ranks.world == 1:
        return state
    payload = ranks.from_first(b"" if state is None else torch_bytes(state))
    if not payload:
        return None
    received: State = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return received


def _random_states(ranks: Ranks) -> dict[str, Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(ranks.device) if ranks.device.type == "cuda" else None,
        "numpy": (str(kind), np.asarray(keys, dtype=np.int64), int(position), int(has_gauss), float(gauss)),
        "python": random.getstate(),
    }


def _require_random(states: Any) -> None:
    """Raises UserError if ``_restore_random`` could not take them; tried on generators of its own."""
    require_named("random", states)
    try:
        require_dense("random: torch", states.get("torch"))
        torch.Generator().set_state(states["torch"])
        if states["cuda"] is not None:
            require_dense("random: cuda", states["cuda"])
            if states["cuda"].dtype != torch.uint8:
                raise TypeError("cuda")
        kind, keys, position, has_gauss, gauss = states["numpy"]
        require_dense("random: numpy", keys)
        if kind != "MT19937" or not 0 <= position <= len(keys) or has_gauss not in (0, 1):
            raise ValueError("numpy")  # which does not look at them itself
        np.random.RandomState().set_state((kind, np.asarray(keys, dtype=np.uint32), position, has_gauss, gauss))
        version, internal, gauss_next = states["python"]
        random.Random().setstate((version, tuple(internal), gauss_next))
    except (KeyError, ValueError, TypeError, RuntimeError, OverflowError, IndexError) as error:
        raise UserError(f"random: no states of random number generators: {one_line(error)[:200]}") from error


def _restore_random(states: dict[str, Any], ranks: Ranks) -> None:
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and ranks.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], ranks.device)
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
