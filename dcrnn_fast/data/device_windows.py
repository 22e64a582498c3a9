"""The series on the training device, and windows gathered there: a GPU step of a few milliseconds waits for no loader.

The values are those of ``ForecastData.gather``, bit for bit; only the place of the arithmetic differs. For a series
that does not fit, ``HostWindows`` gathers the windows of a captured step on the host.

Shape legend: T time, W windows, B batch, P past steps, F future steps, S = P + F, N sensors, C value channels,
D time channels, K channels known ahead, O target channels.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dcrnn_fast.data.ahead import Gatherer
from dcrnn_fast.data.dataset import Batch, ForecastData
from dcrnn_fast.data.facts import stretches
from dcrnn_fast.data.inputs import time_channels

_NO_STARTS = np.empty(0, dtype=np.int64)
SHARE_OF_MEMORY = 0.25
"""of the device's free memory that a series may take"""


def series_bytes(data: ForecastData) -> int:
    """Bytes that ``DeviceWindows`` puts on the device: float32 readings, a byte of mask each, float32 time channels."""
    readings = data.series.values_TNC.size
    times = 4 * data.series.num_steps * data.window_format.num_times
    return (5 if data.series.rest_TNC is None else 9) * readings + times


def fits(data: ForecastData, device: torch.device) -> bool:
    """Whether the series should lie on this GPU: it takes at most a quarter of the free memory there."""
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return series_bytes(data) <= SHARE_OF_MEMORY * free_bytes


class _Windows:
    """Windows of ``data``, counted on the host."""

    def __init__(self, data: ForecastData) -> None:
        self._form = data.window_format
        targets = list(self._form.target_channels)
        observed_TO = np.concatenate(
            [observed_RNC.sum(1, dtype=np.int64)[:, targets] for _, _, observed_RNC in stretches(data.series)]
        )
        self._observed_before_TO = np.pad(observed_TO.cumsum(axis=0), ((1, 0), (0, 0)))

    def count_observed(self, starts: np.ndarray) -> np.ndarray:
        """(O,) int64, observed targets of these windows, by channel; counted on the host, without asking the device."""
        first, before_TO = starts + self._form.past_steps, self._observed_before_TO
        counts_O: np.ndarray = (before_TO[first + self._form.future_steps] - before_TO[first]).sum(axis=0)
        return counts_O


class HostWindows(_Windows):
    """A batch of windows at fixed addresses on ``device``, gathered on the host by ``gatherer``."""

    def __init__(self, data: ForecastData, device: torch.device, batch_size: int, gatherer: Gatherer) -> None:
        super().__init__(data)
        self._gatherer, self._pinned = gatherer, device.type == "cuda"
        self._batch = data.gather(np.full(batch_size, data.train.starts_W[0])).to(device)

    def place(self, starts: np.ndarray) -> None:
        """Puts these windows, as many as there is room for, into the batch that ``gather`` reads; waits for nothing."""
        for here, there in zip(_tensors(self._gatherer.gather(starts)), _tensors(self._batch), strict=True):
            there.copy_(here.pin_memory() if self._pinned else here, non_blocking=True)

    def gather(self, starts_B: Tensor) -> Batch:
        """The windows that were placed, as ``DeviceWindows.gather``; their starts are not read."""
        return self._batch


def _tensors(batch: Batch) -> list[Tensor]:
    tensors = (batch.x_BPNC, batch.y_BFNO, batch.observed_BFNO, batch.labels_BFNO, batch.known_BFNK)
    return [tensor for tensor in tensors if tensor is not None]


class DeviceWindows(_Windows):
    """One copy of the series as tensors of ``device``."""

    def __init__(self, data: ForecastData, device: torch.device) -> None:
        super().__init__(data)
        series, form = data.series, data.window_format
        self.device = device
        self._values_TNC = torch.empty(series.values_TNC.shape, dtype=torch.float32, device=device)
        self._observed_TNC = torch.empty(series.values_TNC.shape, dtype=torch.bool, device=device)
        self._rest_TNC = None if series.rest_TNC is None else torch.empty_like(self._values_TNC)
        for start, values_RNC, observed_RNC in stretches(series):  # a memory map is never loaded completely
            rows = slice(start, start + len(values_RNC))
            self._values_TNC[rows] = torch.tensor(values_RNC)
            self._observed_TNC[rows] = torch.tensor(observed_RNC)
            if series.rest_TNC is not None and self._rest_TNC is not None:
                self._rest_TNC[rows] = torch.tensor(series.rest_TNC[rows])
        self._time_TD = torch.from_numpy(time_channels(series.times_T, form)).to(device)
        self._all_digits = data.all_digits
        dtype = torch.float64 if data.all_digits else torch.float32
        self._mean_C = torch.tensor(data.scaler.mean, dtype=dtype, device=device)
        self._std_C = torch.tensor(data.scaler.std, dtype=dtype, device=device)
        self._targets_O = torch.tensor(form.target_channels, device=device)
        self._known_K = torch.tensor(form.known_channels, dtype=torch.int64, device=device)
        self._step_S = torch.arange(form.window_steps, device=device)

    def batch(self, starts: np.ndarray) -> Batch:
        """The batch of ``ForecastData.gather(starts)``, on the device."""
        starts_B = torch.from_numpy(np.ascontiguousarray(starts, dtype=np.int64)).to(self.device)
        return replace(self.gather(starts_B), starts=starts)

    def gather(self, starts_B: Tensor) -> Batch:
        """Windows whose starts lie on the device, and are not in the batch.

        Shapes depend on B alone and nothing waits for the device, so that the call can stand in a CUDA graph.
        """
        past, sensors = self._form.past_steps, self._values_TNC.shape[1]
        rows_BS = starts_B[:, None] + self._step_S
        values_BSNC = self._values_TNC[rows_BS]
        observed_BSNC = self._observed_TNC[rows_BS]
        exact_BSNC = values_BSNC.double() if self._all_digits else values_BSNC
        if self._rest_TNC is not None:
            exact_BSNC = exact_BSNC + self._rest_TNC[rows_BS]
        scaled_BSNC = self._readable(exact_BSNC, observed_BSNC)
        x_BPNC = scaled_BSNC[:, :past]
        if self._time_TD.shape[1]:
            time_BPND = self._time_TD[rows_BS[:, :past]][:, :, None].expand(-1, -1, sensors, -1)
            x_BPNC = torch.cat([x_BPNC, time_BPND], dim=-1)
        known_BFNK = None
        if self._form.num_known:
            known_BFNK = scaled_BSNC[:, past:].index_select(-1, self._known_K)
            if self._form.calendar_ahead:
                time_BFND = self._time_TD[rows_BS[:, past:]][:, :, None].expand(-1, -1, sensors, -1)
                known_BFNK = torch.cat([known_BFNK, time_BFND], dim=-1)
        return Batch(
            x_BPNC=x_BPNC.contiguous(),
            y_BFNO=values_BSNC[:, past:].index_select(-1, self._targets_O),
            observed_BFNO=observed_BSNC[:, past:].index_select(-1, self._targets_O),
            labels_BFNO=scaled_BSNC[:, past:].index_select(-1, self._targets_O),
            starts=_NO_STARTS,
            known_BFNK=known_BFNK,
        )

    def _readable(self, values_BSNC: Tensor, observed_BSNC: Tensor) -> Tensor:
        """``inputs.readable`` in PyTorch."""
        scaled_BSNC = ((values_BSNC - self._mean_C) / self._std_C).float()
        if self._form.missing_input == "zero":
            return scaled_BSNC
        scaled_BSNC = torch.where(observed_BSNC, scaled_BSNC, 0.0)
        if self._form.missing_input == "mean":
            return scaled_BSNC
        step_BSNC = torch.where(observed_BSNC, self._step_S.view(1, -1, 1, 1), 0)
        return scaled_BSNC.gather(1, step_BSNC.cummax(dim=1).values)
