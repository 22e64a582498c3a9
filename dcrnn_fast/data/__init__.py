"""Files to series with a mask, to windows by index, to batches; the synthetic city; the prepared store."""

from typing import TYPE_CHECKING

from dcrnn_fast._lazy import lazy_names

if TYPE_CHECKING:
    from dcrnn_fast.data.batches import GlobalBatch, GlobalBatches, epoch_order, share
    from dcrnn_fast.data.city import synthetic_city
    from dcrnn_fast.data.dataset import Batch, ForecastData, assemble_data, future_times, open_data
    from dcrnn_fast.data.inputs import assemble_inputs
    from dcrnn_fast.data.scaler import Scaler, fit_scaler
    from dcrnn_fast.data.series import SensorSeries, make_series
    from dcrnn_fast.data.sources import read_series
    from dcrnn_fast.data.window_format import WindowFormat
    from dcrnn_fast.data.windows import WindowSet

__all__ = [
    "Batch",
    "ForecastData",
    "GlobalBatch",
    "GlobalBatches",
    "Scaler",
    "SensorSeries",
    "WindowFormat",
    "WindowSet",
    "assemble_data",
    "assemble_inputs",
    "epoch_order",
    "fit_scaler",
    "future_times",
    "make_series",
    "open_data",
    "read_series",
    "share",
    "synthetic_city",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Batch": "dcrnn_fast.data.dataset",
        "ForecastData": "dcrnn_fast.data.dataset",
        "GlobalBatch": "dcrnn_fast.data.batches",
        "GlobalBatches": "dcrnn_fast.data.batches",
        "Scaler": "dcrnn_fast.data.scaler",
        "SensorSeries": "dcrnn_fast.data.series",
        "WindowFormat": "dcrnn_fast.data.window_format",
        "WindowSet": "dcrnn_fast.data.windows",
        "assemble_data": "dcrnn_fast.data.dataset",
        "assemble_inputs": "dcrnn_fast.data.inputs",
        "epoch_order": "dcrnn_fast.data.batches",
        "fit_scaler": "dcrnn_fast.data.scaler",
        "future_times": "dcrnn_fast.data.dataset",
        "make_series": "dcrnn_fast.data.series",
        "open_data": "dcrnn_fast.data.dataset",
        "read_series": "dcrnn_fast.data.sources",
        "share": "dcrnn_fast.data.batches",
        "synthetic_city": "dcrnn_fast.data.city",
    },
)
