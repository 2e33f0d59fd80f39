"""What noise is left after subtraction of a KLIP model. The derivation is in `docs/klip.md`."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import ndimage, special

from corontools.arrays.kl import BLOCK, leave_one_out

__all__ = ["leave_one_out_power", "model_variance", "smooth_positive", "tail_factor"]

# side in px of the neighbourhood in which speckles are as strong
NEIGHBOURHOOD = 15
# for the tail: eigendecompositions spent, pixels looked at, pixels beyond 3 sigma needed
DECOMPOSITIONS, SAMPLES, LEAST_TAIL = 400, 40_000, 30


def leave_one_out_power(
    references: np.ndarray,
    made: np.ndarray,
    flux: np.ndarray,
    *,
    good: np.ndarray,
    variance: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean square of the references' leave-one-out residuals on the scale of the science star, and its known part.

    Parameters
    ----------
    references : ndarray, shape (n_ref, pixels)
        Centred, nothing missing; at least two.
    made : ndarray, shape (n_ref, n_ref)
        From `kl.leave_one_out`.
    flux : ndarray, shape (n_ref,)
        Science star over reference star.
    good : ndarray of bool, shape (n_ref, pixels)
        Where the reference was measured; imputed pixels don't count.
    variance : ndarray, shape (n_ref, pixels), or None
        Photon and read noise of the references; NaN where unknown.

    Returns
    -------
    mean : ndarray, shape (pixels,)
        Mean over the references of (flux * residual)^2; NaN where no reference was measured.
    known : ndarray, shape (pixels,)
        Its part that the references' own noise explains; 0 where no variance is given.
    """
    pixels = references.shape[1]
    mean, known = np.empty(pixels), np.zeros(pixels)
    for start in range(0, pixels, BLOCK):
        part = slice(start, start + BLOCK)
        use = good[:, part]
        count = use.sum(axis=0)
        square = np.square(flux[:, None] * (references[:, part] - made @ references[:, part]))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean[part] = np.sum(square, axis=0, where=use) / count
            if variance is not None:
                own = _complete(variance[:, part])
                weight = use * np.square(flux)[:, None]
                known[part] = np.einsum("np,np->p", weight, own + np.square(made) @ own) / count
    return mean, known


def tail_factor(references: np.ndarray, modes: int, *, groups: np.ndarray) -> float:
    """Factor, at least 1, that brings the false-alarm rate of the error to that of Student's t.

    Each reference is taken as science with those of the other groups as its references: its residual over the error
    that these give should exceed 3 as often as t with one degree of freedom less than groups does. It does so more
    often where frames differ in
    strength, or where a frame holds something that the others' leave-one-out residuals can't know of. The factor is
    the value that is exceeded at the rate of t, over 3.

    Parameters
    ----------
    references : ndarray, shape (n_ref, pixels)
        Centred, nothing missing. Some of the pixels, and with many references some of these, are enough.
    modes : int
    groups : ndarray of int, shape (n_ref,)
        See `kl.leave_one_out`.

    Returns
    -------
    float
        1 for fewer than three groups, or too few pixels for the tail to be seen.
    """
    n, pixels = references.shape
    n_group = np.unique(groups).size
    share = 2 * special.stdtr(max(n_group - 1, 1), -3.0)
    tested = np.unique(np.linspace(0, n - 1, min(n, max(DECOMPOSITIONS // n, 2))).astype(int))
    images = references[:, :: max(1, pixels * tested.size // SAMPLES)]
    if n_group < 3 or share * tested.size * images.shape[1] < LEAST_TAIL:
        return 1.0
    gram = references @ references.T
    exceeded = np.quantile([_as_science(j, images, gram, modes, groups) for j in tested], 1 - share)
    return max(float(exceeded) / 3.0, 1.0)


def _as_science(j: int, images: np.ndarray, gram: np.ndarray, modes: int, groups: np.ndarray) -> np.ndarray:
    """|S/N| of reference j after subtraction of the others, with the error from their leave-one-out residuals."""
    others = np.flatnonzero(groups != groups[j])
    left = images[j] - leave_one_out(gram, modes, groups=groups, only=[j])[0] @ images
    rest = images[others]
    made = leave_one_out(gram[np.ix_(others, others)], modes, groups=groups[others])
    with np.errstate(invalid="ignore", divide="ignore"):
        flux = np.sqrt(gram[j, j] / np.diag(gram)[others])
        snr = np.abs(left) / np.sqrt(np.mean(np.square(flux[:, None] * (rest - made @ rest)), axis=0))
    return np.nan_to_num(snr, posinf=0.0)


def _complete(variance: np.ndarray) -> np.ndarray:
    """Unknown variances of a pixel replaced by the mean of those known there; NaN where none is."""
    missing = ~np.isfinite(variance)
    if not missing.any():
        return variance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel unknown in all references stays NaN
        mean = np.nanmean(np.where(missing, np.nan, variance), axis=0)
    return np.where(missing, mean, variance)


def model_variance(amounts: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Photon and read noise of the references in a model, shape (pixels,).

    Parameters
    ----------
    amounts : ndarray, shape (n_ref,)
        Amount of each reference in the model.
    variance : ndarray, shape (n_ref, pixels)
        Of the references.
    """
    out = np.empty(variance.shape[1])
    for start in range(0, out.size, BLOCK):
        part = slice(start, start + BLOCK)
        out[part] = np.square(amounts) @ _complete(variance[:, part])
    return out


def smooth_positive(values: np.ndarray, pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Local mean of `values`, given at flat indices `pixels` of an image, never below zero; NaN are left out."""
    finite = np.isfinite(values)
    image, weight = np.zeros(shape), np.zeros(shape)
    image.flat[pixels[finite]] = values[finite]
    weight.flat[pixels[finite]] = 1.0
    total = ndimage.uniform_filter(image, NEIGHBOURHOOD, mode="constant")
    share = ndimage.uniform_filter(weight, NEIGHBOURHOOD, mode="constant")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.maximum((total / share).flat[pixels], 0.0)
