#!/bin/sh
# onnxruntime 1.32.0 (onnx 1.23.2): a Scan that carries a state whose first axis is of length 0, as with a dynamic batch of
# no windows, ends the process by a signal (SIGFPE, an integer division by 0) instead of giving outputs of no windows.
# Seen: "1 window: (1, 3, 2)", then the signal 8.
# Exit 0: still so; 1: it is otherwise now.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
cat > scan.py <<'P'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper


def tensor(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


step = helper.make_graph(
    [helper.make_node("Add", ["state", "one"], ["after"]), helper.make_node("Identity", ["after"], ["each"])],
    "step",
    [tensor("state", "batch", 2), tensor("one", "batch", 2)],
    [tensor("after", "batch", 2), tensor("each", "batch", 2)],
)
scan = helper.make_node(
    "Scan", ["first", "x"], ["last", "y"], body=step, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1]
)
graph = helper.make_graph([scan], "g", [tensor("x", "batch", 3, 2), tensor("first", "batch", 2)], [tensor("y", "batch", 3, 2)])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
checker.check_model(model)
batch = int(sys.argv[1])
given = {"x": np.zeros((batch, 3, 2), np.float32), "first": np.zeros((batch, 2), np.float32)}
print(f"{batch} window:", onnxruntime.InferenceSession(model.SerializeToString()).run(None, given)[0].shape, flush=True)
P
env -u PYTHONPATH venv/bin/python scan.py 1
ended=0
env -u PYTHONPATH venv/bin/python scan.py 0 || ended=$?
echo "0 windows: exit $ended"
test "$ended" -gt 128
