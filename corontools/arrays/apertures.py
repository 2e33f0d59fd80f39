"""Sources in a noisy image: where they peak, and how sure they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from corontools.errors import DataError

__all__ = ["ApertureSNR", "aperture_means", "aperture_snr", "aperture_snr_series", "peak_near", "ring_positions"]

# an aperture of which less was measured says nothing
LEAST_COVERAGE = 0.5
SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))


class ApertureSNR(NamedTuple):
    """Signal to noise of a source by the apertures at its separation.

    Attributes
    ----------
    snr : float
        t statistic of the source against the others; NaN with fewer than two others.
    n : int
        Other apertures that were measured.
    false_alarm : float
        Probability that noise alone gives as much, by Student's t with n - 1 degrees of freedom.
    """

    snr: float
    n: int
    false_alarm: float


def aperture_means(image: np.ndarray, positions: np.ndarray, radius: float) -> np.ndarray:
    """Mean of the pixels in circular apertures, each pixel by the area that lies inside.

    Parameters
    ----------
    image : ndarray, shape (..., y, x)
        NaN are left out.
    positions : ndarray, shape (n, 2)
        0-based (x, y) of the middles; they may lie outside the image.
    radius : float
        Px.

    Returns
    -------
    ndarray, shape (..., n)
        NaN where less than half of the aperture's area has finite pixels.

    Examples
    --------
    >>> aperture_means(np.ones((9, 9)), np.array([[4.0, 4.2], [-3.0, 4.0]]), 1.5)
    array([ 1., nan])
    """
    return np.stack([_mean(np.asarray(image), float(x), float(y), radius) for x, y in positions], axis=-1)


def _mean(image: np.ndarray, x: float, y: float, radius: float) -> np.ndarray:
    from photutils.geometry import circular_overlap_grid

    (ny, nx), reach = image.shape[-2:], radius + 1
    x0, x1 = np.clip([np.floor(x - reach), np.ceil(x + reach) + 1], 0, nx).astype(int)
    y0, y1 = np.clip([np.floor(y - reach), np.ceil(y + reach) + 1], 0, ny).astype(int)
    if x0 >= x1 or y0 >= y1:
        return np.full(image.shape[:-2], np.nan)
    edges = (x0 - 0.5 - x, x1 - 0.5 - x, y0 - 0.5 - y, y1 - 0.5 - y)
    area = circular_overlap_grid(*edges, x1 - x0, y1 - y0, radius, 1, 1)
    cut = image[..., y0:y1, x0:x1].astype(np.float64)
    known = np.isfinite(cut)
    total = np.sum(area * known, axis=(-2, -1))
    enough = total >= LEAST_COVERAGE * np.pi * radius**2
    return np.sum(cut * area, axis=(-2, -1), where=known) / np.where(enough, total, np.nan)


def ring_positions(position: tuple[float, float], *, center: tuple[float, float], fwhm: float) -> np.ndarray:
    """Middles (n, 2) of the apertures, `fwhm` across, that fit on the circle through `position` without overlap.

    The first is `position` itself, the others are spread evenly over the circle.

    Examples
    --------
    >>> ring_positions((8.0, 5.0), center=(5.0, 5.0), fwhm=4.0).round(6).tolist()
    [[8.0, 5.0], [5.0, 8.0], [2.0, 5.0], [5.0, 2.0]]
    """
    dx, dy = position[0] - center[0], position[1] - center[1]
    sep = float(np.hypot(dx, dy))
    if sep <= fwhm / 2:
        return np.array([position], np.float64)
    n = int(np.pi / np.arcsin(fwhm / 2 / sep) + 1e-9)
    angle = np.arctan2(dy, dx) + 2 * np.pi * np.arange(n) / n
    return np.stack([center[0] + sep * np.cos(angle), center[1] + sep * np.sin(angle)], axis=-1)


def aperture_snr(
    image: np.ndarray, position: tuple[float, float], *, center: tuple[float, float], fwhm: float, beside: int = 0
) -> ApertureSNR:
    """S/N of a source against the apertures at the same separation, small samples allowed for.

    Means in apertures one `fwhm` across; with the source's m and n others of mean M and standard deviation s
    (over n - 1), S/N = (m - M) / (s sqrt(1 + 1/n)) (Mawet et al. 2014, ApJ 792, 97, eq. 9).

    Parameters
    ----------
    image : ndarray, shape (y, x)
        NaN are left out; mask other sources so.
    position, center : (float, float)
        0-based (x, y) of the source and of the star.
    fwhm : float
        Of the PSF, px.
    beside : int
        Apertures on either side of the source that are left out: with angular differential imaging the source's own
        negative wings lie there, which are no noise.

    Returns
    -------
    ApertureSNR
        NaN where the position is, as `peak_near` gives it where there is no peak.

    Examples
    --------
    >>> image = np.random.default_rng(3).normal(size=(61, 61))
    >>> image[29:32, 44:47] += 4
    >>> found = aperture_snr(image, (45.0, 30.0), center=(30.0, 30.0), fwhm=3.0)
    >>> found.n, found.snr > 5, found.false_alarm < 1e-5
    (30, True, True)
    """
    if not np.isfinite(position).all():
        return ApertureSNR(float("nan"), 0, float("nan"))
    if beside < 0 or beside != int(beside):
        raise DataError(f"the apertures left out beside the source should be 0 or more, found {beside}")
    values = _ring_means(image, position, center, fwhm)
    snr, n = _student(np.concatenate([values[:1], values[1 + beside : values.size - beside]]))
    return ApertureSNR(snr, n, float(special.stdtr(n - 1, -snr)) if n > 1 else float("nan"))


def aperture_snr_series(
    images: np.ndarray, position: tuple[float, float], *, center: tuple[float, float], fwhm: float
) -> np.ndarray:
    """S/N of `aperture_snr` in each of many images (n, y, x), shape (n,); apertures are laid once."""
    return np.array([_student(values)[0] for values in _ring_means(images, position, center, fwhm)])


def _ring_means(
    images: np.ndarray, position: tuple[float, float], center: tuple[float, float], fwhm: float
) -> np.ndarray:
    """Means (..., n) in the apertures of the ring through a position, its own first."""
    if not fwhm > 0:
        raise DataError(f"the width of the PSF should be positive, found {fwhm} px")
    return aperture_means(images, ring_positions(position, center=center, fwhm=fwhm), fwhm / 2)


def _student(values: np.ndarray) -> tuple[float, int]:
    """S/N of the first value against the others, and how many of them there are."""
    others = values[1:][np.isfinite(values[1:])]
    n = others.size
    spread = float(others.std(ddof=1)) if n > 1 else 0.0
    if not spread > 0:
        return float("nan"), n
    return float((values[0] - others.mean()) / (spread * np.sqrt(1 + 1 / n))), n


def peak_near(image: np.ndarray, start: tuple[float, float], *, fwhm: float, reach: float) -> tuple[float, float]:
    """0-based (x, y) of the highest point near `start`, to a fraction of a pixel.

    The image is smoothed by a Gaussian as wide as the PSF (the matched filter of white noise), and a paraboloid is
    fitted to the 3 x 3 pixels about the highest one.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        NaN are left out.
    start : (float, float)
        0-based (x, y).
    fwhm : float
        Of the PSF, px.
    reach : float
        Greatest distance of the highest pixel from `start`, px.

    Returns
    -------
    (float, float)
        NaN where there is no finite pixel within reach, or the highest one is at its limit: no peak, a slope.
    """
    smooth = _smoothed(np.asarray(image, np.float64), fwhm * SIGMA_PER_FWHM)
    y, x = np.ogrid[: smooth.shape[0], : smooth.shape[1]]
    near = np.hypot(x - start[0], y - start[1]) <= reach
    candidates = np.where(near & np.isfinite(smooth), smooth, -np.inf)
    row, column = np.unravel_index(np.argmax(candidates), smooth.shape)
    around = smooth[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    peaked = around.shape == (3, 3) and np.isfinite(around).all() and around.max() == candidates[row, column]
    if not peaked:
        return float("nan"), float("nan")
    dx, dy = _vertex(around)
    return float(column + dx), float(row + dy)


def _smoothed(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of the finite pixels; NaN where most of the weight is missing."""
    from scipy import ndimage

    finite = np.isfinite(image)
    weight = ndimage.gaussian_filter(finite.astype(float), sigma, mode="constant")
    total = ndimage.gaussian_filter(np.where(finite, image, 0.0), sigma, mode="constant")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 0.5, total / weight, np.nan)


def _vertex(around: np.ndarray) -> tuple[float, float]:
    """Where the paraboloid through 3 x 3 values, in the sense of least squares, is highest; within half a pixel."""
    y, x = (axis.ravel() - 1.0 for axis in np.indices((3, 3)))
    terms = np.stack([np.ones(9), x, y, x * x, x * y, y * y], axis=-1)
    _, bx, by, cxx, cxy, cyy = np.linalg.lstsq(terms, around.ravel(), rcond=None)[0]
    curvature = np.array([[2 * cxx, cxy], [cxy, 2 * cyy]])
    if not (np.linalg.eigvalsh(curvature) < 0).all():
        return 0.0, 0.0  # a plateau: the highest pixel is all that can be said
    dx, dy = np.clip(np.linalg.solve(curvature, [-bx, -by]), -0.5, 0.5)
    return float(dx), float(dy)
