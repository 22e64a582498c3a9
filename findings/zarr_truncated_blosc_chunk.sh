#!/bin/sh
# zarr 3.1.6 with numcodecs 0.16.6: a chunk that Blosc stores as it is, because it cannot be compressed, and whose file
# is then cut short, is read without an error. The readings after the cut are whatever lies in memory behind the buffer:
# the length that Blosc's header names (bytes 12 to 15) is not compared with the length of the file. Both formats.
# Seen: "format 2: (12, 3, 4), no error, first wrong value at 68 of 144", and the same of format 3.
# Exit 0: still so; 1: it is otherwise now.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check zarr==3.1.6 numcodecs==0.16.6
cd "$folder"
env -u PYTHONPATH venv/bin/python - <<'P'
import pathlib
import sys

import numcodecs
import numpy as np
import zarr

values = np.random.default_rng(0).integers(-20000, 20000, (12, 3, 4)).astype("i2")
still = []
for zarr_format, compressor, chunk in ((2, numcodecs.Blosc(), "0.0.0"), (3, zarr.codecs.BloscCodec(), "c/0/0/0")):
    name = f"{zarr_format}.zarr"
    zarr.create_array(name, data=values, chunks=values.shape, zarr_format=zarr_format, compressors=compressor)
    path = pathlib.Path(name, chunk)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        read = zarr.open_array(name, mode="r")[:]
    except Exception as error:
        print(f"format {zarr_format}: {type(error).__name__}: {error}")
        still.append(False)
        continue
    wrong = (read != values).reshape(-1)
    print(f"format {zarr_format}: {read.shape}, no error, first wrong value at {int(wrong.argmax())} of {wrong.size}")
    still.append(bool(wrong.any()))
sys.exit(not all(still))
P
