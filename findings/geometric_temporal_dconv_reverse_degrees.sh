#!/bin/sh
# torch_geometric_temporal 0.56.2 (torch 2.13.0, torch_geometric 2.8.1): in DConv, DCRNN and their batched versions the
# reverse direction's 1 / degree lies in the order of the links as given, while the reversed links are sorted anew: each
# reversed link is divided by the degree of another link's sensor. Where all degrees are equal it makes no difference.
# Seen, links both ways 0 - 1, 1 - 2, 2 - 3 and one way 3 -> 0, all of weight 1, each reading 12, one reverse step: sensors
# get [6, 12, 18, 18], by D_in^-1 W^T [6, 12, 18, 12], which hands on 48 in all and not 54. The forward step is right.
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


def one_step(kind, links, direction):
    sensors = int(links.max()) + 1
    readings = torch.full((sensors, 1), 12.0)
    layer = kind(1, 1, K=2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[direction, 1] = 1.0  # this direction's first diffusion step, nothing else
        got = layer(readings, links, torch.ones(links.shape[1])).flatten()
    dense = torch.zeros(sensors, sensors)
    dense[links[0], links[1]] = 1.0
    if direction == 1:
        dense = dense.T
    formula = ((dense / dense.sum(1, keepdim=True)).T @ readings).flatten()
    print(kind.__name__, "reverse" if direction else "forward", got.tolist(), "formula", formula.tolist())
    return torch.allclose(got, formula)


links = torch.tensor([[0, 1, 1, 2, 2, 3, 3], [1, 0, 2, 1, 3, 0, 2]])
still = all(one_step(kind, links, 0) and not one_step(kind, links, 1) for kind in (dcrnn.DConv, dcrnn.BatchedDConv))
sys.exit(not still)
P
