"""The configuration: six frozen sections, each checked when it is made.

Every default is spelled here and nowhere else. Field names are unique over all sections, so that the command line can
use them without a prefix (``--batch-size``); a YAML file nests them by section.
"""

import math
import re
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Literal, get_origin, get_type_hints

from dcrnn_fast.config.plain import require_choice, shown
from dcrnn_fast.errors import UserError

SupportKind = Literal["dual_random_walk", "random_walk", "laplacian"]
Recursion = Literal["released", "chebyshev", "powers"]
Orientation = Literal["released", "paper"]
EdgeOrder = Literal["correct", "pytorch_port"]
Match = Literal["id", "position"]
GridNeighbours = Literal[4, 8]
Backend = Literal["auto", "specification", "manual", "cpu", "triton", "cuda"]
GraphFormat = Literal[
    "auto", "matrix", "distance_matrix", "edges", "distances", "positions", "pickle", "gal", "gwt", "grid"
]
DataFormat = Literal[
    "auto",
    "hdf5",
    "npz",
    "npy",
    "csv",
    "parquet",
    "netcdf",
    "netcdf_folder",
    "zarr",
    "tsf",
    "channels",
    "continued",
    "scenarios",
    "partitioned",
    "basicts",
    "libcity",
    "usgs",
    "store",
    "pems",
    "hdf5_years",
]
Imputed = Literal["missing", "keep"]
MASK_OF_DATA = "auto"
"""``land_mask``: made of the data"""
MASK_OF_MODEL = "model"
"""``land_mask`` where a trained model reads data: all cells with a place, of which it knows its own"""
Missing = Literal["auto", "zero", "nan", "none"]
MissingInput = Literal["auto", "zero", "last", "mean"]
ScalerKind = Literal["auto", "published", "observed", "sensor"]
Reading = Literal["shuffled", "contiguous"]
Precision = Literal["fp32", "bf16", "fp16", "bf16x3"]
LossUnit = Literal["auto", "original", "deviation"]
GraphPartition = Literal["auto", "metis", "contiguous"]
Wandb = Literal["off", "online", "offline"]


CALENDAR = "calendar"
"""the word of ``known_ahead`` that is no channel"""
_LONGEST_TEXT = 4096
_LONGEST_NAME = 255
"""bytes of a path and of one name in it, as Linux has them"""
_MOST_STEPS = 1_000_000
_MOST = 1_000_000_000
"""of what may be as large as anybody likes: beyond it, other software's integers end"""


def _require(condition: bool, field_name: str, wanted: str, got: object) -> None:
    if not condition:
        raise UserError(f"{field_name} must be {wanted}, got {shown(got)}")


@cache
def _choices(section: type) -> dict[str, Any]:
    """The fields of a section that are a ``Literal``."""
    return {name: hint for name, hint in get_type_hints(section).items() if get_origin(hint) is Literal}


class _Section:
    """Checks what holds for any field: choices by their type, texts that can be names of files, finite numbers.

    A section's other conditions are in ``_check``.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, choices in _choices(type(self)).items():  # type: ignore[arg-type]  # classes are hashable
            require_choice(name, getattr(self, name), choices)
        self._check()
        for f in fields(self):  # type: ignore[arg-type]  # every section is a dataclass
            value = getattr(self, f.name)
            if isinstance(value, str):
                _require_text(f.name, value)
            elif isinstance(value, float):
                _require(math.isfinite(value), f.name, "a finite number", value)
            elif isinstance(value, tuple):
                for text in value:
                    if isinstance(text, str):
                        _require_text(f.name, text)

    def _check(self) -> None:
        raise NotImplementedError

    def _within(self, least: int, most: int, *names: str) -> None:
        """Whole numbers from ``least`` to ``most``; None, which is a choice, passes."""
        for name in names:
            value = getattr(self, name)
            _require(value is None or value >= least, name, f"at least {least}", value)
            _require(value is None or value <= most, name, f"at most {most}", value)


def _require_text(name: str, text: str) -> None:
    """Texts go into files as UTF-8, and most of them are paths."""
    if text.isascii() and text.isprintable() and len(text) <= _LONGEST_NAME:
        return
    _require("\0" not in text, name, "text without NUL", text)
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise UserError(f"{name} must be text that UTF-8 can hold, got {shown(text)}") from error
    _require(size <= _LONGEST_TEXT, name, f"at most {_LONGEST_TEXT} bytes", text)
    longest = max(text.split("/"), key=len)
    _require(len(longest.encode()) <= _LONGEST_NAME, name, f"made of names of at most {_LONGEST_NAME} bytes", longest)


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphConfig(_Section):
    """The source of the sensor graph, and the diffusion operators that it yields."""

    graph: str | None = None
    """file with the graph; left out: the graph that the data set brings along"""
    graph_format: GraphFormat = "auto"
    """the graph file's contents; auto: by its ending and its columns"""
    match: Match = "id"
    """how the series' columns find their graph nodes: by id, or the i-th column is the i-th node (in a list: the node
    with number i)"""
    sigma: float | None = None
    """width of the Gaussian kernel, in the distances' unit; left out: by what the file lists, all pairs within a reach
    (the distances' standard deviation, as published) or neighbours (wide enough that no listed link is lost)"""
    threshold: float = 0.1
    """kernel weights below this become 0"""
    allow_lost_links: bool = False
    """train even if the threshold removes more than a small part of a file's links"""
    nearest: int | None = None
    """positions: link each sensor to its k nearest (haversine)"""
    radius_km: float | None = None
    """positions: link sensors closer than this many kilometres (haversine)"""
    grid_neighbours: GridNeighbours = 8
    """grid: neighbours of a cell"""
    land_mask: str | None = None
    """grid: .npy of booleans (latitude, longitude), true where a cell is a node; other cells are left out; auto: as
    the data's flags and masks say, and without the cells that are never observed"""
    sensor_positions: str | None = None
    """table of sensor ids, latitudes and longitudes, for the maps of a graph that is no positions file itself"""
    self_loops: Literal["keep", "add"] = "keep"
    """keep: as the file has them; add: weight 1 on every node that has none"""
    supports: SupportKind = "dual_random_walk"
    hops: int = 2
    """K, diffusion steps for each support; 0: no diffusion"""
    recursion: Recursion = "released"
    """released: as the published weights need it; chebyshev: restarted for each support; powers: plain powers"""
    orientation: Orientation = "released"
    """released: transposed random-walk matrices; paper: equation 2 as printed"""
    edge_order: EdgeOrder = "correct"
    """pytorch_port: the public PyTorch port's misplaced edge weights, for weights that were trained with it"""

    def _check(self) -> None:
        self._within(0, 1000, "hops")
        _require(self.sigma is None or self.sigma > 0, "sigma", "positive", self.sigma)
        _require(0 <= self.threshold < 1, "threshold", "in [0, 1)", self.threshold)
        self._within(1, _MOST, "nearest")
        _require(self.radius_km is None or self.radius_km > 0, "radius_km", "positive", self.radius_km)

    @property
    def land_mask_file(self) -> str | None:
        """The land mask's file, if one is named."""
        return None if self.land_mask in (MASK_OF_DATA, MASK_OF_MODEL) else self.land_mask


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig(_Section):
    """The source of the series, and how it is cut into windows, split and scaled."""

    data: str = "city"
    """a data set by name (city, metr-la, pems-bay, ...), or a file or folder"""
    data_format: DataFormat = "auto"
    """auto: by the contents, else by the ending; of a folder of files of series: channels (over the same times),
    continued (that follow each other in time), scenarios (that have nothing to do with each other)"""
    data_folder: str = "data"
    """where the files of named data sets lie, each in a folder of its name"""
    hdf5_key: str | None = None
    """left out: the file's only key"""
    variables: tuple[str, ...] = ()
    """NetCDF variables, or channels of an array by number or name; left out: all"""
    targets: tuple[str, ...] = ()
    """channels to forecast, by name; left out: the first"""
    start: str | None = None
    """time of the first row (ISO), for data without a time column"""
    freq: str | None = None
    """time between rows (5min, 1h, 1D, 1MS), for data without a time column"""
    missing: Missing = "auto"
    """which readings are missing: zeros and NaN, only NaN, or none (then a NaN is an error); auto: as a named data
    set marks them, else nan if the file marks gaps itself (NaN, fill values, empty cells), holds no zero or
    negative readings too, else zero"""
    missing_value: tuple[float, ...] = ()
    """more values that mean a missing reading, such as -9999"""
    missing_input: MissingInput = "auto"
    """the network's input in place of a missing reading: raw 0 (as published), the last observed value, the mean; auto:
    zero for the published data sets, else last"""
    leave_out: tuple[str, ...] = ()
    """sensors to leave out: ids, one file with an id a line, or silent: all without an observed target"""
    fill_rows: bool = False
    """rows that are absent from the time axis become rows of missing readings"""
    time_of_day: bool = True
    day_of_week: bool = False
    """seven channels, one for each day"""
    past_steps: int = 12
    """P, steps that the network reads"""
    future_steps: int = 12
    """F, steps that it forecasts"""
    split: Literal["published", "strict"] = "published"
    """published: windows are cut, then split; strict: no window crosses a border"""
    train_fraction: float = 0.7
    test_fraction: float = 0.2
    scaler: ScalerKind = "auto"
    """published: every training reading, missing ones as 0, once a window; observed: only observed readings; sensor:
    observed readings, a mean and deviation for each sensor; auto: published for the published data sets, else
    observed"""
    cross_gaps: bool = False
    """let windows span gaps in the time axis"""
    max_train_windows: int | None = None
    """so many windows of the part, evenly spread; left out: all"""
    max_validation_windows: int | None = None
    """the same of the windows that each epoch is validated on"""
    max_test_windows: int | None = None
    """the same of the windows that the report is made of"""
    city_nodes: int = 50
    """built-in city: sensors"""
    city_days: int = 28
    """built-in city: length of the series"""
    city_seed: int = 0
    stage: str = "off"
    """copy the files to each node's own storage first, checksums verified: off; auto, to SLURM_TMPDIR, TMPDIR or the
    system's temporary folder; or a folder. The copies go as soon as the data is open"""
    known_ahead: tuple[str, ...] = ()
    """channels whose values are known for the steps that are forecast (a weather forecast, holidays, prices): the
    decoder reads them there, and with them the time of day and the day of the week, as far as configured; the word
    calendar alone: the time alone. Left out: the decoder reads its own forecasts only, as published"""
    imputed: Imputed = "missing"
    """PeMS station files: what PeMS filled in where no detector observed anything is missing, or kept as readings"""

    @property
    def known_names(self) -> tuple[str, ...]:
        """The channels of ``known_ahead``, without the word calendar."""
        return tuple(name for name in self.known_ahead if name != CALENDAR)

    @property
    def calendar_ahead(self) -> bool:
        """Whether the decoder reads time of day or day of the week."""
        return bool(self.known_ahead) and (self.time_of_day or self.day_of_week)

    def _check(self) -> None:
        self._within(1, _MOST_STEPS, "past_steps", "future_steps")
        self._check_known_ahead()
        _require(0 < self.train_fraction < 1, "train_fraction", "in (0, 1)", self.train_fraction)
        _require(0 <= self.test_fraction < 1, "test_fraction", "in [0, 1)", self.test_fraction)
        self._within(1, _MOST, "max_test_windows")
        _require(
            self.train_fraction + self.test_fraction <= 1,
            "train_fraction + test_fraction",
            "at most 1",
            self.train_fraction + self.test_fraction,
        )
        self._within(1, _MOST, "max_train_windows", "max_validation_windows")
        self._within(2, 100_000, "city_nodes")
        self._within(1, 36_525, "city_days")
        self._within(0, _MOST, "city_seed")
        _require(self.stage != "", "stage", "off, auto or a folder", self.stage)

    def _check_known_ahead(self) -> None:
        names = self.known_ahead
        _require("" not in names, "known_ahead", "names of channels", names)
        _require(len(set(names)) == len(names), "known_ahead", "each channel once", names)
        if forecast := [name for name in self.known_names if name in self.targets]:
            raise UserError(f"known_ahead: {forecast[0]} is a target, which is forecast: name other channels")
        if CALENDAR in names and not self.calendar_ahead:
            raise UserError(
                f"known_ahead: {CALENDAR} needs --time-of-day or --day-of-week, and both are off: switch one on, or "
                f"leave {CALENDAR} out"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(_Section):
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
        self._within(1, _MOST_STEPS, "hidden_units")
        self._within(1, 1000, "num_layers")
        segments = re.fullmatch(r"segments:0*([1-9][0-9]{0,6})", self.save)
        fits = self.save in ("all", "h") or (segments is not None and int(segments[1]) <= 2 * _MOST_STEPS)
        _require(fits, "save", "all, h or segments:K with K at least 1 and at most all steps", self.save)
        _require(self.at_least is None or math.isfinite(self.at_least), "at_least", "a finite number", self.at_least)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(_Section):
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
        self._within(1, _MOST, "batch_size", "accumulate", "global_batch_size", "base_batch_size", "node_parallel")
        self._within(0, 1024, "num_workers")
        self._within(1, 10_000_000, "dist_timeout")
        self._within(0, _MOST, "epochs", "warmup_steps", "patience", "plateau_patience", "max_bad_steps")
        self._within(0, 2**64 - 1, "seed")
        self._within(1, 1024, "threads")
        for name in ("learning_rate", "adam_eps", "huber_delta", "sampling_decay"):
            _require(getattr(self, name) > 0, name, "positive", getattr(self, name))
        for name in ("weight_decay", "clip_norm", "min_learning_rate"):
            _require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        _require(0 < self.schedule_factor <= 1, "schedule_factor", "in (0, 1]", self.schedule_factor)
        _require(self.ema_decay is None or 0 < self.ema_decay < 1, "ema_decay", "in (0, 1)", self.ema_decay)
        _require(
            all(b > a >= 1 for a, b in zip((1, *self.milestones), (*self.milestones, 1 << 30), strict=True)),
            "milestones",
            "increasing epochs from 2 on",
            self.milestones,
        )
        _require(not (self.fit and self.gradient_checkpointing), "fit", "off with gradient_checkpointing", True)
        _require(
            not (self.cuda_graphs and self.precision == "fp16"), "cuda_graphs", "off with fp16: its scale moves", True
        )
        for name in ("compile", "cuda_graphs"):
            _require(
                self.node_parallel == 1 or not getattr(self, name),
                name,
                "off with node_parallel, whose exchange between processes it cannot take in",
                True,
            )
        _require(
            not (self.cuda_graphs and self.compile), "compile", "off with cuda_graphs, which replay the kernels", True
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputConfig(_Section):
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
        self._within(0, _MOST, "save_every_epochs", "save_every_steps", "keep_best")
        self._within(1, _MOST, "keep_last")
        self._within(1, 10_000_000, "log_every")


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchConfig(_Section):
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
        _require(0.1 <= self.monitor_every <= 3600, "monitor_every", "from 0.1 to 3600", self.monitor_every)
        _require(self.wandb_project != "", "wandb_project", "a name", self.wandb_project)
        for name in ("nsys_steps", "profile_steps"):
            text = getattr(self, name)
            _require(text is None or bool(range_of_steps(text)), name, "A:B, with A below B", text)
        peak = self.peak_tflops
        _require(peak is None or peak > 0, "peak_tflops", "positive", peak)


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
