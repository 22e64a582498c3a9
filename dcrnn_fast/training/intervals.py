"""The end of a training: prediction intervals from the best epoch's errors on the validation windows."""

import torch

from dcrnn_fast.checkpoints.intervals import put_intervals
from dcrnn_fast.checkpoints.save import BEST, LATEST
from dcrnn_fast.data.batches import GlobalBatches
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.calibration import AbsoluteErrors, Calibration, calibration_of, calibration_windows
from dcrnn_fast.evaluation.intervals import LEVELS
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.records.events import Calibrating
from dcrnn_fast.records.lock import FolderLock
from dcrnn_fast.records.watchers import Watchers
from dcrnn_fast.training.folders import checkpoint_folder
from dcrnn_fast.training.loss import original_units
from dcrnn_fast.training.memory import naming_what_fits
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.run import Run


def calibrated(run: Run, stop: StopRequest, watchers: Watchers) -> Calibration | None:
    """Intervals of the weights that the model has now, from the validation windows, each once, of all ranks.

    Collective: every rank returns the same. None: stopped before the end, on request.
    """
    data, ranks, replicas = run.data, run.ranks, run.ranks.replicas
    form, at_least = data.window_format, run.config.model.at_least
    starts_W = calibration_windows(data, data.validation.starts_W)
    errors = AbsoluteErrors(len(starts_W), form.future_steps, data.graph.num_nodes, form.output_channels)
    run.model.eval()
    rounds = GlobalBatches(len(starts_W), run.config.training.batch_size * replicas.size, shuffle=False)
    shares = (mine for batch in rounds.epoch(0) for mine in batch.share(replicas.rank, replicas.size, 1))
    with torch.no_grad(), run.host_windows.following(starts_W[mine] for mine in shares if len(mine)):
        for global_batch in rounds.epoch(0):
            (asked_to_stop,) = ranks.sum_integers(stop.requested)
            if asked_to_stop:
                return None
            (mine,) = global_batch.share(replicas.rank, replicas.size, 1)
            if len(mine):
                with naming_what_fits(run, training=False):
                    batch = run.gather(starts_W[mine])
                    forecast_BFNO = original_units(run.predict(batch), run.mean_O, run.std_O)
                    forecast_BFNO = forecast_BFNO.clamp(min=at_least) if at_least is not None else forecast_BFNO
                    errors.add(mine, forecast_BFNO, batch.y_BFNO, batch.observed_BFNO, run.own_data.nodes)
            watchers.tell(Calibrating(global_batch.stop, len(starts_W)))
    ranks.sum_(errors.errors_WFNO, "gathering validation errors")
    return calibration_of(errors, data, starts_W, len(data.validation), LEVELS)


def keep_intervals(
    run: Run, progress: Progress, calibration: Calibration, watchers: Watchers, lock: FolderLock
) -> None:
    """Says what the calibration found and puts it into ``best.pt``, and into ``latest.pt`` if that is the same state.

    What was trained stands if that fails: a line says so.
    """
    for note in calibration.notes:
        watchers.say(note)
    if calibration.intervals is None or not run.ranks.is_first:
        return
    same = progress.position == 0 and progress.best_epoch == progress.epoch
    folder = checkpoint_folder(run.config)
    try:
        for name in (BEST, LATEST) if same else (BEST,):
            put_intervals(folder / name, calibration.intervals.to_state(), lock.require_held)
    except UserError as error:
        watchers.say(f"look: {error}; the training stands, `dcrnn-fast evaluate --calibrate` puts its intervals there")
