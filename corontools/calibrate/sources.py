"""What astrometry and photometry ask of a table of sources, and the tables of matches that they give."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.table import Table

from corontools.calibrate.refcat import RefCat
from corontools.errors import DataError

__all__ = ["centroids", "column", "flag", "match_table", "source_ids"]

X, Y = "slot_Centroid_x", "slot_Centroid_y"


def column(table: Table, name: str) -> np.ndarray:
    """Values of a column as floating point, NaN where masked.

    Raises
    ------
    DataError
        If there is no such column.
    """
    if name not in table.colnames:
        alike = [other for other in table.colnames if other.split("_")[-1] == name.split("_")[-1]]
        raise DataError(
            f"the table of sources has no column {name!r} (found: {', '.join(alike or table.colnames[:20]) or 'none'})"
        )
    values = table[name]
    return np.ma.filled(np.ma.asarray(getattr(values, "value", values)).astype(float), np.nan)


def flag(table: Table, name: str) -> np.ndarray:
    """Values of a flag; False where there is no such column."""
    if name not in table.colnames:
        return np.zeros(len(table), bool)
    return np.ma.filled(np.ma.asarray(table[name]), False).astype(bool)


def centroids(table: Table) -> np.ndarray:
    """0-based pixels (n, 2); NaN where the centroid failed."""
    points = np.stack([column(table, X), column(table, Y)], axis=1)
    points[flag(table, "slot_Centroid_flag")] = np.nan
    return points


def source_ids(table: Table) -> np.ndarray:
    """Ids, or numbers from 1 where there are none."""
    return np.asarray(table["id"]) if "id" in table.colnames else np.arange(1, len(table) + 1)


def match_table(
    table: Table, refcat: RefCat, *, pairs: tuple[np.ndarray, np.ndarray], sky: np.ndarray, distance: np.ndarray
) -> Table:
    """Columns of the references as `ref_*`, of the sources as `src_*` with `src_coord_ra` and `_dec`, and `distance`.

    Parameters
    ----------
    pairs : (ndarray, ndarray)
        Rows of the sources and of the references.
    sky : ndarray, shape (n_pairs, 2)
        Degrees, of the sources.
    distance : ndarray, shape (n_pairs,)
        Arcsec.
    """
    made = Table()
    for name in refcat.table.colnames:
        made[f"ref_{name}"] = refcat.table[name][pairs[1]]
    made["src_id"] = source_ids(table)[pairs[0]]
    made["src_coord_ra"], made["src_coord_dec"] = sky[:, 0] * u.deg, sky[:, 1] * u.deg
    for name in table.colnames:
        if name not in ("id", "coord_ra", "coord_dec") and table[name].ndim == 1:
            made[f"src_{name}"] = table[name][pairs[0]]
    made["distance"] = distance * u.arcsec
    return made
