"""The sections of what is read: the graph, and the series."""

from dataclasses import dataclass
from typing import Literal

from dcrnn_fast.config.section import MOST, MOST_STEPS, Section, require
from dcrnn_fast.errors import UserError

SupportKind = Literal["dual_random_walk", "random_walk", "laplacian"]
Recursion = Literal["released", "chebyshev", "powers"]
Orientation = Literal["released", "paper"]
EdgeOrder = Literal["correct", "pytorch_port"]
Match = Literal["id", "position"]
GridNeighbours = Literal[4, 8]
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
CALENDAR = "calendar"
"""the word of ``known_ahead`` that is no channel"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphConfig(Section):
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
        require(self.sigma is None or self.sigma > 0, "sigma", "positive", self.sigma)
        require(0 <= self.threshold < 1, "threshold", "in [0, 1)", self.threshold)
        self._within(1, MOST, "nearest")
        require(self.radius_km is None or self.radius_km > 0, "radius_km", "positive", self.radius_km)

    @property
    def land_mask_file(self) -> str | None:
        """The land mask's file, if one is named."""
        return None if self.land_mask in (MASK_OF_DATA, MASK_OF_MODEL) else self.land_mask


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig(Section):
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
        self._within(1, MOST_STEPS, "past_steps", "future_steps")
        self._check_known_ahead()
        require(0 < self.train_fraction < 1, "train_fraction", "in (0, 1)", self.train_fraction)
        require(0 <= self.test_fraction < 1, "test_fraction", "in [0, 1)", self.test_fraction)
        self._within(1, MOST, "max_test_windows")
        require(
            self.train_fraction + self.test_fraction <= 1,
            "train_fraction + test_fraction",
            "at most 1",
            self.train_fraction + self.test_fraction,
        )
        self._within(1, MOST, "max_train_windows", "max_validation_windows")
        self._within(2, 100_000, "city_nodes")
        self._within(1, 36_525, "city_days")
        self._within(0, MOST, "city_seed")
        require(self.stage != "", "stage", "off, auto or a folder", self.stage)

    def _check_known_ahead(self) -> None:
        names = self.known_ahead
        require("" not in names, "known_ahead", "names of channels", names)
        require(len(set(names)) == len(names), "known_ahead", "each channel once", names)
        if forecast := [name for name in self.known_names if name in self.targets]:
            raise UserError(f"known_ahead: {forecast[0]} is a target, which is forecast: name other channels")
        if CALENDAR in names and not self.calendar_ahead:
            raise UserError(
                f"known_ahead: {CALENDAR} needs --time-of-day or --day-of-week, and both are off: switch one on, or "
                f"leave {CALENDAR} out"
            )
