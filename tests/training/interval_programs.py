"""What the ranks of tests of prediction intervals run; called by name in processes of the rank server."""

import os
import signal
from pathlib import Path
from typing import Any

from dcrnn_fast.evaluation.calibration import AbsoluteErrors
from dcrnn_fast.ranks.group import join_ranks
from dcrnn_fast.ranks.stopping import stop_on_signals
from dcrnn_fast.records.watchers import Watchers
from dcrnn_fast.training.intervals import calibrated
from dcrnn_fast.training.start import open_run
from tests.training.rank_programs import debug_config, train


def calibrates(path: str, *flags: str) -> int:
    """Writes the half widths of the untrained model, whose weights are the same on any number of ranks."""
    ranks = join_ranks(60)
    with stop_on_signals() as stop:
        run, _ = open_run(debug_config(*flags), ranks)
        found = calibrated(run, stop, Watchers([]))
    assert found is not None
    assert found.intervals is not None
    Path(f"{path}.{ranks.rank}").write_bytes(found.intervals.half_width_LFNO.tobytes())
    return 0


def gets_a_signal(name: str, *flags: str) -> int:
    """Trains, and gets this signal once it has the first errors for its intervals."""
    add = AbsoluteErrors.add

    def adding(self: AbsoluteErrors, *args: Any) -> None:
        add(self, *args)
        os.kill(os.getpid(), signal.Signals[name])

    AbsoluteErrors.add = adding  # type: ignore[method-assign]
    return train(*flags)
