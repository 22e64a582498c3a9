#!/bin/sh
# basicts 1.1.0 (torch 2.13.0): masked_r2 sets what the mask leaves out to 0 and then takes the targets' mean and spread
# over those zeros as well. Far from zero (speeds of 60) they are most of the spread, so with half of the readings missing
# a forecast that never moves gets an R2 of nearly 1. masked_corr takes its means and products over the missing targets
# too: a forecast that equals every reading gets about 0, and exactly 0 where missing ones are NaN.
# Seen, 12 steps of 3 sensors, every second reading missing: masked_r2 of a constant 0.9994 (-0.63 over the readings
# alone), masked_corr of a perfect forecast -0.07 (1.0 over the readings alone).
# The two files are loaded alone: the package's own import wants a pinned easytorch and more.
# Exit 0: still so; 1: it is otherwise now.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
pip torch==2.13.0 numpy==2.4.6
pip --no-deps basicts==1.1.0
cd "$folder"
env -u PYTHONPATH venv/bin/python - <<'P'
import runpy
import sys
import sysconfig

import torch

metrics = sysconfig.get_paths()["purelib"] + "/basicts/metrics/"
masked_r2 = runpy.run_path(metrics + "r_square.py")["masked_r2"]
masked_corr = runpy.run_path(metrics + "corr.py")["masked_corr"]

readings = 60 + torch.randn(1, 12, 3, generator=torch.Generator().manual_seed(0))
known = torch.zeros_like(readings)
known[:, ::2] = 1
targets, seen = readings * known, readings[:, ::2]  # windows, steps, sensors
constant = torch.full_like(readings, 60.0)
r2 = masked_r2(constant, targets, known).item(), masked_r2(constant[:, ::2], seen, None).item()
corr = masked_corr(readings, targets, known).item(), masked_corr(seen, seen, None).item()
nan = masked_corr(readings, targets.where(known.bool(), torch.nan), known).item()
print("R2 masked, over the readings:", r2, "correlation masked, over the readings, masked NaN:", *corr, nan)
sys.exit(not (r2[0] > 0.99 and r2[1] < 0.05 and corr[0] < 0.3 and corr[1] > 0.99 and nan == 0.0))
P
