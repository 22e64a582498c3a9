"""The count of a model's operations: by hand, and by torch's own counter over the specification."""

import numpy as np
import pytest
import scipy.sparse
import torch
from torch.utils.flop_counter import FlopCounterMode

from dcrnn_fast.kernels import DiffusionTerms
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.flops import forward_flops


def model(*, hidden_units: int, num_layers: int, known_channels: int = 0) -> DCRNN:
    """Three nodes, two terms beside the identity, with 4 and 2 entries; two channels in, one out, two future steps."""
    first = scipy.sparse.csr_array(np.array([[0, 1, 1], [1, 0, 0], [0, 1, 0]], dtype=np.float64))
    second = scipy.sparse.csr_array(np.array([[0, 0, 2], [0, 0, 0], [3, 0, 0]], dtype=np.float64))
    terms = DiffusionTerms.from_operators([scipy.sparse.eye_array(3).tocsr(), first, second])
    return DCRNN(
        terms,
        input_channels=2,
        output_channels=1,
        future_steps=2,
        hidden_units=hidden_units,
        num_layers=num_layers,
        known_channels=known_channels,
        backend="specification",
    )


def test_one_layer_by_hand() -> None:
    """N = 3, M = 3, E = 6, H = 4: encoder cells have (2 + 4) * 3 rows, decoder cells (1 + 4) * 3."""
    found = forward_flops(model(hidden_units=4, num_layers=1), past_steps=5)
    cells = 5 * 2 * 3 * 18 * 12 + 2 * 2 * 3 * 15 * 12
    projection = 2 * 2 * 3 * 4 * 1
    assert found.dense == cells + projection
    assert found.sparse == 5 * 2 * 6 * (2 + 4 + 4) + 2 * 2 * 6 * (1 + 4 + 4)
    assert found.training == 3 * found.dense + 2 * found.sparse


def test_known_channels_widen_the_decoders_first_cell() -> None:
    """By five features, in 3 terms, for three gates of 4 units."""
    without, found = (forward_flops(model(hidden_units=4, num_layers=2, known_channels=K), 5) for K in (0, 5))
    assert found.dense - without.dense == 2 * 2 * 3 * (5 * 3) * (3 * 4)
    assert found.sparse - without.sparse == 2 * 2 * 6 * 5


@pytest.mark.parametrize("num_layers", [1, 2])
def test_matrix_products_are_those_that_torch_counts(num_layers: int) -> None:
    """torch counts a sparse product as a dense one; the specification diffuses a cell's input twice."""
    B, N, P, F, H, S = 2, 3, 3, 2, 4, 6
    made = model(hidden_units=H, num_layers=num_layers)
    dense = B * forward_flops(made, P).dense
    widths = P * (2 + H) + F * (1 + H) + (num_layers - 1) * (P + F) * (H + H)
    diffusion = 2 * 2 * S * N * B * widths
    with FlopCounterMode(display=False) as counter:
        forecast = made(torch.randn(B, P, N, 2))
    assert counter.get_total_flops() == dense + diffusion
    with FlopCounterMode(display=False) as counter:
        forecast.sum().backward()
    # The first input and state are data: nobody asks for the gradient of the first gates by them.
    missing = 2 * B * N * (2 + H) * 3 * 2 * H + 2 * S * N * B * (2 + H)
    assert counter.get_total_flops() == 2 * dense + diffusion - missing
