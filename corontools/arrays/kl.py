"""Karhunen-Loeve decomposition of reference images and the masked projection onto it.

Images are rows of matrices (n, pixels). The derivations are in `docs/klip.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from corontools.arrays.threads import in_threads
from corontools.errors import DataError

__all__ = [
    "coefficient_table",
    "coefficients",
    "conditional",
    "decompose",
    "eigenmodes",
    "impute",
    "leave_one_out",
    "prepare",
    "project",
    "reference_weights",
    "row_variance",
]

# eigenvalues below this share of the largest are rounding noise of the Gram matrix
RANK = 1e-13
# pixels handled at a time, so that no matrix of the size of the references is made
BLOCK = 4096


def prepare(images: np.ndarray, good: np.ndarray, *, pixels: np.ndarray) -> np.ndarray:
    """Pixels of a zone, each image of zero mean and nothing missing: bad pixels left out of the means, then imputed.

    Parameters
    ----------
    images : ndarray, shape (n, all pixels)
    good : ndarray of bool, shape (n, pixels)
        Of the zone's pixels.
    pixels : ndarray of int, shape (pixels,)
        Columns of `images` that make the zone.

    Returns
    -------
    ndarray, shape (n, pixels)
        float64.

    Raises
    ------
    DataError
        If a row has no good pixel.
    """
    count = good.sum(axis=1)
    if not count.all():
        raise DataError(f"no good pixel in image(s) {np.flatnonzero(count == 0).tolist()} of this zone; leave them out")
    out, complete = np.empty(good.shape), bool(good.all())

    def take(i: int) -> None:
        out[i] = images[i] if pixels.size == images.shape[1] else images[i, pixels]
        if complete:
            out[i] -= out[i].mean()

    in_threads(take, range(len(out)))
    if not complete:
        # a common zero point: that of an image without its core is another over what is left of it
        shared = good.all(axis=0)
        use = shared if shared.sum() >= 2 * len(out) else good
        out -= (np.sum(out, axis=1, where=use) / np.sum(np.broadcast_to(use, good.shape), axis=1))[:, None]
        missing = ~good
        out[missing] = 0.0
        impute(out, missing)
        out -= out.mean(axis=1, keepdims=True)
    return out


def impute(images: np.ndarray, missing: np.ndarray) -> None:
    """Put the conditional expectation given the other images into the missing pixels of centred images, in place.

    With the covariance C of the images over the pixels and P its inverse, the missing values m of a pixel
    follow from the observed ones o as r_m = -P_mm^-1 P_mo r_o (the maximum-likelihood value for Gaussian speckles).
    C comes from the pixels that every image has; where those are fewer than twice the images, or one image is all
    there is, missing values stay 0, the mean.

    Parameters
    ----------
    images : ndarray, shape (n, pixels)
        Zero mean over the observed pixels; 0 where missing.
    missing : ndarray of bool, same shape
    """
    n = len(images)
    complete = np.flatnonzero(~missing.any(axis=0))
    if n == 1 or complete.size < 2 * n:
        return
    covariance = np.zeros((n, n))
    for part in np.array_split(complete, -(-complete.size // BLOCK)):
        covariance += _gram(images[:, part]) / complete.size
    conditional(images, missing, covariance)


def conditional(images: np.ndarray, missing: np.ndarray, covariance: np.ndarray) -> None:
    """Put the conditional expectation for a covariance (n, n) into the missing pixels, in place; see `impute`."""
    n = len(images)
    # keeps P finite for images that are copies of each other
    ridge = 1e-10 * np.trace(covariance) / n * np.eye(n)
    from corontools.arrays._kl_kernels import fill_missing

    fill_missing(images, missing, np.linalg.inv(covariance + ridge))


def _gram(images: np.ndarray) -> np.ndarray:
    return images @ images.T


def decompose(references: np.ndarray, modes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Karhunen-Loeve modes of centred references (Soummer, Pueyo & Larkin 2012, eq. 5).

    Parameters
    ----------
    references : ndarray, shape (n_ref, pixels)
        Zero-mean rows without NaN.
    modes : int
        Largest number of modes wanted.

    Returns
    -------
    basis : ndarray, shape (K, pixels)
        Orthonormal modes, strongest first; K <= modes is limited by the rank of the references.
    weights : ndarray, shape (n_ref, K)
        `basis = weights.T @ references`.
    eigenvalues : ndarray, shape (n_ref,)
        All eigenvalues of the Gram matrix, largest first.
    """
    weights, eigenvalues = eigenmodes(_gram(references), modes)
    return weights.T @ references, weights, eigenvalues


def eigenmodes(gram: np.ndarray, modes: int) -> tuple[np.ndarray, np.ndarray]:
    """`weights` and `eigenvalues` of `decompose` from the Gram matrix (n_ref, n_ref) of centred references."""
    eigenvalues, vectors = np.linalg.eigh(gram)
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1]
    rank = int(np.count_nonzero(eigenvalues > RANK * eigenvalues[0]))
    keep = min(modes, rank)
    return vectors[:, :keep] / np.sqrt(eigenvalues[:keep]), eigenvalues


def project(basis: np.ndarray, images: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares fit of constant + modes to the good pixels of each image, for every mode count at once.

    The constant and the modes lose their orthogonality when pixels are left out. With M the Gram matrix of the
    constant and the modes over the good pixels and M = L L^T, the fit of the first k of them has the coefficients
    L_k^-T c_k, where L_k and c_k are the leading parts of L and of c = L^-1 (inner products): one Cholesky factor
    serves all k.

    Parameters
    ----------
    basis : ndarray, shape (K, pixels)
        Orthonormal, zero mean.
    images : ndarray, shape (n, pixels)
    good : ndarray of bool, same shape

    Returns
    -------
    scores : ndarray, shape (n, K + 1)
        c: amplitude of each image in the basis made orthonormal over its own good pixels, constant first.
    factors : ndarray, shape (n, K + 1, K + 1)
        L of each image.

    Raises
    ------
    DataError
        If an image has too few good pixels for this many modes.
    """
    n, pixels = images.shape
    size = len(basis) + 1
    scores, factors = np.empty((n, size)), np.empty((n, size, size))
    constant = 1.0 / np.sqrt(pixels)
    values = np.where(good, images, 0.0).astype(np.float64, copy=False)  # bad pixels leave the sums
    inner = np.concatenate([values.sum(axis=1, keepdims=True) * constant, values @ basis.T], axis=1)
    for i in range(n):
        bad = np.flatnonzero(~good[i])
        outside = np.concatenate([np.full((1, bad.size), constant), basis[:, bad]])
        factors[i] = _factor(np.eye(size) - outside @ outside.T, pixels - bad.size)
        scores[i] = _solve_lower(factors[i], inner[i])
    return scores, factors


def _factor(gram: np.ndarray, count: int) -> np.ndarray:
    try:
        factor = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        factor = None
    if factor is None or np.min(np.diag(factor)) < 1e-6:
        raise DataError(
            f"{count} good pixels can't determine {len(gram) - 1} modes in a zone; use fewer modes or a larger zone"
        )
    return factor


def _solve_lower(factor: np.ndarray, right: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    from scipy.linalg import solve_triangular

    return solve_triangular(factor, right, lower=True, trans=int(transposed), check_finite=False)


def coefficients(scores: np.ndarray, factors: np.ndarray, modes: int) -> np.ndarray:
    """Coefficients of the constant and the first `modes` modes from what `project` gives, shape (n, modes + 1)."""
    size = modes + 1
    rows = [
        _solve_lower(factor[:size, :size], score[:size], transposed=True)
        for score, factor in zip(scores, factors, strict=True)
    ]
    return np.array(rows)


def coefficient_table(scores: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """`coefficients` of 0, 1, ... K modes at once, shape (n, K + 1, K + 1); row k is zero beyond mode k.

    The inverse of the leading block of a triangular matrix is the leading block of its inverse, so
    a_j(k) = sum_{m <= k} (L^-1)_mj c_m is a running sum.
    """
    return np.cumsum(np.tril(np.linalg.inv(factors)) * scores[:, :, None], axis=1)


def leave_one_out(
    gram: np.ndarray, modes: int, *, groups: np.ndarray | None = None, only: Sequence[int] | None = None
) -> np.ndarray:
    """How each reference is made of the others when they alone are its references.

    The first `modes` KL modes of the others reproduce reference j as sum_i C_ji r_i: with the Gram matrix G of the
    others, its eigenpairs (l_k, v_k) and the inner products g of j with them,
    C_j = sum_{k <= modes} v_k (v_k . g) / l_k.

    Parameters
    ----------
    gram : ndarray, shape (n_ref, n_ref)
        Inner products of the centred references.
    modes : int
        At most as many as there are others.
    groups : ndarray of int, shape (n_ref,), optional
        References of one group (an exposure, a star) share speckles that the science image doesn't share with them:
        the others of a reference are those of the other groups. By default each is a group of its own.
    only : sequence of int, optional
        Rows wanted; all by default.

    Returns
    -------
    ndarray, shape (n_ref, n_ref)
        C, zero on the diagonal; `references - C @ references` are the leave-one-out residuals.
    """
    n = len(gram)
    wanted = range(n) if only is None else only
    groups = np.arange(n) if groups is None else groups
    made = np.zeros((len(wanted), n))
    for row, j in enumerate(wanted):
        others = np.flatnonzero(groups != groups[j])
        eigenvalues, vectors = np.linalg.eigh(gram[np.ix_(others, others)])
        keep = np.flatnonzero(eigenvalues > RANK * max(eigenvalues[-1], 0.0))[::-1][:modes]
        scores = (vectors[:, keep].T @ gram[others, j]) / eigenvalues[keep]
        made[row, others] = vectors[:, keep] @ scores
    return made


def reference_weights(weights: np.ndarray, coefficient: np.ndarray) -> np.ndarray:
    """Amount (n, n_ref) of each reference in a model: `weights` of `decompose` times mode coefficients (n, k)."""
    return coefficient @ weights[:, : coefficient.shape[1]].T


def row_variance(basis: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Variance that noise of the image itself leaves in its residual after projection, shape (pixels,).

    The residual is (1 - P) t with P = 1/N + sum_k z_k z_k^T, so its variance is
    v (1 - 2 P_pp) + sum_q P_pq^2 v_q, and the last sum is z_p^T M z_p with M = sum_q z_q z_q^T v_q.
    NaN in `variance` is unknown: it takes no part in the sum and stays NaN.
    """
    parts = [slice(start, start + BLOCK) for start in range(0, basis.shape[1], BLOCK)]
    mixed = sum((rows * np.nan_to_num(variance[part], nan=0.0)) @ rows.T for part, rows in _row_blocks(basis, parts))
    out = np.empty(basis.shape[1])
    for part, rows in _row_blocks(basis, parts):
        diagonal = np.einsum("kp,kp->p", rows, rows)
        spread = np.einsum("kp,kp->p", rows, mixed @ rows)
        out[part] = np.maximum(variance[part] * (1.0 - 2.0 * diagonal) + spread, 0.0)
    return out


def _row_blocks(basis: np.ndarray, parts: Sequence[slice]) -> Iterator[tuple[slice, np.ndarray]]:
    """The constant and the modes, some pixels at a time."""
    constant = 1.0 / np.sqrt(basis.shape[1])
    for part in parts:
        block = basis[:, part].astype(np.float64)
        yield part, np.concatenate([np.full((1, block.shape[1]), constant), block])
