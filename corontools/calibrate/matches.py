"""Tables of matches between sources and references."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.table import Table

from corontools.calibrate.columns import source_ids
from corontools.calibrate.refcat import RefCat

__all__ = ["match_table"]


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
