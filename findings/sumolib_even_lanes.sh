#!/bin/sh
# sumolib 1.28.0: the shape of an edge with an even number of lanes is the mean of the lanes' first points, second points
# and so on, as many as the lane with the fewest has. Where lanes of one edge have different numbers of points (one of
# them has a shape of its own) it means points that do not lie beside each other and ends before the lanes end, so
# getNeighboringEdges misses a sensor that lies on the edge. getNeighboringLanes finds it, and so do odd numbers of lanes.
# Seen, two lanes with a bend at (1000, 0), one of 3 points and one of 5, both to (1000, 1000): the edge's shape is
# (0, 2) (650, 2) (800, 502); a sensor on the bend has no edge within 50 m, and a lane 0 m away.
# Exit 0: still so; 1: it is otherwise now.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check sumolib==1.28.0
cd "$folder"
cat >roads.net.xml <<'X'
<net version="1.20">
  <location netOffset="0,0" convBoundary="0,0,1000,1000" origBoundary="0,0,1000,1000" projParameter="!"/>
  <edge id="road" from="a" to="b" priority="1">
    <lane id="road_0" index="0" speed="30" length="2000" shape="0,0 1000,0 1000,1000"/>
    <lane id="road_1" index="1" speed="30" length="1992" shape="0,4 300,4 600,4 996,4 996,1000"/>
  </edge>
  <junction id="a" type="dead_end" x="0" y="0" incLanes="" intLanes="" shape="0,0 0,6"/>
  <junction id="b" type="dead_end" x="1000" y="1000" incLanes="road_0 road_1" intLanes="" shape="1002,1000 994,1000"/>
</net>
X
env -u PYTHONPATH venv/bin/python -W ignore - <<'P'
import sys

import sumolib

net = sumolib.net.readNet("roads.net.xml")
shape = net.getEdge("road").getShape()
edges = net.getNeighboringEdges(1000, 0, 50)
lanes = sorted((away, lane.getID()) for lane, away in net.getNeighboringLanes(1000, 0, 50))
print("edge:", shape, "edges within 50 m:", len(edges), "lanes:", lanes)
sys.exit(not (shape[-1] == (800.0, 502.0) and not edges and lanes[0] == (0.0, "road_0")))
P
