"""Stamps of PSFs: padded, moved within the pixel, measured."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["determinant_radius", "moments", "moved", "padded"]


def padded(stamps: Any, size: int) -> np.ndarray:
    """Stamps (..., n, n) in the middle of larger ones."""
    more = (size - stamps.shape[-1]) // 2
    return np.pad(stamps, [(0, 0)] * (stamps.ndim - 2) + [(more, more)] * 2)


def moved(stamps: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Centred stamps (n, size, size) as those of stars at places (n,) within the middle pixel, by Lanczos-5."""
    from corontools.arrays.warp import warp_stamps

    size = stamps.shape[-1]
    middle = np.full((x.size, 2), size // 2)
    offset = np.stack([y - np.floor(y + 0.5), x - np.floor(x + 0.5)], axis=1)
    same = np.broadcast_to(np.eye(2), (x.size, 2, 2))
    out = warp_stamps(stamps, same, middle=middle, offset=offset, size=size, kernel="lanczos5")
    return out / out.sum(axis=(1, 2), keepdims=True)


def moments(stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adaptive moments Ixx, Iyy, Ixy of centred stamps (n, size, size), px^2; NaN where these find no source."""
    from corontools.arrays.moments import adaptive_moments

    half = stamps.shape[-1] // 2
    # width of the Gaussian that has this peak
    start = np.sqrt(1 / (2 * np.pi * np.clip(np.nan_to_num(stamps[:, half, half]), 1e-3, 0.5)))
    middle = np.full(len(stamps), half, float)
    found = adaptive_moments(np.ascontiguousarray(stamps), np.ones_like(stamps), middle, middle, sigma=start)
    return found.xx, found.yy, found.xy


def determinant_radius(stamps: np.ndarray) -> np.ndarray:
    """(Ixx Iyy - Ixy^2)^(1/4) of centred stamps (n, size, size), px; NaN where adaptive moments find no source."""
    xx, yy, xy = moments(stamps)
    with np.errstate(invalid="ignore"):
        return (xx * yy - xy**2) ** 0.25
