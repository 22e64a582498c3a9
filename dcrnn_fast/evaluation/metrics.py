"""Masked MAE, RMSE, MAPE and WAPE from sums and counts, at every horizon, for every sensor and target channel.

Shape legend: B batch, F future steps (horizons), N nodes, O target channels, S the six sums.

Nothing is averaged before the end: batches, ranks and micro-batches of any size add up to the same figures as one pass
over all windows, and a window that is not added is not counted. The sums are float64: float32 would lose the small
errors of a long test set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Kind = Literal["at", "cumulative"]
KINDS: tuple[Kind, ...] = ("at", "cumulative")

_SUMS = 6
_ABSOLUTE, _SQUARED, _COUNT, _RELATIVE, _RELATIVE_COUNT, _TARGET = range(_SUMS)


@dataclass(frozen=True)
class Scores:
    """Four figures of one set of forecasts; arrays of one shape, NaN where no target was observed.

    ``mae`` and ``rmse`` are in the channel's unit; ``mape`` and ``wape`` are fractions (0.05 is 5 %): the mean of the
    relative errors, and the sum of the errors over the sum of the targets' sizes, which readings near 0 do not dominate
    (both NaN if all targets are 0).
    ``count`` counts the observed targets.
    """

    mae: NDArray[np.float64]
    rmse: NDArray[np.float64]
    mape: NDArray[np.float64]
    count: NDArray[np.int64]
    wape: NDArray[np.float64]


class HorizonSums:
    """Error sums and counts for each horizon, sensor and target channel.

    ``sums_SFNO`` (float64) is the complete state; it is linear in the windows, so that
    ``torch.distributed.all_reduce(sums.sums_SFNO)`` makes the sums of all ranks.

    MAPE leaves out the targets that are exactly 0, even if zeros are real values (``missing`` is ``nan`` or ``none``):
    they have no relative error. MAE, RMSE and WAPE keep them.
    """

    def __init__(
        self, future_steps: int, num_nodes: int, num_targets: int = 1, device: torch.device | str = "cpu"
    ) -> None:
        self.sums_SFNO = torch.zeros(_SUMS, future_steps, num_nodes, num_targets, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, prediction_BFNO: Tensor, target_BFNO: Tensor, observed_BFNO: Tensor) -> None:
        """Add a batch of forecasts.

        Args:
            prediction_BFNO, target_BFNO: any float type, original units, on one device with the sums.
            observed_BFNO: bool, true where the target counts. Values at the other places are never read, so that a NaN
                there does no harm; a NaN forecast of an observed target makes the figure NaN.
        Raises:
            ValueError: shapes disagree.
        """
        wanted = tuple(self.sums_SFNO.shape[1:])
        for name, tensor in (("prediction", prediction_BFNO), ("target", target_BFNO), ("observed", observed_BFNO)):
            if tuple(tensor.shape) != (prediction_BFNO.shape[0], *wanted):
                raise ValueError(
                    f"HorizonSums.add: {name} must be (B, F, N, O) = (B, {wanted[0]}, {wanted[1]}, {wanted[2]}) with "
                    f"the prediction's B, got {tuple(tensor.shape)}"
                )
        zero = torch.zeros((), dtype=torch.float64, device=self.sums_SFNO.device)
        target = target_BFNO.double()
        error = torch.where(observed_BFNO, prediction_BFNO.double() - target, zero).abs_()
        relative_BFNO = observed_BFNO & (target != 0)
        self.sums_SFNO[_ABSOLUTE] += error.sum(0)
        self.sums_SFNO[_SQUARED] += error.square().sum(0)
        self.sums_SFNO[_COUNT] += observed_BFNO.sum(0)
        self.sums_SFNO[_RELATIVE] += torch.where(relative_BFNO, error / target.abs(), zero).sum(0)
        self.sums_SFNO[_RELATIVE_COUNT] += relative_BFNO.sum(0)
        self.sums_SFNO[_TARGET] += torch.where(observed_BFNO, target, zero).abs_().sum(0)

    def part(
        self,
        *,
        steps: slice = slice(None),
        nodes: Sequence[int] | None = None,
        channels: Sequence[int] | None = None,
    ) -> "HorizonSums":
        """The sums of some steps (a slice, from 0), sensors and target channels (their numbers) alone."""
        sums_SFNO = self.sums_SFNO[:, steps]
        sums_SFNO = sums_SFNO if nodes is None else sums_SFNO[:, :, list(nodes)]
        sums_SFNO = sums_SFNO if channels is None else sums_SFNO[..., list(channels)]
        part = HorizonSums(0, 0)
        part.sums_SFNO = sums_SFNO
        return part

    def by_horizon(self, kind: Kind = "at", channel: int | None = None) -> Scores:
        """Scores (F,) over all sensors, of one target channel or pooled over all.

        ``at``: horizon h alone. ``cumulative``: horizons 1..h pooled (every observed target counts once), as in some
        published tables; the two must never be set side by side without the label.
        """
        sums_SF = self._numpy(channel).sum(axis=(2, 3))
        return _scores(sums_SF if kind == "at" else np.cumsum(sums_SF, axis=1))

    def by_sensor(self, horizon: int | None = None, channel: int | None = None) -> Scores:
        """Scores (N,) of every sensor at horizon step ``horizon`` (1-based), or pooled over all horizons."""
        sums_SFN = self._numpy(channel).sum(axis=3)
        return _scores(sums_SFN.sum(axis=1) if horizon is None else sums_SFN[:, horizon - 1])

    def overall(self, channel: int | None = None) -> Scores:
        """Scores () over all horizons and sensors."""
        return _scores(self._numpy(channel).sum(axis=(1, 2, 3)))

    def _numpy(self, channel: int | None) -> NDArray[np.float64]:
        sums = self.sums_SFNO.cpu().numpy()
        return sums if channel is None else sums[..., channel : channel + 1]


def _scores(sums: NDArray[np.float64]) -> Scores:
    count, relative_count = sums[_COUNT], sums[_RELATIVE_COUNT]
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: nothing observed, a NaN by definition
        return Scores(
            mae=sums[_ABSOLUTE] / count,
            rmse=np.sqrt(sums[_SQUARED] / count),
            mape=sums[_RELATIVE] / relative_count,
            count=count.astype(np.int64),
            wape=sums[_ABSOLUTE] / np.where(sums[_TARGET] > 0, sums[_TARGET], np.nan),
        )
