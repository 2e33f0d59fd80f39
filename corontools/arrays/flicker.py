"""Flicker (1/f) noise of a near-infrared detector, as its clock reads the pixels."""

from __future__ import annotations

import numpy as np

from corontools.errors import DataError

__all__ = ["OVERHEAD", "flicker_noise"]

# clock ticks after each line in which no pixel is read (HxRG detectors of JWST)
OVERHEAD = 12


def flicker_noise(
    shape: tuple[int, ...],
    *,
    alpha: float = 1.0,
    rms: float = 5.0,
    channels: int = 4,
    axis: int = 1,
    offsets: float = 0.0,
    alternating: float = 0.0,
    seed: int = 1,
) -> np.ndarray:
    """Stripes of a detector whose amplifiers each read a block of columns, line after line, with 1/f noise.

    Each amplifier has its own time stream with the power spectrum f^-alpha; adjacent ones read in opposite
    directions, and twelve ticks after each line read no pixel. Add photon and read noise yourself.

    Parameters
    ----------
    shape : tuple of int
        (..., y, x); frames are independent.
    alpha : float
        Slope of the power spectrum; 0 is white.
    rms : float
        Of the 1/f noise of each frame, about its mean.
    channels : int
        Number of amplifiers: equal blocks along `axis`.
    axis : int
        Axis along which pixels are read: 1 gives horizontal stripes (NIRCam), 0 vertical ones (NIRISS, NIRSpec).
    offsets, alternating : float
        1-sigma scatter over the amplifiers of their levels, and of the level by which columns that are read at even
        ticks lie above the mean, and those at odd ticks below.
    seed : int

    Returns
    -------
    ndarray of float64

    Raises
    ------
    DataError
        If the lines can't be cut into that many equal blocks.

    Examples
    --------
    >>> noise = flicker_noise((64, 64), rms=5.0)
    >>> round(float(noise.std()), 3), bool(noise.mean(axis=1).std() > noise.mean(axis=0).std())
    (5.0, True)
    """
    *lead, y, x = shape
    n_line, length = (y, x) if axis in (1, -1) else (x, y)
    if channels < 1 or length % channels:
        raise DataError(f"lines of {length} px can't be cut into {channels} equal channels")
    rng = np.random.default_rng(seed)
    frames = np.empty((int(np.prod(lead)), n_line, channels, length // channels))
    for frame in frames:
        for channel in range(channels):
            frame[:, channel] = _stream(rng, frame[:, channel].shape, alpha)[:, :: 1 - 2 * (channel % 2)]
        frame *= rms / frame.std()
        frame -= frame.mean()
        level = rng.standard_normal((2, channels, 1)) * [[[offsets]], [[alternating]]]
        parity = 1 - 2 * (np.arange(frame.shape[-1]) % 2)
        parity = np.array([parity[:: 1 - 2 * (channel % 2)] for channel in range(channels)])
        frame += level[0] + level[1] * parity
    images = frames.reshape(-1, n_line, length)
    return (images if axis in (1, -1) else images.swapaxes(1, 2)).reshape(shape)


def _stream(rng: np.random.Generator, shape: tuple[int, int], alpha: float) -> np.ndarray:
    """Time stream of one amplifier, (line, pixel). The series is twice as long as what is read, so it doesn't close."""
    from scipy.fft import irfft, next_fast_len, rfft

    n_line, length = shape
    ticks = n_line * (length + OVERHEAD)
    n = next_fast_len(2 * ticks, real=True)
    amplitude = np.arange(n // 2 + 1, dtype=np.float64)
    amplitude[1:] **= -alpha / 2
    series = irfft(rfft(rng.standard_normal(n)) * amplitude, n)[:ticks]
    return series.reshape(n_line, length + OVERHEAD)[:, :length]
