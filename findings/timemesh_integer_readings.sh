#!/bin/sh
# timemesh 0.2.2 (numpy 2.4.6, pandas 3.1.1): DataLoader(norm=...) writes the scaled readings back into an array of the
# readings' own type. A CSV of whole numbers (vehicles per interval, as detectors report flow) is read as int64, so each
# scaled value loses its fraction: "MM" gives 0 everywhere, "Z" a few whole numbers. No warning; the parameters are right.
# Seen, flows 0 to 22: MM {0}, Z {-1, 0, 1}; the same flows written as 0.0 to 22.0: 23 values each.
# Exit 0: still so; 1: it is otherwise now.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check timemesh==0.2.2 numpy==2.4.6 pandas==3.1.1
cd "$folder"
env -u PYTHONPATH venv/bin/python - <<'P'
import sys

import numpy as np
import timemesh


def scaled(form, norm):
    with open("flow.csv", "w") as file:
        file.write("flow\n" + "".join(form.format(step * 7 % 23) + "\n" for step in range(46)))
    inputs = timemesh.DataLoader(T=2, H=1, step=1, norm=norm).load_csv("flow.csv")[0]
    values = np.unique(inputs).tolist()
    print(norm, inputs.dtype, len(values), values[:3])
    return values


still = all(len(scaled("{:.1f}", norm)) == 23 for norm in ("MM", "Z"))
sys.exit(not (still and scaled("{}", "MM") == [0] and scaled("{}", "Z") == [-1, 0, 1]))
P
