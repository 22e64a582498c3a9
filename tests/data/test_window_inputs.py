"""What a batch holds, against plain loops: scaled inputs, raw targets, labels, time channels, missing readings."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.dataset import ForecastData, future_times
from dcrnn_fast.data.inputs import assemble_inputs
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.errors import UserError
from tests.data.made_series import random_series, ring


def _data(**config: object) -> ForecastData:
    series = random_series(80, 3, 2, seed=5)
    settings = DataConfig(past_steps=4, future_steps=3, targets=("c1",), **config)  # type: ignore[arg-type]
    return assemble_data(series, ring(series), settings)


@given(starts=st.lists(st.integers(0, 73), max_size=5), missing_input=st.sampled_from(["zero", "last", "mean"]))
def test_a_batch_is_what_loops_say(starts: list[int], missing_input: str) -> None:
    data = _data(missing_input=missing_input, day_of_week=True)
    batch = data.gather(np.array(starts, dtype=np.int64))
    series, scaler = data.series, data.scaler
    assert batch.x_BPNC.shape == (len(starts), 4, 3, 2 + 1 + 7)
    assert batch.y_BFNO.shape == batch.labels_BFNO.shape == (len(starts), 3, 3, 1)
    for b, start in enumerate(starts):
        for n in range(3):
            last: list[float | None] = [None, None]
            for step in range(7):
                row = start + step
                read = []
                for c in range(2):
                    value = float(series.values_TNC[row, n, c])
                    scaled = (value - scaler.mean[c]) / scaler.std[c]
                    if series.observed_TNC[row, n, c]:
                        last[c] = scaled
                    elif missing_input == "mean" or (missing_input == "last" and last[c] is None):
                        scaled = 0.0
                    elif missing_input == "last":
                        scaled = last[c] or 0.0
                    read.append(scaled)
                if step < 4:
                    time = series.times_T[row].item()
                    day = [float(time.weekday() == k) for k in range(7)]
                    wanted = [*read, (time.hour * 60 + time.minute) / 1440, *day]
                    np.testing.assert_allclose(batch.x_BPNC[b, step, n].numpy(), wanted, atol=2e-6)
                else:
                    assert batch.y_BFNO[b, step - 4, n, 0] == series.values_TNC[row, n, 1]
                    assert batch.observed_BFNO[b, step - 4, n, 0] == series.observed_TNC[row, n, 1]
                    np.testing.assert_allclose(batch.labels_BFNO[b, step - 4, n, 0], read[1], atol=2e-6)


@pytest.mark.parametrize("missing_input", ["zero", "last", "mean"])
def test_what_the_network_reads_needs_nothing_but_the_window(missing_input: str) -> None:
    """A forecast that knows only the newest P steps reads what evaluation read."""
    data = _data(missing_input=missing_input)
    rows = slice(20, 24)
    series = data.series
    x_BPNC = assemble_inputs(
        data.window_format,
        data.scaler,
        series.readings(rows)[None],
        series.observed_TNC[None, rows],
        series.times_T[None, rows],
    )
    np.testing.assert_array_equal(x_BPNC, data.gather(np.array([20])).x_BPNC.numpy())


def test_inputs_do_not_depend_on_the_future() -> None:
    data = _data(missing_input="last")
    changed_TNC = data.series.values_TNC.copy()
    changed_TNC[24:] = 1.0
    changed = replace(data, series=replace(data.series, values_TNC=changed_TNC))
    np.testing.assert_array_equal(data.gather(np.array([20])).x_BPNC, changed.gather(np.array([20])).x_BPNC)
    assert not np.array_equal(data.gather(np.array([20])).y_BFNO, changed.gather(np.array([20])).y_BFNO)


def test_times_that_a_window_forecasts() -> None:
    data = _data()
    times = data.series.times_T
    assert data.target_times(np.array([5])).tolist() == [times[9:12].tolist()]
    assert future_times(times[8], data.window_format).tolist() == times[9:12].tolist()


def test_the_format_survives_a_checkpoint() -> None:
    form = _data(day_of_week=True).window_format
    assert WindowFormat.from_state(form.to_state()) == form
    assert WindowFormat.from_state({**form.to_state(), "in_utc": True}).in_utc
    older = {name: value for name, value in form.to_state().items() if name != "in_utc"}
    assert WindowFormat.from_state(older).in_utc is None
    assert (form.input_channels, form.output_channels, form.target_names, form.freq) == (10, 1, ("c1",), "5min")
    with pytest.raises(UserError, match="the saved window format"):
        WindowFormat.from_state({"past_steps": 3})


def test_unknown_targets_and_a_scaler_of_another_series() -> None:
    series = random_series(80, 3, 2)
    with pytest.raises(UserError, match="no channel 'speed'; the channels are c0, c1"):
        assemble_data(series, ring(series), DataConfig(targets=("speed",)))
    scaler = assemble_data(series.take_channels((0,)), ring(series), DataConfig()).scaler
    with pytest.raises(UserError, match=r"scaler has 1 channel\(s\), the series has 2"):
        assemble_data(series, ring(series), DataConfig(), scaler=scaler)


def test_a_sensor_without_any_reading_is_named() -> None:
    series = random_series(80, 3)
    observed_TNC = series.observed_TNC.copy()
    observed_TNC[:, 1] = False
    with pytest.raises(UserError, match=r"1 sensor\(s\) have no observed reading of 'c0' at all: 's1'"):
        assemble_data(replace(series, observed_TNC=observed_TNC), ring(series), DataConfig())
