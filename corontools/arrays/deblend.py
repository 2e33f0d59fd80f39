"""Blends taken apart: each source gets of every pixel the part that its template has of the sum of all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corontools.arrays.stamps import Footprints, Pair
from corontools.arrays.threads import in_threads

__all__ = ["PeakFits", "fit_peaks", "share_pixels"]

# blends that a thread works on at a time
BLOCK = 16


class PeakFits(NamedTuple):
    """Peaks of blends fitted as stars.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        Position, 0-based, px.
    flux : ndarray, shape (n,)
    chi2, dof : ndarray, shape (n,)
        Of the pixels about the peak, with its neighbours, and degrees of freedom; infinite chi2 where nothing could be
        fitted.
    growth : ndarray, shape (n,)
        By how many sigma the source is wider than the PSF.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    chi2: np.ndarray
    dof: np.ndarray
    growth: np.ndarray


def fit_peaks(
    frame: Pair,
    images: Callable[[np.ndarray, np.ndarray], np.ndarray],
    peaks: np.ndarray,
    groups: NDArray[np.int64],
    *,
    radius: float,
    psf_error: float = 0.02,
    rounds: int = 3,
) -> PeakFits:
    """Fit every peak with the PSF, together with up to six neighbours and a plane of background.

    Pixels within `radius` of the peak are fitted by weighted least squares; the neighbours that near may move too.
    The next round starts where this one ended.

    Parameters
    ----------
    frame : tuple of ndarray, shape (y, x)
        Image and variance; NaN are left out.
    images : callable
        Gives stars of total 1 at places x, y (n,): (n, k, k), as `PSF.images`.
    peaks : ndarray, shape (n, 2)
        (x, y), those of a blend one after the other.
    groups : ndarray of int, shape (m, 2)
        First and last + 1 peak of each blend.
    radius : float
        Px.
    psf_error : float
        Error of the PSF, as a part of its value: bright stars are not to fail for it.
    rounds : int
    """
    from corontools.arrays._deblend_kernels import fit_stars

    fits = np.zeros((len(peaks), 6))
    fits[:, :2] = peaks
    options = (float(radius), float(psf_error))
    for _ in range(rounds):
        start = fits[:, :2].copy()
        stamps = images(start[:, 0], start[:, 1])
        in_threads(partial(fit_stars, frame, stamps, fits, groups, options), _blocks(len(groups)))
        # one that runs away belongs to another peak
        lost = np.abs(fits[:, :2] - peaks).max(axis=1, initial=0) > radius / 2
        fits[lost, :2] = start[lost]
    return PeakFits._make(fits.T.copy())


def share_pixels(
    frame: Pair, footprints: Footprints, fits: PeakFits, stamps: np.ndarray, *, stars: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of the pixels of blends.

    The template of a star is the PSF. That of anything else is the image, less the stars, made symmetric: of each pixel
    and the one opposite the lower; smoothed by a median where it is noise; and lowered so that it never rises on the
    way out (Lupton et al. 2001, ASP Conf. 238, 269). Pixels that no template reaches go by the light of the templates
    over the cube of the distance.

    Parameters
    ----------
    frame : tuple of ndarray, shape (y, x)
        Image and variance.
    footprints : Footprints
        A row per peak, with the place of its shares; peaks of a blend have the same box and follow each other.
    fits : PeakFits
        Where the peaks are, and how bright as stars.
    stamps : ndarray, shape (n, k, k)
        Stars of total 1 there.
    stars : ndarray of bool, shape (n,)
        Peaks that have the PSF's template.
    groups : ndarray of int, shape (m, 2)
        First and last + 1 peak of each blend.

    Returns
    -------
    shares : ndarray of float32
        As of `Footprints`; those of a blend add to 1 in each pixel of it.
    patched : ndarray of bool, shape (n,)
        A template that has pixels with their opposite outside the frame, which then count themselves.
    stray : ndarray of bool, shape (n,)
        A source that got pixels which no template reaches.
    """
    from corontools.arrays._deblend_kernels import share_blends

    rows = footprints.rows
    size = int(np.sum((rows[:, 3] - rows[:, 2]) * (rows[:, 5] - rows[:, 4])))
    shares, notes = np.zeros(size, np.float32), np.zeros((len(rows), 2), bool)
    table = np.stack(fits, axis=1)
    of = (frame, footprints.labels, stamps, table, stars, groups, rows, shares, notes)
    in_threads(partial(share_blends, *of), _blocks(len(groups)))
    return shares, notes[:, 0], notes[:, 1]


def _blocks(n: int) -> list[np.ndarray]:
    return [np.arange(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK)]
