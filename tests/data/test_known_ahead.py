"""Channels that are known for the forecast's steps: what the decoder is given of them, and which are refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.ahead import Gatherer
from dcrnn_fast.data.dataset import Batch, ForecastData
from dcrnn_fast.data.device_windows import DeviceWindows, HostWindows
from dcrnn_fast.data.inputs import time_channels
from dcrnn_fast.data.known_ahead import known_lines, known_looks
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.window_account import facts_of
from dcrnn_fast.data.window_format import WindowFormat, known_ahead_words
from dcrnn_fast.errors import UserError
from tests.capture_lint import CaptureLint
from tests.data.made_series import random_series, ring

CPU = torch.device("cpu")


def made(*known_ahead: str, **settings: Any) -> ForecastData:
    """Three channels at three sensors, c1 forecast of windows of 4 + 3 steps."""
    series = random_series(80, 3, 3, seed=5)
    config = {"past_steps": 4, "future_steps": 3, "targets": ("c1",), "day_of_week": True} | settings
    return assemble_data(series, ring(series), DataConfig(known_ahead=known_ahead, **config))


@pytest.mark.parametrize("missing_input", ["zero", "last", "mean"])
def test_the_decoder_is_given_what_loops_say(missing_input: str) -> None:
    data, starts = made("c2", "c0", missing_input=missing_input), [0, 33, 73]
    batch, series, scaler = data.gather(np.array(starts)), data.series, data.scaler
    assert batch.known_BFNK is not None
    assert batch.known_BFNK.shape == (3, 3, 3, 2 + 8)
    assert data.window_format.num_known == 10
    for b, start in enumerate(starts):
        for n in range(3):
            for k, c in enumerate((2, 0)):
                last = 0.0
                for step in range(7):
                    scaled = (float(series.values_TNC[start + step, n, c]) - scaler.mean[c]) / scaler.std[c]
                    if series.observed_TNC[start + step, n, c]:
                        last = scaled
                    elif missing_input != "zero":
                        scaled = last if missing_input == "last" else 0.0
                    if step >= 4:
                        np.testing.assert_allclose(batch.known_BFNK[b, step - 4, n, k], scaled, atol=2e-6)
        times_FD = time_channels(series.times_T[start + 4 : start + 7], data.window_format)
        np.testing.assert_array_equal(batch.known_BFNK[b, :, 1, 2:], times_FD)


@pytest.mark.parametrize(
    ("known_ahead", "times", "wanted"),
    [
        (("c2",), (False, False), 1),
        (("c2", "calendar"), (True, False), 2),
        (("calendar",), (True, True), 8),
        ((), (True, True), 0),
    ],
)
def test_all_ways_to_gather_agree(known_ahead: tuple[str, ...], times: tuple[bool, bool], wanted: int) -> None:
    """Whole, of some nodes, on the device, at fixed addresses; without names nothing is gathered."""
    data = made(*known_ahead, time_of_day=times[0], day_of_week=times[1])
    starts = np.array([2, 70, 41])
    batch = data.gather(starts)
    assert (0 if batch.known_BFNK is None else batch.known_BFNK.shape[-1]) == wanted == data.window_format.num_known
    windows = DeviceWindows(data, CPU)
    equal(windows.batch(starts), batch)
    placed = HostWindows(data, CPU, 3, Gatherer(data))
    placed.place(starts)
    equal(placed.gather(torch.from_numpy(starts)), batch)
    some = data.of_nodes(np.array([2, 0])).gather(starts)
    equal(some, replace(batch, **{name: tensor[:, :, [0, 2]] for name, tensor in tensors(batch).items()}))
    starts_B = torch.from_numpy(starts)
    with CaptureLint() as lint:
        windows.gather(starts_B)
    assert lint.calls > 5


def tensors(batch: Batch) -> dict[str, torch.Tensor]:
    names = ("x_BPNC", "y_BFNO", "observed_BFNO", "labels_BFNO", "known_BFNK")
    return {name: getattr(batch, name) for name in names if getattr(batch, name) is not None}


def equal(got: Batch, wanted: Batch) -> None:
    ours, theirs = tensors(got), tensors(wanted)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_channels_that_cannot_be_known_ahead_are_refused() -> None:
    with pytest.raises(UserError, match="known_ahead: no channel 'rain'; the channels beside the target are c0, c2"):
        made("rain")
    with pytest.raises(UserError, match="known_ahead: c1 is a target, which is forecast"):
        made("c1")
    with pytest.raises(UserError, match="known_ahead: c0 is a target"):
        made("c0", targets=())  # the first channel is forecast if none is named
    with pytest.raises(UserError, match="known_ahead must be each channel once"):
        DataConfig(known_ahead=("c0", "c0"))
    with pytest.raises(UserError, match="calendar needs --time-of-day or --day-of-week, and both are off"):
        DataConfig(known_ahead=("calendar",), time_of_day=False)
    one = random_series(80, 3, 1)
    with pytest.raises(UserError, match="no channel 'c9'; there is none but the target"):
        assemble_data(one, ring(one), DataConfig(known_ahead=("c9",)))
    named = replace(one, channels=("calendar",))
    with pytest.raises(UserError, match="calendar means time of day and day of the week, and city has a channel"):
        assemble_data(named, ring(named), DataConfig(known_ahead=("calendar",)))


def test_a_checkpoint_says_what_is_known_ahead() -> None:
    data = made("c2")
    form, state = data.window_format, data.window_format.to_state()
    assert WindowFormat.from_state(state) == form
    assert known_ahead_words(form) == "c2, the calendar"
    older = {name: value for name, value in state.items() if name not in ("known_channels", "calendar_ahead", "in_utc")}
    assert WindowFormat.from_state(older).num_known == 0
    for name, value, wrong in (
        ("known_channels", [3], "known channel 3, of 3 channels"),
        ("known_channels", [1], "known channel 1, of 3 channels, 1 of them targets"),
        ("known_channels", [2, 2], "different numbers of channels"),
        ("calendar_ahead", 1, "true or false"),
    ):
        with pytest.raises(UserError, match=wrong):
            WindowFormat.from_state({**state, name: value})
    with pytest.raises(UserError, match="the calendar ahead, and no channel of it"):
        WindowFormat.from_state({**state, "time_of_day": False, "day_of_week": False})
    form.require_config(data.config)
    with pytest.raises(UserError, match="has c2, the calendar known ahead, the configuration beside it nothing"):
        form.require_config(replace(data.config, known_ahead=()))


def test_the_account_counts_what_is_missing() -> None:
    data = made("c2", missing_input="last")
    share = 1 - np.asarray(data.series.observed_TNC)[..., 2].mean()
    (line,) = known_lines(data, facts_of(data))
    assert line == (
        f"known ahead: c2, the calendar (9 inputs of the decoder at each step); missing: {100 * share:.3g} % of c2, "
        "read as the last one observed in the window (--missing-input last)"
    )
    (look,) = known_looks(data, facts_of(data))
    assert look.startswith(f"look: c2 is known ahead, and {100 * share:.3g} % of it is missing, zeros among it")
    assert known_looks(made("c2", missing_input="zero"), facts_of(data)) == []
    assert known_lines(made(), facts_of(data)) == []
