"""Convolution with a kernel that changes over the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import fft

from corontools.arrays.threads import in_threads
from corontools.errors import DataError

__all__ = ["Kernels", "Term", "gather_bits", "sum_varying"]

# places (n,) along x and y -> kernels (n, size, size)
Kernels = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Term(NamedTuple):
    """A plane to convolve.

    Attributes
    ----------
    plane : ndarray, shape (y, x)
        Finite.
    change : function
        What is done with the kernel before: np.positive for an image, np.square for its variance.
    beyond : float
        What the plane holds beyond its edges.
    rough : bool
        Enough for a variance, and faster where sums are taken tap by tap: in single precision, with a kernel, of
        positive total, that keeps its shape along the rows of a tile and changes its total only. Exact to single
        precision for a plane of one value.
    """

    plane: np.ndarray
    change: Callable[[np.ndarray], np.ndarray] = np.positive
    beyond: float = 0.0
    rough: bool = False


# px between places at which the kernel is asked for: a part of the image, within limits
PARTS, STEPS = 32, (16, 64)
# greatest kernel that is summed tap by tap; beyond it Fourier transforms of tiles are faster
DIRECT = 33
# rows of which the bits are gathered at once
ROWS = 128


def sum_varying(terms: Sequence[Term], kernels: Kernels, *, step: int | None = None) -> list[np.ndarray]:
    """Convolve planes with a kernel that is bilinear between places `step` px apart.

    Parameters
    ----------
    terms : sequence of Term
        Planes of one shape.
    kernels : function
        Of places x (n,), y (n,), px, all within the image: kernels (n, size, size), size odd, centred on the middle
        pixel. Where these aren't finite the nearest place counts.
    step : int, optional
        By default 1/32 of the image, 16 to 64 px, for kernels up to 33 px, which are summed tap by tap; else 1/8 of
        it, up to twice the size, by Fourier transforms.

    Returns
    -------
    list of ndarray, shape (y, x)
        Sums over all taps of kernel(t; place) * plane(place - t), the kernel being that at the place of the sum; taken
        in double precision, given in that of the planes, at least single.

    Raises
    ------
    DataError
        If no kernel is finite, or their size is even.

    Notes
    -----
    The square of the kernel is bilinear between the squares: this is too large by the variance of the kernel between
    its corners, which is of second order in its change over `step` px.

    Examples
    --------
    >>> spot = np.zeros((5, 5)); spot[2, 2] = 8
    >>> box = lambda x, y: np.full((len(x), 3, 3), 1 / 9)
    >>> sum_varying([Term(spot, np.square)], box)[0][2].round(4).tolist()
    [0.0, 0.0988, 0.0988, 0.0988, 0.0]
    """
    shape = terms[0].plane.shape
    size = _size(kernels)
    tiles = [_Tiles.along(n, step or _step(n, size)) for n in shape]
    lattice = _lattice(kernels, [one.corners for one in tiles])
    out = [np.empty(shape, np.result_type(term.plane, np.float32)) for term in terms]
    if size > DIRECT:
        places = [(j, i) for j in range(len(tiles[0].spans)) for i in range(len(tiles[1].spans))]
        in_threads(partial(_sum_by_fourier, terms, lattice, tiles, out), places)
    else:
        _sum_directly(terms, lattice, tiles, out)
    return out


def gather_bits(mask: np.ndarray, reach: int) -> np.ndarray:
    """OR of the bits of all pixels in a box of 2 reach + 1 px around each.

    Examples
    --------
    >>> gather_bits(np.array([[1, 0, 0, 4]]), 1).tolist()
    [[1, 1, 4, 4]]
    """
    if reach == 0 or not mask.any():
        return np.array(mask)
    out = np.empty_like(mask, order="C")

    def gather(first: int) -> None:
        rows = out[first : first + ROWS]
        shape = (len(rows) + 2 * reach, mask.shape[1] + 2 * reach)
        pixels = _load(mask, 0, (first - reach, -reach), shape, mask.dtype)
        rows[:] = _gathered(_gathered(pixels, 2 * reach + 1).T, 2 * reach + 1).T

    in_threads(gather, range(0, len(mask), ROWS))
    return out


def _gathered(mask: np.ndarray, n: int) -> np.ndarray:
    """OR of n rows from each on, as far as there are n: from that of 1, 2, 4 ... rows."""
    span, count = 1, len(mask) - n + 1
    while 2 * span <= n:
        mask = mask[:-span] | mask[span:]
        span *= 2
    # two spans that overlap make the whole
    return mask[:count] | mask[n - span : n - span + count]


def _load(plane: np.ndarray, beyond: float, place: tuple[int, int], shape: Sequence[int], kind: Any) -> np.ndarray:
    """Pixels from a place (y, x) on that may lie before the plane, `beyond` outside of it."""
    out, (y0, x0) = np.empty(shape, kind), place
    top, bottom = max(-y0, 0), min(plane.shape[0] - y0, shape[0])
    left, right = max(-x0, 0), min(plane.shape[1] - x0, shape[1])
    out[:top], out[bottom:] = beyond, beyond
    out[top:bottom, :left], out[top:bottom, right:] = beyond, beyond
    out[top:bottom, left:right] = plane[y0 + top : y0 + bottom, x0 + left : x0 + right]
    return out


def _size(kernels: Kernels) -> int:
    shape = np.shape(kernels(np.zeros(1), np.zeros(1)))
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] % 2 == 0:
        raise DataError(f"kernels (n, size, size) of odd size are needed, found {shape}")
    return int(shape[1])


def _step(n: int, size: int) -> int:
    if size > DIRECT:
        return min(max(n // 8, STEPS[0]), 2 * size)
    return min(max(n // PARTS, STEPS[0]), STEPS[1])


class _Tiles(NamedTuple):
    """Parts of an axis between places where the kernel is known.

    Attributes
    ----------
    corners : ndarray of int, shape (n + 1,)
        The places, from the first pixel to the last.
    spans : ndarray of int, shape (n, 3)
        First pixel, number of pixels, and distance of the places: the pixel at a corner belongs to the part that begins
        there, the last one to the last part.
    """

    corners: np.ndarray
    spans: np.ndarray

    @classmethod
    def along(cls, n: int, step: int) -> _Tiles:
        parts = max(-(-(n - 1) // step), 1)
        corners = np.round(np.linspace(0, max(n - 1, 1), parts + 1)).astype(int)
        first, far = corners[:-1], np.diff(corners)
        ends = np.where(corners[1:] >= n - 1, n, corners[1:])
        return cls(corners, np.stack([first, ends - first, far], axis=1))


def _lattice(kernels: Kernels, corners: Sequence[np.ndarray]) -> np.ndarray:
    """Kernels at the corners of the tiles, (y, x, size, size)."""
    y, x = (places.ravel().astype(float) for places in np.meshgrid(*corners, indexing="ij"))
    found = np.asarray(kernels(x, y), np.float64)
    known = np.isfinite(found).all(axis=(1, 2))
    if not known.any():
        raise DataError("no kernel over the image is finite; the PSF isn't known anywhere on it")
    if not known.all():
        from scipy.spatial import cKDTree

        places = np.stack([x, y], axis=1)
        nearest = cKDTree(places[known]).query(places[~known])[1]
        found = found.copy()
        found[~known] = found[known][nearest]
    return found.reshape(len(corners[0]), len(corners[1]), *found.shape[1:])


def _sum_directly(
    terms: Sequence[Term], lattice: np.ndarray, tiles: Sequence[_Tiles], out: Sequence[np.ndarray]
) -> None:
    """Tap by tap."""
    from corontools.arrays._matching_kernels import CHUNK, sum_strip

    size, (rows, columns) = lattice.shape[-1], (one.spans for one in tiles)
    changes = {term.change for term in terms}
    spare = ((0, 0), (0, 0), (0, 0), (0, -size % CHUNK))
    kernels = {change: np.pad(change(lattice)[..., ::-1, ::-1], spare) for change in changes}
    wide = terms[0].plane.shape[1] + size - 1 + CHUNK

    def strip(job: tuple[int, int]) -> None:
        (j, k), (first, n, span) = job, rows[job[0]]
        term = terms[k]
        shape = (n + size - 1, wide)
        pixels = _load(term.plane, term.beyond, (first - size // 2, -(size // 2)), shape, np.float64)
        sums = np.empty((n, term.plane.shape[1]))
        sum_strip(pixels, kernels[term.change][j : j + 2], int(span), columns, term.rough, sums)
        out[k][first : first + n] = sums

    in_threads(strip, [(j, k) for j in range(len(rows)) for k in range(len(terms))])


def _sum_by_fourier(
    terms: Sequence[Term],
    lattice: np.ndarray,
    tiles: Sequence[_Tiles],
    out: Sequence[np.ndarray],
    place: tuple[int, int],
) -> None:
    """One tile of all planes, by Fourier transforms."""
    (j, i), size = place, lattice.shape[-1]
    corners = lattice[j : j + 2, i : i + 2].reshape(4, size, size)
    spans = [one.spans[k] for one, k in zip(tiles, place, strict=True)]
    inner = tuple(slice(size - 1, size - 1 + n) for _, n, _ in spans)
    start, shape = (spans[0][0] - size // 2, spans[1][0] - size // 2), [n + size - 1 for _, n, _ in spans]
    # circular: what wraps around falls on the margins that are cut off
    lengths = [fft.next_fast_len(n, real=True) for n in shape]
    waves: dict[Any, list[np.ndarray]] = {}
    for term, whole in zip(terms, out, strict=True):
        target = whole[tuple(slice(first, first + n) for first, n, _ in spans)]
        pixels = _load(term.plane, term.beyond, start, shape, np.float64)
        if (pixels == pixels[0, 0]).all():
            target[:] = pixels[0, 0] * _blend(term.change(corners).sum(axis=(1, 2)), spans)
            continue
        if term.change not in waves:
            waves[term.change] = [fft.rfft2(one, lengths) for one in _distinct(term.change(corners))]
        wave = fft.rfft2(pixels, lengths)
        sums = [fft.irfft2(wave * kernel, lengths)[inner] for kernel in waves[term.change]]
        target[:] = sums[0] if len(sums) == 1 else _blend(sums, spans)


def _distinct(kernels: np.ndarray) -> np.ndarray:
    """One if all are equal."""
    return kernels[:1] if (kernels == kernels[0]).all() else kernels


def _blend(corners: Sequence[Any] | np.ndarray, spans: Sequence[np.ndarray]) -> np.ndarray:
    """Bilinear between what holds at the corners of a tile."""
    y, x = (np.arange(n) / span for _, n, span in spans)
    top = (1 - x) * corners[0] + x * corners[1]
    bottom = (1 - x) * corners[2] + x * corners[3]
    return (1 - y)[:, None] * top + y[:, None] * bottom
