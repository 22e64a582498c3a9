"""A model is built without leaving freed memory in the process."""

import sys

import numpy as np
import pytest
import scipy.sparse

from dcrnn_fast.config.sections import Config
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.model.build import build_model
from dcrnn_fast.planning.memory import anonymous_bytes

PIECE = 64 * 1024
"""bytes, too few for memory of their own"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is anonymous")
def test_a_model_leaves_no_holes_of_freed_memory() -> None:
    pieces = [bytearray(PIECE) for _ in range(1000)]
    del pieces[::2]  # between those that stay
    before = anonymous_bytes()
    adjacency = scipy.sparse.csr_array(np.eye(3) + np.ones((3, 3)))
    build_model(Config(), SensorGraph(adjacency, ("a", "b", "c")), input_channels=2, output_channels=1)
    assert before - anonymous_bytes() > 400 * PIECE, "half of the pieces"
    assert len(pieces) == 500
