"""Images as palette PNGs: stretch to 255 levels, colour, encode; nothing but numpy and zlib."""

from __future__ import annotations

import functools
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corontools.display.markup import data_uri
from corontools.errors import DataError

__all__ = [
    "default_limits",
    "image_uri",
    "palette",
    "png",
    "scale_positions",
    "scale_values",
    "shrink",
    "stretch",
]

NAN_INDEX = 255
LEVELS = 255
# Anchors at equal steps, interpolated in sRGB: the perceptually uniform maps of S. van der Walt & N. Smith (CC0), and
# RdBu of C. Brewer, turned round so that blue is below zero and red above. All are safe for colour-blind readers.
ANCHORS = {
    "inferno": "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4",
    "magma": "000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf",
    "viridis": "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
    "gray": "000000 ffffff",
    "RdBu": "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f",
}
KINDS = ("asinh", "linear", "sqrt", "log")
LOG_RANGE = 1000.0
ASINH_RANGE = 300.0
SAMPLE = 1 << 18


def image_uri(
    image: ArrayLike,
    *,
    kind: str = "asinh",
    limits: tuple[float, float] | None = None,
    colors: str = "inferno",
    max_size: int | None = None,
) -> str:
    """Image as a PNG data URI, row 0 at the bottom, NaN transparent.

    Parameters
    ----------
    image : array_like, shape (y, x)
        Pixels in any unit. NaN is no data; +-inf gets the end colours.
    kind : {"asinh", "linear", "sqrt", "log"}
        Stretch, see `stretch`.
    limits : (float, float), optional
        Data values of the first and the last colour; default `default_limits`, symmetric about 0 for "RdBu".
    colors : {"inferno", "magma", "viridis", "gray", "RdBu"}
        Palette; "RdBu" is blue below zero and red above.
    max_size : int, optional
        Longest side of the PNG; a larger image is shown by the means of its pixel blocks.

    Raises
    ------
    DataError
        The image is not 2-D or empty, the limits are not in order, or a name is not known.

    Examples
    --------
    >>> image_uri([[0.0, 1.0], [2.0, float("nan")]])[:30]
    'data:image/png;base64,iVBORw0K'
    """
    table = palette(colors)
    image = shrink(image, max_size)
    if limits is None:
        limits = default_limits(image, symmetric=colors == "RdBu")
    indices = stretch(image, kind=kind, limits=limits)
    return data_uri(png(indices[::-1], table), "image/png")


def stretch(
    image: ArrayLike, *, kind: str = "asinh", limits: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    r"""Palette index of every pixel: 0 to 254 between the limits, 255 for NaN.

    With u = (v - low) / (high - low), clipped to 0..1, the level is u for "linear", the square root of u for "sqrt", and
    log(1 + 1000 u) / log(1001) for "log". For "asinh" it is asinh((v - z) / s), scaled to 0..1: linear within the
    softening s about z, logarithmic beyond (Lupton, Gunn & Szalay 1999, AJ 118, 1406). Here z is zero, or the lower limit
    where that is positive, and s = max(-low / 3, (high - low) / 300). With the default lower limit of -3 sigma
    a residual is thus linear within its noise, which stays visible, zero is dark but not black, and a companion
    hundreds of times brighter keeps its shape.

    Parameters
    ----------
    image : array_like, shape (y, x)
        Pixels; NaN is no data, +-inf is beyond the limits.
    kind : {"asinh", "linear", "sqrt", "log"}
        The function.
    limits : (float, float), optional
        Values of level 0 and 254; default `default_limits`.

    Examples
    --------
    >>> stretch([[0, 1, 2, float("nan"), float("inf")]], kind="linear", limits=(0, 2))
    array([[  0, 127, 254, 255, 254]], dtype=uint8)
    """
    pixels = _as_image(image)
    low, high = default_limits(pixels) if limits is None else _checked(limits)
    levels = scale_positions(pixels, (low, high), kind) * (LEVELS - 1)
    indices = np.full(pixels.shape, NAN_INDEX, np.uint8)
    known = ~np.isnan(levels)
    indices[known] = np.rint(levels[known]).astype(np.uint8)
    return indices


def default_limits(image: ArrayLike, *, symmetric: bool = False) -> tuple[float, float]:
    """Limits that show the noise and what stands out of it.

    From 3 sigma below the median (sigma from the median absolute deviation, but not below the 0.1 percentile) to the
    99.9 percentile, at least 5 sigma above the median. Not finite pixels are left out.

    Parameters
    ----------
    image : array_like
        Pixels.
    symmetric : bool
        Limits -v, v about zero, for diverging palettes: v is the larger of 5 sigma and the 99 percentile of
        the absolute values.

    Returns
    -------
    (float, float)
        In order and different; (0, 1) where no pixel is finite.

    Examples
    --------
    >>> default_limits([[7.0, 7.0]])
    (6.5, 7.5)
    """
    values = np.asarray(image, dtype=float).ravel()
    values = values[np.isfinite(values)]
    values = values[:: max(1, values.size // SAMPLE)]
    if values.size == 0:
        return (-1.0, 1.0) if symmetric else (0.0, 1.0)
    values = np.clip(values, -1e300, 1e300)  # so that no difference overflows
    median = float(np.median(values))
    sigma = 1.4826 * float(np.median(np.abs(values - median)))
    if symmetric:
        top = max(float(np.percentile(np.abs(values), 99.0)), 5 * sigma) or float(np.abs(values).max()) or 1.0
        return -top, top
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
    if sigma > 0:
        low, high = max(low, median - 3 * sigma), max(high, median + 5 * sigma)
    return _apart(low, high, values)


def shrink(image: ArrayLike, max_size: int | None) -> NDArray[np.float64]:
    """Image whose longest side is at most `max_size`: means of square blocks of pixels, NaN left out.

    Examples
    --------
    >>> shrink([[1.0, 3.0, 5.0], [float("nan"), 2.0, 5.0]], 2)
    array([[2., 5.]])
    """
    pixels = _as_image(image)
    if max_size is None or max(pixels.shape) <= max_size:
        return pixels
    step = -(-max(pixels.shape) // max(1, int(max_size)))
    rows, columns = (np.arange(0, n, step) for n in pixels.shape)
    finite = np.isfinite(pixels)
    total = np.add.reduceat(np.add.reduceat(np.where(finite, pixels, 0.0), rows, 0), columns, 1)
    count = np.add.reduceat(np.add.reduceat(finite.astype(float), rows, 0), columns, 1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def scale_positions(
    values: ArrayLike, limits: tuple[float, float], kind: str = "asinh"
) -> NDArray[np.float64]:
    """Place of data values on the palette, 0 (first colour) to 1 (last); values beyond the limits are clipped.

    Examples
    --------
    >>> scale_positions([0, 25, 100], (0, 100), "sqrt")
    array([0. , 0.5, 1. ])
    """
    low, high = _checked(limits)
    values = np.clip(np.asarray(values, dtype=float), low, high)
    if kind == "asinh":
        zero, soft = _softening(low, high)
        ends = np.arcsinh((low - zero) / soft), np.arcsinh((high - zero) / soft)
        return np.clip((np.arcsinh((values - zero) / soft) - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0)
    u = np.clip((values - low) / (high - low), 0.0, 1.0)
    if kind == "linear":
        return u
    if kind == "sqrt":
        return np.sqrt(u)
    if kind == "log":
        return np.log1p(LOG_RANGE * u) / np.log1p(LOG_RANGE)
    raise _unknown("stretch", kind, KINDS)


def scale_values(limits: tuple[float, float], kind: str = "asinh", n: int = 5) -> NDArray[np.float64]:
    """Data values at `n` equally spaced places of the palette, both ends included: the inverse of `scale_positions`.

    Examples
    --------
    >>> scale_values((0, 100), "sqrt", 5)
    array([  0.  ,   6.25,  25.  ,  56.25, 100.  ])
    """
    low, high = _checked(limits)
    t = np.linspace(0.0, 1.0, n)
    if kind == "asinh":
        zero, soft = _softening(low, high)
        ends = np.arcsinh((low - zero) / soft), np.arcsinh((high - zero) / soft)
        values = zero + soft * np.sinh(ends[0] + t * (ends[1] - ends[0]))
        return np.clip(values, low, high)
    powers = {
        "linear": lambda: t,
        "sqrt": lambda: t**2,
        "log": lambda: np.expm1(t * np.log1p(LOG_RANGE)) / LOG_RANGE,
    }
    if kind not in powers:
        raise _unknown("stretch", kind, KINDS)
    return np.clip(low + (high - low) * powers[kind](), low, high)


@functools.lru_cache(maxsize=8)
def _palette(colors: str) -> NDArray[np.uint8]:
    if colors not in ANCHORS:
        raise _unknown("palette", colors, tuple(ANCHORS))
    anchors = np.array([list(bytes.fromhex(word)) for word in ANCHORS[colors].split()], dtype=float)
    at = np.linspace(0, len(anchors) - 1, LEVELS)
    channels = [np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T]
    table = np.vstack([np.rint(np.transpose(channels)), [[128, 128, 128]]]).astype(np.uint8)
    table.setflags(write=False)
    return table


def palette(colors: str) -> NDArray[np.uint8]:
    """Red, green and blue of the 256 indices, shape (256, 3), read-only; index 255 is a gray meant to be transparent.

    Examples
    --------
    >>> palette("inferno")[[0, 254]]
    array([[  0,   0,   4],
           [252, 255, 164]], dtype=uint8)
    """
    return _palette(colors)


def png(indices: ArrayLike, palette: ArrayLike) -> bytes:
    """8-bit palette PNG; the first row is at the top, index 255 is transparent.

    Parameters
    ----------
    indices : array_like of uint8, shape (y, x)
        Palette index of every pixel.
    palette : array_like of uint8, shape (256, 3)
        Red, green, blue.

    Notes
    -----
    Portable Network Graphics, W3C Recommendation: chunks IHDR, PLTE, tRNS, IDAT, IEND, filter type 0 on every row.
    """
    pixels = np.ascontiguousarray(indices, dtype=np.uint8)
    if pixels.ndim != 2 or pixels.size == 0:
        raise DataError(
            f"a picture needs a 2-D array with pixels, found shape {pixels.shape}; give one image"
        )
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # the leading byte of a row is its filter type
    rows[:, 1:] = pixels
    parts = [
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        _chunk(b"PLTE", np.ascontiguousarray(palette, dtype=np.uint8).tobytes()),
        _chunk(b"tRNS", b"\xff" * NAN_INDEX + b"\x00"),
        _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)),
        _chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def _as_image(image: ArrayLike) -> NDArray[np.float64]:
    pixels = np.asarray(image, dtype=float)
    if pixels.ndim != 2 or pixels.size == 0:
        raise DataError(
            f"a picture needs a 2-D array with pixels, found shape {pixels.shape}; give one image, such as cube[0]"
        )
    return pixels


def _checked(limits: tuple[Any, Any]) -> tuple[float, float]:
    low, high = (float(np.clip(float(v), -1e300, 1e300)) for v in limits)
    if not low < high:
        raise DataError(f"limits should be two numbers, the lower first, found ({limits[0]}, {limits[1]})")
    return low, high


def _softening(low: float, high: float) -> tuple[float, float]:
    """Zero point and width of the linear part of the asinh stretch; see `stretch`."""
    return max(low, 0.0) if high > 0 else low, max(-low / 3 if high > 0 else 0.0, (high - low) / ASINH_RANGE)


def _apart(low: float, high: float, values: NDArray[np.float64]) -> tuple[float, float]:
    """Limits that differ: where half the pixels and the percentiles agree, the extremes, else half a unit either side."""
    if not low < high:
        low, high = float(values.min()), float(values.max())
    half = 0.5 * max(1.0, abs(low) * 1e-6) if low == high else 0.0
    return low - half, high + half


def _unknown(what: str, name: object, known: tuple[str, ...]) -> DataError:
    return DataError(f"{what} {name!r} is not known; choose one of {', '.join(known)}")
