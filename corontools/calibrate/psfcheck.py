"""Stars compared with a model of the PSF: their fluxes, neighbours beside them, and those that are no such stars."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from corontools.calibrate.psfstars import PSFStars

__all__ = ["RADIUS", "Likeness", "compare", "measured"]

# radius within which a star is compared with the model, px
RADIUS = 12
# pixels beyond so many sigma of the PSF are looked through for neighbours, and masked above so many sigma of the noise
BEYOND, NEIGHBOUR = 3.5, 4.0
# sigma over the median absolute deviation
MAD = 1.4826


class Likeness(NamedTuple):
    """Which stars are like the model.

    Attributes
    ----------
    alike : ndarray of bool, shape (n,)
    chi2 : ndarray, shape (n,)
        Reduced, of the pixels within 12 px.
    cuts : dict
        How many stars each test found unlike.
    """

    alike: np.ndarray
    chi2: np.ndarray
    cuts: dict[str, int]


def measured(stars: PSFStars, weights: np.ndarray, images: np.ndarray, *, sigma: float) -> PSFStars:
    """Stars with their fluxes by the PSF, and the pixels of neighbours masked.

    Neighbours are the pixels well outside the star that are 4 sigma above the model, and those that touch them.

    Parameters
    ----------
    stars : PSFStars
    weights, images : ndarray, shape (n, size, size)
        Inverse variances of all pixels that may count, and stars of flux 1 by the PSF.
    sigma : float
        Of the PSF, px.
    """
    known = weights * stars.good * images
    flux = np.einsum("nij,nij->n", known, stars.pixels) / np.einsum("nij,nij->n", known, images)
    flux = np.where(flux > 0, flux, stars.flux)
    above = (stars.pixels - flux[:, None, None] * images) * np.sqrt(weights) > NEIGHBOUR
    above &= ~stars.within(BEYOND * sigma)
    return replace(stars, flux=flux, good=(weights > 0) & ~_grown(above))


def compare(stars: PSFStars, weights: np.ndarray, images: np.ndarray, *, max_chi2: float, clip: float) -> Likeness:
    """Stars whose residuals are noise, and without a common difference in size or shape from the model.

    Parameters
    ----------
    stars : PSFStars
    weights, images : ndarray, shape (n, size, size)
        Inverse variances, and stars of flux 1 by the PSF.
    max_chi2 : float
        Largest chi^2 over the median of all.
    clip : float
        How many sigma size and shape may be off the median of all.
    """
    first = max(images.shape[1] // 2 - RADIUS, 0)
    near = (slice(None), slice(first, images.shape[1] - first), slice(first, images.shape[1] - first))
    images, weights = images[near], (weights * (stars.good & stars.within(RADIUS)))[near]
    residuals = stars.pixels[near] - stars.flux[:, None, None] * images
    chi2 = (weights * residuals**2).sum(axis=(1, 2)) / np.maximum((weights > 0).sum(axis=(1, 2)) - 1, 1)
    smooth = chi2 <= max_chi2 * np.median(chi2)
    off = _deviations(residuals, weights, images)
    off -= np.median(off, axis=0)
    shaped = (np.abs(off) <= clip * np.maximum(MAD * np.median(np.abs(off), axis=0), 1)).all(axis=1)
    cuts = {
        f"with chi2 > {max_chi2:g} times the median": int(np.count_nonzero(~smooth)),
        f"of size or shape {clip:g} sigma off": int(np.count_nonzero(smooth & ~shaped)),
    }
    return Likeness(smooth & shaped, chi2, cuts)


def _deviations(residuals: np.ndarray, weights: np.ndarray, images: np.ndarray) -> np.ndarray:
    """How much a star is wider, longer along x, and along the diagonal, than its model, in sigma: (n, 3).

    Blurring by (a, b, c) in Ixx, Iyy, Ixy adds a P_xx / 2 + b P_yy / 2 + c P_xy to first order.
    """
    own = (weights * images**2).sum(axis=(1, 2))
    found = []
    for pattern in _second_derivatives(images):
        # the part that isn't a change of flux
        pattern -= ((weights * pattern * images).sum(axis=(1, 2)) / own)[:, None, None] * images
        power = (weights * pattern**2).sum(axis=(1, 2))
        found.append((weights * pattern * residuals).sum(axis=(1, 2)) / np.sqrt(power))
    return np.stack(found, axis=1)


def _second_derivatives(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P_xx + P_yy, P_xx - P_yy and P_xy by differences; 0 at the edge of the stamps."""
    total, difference, cross = np.zeros((3, *images.shape))
    middle = images[:, 1:-1, 1:-1]
    xx = images[:, 1:-1, 2:] + images[:, 1:-1, :-2] - 2 * middle
    yy = images[:, 2:, 1:-1] + images[:, :-2, 1:-1] - 2 * middle
    total[:, 1:-1, 1:-1], difference[:, 1:-1, 1:-1] = xx + yy, xx - yy
    diagonal = images[:, 2:, 2:] + images[:, :-2, :-2] - images[:, 2:, :-2] - images[:, :-2, 2:]
    cross[:, 1:-1, 1:-1] = diagonal / 4
    return total, difference, cross


def _grown(marked: np.ndarray) -> np.ndarray:
    """Marked pixels of each stamp and their 8 neighbours."""
    grown = marked.copy()
    grown[:, 1:] |= marked[:, :-1]
    grown[:, :-1] |= marked[:, 1:]
    wide = grown.copy()
    wide[:, :, 1:] |= grown[:, :, :-1]
    wide[:, :, :-1] |= grown[:, :, 1:]
    return wide
