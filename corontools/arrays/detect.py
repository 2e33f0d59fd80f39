"""Sources in an image: where it stands out of its noise, smoothed by the PSF."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from corontools.arrays.threads import in_threads
from corontools.errors import DataError

__all__ = ["Regions", "Smoothed", "dilated", "extents", "gaussian_kernel", "labelled", "peaks", "regions", "smoothed"]

# share of the kernel that has to lie on pixels that count
LEAST_COVER = 0.5


class Smoothed(NamedTuple):
    """An image smoothed for detection.

    Attributes
    ----------
    height : ndarray, shape (y, x)
        The smoothed image.
    significance : ndarray, shape (y, x)
        Over its standard deviation; NaN where less than half of the kernel lies on pixels that count.
    """

    height: np.ndarray
    significance: np.ndarray


class Regions(NamedTuple):
    """Where an image is significant.

    Attributes
    ----------
    labels : ndarray of int32, shape (y, x)
        1, 2, ... in the order of the first pixel of each region; 0 is none.
    peaks : ndarray of int, shape (n, 2)
        Places (y, x) of the local maxima, by region, the highest first.
    """

    labels: np.ndarray
    peaks: np.ndarray


def gaussian_kernel(sigma: float, *, width: float = 7.0) -> np.ndarray:
    """Gaussian of total 1 along one axis, of odd size.

    Parameters
    ----------
    sigma : float
        Px.
    width : float
        Whole width of the kernel, in sigma.

    Examples
    --------
    >>> gaussian_kernel(1.7).size, float(gaussian_kernel(1.7).sum().round(12))
    (13, 1.0)
    """
    half = int(width * sigma + 0.5) // 2
    profile = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    return profile / profile.sum()


def smoothed(image: np.ndarray, variance: np.ndarray, left_out: np.ndarray, *, kernel: np.ndarray) -> Smoothed:
    """Image convolved with a symmetric kernel along both axes, and its significance.

    With the PSF as kernel the significance is that of a point source on the pixel, which is the most that a linear
    filter can give.

    Parameters
    ----------
    image, variance : ndarray, shape (y, x)
    left_out : ndarray of bool, shape (y, x)
        Pixels that aren't in the sums; they have a significance from those around them.
    kernel : ndarray, shape (odd,)

    Raises
    ------
    DataError
        If the image is smaller than the kernel.

    Examples
    --------
    >>> image = np.zeros((9, 9)); image[4, 4] = 10
    >>> none = np.zeros((9, 9), bool)
    >>> found = smoothed(image, np.ones((9, 9)), none, kernel=np.array([0.25, 0.5, 0.25]))
    >>> float(found.height[4, 4]), round(float(found.significance[4, 4]), 3)
    (2.5, 6.667)
    """
    if min(image.shape) < kernel.size:
        raise DataError(f"an image of {image.shape} px is smaller than the {kernel.size} px of the PSF's Gaussian")
    kind = np.float32 if image.dtype.newbyteorder("=") == np.float32 else np.float64
    zero, gaps = kind(0), bool(left_out.any())
    jobs = [(np.where(left_out, zero, image), kernel), (np.where(left_out, zero, variance), kernel**2)]
    if gaps:
        jobs.append((np.where(left_out, zero, kind(1)), kernel))
    height, noise, *cover = in_threads(lambda job: _convolved(job[0], job[1], kind), jobs)
    with np.errstate(invalid="ignore", divide="ignore"):
        significance = height / np.sqrt(noise, out=noise)
    if gaps:
        significance[cover[0] < LEAST_COVER] = np.nan
    return Smoothed(height, significance)


def regions(found: Smoothed, *, threshold: float, at_least: float, min_pixels: int = 1) -> Regions:
    """Connected regions above a threshold and the peaks in them.

    Parameters
    ----------
    found : Smoothed
    threshold : float
        Regions are of significance above this; pixels that touch, diagonally too, are of one.
    at_least : float
        Regions without a pixel of this significance are dropped.
    min_pixels : int
        Regions of fewer pixels are dropped.

    Examples
    --------
    >>> height = np.zeros((7, 9)); height[2, 2] = 9; height[2, 3] = 6; height[5, 7] = 6
    >>> made = regions(Smoothed(height, height), threshold=5, at_least=8)
    >>> int(made.labels.max()), made.peaks.tolist()
    (1, [[2, 2]])
    """
    labels, n = labelled(found.significance > threshold)
    _, counts, highest = extents(labels, found.significance, n)
    kept = (highest >= at_least) & (counts >= min_pixels)
    numbers = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32)
    labels = numbers[labels]
    return Regions(labels, peaks(found, labels, inside=labels > 0))


def peaks(found: Smoothed, labels: np.ndarray, *, inside: np.ndarray) -> np.ndarray:
    """Local maxima (n, 2) of the height, places (y, x), by label and then falling height.

    Pixels without a significance aren't compared with, so that a region has a peak even if it is cut.

    Parameters
    ----------
    found : Smoothed
    labels : ndarray of int, shape (y, x)
    inside : ndarray of bool, shape (y, x)
        Where maxima are looked for.
    """
    from corontools.arrays._detect_kernels import maxima

    valid = np.isfinite(found.significance)
    places = maxima(found.height, valid, inside & valid)
    order = np.lexsort((-found.height[*places.T], labels[*places.T]))
    return places[order]


def labelled(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Labels (int32) of the 8-connected regions of a mask, and how many there are; as `scipy.ndimage.label`, quicker.

    Examples
    --------
    >>> labelled(np.array([[True, False, True], [True, False, False], [False, True, False]]))[0]
    array([[1, 0, 2],
           [1, 0, 0],
           [0, 1, 0]], dtype=int32)
    """
    from corontools.arrays._detect_kernels import label

    labels = np.zeros(mask.shape, np.int32)
    return labels, int(label(np.ascontiguousarray(mask, bool), labels))


def extents(labels: np.ndarray, values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners (n, 4) x_min, y_min, x_max, y_max, number of pixels (n,) and highest value (n,) of each label.

    Examples
    --------
    >>> labels = np.array([[0, 1, 1], [2, 0, 1]])
    >>> boxes, counts, highest = extents(labels, np.array([[0.0, 1, 5], [4, 0, 2]]), 2)
    >>> boxes.tolist(), counts.tolist(), highest.tolist()
    ([[1, 0, 2, 1], [0, 1, 0, 1]], [3, 1], [5.0, 4.0])
    """
    from corontools.arrays import _detect_kernels as kernels

    boxes, counts, highest = np.zeros((n, 4), np.int64), np.zeros(n, np.int64), np.full(n, -np.inf)
    kernels.extents(labels, values, boxes, counts, highest)
    return boxes, counts, highest


def dilated(mask: np.ndarray, *, radius: int) -> np.ndarray:
    """Pixels within a distance of a mask.

    Examples
    --------
    >>> dilated(np.array([[False, True, False, False]]), radius=1)
    array([[ True,  True,  True, False]])
    """
    from corontools.arrays._detect_kernels import dilate

    out = np.zeros(mask.shape, bool)
    reach = np.sqrt(radius**2 - np.arange(radius + 1.0) ** 2).astype(np.int64)
    dilate(np.ascontiguousarray(mask, bool), reach, out)
    return out


def _convolved(image: np.ndarray, kernel: np.ndarray, kind: type) -> np.ndarray:
    from corontools.arrays._detect_kernels import convolve

    out: np.ndarray = np.empty(image.shape, kind)
    convolve(np.ascontiguousarray(image, kind), np.asarray(kernel, kind), out)
    return out
