"""How a run begins: everything opened and the same on all ranks, and an earlier run set aside or gone on with."""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dcrnn_fast.checkpoints.read import Checkpoint
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import to_yaml
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.staging import Staged
from dcrnn_fast.data.window_account import require_changing_target, require_validation_targets
from dcrnn_fast.device import choose_device, choose_threads, device_identity
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import write_bytes
from dcrnn_fast.installation import code_facts
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.records.events import Started, Starting
from dcrnn_fast.records.lock import FolderLock
from dcrnn_fast.records.names import CONFIG
from dcrnn_fast.records.watchers import Watchers, require_packages
from dcrnn_fast.training.account import first_lines, other_notes
from dcrnn_fast.training.folders import (
    bring_best_along,
    checkpoint_folder,
    leave_other_timeline,
    make_folders,
    open_folders,
    set_earlier_run_aside,
)
from dcrnn_fast.training.instruments import require_instruments
from dcrnn_fast.training.memory import fit_to_memory, require_room
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.resolved import resolved
from dcrnn_fast.training.resume import (
    broadcast_state,
    differences,
    in_saved_order,
    require_fitting,
    require_resumable,
    restore,
    saved_choices,
)
from dcrnn_fast.training.run import Run, make_run
from dcrnn_fast.training.staged_data import staged
from dcrnn_fast.training.start_from import Beginning, beginning
from dcrnn_fast.training.step import try_window

_DIGITS = 16
"""of a SHA-256, for people to compare"""


def open_run(
    config: Config,
    ranks: Ranks,
    lock: FolderLock | None = None,
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> tuple[Run, Checkpoint | None]:
    """Device, checkpoint to resume, data and model, the same on all ranks; one window is tried, nothing trained.

    With a lock, which takes nothing yet, no other run may write to the folders.
    """
    ranks.together("looking for the trackers' packages", lambda: require_packages(config))
    ranks.require_same("the way of sharing a graph", {"--node-parallel": str(config.training.node_parallel)})
    ranks.together("sharing the graph", lambda: ranks.share_graph(config.training.node_parallel))
    device = ranks.together("choosing a device", lambda: choose_device(config.training.device, ranks.local_rank))
    ranks.together("looking at the instruments", lambda: require_instruments(config, device))
    shares_graph = config.training.node_parallel > 1
    facts = ranks.together("looking at the installation", lambda: code_facts(device.type, partitions=shares_graph))
    ranks.require_same("the installation", facts)
    ranks.require_apart("device", device_identity(device))
    ranks.connect(device, config.training.dist_timeout)
    torch.set_num_threads(
        choose_threads(config.training.threads, ranks.cores, launcher_sets_one=ranks.launcher_sets_one_thread)
    )
    config = ranks.together("dividing the global batch", lambda: resolved(config, ranks.replicas.size))
    found = ranks.together("opening the results folder", lambda: open_folders(config, lock) if ranks.is_first else None)
    state = broadcast_state(found.state if found else None, ranks)
    if state is not None and found is None:  # not rank 0: only rank 0 prints notes
        found = Checkpoint(Path(str(config.output.resume)), state, ())
    if found is not None:
        ranks.together("checking the checkpoint", partial(require_resumable, found.state, str(found.path)))
        config = saved_choices(config, found.state)
    begun = None if found is not None else beginning(config, ranks)
    if begun is not None:
        config = ranks.together("looking at the model to start from", lambda: begun.choices(config))
    with staged(config, ranks, asked_to_stop) as copies:
        run = ranks.together(
            "opening data and model", lambda: _open_data_and_model(config, ranks, found, begun, copies)
        )
    fit_to_memory(run)
    ranks.require_same("the start", start_digests(run))
    if run.shared is None:
        ranks.together("trying one window", lambda: try_window(run))
    else:
        ranks.together("looking for room", lambda: require_room(run))
        # A partner that fails closes its connections, which wakes the others: it may not wait for their word.
        try_window(run)
        ranks.together("trying one window", lambda: None)
    return run, found


def _open_data_and_model(
    config: Config, ranks: Ranks, found: Checkpoint | None, begun: Beginning | None, copies: Staged | None
) -> Run:
    scaler = None if found is None else Scaler.from_state(found.state["scaler"])
    if begun is not None:
        scaler = begun.scaler_of_any_graph(config)
    all_digits = config.training.loss_unit != "original"
    data = (open_data if copies is None else copies.open_data)(
        config.data, config.graph, scaler=scaler, all_digits=all_digits
    )
    if found is not None:
        data = in_saved_order(data, config.data, found.state)
    if begun is not None:
        data = begun.fitting(data, config)
    run = make_run(config, data, ranks, weights=None if begun is None else begun.weights)
    if begun is not None:
        run.begun = begun.lines(data, config)
    require_changing_target(data, config.data)
    require_validation_targets(data)
    if found is not None:
        require_fitting(run, found.state, str(found.path))
    return run


def asked_for(config: Config, found: Checkpoint | None) -> DataConfig:
    """The data section as it was given: by the user, and if a run is resumed by its first start."""
    return (config if found is None else saved_choices(config, found.state)).data


def _words_of(device: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def begin(run: Run, asked: DataConfig, found: Checkpoint | None, watchers: Watchers, lock: FolderLock) -> Progress:
    """Takes the folders, prints how the run was understood, and restores a resumed run's position."""
    config, on_first = run.config, run.ranks.is_first
    run.ranks.together("taking the folders", lambda: make_folders(config, lock, watchers.say) if on_first else None)
    if on_first:
        for line in first_lines(run, asked):
            watchers.say(line)
    watchers.say(to_yaml(config).rstrip())
    for note in other_notes(run):
        watchers.say(note)
    progress = Progress()
    if found is not None:
        progress = restore(run, found.state)
        for line in (*found.notes, *differences(run, found.state)):
            watchers.say(line)
        watchers.say(f"resumed from {found.path}: epoch {progress.epoch}, step {progress.step}")
    elif config.output.resume == "auto":
        whole = "whole " if any(checkpoint_folder(config).glob("*.pt")) else ""
        watchers.say(f"resume auto: no {whole}checkpoint in {checkpoint_folder(config)}, starting anew")
    if on_first:
        if found is None:
            set_earlier_run_aside(config, watchers.say)
        else:
            best = leave_other_timeline(config, progress, found, watchers.say)
            bring_best_along(config, progress, found, best, watchers.say)
    watchers.tell(Starting())
    if on_first:
        try:
            write_bytes(Path(config.output.results, CONFIG), to_yaml(config).encode())
        except UserError as error:
            watchers.say(f"{error}; training goes on")
    form = run.data.window_format
    watchers.tell(
        Started(
            resumed=found is not None,
            epoch=progress.epoch,
            step=progress.step,
            history=tuple(progress.history),
            ranks=run.ranks.world,
            train_windows=len(run.data.train),
            validation_windows=len(run.data.validation),
            targets=tuple(zip(form.target_names, form.target_units, strict=True)),
            device=_words_of(run.ranks.device),
        )
    )
    return progress


def start_digests(run: Run) -> dict[str, str]:
    """All ranks must agree in these before the first step: the configuration, and the beginnings of the SHA-256 of
    graph, data and weights.
    """
    weights = hashlib.sha256()
    for parameter in run.model.parameters():
        weights.update(parameter.detach().cpu().numpy().tobytes())
    data = run.data_digests | {
        "scaler": _sha256_of_json(run.data.scaler.to_state()),
        "window format": _sha256_of_json(run.data.window_format.to_state()),
    }
    return {
        **{f"--{name}": value for name, value in _flat(to_dict(run.config))},
        "graph": run.data.graph.digest()[:_DIGITS],
        **({} if run.shared is None else {"partition": run.shared.partition.digest()[:_DIGITS]}),
        **{f"data: {name}": digest[:_DIGITS] for name, digest in data.items()},
        "weights": weights.hexdigest()[:_DIGITS],
    }


def _sha256_of_json(state: Any) -> str:
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _flat(state: dict[str, Any], section: str = "") -> Iterator[tuple[str, str]]:
    for name, value in state.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{section}{name}.")
        else:
            yield f"{section}{name}", json.dumps(value)
