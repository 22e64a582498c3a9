"""A folder of HDF5 files of one series, a file for each year: ca_his_raw_2017.h5, ca_his_raw_2018.h5.

Shape legend: T time, R rows of a block, N sensors of all years, M sensors of one.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.blocks import Blocks, rule_of_blocks
from dcrnn_fast.data.formats import Opened
from dcrnn_fast.data.formats.detect import years_in
from dcrnn_fast.data.formats.folder_files import note_of_left
from dcrnn_fast.data.formats.hdf5 import open_hdf5
from dcrnn_fast.data.formats.largest import beside_series
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few, naming_file


def open_years(path: Path, data: DataConfig, graph: GraphConfig) -> Opened:
    """The years in the order of time. Sensors that a year lacks have missing readings in it, and are named.

    Raises:
        UserError: no such files, two series of them, a file that ``open_hdf5`` refuses, years that overlap, or of which
            only some have times with an offset.
    """
    with naming_file(path):
        groups = years_in(path)
    if len(groups) != 1:
        named = " and ".join(f"{stem}*" for stem in groups) or "no files such as speed_2019.h5 and speed_2020.h5"
        raise UserError(f"{path} holds {named}: wanted the years of one series; name one file, or move the others")
    (files,) = groups.values()
    opened = [open_hdf5(path / name, data, graph) for name in files]
    years = sorted((blocks for blocks, _ in opened), key=lambda one: one.stamps.times_T[0])
    read = {*files, *(one.name for name in files for one in beside_series(path / name))}
    left = note_of_left(path, [one.name for one in path.iterdir() if one.name not in read])
    own_graph = next((one for _, one in opened if one is not None), None)
    for one, other in itertools.pairwise(years):
        if other.stamps.times_T[0] <= one.stamps.times_T[-1]:
            raise UserError(
                f"{path}: {other.where} begins at {other.stamps.times_T[0]}, before {one.where} ends at "
                f"{one.stamps.times_T[-1]}: years must not overlap"
            )
        if (one.stamps.in_utc, one.stamps.zone) != (other.stamps.in_utc, other.stamps.zone):
            raise UserError(f"{path}: the times of {one.where} and {other.where} have different zones: make them alike")
    joined = _joined(path, years, data)
    return replace(joined, notes=(*joined.notes, *left)), own_graph


def _joined(path: Path, years: list[Blocks], data: DataConfig) -> Blocks:
    ids = tuple(dict.fromkeys(sensor for year in years for sensor in year.ids))
    notes = []
    for year in years:
        own = set(year.ids)
        if lacking := [sensor for sensor in ids if sensor not in own]:
            sensors = counted(len(lacking), "sensor")
            notes.append(f"{path}: {year.where} lacks {sensors}, missing readings there: {first_few(lacking)}")
    absent = np.nan
    if notes and data.missing == "auto" and rule_of_blocks(years, data) == "zero":
        absent = 0.0  # NaN would say that the files mark their gaps themselves

    def read() -> Iterator[np.ndarray]:
        column_of = {sensor: n for n, sensor in enumerate(ids)}
        for year in years:
            columns_M = [column_of[sensor] for sensor in year.ids]
            for block_RM1 in year.read():
                if year.ids == ids:
                    yield block_RM1
                else:
                    block_RN1 = np.full((len(block_RM1), len(ids), 1), absent)
                    block_RN1[:, columns_M] = block_RM1
                    yield block_RN1

    stamps = years[0].stamps._replace(times_T=np.concatenate([year.stamps.times_T for year in years]))
    positions = {
        sensor: place
        for year in years
        if year.positions_N2 is not None
        for sensor, place in zip(year.ids, year.positions_N2, strict=True)
    }
    has_all = len(positions) == len(ids)
    return replace(
        years[0],
        stamps=stamps,
        ids=ids,
        where=path.name,
        read=read,
        positions_N2=np.array([positions[sensor] for sensor in ids]) if has_all else None,
        notes=(f"{path}: {counted(len(years), 'year')}: {first_few([year.where for year in years])}", *notes),
    )
