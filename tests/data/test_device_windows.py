"""Windows gathered by tensor operations are, bit for bit, those that the host gathers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.device_windows import DeviceWindows, series_bytes
from dcrnn_fast.data.opening import assemble_data
from tests.capture_lint import CaptureLint
from tests.data.made_series import random_series, ring

CPU = torch.device("cpu")


@given(
    starts=st.lists(st.integers(0, 73), min_size=1, max_size=5),
    missing_input=st.sampled_from(["zero", "last", "mean"]),
    targets=st.sampled_from([(), ("c1",), ("c1", "c0")]),
    times=st.tuples(st.booleans(), st.booleans()),
)
def test_device_and_host_gather_the_same(
    starts: list[int], missing_input: str, targets: tuple[str, ...], times: tuple[bool, bool]
) -> None:
    series = random_series(80, 3, 2, seed=5)
    config = DataConfig(
        past_steps=4, future_steps=3, missing_input=missing_input, targets=targets,  # type: ignore[arg-type]
        time_of_day=times[0], day_of_week=times[1],
    )  # fmt: skip
    data = assemble_data(series, ring(series), config)
    wanted = data.gather(np.array(starts))
    windows = DeviceWindows(data, CPU)
    got = windows.batch(np.array(starts))
    for name in ("x_BPNC", "y_BFNO", "observed_BFNO", "labels_BFNO"):
        torch.testing.assert_close(getattr(got, name), getattr(wanted, name), rtol=0, atol=0)
    assert windows.count_observed(np.array(starts)).tolist() == wanted.count_observed().tolist()


@pytest.mark.parametrize("missing_input", ["zero", "last", "mean"])
def test_gathering_can_stand_in_a_cuda_graph(missing_input: str) -> None:
    series = random_series(80, 3, 2, seed=5)
    config = DataConfig(past_steps=4, future_steps=3, missing_input=missing_input, day_of_week=True)  # type: ignore[arg-type]
    windows = DeviceWindows(assemble_data(series, ring(series), config), CPU)
    starts_B = torch.tensor([3, 70, 3])
    with CaptureLint() as lint:
        windows.gather(starts_B)
    assert lint.calls > 5


def test_bytes_are_those_of_the_tensors() -> None:
    series = random_series(80, 3, 2, seed=5)
    data = assemble_data(series, ring(series), DataConfig(past_steps=4, future_steps=3, day_of_week=True))
    held = [tensor for tensor in vars(DeviceWindows(data, CPU)).values() if isinstance(tensor, torch.Tensor)]
    large = sum(tensor.nbytes for tensor in held if tensor.shape[:1] == (80,))
    assert series_bytes(data) == large
    without = replace(data, window_format=replace(data.window_format, time_of_day=False, day_of_week=False))
    assert series_bytes(without) == 5 * series.values_TNC.size
