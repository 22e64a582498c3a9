#!/bin/sh
# pandas 3.1.1 with pyarrow 26.0.1: set_index on a column of evenly spaced integers (nanoseconds since 1970) makes a
# RangeIndex of it, and to_parquet then keeps no column for it: start, stop and step stand in the file's pandas metadata
# alone. Every reader that takes the columns (pyarrow.parquet.read_table, other languages) finds no times.
# Seen: "RangeIndex ['a'] [{'kind': 'range', 'name': 't', 'start': 1704067200000000000, ...". With uneven steps: ['a', 't'].
# Exit 0: still so; 1: it is otherwise now.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pandas==3.1.1 pyarrow==26.0.1
cd "$folder"
env -u PYTHONPATH venv/bin/python - <<'P'
import sys

import pandas as pd
import pyarrow.parquet as pq


def stored(steps):
    times = [1704067200000000000 + 300_000_000_000 * step for step in steps]
    frame = pd.DataFrame({"t": times, "a": [1.0, 2.0, 3.0, 4.0]}).set_index("t")
    frame.to_parquet("x.parquet")
    names = pq.read_table("x.parquet").column_names
    print(type(frame.index).__name__, names, pq.read_schema("x.parquet").pandas_metadata["index_columns"])
    return sorted(names)


sys.exit(not (stored([0, 1, 2, 3]) == ["a"] and stored([0, 1, 2, 4]) == ["a", "t"]))
P
