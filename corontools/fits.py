"""FITS in and out: memory-mapped reading, extensions kept to the byte, products that appear whole or not at all."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import mmap
import os
import re
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning, AstropyWarning

from corontools.errors import DataError

__all__ = [
    "UNREADABLE", "Extension", "Plane", "atomic", "is_packed", "most_unpacked", "on_disk", "one_line", "open_planes",
    "read", "reading", "release", "write", "write_planes",
]  # fmt: skip

BLOCK = 2880
# BITPIX -> what stands in the file as numpy reads it
MAPPED = {8: "u1", -32: ">f4", -64: ">f8"}
# what FITS adds to 32-bit integers that have no sign
UNSIGNED = 1 << 31
# of them converted at a time
FLAGS = 1 << 20
UNPACK: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
PACK: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
# bytes that a packed file or image may unpack to, and how many times its own; a few bytes can announce any number
ROOM, RATIO = 1 << 27, 100
# how images in tables may be packed: decoders of the others write where a damaged tile tells them to
TILES = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "NOCOMPRESS")
PACKED = ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA")
# bytes of the numbers that packed tiles are written as
WIDTHS = {"B": 1, "I": 2, "J": 4}
# cards of which FITS allows 999 at most
CARD, COUNTS = 80, (b"NAXIS   =", b"ZNAXIS  =", b"TFIELDS =")
# characters of a message
LONG = 1000
# what astropy and the unpackers raise on a damaged file
UNREADABLE = (
    OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, AssertionError,
    MemoryError, zlib.error, lzma.LZMAError, fits.VerifyError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Extension:
    """One HDU of a file.

    Attributes
    ----------
    name : str
        EXTNAME in capitals; "PRIMARY" for the first.
    header : astropy.io.fits.Header
    data : ndarray or None
        Image, memory-mapped where FITS allows it (floating point or bytes, no scaling); None for tables and empty
        HDUs.
    raw : ndarray of uint8
        Header and data to the byte, memory-mapped: what a product copies of an extension it doesn't know.
    """

    name: str
    header: fits.Header
    data: np.ndarray | None
    raw: np.ndarray


def read(path: str | os.PathLike[str]) -> list[Extension]:
    """All HDUs of a FITS file; floating-point images are mapped, not loaded.

    Files packed with gzip, bzip2 or xz are unpacked in memory. What follows the last HDU and is no extension is
    ignored with a warning.

    Raises
    ------
    DataError
        If the file is no FITS file, is shorter than its headers promise, or unpacks to more than a hundred times its
        size.
    """
    path, name = Path(path), one_line(path)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # what astropy only warns of (a cut file) is found by size below, with a message that tells the way out
            warnings.simplefilter("ignore", AstropyUserWarning)
            content, packed = _content(path)
            # astropy doesn't close a file that it fails to read
            with io.BytesIO(content.data) if packed else path.open("rb") as file:
                found = list(_extensions(file, content))
    except FileNotFoundError as error:
        raise DataError(f"{name} does not exist") from error
    except IsADirectoryError as error:
        raise DataError(f"{name} is a folder; give a FITS file") from error
    except DataError as error:
        raise DataError(f"{name} {error}") from error
    except UNREADABLE as error:
        reason = one_line(error)
        raise DataError(f"{name} can't be read as FITS: {reason}; download it again or check its name") from error
    _check_end(content[sum(extension.raw.size for extension in found) :], found[-1].name, name)
    return found


def one_line(text: object) -> str:
    r"""Text as it stands in a message: on one line and not too long, whatever characters are in it.

    Examples
    --------
    >>> one_line("two\nlines, a bell \a")
    'two lines, a bell \\x07'
    """
    line = re.sub(r"\s*[\r\n]\s*", " ", str(text)).strip()
    line = line if len(line) <= LONG else f"{line[: LONG // 2]} ... {line[-LONG // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def _content(path: Path) -> tuple[np.ndarray, bool]:
    """All bytes of a file, mapped, or unpacked where it is packed; and whether it was."""
    with path.open("rb") as file:
        magic = file.read(8)
    if not magic:
        raise DataError("is empty; download it again")
    opened = next((opened for begin, opened in UNPACK.items() if magic.startswith(begin)), None)
    content = np.asarray(np.memmap(path, dtype=np.uint8, mode="r")) if opened is None else _unpacked(path, opened)
    begin = content[:8].tobytes()
    if begin != b"SIMPLE  ":
        raise DataError(
            f"can't be read as FITS: it begins with {begin!r}, not SIMPLE; download it again or check its name"
        )
    return content, opened is not None


def _unpacked(path: Path, opened: Callable[[Path], Any]) -> np.ndarray:
    most = most_unpacked(path.stat().st_size)
    with opened(path) as file:
        content = np.frombuffer(file.read(most + 1), dtype=np.uint8)
    if content.size > most:
        raise DataError(
            f"unpacks to more than {most >> 20} MB, {RATIO} times its size; unpack it yourself if you trust it"
        )
    return content


def most_unpacked(size: int) -> int:
    """Bytes that a file of this size may become in memory: a hundred times as many; a small one, 128 MB."""
    return max(ROOM, RATIO * size)


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether a file is packed with gzip, bzip2 or xz, whatever it is called."""
    with open(path, "rb") as file:
        return file.read(8).startswith(tuple(UNPACK))


@contextmanager
def reading(path: str | os.PathLike[str], kind: str, *errors: type[Exception]) -> Iterator[None]:
    """Around what libraries read of a file: a DataError that names it for what they raise, no warnings of theirs.

    `kind` is what the file should be; `errors` are exceptions besides those of a damaged FITS file.
    """
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", AstropyWarning)
            yield
    except DataError:
        raise
    except (*UNREADABLE, *errors) as error:
        reason = getattr(error, "strerror", None) or one_line(error) or type(error).__name__
        raise DataError(f"{one_line(path)} can't be read as {kind}: {reason}; make or download it again") from error


def _extensions(file: Any, content: np.ndarray) -> Iterator[Extension]:
    """HDU by HDU: the next header is read when it has been looked at."""
    _check_counts(content, 0)
    for hdu in fits.open(file, memmap=False, lazy_load_hdus=True):
        extension = _extension(hdu, content)
        yield extension
        _check_counts(content, hdu.fileinfo()["hdrLoc"] + extension.raw.size)


def _check_counts(content: np.ndarray, start: int) -> None:
    """Axes and columns of the header that starts there: astropy counts up to any number of them."""
    if start and content[start : start + 8].tobytes() != b"XTENSION":
        return
    for place in range(start, content.size, CARD):
        card = content[place : place + CARD].tobytes()
        if card.startswith(COUNTS) and re.match(rb"\s*\+?0*[1-9]\d{3}", card[10:]):
            raise DataError(
                f"can't be read as FITS: {card[:9].decode()}{card[10:40].decode('ascii', 'replace').strip()} "
                "is more than the 999 that FITS allows; download it again"
            )
        if card.startswith(b"END     ") or not card[:1].strip(b"\0\xff"):
            return


def _extension(hdu: Any, content: np.ndarray) -> Extension:
    info = hdu.fileinfo()
    start, stop = info["hdrLoc"], info["datLoc"] + info["datSpan"]
    name = hdu.name.upper() or ("" if start else "PRIMARY")
    if stop < info["datLoc"]:  # astropy would read the headers before it again, for ever
        raise DataError(
            f"can't be read as FITS: extension {one_line(name)} announces a negative size; download it again"
        )
    if stop > content.size:
        raise DataError(
            f"is cut short: extension {one_line(name) or 'without name'} needs {stop} bytes, "
            f"the file has {content.size}; download it again"
        )
    header = hdu.header.copy()
    for card in header.cards:
        card.value  # noqa: B018 - a card that can't be parsed is found here, not in the middle of a computation
    return Extension(name, header, _image(hdu, content), content[start:stop])


def _image(hdu: Any, content: np.ndarray) -> np.ndarray | None:
    """Pixels of an image HDU: part of the mapped file for reals and bytes, loaded where scaled or packed."""
    if not hdu.is_image or not hdu.shape:
        return None
    scaled = "BSCALE" in hdu.header or "BZERO" in hdu.header
    start, bits = hdu.fileinfo()["datLoc"], hdu.header["BITPIX"]
    if hasattr(hdu, "compressed_data"):
        return _unpacked_image(hdu, content)
    if not scaled and bits in MAPPED:
        kind = np.dtype(MAPPED[bits])
        size = math.prod(hdu.shape) * kind.itemsize
        return content[start : start + size].view(kind).reshape(hdu.shape)
    if bits == 32 and _is_unsigned(hdu.header):
        return _flags(content[start : start + 4 * math.prod(hdu.shape)].view(">u4")).reshape(hdu.shape)
    return np.array(hdu.data)


def _unpacked_image(hdu: Any, content: np.ndarray) -> np.ndarray:
    _check_packed(hdu, content)
    try:
        return np.array(hdu.data)
    except Exception as error:  # that of the decoder has no public name
        raise DataError(
            f"can't be read: image {hdu.name} can't be unpacked, {one_line(error)}; download it again"
        ) from error


def _check_packed(hdu: Any, content: np.ndarray) -> None:
    """What decoders take as it is, and an image of any size that the header may announce."""
    info, name = hdu.fileinfo(), one_line(hdu.name)
    header = fits.Header.fromstring(content[info["hdrLoc"] : info["datLoc"]].tobytes())
    kind = header.get("ZCMPTYPE")
    if kind not in TILES:
        raise DataError(
            f"can't be read: image {name} is packed with {kind!r}, not {', '.join(TILES)}; unpack it by funpack"
        )
    given = {header[key]: header.get(f"ZVAL{key[5:]}") for key in header["ZNAME*"]}
    if not (given.get("BLOCKSIZE", 32) in (16, 32) and given.get("BYTEPIX", 4) in (1, 2, 4, 8)):
        raise DataError(f"can't be read: image {name} is packed in an unknown way, {given}; download it again")
    size, stored = math.prod(hdu.shape) * abs(hdu.header["BITPIX"]) // 8, info["datSpan"]
    if size > most_unpacked(stored):
        raise DataError(f"can't be read: its packed image {name} of {stored} bytes announces {size} bytes")
    heap = content[info["datLoc"] + int(header.get("THEAP", header["NAXIS1"] * header["NAXIS2"])) :]
    for k, column in enumerate(hdu.compressed_data.names, 1):
        width = WIDTHS.get(re.sub(r"^\d*[PQ](.).*", r"\1", str(header[f"TFORM{k}"])), 0)
        for count, begin in hdu.compressed_data[column].tolist() if column in PACKED else ():
            _check_tile(heap[begin : begin + width * count].tobytes(), size)


def _check_tile(tile: bytes, size: int) -> None:
    """A tile packed with gzip isn't larger than the image."""
    if not tile.startswith(b"\x1f\x8b"):
        return
    unpacked = zlib.decompressobj(31)
    if len(unpacked.decompress(tile, size + 1)) > size or unpacked.unused_data.strip(b"\0"):
        raise DataError(f"can't be read: a packed tile holds more than the image of {size} bytes; download it again")


def _flags(stored: np.ndarray) -> np.ndarray:
    """Unsigned integers; they are large, so only a part of what is stored is in memory beside them."""
    out = np.empty(stored.size, np.uint32)
    for part in (slice(start, start + FLAGS) for start in range(0, stored.size, FLAGS)):
        np.bitwise_xor(stored[part], np.uint32(UNSIGNED), out=out[part])
        release(stored)
    return out


def release(array: np.ndarray | None) -> None:
    """Let the system take back the pages of a mapped file that were read; all of the file, read again if need be."""
    owner: Any = array
    while owner is not None and not isinstance(owner, mmap.mmap):
        owner = getattr(owner, "base", None)
    if owner is not None and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def _is_unsigned(header: fits.Header) -> bool:
    """Whether signed integers of 32 bits stand for unsigned ones, as FITS has it, and no value for a missing one."""
    return header.get("BZERO") == UNSIGNED and header.get("BSCALE", 1) == 1 and "BLANK" not in header


def _check_end(rest: np.ndarray, last: str, name: str) -> None:
    """What follows the last HDU: nothing, padding, or the begin of an extension whose header was cut."""
    if not np.any((rest != 0) & (rest != ord(" "))):
        return
    begin = rest[:8].tobytes()
    if b"XTENSION".startswith(begin):
        raise DataError(
            f"{name} is cut short: the header of the extension after {last} is not whole; download it again"
        )
    warnings.warn(f"{name}: {rest.size} bytes after extension {last} are no FITS and are ignored", stacklevel=3)


@contextmanager
def atomic(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it when the block ends well, remove it when it doesn't.

    A file whose name ends in .gz, .bz2 or .xz is packed so.

    Raises
    ------
    FileExistsError
        If `path` exists and `overwrite` is False.
    DataError
        If its folder doesn't exist or can't be written to.
    """
    path = Path(path)
    _refuse_existing(path, overwrite)
    part = _part(path)
    try:
        yield part
        if path.suffix in PACK:
            part.write_bytes(PACK[path.suffix](part.read_bytes()))
        _flush(part)
        _refuse_existing(path, overwrite)
        # mkstemp makes private files; a product follows the user's umask like any other file
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    """A new empty file beside `path`."""
    folder = path.parent
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=folder)
    except FileNotFoundError as error:
        raise DataError(f"folder {folder} does not exist; make it or name another") from error
    except NotADirectoryError as error:
        raise DataError(f"{folder} is a file, not a folder; name another") from error
    except (OSError, ValueError) as error:  # no permission, no room, a name that the disk can't hold
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path.name!r} can't be written into folder {folder}: {reason}") from error
    os.close(handle)
    return Path(name)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists and is kept; choose another folder or overwrite it")


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write(
    path: str | os.PathLike[str],
    hdus: Sequence[Any],
    *,
    extensions: Sequence[Extension] = (),
    overwrite: bool = False,
) -> Path:
    """Write HDUs, then `extensions` byte by byte, under a temporary name; rename when whole.

    Raises
    ------
    DataError
        If a header holds a card that FITS doesn't allow.
    OSError
        If the disk has no room.
    """
    path = Path(path)
    with atomic(path, overwrite=overwrite) as part:
        try:
            fits.HDUList(list(hdus)).writeto(part, overwrite=True, output_verify="silentfix+exception")
        except fits.VerifyError as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{path} can't be written, its header is not valid FITS: {reason}") from error
        if extensions:
            with part.open("ab") as file:
                for extension in extensions:
                    extension.raw.tofile(file)
    return path


@dataclass(frozen=True, eq=False)
class Plane:
    """An image extension that is written slice by slice; `kind` is "f4", "u4" or "u1"."""

    name: str
    shape: tuple[int, ...]
    kind: str
    header: fits.Header


def write_planes(
    path: str | os.PathLike[str],
    primary: fits.Header,
    planes: Sequence[Plane],
    slices: Callable[[int], Mapping[str, np.ndarray]],
    *,
    extra: Sequence[Any] = (),
    overwrite: bool = False,
) -> Path:
    """Write image extensions too large for memory: `slices(i)` maps a plane's name to its i-th slice.

    HDUs in `extra` follow them.

    The space is reserved before the first slice is computed, so that a full disk is found at once.

    Raises
    ------
    OSError
        If the disk has no room.
    """
    with open_planes(path, primary, planes, extra=extra, overwrite=overwrite) as maps:
        for i in range(planes[0].shape[0]):
            for name, value in slices(i).items():
                maps[name][i] = on_disk(value, maps[name].dtype)
    return Path(path)


@contextmanager
def open_planes(
    path: str | os.PathLike[str],
    primary: fits.Header,
    planes: Sequence[Plane],
    *,
    extra: Sequence[Any] = (),
    extensions: Sequence[Extension] = (),
    overwrite: bool = False,
) -> Iterator[dict[str, np.ndarray]]:
    """The planes of a new file as mapped arrays, to be filled by the block; the file appears when that ends well.

    What is stored is big-endian; unsigned 32-bit integers have to pass through `on_disk`. The HDUs `extra` follow, then
    `extensions` to the byte.

    Raises
    ------
    OSError
        If the disk has no room.
    """
    with atomic(path, overwrite=overwrite) as part:
        starts = _write_headers(part, primary, planes)
        maps = {
            plane.name: np.memmap(part, dtype=_disk_kind(plane), mode="r+", offset=start, shape=plane.shape)
            for plane, start in zip(planes, starts, strict=True)
        }
        yield {name: np.asarray(mapped) for name, mapped in maps.items()}
        for mapped in maps.values():
            mapped.flush()
        with part.open("ab") as file:
            for hdu in extra:
                file.write(_encoded(hdu))
            for extension in extensions:
                extension.raw.tofile(file)


def _encoded(hdu: Any) -> bytes:
    """An extension HDU as it stands in a file."""
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    return buffer.getvalue()[BLOCK:]


def _write_headers(part: Path, primary: fits.Header, planes: Sequence[Plane]) -> list[int]:
    """Headers in their places, room reserved for the pixels; gives where each plane's pixels start."""
    starts = []
    with part.open("wb") as file:
        file.write(fits.PrimaryHDU(header=primary).header.tostring().encode("ascii"))
        for plane in planes:
            file.write(_image_header(plane).tostring().encode("ascii"))
            starts.append(file.tell())
            size = int(np.prod(plane.shape)) * np.dtype(plane.kind).itemsize
            _reserve(file, -(-size // BLOCK) * BLOCK)
    return starts


def _reserve(file: Any, size: int) -> None:
    """Take `size` bytes of zeros from the disk, and go behind them."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), file.tell(), size)
        file.seek(size, os.SEEK_CUR)
        return
    # macOS and Windows: a gap in a file would be filled only when it is written to
    for _ in range(size // BLOCK):
        file.write(bytes(BLOCK))


def _image_header(plane: Plane) -> fits.Header:
    header = fits.ImageHDU(header=plane.header, name=plane.name).header
    kind = np.dtype(plane.kind)
    header["BITPIX"] = -8 * kind.itemsize if kind.kind == "f" else 8 * kind.itemsize
    header["NAXIS"] = len(plane.shape)
    for axis, length in enumerate(reversed(plane.shape), start=1):
        header.set(f"NAXIS{axis}", length, after=f"NAXIS{axis - 1}" if axis > 1 else "NAXIS")
    if kind == np.uint32:  # bytes are unsigned in FITS
        header["BSCALE"], header["BZERO"] = 1, 2**31
    return header


def _disk_kind(plane: Plane) -> np.dtype:
    kind = np.dtype(plane.kind)
    return np.dtype(">i4") if kind == np.uint32 else kind.newbyteorder(">")


def on_disk(value: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Values as they are stored: FITS has no unsigned 32-bit integers, they lose 2**31, a flip of the highest bit."""
    if kind.kind == "i":
        return (np.asarray(value, np.uint32) ^ np.uint32(2**31)).view(np.int32)
    return value
