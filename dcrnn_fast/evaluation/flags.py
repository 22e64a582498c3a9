"""Flags that ``evaluate`` and ``forecast`` share."""

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import tyro

from dcrnn_fast.config.data import DataConfig, DataFormat, Missing
from dcrnn_fast.config.given import refuse_idle
from dcrnn_fast.config.training import Backend, GraphPartition, Precision
from dcrnn_fast.data.formats import formats_of_path
from dcrnn_fast.data.idle import idle_in_reading
from dcrnn_fast.data.left_out import ids_to_leave_out
from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.errors import UserError

_MOST_STEPS = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFlags:
    """The source of the readings; flags that are left out are as in training."""

    data: str | None = None
    """a file or folder, or a data set by name; left out: the training data"""
    data_format: DataFormat = "auto"
    hdf5_key: str | None = None
    """left out: the training data's, or the file's only key"""
    variables: tuple[str, ...] = ()
    """NetCDF variables, or channels of an array by number or name"""
    start: str | None = None
    """time of the first row (ISO), for data without a time column"""
    freq: str | None = None
    """time between rows, for data without a time column; left out: the model's"""
    missing: Missing | None = None
    """which readings of --data are missing (zero, nan, none); left out: as in training"""
    missing_value: tuple[float, ...] = ()
    """values that mean a missing reading; left out: the training data's"""
    leave_out: tuple[str, ...] = ()
    """sensors whose readings are not to be used (ids, or one file with an id a line): missing readings to the model,
    scored nowhere; beside those that were left out in training"""
    fill_rows: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """rows that are absent become rows of missing readings; left out: as in training"""

    def config(self, trained: DataConfig, window_format: WindowFormat) -> DataConfig:
        """The training run's data section, reading from here instead.

        Raises:
            UserError: a flag that says how to read the data, and no data.
        """
        leave_out = tuple(dict.fromkeys((*trained.leave_out, *ids_to_leave_out(self.leave_out))))
        if self.data is None:
            idle = [f.name for f in fields(self) if f.name != "leave_out" and getattr(self, f.name) != f.default]
            if idle:
                flags = ", ".join("--" + name.replace("_", "-") for name in idle)
                raise UserError(f"{flags}: only with --data; without it the data is read as in training")
            return replace(trained, leave_out=leave_out)
        reading = DataConfig(data=self.data, data_format=self.data_format)
        refuse_idle([f.name for f in fields(self) if getattr(self, f.name) != f.default], idle_in_reading(reading))
        return replace(
            trained,
            leave_out=leave_out,
            data=self.data,
            data_format=self.data_format,
            hdf5_key=self.hdf5_key or (trained.hdf5_key if self._is_hdf5() else None),
            variables=self.variables or trained.variables,
            start=self.start,
            freq=self.freq or (window_format.freq if self.start else None),
            missing=self.missing or window_format.rule_of_readings,  # type: ignore[arg-type]
            missing_value=self.missing_value or trained.missing_value,
            fill_rows=trained.fill_rows or self.fill_rows,
        )

    def _is_hdf5(self) -> bool:
        return "hdf5" in formats_of_path(Path(self.data or ""), self.data_format)


@dataclass(frozen=True, kw_only=True, slots=True)
class PartFlags:
    """The part of the forecasts that is wanted; the model reads and computes all."""

    targets: tuple[str, ...] = ()
    """target channels, by name; left out: all that the model forecasts"""
    sensors: tuple[str, ...] = ()
    """sensors: ids, or one file with an id a line; left out: all"""

    def ids(self) -> tuple[str, ...]:
        """The sensors by their ids; none: all."""
        return ids_to_leave_out(self.sensors, "sensors")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFlags:
    """How the model is computed."""

    backend: Backend | None = None
    """left out: the one that the model was trained with"""
    precision: Precision | None = None
    """left out: the one that the model was trained with"""
    device: str = "auto"
    """auto: the GPU where there is one, else the CPU"""
    at_least: float | None = None
    """forecasts below this are raised to it, in original units; left out: as the model was trained"""
    node_parallel: int = 1
    """G: so many processes, started by torchrun, srun or mpirun, compute the model together, each a part of the
    graph's nodes; for a graph that one has no memory for"""
    graph_partition: GraphPartition = "auto"
    """who gets which nodes with node_parallel, as in training"""
    future_steps: int | None = None
    """forecast so many steps, also more than the model was trained on: its decoder goes on reading its own forecasts;
    left out: as many"""

    def __post_init__(self) -> None:
        if self.future_steps is not None and not 1 <= self.future_steps <= _MOST_STEPS:
            raise UserError(f"future_steps must be from 1 to {_MOST_STEPS}, got {self.future_steps}")
        if self.node_parallel < 1:
            raise UserError(f"node_parallel must be at least 1, got {self.node_parallel}")
        if self.at_least is not None and not math.isfinite(self.at_least):
            raise UserError(f"at_least must be a finite number, got {self.at_least}")
