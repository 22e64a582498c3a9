"""Flags that ``evaluate`` and ``forecast`` share."""

from dataclasses import dataclass, fields, replace
from typing import Literal

from dcrnn_fast.config.given import refuse_idle
from dcrnn_fast.config.sections import Backend, DataConfig, DataFormat
from dcrnn_fast.data.idle import idle_in_reading
from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFlags:
    """Where the readings come from; whatever is left out is as the model was trained."""

    data: str | None = None
    """a file or folder, or a data set by name; left out: what the model was trained on"""
    data_format: DataFormat = "auto"
    hdf5_key: str | None = None
    """left out: the training data's, or the file's only key"""
    variables: tuple[str, ...] = ()
    """NetCDF variables, or channels of an array by number or name"""
    start: str | None = None
    """time of the first row (ISO), for data without a time column"""
    freq: str | None = None
    """time between rows, for data without a time column; left out: the model's"""

    def config(self, trained: DataConfig, window_format: WindowFormat) -> DataConfig:
        """The training run's data section, reading from here instead.

        Raises:
            UserError: a flag that says how to read the data, and no data.
        """
        if self.data is None:
            if idle := [f.name for f in fields(self) if getattr(self, f.name) != f.default]:
                flags = ", ".join("--" + name.replace("_", "-") for name in idle)
                raise UserError(f"{flags}: only with --data; without it the data is read as in training")
            return trained
        reading = DataConfig(data=self.data, data_format=self.data_format)
        refuse_idle([f.name for f in fields(self) if getattr(self, f.name) != f.default], idle_in_reading(reading))
        return replace(
            trained,
            data=self.data,
            data_format=self.data_format,
            hdf5_key=self.hdf5_key or trained.hdf5_key,
            variables=self.variables or trained.variables,
            start=self.start,
            freq=self.freq or (window_format.freq if self.start else None),
            missing=window_format.missing,  # type: ignore[arg-type]
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFlags:
    """How the model is computed."""

    backend: Backend | None = None
    """left out: the one that the model was trained with"""
    precision: Literal["fp32", "bf16", "fp16", "bf16x3"] | None = None
    """left out: the one that the model was trained with"""
    device: str = "auto"
    """auto: the GPU where there is one, else the CPU"""
