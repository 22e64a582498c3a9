"""Files to series with a mask, to windows by index, to batches; the synthetic city; the prepared store."""

from typing import TYPE_CHECKING

from dcrnn_fast._lazy import lazy_names

if TYPE_CHECKING:
    from dcrnn_fast.data.batches import GlobalBatch, GlobalBatches, epoch_order, share
    from dcrnn_fast.data.city import synthetic_city
    from dcrnn_fast.data.dataset import Batch, ForecastData, future_times
    from dcrnn_fast.data.inputs import assemble_inputs
    from dcrnn_fast.data.opening import assemble_data, open_data
    from dcrnn_fast.data.scaler import Scaler, fit_scaler
    from dcrnn_fast.data.series import SensorSeries
    from dcrnn_fast.data.series_from_readings import make_series
    from dcrnn_fast.data.sources import read_series
    from dcrnn_fast.data.window_format import WindowFormat
    from dcrnn_fast.data.windows import WindowSet

__all__ = [
    "Batch", "ForecastData", "GlobalBatch", "GlobalBatches", "Scaler", "SensorSeries", "WindowFormat", "WindowSet",
    "assemble_data", "assemble_inputs", "epoch_order", "fit_scaler", "future_times", "make_series", "open_data",
    "read_series", "share", "synthetic_city",
]  # fmt: skip

_NAMES_OF = {
    "batches": ("GlobalBatch", "GlobalBatches", "epoch_order", "share"),
    "city": ("synthetic_city",),
    "dataset": ("Batch", "ForecastData", "future_times"),
    "inputs": ("assemble_inputs",),
    "opening": ("assemble_data", "open_data"),
    "scaler": ("Scaler", "fit_scaler"),
    "series": ("SensorSeries",),
    "series_from_readings": ("make_series",),
    "sources": ("read_series",),
    "window_format": ("WindowFormat",),
    "windows": ("WindowSet",),
}
__getattr__ = lazy_names(__name__, {n: f"{__name__}.{module}" for module, names in _NAMES_OF.items() for n in names})
