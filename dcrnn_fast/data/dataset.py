"""Series, graph, windows and scaler together: the data of training and evaluation.

Shape legend: W windows, B batch, P past steps, F future steps, N sensors, C input channels, O target channels,
K channels known ahead.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.inputs import put_inputs, put_known, readable
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.times import advance, is_months
from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.data.windows import WindowSet, cut_windows
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph

_GATHERED_AT_ONCE = 1 << 15
"""readings of a step: some windows of a small graph, one of a large one; what is computed of them stays in the cache"""


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Windows as tensors.

    Attributes:
        x_BPNC: float32, scaled: the encoder's input.
        y_BFNO: float32, original units, 0 where missing.
        observed_BFNO: bool, from the raw targets.
        labels_BFNO: float32, scaled, with the rule for missing readings: the labels of teacher forcing.
        starts: int64 (B,), the windows' first rows (numpy, on the host).
        known_BFNK: float32, scaled, with the rule for missing readings: what the decoder reads of the forecast's steps
            (``put_known``); None: nothing.
    """

    x_BPNC: torch.Tensor
    y_BFNO: torch.Tensor
    observed_BFNO: torch.Tensor
    labels_BFNO: torch.Tensor
    starts: np.ndarray
    known_BFNK: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def count_observed(self) -> np.ndarray:
        """(O,) int64: observed targets of each channel."""
        counts_O: np.ndarray = self.observed_BFNO.sum((0, 1, 2)).cpu().numpy()
        return counts_O

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on a device."""
        return Batch(
            self.x_BPNC.to(device),
            self.y_BFNO.to(device),
            self.observed_BFNO.to(device),
            self.labels_BFNO.to(device),
            self.starts,
            None if self.known_BFNK is None else self.known_BFNK.to(device),
        )


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ForecastData:
    """One copy of the series, and windows into it by index.

    Attributes:
        series: with the value channels of ``window_format``, in its order.
        graph: its nodes stand in the series' order.
        train, validation, test: the windows of each part.
        config: its configuration, with every ``auto`` resolved that the data decides.
        published: whether it is a data set that the published recipe was published for (``known.is_published``).
        all_digits: readings are scaled in float64 with all their digits (see ``assemble_data``).
        notes: lines to print (gaps, limits).
        nodes: of the graph, int64, ascending: whose readings series and scaler are (``of_nodes``); None: all.
    """

    series: SensorSeries
    graph: SensorGraph
    window_format: WindowFormat
    scaler: Scaler
    train: WindowSet
    validation: WindowSet
    test: WindowSet
    config: DataConfig
    published: bool = False
    all_digits: bool = False
    notes: tuple[str, ...] = ()
    nodes: np.ndarray | None = None

    def of_nodes(self, nodes: np.ndarray) -> "ForecastData":
        """The same windows of some nodes alone; graph, split and notes stay those of the whole.

        Args:
            nodes: their numbers in the graph.
        """
        nodes = np.sort(np.asarray(nodes, dtype=np.int64))
        series = self.series.take_sensors(tuple(self.series.ids[node] for node in nodes))
        return replace(self, series=series, scaler=self.scaler.take_sensors(nodes), nodes=nodes)

    def windows(self, part: str) -> WindowSet:
        """The windows of train, validation or test; all: every window that there is, between the parts too.

        Raises:
            UserError: another name.
        """
        if part == "all":
            segments = self.series.parts if self.config.cross_gaps else self.series.segments
            return WindowSet("all", cut_windows(segments, self.window_format.window_steps))
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        if part not in parts:
            raise UserError(f"the parts of the data are train, validation, test and all, got {part!r}")
        return parts[part]

    def gather(self, starts: np.ndarray) -> Batch:
        """The windows that begin at these rows; an empty array gives an empty batch."""
        starts = np.asarray(starts, dtype=np.int64)
        form, sensors, targets = self.window_format, self.series.num_sensors, len(self.window_format.target_channels)
        shape = (len(starts), form.future_steps, sensors, targets)
        x_BPNC = np.empty((len(starts), form.past_steps, sensors, form.input_channels), dtype=np.float32)
        y_BFNO, labels_BFNO = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
        observed_BFNO = np.empty(shape, dtype=bool)
        known_BFNK = np.empty((*shape[:3], form.num_known), dtype=np.float32)
        at_once = max(1, _GATHERED_AT_ONCE // (sensors * len(form.channels)))
        for first in range(0, len(starts), at_once):
            some = slice(first, first + at_once)
            self._gather_into(
                starts[some], x_BPNC[some], y_BFNO[some], observed_BFNO[some], labels_BFNO[some], known_BFNK[some]
            )
        return Batch(
            x_BPNC=torch.from_numpy(x_BPNC),
            y_BFNO=torch.from_numpy(y_BFNO),
            observed_BFNO=torch.from_numpy(observed_BFNO),
            labels_BFNO=torch.from_numpy(labels_BFNO),
            starts=starts,
            known_BFNK=torch.from_numpy(known_BFNK) if form.num_known else None,
        )

    def _gather_into(
        self,
        starts: np.ndarray,
        x_BPNC: np.ndarray,
        y_BFNO: np.ndarray,
        observed_BFNO: np.ndarray,
        labels_BFNO: np.ndarray,
        known_BFNK: np.ndarray,
    ) -> None:
        form, past, series = self.window_format, self.window_format.past_steps, self.series
        all_of_them = form.target_channels == tuple(range(len(form.channels)))
        targets = slice(None) if all_of_them else list(form.target_channels)
        rows_BS = starts[:, None] + np.arange(form.window_steps)
        times_BS = series.times_T[rows_BS]  # raises IndexError for rows that there are not; a slice does not
        # A slice of one window is a view: its readings are copied nowhere but into the batch.
        rows = rows_BS if len(starts) > 1 else slice(int(starts[0]), int(starts[0]) + form.window_steps)
        shape = (*rows_BS.shape, series.num_sensors, len(form.channels))
        values_BSNC = series.values_TNC[rows].reshape(shape)
        observed_BSNC = series.observed_TNC[rows].reshape(shape)
        exact_BSNC = values_BSNC
        if self.all_digits and series.rest_TNC is not None:
            exact_BSNC = series.readings(rows).reshape(shape)
        # Over the complete window: a fed-back label may be the last observed reading from before the forecast.
        dtype = np.dtype(np.float64 if self.all_digits else np.float32)
        scaled_BSNC = readable(exact_BSNC, observed_BSNC, self.scaler, form.missing_input, dtype)
        put_inputs(x_BPNC, scaled_BSNC[:, :past], times_BS[:, :past], form)
        y_BFNO[:] = values_BSNC[:, past:][..., targets]
        observed_BFNO[:] = observed_BSNC[:, past:][..., targets]
        labels_BFNO[:] = scaled_BSNC[:, past:][..., targets]
        if form.num_known:
            scaled_BFNC = scaled_BSNC[:, past:][..., list(form.known_channels)]
            put_known(known_BFNK, scaled_BFNC, times_BS[:, past:], form)

    def target_times(self, starts: np.ndarray) -> np.ndarray:
        """(W, F) ``datetime64[s]``, the times that each window forecasts."""
        form = self.window_format
        return self.series.times_T[np.asarray(starts)[:, None] + np.arange(form.past_steps, form.window_steps)]


def future_times(last_time: np.datetime64, window_format: WindowFormat) -> np.ndarray:
    """(F,) ``datetime64[s]``: the times after the last reading, for a forecast."""
    interval = window_format.interval
    if is_months(interval):
        return advance(last_time, np.arange(1, window_format.future_steps + 1), interval)
    return last_time + _steps_ahead(window_format.future_steps, interval)


@lru_cache(maxsize=4)
def _steps_ahead(steps: int, interval: np.timedelta64) -> np.ndarray:
    return np.arange(1, steps + 1) * interval
