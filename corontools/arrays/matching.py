r"""Kernels that make one PSF like another, as sums of Gaussians times polynomials.

The kernel at a place (x, y) is

.. math:: K = B_0 + \sum_{i>0} \sum_t c_{it} T_t(x, y) B_i

with B_0 of total 1 and all other B_i of total 0, so that its total is 1 everywhere (Alard & Lupton 1998, ApJ 503, 325;
Alard 2000, A&AS 144, 363), and T_t Chebyshev polynomials. The c make the sum over places

.. math:: \sum_n |K_n \otimes P_n - M_n|^2 + d |M_n|^2 |K_n|^2

least, P_n being the PSF at a place, M_n the one wanted, and d a small damping: the second term is the noise of the
convolved image. The first is summed where the whole kernel lies within the stamp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from corontools.arrays.threads import in_threads
from corontools.errors import DataError

__all__ = ["Basis", "aliasing", "convolve_stamps", "fit_planes", "gaussian_basis", "resized", "solve_planes"]

# total below which a function counts as having none
NO_TOTAL = 1e-7
# places solved at once
BLOCK = 16


class Basis(NamedTuple):
    """Functions that a kernel is the sum of, and how to convolve with them along one axis after the other.

    Attributes
    ----------
    images : ndarray, shape (n, size, size)
        The first has total 1, the others total 0 and sum of squares 1.
    lines : ndarray, shape (m, size)
        Gaussians times powers along an axis.
    pairs : ndarray of int, shape (n, 2)
        Line along y and line along x of each product.
    mixing : ndarray, shape (n, n)
        The images are these sums of the products.
    """

    images: np.ndarray
    lines: np.ndarray
    pairs: np.ndarray
    mixing: np.ndarray


def gaussian_basis(size: int, sigmas: Sequence[float], degrees: Sequence[int]) -> Basis:
    """Gaussians times polynomials in place / half size, degree in x + degree in y <= that of the Gaussian.

    Parameters
    ----------
    size : int
        Odd side of the kernel, px.
    sigmas : sequence of float
        Widths of the Gaussians, px.
    degrees : sequence of int
        Greatest degree of each.

    Examples
    --------
    >>> basis = gaussian_basis(21, (0.7, 1.5, 3.0), (4, 2, 2))
    >>> basis.images.shape, round(float(basis.images[0].sum()), 6)
    ((27, 21, 21), 1.0)
    """
    along = np.arange(size) - size // 2
    lines: list[np.ndarray] = []
    pairs: list[tuple[int, int]] = []
    for sigma, degree in zip(sigmas, degrees, strict=True):
        first = len(lines)
        lines += [(along / (size // 2)) ** k * np.exp(-0.5 * (along / sigma) ** 2) for k in range(degree + 1)]
        pairs += [(first + j, first + i) for j in range(degree + 1) for i in range(degree + 1 - j)]
    rows, columns = np.array(lines), np.array(pairs)
    products = rows[columns[:, 0]][:, :, None] * rows[columns[:, 1]][:, None, :]
    mixing = _mixing(products)
    return Basis(np.tensordot(mixing, products, 1), rows, columns, mixing)


def _mixing(products: np.ndarray) -> np.ndarray:
    """Sums of the products: the first scaled to total 1, from the others as much of it taken as leaves no total."""
    totals = products.sum(axis=(1, 2))
    mixing = np.eye(len(products))
    mixing[0, 0] = 1 / totals[0]
    scaled = np.abs(totals) > NO_TOTAL
    scaled[0] = False
    mixing[scaled, scaled] = 1 / totals[scaled]
    mixing[scaled, 0] = -1 / totals[0]
    norms = np.sqrt((np.tensordot(mixing[1:], products, 1) ** 2).sum(axis=(1, 2)))
    mixing[1:] /= norms[:, None]
    return mixing


def solve_planes(
    psfs: np.ndarray, models: np.ndarray, terms: np.ndarray, *, basis: Basis, damping: float = 1e-4
) -> np.ndarray:
    """Kernel that varies with the place, from PSFs and what they should become.

    Parameters
    ----------
    psfs, models : ndarray, shape (n, s, s)
        Finite, of total 1, centred alike.
    terms : ndarray, shape (n, n_term)
        Value of each T_t at each place; T_0 is 1.
    basis : Basis
    damping : float
        d of the formula.

    Returns
    -------
    ndarray, shape (n_term, size, size)
        The kernel at a place is the sum of T_t times these; that of T_0 has total 1, the others total 0.

    Raises
    ------
    DataError
        If the stamps aren't larger than the kernel, or the places don't determine the terms.

    Examples
    --------
    >>> along = np.arange(31) - 15.0
    >>> star = lambda s: np.exp(-0.5 * (along**2 + along[:, None] ** 2) / s**2)[None] / (2 * np.pi * s**2)
    >>> basis = gaussian_basis(21, (0.7, 1.5, 3.0), (4, 2, 2))
    >>> kernel = solve_planes(star(1.5), star(2.0), np.ones((1, 1)), basis=basis)
    >>> float(np.abs(convolve_stamps(star(1.5), kernel) - star(2.0)).max() / star(2.0).max()) < 0.001
    True
    """
    size = basis.images.shape[1]
    if psfs.shape[1] <= size:
        raise DataError(
            f"the kernel of {size} px is as large as the stamps of the PSF, {psfs.shape[1]} px: no pixel is left to "
            "fit; pad the stamps or make the kernel smaller"
        )
    _check_terms(terms)
    matrix, target = _equations(psfs, models, terms, basis=basis, damping=damping)
    found = np.linalg.solve(matrix, target).reshape(len(basis.images) - 1, -1)
    planes = np.tensordot(found.T, basis.images[1:], 1)
    planes[0] += basis.images[0]
    return planes


def _equations(
    psfs: np.ndarray, models: np.ndarray, terms: np.ndarray, *, basis: Basis, damping: float
) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations of the c_it, i outer and t inner."""
    n, n_term, free = len(psfs), terms.shape[1], len(basis.images) - 1
    blocks = [slice(first, first + BLOCK) for first in range(0, n, BLOCK)]
    parts = in_threads(lambda part: _products(psfs[part], models[part], basis), blocks)
    products, targets = (np.concatenate(values) for values in zip(*parts, strict=True))
    flat = basis.images.reshape(free + 1, -1)
    gram = damping * (models**2).sum(axis=(1, 2))
    products = products + gram[:, None, None] * (flat[1:] @ flat[1:].T)
    targets = targets - gram[:, None] * (flat[1:] @ flat[0])
    pairs = (terms[:, :, None] * terms[:, None, :]).reshape(n, -1)
    matrix = (products.reshape(n, -1).T @ pairs).reshape(free, free, n_term, n_term).transpose(0, 2, 1, 3)
    return matrix.reshape(free * n_term, free * n_term), (targets.T @ terms).ravel()


def _products(psfs: np.ndarray, models: np.ndarray, basis: Basis) -> tuple[np.ndarray, np.ndarray]:
    """Products of the convolved functions with each other, and with what is left to fit, of each place."""
    size = basis.lines.shape[1]
    convolved = _convolved(psfs, basis)
    # the part of the stamp where the whole kernel lies within it
    edge = size // 2
    inner = models[:, edge : models.shape[1] - edge, edge : models.shape[2] - edge]
    rest = inner.reshape(len(models), -1) - convolved[:, 0]
    free = convolved[:, 1:]
    return free @ free.transpose(0, 2, 1), (free @ rest[:, :, None])[:, :, 0]


def _convolved(psfs: np.ndarray, basis: Basis) -> np.ndarray:
    """PSFs convolved with each function, (n, n_function, pixels), where the whole kernel lies within the stamp."""
    side, size = psfs.shape[1], basis.lines.shape[1]
    inner = side - size + 1
    shifts = np.zeros((len(basis.lines), inner, side))
    for i in range(inner):
        shifts[:, i, i : i + size] = basis.lines[:, ::-1]
    rows = shifts @ psfs[:, None]
    out = np.empty((len(psfs), len(basis.pairs), inner, inner))
    for k, (along_y, along_x) in enumerate(basis.pairs):
        out[:, k] = rows[:, along_y] @ shifts[along_x].T
    return basis.mixing @ out.reshape(len(psfs), len(basis.pairs), -1)


def fit_planes(kernels: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Planes (n_term, size, size) whose sums with the terms (n, n_term) come nearest to kernels (n, size, size).

    Raises
    ------
    DataError
        If the places don't determine the terms.
    """
    _check_terms(terms)
    found = np.linalg.lstsq(terms, kernels.reshape(len(kernels), -1), rcond=None)[0]
    return found.reshape(-1, *kernels.shape[1:])


def _check_terms(terms: np.ndarray) -> None:
    rank = int(np.linalg.matrix_rank(terms))
    if rank < terms.shape[1]:
        raise DataError(
            f"{len(terms)} places, of which {rank} are independent, don't determine the {terms.shape[1]} terms of the "
            "kernel's change over the image; take smaller cells or a lower order"
        )


def convolve_stamps(stamps: np.ndarray, kernels: np.ndarray, *, size: int | None = None) -> np.ndarray:
    """Each stamp (n, s, s), 0 beyond its edges, convolved with its kernel (n, k, k): (n, size, size), centred alike.

    By default the size is s; s and k are odd.
    """
    from scipy import fft

    whole = stamps.shape[1] + kernels.shape[1] - 1
    size = size or stamps.shape[1]
    length = fft.next_fast_len(whole, real=True)
    wave = fft.rfft2(stamps, (length, length)) * fft.rfft2(kernels, (length, length))
    full = fft.irfft2(wave, (length, length))[:, :whole, :whole]
    return resized(full, size)


def resized(stamps: np.ndarray, size: int) -> np.ndarray:
    """Stamps (n, s, s) cut or padded with zeros to an odd size, centred alike."""
    edge = (size - stamps.shape[1]) // 2
    if edge >= 0:
        return np.pad(stamps, ((0, 0), (edge, edge), (edge, edge)))
    return stamps[:, -edge:edge, -edge:edge]


def aliasing(stamps: np.ndarray) -> np.ndarray:
    """Amplitude at the Nyquist frequency along x or y, the greater, of stamps (n, s, s) over that at frequency 0.

    More than a few percent means that light was aliased: the pixels are too large for the PSF.

    Examples
    --------
    >>> along = np.arange(31) - 15.0
    >>> stars = [np.exp(-0.5 * (along**2 + along[:, None] ** 2) / s**2) for s in (0.5, 0.85, 1.7)]
    >>> aliasing(np.array(stars)).round(3)
    array([0.574, 0.057, 0.   ])
    """
    signs = (-1.0) ** np.arange(stamps.shape[-1])
    total = stamps.sum(axis=(1, 2))
    return np.maximum(np.abs(stamps.sum(axis=1) @ signs), np.abs(stamps.sum(axis=2) @ signs)) / total
