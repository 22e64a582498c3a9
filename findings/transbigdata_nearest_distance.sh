#!/bin/sh
# transbigdata 0.5.3 (pandas 3.1.1, numpy 2.4.6): ckdnearest, with both tables' columns named lon and lat as its defaults
# say, computes "dist" from the first table's longitude and the second's latitude to the same point again: 0 metres for
# every row, whatever it was matched to, so no limit on the distance of a match does anything. With other names in one
# table the distance is right. Its nearest is the nearest in degrees, where a degree of longitude counts as much as one
# of latitude: at 60 degrees north it takes a point 2.2 km away for one that is 1.4 km away.
# Seen: dist [0.0, 0.0] where [1112, 9274] metres are right; of two points 2224 and 1382 metres away the former.
# Exit 0: still so; 1: it is otherwise now.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  transbigdata==0.5.3 pandas==3.1.1 numpy==2.4.6 geopandas==1.2.0 scipy==1.17.1 osmnx==2.1.1
cd "$folder"
env -u PYTHONPATH venv/bin/python - <<'P'
import sys

import pandas as pd
import transbigdata

sensors = pd.DataFrame({"lon": [-118.30, -118.40], "lat": [34.10, 34.10]})
junctions = pd.DataFrame({"lon": [-118.30, -118.45], "lat": [34.11, 34.20]})
same = transbigdata.ckdnearest(sensors, junctions)["dist"].tolist()
renamed = sensors.rename(columns={"lon": "x", "lat": "y"})
right = transbigdata.ckdnearest(renamed, junctions, Aname=["x", "y"])["dist"].round().tolist()
print("dist, names alike and not:", same, right)

north = pd.DataFrame({"x": [24.9], "y": [60.2]})
roads = pd.DataFrame({"lon": [24.9, 24.925], "lat": [60.22, 60.2]})
taken = round(transbigdata.ckdnearest(north, roads, Aname=["x", "y"])["dist"][0])
away = [round(transbigdata.getdistance(24.9, 60.2, lon, lat)) for lon, lat in roads.to_numpy()]
print("taken:", taken, "of", away)
sys.exit(not (same == [0.0, 0.0] and right == [1112.0, 9274.0] and taken == away[0] > 1.5 * away[1]))
P
