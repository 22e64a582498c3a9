#!/bin/sh
# aeon 1.6.0 (pandas 3.0.6, numpy 2.3.5): load_from_tsf_file(return_type="pd_multiindex_hier") gives the series of a Monash
# .tsf file times on pandas' calendar for its @frequency: Sundays for weekly, the first of a month for monthly, 1 January
# for yearly. A start_timestamp on another day moves to the next of those: weekly readings up to 6 days late, series that
# start on different days of a week at the same times, hydrological years (from 1 October) three months late. The dates
# in the default return type are the file's.
# Seen: weekly from Monday 1996-03-18 and from Wednesday 1996-03-20, both: 1996-03-24; yearly from 1996-10-01: 1997-01-01.
# Exit 0: still so; 1: it is otherwise now.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check aeon==1.6.0 pandas==3.0.6 numpy==2.3.5
cd "$folder"
env -u PYTHONPATH venv/bin/python - <<'P'
import sys

from aeon.datasets import load_from_tsf_file


def first_times(frequency, *starts):
    with open("x.tsf", "w") as file:
        file.write("@relation made\n@attribute series_name string\n@attribute start_timestamp date\n")
        file.write(f"@frequency {frequency}\n@horizon 2\n@missing false\n@equallength true\n@data\n")
        file.writelines(f"T{n}:{start} 00-00-00:1,2,3\n" for n, start in enumerate(starts))
    frame, _ = load_from_tsf_file("x.tsf", return_type="pd_multiindex_hier")
    times = [str(frame.loc[f"T{n}"].index[0].date()) for n in range(len(starts))]
    print(frequency, starts, times)
    return times


weekly = first_times("weekly", "1996-03-18", "1996-03-20")
yearly = first_times("yearly", "1996-10-01")
daily = first_times("daily", "1996-03-18")
sys.exit(not (weekly == ["1996-03-24"] * 2 and yearly == ["1997-01-01"] and daily == ["1996-03-18"]))
P
