"""``torch.export`` of the model itself: a program of this package's operators, for whoever has them."""

import io

import numpy as np
import pytest
import scipy.sparse
import torch

from dcrnn_fast.kernels import DiffusionTerms
from dcrnn_fast.model import DCRNN


@pytest.mark.slow
def test_an_exported_module_is_saved_loaded_and_called() -> None:
    links = scipy.sparse.random(5, 5, 0.5, random_state=0, dtype=np.float64)
    terms = DiffusionTerms.from_operators([scipy.sparse.identity(5), links, links.T])
    model = DCRNN(terms, input_channels=2, output_channels=1, future_steps=2, hidden_units=4, num_layers=1).eval()
    x_BPNC = torch.randn(3, 2, 5, 2)
    program = torch.export.export(model, (x_BPNC,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    stream = io.BytesIO()
    torch.export.save(program, stream)
    stream.seek(0)
    loaded = torch.export.load(stream).module()
    for windows in (1, 3):
        torch.testing.assert_close(loaded(x_BPNC[:windows]), model(x_BPNC[:windows]), rtol=0, atol=0)
