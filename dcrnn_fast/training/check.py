"""``check``: a run's start, without training."""

from dataclasses import replace

from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.ranks.group import Ranks, join_ranks
from dcrnn_fast.training.account import whole_account
from dcrnn_fast.training.start import asked_for, open_run


def check(config: Config, ranks: Ranks | None = None) -> list[str]:
    """Opens everything, tries one window, changes nothing; returns how the run was understood, line by line.

    Raises UserError as ``fit`` does.
    """
    return understood(config, ranks)[0]


def understood(config: Config, ranks: Ranks | None = None) -> tuple[list[str], ForecastData]:
    """``check``, and the data; on rank 0 alone there are lines."""
    ranks = join_ranks(config.training.dist_timeout) if ranks is None else ranks
    with ranks.reporting_failure():
        run, found = open_run(replace(config, data=replace(config.data, stage="off")), ranks)
        return whole_account(run, asked_for(config, found), found) if ranks.is_first else [], run.data
