"""Images as palette PNGs: stretch to 255 levels, colour, encode; nothing but numpy and zlib."""

from __future__ import annotations

import functools
import struct
import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corontools.display.markup import data_uri
from corontools.display.scale import Scale, default_limits, scale_positions, scale_values, unknown
from corontools.errors import DataError

__all__ = [
    "Scale",
    "default_limits",
    "image_uri",
    "palette",
    "png",
    "resize",
    "scale_positions",
    "scale_values",
    "scaled_uri",
    "stretch",
]

LEVELS = 255
NAN_INDEX = 255
# Anchors at equal steps, interpolated in sRGB: the perceptually uniform maps of S. van der Walt and N. Smith,
# and RdBu of C. Brewer turned round, so that blue is below zero. All are safe for colour-blind readers.
ANCHORS = {
    "inferno": "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4",
    "magma": "000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf",
    "viridis": "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
    "gray": "000000 ffffff",
    "RdBu": "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f",
}


def image_uri(
    image: ArrayLike,
    *,
    kind: str = "asinh",
    limits: tuple[float, float] | None = None,
    colors: str = "inferno",
    sides: tuple[int, int] = (240, 1024),
) -> str:
    """Image as a PNG data URI, row 0 at the bottom, NaN transparent.

    Parameters
    ----------
    image : array_like, shape (y, x)
        Pixels in any unit. NaN is no data; +-inf gets the end colours.
    kind : {"asinh", "linear", "sqrt", "log"}
        Stretch, see `stretch`.
    limits : (float, float), optional
        Values of the first and the last colour; default `default_limits`, symmetric for "RdBu".
    colors : {"inferno", "magma", "viridis", "gray", "RdBu"}
        Palette; "RdBu" is blue below zero and red above.
    sides : (int, int)
        Least and greatest length of the longest side of the PNG. A larger image is shown by the means of blocks
        of pixels; a smaller one is enlarged by a whole factor, so that a page that enlarges it does not
        blur the pixels.

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
    pixels = resize(image, sides[1])
    if limits is None:
        limits = default_limits(pixels, symmetric=colors == "RdBu")
    indices = stretch(pixels, kind=kind, limits=limits)[::-1]
    factor = max(1, int(sides[0]) // max(indices.shape))
    return data_uri(png(indices.repeat(factor, axis=0).repeat(factor, axis=1), table), "image/png")


def scaled_uri(image: ArrayLike, scale: Scale) -> str:
    """Image as a PNG data URI in the limits, stretch and palette of a scale, to go with its colour bar."""
    return image_uri(image, kind=scale.kind, limits=scale.limits, colors=scale.colors)


def stretch(image: ArrayLike, *, kind: str = "asinh", limits: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Palette index of every pixel: 0 to 254 between the limits, 255 for NaN.

    With u = (v - low) / (high - low), clipped to 0..1, the level is u for "linear", the square root of u for
    "sqrt", and log(1 + 1000 u) / log(1001) for "log". For "asinh" it is asinh((v - z) / s), scaled to 0..1:
    linear within the softening s about z, logarithmic beyond (Lupton, Gunn & Szalay 1999, AJ 118, 1406).
    Where zero is between the limits, z = 0 and s = max(-low, (high - low) / 300); else z = low and
    s = (high - low) / 300. With the default lower limit of -3 sigma a residual is thus linear within
    its noise, which stays visible, zero is dark but not black, and a companion hundreds of times
    brighter keeps its shape.

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
    levels = scale_positions(pixels, limits or default_limits(pixels), kind) * (LEVELS - 1)
    return np.where(np.isnan(levels), NAN_INDEX, np.rint(np.nan_to_num(levels))).astype(np.uint8)


def resize(image: ArrayLike, longest: int) -> NDArray[np.float64]:
    """Image whose longest side is at most `longest`: means of square blocks of pixels.

    Pixels that are not finite are left out of the means; a block without any finite pixel is NaN. An image
    that is small enough is returned as it is.

    Examples
    --------
    >>> resize([[1.0, 3.0, 5.0], [float("nan"), 2.0, 5.0]], 2)
    array([[2., 5.]])
    """
    pixels = _as_image(image)
    step = -(-max(pixels.shape) // max(1, int(longest)))
    if step == 1:
        return pixels
    finite = np.isfinite(pixels)
    total = _block_sums(np.where(finite, pixels, 0.0), step)
    count = _block_sums(finite.astype(float), step)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _block_sums(pixels: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Sums over blocks, which are smaller at the far edges; by slices, since `reduceat` takes several times as long."""
    rows = np.zeros((-(-pixels.shape[0] // step), pixels.shape[1]))
    for i in range(min(step, pixels.shape[0])):
        part = pixels[i::step]
        rows[: len(part)] += part
    out = np.zeros((len(rows), -(-pixels.shape[1] // step)))
    for i in range(min(step, pixels.shape[1])):
        part = rows[:, i::step]
        out[:, : part.shape[1]] += part
    return out


@functools.lru_cache(maxsize=8)
def palette(colors: str) -> NDArray[np.uint8]:
    """Red, green and blue of the 256 indices, shape (256, 3), read-only; `png` makes index 255 transparent.

    Examples
    --------
    >>> palette("inferno")[[0, 254]]
    array([[  0,   0,   4],
           [252, 255, 164]], dtype=uint8)
    """
    if colors not in ANCHORS:
        raise unknown("palette", colors, tuple(ANCHORS))
    anchors = np.array([list(bytes.fromhex(word)) for word in ANCHORS[colors].split()], dtype=float)
    at = np.linspace(0, len(anchors) - 1, LEVELS)
    ramp = np.transpose([np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T])
    table = np.rint(np.vstack([ramp, [[128, 128, 128]]])).astype(np.uint8)
    table.setflags(write=False)
    return table


def png(indices: ArrayLike, palette: ArrayLike) -> bytes:
    r"""8-bit palette PNG; the first row is at the top, index 255 is transparent.

    Parameters
    ----------
    indices : array_like of uint8, shape (y, x)
        Palette index of every pixel.
    palette : array_like of uint8, shape (256, 3)
        Red, green, blue.

    Notes
    -----
    Portable Network Graphics, W3C Recommendation: chunks IHDR, PLTE, tRNS, IDAT, IEND; filter 0 in every row,
    which suits palette indices.

    Examples
    --------
    >>> png([[0, 255]], palette("gray"))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    pixels = np.ascontiguousarray(indices, dtype=np.uint8)
    if pixels.ndim != 2 or pixels.size == 0:
        raise _no_image(pixels.shape)
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # the leading byte of a row is its filter
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
        raise _no_image(pixels.shape)
    return pixels


def _no_image(shape: tuple[int, ...]) -> DataError:
    return DataError(f"a picture needs a 2-D array with pixels, found shape {shape}; give one, such as cube[0]")
