"""What noise is left after subtraction of a KLIP model. The derivation is in `docs/klip.md`."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import ndimage

__all__ = ["leave_one_out_power", "residual_variance", "smooth_positive"]

# pixels handled at a time, so that no matrix of the size of the references is made
BLOCK = 16384
# side in px of the neighbourhood in which speckles are as strong
NEIGHBOURHOOD = 15


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
        Centred, nothing missing.
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
    power : ndarray, shape (pixels,)
        Mean over the references of (flux * residual)^2; NaN where no reference was measured.
    known : ndarray, shape (pixels,)
        Its part that the references' own noise explains; 0 where no variance is given.
    """
    pixels = references.shape[1]
    power, known = np.empty(pixels), np.zeros(pixels)
    for start in range(0, pixels, BLOCK):
        part = slice(start, start + BLOCK)
        weight = good[:, part] * np.square(flux)[:, None]
        count = good[:, part].sum(axis=0)
        residual = references[:, part] - made @ references[:, part]
        with np.errstate(invalid="ignore", divide="ignore"):
            power[part] = np.einsum("np,np->p", weight, np.square(residual)) / count
            if variance is not None:
                own = _complete(variance[:, part])
                known[part] = np.einsum("np,np->p", weight, own + np.square(made) @ own) / count
    return power, known


def _complete(variance: np.ndarray) -> np.ndarray:
    """Unknown variances of a pixel replaced by the mean of those known there; NaN where none is."""
    missing = ~np.isfinite(variance)
    if not missing.any():
        return variance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel unknown in all references stays NaN
        mean = np.nanmean(np.where(missing, np.nan, variance), axis=0)
    return np.where(missing, mean, variance)


def residual_variance(own: np.ndarray, amounts: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Photon and read noise in a residual: the image's own, and that of the references in its model.

    Parameters
    ----------
    own : ndarray, shape (pixels,)
        From `kl.row_variance`.
    amounts : ndarray, shape (n_ref,)
        Amount of each reference in the model.
    variance : ndarray, shape (n_ref, pixels)
        Of the references.
    """
    out = np.array(own)
    for start in range(0, own.size, BLOCK):
        part = slice(start, start + BLOCK)
        out[part] += np.square(amounts) @ _complete(variance[:, part])
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
