"""Sensors that are left out: dead ones, late ones, unwanted ones.

Shape legend: T time, R rows of a piece, N sensors, C channels.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.silent_sensors import SILENT
from dcrnn_fast.data.stored import ABSENT, take_sensors
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few, naming_file


def ids_to_leave_out(leave_out: Sequence[str], flag: str = "leave_out") -> tuple[str, ...]:
    """The ids that ``--leave-out`` (or another flag) means: themselves, or the lines of the one file that it names.

    Raises:
        UserError: the file cannot be read or holds no id, an id comes twice.
    """
    ids = tuple(leave_out)
    if len(ids) == 1 and os.path.isfile(ids[0]):
        path = Path(ids[0])
        with naming_file(path):
            try:
                text = path.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                raise UserError("not a text file in UTF-8; wanted a sensor id on each line") from error
            ids = tuple(line.strip() for line in text.splitlines() if line.strip())
            if not ids:
                raise UserError("holds no sensor id; wanted one on each line")
    if len(set(ids)) != len(ids):
        raise UserError(f"{flag}: each sensor once, got {first_few(ids)}")
    return ids


def with_silent_ids(
    data: DataConfig,
    series: SensorSeries,
    channels: tuple[int, ...],
    observed: Iterable[np.ndarray] | None = None,
) -> DataConfig:
    """``data`` whose ``leave_out`` names the sensors without an observed reading in one of these channels, in place of
    the word for them; as it is if it has no such word, or a sensor is called so.

    Args:
        observed: the mask (R, N, C) of all rows, some at a time; None: the series'.
    """
    if SILENT not in data.leave_out or SILENT in series.ids:
        return data
    if observed is None:
        observed = (series.observed_TNC[rows] for rows in row_pieces(series.observed_TNC.shape))
    seen_NC = np.zeros((series.num_sensors, len(series.channels)), dtype=bool)
    for observed_RNC in observed:
        seen_NC |= observed_RNC.any(axis=0)
    silent = [series.ids[n] for n in np.flatnonzero(~seen_NC[:, list(channels)].all(axis=1))]
    named = [sensor for sensor in data.leave_out if sensor != SILENT]
    return replace(data, leave_out=tuple(dict.fromkeys((*named, *silent))))


def without_sensors(series: SensorSeries, ids: Sequence[str], where: str) -> SensorSeries:
    """The series without these sensors, with a note about them.

    Raises:
        UserError: a sensor that the series does not have, or all that it has.
    """
    if not ids:
        return series
    if unknown := [sensor for sensor in ids if sensor not in set(series.ids)]:
        raise UserError(f"leave_out: {where} has no sensor {first_few(unknown)}; it has {first_few(series.ids)}")
    left = set(ids)
    kept = tuple(sensor for sensor in series.ids if sensor not in left)
    if not kept:
        raise UserError(f"leave_out names all {len(left)} sensors of {where}: none is left")
    note = f"{len(left)} sensor(s) left out: {first_few(ids)}"
    return series.take_sensors(kept).with_notes((*series.notes, note))


def silenced(series: SensorSeries, ids: Collection[str], wanted: Sequence[str]) -> SensorSeries:
    """The series with every reading of these sensors missing; those of them that it lacks become columns of it.

    For a trained model, which reads all of its sensors: readings that it cannot get are marked as missing.

    Args:
        wanted: the sensors of the model; others are not added.
    """
    if not ids:
        return series
    absent = tuple(sensor for sensor in wanted if sensor in ids and sensor not in set(series.ids))
    there_N = np.array([sensor in ids for sensor in series.ids])
    if not absent and not there_N.any():
        return series
    index = np.concatenate([np.where(there_N, ABSENT, np.arange(series.num_sensors)), np.full(len(absent), ABSENT)])
    return replace(
        series,
        values_TNC=take_sensors(series.values_TNC, index),
        observed_TNC=take_sensors(series.observed_TNC, index),
        rest_TNC=None if series.rest_TNC is None else take_sensors(series.rest_TNC, index),
        ids=(*series.ids, *absent),
        positions_N2=None,
    )
