"""Events of a made-up run for tests."""

from typing import Any

from dcrnn_fast.records.events import EpochRow, Started


def row(epoch: int = 1, **changes: Any) -> EpochRow:
    """The row of an epoch, with fields changed."""
    values: dict[str, Any] = {
        "epoch": epoch,
        "step": 8 * epoch,
        "learning_rate": 0.01,
        "label_probability": 0.5,
        "train_loss": 3.25,
        "gradient_norm": 2.0,
        "skipped_steps": 0,
        "validation_mae": 2.5,
        "validation_error": 0.25,
        "validation_rmse": 4.0,
        "validation_mape": 0.05,
        "best": 1,
        "train_seconds": 2.0,
        "validation_seconds": 0.5,
        "windows_per_second": 128.0,
        "data_wait_share": 0.25,
        "communication_share": 0.125,
        "gpu_utilisation_percent": 97.5,
        "cpu_percent": 12.5,
        "flops_per_second": 2e9,
        "peak_share": 0.5,
    }
    return EpochRow(**values | changes)


def started(*history: EpochRow, resumed: bool = False) -> Started:
    """The start of a run that has these epochs behind it, of 40 windows each."""
    return Started(resumed, len(history), 8 * len(history), history, 1, 40, 20, (("speed", "mph"),))
