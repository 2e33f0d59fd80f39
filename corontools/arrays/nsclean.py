"""Stripes as a masked Fourier fit: slow waves along each line, or along the time stream of a subarray.

The idea is that of NSClean (Rauscher 2024, PASP 136, 015001): fit the low frequencies to the background pixels alone,
and subtract the waves everywhere. Here the waves are real, and each frequency has a prior.

Notes
-----
**Why real.** NSClean fits complex waves of positive frequency to real data and takes the real part; without gaps that
is the same, with gaps the other half of the spectrum leaks in: a noiseless signal is missed by more than its own size.

**Why a prior.** Real waves alone are worse: over a gap of 600 px nothing holds nine waves, and noise of 8 becomes a
model that is wrong by 240. Flicker noise is random with a spectrum S that all lines share, so the coefficients of
frequency k are given a Gaussian prior of variance S[k]. S and the variance s2 of a pixel are those that make the data
most probable (MacKay 1992, Neural Computation 4, 415), by Fisher scoring: with the posterior mean c and variance C of
a step, and g = 1 - C / S,

    S <- S + sum(c^2 - S g) / sum(g^2),        s2 <- sum(squared residuals) / sum(pixels - g),

with sums over lines. Where there is no flicker noise, S falls to zero and nothing is subtracted; a frequency whose S is
less than three sigma above zero is left out.

**The edge.** Waves just beyond the band are noise for the fit, about as strong as S at the edge of the band; per pixel
that is s2 + S[edge] n / 4 for a line of n good pixels. Without the second term fits with gaps follow these waves.

**Weights.** All good pixels weigh alike. NSClean's weights, 1 / (local density of good pixels), hold back the leaks
of the other half of the spectrum; with real waves and the prior they make no difference beyond 4 %, of either sign.

**Speed.** Elements of the normal matrix depend on sums and differences of frequencies only (it is Toeplitz + Hankel):
all of them, for all lines, are one product of the mask with 33 waves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from corontools.arrays import _timestream
from corontools.arrays.flicker import OVERHEAD
from corontools.arrays.stripes import Stripes, as_lines, line_statistics
from corontools.errors import DataError

__all__ = ["fourier_stream", "fourier_stripes"]

# lines from which the spectrum is estimated, steps of the estimate, and lines worked on at once
SAMPLE, STEPS, BLOCK = 256, 8, 128
# of the prior's strength just beyond the band, as noise of the fit
EDGE = 0.5
OUTLIER = 3.0
# sigma above which a frequency counts
CERTAIN = 3.0
# waves of the highest frequency per block of clock ticks, and ticks in a block at most
SAMPLES, LONGEST = 0.25, 64


class _Sums(NamedTuple):
    """What the fit needs of each line: good pixels, sum of squares, normal matrix (as waves) and right side."""

    number: np.ndarray
    square: np.ndarray
    waves: np.ndarray
    right: np.ndarray


class _Spectrum(NamedTuple):
    """Prior variance of each coefficient, and variance of a pixel."""

    power: np.ndarray
    noise: float


def fourier_stripes(
    image: np.ndarray, good: np.ndarray, *, axis: int, cutoff: float = 1 / 256, smooth: float = 0.0
) -> Stripes:
    """Slow waves fitted to the good pixels of each line.

    Good pixels further than three sigma (from the quartiles) from the median of their line are left out.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        NaN is no data.
    good : ndarray of bool, shape (y, x)
        Pixels that count.
    axis : int
        Axis along which a line is read: 1 for horizontal stripes, 0 for vertical ones. The direction of the reading
        makes no difference.
    cutoff : float
        Frequency (1/px) at which the filter passes half: all below 7/8 of it, none above 9/8, and a cosine between.
    smooth : float
        Sigma, in lines, of a Gaussian by which the model is smoothed across the lines (1.5 in NSClean). It helps only
        with few good pixels and a steep spectrum; for 1/f noise it leaves a tenth more stripes.

    Returns
    -------
    Stripes
        Float32 for a float32 image, else float64. Lines without a good pixel get 0 and NaN. The error is that of the
        slow waves; what varies faster isn't in it.

    Raises
    ------
    DataError
        If the cutoff is not between 0 and 0.25 per px.

    Examples
    --------
    >>> x, rng = np.arange(1024), np.random.default_rng(1)
    >>> waves = rng.normal(size=(64, 1)) * np.sin(2 * np.pi * x / 1024 * 2) + rng.normal(size=(64, 1))
    >>> image, good = waves + rng.normal(0, 0.5, waves.shape), np.ones(waves.shape, bool); good[:, 400:600] = False
    >>> bool(np.std(fourier_stripes(image, good, axis=1).model - waves) < 0.1)
    True
    """
    if not 0 < cutoff < 0.25:
        raise DataError(f"cutoff should be a frequency between 0 and 0.25 per px, found {cutoff}")
    lines = as_lines(image, good, axis)
    kept = _without_outliers(lines)
    if not kept.any():
        shape, kind = np.shape(image), lines.dtype
        return Stripes(np.zeros(shape, kind), np.zeros((len(lines), 1), bool), lambda: np.full(shape, np.nan, kind))
    mean, kind = float(lines.mean(dtype=np.float64, where=kept)), lines.dtype
    gain = _gain(lines.shape[1], cutoff)
    waves = _waves(lines.shape[1], 2 * gain.size - 1)
    sums = _all_sums(lines, kept, mean, waves, gain.size)
    del lines, kept  # makes room for what follows
    fit, spread = _fitted(sums, _estimated(sums, gain.size), gain)
    known = sums.number > 0
    if smooth > 0:
        fit = _smoothed(fit, known, smooth)
    fit[:, 0] += mean
    fit[~known], spread[~known] = 0.0, np.nan
    model = _sum_of_waves(fit, _basis(waves, gain.size), axis, kind)
    return Stripes(model, known[:, None], lambda: _root(_sum_of_waves(spread, waves, axis, kind)))


def fourier_stream(
    image: np.ndarray,
    good: np.ndarray,
    *,
    axis: int,
    overhead: int = OVERHEAD,
    tick: float = 10e-6,
    frequencies: tuple[float, float, float, float] = (1061.0, 1211.0, 49943.0, 49957.0),
) -> Stripes:
    """Waves fitted to the time stream in which one amplifier reads a subarray.

    Only slow waves, and those near the Nyquist frequency (alternating columns), are fitted; each has a prior with the
    spectrum that the data show. Good pixels further than four sigma (from the quartiles) from the median of their line
    are left out.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        NaN is no data.
    good : ndarray of bool, shape (y, x)
        Pixels that count.
    axis : int
        Axis along which a line is read: 1 for horizontal stripes, 0 for vertical ones.
    overhead : int
        Clock ticks after each line in which no pixel is read.
    tick : float
        Seconds for each pixel.
    frequencies : (float, float, float, float)
        Hertz: waves are fitted below the first (cosine down to nothing at the second) and above the fourth (nothing
        below the third). NSClean takes (150, 200, 49943, 49957) for ALLSLITS, which needs no longer be.

    Returns
    -------
    Stripes
        Float32 for a float32 image, else float64; 0 and NaN if no pixel is good. The error is that of the waves in the
        bands; what lies between is not in it.

    Raises
    ------
    DataError
        If the frequencies don't rise from 0 to the Nyquist frequency.

    Examples
    --------
    >>> from corontools.simulate.flicker import flicker_noise
    >>> noise = flicker_noise((64, 256), rms=5.0, channels=1, alpha=1.3)
    >>> image = noise + np.random.default_rng(1).normal(0, 2.0, noise.shape)
    >>> stripes = fourier_stream(image, np.ones(noise.shape, bool), axis=1)
    >>> bool(np.std(noise - stripes.model) < 0.5 * np.std(noise))
    True
    """
    low, zero, back, high = np.array(frequencies) * tick
    if not 0 <= low <= zero <= back <= high <= 0.5:
        raise DataError(
            f"frequencies should rise from 0 to {0.5 / tick:.6g} Hz (half the pixel rate), found {frequencies}"
        )
    lines = as_lines(image, good, axis)
    clock = _timestream.Clock(overhead, int(np.clip(SAMPLES / max(zero, 1e-9), 1, LONGEST)), np.array([False]))
    return _timestream.fit(
        lines[:, None],
        clock,
        axis=axis,
        slow=_timestream.Band(low, zero),
        alternating=_timestream.Band(0.5 - high, 0.5 - back),
    )


def _without_outliers(lines: np.ndarray) -> np.ndarray:
    """Which values are finite and near the median of their line."""
    level, scatter, _ = line_statistics(lines)
    reach = np.where(scatter > 0, OUTLIER * scatter, np.inf)
    kept = np.empty(lines.shape, bool)
    with np.errstate(invalid="ignore"):
        for start in range(0, len(lines), BLOCK):
            part = slice(start, start + BLOCK)
            np.less_equal(np.abs(lines[part] - level[part, None]), reach[part, None], out=kept[part])
    return kept


def _gain(length: int, cutoff: float) -> np.ndarray:
    """Gain of the frequencies k = 0, 1, ... that the filter lets through."""
    k = np.arange(length // 2 + 1)
    beyond = np.clip((k / length - cutoff) / (cutoff / 4) + 0.5, 0.0, 1.0)
    return (0.5 * (1 + np.cos(np.pi * beyond)))[beyond < 1 - 1e-9]


def _waves(length: int, number: int) -> np.ndarray:
    """Cosines of the frequencies 0, 1, ... (number), then sines of 1, 2, ..., as columns."""
    phase = 2 * np.pi / length * (np.outer(np.arange(length), np.arange(number)) % length)
    return np.concatenate([np.cos(phase), np.sin(phase[:, 1:])], axis=1)


def _products(number: int) -> np.ndarray:
    """Products of pairs of waves of `number` frequencies as sums of waves of 2 number - 1 frequencies.

    Shape (waves, pairs): cos a cos b = (cos(a - b) + cos(a + b)) / 2 and so on.
    """
    k = np.concatenate([np.arange(number), np.arange(1, number)])
    odd = np.arange(k.size) >= number
    a, b = np.meshgrid(k, k, indexing="ij")
    both, mixed = odd[:, None] & odd, odd[:, None] ^ odd
    # of the difference: +cos or, where one is a sine, the sine of (sine's - cosine's) frequency
    difference = np.where(odd[:, None], a - b, b - a)
    out = np.zeros((4 * number - 3, a.size))
    for frequency, sign in ((a + b, np.where(both, -0.5, 0.5)), (difference, 0.5)):
        row = np.where(mixed, 2 * number - 2 + np.abs(frequency), np.abs(frequency)).ravel()
        value = np.where(mixed, sign * np.sign(frequency), sign).ravel()
        here = ~(mixed & (frequency == 0)).ravel()
        np.add.at(out, (row[here], np.flatnonzero(here)), value[here])
    return out


def _all_sums(lines: np.ndarray, kept: np.ndarray, mean: float, waves: np.ndarray, number: int) -> _Sums:
    """Sums over the pixels of each line, in blocks that stay small."""
    basis = _basis(waves, number)
    parts = []
    for start in range(0, len(lines), BLOCK):
        use = kept[start : start + BLOCK]
        values = np.where(use, lines[start : start + BLOCK] - mean, 0.0).astype(np.float64, copy=False)
        square = np.einsum("lx,lx->l", values, values)
        parts.append((use.sum(axis=1), square, use.astype(np.float64) @ waves, values @ basis))
    return _Sums(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _basis(waves: np.ndarray, number: int) -> np.ndarray:
    """Waves of the lowest frequencies."""
    return np.concatenate([waves[:, :number], waves[:, 2 * number - 1 : 3 * number - 2]], axis=1)


def _estimated(sums: _Sums, number: int) -> _Spectrum:
    """Spectrum that the lines share, by Fisher scoring from a part of them."""
    known = np.flatnonzero(sums.number)
    some = known[np.linspace(0, known.size - 1, min(known.size, SAMPLE)).astype(int)]
    part = _Sums(*(values[some] for values in sums))
    noise = float(part.square.sum() / part.number.sum()) or 1.0
    spectrum = _Spectrum(np.full(2 * number - 1, noise), noise)
    for _ in range(STEPS):
        spectrum = _improved(part, spectrum)
    odds = (
        1 / np.diagonal(_solved(part, spectrum)[1], axis1=1, axis2=2) - 1
    )  # variance of the prior over that of the data
    certain = np.sqrt(_folded(np.square(odds).sum(axis=0)) / 2) >= CERTAIN
    return spectrum._replace(power=np.where(_unfolded(certain), spectrum.power, 0.0))


def _improved(sums: _Sums, old: _Spectrum) -> _Spectrum:
    """One step: variance of the coefficients and of the pixels from the fit with those of the step before."""
    number = (old.power.size + 1) // 2
    fit, shrunk = _solved(sums, old)
    held = 1 - np.diagonal(shrunk, axis1=1, axis2=2)  # 1 where the data alone decide, 0 where the prior does
    wrong = _folded((np.square(fit) - old.power * held).sum(axis=0))
    weight = _folded(np.square(held).sum(axis=0))
    power = old.power[:number] + wrong / np.maximum(weight, 1e-12)
    power = _unfolded(np.maximum(power, 0.1 * old.power[:number]))
    left = sums.square - 2 * np.einsum("lk,lk->l", fit, sums.right) + _quadratic(sums, fit)
    noise = float(left.sum() / max((sums.number - held.sum(axis=1)).sum(), 1.0))
    return _Spectrum(power, max(noise, 1e-12 * old.noise))


def _folded(values: np.ndarray) -> np.ndarray:
    """Sums over cosine and sine of the same frequency, which have the same variance."""
    number = (values.size + 1) // 2
    return values[:number] + np.concatenate([[0.0], values[number:]])


def _unfolded(values: np.ndarray) -> np.ndarray:
    """The same value for cosine and sine of each frequency."""
    return np.concatenate([values, values[1:]])


def _quadratic(sums: _Sums, fit: np.ndarray) -> np.ndarray:
    """Sum of squares of the fits over the good pixels."""
    number = (fit.shape[1] + 1) // 2
    pairs = np.einsum("li,lj->lij", fit, fit).reshape(len(fit), -1)
    return np.einsum("lw,lw->l", pairs @ _products(number).T, sums.waves)


def _solved(sums: _Sums, spectrum: _Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of each line, and their covariance in units of the prior's standard deviations."""
    size = spectrum.power.size
    scale = np.sqrt(spectrum.power)
    noise = spectrum.noise + EDGE * spectrum.power[(size - 1) // 2] * sums.number / 2
    pairs = np.outer(scale, scale).ravel() * _products((size + 1) // 2)
    matrix = ((sums.waves / noise[:, None]) @ pairs).reshape(-1, size, size) + np.eye(size)
    shrunk = np.linalg.inv(matrix)
    right = (scale * sums.right / noise[:, None])[..., None]
    return scale * (shrunk @ right)[..., 0], shrunk


def _fitted(sums: _Sums, spectrum: _Spectrum, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of the filtered waves of each line, and those of the waves that make its variance."""
    gain_of = _unfolded(gain)
    amplitude = gain_of * np.sqrt(spectrum.power)
    products = (np.outer(amplitude, amplitude).ravel() * _products(gain.size)).T
    fit, spread = [], []
    for start in range(0, len(sums.number), BLOCK):
        part, shrunk = _solved(_Sums(*(values[start : start + BLOCK] for values in sums)), spectrum)
        fit.append(gain_of * part)
        spread.append(shrunk.reshape(len(part), -1) @ products)
    return np.concatenate(fit), np.concatenate(spread)


def _smoothed(fit: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean across the lines, of those that are known."""
    from scipy.ndimage import gaussian_filter1d

    weight = known.astype(np.float64)
    total = gaussian_filter1d(fit * weight[:, None], sigma, axis=0, mode="constant")
    with np.errstate(divide="ignore", invalid="ignore"):
        return total / gaussian_filter1d(weight, sigma, mode="constant")[:, None]


def _sum_of_waves(coefficients: np.ndarray, waves: np.ndarray, axis: int, kind: np.dtype) -> np.ndarray:
    """Image whose lines, along `axis`, are the waves (in columns) times the coefficients of each line."""
    coefficients, waves = coefficients.astype(kind), waves.astype(kind)
    return waves @ coefficients.T if axis == 0 else coefficients @ waves.T


def _root(variance: np.ndarray) -> np.ndarray:
    """Standard deviation, in place of the variance, which rounding may have made negative."""
    return np.sqrt(np.maximum(variance, 0, out=variance), out=variance)
