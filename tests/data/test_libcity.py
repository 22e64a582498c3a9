"""LibCity's atomic files, as its converters write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.idle import idle_in_graph
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, from_distances, read_graph
from tests.data.written_files import IDS, write_dyna

PAIRS = [("773869", "767541", 100.0), ("767541", "a b", 250.0), ("a b", "773869", 400.0), ("elsewhere", "a b", 10.0)]
INFO = {
    "data_col": ["traffic_speed"],
    "weight_col": "cost",
    "data_files": ["CITY"],
    "geo_file": "CITY",
    "rel_file": "CITY",
    "output_dim": 1,
    "time_intervals": 300,
    "init_weight_inf_or_zero": "inf",
    "set_weight_link_or_dist": "dist",
    "calculate_weight_adj": True,
    "weight_adj_epsilon": 0.1,
}


def _write(folder: Path, column: str = "cost", **info: Any) -> Path:
    folder.mkdir(exist_ok=True)
    write_dyna(folder / "CITY.dyna")
    rows = [f"{k},geo,{a},{b},{cost}" for k, (a, b, cost) in enumerate(PAIRS)]
    head = f"rel_id,type,origin_id,destination_id,{column}"
    (folder / "CITY.rel").write_text("\n".join([head, *rows]) + "\n")
    config = {"geo": {"including_types": ["Point"]}, "info": INFO | {"weight_col": column} | info}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _read(path: Path, **graph: Any) -> tuple[SensorSeries, SensorGraph | None]:
    return read_source(DataConfig(data=str(path)), GraphConfig(**graph))


def test_a_folder_and_its_dyna_file_bring_their_graph(tmp_path: Path) -> None:
    folder = _write(tmp_path / "CITY")
    inside = PAIRS[:3]
    wanted = from_distances(*([pair[k] for pair in inside] for k in range(2)), [c for *_, c in inside], ids=IDS)
    for path in (folder, folder / "CITY.dyna"):
        series, graph = _read(path)
        assert (series.ids, series.channels, series.in_utc) == (tuple(IDS), ("traffic_speed",), False)
        assert series.positions_N2 is not None
        assert series.positions_N2.tolist() == [[34.0, -118.0], [34.1, -118.1], [34.2, -118.2]]
        assert graph is not None
        assert graph.ids == tuple(IDS)
        assert (graph.adjacency != wanted.adjacency).nnz == 0
    _, cut = _read(folder, sigma=200.0, threshold=0.5, allow_lost_links=True)
    assert cut is not None
    assert cut.num_edges == 1
    given = ("sigma", "threshold", "allow_lost_links", "nearest")
    assert set(idle_in_graph(GraphConfig(), DataConfig(data=str(folder)), given)) & set(given) == {"nearest"}
    assert _read(folder, graph="x.csv")[1] is None, "a graph that is given takes its place"


@pytest.mark.parametrize(
    ("column", "info", "weights"),
    [
        ("cost", {"set_weight_link_or_dist": "link"}, [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
        ("cost", {"set_weight_link_or_dist": "link", "bidir_adj_mx": True}, [[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
        ("link_weight", {"calculate_weight_adj": False}, [[0, 100, 0], [0, 0, 250], [400, 0, 0]]),
        (
            "cost",
            {"calculate_weight_adj": False, "init_weight_inf_or_zero": "zero"},
            [[0, 100, 0], [0, 0, 250], [400, 0, 0]],
        ),
    ],
)
def test_the_config_says_what_the_column_is(column: str, info: Any, weights: Any, tmp_path: Path) -> None:
    _, graph = _read(_write(tmp_path / "CITY", column, **info))
    assert graph is not None
    assert graph.adjacency.toarray().tolist() == weights


def test_a_column_that_may_be_either_is_told_by_a_flag(tmp_path: Path) -> None:
    folder = _write(tmp_path / "CITY", calculate_weight_adj=False)
    series, graph = _read(folder)
    assert graph is None
    rel = folder / "CITY.rel"
    assert (
        f"look: config.json does not say whether 'cost' of CITY.rel is a distance or a weight: give --graph {rel} with "
        "--graph-format distances or edges"
    ) in series.notes
    with pytest.raises(
        UserError, match=r"CITY: config\.json does not say whether 'cost' .* --graph-format distances or e"
    ):
        open_data(DataConfig(data=str(folder), past_steps=2, future_steps=2), GraphConfig())
    given = read_graph(GraphConfig(graph=str(rel), graph_format="distances"), ids=series.ids)
    assert given.num_edges == 3


def test_stations_in_one_file_only_are_told(tmp_path: Path) -> None:
    folder = _write(tmp_path / "CITY")
    geo = folder / "CITY.geo"
    text = geo.read_text()
    geo.write_text(text.replace("geo_id,type,coordinates\n", 'geo_id,type,coordinates\n9,Point,"[1, 2]"\n'))
    series, graph = _read(folder)
    assert graph is not None
    assert series.ids == graph.ids == tuple(IDS)
    assert "1 sensor of CITY.geo without readings: '9'" in series.notes
    geo.write_text("\n".join(text.splitlines()[:-1]))
    with pytest.raises(UserError, match=r"CITY\.dyna: has readings of 'a b', which CITY\.geo does not have"):
        _read(folder)


def test_files_that_the_config_names_together_are_one_series(tmp_path: Path) -> None:
    whole, _ = _read(_write(tmp_path / "CITY"))
    folder = _write(tmp_path / "TWO", data_files=["CITY_1", "CITY_2"])
    head, *rows = (folder / "CITY.dyna").read_text().splitlines(keepends=True)
    (folder / "CITY.dyna").unlink()
    for name, late in (("CITY_1", False), ("CITY_2", True)):
        (folder / f"{name}.dyna").write_text(
            head + "".join(row for row in rows if ("T02:" in row or "T03" in row) == late)
        )
    series, graph = _read(folder)
    assert graph is not None
    assert np.array_equal(series.values_TNC, whole.values_TNC)
    assert "TWO: 120 rows read: 3 sensors at 40 times" in series.notes


def test_a_grid_of_cells(tmp_path: Path) -> None:
    cells = [(r, c) for r in range(2) for c in range(3)]
    geo = [f'{10 + k},Polygon,"[[[0, 0], [1, 1]]]",{r},{c}' for k, (r, c) in enumerate(cells)]
    (tmp_path / "BIKE.geo").write_text("\n".join(["geo_id,type,coordinates,row_id,column_id", *geo]))
    rows = [
        f"{k},state,2024-01-01T0{t}:00:00Z,{r},{c},{10 * t + k},{t}" for k, (r, c) in enumerate(cells) for t in range(4)
    ]
    path = tmp_path / "BIKE.grid"
    path.write_text("\n".join(["dyna_id,type,time,row_id,column_id,inflow,outflow", *rows]))
    series, graph = _read(tmp_path)
    assert (series.ids, series.channels) == (tuple(str(10 + k) for k in range(6)), ("inflow", "outflow"))
    assert np.array_equal(series.values_TNC[..., 0], 10 * np.arange(4)[:, None] + np.arange(6))
    assert graph is not None
    assert graph.adjacency.toarray()[0].tolist() == [0, 1, 0, 1, 1, 0]
    head = "rel_id,type,origin_row_id,origin_column_id,destination_row_id,destination_column_id"
    (tmp_path / "BIKE.gridrel").write_text(f"{head}\n0,geo,0,0,1,2\n1,geo,0,1,0,0\n1,geo,1,0,1,1\n1,geo,1,1,0,2\n")
    _, graph = _read(path)
    assert graph is not None
    assert graph.adjacency.toarray()[0].tolist() == [0, 0, 0, 0, 0, 1]


def _replace(name: str, old: str, new: str) -> Any:
    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def _two_files(folder: Path) -> None:
    (folder / "B.dyna").touch()
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            _replace("CITY.dyna", "00:05:00Z,773869", "00:00:00Z,773869"),
            r"line 3 is a second reading of sensor '773869' at",
        ),
        (_replace("CITY.dyna", ",773869,", ",,"), r"line 2, column 'entity_id': no sensor is named"),
        (
            _replace("CITY.dyna", "entity_id", "entity"),
            r"CITY\.dyna: line 1: no column 'entity_id' among 'dyna_id', 'type'",
        ),
        (_replace("CITY.dyna", "2024-03-04T00:10:00Z", "04/03/2024"), r"line 4: '04/03/2024' is no ISO 8601 time"),
        (_replace("CITY.geo", "773869", "a b"), r"CITY\.geo: line 4: geo_id 'a b' comes twice"),
        (_replace("CITY.geo", "geo_id", "id"), r"CITY\.geo: line 1: no column 'geo_id'"),
        (_replace("CITY.rel", "100.0", "far"), r"CITY\.rel: line 2, column 5: a cost must be a number"),
        (_replace("CITY.rel", ",cost", ",price"), r"CITY\.rel: config\.json names the column 'cost', the file has"),
        (_replace("config.json", '"info"', '"info'), r"config\.json: not readable JSON, or truncated"),
        (_replace("config.json", '["traffic_speed"]', "1"), r"config\.json: data_col must name columns, got 1"),
        (
            _replace("config.json", "traffic_speed", "flow"),
            r"config\.json names the column 'flow', the file has 'traffic_sp",
        ),
        (lambda f: (f / "CITY.geo").unlink(), r"CITY\.dyna: no CITY\.geo beside it, which names the sensors"),
        (_two_files, r"holds several files of readings \('B\.dyna', 'CITY\.dyna'\): name one"),
        (lambda f: (f / "CITY.dyna").rename(f / "CITY.od"), r"CITY\.od holds flows between pairs of places"),
        (
            lambda f: (f / "CITY.dyna").write_text((f / "CITY.dyna").read_text()[:-9]),
            r"line 121 has 4 columns, the header has 5",
        ),
    ],
)
def test_files_that_are_wrong_are_named(change: Any, said: str, tmp_path: Path) -> None:
    folder = _write(tmp_path / "CITY")
    change(folder)
    with pytest.raises(UserError, match=said) as caught:
        _read(folder)
    assert "\n" not in str(caught.value)


def test_a_file_of_flows_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "CITY.gridod").write_text("dyna_id,type,time\n")
    with pytest.raises(UserError, match=r"CITY\.gridod holds flows between pairs of cells"):
        _read(tmp_path / "CITY.gridod")
