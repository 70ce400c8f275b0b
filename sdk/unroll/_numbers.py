"""Reads numbers from arrays of any library, and refuses what is missing: masked, null, NA, NaN, infinite."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Place = tuple[int, ...]


def finite(values: object, where: str, axes: str, ndims: tuple[int, ...]) -> Floats:
    """Return finite numbers as an array with one of the allowed numbers of axes.

    `values` is whatever NumPy can read: lists, arrays, data frames, tensors. A missing value is never replaced by what
    lies behind its mask. Raises ValueError, which says where there is something else.
    """
    if (place := masked(values)) is not None:
        raise ValueError(f"{_at(values, where, place)} is masked: fill it, or leave its time step out")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        told = "its lists differ in length" if isinstance(values, list | tuple) and _ragged(error) else str(error)
        raise ValueError(f"{where} must be numbers {axes}, {told}") from None
    if array.ndim not in ndims or array.dtype.kind not in "fiubO":
        hint = ": .toarray() fills it" if hasattr(values, "toarray") else ""
        raise ValueError(f"{where} must be numbers {axes}, not {array.dtype} with shape {array.shape}{hint}")
    if array.dtype == object:  # what data frames with nullable columns become, and lists with None in them
        for place, one in np.ndenumerate(array):
            if not isinstance(one, bool | int | float | np.bool_ | np.integer | np.floating):
                raise ValueError(f"{_at(values, where, place)} is {_short(one)}, not a number")  # noqa: TRY004 - as for all
    try:
        array = array.astype(np.float64)
    except OverflowError:
        raise ValueError(f"{where} has a number that is too large") from None
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise ValueError(f"{_at(values, where, tuple(bad[0]))} is {array[tuple(bad[0])]}, not a finite number")
    return array


def masked(values: object) -> Place | None:
    """Return the place of the first masked value in an array, or in lists of arrays; None if there is none."""
    if isinstance(values, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(values)
        places = np.argwhere(mask if mask.dtype == bool else False)
        return tuple(map(int, places[0])) if len(places) else None
    if isinstance(values, list | tuple):
        for index, one in enumerate(values):
            if isinstance(one, list | tuple | np.ma.MaskedArray) and (place := masked(one)) is not None:
                return index, *place
    return None


def _at(values: object, where: str, place: Place) -> str:
    """Return where a value is, with the name of its column if the table has names."""
    told = where + "".join(f"[{index}]" for index in place)
    names = getattr(values, "column_names", getattr(values, "columns", None))
    return told if names is None or len(place) < 2 else f"{told} (column {_short(list(names)[place[1]])})"


def _ragged(error: Exception) -> bool:
    return "inhomogeneous" in str(error)


def _short(value: Any) -> str:
    return repr(value)[:40]
