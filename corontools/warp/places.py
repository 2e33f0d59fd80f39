"""Places at which PSFs are matched, and the stamps there."""

from __future__ import annotations

import numpy as np

from corontools.arrays.matching import aliasing, resized
from corontools.calibrate.psf import PSF
from corontools.errors import DataError

__all__ = ["lattice", "pairs", "stamps"]


def lattice(known: np.ndarray, cell: int, order: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Places x, y (n,) from edge to edge, on average `cell` px apart, closer to the edges: polynomials err most there.

    A place without data moves to the nearest pixel with data in its cell, or is left out.

    Parameters
    ----------
    known : ndarray of bool, shape (y, x)
        Where there are data.
    cell : int
        px.
    order : int
        Of the polynomial that they should determine: where that needs more places than the cells give, there are more.

    Raises
    ------
    DataError
        If there are no data at all.

    Examples
    --------
    >>> x, y = lattice(np.ones((101, 301), bool), 100)
    >>> np.unique(x).tolist(), np.unique(y).tolist()
    ([0.0, 44.0, 150.0, 256.0, 300.0], [0.0, 50.0, 100.0])
    """
    if not known.any():
        raise DataError("no pixel of the frame has data; there is nothing to match")
    along = [_along(n, cell, order) for n in known.shape]
    found = {_nearest(known, int(y), int(x), cell // 2) for y in along[0] for x in along[1]} - {None}
    if not found:
        raise DataError(f"no cell of {cell} px has data at or near its middle; take smaller cells")
    y, x = np.array(sorted(place for place in found if place is not None), float).T
    return x, y


def stamps(psf: PSF, x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    """PSF at places (n,) on stamps of this size: models are drawn so large, others padded with zeros or cut."""
    if hasattr(psf, "resized"):
        return np.asarray(psf.resized(size).kernels(x, y), np.float64)
    return resized(np.asarray(psf.kernels(x, y), np.float64), size)


def pairs(
    psf: PSF, model: PSF, places: tuple[np.ndarray, np.ndarray], *, size: int, limit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stamps of a PSF and of its model where both are finite, and which of the places these are.

    Raises
    ------
    DataError
        If there are none, or the PSF is undersampled: has more than `limit` of its amplitude left at the Nyquist
        frequency.
    """
    found, wanted = stamps(psf, *places, size), stamps(model, *places, size)
    finite = np.isfinite(found).all(axis=(1, 2)) & np.isfinite(wanted).all(axis=(1, 2))
    if not finite.any():
        raise DataError(f"the PSF isn't known at any of {len(finite)} places on the frame; nothing can be matched")
    found, wanted = found[finite], wanted[finite]
    for name, these in (("PSF", found), ("model", wanted)):
        worst = float(aliasing(these).max())
        if worst > limit:
            raise DataError(
                f"the {name} is undersampled: {worst:.0%} of its amplitude is left at the Nyquist frequency, at most "
                f"{limit:.0%} may be; combine dithered exposures on smaller pixels before, or allow more by aliasing="
            )
    return found, wanted, finite


def _along(n: int, cell: int, order: int) -> np.ndarray:
    count = max(-(-n // cell), order, 1)
    return np.unique(np.round((n - 1) / 2 * (1 - np.cos(np.pi * np.arange(count + 1) / count))))


def _nearest(known: np.ndarray, y: int, x: int, reach: int) -> tuple[int, int] | None:
    """Pixel with data that is nearest within a box, None if there is none."""
    if known[y, x]:
        return y, x
    top, left = max(y - reach, 0), max(x - reach, 0)
    rows, columns = np.nonzero(known[top : y + reach + 1, left : x + reach + 1])
    if not len(rows):
        return None
    best = int(np.argmin((rows + top - y) ** 2 + (columns + left - x) ** 2))
    return int(rows[best]) + top, int(columns[best]) + left
