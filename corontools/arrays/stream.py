"""Stripes as a continuous process on the time stream of each amplifier, with a spectrum from the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corontools.arrays import _timestream
from corontools.arrays.flicker import OVERHEAD
from corontools.arrays.stripes import Stripes, as_lines
from corontools.errors import DataError

__all__ = ["stream_stripes"]

# of 0.5 cycles per tick: alternating columns, cosine from 43 to 57 Hz at 10 microseconds per tick
ALTERNATING = _timestream.Band(4.3e-4, 5.7e-4)


def stream_stripes(
    image: np.ndarray,
    good: np.ndarray,
    *,
    axis: int,
    channels: int = 4,
    overhead: int = OVERHEAD,
    block: int = 8,
    flip: Sequence[bool] | None = None,
) -> Stripes:
    """Flicker noise of each amplifier, from one continuous fit to its time stream.

    Amplifiers read their columns at the same time, line after line. Their noise, and the level by which alternating
    columns differ, are estimated at each moment from all good pixels before and after, weighted as the spectra of
    noise and stripes demand. The spectrum comes from the data: what has no stripes stays as it is. Good pixels further
    than four sigma (from the quartiles) from the median of their line are left out.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        NaN is no data.
    good : ndarray of bool, shape (y, x)
        Pixels that count.
    axis : int
        Axis along which a line is read: 1 for horizontal stripes, 0 for vertical ones.
    channels : int
        Number of amplifiers: equal parts of a line (JWST: 4 for a full frame, 1 for most subarrays).
    overhead : int
        Clock ticks after each line in which no pixel is read.
    block : int
        Clock ticks over which the noise is taken as constant.
    flip : sequence of bool, optional
        Which amplifiers read from the last pixel of their part to the first; every second one by default.

    Returns
    -------
    Stripes
        Float32 for a float32 image, else float64; 0 and NaN in an amplifier without a good pixel.

    Raises
    ------
    DataError
        If the lines can't be cut into that many equal parts, or `flip` has another length.

    Examples
    --------
    >>> from corontools.simulate.flicker import flicker_noise
    >>> noise = flicker_noise((128, 256), rms=5.0, channels=4)
    >>> image = noise + np.random.default_rng(1).normal(0, 2.0, noise.shape)
    >>> stripes = stream_stripes(image, np.ones(noise.shape, bool), axis=1)
    >>> bool(np.std(noise - stripes.model) < 2.5)
    True
    """
    lines = as_lines(image, good, axis)
    n_line, length = lines.shape
    if channels < 1 or length % channels:
        raise DataError(f"lines of {length} px can't be cut into {channels} equal channels; give channels=1")
    backwards = np.arange(channels) % 2 == 1 if flip is None else np.asarray(flip, bool)
    if backwards.shape != (channels,):
        raise DataError(f"flip should have one entry for each of {channels} channels, found {backwards.size}")
    return _timestream.fit(
        lines.reshape(n_line, channels, -1),
        _timestream.Clock(overhead, block, backwards),
        axis=axis,
        slow=_timestream.EVERYTHING,
        alternating=ALTERNATING,
        fine=True,
    )
