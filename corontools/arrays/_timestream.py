"""Gaussian process on the time stream in which amplifiers read an image.

The noise of an amplifier is a stationary random process m with the power spectrum S, and each pixel adds white noise
of variance s2. Given the good pixels d, the best estimate of m is the posterior mean (Wiener 1949)

    (S^-1 + W / s2) m = W d / s2,        W = number of good pixels in each block of clock ticks.

S is diagonal in frequency and W in time, so that a product with either costs one FFT; the equation is solved by
conjugate gradients for x = S^-1/2 m, with the matrix for the mean of W as preconditioner (it is diagonal in frequency).
Neither needs S^-1: where S is zero, so is m.

Spectrum
--------
S is a sum of tents in log(frequency) times 1 / frequency. The power spectrum of the masked data (blocks without data
count as 0) has the expected value FFT(R c) + s2 sum(W) / N, where R is the autocorrelation of W and c that of m
(Hivon et al. 2002, ApJ 567, 2). It is linear in the strengths of the tents and in s2, which follow from non-negative
least squares with the weights of a chi-square variable. Amplifiers share a spectrum. From the highest frequency down,
tents of which the data aren't certain (3 sigma) are left out, so that nothing is taken from an image without stripes.

Alternating columns
-------------------
Noise near the Nyquist frequency is slow after multiplication by (-1)^tick; it is estimated in the same way, on a
coarser grid.

Error
-----
The posterior variance is taken as that of a stationary process with the density of good pixels about each block:
sum over frequency of S / (1 + S w / s2), where w is the density smoothed over the time that a frequency resolves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import fft

from corontools.arrays.stripes import Stripes, line_statistics

# factor between tents, and between the bins in which power is compared
TENT, BIN = 3.0, 1.3
# blocks added after the last line, so that its noise needn't go on with that of the first; part of all
PADDING = 1 / 8
STEPS, TOLERANCE = 60, 1e-3
OUTLIER = 4.0
# cycles per block from which on the blocks leave noise to the fine fit
FINE = 0.3
# rows from which the spectrum of the fine fit is estimated, and lines worked on at once
FINE_ROWS, FINE_LINES = 1024, 128
# sigma above which a part of the spectrum counts
CERTAIN = 3.0
# strong stripes can hide the white noise from the spectrum: its least share of what neighbouring pixels show, and how
# many of them are looked at
FLOOR, WHITE = 0.25, 1 << 18
MAD = 0.6744897501960817
TINY = 1e-12


class Clock(NamedTuple):
    """How pixels are read: ticks after each line without a pixel, ticks averaged, amplifiers read backwards."""

    overhead: int
    block: int
    flip: np.ndarray


class Band(NamedTuple):
    """Frequencies, in cycles per tick, up to which noise is fitted wholly, and from which on not at all."""

    full: float
    none: float


EVERYTHING = Band(1.0, 2.0)


class Series(NamedTuple):
    """Number and sum of the good values in each block, (channels, blocks)."""

    number: np.ndarray
    total: np.ndarray


class Spectrum(NamedTuple):
    """Power of each frequency (that of an orthonormal FFT), and variance of a pixel."""

    power: np.ndarray
    noise: float


class Estimate(NamedTuple):
    """Mean and variance of the process in each block, (channels, blocks), and variance of a pixel."""

    mean: np.ndarray
    variance: np.ndarray
    noise: float


def fit(
    lines: np.ndarray, clock: Clock, *, slow: Band, alternating: Band, fine: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Model and error of lines (line, channel, pixel); NaN is no data. A channel without data gets 0 and NaN.

    `fine` adds what changes faster than the blocks follow. Outliers among the lines become NaN.
    """
    _drop_outliers(lines)
    known = ~np.isnan(lines).all(axis=(0, 2))
    if not known.any():
        return np.zeros_like(lines), np.full_like(lines, np.nan)
    model, err = _blockwise(lines, clock, slow, alternating)
    if fine and lines.shape[-1] >= 4 * clock.block:
        err += _add_fine(model, lines, clock.block)
    model[:, ~known], err[:, ~known] = 0.0, np.nan
    return model, np.sqrt(err, out=err)


def _blockwise(lines: np.ndarray, clock: Clock, slow: Band, alternating: Band) -> tuple[np.ndarray, np.ndarray]:
    """Model and its variance as they follow from the blocks."""
    from corontools.arrays._stream_kernels import gather, spread

    sums = gather(lines, clock.flip, clock.overhead, clock.block)
    number = np.maximum(sums[0].sum(axis=1), 1)
    level = sums[1].sum(axis=1) / number
    drift, wave = _estimates(sums, level, clock, slow, alternating, least=FLOOR * _white(lines))
    variance = drift.variance + wave.variance + (drift.noise / number)[:, None]
    model, err = np.empty_like(lines), np.empty_like(lines)
    series = (drift.mean + level[:, None], wave.mean, variance)
    spread(*series, clock.flip, clock.overhead, clock.block, model, err)
    return model, err


def as_stripes(model: np.ndarray, err: np.ndarray, axis: int) -> Stripes:
    """Channels side by side again, in the orientation of the image."""
    model, err = (values.reshape(len(values), -1) for values in (model, err))
    return Stripes(model.T, err.T) if axis == 0 else Stripes(model, err)


def _white(lines: np.ndarray) -> float:
    """Variance of a pixel by itself: half that of differences two pixels apart, which alternating columns leave out."""
    some = lines[:: max(1, lines.size // WHITE)]
    apart = some[..., 2:] - some[..., :-2]
    apart = apart[np.isfinite(apart)]
    return float(np.square(np.median(np.abs(apart)) / MAD)) / 2 if apart.size else 0.0


def _estimates(
    sums: np.ndarray, level: np.ndarray, clock: Clock, slow: Band, alternating: Band, *, least: float
) -> tuple[Estimate, Estimate]:
    """Slow process about a level, and that with alternating sign, from the sums that `gather` makes.

    Signs nearly cancel in a block, so each of the two is small noise to the other; the second round takes it out. A
    pixel has a variance of `least` or more.
    """
    count, total, sign, signed = sums
    total, signed = total - level[:, None] * count, signed - level[:, None] * sign
    wave = _alternating(count, signed, clock, alternating, least)
    drift = estimate(Series(count, total - sign * wave.mean), _scaled(slow, clock.block), least)
    return drift, _alternating(count, signed - sign * drift.mean, clock, alternating, least)


def _add_fine(model: np.ndarray, lines: np.ndarray, block: int) -> float:
    """Add to the model what changes faster than the blocks follow; gives its variance.

    It is estimated within each line alone, and to first order in its power over that of white noise.
    """
    n_line, n_channel, length = lines.shape
    n = fft.next_fast_len(length + length // 16, real=True)
    some = slice(None, None, max(1, n_line * n_channel // FINE_ROWS))
    series = _rest(lines[some], model[some])
    spectrum = estimate_spectrum(_padded(series, n), EVERYTHING, FINE / block)
    density = series.number.sum() / max(length * series.number.any(axis=1).sum(), 1)
    factor = spectrum.power / (spectrum.power * density + spectrum.noise)
    for start in range(0, n_line, FINE_LINES):
        part = slice(start, start + FINE_LINES)
        total = _rest(lines[part], model[part]).total
        found = fft.irfft(fft.rfft(total, n) * factor.astype(lines.dtype), n)[:, :length]
        model[part] += found.reshape(-1, n_channel, length)
    return spectrum.noise * float(factor[0] + 2 * factor[1:].sum()) / n


def _rest(lines: np.ndarray, model: np.ndarray) -> Series:
    """What a model leaves, each line of a channel a series of its own."""
    rest = (lines - model).reshape(-1, lines.shape[-1])
    good = ~np.isnan(rest)
    return Series(good.astype(rest.dtype), np.where(good, rest, rest.dtype.type(0)))


def _padded(series: Series, n: int) -> Series:
    """Blocks without data after the last one."""
    return Series(*(np.pad(values, ((0, 0), (0, n - values.shape[1]))) for values in series))


def _drop_outliers(lines: np.ndarray) -> None:
    """NaN for what is far from the median of its line and channel."""
    from corontools.arrays._stream_kernels import drop_outliers

    rows = lines.reshape(-1, lines.shape[-1])
    level, scatter, _ = line_statistics(rows)
    drop_outliers(rows, level, np.where(scatter > 0, OUTLIER * scatter, np.inf))


def _scaled(band: Band, block: int) -> Band:
    """Cycles per block instead of per tick."""
    return Band(band.full * block, band.none * block)


def _alternating(count: np.ndarray, signed: np.ndarray, clock: Clock, band: Band, least: float) -> Estimate:
    """Noise near the Nyquist frequency, on a grid that is as coarse as its band allows, in each block."""
    n = count.shape[1]
    factor = max(1, int(0.25 / max(band.none * clock.block, 0.25 / n)))
    starts = np.arange(0, n, factor)
    coarse = Series(*(np.add.reduceat(values, starts, axis=1) for values in (count, signed)))
    found = estimate(coarse, _scaled(band, clock.block * factor), least)
    place = (np.arange(n) + 0.5) / factor - 0.5
    mean, variance = (
        np.array([np.interp(place, np.arange(starts.size), channel) for channel in values])
        for values in (found.mean, found.variance)
    )
    return Estimate(mean, variance, found.noise)


def estimate(series: Series, band: Band, least: float = 0.0) -> Estimate:
    """Spectrum from the data, then the process given the spectrum; a pixel has a variance of `least` or more."""
    n = series.number.shape[1]
    padded = fft.next_fast_len(n + max(1, int(PADDING * n)), real=True)
    whole = _padded(series, padded)
    spectrum = estimate_spectrum(whole, band)
    spectrum = spectrum._replace(noise=max(spectrum.noise, least))
    # one channel after the other: the solver holds many series
    alone = [Series(*(values[i : i + 1] for values in whole)) for i in range(len(series.number))]
    mean = np.concatenate([posterior_mean(one, spectrum)[:, :n] for one in alone])
    return Estimate(mean, posterior_variance(whole, spectrum)[:, :n], spectrum.noise)


def gain(n: int, band: Band) -> np.ndarray:
    """Filter of each frequency of a series of n: 1, a cosine down to 0, and 0."""
    beyond = np.clip((fft.rfftfreq(n) - band.full) / max(band.none - band.full, 1e-12), 0.0, 1.0)
    return 0.5 * (1 + np.cos(np.pi * beyond))


def tents(n: int, band: Band) -> np.ndarray:
    """Shapes whose sum is a spectrum: tents in log(frequency) over frequency, (tents, n // 2 + 1).

    The last one goes on as 1 / frequency, so that it differs from white noise.
    """
    k = np.arange(n // 2 + 1, dtype=np.float64)
    k[0] = 1.0  # the mean was subtracted; what is left of it is as strong as the slowest wave
    last = max(min(band.none, 0.5) * n / TENT, 1.0)
    number = 1 + max(0, round(np.log(last) / np.log(TENT)))
    place = np.minimum(np.log(k) / np.log(TENT), number - 1)
    shape = np.maximum(0.0, 1 - np.abs(place - np.arange(number)[:, None]))
    return shape / k * gain(n, band)


def estimate_spectrum(series: Series, band: Band, lowest: float = 0.0) -> Spectrum:
    """Spectrum by which the power of the masked data, from a lowest frequency on, is most probable."""
    n = series.number.shape[1]
    power = np.square(np.abs(fft.rfft(series.total, norm="ortho"))).sum(axis=0)
    window = fft.irfft(np.square(np.abs(fft.rfft(series.number))).sum(axis=0), n) / n
    shapes = tents(n, band)
    expected = fft.rfft(window * fft.irfft(shapes, n)).real
    white = np.full(power.size, series.number.sum() / n)
    starts = _bins(power.size)
    size = np.diff(np.append(starts, power.size))
    rows = np.add.reduceat(np.vstack([power, expected, white]), starts, axis=1) / size
    # where data are missing, neighbouring frequencies aren't independent
    modes = size * np.square(series.number.sum()) / max(np.square(series.number).sum() * n, TINY)
    use = starts >= lowest * n
    if not rows[0, use].any():
        return Spectrum(np.zeros(power.size), 1.0)
    strength = _most_probable(rows[0, use], rows[1:, use].T, modes[use])
    return Spectrum(
        np.where(np.arange(power.size) >= lowest * n, strength[:-1] @ shapes, 0.0),
        max(float(strength[-1]), TINY * float(rows[0].max())),
    )


def _bins(size: int) -> np.ndarray:
    """First frequency of each bin; bins grow by a factor. Zero is in none, for the mean was subtracted."""
    return np.unique(np.geomspace(1, size, int(np.log(size) / np.log(BIN)) + 2).astype(int))[:-1]


def _most_probable(power: np.ndarray, shapes: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """Non-negative strengths of the shapes, the last of which is white.

    From the highest frequency down, what the data aren't certain of is left out, so that white noise stays white.
    """
    use, model = np.ones(shapes.shape[1], bool), power
    while True:
        strength, model = _strengths(power, shapes, modes, use, model)
        there = np.flatnonzero(strength[:-1])
        if there.size == 0 or _certainty(there[-1], strength, shapes, modes) >= CERTAIN:
            return strength
        use[there[-1] : -1] = False


def _certainty(which: int, strength: np.ndarray, shapes: np.ndarray, modes: np.ndarray) -> float:
    """Sigma by which the power says that a shape is there.

    It is the root of the logarithm of the likelihood ratio (of exponentially distributed powers) of the model with and
    without it, times the part of it that the other shapes can't imitate.
    """
    there = strength > 0
    there[-1] = True
    alone = shapes[:, which] * strength[which]
    without = np.maximum(shapes @ strength - alone, TINY * (shapes @ strength).max())
    ratio = 2 * float(modes @ (alone / without - np.log1p(alone / without)))
    columns = shapes[:, there] * np.where(strength[there] > 0, strength[there], 1.0)
    columns *= (np.sqrt(modes) / without)[:, None]
    normal = columns.T @ columns
    place = np.count_nonzero(there[:which])
    own = float(np.linalg.pinv(normal)[place, place] * normal[place, place])
    return float(np.sqrt(ratio / max(own, 1.0)))


def _strengths(
    power: np.ndarray, shapes: np.ndarray, modes: np.ndarray, use: np.ndarray, model: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative least squares and the power that it expects.

    The power of a mode is exponentially distributed: a mean over modes scatters by itself over their root.
    """
    from scipy.optimize import nnls

    scale = np.maximum(shapes.max(axis=0), TINY)
    strength = np.zeros(scale.size)
    for _ in range(3):
        weight = np.sqrt(modes) / np.maximum(model, TINY * power.max())
        strength[use] = nnls((shapes / scale)[:, use] * weight[:, None], power * weight)[0]
        model = np.maximum(shapes / scale @ strength, 1e-3 * model)
    return strength / scale, model


def posterior_mean(series: Series, spectrum: Spectrum) -> np.ndarray:
    """Wiener estimate of the process in each block, by conjugate gradients."""
    n = series.number.shape[1]
    root = np.sqrt(spectrum.power)
    weight = series.number / spectrum.noise
    easy = 1 + spectrum.power * weight.mean(axis=1, keepdims=True)

    def product(x: np.ndarray) -> np.ndarray:
        return x + root * fft.rfft(weight * fft.irfft(root * x, n, norm="ortho"), norm="ortho")

    x = _conjugate_gradients(product, root * fft.rfft(series.total / spectrum.noise, norm="ortho"), easy, n)
    return fft.irfft(root * x, n, norm="ortho")


def _conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray], right: np.ndarray, easy: np.ndarray, n: int
) -> np.ndarray:
    """Solve product(x) = right for each row; `easy` is a diagonal near to it."""
    double = np.full(right.shape[1], 2.0)  # frequencies that stand for their negative ones, too
    double[0] = 1.0
    if n % 2 == 0:
        double[-1] = 1.0

    def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a.real * b.real + a.imag * b.imag) @ double)[:, None]

    x, left = np.zeros_like(right), right.copy()
    near = left / easy
    step, now = near.copy(), dot(left, near)
    goal = TOLERANCE**2 * now
    for _ in range(STEPS):
        if (now <= goal).all():
            break
        image = product(step)
        length = now / np.maximum(dot(step, image), 1e-300)
        x += length * step
        left -= length * image
        near = left / easy
        before, now = now, dot(left, near)
        step *= now / np.maximum(before, 1e-300)
        step += near
    return x


def posterior_variance(series: Series, spectrum: Spectrum) -> np.ndarray:
    """Variance of the estimate in each block, octaves of frequency each with the density over their own time."""
    n = series.number.shape[1]
    frequency = fft.rfftfreq(n)
    density = fft.rfft(series.number / spectrum.noise)
    out = np.zeros(series.number.shape)
    edges = np.append(np.geomspace(1, frequency.size, 12).astype(int), frequency.size)
    double = np.where(np.arange(frequency.size) > 0, 2.0, 1.0) / n
    for start, stop in zip(np.concatenate([[0], edges[:-1]]), edges, strict=True):
        power = spectrum.power[start:stop]
        if not power.any():
            continue
        share = double[start:stop] @ power
        typical = share / double[start:stop].sum()
        width = 0.25 / max(frequency[max(stop - 1, 1)], 1 / n)
        local = fft.irfft(density * np.exp(-0.5 * np.square(2 * np.pi * frequency * width)), n)
        out += share / (1 + typical * np.maximum(local, 0.0))
    return out
