#!/bin/sh
# torch_geometric_temporal 0.56.2 (torch 2.13.0, torch_geometric 2.8.1): DConv, and so DCRNN and their batched versions,
# divides each node's reading by the sum of its links' weights and never multiplies by the link's own weight. DCRNN's
# diffusion step is D^-1 W; this is D^-1 (W > 0): a sensor's links all count the same, shares no longer add up to 1, and
# links of 0.02 and 0.08 hand on 20 times the reading. On links of weight 1 there is no difference.
# Seen, three sensors, links 0 -> 1 of 0.02 and 0 -> 2 of 0.08, reading 5 at sensor 0: sensors 1 and 2 get [50, 50], by the
# formula [1, 4]; the two weights exchanged: [50, 50] again; both weights 1: [2.5, 2.5], as by the formula.
# dcrnn.py is loaded alone: the package's own import wants torch_sparse, which has to be compiled.
# Exit 0: still so; 1: it is otherwise now.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
pip torch==2.13.0 numpy==2.4.6 torch_geometric==2.8.1
pip --no-deps torch-geometric-temporal==0.56.2
cd "$folder"
env -u PYTHONPATH venv/bin/python - <<'P'
import importlib.util
import sys
import sysconfig

import torch

path = sysconfig.get_paths()["purelib"] + "/torch_geometric_temporal/nn/recurrent/dcrnn.py"
spec = importlib.util.spec_from_file_location("dcrnn", path)
dcrnn = sys.modules["dcrnn"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dcrnn)

links = torch.tensor([[0, 0, 1, 2], [1, 2, 0, 0]])
readings = torch.tensor([[5.0], [0.0], [0.0]])


def one_step(kind, weights):
    layer = kind(1, 1, K=2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 1] = 1.0  # the forward direction's first diffusion step, nothing else
        got = layer(readings, links, torch.tensor(weights)).flatten()
    dense = torch.zeros(3, 3)
    dense[links[0], links[1]] = torch.tensor(weights)
    formula = ((dense / dense.sum(1, keepdim=True)).T @ readings).flatten()
    print(kind.__name__, weights[:2], "got", got[1:].tolist(), "formula", formula[1:].tolist())
    return got[1:], formula[1:]


still = True
for kind in (dcrnn.DConv, dcrnn.BatchedDConv):
    for weights, seen in (([0.02, 0.08, 1.0, 1.0], 50.0), ([0.08, 0.02, 1.0, 1.0], 50.0), ([1.0, 1.0, 1.0, 1.0], 2.5)):
        got, formula = one_step(kind, weights)
        same = torch.allclose(got, formula)
        still = still and torch.allclose(got, torch.tensor([seen, seen])) and same == (weights[0] == 1.0)
sys.exit(not still)
P
