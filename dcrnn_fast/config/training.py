"""The sections of what is computed: the model, and its training."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from dcrnn_fast.config.section import MOST, MOST_STEPS, Section, require

Backend = Literal["auto", "specification", "manual", "cpu", "triton", "cuda"]
Reading = Literal["shuffled", "contiguous"]
Precision = Literal["fp32", "bf16", "fp16", "bf16x3"]
LossUnit = Literal["auto", "original", "deviation"]
GraphPartition = Literal["auto", "metis", "contiguous"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(Section):
    """The encoder-decoder; channels and nodes come from the data, hops from the graph section."""

    hidden_units: int = 64
    """H"""
    num_layers: int = 2
    """L"""
    backend: Backend = "auto"
    """which implementation computes it; auto: the fastest that can run here"""
    save: str = "all"
    """kept for the backward pass by the cpu, triton and cuda backends: all; h: the states, a quarter of the memory
    (on a CPU for a third more time); segments:K: the states after every K-th step. The results are the same, on a GPU
    but for the rounding of the weights' gradients"""
    at_least: float | None = None
    """forecasts below this are raised to it, in original units (0 for counts, speeds, power), in reports and forecast
    files; loss and validation are as without, so that one training serves both"""

    def _check(self) -> None:
        self._within(1, MOST_STEPS, "hidden_units")
        self._within(1, 1000, "num_layers")
        segments = re.fullmatch(r"segments:0*([1-9][0-9]{0,6})", self.save)
        fits = self.save in ("all", "h") or (segments is not None and int(segments[1]) <= 2 * MOST_STEPS)
        require(fits, "save", "all, h or segments:K with K at least 1 and at most all steps", self.save)
        require(self.at_least is None or math.isfinite(self.at_least), "at_least", "a finite number", self.at_least)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(Section):
    """Optimisation; the defaults are the published ones."""

    epochs: int = 100
    batch_size: int = 64
    """windows in one micro-batch of one process; a step takes batch_size x processes x accumulate"""
    accumulate: int = 1
    """micro-batches of one optimiser step"""
    precision: Precision = "fp32"
    """bf16x3: fp32 whose products are made of three to six bf16 ones on CPUs with AMX; exact elsewhere"""
    device: str = "auto"
    """auto: the GPU of this rank if there is one, else the CPU"""
    cuda_graphs: bool = False
    """replay the step as CUDA graphs (fp32 or bf16)"""
    threads: int | None = None
    """CPU threads of one process; left out: cores / processes on this host"""
    seed: int = 0
    loss: Literal["mae", "mse", "rmse", "huber"] = "mae"
    """masked"""
    loss_unit: LossUnit = "auto"
    """the size of an error of 1 in the loss: original, one unit of the readings (as published); deviation, 0.08 of the
    target's own standard deviation (METR-LA's observed speeds have 12.5 mph), so that Adam's eps and the clip norm mean
    the same in any unit and all targets count alike; auto: original for the published data sets, else deviation"""
    huber_delta: float = 1.0
    """in the loss's unit"""
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 0.01
    adam_eps: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["published", "constant", "cosine", "plateau"] = "published"
    """published: times schedule_factor after each milestone"""
    milestones: tuple[int, ...] = (20, 30, 40, 50)
    """epochs"""
    schedule_factor: float = 0.1
    plateau_patience: int = 10
    """epochs"""
    min_learning_rate: float = 2e-6
    warmup_steps: int = 0
    """optimiser steps of linear warm-up"""
    clip_norm: float = 5.0
    """bound on the global gradient norm; 0: no clipping"""
    patience: int = 50
    """stop after so many epochs without a better validation error"""
    teacher_forcing: Literal["scheduled", "off", "on"] = "scheduled"
    sampling_decay: float = 2000.0
    """k of k / (k + exp(i / k)), i in optimiser steps"""
    max_bad_steps: int = 0
    """steps with a non-finite gradient, skipped in a row, before training stops"""
    dist_timeout: int = 1800
    """seconds that a rank waits for the others"""
    num_workers: int = 0
    """threads that gather windows ahead of the step, where they are gathered on the host (on a CPU, and on a GPU that
    the series does not fit); never more than this process has cores; 0: the step gathers them itself"""
    global_batch_size: int | None = None
    """windows of an optimiser step, over all processes; accumulate follows: global_batch_size / (batch_size x
    processes), which must be a whole number"""
    lr_scaling: Literal["none", "linear"] = "none"
    """linear: learning_rate times the windows of a step / base_batch_size"""
    base_batch_size: int = 64
    """linear scaling: windows of a step for which learning_rate is meant"""
    ema_decay: float | None = None
    """d: validation, best.pt, forecasts and reports use an exponential moving average of the weights, d x average +
    (1 - d) x weights after each step; left out: the weights themselves"""
    gradient_checkpointing: bool = False
    """keep states alone for the backward pass and compute the rest again: another name for save h"""
    compile: bool = False
    """let torch.compile translate the model; the compiled kernels and Triton's gain nothing from it"""
    fit: bool = False
    """choose batch_size, accumulate and save: the fastest that fit in the memory of every process, with as many windows
    in a step"""
    node_parallel: int = 1
    """G: so many neighbouring processes compute one model together, each a part of the graph's nodes; processes / G
    such groups share the global batch. 1: every process has all nodes"""
    graph_partition: GraphPartition = "auto"
    """who gets which nodes with node_parallel: metis (by the package pymetis), contiguous (stretches of a reordered
    graph); auto: metis where pymetis is installed"""
    reading: Reading = "shuffled"
    """the windows of a batch: shuffled, any of the training part (as published); contiguous, from 64 stretches that are
    gone through in time order, shuffled within 64 windows: each process reads its own part of a store, from the disk
    but once"""
    start_from: str | None = None
    """a checkpoint, or a folder of them (its best one): a new training begins with its weights, on other data or
    another graph, of any number of sensors; a run that is resumed goes on with its own"""
    start_scaler: Literal["kept", "fitted"] = "kept"
    """means and deviations that readings are scaled with: kept, those of start_from; fitted, of this training part"""

    def _check(self) -> None:
        self._within(1, MOST, "batch_size", "accumulate", "global_batch_size", "base_batch_size", "node_parallel")
        self._within(0, 1024, "num_workers")
        self._within(1, 10_000_000, "dist_timeout")
        self._within(0, MOST, "epochs", "warmup_steps", "patience", "plateau_patience", "max_bad_steps")
        self._within(0, 2**64 - 1, "seed")
        self._within(1, 1024, "threads")
        for name in ("learning_rate", "adam_eps", "huber_delta", "sampling_decay"):
            require(getattr(self, name) > 0, name, "positive", getattr(self, name))
        for name in ("weight_decay", "clip_norm", "min_learning_rate"):
            require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        require(0 < self.schedule_factor <= 1, "schedule_factor", "in (0, 1]", self.schedule_factor)
        require(self.ema_decay is None or 0 < self.ema_decay < 1, "ema_decay", "in (0, 1)", self.ema_decay)
        require(
            all(b > a >= 1 for a, b in zip((1, *self.milestones), (*self.milestones, 1 << 30), strict=True)),
            "milestones",
            "increasing epochs from 2 on",
            self.milestones,
        )
        require(not (self.fit and self.gradient_checkpointing), "fit", "off with gradient_checkpointing", True)
        require(
            not (self.cuda_graphs and self.precision == "fp16"), "cuda_graphs", "off with fp16: its scale moves", True
        )
        for name in ("compile", "cuda_graphs"):
            require(
                self.node_parallel == 1 or not getattr(self, name),
                name,
                "off with node_parallel, whose exchange between processes it cannot take in",
                True,
            )
        require(
            not (self.cuda_graphs and self.compile), "compile", "off with cuda_graphs, which replay the kernels", True
        )
