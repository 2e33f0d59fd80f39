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

from collections.abc import Callable, Iterator
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
# rows from which the spectrum of the fine fit is estimated; lines, and values of several rows, worked on at once
FINE_ROWS, LINES, ROWS = 1024, 128, 1 << 17
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


class Process(NamedTuple):
    """What is known of the noise in each block, (channels, blocks): slow, of alternating sign, and variance."""

    slow: np.ndarray
    alternating: np.ndarray
    variance: np.ndarray

    def model(self, lines: np.ndarray, which: slice, clock: Clock) -> np.ndarray:
        """Noise of the pixels of some of the lines (line, channel, pixel)."""
        from corontools.arrays._stream_kernels import spread

        first, _, step = which.indices(len(lines))
        out = np.empty_like(lines[which])
        spread(self.slow, self.alternating, clock.flip, clock.overhead, clock.block, first, step, out)
        return out


def fit(lines: np.ndarray, clock: Clock, *, axis: int, slow: Band, alternating: Band, fine: bool = False) -> Stripes:
    """Noise of an image's lines along `axis` (line, channel, pixel), which turn into the model; NaN is no data.

    `fine` adds what changes faster than the blocks follow. A channel without data gets 0 and NaN.
    """
    from corontools.arrays._stream_kernels import gather

    _drop_outliers(lines)
    sums = gather(lines, clock.flip, clock.overhead, clock.block)
    number = sums[0].sum(axis=1, dtype=np.float64)
    known = number > 0
    if not known.any():
        found = Process(*np.zeros_like(sums[:3]))
    else:
        found = _process(sums, number, clock, slow, alternating, least=FLOOR * _white(lines))
    del sums  # makes room for what follows
    fast = _fine_filter(lines, found, clock) if fine and lines.shape[-1] >= 4 * clock.block else None
    _to_model(lines, found, clock, fast)
    lines[:, ~known] = 0.0
    variance = np.where(known[:, None], found.variance + (0.0 if fast is None else fast.variance), np.nan)
    shape, kind = lines.shape, lines.dtype
    return Stripes(
        _side_by_side(lines, axis),
        np.broadcast_to(known, shape[:2]),
        lambda: _side_by_side(_error(variance, clock, np.empty(shape, kind)), axis),
    )


def _error(variance: np.ndarray, clock: Clock, out: np.ndarray) -> np.ndarray:
    """Standard deviation of each pixel (line, channel, pixel), into `out`, from the variance in each block."""
    from corontools.arrays._stream_kernels import spread

    spread(variance, np.zeros_like(variance), clock.flip, clock.overhead, clock.block, 0, 1, out)
    return np.sqrt(out, out=out)


def _process(
    sums: np.ndarray, number: np.ndarray, clock: Clock, slow: Band, alternating: Band, *, least: float
) -> Process:
    """The noise from the sums that `gather` makes, which are changed."""
    level = (sums[1].sum(axis=1, dtype=np.float64) / np.maximum(number, 1)).astype(sums.dtype)
    drift, wave = _estimates(sums, level, clock, slow, alternating, least=least)
    drift.mean[...] += level[:, None]
    drift.variance[...] += wave.variance
    drift.variance[...] += (drift.noise / np.maximum(number, 1))[:, None]
    return Process(drift.mean, wave.mean, drift.variance)


def _side_by_side(lines: np.ndarray, axis: int) -> np.ndarray:
    """Channels side by side again, in the orientation of the image."""
    image = lines.reshape(len(lines), -1)
    return image.T if axis == 0 else image


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
    pixel has a variance of `least` or more. The sums are left without what was found.
    """
    count, total, sign, signed = sums
    total -= level[:, None] * count
    signed -= level[:, None] * sign
    total -= sign * _alternating(count, signed, clock, alternating, least).mean
    drift = estimate(Series(count, total), _scaled(slow, clock.block), least)
    signed -= sign * drift.mean
    return drift, _alternating(count, signed, clock, alternating, least)


class Filter(NamedTuple):
    """Factor of each frequency of a line of n ticks, and the variance of what passes."""

    factor: np.ndarray
    n: int
    variance: float

    def __call__(self, rest: np.ndarray) -> np.ndarray:
        """Part of the values (..., pixel) that passes; NaN is no data."""
        passed = fft.irfft(fft.rfft(np.nan_to_num(rest), self.n) * self.factor.astype(rest.dtype), self.n)
        return passed[..., : rest.shape[-1]]


def _fine_filter(lines: np.ndarray, found: Process, clock: Clock) -> Filter:
    """What changes faster than the blocks follow, as a filter of what they leave.

    It is estimated within each line alone, and to first order in its power over that of white noise.
    """
    n_line, n_channel, length = lines.shape
    n = fft.next_fast_len(length + length // 16, real=True)
    some = slice(0, n_line, max(1, n_line * n_channel // FINE_ROWS))
    rest = (lines[some] - found.model(lines, some, clock)).reshape(-1, length)
    good = ~np.isnan(rest)
    series = Series(good.astype(rest.dtype), np.nan_to_num(rest))
    spectrum = estimate_spectrum(series, EVERYTHING, n=n, lowest=FINE / clock.block)
    density = good.sum() / max(length * good.any(axis=1).sum(), 1)
    factor = spectrum.power / (spectrum.power * density + spectrum.noise)
    return Filter(factor, n, spectrum.noise * float(factor[0] + 2 * factor[1:].sum()) / n)


def _to_model(lines: np.ndarray, found: Process, clock: Clock, filtered: Filter | None) -> None:
    """Write the model over the lines, some at a time."""
    for start in range(0, len(lines), LINES):
        part = slice(start, start + LINES)
        model = found.model(lines, part, clock)
        if filtered is not None:
            model += filtered(lines[part] - model)
        lines[part] = model


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
    coarse = Series(*(np.add.reduceat(values, starts, axis=1, dtype=np.float64) for values in (count, signed)))
    found = estimate(coarse, _scaled(band, clock.block * factor), least)
    place = (np.arange(n) + 0.5) / factor - 0.5
    mean, variance = (
        np.array([np.interp(place, np.arange(starts.size), channel).astype(signed.dtype) for channel in values])
        for values in (found.mean, found.variance)
    )
    return Estimate(mean, variance, found.noise)


def estimate(series: Series, band: Band, least: float = 0.0) -> Estimate:
    """Spectrum from the data, then the process given the spectrum; a pixel has a variance of `least` or more."""
    n = series.number.shape[1]
    padded = fft.next_fast_len(n + max(1, int(PADDING * n)), real=True)
    spectrum = estimate_spectrum(series, band, n=padded)
    spectrum = spectrum._replace(noise=max(spectrum.noise, least))
    mean, variance = np.empty((2, *series.total.shape), series.total.dtype)
    for i in range(len(mean)):  # one channel after the other: the solver holds many series, in float64
        alone = Series(*(np.pad(values[i : i + 1].astype(float), ((0, 0), (0, padded - n))) for values in series))
        mean[i] = posterior_mean(alone, spectrum)[0, :n]
        variance[i] = posterior_variance(alone, spectrum)[0, :n]
    return Estimate(mean, variance, spectrum.noise)


def gain(n: int, band: Band) -> np.ndarray:
    """Filter of each frequency of a series of n: 1, a cosine down to 0, and 0."""
    beyond = np.clip((fft.rfftfreq(n) - band.full) / max(band.none - band.full, 1e-12), 0.0, 1.0)
    return 0.5 * (1 + np.cos(np.pi * beyond))


def tents(n: int, band: Band) -> Iterator[np.ndarray]:
    """Shapes whose sum is a spectrum: tents in log(frequency) over frequency, (n // 2 + 1,).

    The last one goes on as 1 / frequency, so that it differs from white noise.
    """
    k = np.arange(n // 2 + 1, dtype=np.float64)
    k[0] = 1.0  # the mean was subtracted; what is left of it is as strong as the slowest wave
    last = max(min(band.none, 0.5) * n / TENT, 1.0)
    number = 1 + max(0, round(np.log(last) / np.log(TENT)))
    place = np.minimum(np.log(k) / np.log(TENT), number - 1)
    weight = gain(n, band) / k
    for i in range(number):
        yield np.maximum(0.0, 1 - np.abs(place - i)) * weight


def estimate_spectrum(series: Series, band: Band, *, n: int | None = None, lowest: float = 0.0) -> Spectrum:
    """Spectrum by which the power of the masked data, from a lowest frequency on, is most probable.

    The series is taken as one of length `n`, the blocks beyond its end without data.
    """
    n = n or series.number.shape[1]
    power, window = _powers(series.total, n) / n, fft.irfft(_powers(series.number, n), n) / n
    starts = _bins(power.size)
    size = np.diff(np.append(starts, power.size))
    expected = [np.add.reduceat(fft.rfft(window * fft.irfft(tent, n)).real, starts) / size for tent in tents(n, band)]
    shapes = np.stack([*expected, np.full(starts.size, series.number.sum(dtype=np.float64) / n)], axis=1)
    # where data are missing, neighbouring frequencies aren't independent
    squares = float(np.einsum("rk,rk->", series.number, series.number, dtype=np.float64))
    modes = size * np.square(series.number.sum(dtype=np.float64)) / max(squares * n, TINY)
    found, use = np.add.reduceat(power, starts) / size, starts >= lowest * n
    if not found[use].any():
        return Spectrum(np.zeros(power.size), 1.0)
    strength = _most_probable(found[use], shapes[use], modes[use])
    whole = np.zeros(power.size)
    for one, tent in zip(strength, tents(n, band), strict=False):  # the last is that of white noise
        whole += one * tent
    whole[: int(np.ceil(lowest * n))] = 0.0
    return Spectrum(whole, max(float(strength[-1]), TINY * float(found.max())))


def _powers(values: np.ndarray, n: int) -> np.ndarray:
    """Squared Fourier amplitudes of each frequency, summed over the rows, some of which are worked on at once."""
    step = max(1, ROWS // n)
    total = np.zeros(n // 2 + 1)
    for start in range(0, len(values), step):
        waves = fft.rfft(values[start : start + step].astype(float), n)
        total += np.einsum("rk,rk->k", waves.real, waves.real) + np.einsum("rk,rk->k", waves.imag, waves.imag)
    return total


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
