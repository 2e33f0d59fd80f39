"""Which background template fits an image with a jump in the background, and how bright it is on each side."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from corontools.arrays.clip import MAD

__all__ = ["Side", "TemplateFit", "fit_templates", "fitted", "jump", "sides"]

# columns among which the background jumps, and the last one that is fitted (NIRISS SOSS, full width)
COLUMNS, LAST = (685, 725), 950
# px; width of the Gaussian that smooths a template before its steepest column is looked for
SMOOTH = 3.0
# height and width of the blocks that are compared, and the part of one that has to be usable
BLOCK, PART = (8, 16), 0.5
# half width in sigma of the window in which a scale is averaged
WINDOW = 1.5
# variance of the mean of values within the window about it over sigma^2 / n, for n values in the window: with
# P = 0.8664 the probability and p = 0.12952 the density at 1.5 sigma it is P / (P - 3 p), as for any M-estimator
SPREAD = 0.8664 / (0.8664 - 3 * 0.12952)


class Side(NamedTuple):
    """Scale on one side of the jump, its 1-sigma error, and the pixels that tell it."""

    scale: float
    err: float
    pixels: np.ndarray


class _Scale(NamedTuple):
    """Scale, its error, and the blocks that tell it."""

    scale: float
    err: float
    blocks: np.ndarray


class TemplateFit(NamedTuple):
    """Number of the best template, the columns (y,) where it jumps, left and right; rms of each template."""

    best: int
    column: np.ndarray
    left: Side
    right: Side
    rms: np.ndarray


def jump(template: np.ndarray) -> np.ndarray:
    """Column of each row, (y,), where a template (y, x) rises most steeply: the first one of the right side."""
    from scipy.ndimage import gaussian_filter

    first, last = COLUMNS
    margin = int(4 * SMOOTH) + 2  # pixels further away don't count in the filter (4 sigma) and its gradient
    near = template[:, max(first - margin, 0) : last + margin]
    steep = np.gradient(gaussian_filter(near, SMOOTH), axis=1)[:, margin : margin + last - first]
    return np.asarray(np.argmax(steep, axis=1) + first)


def sides(shape: tuple[int, ...], column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels left and right of the jump."""
    right = np.arange(shape[-1]) >= column[:, None]
    return ~right, right


def fitted(shape: tuple[int, ...], column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels left and right of the jump that are fitted: on the right not beyond column 950, where sources lie."""
    left, right = sides(shape, column)
    return left, right & (np.arange(shape[-1]) <= LAST)


def fit_templates(
    cube: np.ndarray, good: np.ndarray, templates: np.ndarray, *, source_percentile: float = 35.0
) -> TemplateFit:
    """Fit each template (n, y, x) to the mean of the images (n_int, y, x); the one with the least residual counts.

    Background is what is darkest, but the darkest *pixels* are those whose noise is low: a scale fitted to these falls
    as noise rises. Therefore ratios of image to template are made of blocks of 8 x 16 px, and these are not cut
    at a percentile: from the middle of the darkest `source_percentile` percent a window of +-1.5 sigma moves to the
    mean of the ratios in it until it stays, at the place where ratios are densest. Sigma is the scatter of the ratios
    below, or the noise of a block, from differences between neighbouring pixels, if that is larger; nothing is
    assumed about errors.

    The rms by which templates are compared is that of the darkest `source_percentile` percent of the blocks of each
    side, both sides added.

    Raises
    ------
    ValueError
        If no block is usable.
    """
    image, sigma = _mean(cube, good)
    found = [_both(image, sigma, template, source_percentile) for template in templates]
    rms = np.array([rms for _, _, rms in found])
    if not np.isfinite(rms).any():
        raise ValueError("no block of pixels is usable")
    k = int(np.nanargmin(rms))
    column, scales, _ = found[k]
    usable = np.isfinite(image) & np.isfinite(templates[k]) & (templates[k] != 0)
    left, right = (
        Side(one.scale, one.err, side & usable & _spread(one.blocks, image.shape))
        for one, side in zip(scales, fitted(image.shape, column), strict=True)
    )
    return TemplateFit(k, column, left, right, rms)


def _mean(cube: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean over integrations and its noise, from differences between pixels that are neighbours in a row."""
    number = good.sum(axis=0)
    total = np.zeros(cube.shape[1:])
    for plane, usable in zip(cube, good, strict=True):
        np.add(total, plane, out=total, where=usable)
    with np.errstate(divide="ignore", invalid="ignore"):
        image = np.where(number > 0, total / number, np.nan)
    # a pixel of fewer integrations is noisier than the others; it is left out rather than weighted
    image[number < number.max()] = np.nan
    step = np.abs(np.diff(image, axis=1))
    step = step[np.isfinite(step)]
    return image, MAD * float(np.median(step)) / math.sqrt(2) if step.size else math.nan


def _both(
    image: np.ndarray, sigma: float, template: np.ndarray, percentile: float
) -> tuple[np.ndarray, list[_Scale], float]:
    """Columns of the jump, scales left and right, and the rms of the residual of both sides, added."""
    from corontools.arrays import _factor_kernels

    column = jump(template)
    sums = _factor_kernels.block_sums(image, template, column, LAST, *BLOCK)
    scales = [_scale(side, sigma, percentile) for side in sums]
    rms = sum(_rms(side, one.scale, percentile) for side, one in zip(sums, scales, strict=True))
    return column, scales, rms


def _scale(sums: np.ndarray, sigma: float, percentile: float) -> _Scale:
    """Scale of one side from the sums of its blocks."""
    number, _, _, square, product = sums
    enough = (number >= PART * BLOCK[0] * BLOCK[1]) & (square > 0)
    blocks = np.zeros(number.shape, bool)
    if not enough.any():
        return _Scale(math.nan, math.nan, blocks)
    ratio, noise = product[enough] / square[enough], sigma / np.sqrt(square[enough])
    scale, scatter, near = _densest(ratio, noise, percentile)
    err = scatter * math.sqrt(SPREAD / float(np.sum(1 / np.square(noise[near])))) if sigma > 0 else 0.0
    blocks[enough] = near
    return _Scale(scale, err, blocks)


def _rms(sums: np.ndarray, scale: float, percentile: float) -> float:
    """Rms of the residual of the darkest blocks, from their means, which show more than pixels with their noise."""
    number, total, model, _, _ = sums
    enough = number >= PART * BLOCK[0] * BLOCK[1]
    if not (enough.any() and math.isfinite(scale)):
        return math.nan
    level = total[enough] / number[enough]
    rest = level - scale * model[enough] / number[enough]
    return math.sqrt(float(np.mean(np.square(rest[level <= np.percentile(level, percentile)]))))


def _densest(each: np.ndarray, noise: np.ndarray, percentile: float) -> tuple[float, float, np.ndarray]:
    """Mean of the ratios in the window that doesn't move any more, the scatter in units of the noise, and which."""
    unit = noise if noise.all() else np.ones_like(noise)
    center, scatter = float(np.percentile(each, percentile / 2)), 0.0
    near = each == each[np.argmin(np.abs(each - center))]
    for _ in range(200):
        lower = each < center
        scatter = MAD * float(np.median((center - each[lower]) / unit[lower])) if lower.any() else 0.0
        scatter = max(scatter, 1.0) if unit is noise else scatter
        inside = np.abs(each - center) <= WINDOW * scatter * unit
        near = inside if inside.any() else near
        before, center = center, float(np.average(each[near], weights=1 / np.square(unit[near])))
        if abs(center - before) <= 1e-12 * abs(center):
            break
    return center, scatter, near


def _spread(blocks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Values of blocks as those of their pixels."""
    whole = np.repeat(np.repeat(blocks, BLOCK[0], axis=0), BLOCK[1], axis=1)
    return np.asarray(whole[: shape[0], : shape[1]])
