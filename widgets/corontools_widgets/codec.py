"""Cubes of images as compressed chunks that a browser decodes: one a frame, fine in the noise, small in all.

A value v becomes the whole number c = round(s asinh(v / (s q))): steps of q in the noise, relative steps of 1 / s in
what is bright. A chunk holds the c of one frame, or what they differ by from the frame before, modulo 2^16 and folded
(0, -1, 1, -2 ... to 0, 1, 2, 3 ...), the low bytes of all pixels before the high bytes, as a zlib stream.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corontools.display.picture import resize
from corontools.errors import DataError

__all__ = [
    "Code",
    "Encoded",
    "chunk",
    "decode",
    "encode",
    "encode_frame",
    "finish",
    "plan",
    "reduced_frame",
    "whole_chunk",
]

BUDGET = 1_700_000  # bytes
RELATIVE = 1 / 2000  # step of bright values
NO_DATA = -32768  # code of NaN
LARGEST = 32767
FINEST = 1e-30  # float32 has few digits left below; and v / (s q) must not overflow
FARTHEST = 1e10  # s sinh(32767 / s) is 1.3e10: the largest value of a cube keeps a code of its own
LONGEST_SIDE = 1024
MOST_PIXELS = 1 << 25  # of all frames: they are two bytes each in the browser
KEY_EVERY = 8  # a frame far away costs at most so many chunks
PIXELS_OF_BUDGET = 30 * 320 * 320
SAMPLED = 6  # frames
PARTS_OF_SIGMA = 16
SAMPLED_PIXELS = 1 << 14


@dataclass(frozen=True)
class Code:
    """What turns the values of a cube into codes and back.

    Attributes
    ----------
    shape : (int, int, int)
        Frames, rows and columns that are sent.
    step : float
        q, the step in the noise, in the unit of the data.
    relative : float
        1 / s, the relative step of bright values.
    block : int
        Side of the squares of pixels of which means are sent; 1 for the pixels themselves.
    keyframes : tuple of int
        Frames that are sent as they are; the others as what they differ by from the frame before.
    note : str
        What was downsampled; "" for nothing.
    """

    shape: tuple[int, int, int]
    step: float
    relative: float = RELATIVE
    block: int = 1
    keyframes: tuple[int, ...] = (0,)
    note: str = ""

    def codes(self, images: NDArray[np.float32]) -> NDArray[np.int16]:
        """Codes of images of the shape that is sent; NaN has the code -32768, +-inf the largest ones."""
        with np.errstate(invalid="ignore"):  # NaN is replaced below
            levels = np.arcsinh(images * np.float32(self.relative / self.step))
            levels *= np.float32(1 / self.relative)
            np.rint(np.clip(levels, -LARGEST, LARGEST, out=levels), out=levels)
            levels[np.isnan(levels)] = NO_DATA
            return levels.astype(np.int16)

    def values(self, codes: NDArray[np.int16]) -> NDArray[np.float64]:
        """Values that codes stand for."""
        values = self.step / self.relative * np.sinh(self.relative * codes.astype(float))
        values[codes == NO_DATA] = np.nan
        return values


@dataclass(frozen=True)
class Encoded:
    """A cube in chunks.

    Attributes
    ----------
    code : Code
        How values became codes.
    chunks : tuple of bytes
        One a frame.
    """

    code: Code
    chunks: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return sum(map(len, self.chunks))


def encode(cube: ArrayLike, *, budget: int = BUDGET) -> Encoded:
    """Cube of images in compressed chunks.

    Parameters
    ----------
    cube : array_like, shape (n, y, x)
        Frames; NaN is no data and stays so, +-inf becomes the largest value that has a code.
    budget : int
        Greatest number of bytes of 30 frames of 320 x 320 px, and in proportion for a larger cube. The step q is a 16th
        of the noise of the faintest frame, and twice as large until the chunks fit.

    Returns
    -------
    Encoded
        Where a side is longer than 1024 px or the cube larger than 32 million pixels, of means of squares of
        pixels, see `Code.block`.

    Raises
    ------
    DataError
        Not a cube, or one without pixels.

    Notes
    -----
    A finite value v comes back within 0.501 (q + abs(v) / 2000), plus what float32 rounds. q is at least 1e-30 and
    at least 1e-10 of the largest abs(v).

    Examples
    --------
    >>> cube = np.random.default_rng(1).normal(size=(3, 32, 32))
    >>> encoded = encode(cube)
    >>> bool(np.abs(decode(encoded) - cube).max() < encoded.code.step)
    True
    """
    frames, code = plan(cube, budget=budget)
    return finish(frames, code, budget=budget)


def finish(frames: NDArray[np.float32], code: Code, *, budget: int = BUDGET) -> Encoded:
    """All chunks of the frames of a plan, with a larger step than planned where its sample did not tell enough."""
    chunks = _all_chunks(frames, code)
    while sum(map(len, chunks)) > _allowed(code.shape, budget) and _can_coarsen(frames, code):
        code = replace(code, step=2 * code.step)
        chunks = _all_chunks(frames, code)
    return Encoded(code, chunks)


def plan(cube: ArrayLike, *, budget: int = BUDGET) -> tuple[NDArray[np.float32], Code]:
    """The frames that are sent, as float32, and how they will be coded, found from a sample of them.

    See `encode`; so the first frame can be on its way before the others are compressed.
    """
    frames, block, note = _reduced(cube)
    step = max(_noise(frames) / PARTS_OF_SIGMA, _farthest(frames) / FARTHEST, FINEST)
    code = _with_keyframes(frames, Code(frames.shape, step, block=block, note=note))
    sample = np.unique(np.linspace(0, len(frames) - 1, SAMPLED).astype(int)).tolist()
    allowed = 0.97 * _allowed(frames.shape, budget) * len(sample) / len(frames)  # the others may be a little larger
    while sum(len(chunk(frames, i, code)) for i in sample) > allowed and _can_coarsen(frames, code):
        code = replace(code, step=2 * code.step)
    return frames, code


def chunk(frames: NDArray[np.float32], index: int, code: Code) -> bytes:
    """Chunk of one frame of a cube."""
    if index in code.keyframes:
        return whole_chunk(frames[index], code)
    before, own = code.codes(frames[index - 1 : index + 1])
    return _pack(own - before)


def whole_chunk(pixels: NDArray[np.float32], code: Code) -> bytes:
    """Chunk of a frame as it is, not as a difference."""
    return _pack(code.codes(pixels))


def encode_frame(image: ArrayLike, code: Code) -> bytes:
    """Chunk of a single image, as it is, in the code of a cube; the image has the full size.

    Raises
    ------
    DataError
        The image has not the shape of the frames.
    """
    return whole_chunk(reduced_frame(image, code), code)


def reduced_frame(image: ArrayLike, code: Code) -> NDArray[np.float32]:
    """An image as it is sent: float32, in the same squares of pixels as the cube."""
    pixels = _as_float32(image)
    if pixels.ndim == 2 and code.block > 1:
        pixels = resize(pixels, -(-max(pixels.shape) // code.block)).astype(np.float32)
    if pixels.shape != code.shape[1:]:
        raise DataError(f"a frame should have the shape of the cube's, found {np.shape(image)} for a cube {code.shape}")
    return pixels


def decode(encoded: Encoded) -> NDArray[np.float64]:
    """The cube, as the browser sees it."""
    codes = np.empty(encoded.code.shape, np.int16)
    for index, packed in enumerate(encoded.chunks):
        codes[index] = _unpack(packed, codes.shape[1:])
        if index not in encoded.code.keyframes:
            codes[index] += codes[index - 1]
    return encoded.code.values(codes)


def _all_chunks(frames: NDArray[np.float32], code: Code) -> tuple[bytes, ...]:
    return tuple(chunk(frames, index, code) for index in range(len(frames)))


def _pack(codes: NDArray[np.int16]) -> bytes:
    folded = ((codes << 1) ^ (codes >> 15)).astype("<u2")  # small differences of both signs have an empty high byte
    planes = np.ascontiguousarray(folded.view(np.uint8).reshape(-1, 2).T)
    # Noise repeats nothing but its runs: Z_RLE is five times as fast as a search for matches, and packs closer.
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return packer.compress(planes.tobytes()) + packer.flush()


def _unpack(packed: bytes, shape: tuple[int, ...]) -> NDArray[np.int16]:
    planes = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(2, -1)
    folded = np.ascontiguousarray(planes.T).view("<u2").reshape(shape)
    return ((folded >> 1) ^ -(folded & 1)).view(np.int16)


def _allowed(shape: tuple[int, ...], budget: int) -> float:
    return budget * max(1.0, np.prod(shape, dtype=float) / PIXELS_OF_BUDGET)


def _can_coarsen(frames: NDArray[np.float32], code: Code) -> bool:
    """Whether a larger step would still tell the pixels apart."""
    return code.step < _farthest(frames)


def _farthest(frames: NDArray[np.float32]) -> float:
    sizes = np.abs(frames)
    return float(sizes.max(initial=0.0, where=np.isfinite(sizes)))


def _noise(frames: NDArray[np.float32]) -> float:
    """Standard deviation in the faintest frame, from the median absolute deviation; 0 where all are constant."""
    stride = max(1, int(np.sqrt(frames[0].size / SAMPLED_PIXELS)))
    sigmas = [_sigma(frame[::stride, ::stride]) for frame in frames]
    return min((sigma for sigma in sigmas if sigma > 0), default=0.0)


def _sigma(pixels: NDArray[np.float32]) -> float:
    values = pixels[np.isfinite(pixels)].astype(float)
    # A frame padded with one value has noise elsewhere.
    values = values[values != np.median(values)] if values.size else values
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def _with_keyframes(frames: NDArray[np.float32], code: Code) -> Code:
    """Every eighth frame, and those that are smaller as they are: frames of a series differ little, others much."""
    stride = max(1, int(np.sqrt(frames[0].size / SAMPLED_PIXELS)))
    codes = code.codes(frames[:, ::stride, ::stride])
    alone, apart = _bits(codes[1:]), _bits(codes[1:] - codes[:-1])
    keys = (0, *(i for i in range(1, len(frames)) if i % KEY_EVERY == 0 or alone[i - 1] < apart[i - 1]))
    return replace(code, keyframes=keys)


def _bits(codes: NDArray[np.int16]) -> NDArray[np.float64]:
    """About how many bits a pixel of each frame takes."""
    return np.log2(1 + np.abs(codes.astype(np.float32))).mean(axis=(1, 2))


def _reduced(cube: ArrayLike) -> tuple[NDArray[np.float32], int, str]:
    """Frames as float32, of means where they are many or large; the side of the squares; and words for it."""
    frames = _as_float32(cube)
    if frames.ndim != 3 or frames.size == 0:
        raise DataError(
            f"a cube (n, y, x) of images is needed, found shape {frames.shape}; for one image give image[None]"
        )
    side = max(frames.shape[1:])
    longest = min(side, LONGEST_SIDE, int(side / max(1.0, np.sqrt(frames.size / MOST_PIXELS))))
    block = -(-side // max(1, longest))
    if block == 1:
        return frames, 1, ""
    rows, columns = frames.shape[1:]
    means = np.array([resize(frame, longest) for frame in frames], np.float32)
    return means, block, f"{columns} x {rows} pixels, shown as means of {block} x {block}"


def _as_float32(values: ArrayLike) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and shown so
        return np.asarray(values).astype(np.float32, copy=False)
