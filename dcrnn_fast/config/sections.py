"""The configuration: six frozen sections, each checked when it is made; here those of what a run writes, and the whole.

Every default is spelled here and nowhere else. Field names are unique over all sections, so that the command line can
use them without a prefix (``--batch-size``); a YAML file nests them by section.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.section import MOST, Section, require
from dcrnn_fast.config.training import ModelConfig, TrainingConfig

Wandb = Literal["off", "online", "offline"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputConfig(Section):
    """The files of a run, their places, and the checkpoint that it continues from."""

    results: str = "results"
    """folder for metrics, events, configuration, plots"""
    checkpoint_dir: str | None = None
    """left out: RESULTS/checkpoints"""
    save_every_epochs: int = 10
    """epoch_0010.pt and so on; 0: none"""
    save_every_steps: int = 0
    """also write latest.pt every so many optimiser steps; 0: at each epoch's end only"""
    resume: str | None = None
    """a checkpoint, or auto: the newest good one of the checkpoint folder, if any"""
    log_every: int = 10
    """seconds between progress lines without a terminal"""
    keep_last: int | None = None
    """of the files epoch_NNNN.pt of every save_every_epochs the last so many stay; left out: all"""
    keep_best: int = 0
    """so many best epochs have a file epoch_NNNN.pt too, which goes once better ones have come"""

    def _check(self) -> None:
        self._within(0, MOST, "save_every_epochs", "save_every_steps", "keep_best")
        self._within(1, MOST, "keep_last")
        self._within(1, 10_000_000, "log_every")


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchConfig(Section):
    """What looks at a run beside its own files; nothing here changes what is trained."""

    monitor_gpu: bool = False
    """gpu_monitor.csv: utilisation, memory, temperature and power of every GPU, through NVML"""
    monitor_cpu: bool = False
    """cpu_monitor.csv: load and memory of the machine, and of the run's own processes"""
    monitor_every: float = 1.0
    """seconds between two readings of the monitors"""
    tensorboard: bool = False
    """RESULTS/tensorboard, for TensorBoard"""
    wandb: Wandb = "off"
    """Weights & Biases; offline: RESULTS/wandb, to be sent later with wandb sync"""
    wandb_project: str = "dcrnn_fast"
    wandb_name: str | None = None
    """of the run; left out: Weights & Biases makes one up"""
    nsys_steps: str | None = None
    """A:B, the optimiser steps from A on and before B that nsys profile --capture-range=cudaProfilerApi captures"""
    profile_steps: str | None = None
    """A:B, the optimiser steps from A on and before B that torch.profiler records: profile/rank0.json.gz"""
    memory_snapshot: bool = False
    """record the GPU's allocations: profile/memory_rank0.pickle, at the end and when memory runs out"""
    peak_tflops: float | None = None
    """of one process's device, for peak_share in metrics.csv; left out: known of some GPUs, of no CPU"""

    def _check(self) -> None:
        require(0.1 <= self.monitor_every <= 3600, "monitor_every", "from 0.1 to 3600", self.monitor_every)
        require(self.wandb_project != "", "wandb_project", "a name", self.wandb_project)
        for name in ("nsys_steps", "profile_steps"):
            text = getattr(self, name)
            require(text is None or bool(range_of_steps(text)), name, "A:B, with A below B", text)
        peak = self.peak_tflops
        require(peak is None or peak > 0, "peak_tflops", "positive", peak)


def range_of_steps(text: str) -> range:
    """The steps of A:B; empty if it is no such text."""
    found = re.fullmatch(r"([0-9]{1,12}):([0-9]{1,12})", text)
    return range(0) if found is None else range(int(found[1]), int(found[2]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Everything a training run is made from; printed, saved and kept in its checkpoints."""

    graph: GraphConfig = field(default_factory=GraphConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
