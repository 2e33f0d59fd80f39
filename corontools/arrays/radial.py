"""Statistics in rings around a point."""

from __future__ import annotations

import numpy as np
from scipy import special

from corontools.arrays.threads import in_threads
from corontools.errors import DataError

__all__ = ["annular_noise", "radii", "ring_index", "ring_scatter", "scatter_map", "student_factor"]

# standard deviation of a Gaussian over its median absolute deviation
SIGMA_PER_MAD = 1.482602218505602
# robust sigma beyond which a value is a source, not noise
CLIP = 5.0
# pixels that tell a scatter
LEAST_PIXELS = 5


def radii(shape: tuple[int, int], center: tuple[float, float]) -> np.ndarray:
    """Distance in pixels of each pixel's middle from `center` (x, y), shape (y, x)."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(x - center[0], y - center[1])


def annular_noise(
    image: np.ndarray, *, center: tuple[float, float], width: float = 2.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1-sigma scatter in concentric rings of whole pixels.

    Ring i holds the pixels with i width <= distance < (i + 1) width, out to the nearest edge of the image;
    NaN are left out.

    Parameters
    ----------
    image : ndarray, shape (y, x)
    center : (float, float)
        0-based (x, y).
    width : float
        Of a ring, px.

    Returns
    -------
    radius : ndarray
        Middle of each ring, px.
    noise : ndarray
        Standard deviation (over n, as the hlsp task defines it); NaN where a ring has no finite pixel.
    count : ndarray
        Finite pixels in each ring.

    Raises
    ------
    DataError
        If the width isn't positive or the centre is so near an edge that not one ring fits.
    """
    ny, nx = image.shape
    reach = min(center[0], center[1], nx - 1 - center[0], ny - 1 - center[1])
    rings = int(np.ceil(reach / width)) if width > 0 and np.isfinite(reach) else 0
    if rings < 1:
        raise DataError(
            f"no ring of width {width:g} px fits around ({center[0]:g}, {center[1]:g}) in {ny} x {nx} px; "
            "give a positive width and a centre inside the image"
        )
    index = ring_index(image.shape, center, width)
    use = np.isfinite(image) & (index < rings)
    ring, values = index[use], image[use].astype(np.float64)
    count = np.bincount(ring, minlength=rings)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(ring, values, rings) / count
        noise = np.sqrt(np.bincount(ring, np.square(values - mean[ring]), rings) / count)
    return (np.arange(rings) + 0.5) * width, noise, count


def ring_index(shape: tuple[int, int], center: tuple[float, float], width: float) -> np.ndarray:
    """Ring of each pixel (y, x): i where i width <= distance < (i + 1) width."""
    return (radii(shape, center) / width).astype(np.intp)


def ring_scatter(
    images: np.ndarray, *, center: tuple[float, float], width: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Robust 1-sigma scatter of images in concentric rings, out to their farthest corner.

    Parameters
    ----------
    images : ndarray, shape (n, y, x)
        NaN are left out.
    center : (float, float)
        0-based (x, y).
    width : float
        Of a ring, px.

    Returns
    -------
    radius : ndarray, shape (n_ring,)
        Middle of each ring, px.
    level, scatter : ndarray, shape (n, n_ring)
        Median, and standard deviation about it of the values within five robust sigma (1.4826 times the median
        deviation): the tails that noise has count, a companion doesn't. NaN where a ring has fewer than two values.
    share : ndarray, shape (n_ring,)
        Share of the area of each ring that has values in the last image, at most 1.

    Examples
    --------
    >>> noise = np.random.default_rng(1).normal(size=(1, 101, 101))
    >>> ring_scatter(noise, center=(50.0, 50.0), width=10.0)[2][0, :5].round(1).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    ring = ring_index(images.shape[1:], center, width).ravel()
    order = np.argsort(ring, kind="stable")
    ends = np.cumsum(np.bincount(ring))
    flat = images.reshape(len(images), -1)[:, order]
    level, scatter = np.full((2, len(images), ends.size), np.nan)
    count = np.zeros(ends.size)

    def measure(i: int) -> None:
        values = flat[:, ends[i - 1] if i else 0 : ends[i]]
        values = values[:, np.isfinite(values).all(axis=0)]
        count[i] = values.shape[1]
        if values.shape[1] > 1:
            level[:, i], scatter[:, i] = _clipped_scatter(values)

    in_threads(measure, range(ends.size))
    inner = np.arange(ends.size) * width
    area = np.pi * (np.square(inner + width) - np.square(inner))
    return inner + width / 2, level, scatter, np.minimum(count / area, 1.0)


def _clipped_scatter(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median of each row, and standard deviation about it of what is within `CLIP` robust sigma."""
    level = np.median(values, axis=1)
    squares = np.square(values - level[:, None])
    near = squares <= (CLIP * SIGMA_PER_MAD) ** 2 * np.median(squares, axis=1)[:, None]
    return level, np.sqrt(np.mean(squares, axis=1, where=near))


def scatter_map(image: np.ndarray, *, center: tuple[float, float], width: float = 2.0) -> np.ndarray:
    """1-sigma scatter of the ring that each pixel lies in, by the median absolute deviation, shape (y, x).

    Rings as in `annular_noise`, out to the corners. A source that holds less than half of a ring hardly moves its
    scatter. NaN where the image is, and in rings with fewer than five finite pixels.

    Examples
    --------
    >>> image = np.random.default_rng(1).normal(size=(41, 41))
    >>> image[18:21, 30:33] = 100.0
    >>> bool(abs(scatter_map(image, center=(20.0, 20.0))[5, 5] - 1) < 0.2)
    True
    """
    finite = np.isfinite(image)
    ring, values = ring_index(image.shape, center, width)[finite], image[finite].astype(np.float64)
    order = np.argsort(ring, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(ring[order])) + 1)
    scatter = np.full(values.size, np.nan)
    for part in parts:
        if part.size >= LEAST_PIXELS:
            scatter[part] = SIGMA_PER_MAD * np.median(np.abs(values[part] - np.median(values[part])))
    out = np.full(image.shape, np.nan)
    out[finite] = scatter
    return out


def student_factor(level: float, elements: np.ndarray) -> np.ndarray:
    """Standard deviations that a Gaussian `level`-sigma false-alarm rate asks for, from few samples.

    t.isf(norm.sf(level), n - 1) sqrt(1 + 1/n) for n independent elements in the ring, of which the noise was measured
    (Mawet et al. 2014, eq. 9); survival functions, so that nothing saturates. NaN for fewer than two elements.
    """
    n = np.floor(np.asarray(elements, np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        # the lower tail, mirrored: the same to the last digit, and without scipy.stats, which takes 0.7 s to import
        factor = -special.stdtrit(n - 1, special.ndtr(-level)) * np.sqrt(1 + 1 / n)
    return np.where(n >= 2, factor, np.nan)
