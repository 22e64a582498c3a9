"""The parts of a training run, put together from a configuration and its data.

Shape legend: B batch, F future steps, N nodes, O output channels.
"""

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.data.ahead import Gatherer
from dcrnn_fast.data.batches import GlobalBatches
from dcrnn_fast.data.dataset import Batch, ForecastData
from dcrnn_fast.data.device_windows import DeviceWindows, fits
from dcrnn_fast.data.digests import digests_of
from dcrnn_fast.data.training_part import TrainingPart, training_part
from dcrnn_fast.errors import UserError
from dcrnn_fast.model.build import SAVING, build_model, chosen_backend
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.flops import forward_flops
from dcrnn_fast.model.precision import autocast
from dcrnn_fast.model.shared import SharedGraph, share_graph
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.system import usable_cores
from dcrnn_fast.training.averaging import WeightAverage
from dcrnn_fast.training.compiled import compiled
from dcrnn_fast.training.loss import DEVIATION
from dcrnn_fast.training.optimizer import FlatGradients, make_optimizer
from dcrnn_fast.training.phases import Phases
from dcrnn_fast.training.precision import LossScale, require_precision


@dataclass(slots=True)
class Run:
    """Everything that a step needs; nothing here changes but weights, their average, optimiser and loss scale
    (and, before the first step, what ``fit`` chooses).

    ``data``: the whole; ``own_data``: the same, whose windows are gathered of this rank's nodes alone. They are one
    object unless partners share the graph, as ``shared`` then says.
    ``mean_O``, ``std_O``: of the targets of own nodes, float64, original units; (N, O) with a scaler for each sensor.
    ``device_windows``: the series on the GPU if it fits; None: windows are gathered on the host, by ``host_windows``.
    ``forward``: the model, or what torch.compile made of it; ``average``: of the weights, with ``ema_decay``.
    ``data_digests``: what its windows are made of, as ``digests_of`` says; ``training_part``: when it is seen.
    ``fitted``: lines about what ``fit`` has chosen; ``begun``: about the model that it began with, ``start_from``.
    ``phases``: the clock of this rank's steps. ``window_flops``: operations of a window's training, over all nodes.
    """

    config: Config
    data: ForecastData
    own_data: ForecastData
    ranks: Ranks
    model: DCRNN
    optimizer: torch.optim.Optimizer
    gradients: FlatGradients
    loss_scale: LossScale
    batches: GlobalBatches
    mean_O: Tensor
    std_O: Tensor
    data_digests: dict[str, str]
    training_part: TrainingPart
    host_windows: Gatherer
    forward: Callable[..., Tensor]
    phases: Phases
    window_flops: int
    shared: SharedGraph | None = None
    device_windows: DeviceWindows | None = None
    average: WeightAverage | None = None
    fitted: tuple[str, ...] = ()
    begun: tuple[str, ...] = ()

    @property
    def total_steps(self) -> int:
        """Optimiser steps of all epochs."""
        return self.config.training.epochs * self.batches.num_batches()

    def gather(self, starts: np.ndarray) -> Batch:
        """The windows that begin at these rows, on the run's device."""
        if self.device_windows is not None:
            return self.device_windows.batch(starts)
        return self.host_windows.gather(starts).to(self.ranks.device)

    def predict(self, batch: Batch, feed_label_F: Tensor | None = None) -> Tensor:
        """The scaled forecast (B, F, N, O) in the configured precision; the coins None: no label is fed back."""
        dtype = self.gradients.buffer.dtype
        with autocast(self.config.training.precision, self.ranks.device):
            labels_BFNO = None
            if feed_label_F is not None:
                labels_BFNO = batch.labels_BFNO.to(dtype)
                feed_label_F = feed_label_F.to(batch.x_BPNC.device, non_blocking=True)
            if batch.known_BFNK is None:
                return self.forward(batch.x_BPNC.to(dtype), labels_BFNO, feed_label_F)
            return self.forward(batch.x_BPNC.to(dtype), labels_BFNO, feed_label_F, batch.known_BFNK.to(dtype))

    def evaluated(self) -> AbstractContextManager[None]:
        """In the body the model has the weights that are validated and forecast with: the average, if there is one."""
        return nullcontext() if self.average is None else self.average.in_place()


def make_run(
    config: Config,
    data: ForecastData,
    ranks: Ranks,
    dtype: torch.dtype = torch.float32,
    *,
    weights: Mapping[str, Tensor] | None = None,
) -> Run:
    """Builds model and optimiser; the weights are the same on every rank because the seed is.

    Args:
        config: as ``resolved`` returns it.
        weights: to begin with, the same on every rank; left out: fresh ones.
    Raises:
        UserError: there is no window to train or validate on, or the precision needs another device.
    """
    training = with_loss_unit(config.training, data)
    config = replace(config, data=data.config, training=training)
    for part in (data.train, data.validation):
        if len(part) == 0:
            raise UserError(
                f"there is no {part.name} window; train_fraction {config.data.train_fraction} and test_fraction "
                f"{config.data.test_fraction} must leave some rows for each part"
            )
    require_precision(training.precision, ranks.device)
    seed_everything(training.seed)
    form = data.window_format
    model = build_model(
        config,
        data.graph,
        input_channels=form.input_channels,
        output_channels=form.output_channels,
        known_channels=form.num_known,
        dtype=dtype,
        weights=weights,
    )
    window_flops = forward_flops(model, form.past_steps).training
    shared, phases = None, Phases(ranks.device)
    if ranks.partners.size > 1:
        partners = ranks.graph_partners()
        shared = share_graph(model, data.graph, training.graph_partition, partners)
        phases = Phases(ranks.device, lambda: partners.waited_seconds)
    own_data = data if shared is None else data.of_nodes(shared.nodes)
    model = model.to(ranks.device)
    if training.gradient_checkpointing and (backend := chosen_backend(model)) not in SAVING:
        raise UserError(
            f"--gradient-checkpointing means --save h, which needs the cpu, triton or cuda backend, and this is "
            f"{backend}: leave it out, and take --batch-size smaller with --accumulate larger"
        )
    targets = own_data.scaler.take(form.target_channels)
    on_gpu = ranks.device.type == "cuda" and fits(own_data, ranks.device)
    on_device = DeviceWindows(own_data, ranks.device) if on_gpu else None
    global_batch = training.batch_size * ranks.replicas.size * training.accumulate
    return Run(
        config=config,
        data=data,
        own_data=own_data,
        ranks=ranks,
        model=model,
        optimizer=make_optimizer(model.parameters(), training),
        gradients=FlatGradients(model.parameters()),
        loss_scale=LossScale.of(training.precision),
        batches=GlobalBatches(len(data.train), global_batch, training.seed, reading=training.reading),
        mean_O=torch.tensor(targets.mean, dtype=torch.float64, device=ranks.device),
        std_O=torch.tensor(targets.std, dtype=torch.float64, device=ranks.device),
        data_digests=digests_of(data),
        training_part=training_part(data),
        host_windows=Gatherer(own_data, 0 if on_device else workers_here(training.num_workers, ranks)),
        device_windows=on_device,
        forward=compiled(model) if training.compile else model,
        average=None if training.ema_decay is None else WeightAverage(model, training.ema_decay),
        phases=phases,
        window_flops=window_flops,
        shared=shared,
    )


def workers_here(wanted: int, ranks: Ranks) -> int:
    """Threads that gather ahead: as many as configured, and not more than the cores of this process."""
    return min(wanted, max(1, usable_cores() // ranks.local_world))


def worker_notes(run: Run) -> list[str]:
    """If other threads gather than were asked for."""
    wanted, workers = run.config.training.num_workers, run.host_windows.workers
    if wanted == workers:
        return []
    if run.device_windows is not None:
        return [f"num_workers {wanted}: the series is on the GPU and windows are gathered there; no thread is needed"]
    return [f"num_workers {wanted}: {workers} thread(s) gather ahead, as this process has no more cores"]


def with_loss_unit(training: TrainingConfig, data: ForecastData) -> TrainingConfig:
    """``training`` with ``auto`` replaced by its meaning for this data.

    There is no published recipe for several targets: they would count by their magnitude.
    """
    if training.loss_unit != "auto":
        return training
    published = data.published and data.window_format.output_channels == 1
    return replace(training, loss_unit="original" if published else "deviation")


def loss_notes(run: Run) -> list[str]:
    """How much an error of 1 in the loss is in the readings' units, unless it is one of them."""
    training, form = run.config.training, run.data.window_format
    if training.loss_unit == "original":
        return []
    if run.data.scaler.per_sensor:
        one = f"{1 / DEVIATION:g} of the sensor's own deviation"
    else:
        sizes = run.std_O.tolist()
        each = [
            f"{size / DEVIATION:.4g} {unit}".rstrip() + f" of {name}"
            for size, unit, name in zip(sizes, form.target_units, form.target_names, strict=True)
        ]
        one = f"{1 / DEVIATION:g} of the target's deviation: {', '.join(each)}"
    return [f"loss: {training.loss}, in which an error of 1 is {one} (--loss-unit deviation)"]


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
