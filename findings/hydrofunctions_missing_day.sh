#!/bin/sh
# hydrofunctions 0.2.4 (pandas 3.1.1, numpy 2.4.6): where daily values of the USGS have a gap, extract_nwis_df takes their
# interval from the third and fourth value alone and keeps only what lies on that grid. If the gap is between those two,
# half of all days are thrown away without a word, however long the series; a gap elsewhere costs nothing.
# Seen, June 2021 without the 4th (29 values): 15 rows, 15 values, meta says 2 days; without the 10th: 30 rows, 29 values.
# The answer is made here, in the layout of the service's JSON for daily values; nothing is downloaded.
# Exit 0: still so; 1: it is otherwise now.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  hydrofunctions==0.2.4 pandas==3.1.1 numpy==2.4.6
cd "$folder"
env -u PYTHONPATH venv/bin/python - <<'P'
import sys

import hydrofunctions


def kept(missing):
    values = [
        {"value": str(100 + day), "qualifiers": ["A"], "dateTime": f"2021-06-{day:02}T00:00:00.000"}
        for day in range(1, 31)
        if day != missing
    ]
    series = {
        "name": "USGS:01570500:00060:00003",
        "sourceInfo": {
            "siteName": "a river",
            "geoLocation": {"geogLocation": {"srs": "EPSG:4326", "latitude": 40.3, "longitude": -76.9}},
        },
        "variable": {
            "noDataValue": -999999.0,
            "variableDescription": "Discharge, cubic feet per second",
            "unit": {"unitCode": "ft3/s"},
        },
        "values": [{"value": values, "method": [{"methodDescription": "", "methodID": 0}]}],
    }
    frame, meta = hydrofunctions.extract_nwis_df({"value": {"timeSeries": [series]}})
    interval = meta["USGS:01570500"]["timeSeries"]["00060"]["variableFreq"]
    counts = len(frame), int(frame["USGS:01570500:00060:00003"].notna().sum())
    print("without day", missing, "rows and values", counts, interval)
    return counts


sys.exit(not (kept(4) == (15, 15) and kept(10) == (30, 29)))
P
