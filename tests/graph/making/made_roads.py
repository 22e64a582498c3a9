"""Road networks in files as their programs write them, and one that is random."""

import json
from pathlib import Path

import numpy as np

Line = list[tuple[float, float]]


def graphml(
    nodes: dict[str, tuple[float, float]],
    edges: list[tuple[str, str, dict[str, object]]],
    *,
    crs: str = "epsg:4326",
    directed: bool = True,
) -> str:
    """As OSMnx writes it: a key for each attribute, all of them text; nodes are id -> (longitude, latitude)."""
    names = ["x", "y", "osmid", "oneway", "length", "geometry", "highway", "name", "reversed", "crs", "from", "to"]
    keys = {name: f"d{i}" for i, name in enumerate(names)}
    lines = [
        "<?xml version='1.0' encoding='utf-8'?>",
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">',
    ]
    for name, key in keys.items():
        what = "graph" if name == "crs" else "node" if name in ("x", "y") else "edge"
        lines.append(f'  <key id="{key}" for="{what}" attr.name="{name}" attr.type="string" />')
    lines.append(f'  <graph edgedefault="{"directed" if directed else "undirected"}">')
    lines.append(f'    <data key="{keys["crs"]}">{crs}</data>')
    for node, (x, y) in nodes.items():
        lines.append(
            f'    <node id="{node}">\n      <data key="d1">{y}</data>\n      <data key="d0">{x}</data>\n    </node>'
        )
    for a, b, facts in edges:
        lines.append(f'    <edge source="{a}" target="{b}" id="0">')
        lines += [f'      <data key="{keys[name]}">{value}</data>' for name, value in facts.items()]
        lines.append("    </edge>")
    return "\n".join([*lines, "  </graph>", "</graphml>", ""])


def wkt(line: Line) -> str:
    return "LINESTRING (" + ", ".join(f"{x} {y}" for x, y in line) + ")"


def random_city(seed: int, num_nodes: int = 60) -> tuple[dict[str, tuple[float, float]], list[tuple[str, str, Line]]]:
    """Nodes (longitude, latitude), and directed edges with bent lines; every third street leads one way only."""
    rng = np.random.default_rng(seed)
    places = np.stack([rng.uniform(8.4, 8.46, num_nodes), rng.uniform(49.0, 49.04, num_nodes)], axis=1)
    nodes = {f"n{i}": (float(x), float(y)) for i, (x, y) in enumerate(places)}
    edges: list[tuple[str, str, Line]] = []
    for i in range(num_nodes):
        for j in np.argsort(((places - places[i]) ** 2).sum(axis=1))[1:5]:
            bend = (places[i] + places[j]) / 2 + rng.normal(scale=3e-4, size=2)
            line = [nodes[f"n{i}"], (float(bend[0]), float(bend[1])), nodes[f"n{j}"]]
            edges.append((f"n{i}", f"n{j}", line))
            if rng.uniform() < 2 / 3:
                edges.append((f"n{j}", f"n{i}", line[::-1]))
    return nodes, edges


def write_stations(path: Path, places: dict[str, tuple[float, float]]) -> Path:
    """A table of stations; ``places`` are id -> (longitude, latitude)."""
    rows = [f"{name},{y:.9f},{x:.9f}" for name, (x, y) in places.items()]
    path.write_text("\n".join(["sensor_id,latitude,longitude", *rows, ""]))
    return path


def geojson(lines: list[tuple[Line, dict[str, object]]], **members: object) -> str:
    """As ogr2ogr writes it: a feature on each line."""
    features = [
        json.dumps({"type": "Feature", "properties": facts, "geometry": {"type": "LineString", "coordinates": line}})
        for line, facts in lines
    ]
    start = json.dumps({"type": "FeatureCollection", "name": "lines", **members})[:-1]
    return start + ', "features": [\n' + ",\n".join(features) + "\n]\n}\n"


def sumo(projection: str = "!", offset: str = "0.00,0.00") -> str:
    """A cross of four streets as netconvert writes it: west, north and east end there; no turn back, and none from west
    to north. Each street is 100 m long and ends 5 m before the junction C; ways through it are 10 m."""
    ends = {"W": (-105, 0), "N": (0, 105), "E": (105, 0)}
    edges, connections = [], []
    for name, (x, y) in ends.items():
        inner = x / 21, y / 21
        right = (-0.016 * y, 0.016 * x)
        for number, start, end, shift in ((f"{name}in", name, "C", 1), (f"{name}out", "C", name, -1)):
            far, near = ((px + shift * right[0], py + shift * right[1]) for px, py in ((x, y), inner))
            line = [far, near] if end == "C" else [near, far]
            shape = " ".join(f"{px:.2f},{py:.2f}" for px, py in line)
            edges.append(
                f'    <edge id="{number}" from="{start}" to="{end}" priority="-1" type="highway.primary">\n'
                f'        <lane id="{number}_0" index="0" allow="pedestrian" length="100.00" shape="{shape}"/>\n'
                f'        <lane id="{number}_1" index="1" disallow="pedestrian" length="100.00" shape="{shape}"/>\n'
                "    </edge>"
            )
    inner = []
    for place, (a, b) in enumerate((("W", "E"), ("N", "W"), ("N", "E"), ("E", "W"), ("E", "N"))):
        inner.append(
            f'    <edge id=":C_{place}" function="internal">\n        <lane id=":C_{place}_0" index="0" speed="9.26" '
            'length="10.00" shape="-1.00,0.00 1.00,0.00"/>\n    </edge>'
        )
        connections.append(
            f'    <connection from="{a}in" to="{b}out" fromLane="1" toLane="1" via=":C_{place}_0" dir="s" state="M"/>'
        )
        connections.append(f'    <connection from=":C_{place}" to="{b}out" fromLane="0" toLane="1" dir="s" state="M"/>')
    connections.append('    <connection from="Win" to="Nout" fromLane="0" toLane="0" dir="l" state="M"/>')
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<net version="1.20" junctionCornerDetail="5">',
            f'    <location netOffset="{offset}" convBoundary="-105,0,105,105" origBoundary="0,0,1,1" '
            f'projParameter="{projection}"/>',
            *inner,
            *edges,
            '    <edge id="foot" from="W" to="N" priority="-1">',
            '        <lane id="foot_0" index="0" allow="pedestrian" length="9.00" shape="-105.00,0.00 0.00,105.00"/>',
            "    </edge>",
            *connections,
            "</net>",
            "",
        ]
    )
