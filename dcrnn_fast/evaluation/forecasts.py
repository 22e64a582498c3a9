"""A forecast, with its times, ids and units, and how it is written: CSV, Parquet, NetCDF, a plot.

Shape legend: P past steps, F future steps, L levels, N nodes, O target channels.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.data.tables_in_memory import column_index
from dcrnn_fast.data.timestamps import in_zone
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.bounds import bound_columns, bound_variables, bounds_of
from dcrnn_fast.evaluation.places import places
from dcrnn_fast.evaluation.plot_format import require_page
from dcrnn_fast.files import write_atomically, write_bytes

if TYPE_CHECKING:  # each takes a good part of a second, and a forecast is written in one way
    import pandas as pd
    import xarray as xr

    from dcrnn_fast.graph.sensor_graph import SensorGraph


@dataclass(frozen=True, eq=False)
class Forecast:
    """Forecast readings of the next F steps.

    Attributes:
        values_FNO: float32, original units.
        times_F: ``datetime64[s]``, the times that are forecast; UTC if there is a zone.
        ids: N sensors; channels: O names; units: O texts, "" if unknown.
        past_values_PNO: the readings before, NaN where none was observed; past_times_P: their times.
        zone: name or offset of the zone that the readings' times had (Europe/Berlin, +01:00, UTC), in which files give
            the times; None: they had none.
        positions_N2: (latitude, longitude) in degrees, or None.
        notes: lines to print; about: the model that made it.
        in_utc: whether the times are UTC; None: not known.
        levels: shares of readings that the prediction intervals are made to hold (0.9), ascending; (): there are none.
        lower_LFNO, upper_LFNO: float32, their bounds, L as ``levels``; NaN for a sensor without one; None: there are
            none.
    """

    values_FNO: NDArray[np.float32]
    times_F: NDArray[np.datetime64]
    ids: tuple[str, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    past_values_PNO: NDArray[np.float32]
    past_times_P: NDArray[np.datetime64]
    zone: str | None = None
    positions_N2: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()
    about: Mapping[str, str | int] = field(default_factory=dict)
    in_utc: bool | None = None
    levels: tuple[float, ...] = ()
    lower_LFNO: NDArray[np.float32] | None = None
    upper_LFNO: NDArray[np.float32] | None = None

    def part(self, *, sensors: Sequence[str] = (), targets: Sequence[str] = ()) -> "Forecast":
        """The forecast of these sensors and channels alone, in the forecast's order; none named: all.

        Raises:
            UserError: an unknown sensor or channel.
        """
        if not sensors and not targets:
            return self
        nodes, channels = places(sensors, self.ids, "sensors"), places(targets, self.channels, "targets")
        return replace(
            self,
            values_FNO=self.values_FNO[:, nodes][..., channels],
            ids=tuple(self.ids[n] for n in nodes),
            channels=tuple(self.channels[c] for c in channels),
            units=tuple(self.units[c] for c in channels),
            past_values_PNO=self.past_values_PNO[:, nodes][..., channels],
            positions_N2=None if self.positions_N2 is None else self.positions_N2[nodes],
            lower_LFNO=None if self.lower_LFNO is None else self.lower_LFNO[:, :, nodes][..., channels],
            upper_LFNO=None if self.upper_LFNO is None else self.upper_LFNO[:, :, nodes][..., channels],
        )

    def to_pandas(self, *, long: bool = False) -> "pd.DataFrame":
        """The forecast as a table of pandas.

        Args:
            long: False: a row for each of the F times, the index ``time`` (in the zone, if there is one), and a column
                for each sensor, named by its id. Several channels are a level ``channel`` above the ids; where there
                are intervals, value, lower_90, upper_90 are a level ``value`` above all. True: a row for each time,
                sensor and channel with the columns of a CSV file.
        """
        import pandas as pd

        if long:
            columns = self._columns()
            return pd.DataFrame({**columns, "time": in_zone(columns["time"], self.zone)})
        kinds = {"value": self.values_FNO} | {name: bound_FNO for name, _, bound_FNO in bounds_of(self)}
        flat = [kind_FNO.transpose(0, 2, 1).reshape(len(kind_FNO), -1) for kind_FNO in kinds.values()]
        flat_FR = np.concatenate(flat, axis=1) if len(flat) > 1 else flat[0].copy()
        columns = column_index(tuple(kinds), self.channels, self.ids)
        times = in_zone(self.times_F, self.zone)
        times.name = "time"
        return pd.DataFrame(flat_FR, times, columns, copy=False)

    def _columns(self) -> dict[str, NDArray[Any]]:
        """The columns of ``to_pandas(long=True)``, times as the forecast has them."""
        step_R, node_R, channel_R = (index.ravel() for index in np.indices(self.values_FNO.shape))
        return {
            "time": self.times_F[step_R],
            "step": step_R + 1,
            "id": np.array(self.ids, dtype=object)[node_R],
            "channel": np.array(self.channels, dtype=object)[channel_R],
            "unit": np.array(self.units, dtype=object)[channel_R],
            "value": self.values_FNO.ravel(),
            **bound_columns(self),
        }

    def to_xarray(self) -> "xr.Dataset":
        """Variables (time, station) after the CF conventions' time series, one for each channel, with their units."""
        import xarray as xr

        # A unit with UTC in it is how CF says that times are not local.
        since = f"seconds since {self.past_times_P[-1]!s:.10} 00:00:00{'' if self.zone is None else ' UTC'}"
        encoding = {"units": since, "dtype": "int64"}
        time_attributes = {"standard_name": "time", "long_name": "time" if self.zone is None else "time (UTC)"}
        coordinates = {
            "time": ("time", self.times_F.astype("datetime64[ns]"), time_attributes, encoding),
            "station": ("station", np.array(self.ids, dtype=object), {"cf_role": "timeseries_id"}),
            "forecast_reference_time": (
                (),
                self.past_times_P[-1].astype("datetime64[ns]"),
                {"standard_name": "forecast_reference_time", "long_name": "time of the newest reading"},
                encoding,
            ),
        }
        if self.positions_N2 is not None:
            for index, name in enumerate(("latitude", "longitude")):
                attributes = {"standard_name": name, "units": f"degrees_{('north', 'east')[index]}"}
                coordinates[name] = ("station", self.positions_N2[:, index], attributes)
        variables = {
            name: (("time", "station"), self.values_FNO[:, :, channel], {"long_name": f"forecast of {name}"})
            for channel, name in enumerate(self.channels)
        }
        dataset = xr.Dataset(
            variables | bound_variables(self),
            coordinates,
            {
                "Conventions": "CF-1.11",
                "featureType": "timeSeries",
                "title": f"DCRNN forecast of {', '.join(self.channels)}",
                "source": ", ".join(f"{name} {value}" for name, value in self.about.items()),
            },
        )
        for name, unit in zip(self.channels, self.units, strict=True):
            if unit:
                dataset[name].attrs["units"] = unit
        return dataset

    def to_csv(self, path: str | Path) -> None:
        """Write ``to_pandas(long=True)``; times in ISO 8601, with Z or their offset if there is a zone; values with all
        digits of float32.
        """
        columns = self._columns()
        columns["time"] = self._texts_of_times()[columns["step"] - 1]
        for name in ("value", *bound_columns(self)):
            columns[name] = np.where(np.isnan(columns[name]), "", columns[name].astype(str))
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        write_bytes(path, out.getvalue().encode())

    def _texts_of_times(self) -> NDArray[Any]:
        if self.zone is None:
            return np.datetime_as_string(self.times_F, unit="s")
        zoned_F = in_zone(self.times_F, self.zone)
        return np.array([time.isoformat(timespec="seconds").replace("+00:00", "Z") for time in zoned_F], dtype=object)

    def to_parquet(self, path: str | Path) -> None:
        """Write ``to_pandas(long=True)``."""
        frame = self.to_pandas(long=True)
        write_atomically(path, lambda stream: frame.to_parquet(stream, index=False, engine="pyarrow"))

    def to_netcdf(self, path: str | Path) -> None:
        """Write ``to_xarray()`` as NetCDF-4."""
        payload = self.to_xarray().to_netcdf(None, engine="h5netcdf")
        write_bytes(path, payload)

    def write(self, path: str | Path) -> None:
        """Write in the format of the file's ending: .csv, .parquet, .nc.

        Raises:
            UserError: another ending; the file cannot be written.
        """
        {"csv": self.to_csv, "parquet": self.to_parquet, "nc": self.to_netcdf}[output_format(path)](path)

    def to_html(self, path: str | Path, graph: "SensorGraph | None" = None) -> None:
        """Write a page that opens without a network: a map where positions are known, series with their intervals, and
        the hours in which most changes.

        Args:
            graph: whose links the map shows, with the forecast's sensors.
        Raises:
            UserError: another ending than .html; the file cannot be written.
        """
        require_page(path)
        from dcrnn_fast.evaluation.forecast_page import forecast_page

        write_bytes(path, forecast_page(self, graph).encode())

    def plot(self, path: str | Path, ids: Sequence[str] | None = None) -> None:
        """Draw past and forecast of up to six sensors into a .png, .pdf or .svg file.

        Args:
            ids: left out: the sensors whose forecast moves most.
        Raises:
            UserError: an unknown id or ending; the file cannot be written.
        """
        from dcrnn_fast.evaluation.forecast_plot import plot_forecast
        from dcrnn_fast.evaluation.style import save_figure

        save_figure(plot_forecast(self, ids), path)


def output_format(path: str | Path) -> str:
    """csv, parquet or nc, by the file's ending; else UserError."""
    ending = Path(path).suffix.lower().removeprefix(".")
    if ending not in ("csv", "parquet", "nc"):
        raise UserError(f"forecasts are written as .csv, .parquet or .nc, got {str(path)!r}")
    return ending
