#!/bin/sh
# torch 2.13.0: torch.export.export takes a module with a submodule that is named "graph" and holds a buffer, and
# torch.export.save and load take the program; only program.module() fails, for a GraphModule's own "graph" is its
# torch.fx.Graph. Named otherwise, the same module works.
# Seen: "graph: RuntimeError: Node graph_value target graph.value references nonexistent attribute value of graph".
# Exit 0: still so; 1: it is otherwise now.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy
cd "$folder"
env -u PYTHONPATH venv/bin/python - <<'P'
import sys

import torch


class Holder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("value", torch.ones(3))


class Model(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name = name
        self.add_module(name, Holder())

    def forward(self, x):
        return x * self.get_submodule(self.name).value


def fails(name):
    program = torch.export.export(Model(name), (torch.ones(3),))
    try:
        program.module()(torch.ones(3))
    except RuntimeError as error:
        print(f"{name}: RuntimeError: {str(error).splitlines()[0]}")
        return True
    print(f"{name}: works")
    return False


sys.exit(not (fails("graph") and not fails("links")))
P
