"""The land mask that the data themselves give (``--land-mask auto``): flags, a mask variable, cells never observed.

Shape legend: R rows, Y rows and X columns of a grid, N its cells, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from dcrnn_fast.data.cf.fields import FLAG_ATTRIBUTES, Fields
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, some
from dcrnn_fast.reading.tables import plain_name

_LAND_NAMES = ("lsm", "landmask", "landseamask", "landbinarymask", "land", "landfraction", "sftlf")
"""of variables that are 1 (or 100 %) on land"""
_SEA_NAMES = ("seamask", "oceanmask", "wet", "wetmask", "tmask", "watermask", "seabinarymask")
"""of variables that are 1 in water"""
_PLAIN_NAMES = ("mask",)
"""of variables whose flags must say what their values mean"""


@dataclass(eq=False, slots=True)
class Survey:
    """What one reading of all rows finds.

    Attributes:
        seen_NC: cells with a reading of a channel that is not missing.
        flagged_N: cells that a flag over time calls land in any row.
        by_flags: the names of those flags.
    """

    seen_NC: np.ndarray
    flagged_N: np.ndarray
    by_flags: list[str] = field(default_factory=list)

    def add(self, missing_RNC: np.ndarray) -> None:
        """Counts some rows: bool, true where a reading is missing."""
        self.seen_NC |= ~missing_RNC.all(axis=0)


def land_bits(variable: xr.DataArray) -> tuple[tuple[int, int], ...]:
    """(mask, value) of each flag of a variable that means land: a flag of v is set if v & mask is value (CF 3.5).

    A mask of 0 stands for all bits. Meanings that only have to do with land (near_land, land_spill_over) are no land.
    """
    attributes = variable.attrs
    meanings = str(attributes.get("flag_meanings", "")).replace(",", " ").split()
    values = np.atleast_1d(attributes.get("flag_values", ())).tolist()
    masks = np.atleast_1d(attributes.get("flag_masks", ())).tolist()
    if isinstance(attributes.get("flag_values"), str):
        values = attributes["flag_values"].replace(",", " ").split()
    if isinstance(attributes.get("flag_masks"), str):
        masks = attributes["flag_masks"].replace(",", " ").split()
    found = []
    for k, meaning in enumerate(meanings):
        if plain_name(meaning) not in ("land", "overland", "landmask", "island", "mainland"):
            continue
        if len(masks) == len(meanings):
            mask = int(float(masks[k])) & 0xFFFFFFFF
            found.append((mask, int(float(values[k])) & 0xFFFFFFFF if len(values) == len(meanings) else mask))
        elif len(values) == len(meanings):
            found.append((0, int(float(values[k]))))
    return tuple(found)


def is_flagged_land(variable: xr.DataArray, values: np.ndarray) -> np.ndarray:
    """Bool of the values' shape: those of a flag variable that mean land."""
    known = np.isfinite(values.astype(np.float64))
    numbers = np.where(known, values, 0).astype(np.int64)
    land = np.zeros(values.shape, dtype=bool)
    for mask, value in land_bits(variable):
        land |= known & ((numbers == value) if mask == 0 else ((numbers & mask) == value))
    return land


def flagged_in(dataset: xr.Dataset, fields: Fields, rows: slice) -> dict[str, np.ndarray]:
    """(N,) bool for each flag variable over time that has a flag for land: cells that it calls land in these rows."""
    found = {}
    for name in fields.flags:
        if land_bits(dataset[name]):
            variable = dataset[name].isel({fields.time_dim: rows}).transpose(fields.time_dim, *fields.places.dims)
            land = is_flagged_land(dataset[name], variable.values)
            found[name] = np.asarray(land.reshape(len(land), -1).any(axis=0))
    return found


def still_masks(dataset: xr.Dataset, fields: Fields) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """(N,) bool, true on land, of each variable without a time that is a mask of this grid; and notes on those that
    do not say what their values mean.
    """
    dims, found, notes = fields.places.dims, {}, []
    for key, variable in dataset.variables.items():
        name = str(key)
        plain = plain_name(name)
        singles = [dim for dim in variable.dims if dim not in dims]
        if plain not in (*_LAND_NAMES, *_SEA_NAMES, *_PLAIN_NAMES) and not FLAG_ATTRIBUTES & set(variable.attrs):
            continue
        if not set(dims) <= set(variable.dims) or variable.dtype.kind not in "fiub":
            continue
        if any(dataset.sizes[dim] > 1 for dim in singles) and name in fields.flags:
            continue
        first = dataset[name].isel(dict.fromkeys(singles, 0)).transpose(*dims)
        values = np.asarray(first.values).reshape(-1)
        if land_bits(dataset[name]):
            found[name] = is_flagged_land(dataset[name], values)
        elif plain in _LAND_NAMES or plain in _SEA_NAMES:
            most = 100 if np.nanmax(values.astype(np.float64), initial=0) > 1 else 1
            high = np.nan_to_num(values.astype(np.float64)) > most / 2
            found[name] = high if plain in _LAND_NAMES else ~high
        elif plain in _PLAIN_NAMES:
            notes.append(f"{name} does not say which of its values are land (no flag_meanings): it is not used")
    return found, tuple(notes)


def mask_of(
    fields: Fields, survey: Survey, still: dict[str, np.ndarray], targets: Sequence[int]
) -> tuple[np.ndarray, str]:
    """(Y, X) bool, true where a cell is a node, and the account of the cells that are left out, each by one rule.

    Raises:
        UserError: no cell is left, or a mask is false where every reading is.
    """
    seen_N: np.ndarray = np.asarray(survey.seen_NC[:, list(targets)].all(axis=1))
    rules: list[tuple[str, np.ndarray]] = []
    placed_YX = fields.places.on_earth()
    if placed_YX is not None:
        rules.append(("without a latitude and longitude", ~placed_YX.reshape(-1)))
    if survey.by_flags:
        rules.append((f"flagged as land by {some(survey.by_flags)}", survey.flagged_N))
    rules += [(f"land by {name}", land_N) for name, land_N in still.items()]
    rules.append(("never observed", ~seen_N))
    kept_N: np.ndarray = np.ones(len(seen_N), dtype=bool)
    said = []
    for rule, left_N in rules:
        count = int(np.count_nonzero(kept_N & left_N))
        if rule.startswith("land by") and seen_N.any() and not (seen_N & ~left_N).any():
            raise UserError(
                f"{rule.removeprefix('land by ')} calls every cell land that has readings: give --land-mask FILE"
            )
        kept_N = kept_N & ~left_N
        if count:
            said.append(f"{count:,} {rule}")
    if not kept_N.any():
        raise UserError(f"--land-mask auto leaves no cell: {some(said)}")
    account = f"{counted(int(kept_N.sum()), 'cell')} of {len(kept_N):,} are nodes; left out: {some(said) or 'none'}"
    return kept_N.reshape(fields.places.shape), account
