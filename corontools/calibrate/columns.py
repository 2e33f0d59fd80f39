"""Columns of a table of sources as plain arrays."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from corontools.errors import DataError

__all__ = ["centroids", "column", "flag", "source_ids"]

X, Y = "slot_Centroid_x", "slot_Centroid_y"


def column(table: Table, name: str) -> np.ndarray:
    """Values of a column as float64 without unit, NaN where masked.

    Raises
    ------
    DataError
        If there is no such column; tells those that are alike.
    """
    if name not in table.colnames:
        alike = [other for other in table.colnames if other.split("_")[-1] == name.split("_")[-1]]
        raise DataError(
            f"the table of sources has no column {name!r} (found: {', '.join(alike or table.colnames[:20]) or 'none'})"
        )
    values = table[name]
    return np.ma.filled(np.ma.asarray(getattr(values, "value", values)).astype(np.float64), np.nan)


def flag(table: Table, name: str) -> np.ndarray:
    """Values of a flag as bool: masked is True; False where there is no such column."""
    if name not in table.colnames:
        return np.zeros(len(table), bool)
    return np.ma.filled(np.ma.asarray(table[name], bool), True)


def centroids(table: Table) -> np.ndarray:
    """0-based pixels (n, 2); NaN where the centroid failed."""
    points = np.stack([column(table, X), column(table, Y)], axis=1)
    points[flag(table, "slot_Centroid_flag")] = np.nan
    return points


def source_ids(table: Table) -> np.ndarray:
    """Ids, or numbers from 1 where there are none."""
    return np.asarray(table["id"]) if "id" in table.colnames else np.arange(1, len(table) + 1)
