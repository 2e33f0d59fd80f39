"""Sub-pixel shifts of images, of their variances and of their flags.

Images are [y, x]. A shift (dx, dy) in pixels moves the content towards +x and +y: what lay at (x, y) comes
to lie at (x + dx, y + dy). An output pixel whose source position lies on no pixel of the frame (beyond
half a pixel outside the outermost centres) has no value: NaN in images and variances, a flag in DQ arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.fft as sf
from numpy.typing import ArrayLike, NDArray

from corontools.errors import DataError

__all__ = ["PAD", "shift_flags", "shift_image", "shift_variance", "shifted", "spectrum"]

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

#: Pixels added at least between the right edge and the left edge of the periodic continuation.
PAD = 16
#: A bilinear weight above which a source pixel is said to contribute to an output pixel.
APPRECIABLE = 0.1


def shift_image(image: ArrayLike, shift: ArrayLike, *, pad: int = PAD) -> Floats:
    """Shift an image or a stack by multiplying its spectrum with a phase, without wrap-around.

    The Fourier shift is the exact interpolation of band-limited images, if these were periodic. To make
    them so without a jump, the right edge is continued by its mirror image, faded into the mirror image of
    the left edge over at least `pad` pixels; the continuation is cut off afterwards.

    Parameters
    ----------
    image : array (y, x) or (n, y, x)
        All values finite; fill bad pixels before with plausible values.
    shift : array (2,) or (n, 2)
        (dx, dy) in pixels, one for all or one for each image; a single image with n shifts gives n images.
    pad : int
        Smallest length in pixels of the continuation.

    Returns
    -------
    array float64 (y, x) or (n, y, x)
        NaN where the source lies outside the frame. A whole-pixel shift is an exact move of the values, a
        zero shift an exact copy.

    Raises
    ------
    DataError
        If the image has NaN or infinite pixels, or shapes don't fit.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:24, :32]
    >>> def star(x0, y0):
    ...     return np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 1.5**2)
    >>> moved = shift_image(star(12.0, 10.0), (2.25, -1.5))
    >>> bool(np.nanmax(abs(moved - star(14.25, 8.5))) < 1e-3)
    True
    >>> int(np.isnan(moved[0]).sum()), bool(np.isnan(moved[-1]).all())
    (2, True)
    """
    frames = _finite(image)
    shifts = _shifts(shift)
    shape = frames.shape[-2:]
    out = np.empty(_stack_shape(frames, shifts) + shape)
    for target, frame, offset in _each(out, frames, shifts):
        if np.all(offset == np.rint(offset)):
            target[...] = _moved(frame, offset)
        else:
            target[...] = shifted(_spectrum(frame, pad), offset, shape, pad)
    return out


def spectrum(image: ArrayLike, pad: int = PAD) -> Complexes:
    """Half-plane Fourier transform of an image or stack continued beyond its edges, for `shifted`.

    Parameters
    ----------
    image : array (y, x) or (n, y, x)
        All values finite.
    pad : int
        Smallest length in pixels of the continuation, see `shift_image`.

    Returns
    -------
    array complex (..., ly, lx // 2 + 1)
        ``scipy.fft.rfft2`` of the continued image; (ly, lx) are fast lengths, see `padded_shape`.

    Raises
    ------
    DataError
        If the image has NaN or infinite pixels.
    """
    return _spectrum(_finite(image), pad)


def shifted(spectrum: Complexes, shift: ArrayLike, shape: tuple[int, ...], pad: int = PAD) -> Floats:
    """Shifted images from the result of `spectrum`; repeated shifts pay for its transform once.

    Parameters
    ----------
    spectrum : array complex (ly, kx) or (n, ly, kx)
        From ``spectrum(image, pad)``.
    shift : array (2,) or (n, 2)
        (dx, dy) in pixels, one for all or one for each image; one spectrum with n shifts gives n images.
    shape : (int, int)
        (ny, nx) of the image.
    pad : int
        As given to `spectrum`.

    Returns
    -------
    array float64 (ny, nx) or (n, ny, nx)
        NaN where the source lies outside the frame.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(1).normal(size=(20, 21))
    >>> bool(np.allclose(shifted(spectrum(image), (0.0, 0.0), image.shape), image, atol=1e-12))
    True
    """
    shifts = _shifts(shift)
    shape = tuple(shape[-2:])
    if spectrum.shape[-2:] != _spectrum_shape(shape, pad):
        raise DataError(f"the spectrum {spectrum.shape} is not that of an image {shape} with pad={pad}")
    out = np.empty(_stack_shape(spectrum, shifts) + shape)
    for target, transform, offset in _each(out, spectrum, shifts):
        target[...] = inverse(transform, phases(shape, offset, pad), shape, pad)
        _blank_outside(target, offset, np.nan)
    return out


def shift_variance(variance: ArrayLike, shift: ArrayLike) -> Floats:
    """Shift a map of variances by bilinear interpolation of the map.

    The result is the variance expected at the place: a smooth map is kept, and as the weights are positive
    and add up to one, nothing becomes negative. A Fourier shift of variances, or of errors, rings to
    negative values beside hot pixels. Squared weights of the bilinear interpolation would propagate the
    error of another interpolator than that of `shift_image`, and lower smooth maps up to four times; the
    squared weights of the Fourier shift (a squared sinc) add up to one and keep smooth maps too, but
    spread every hot pixel over its row and column.

    Parameters
    ----------
    variance : array (y, x) or (n, y, x)
        Not negative; NaN or infinite: unknown.
    shift : array (2,) or (n, 2)
        (dx, dy) in pixels.

    Returns
    -------
    array float64
        NaN where the source lies outside the frame, or where an unknown variance has a weight above 0.1;
        an unknown variance of a lower weight is left out.

    Examples
    --------
    >>> shift_variance([[1.0, 1.0, 5.0, 1.0]], (0.25, 0.0))
    array([[1., 1., 4., 2.]])
    """
    frames = _frames(variance)
    shifts = _shifts(shift)
    out = np.empty(_stack_shape(frames, shifts) + frames.shape[-2:])
    for target, frame, offset in _each(out, frames, shifts):
        target[...] = _shift_variance(frame, offset)
        _blank_outside(target, offset, np.nan)
    return out


def shift_flags(dq: ArrayLike, shift: ArrayLike, *, outside: int = 1) -> NDArray[np.uint32]:
    """Shift an array of flags: every pixel has the flags of the pixels it was interpolated from.

    Parameters
    ----------
    dq : array of int (y, x) or (n, y, x)
        Flags; 0 is good.
    shift : array (2,) or (n, 2)
        (dx, dy) in pixels.
    outside : int
        Flags of output pixels whose source lies outside the frame; 1 is DO_NOT_USE.

    Returns
    -------
    array uint32
        Bitwise OR of the source pixels with a bilinear weight above 0.1; a zero shift is an exact copy.

    Examples
    --------
    >>> shift_flags([[0, 0, 4, 0]], (1.4, 0.0), outside=512)
    array([[512,   0,   0,   4]], dtype=uint32)
    """
    frames = _frames(dq, np.uint32)
    shifts = _shifts(shift)
    out = np.empty(_stack_shape(frames, shifts) + frames.shape[-2:], dtype=np.uint32)
    for target, frame, offset in _each(out, frames, shifts):
        target[...] = _gathered(frame, offset)
        _blank_outside(target, offset, outside)
    return out


def padded_shape(shape: tuple[int, ...], pad: int = PAD) -> tuple[int, int]:
    """Lengths (ly, lx) of the periodic continuation of an image (ny, nx): the next ones with a fast FFT."""
    ny, nx = shape[-2:]
    return sf.next_fast_len(ny + pad), sf.next_fast_len(nx + pad, real=True)


def phases(shape: tuple[int, ...], shift: Floats, pad: int = PAD) -> tuple[Complexes, Complexes]:
    """Factors (along y, along x) of a spectrum that shift its image.

    The term at the Nyquist frequency of an even length stands for the frequencies +1/2 and -1/2 in equal
    parts, so its factor is a cosine; then the shifted image is real.
    """
    ly, lx = padded_shape(shape, pad)
    dx, dy = shift
    ky, kx = 2 * np.pi * sf.fftfreq(ly), 2 * np.pi * sf.rfftfreq(lx)
    return _phase(ky, dy, ly), _phase(kx, dx, lx)


def inverse(
    transform: Complexes, factors: tuple[Complexes, Complexes], shape: tuple[int, ...], pad: int = PAD
) -> Floats:
    """Image (ny, nx) of a spectrum times its factors along y and x; nothing is blanked."""
    work = transform * factors[1]
    work *= factors[0][:, np.newaxis]
    rows = sf.ifft(work, axis=0, overwrite_x=True, workers=1)[: shape[-2]]
    lx = padded_shape(shape, pad)[1]
    return sf.irfft(rows, n=lx, axis=1, overwrite_x=True, workers=1)[:, : shape[-1]]


def overlap(length: int, offset: float) -> tuple[slice, slice]:
    """Output pixels along one axis whose source lies in the frame, and their nearest source pixels."""
    step = int(np.clip(np.floor(0.5 - offset), -length, length))
    start, stop = max(0, -step), max(0, min(length, length - step))
    return slice(start, stop), slice(start + step, stop + step)


def _phase(k: Floats, offset: float, length: int) -> Complexes:
    """exp(-i k offset), its real part at the Nyquist frequency."""
    factor = np.exp(-1j * k * offset)
    if length % 2 == 0:
        factor[length // 2] = factor[length // 2].real
    return factor


def _spectrum(image: Floats, pad: int) -> Complexes:
    lengths = padded_shape(image.shape, pad)
    return sf.rfft2(_continued(image, lengths), workers=1, overwrite_x=True)


def _spectrum_shape(shape: tuple[int, ...], pad: int) -> tuple[int, int]:
    ly, lx = padded_shape(shape, pad)
    return ly, lx // 2 + 1


def _continued(image: Floats, lengths: tuple[int, int]) -> Floats:
    """Image (..., y, x) in the corner of a periodic one of the given lengths, without a jump anywhere."""
    ny, nx = image.shape[-2:]
    out = np.empty(image.shape[:-2] + lengths)
    out[..., :ny, :nx] = image
    after, before, fade = _mirrors(nx, lengths[1])
    out[..., :ny, nx:] = image[..., after] * fade + image[..., before] * (1 - fade)
    after, before, fade = _mirrors(ny, lengths[0])
    fade = fade[:, np.newaxis]
    out[..., ny:, :] = out[..., after, :] * fade + out[..., before, :] * (1 - fade)
    return out


def _mirrors(n: int, length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """For the gap after n pixels: mirrored index from its start, from its end, weight of the former."""
    step = np.arange(1, length - n + 1)
    fade = np.cos(0.5 * np.pi * step / (length - n + 1)) ** 2
    return _reflected(n - 1 + step, n), _reflected(step - 1 - (length - n), n), fade


def _reflected(index: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Fold an index into 0..n-1 by mirrors on the first and on the last pixel, as often as needed."""
    if n == 1:
        return np.zeros_like(index)
    folded = np.abs(index) % (2 * n - 2)
    return np.minimum(folded, 2 * n - 2 - folded)


def _moved(image: Floats, offset: Floats) -> Floats:
    """Image moved to the nearest whole pixel; NaN where nothing came from."""
    out = np.full(image.shape, np.nan)
    to_x, from_x = overlap(image.shape[1], offset[0])
    to_y, from_y = overlap(image.shape[0], offset[1])
    out[to_y, to_x] = image[from_y, from_x]
    return out


def _shift_variance(variance: Floats, offset: Floats) -> Floats:
    known = np.isfinite(variance)
    total = _bilinear(np.where(known, variance, 0.0), offset)
    weights = _bilinear(known.astype(np.float64), offset)
    unknown = weights == 0
    if not known.all():
        unknown |= _gathered(~known, offset)
    return np.divide(total, weights, out=np.full(variance.shape, np.nan), where=~unknown)


def _bilinear(image: Floats, offset: Floats) -> Floats:
    """Sum of the up to four source pixels times their bilinear weights; nothing comes from outside."""
    window, fraction_x, fraction_y = _window(image, offset)
    rows = window[:, :-1] * (1 - fraction_x) + window[:, 1:] * fraction_x
    return rows[:-1] * (1 - fraction_y) + rows[1:] * fraction_y


def _gathered(flags: NDArray[Any], offset: Floats) -> NDArray[Any]:
    """Bitwise OR of the source pixels with an appreciable bilinear weight."""
    window, fraction_x, fraction_y = _window(flags, offset)
    ny, nx = flags.shape
    out = np.zeros_like(flags)
    for row, weight_y in enumerate((1 - fraction_y, fraction_y)):
        for column, weight_x in enumerate((1 - fraction_x, fraction_x)):
            if weight_x * weight_y > APPRECIABLE:
                out |= window[row : row + ny, column : column + nx]
    return out


def _window(image: NDArray[Any], offset: Floats) -> tuple[NDArray[Any], float, float]:
    """Source pixels (ny + 1, nx + 1) below and above every output pixel, weights of those above in x, y."""
    steps = np.floor(-offset)
    fraction_x, fraction_y = -offset - steps
    out = np.zeros((image.shape[0] + 1, image.shape[1] + 1), dtype=image.dtype)
    to_x, from_x = _moved_slices(image.shape[1], steps[0])
    to_y, from_y = _moved_slices(image.shape[0], steps[1])
    out[to_y, to_x] = image[from_y, from_x]
    return out, float(fraction_x), float(fraction_y)


def _moved_slices(length: int, step: float) -> tuple[slice, slice]:
    """Where in `length` + 1 places those pixels go that lie `step` further, and these pixels."""
    k = int(np.clip(step, -length - 1, length))
    start, stop = max(0, k), min(length, length + 1 + k)
    return slice(start - k, stop - k), slice(start, stop)


def _blank_outside(image: NDArray[Any], offset: Floats, value: Any) -> None:
    """Write `value` where the source lies outside the frame, into an array made by the caller."""
    inside_x, _ = overlap(image.shape[1], offset[0])
    inside_y, _ = overlap(image.shape[0], offset[1])
    image[: inside_y.start] = value
    image[inside_y.stop :] = value
    image[:, : inside_x.start] = value
    image[:, inside_x.stop :] = value


def _finite(image: ArrayLike) -> Floats:
    frames = _frames(image)
    n_bad = frames.size - int(np.isfinite(frames).sum())
    if n_bad:
        raise DataError(
            f"the image to shift has {n_bad} of {frames.size} pixels NaN or infinite, which a Fourier shift "
            "spreads over the whole image; fill them first, for example with local medians"
        )
    return frames


def _frames(image: ArrayLike, dtype: Any = np.float64) -> NDArray[Any]:
    frames = np.asarray(image).astype(dtype, copy=False)
    if frames.ndim not in (2, 3) or 0 in frames.shape:
        raise DataError(f"what is shifted is (y, x) or (n, y, x), found shape {frames.shape}")
    return frames


def _shifts(shift: ArrayLike) -> Floats:
    shifts = np.asarray(shift, dtype=np.float64)
    if shifts.ndim not in (1, 2) or shifts.shape[-1] != 2 or not np.isfinite(shifts).all():
        raise DataError(f"a shift is (dx, dy) or an array (n, 2) of finite numbers, found {shift!r}")
    return shifts


def _stack_shape(frames: NDArray[Any], shifts: Floats) -> tuple[int, ...]:
    """Leading shape of the result: () for one image and one shift, else (n,)."""
    counts = {len(frames)} if frames.ndim == 3 else set()
    counts |= {len(shifts)} if shifts.ndim == 2 else set()
    if len(counts) > 1:
        raise DataError(f"found {len(frames)} images but {len(shifts)} shifts; give one shift for each image")
    return tuple(counts)


def _each(out: Any, frames: Any, shifts: Floats) -> Iterator[tuple[Any, Any, Floats]]:
    """(output, input, shift) of every image; a single input or shift serves all."""
    if out.ndim == 2:
        yield out, frames, shifts
        return
    for i, target in enumerate(out):
        yield target, frames[i] if frames.ndim == 3 else frames, shifts[i] if shifts.ndim == 2 else shifts
