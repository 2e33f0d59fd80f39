"""FITS in and out: memory-mapped reading, extensions kept to the byte, products that appear whole or not at all."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from corontools.errors import DataError

__all__ = ["Extension", "Plane", "atomic", "read", "write", "write_planes"]

BLOCK = 2880


@dataclass(frozen=True, eq=False)
class Extension:
    """One HDU of a file.

    Attributes
    ----------
    name : str
        EXTNAME in capitals; "PRIMARY" for the first.
    header : astropy.io.fits.Header
    data : ndarray or None
        Image, memory-mapped where FITS allows it (floating point, no scaling); None for tables and empty HDUs.
    raw : ndarray of uint8
        Header and data to the byte, memory-mapped: what a product copies of an extension it doesn't know.
    """

    name: str
    header: fits.Header
    data: np.ndarray | None
    raw: np.ndarray


def read(path: str | os.PathLike[str]) -> list[Extension]:
    """All HDUs of a FITS file; floating-point images are mapped, not loaded.

    Raises
    ------
    DataError
        If the file is no FITS file or is shorter than its headers promise.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            # what astropy only warns of (a cut file) is found by size below, with a message that tells the way out
            warnings.simplefilter("ignore", AstropyUserWarning)
            with fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
                return [_extension(hdu, path) for hdu in hdus]
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; give a FITS file") from error
    except DataError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError, fits.VerifyError) as error:
        raise DataError(f"{path} can't be read as FITS: {error}; download it again or check its name") from error


def _extension(hdu: Any, path: Path) -> Extension:
    info = hdu.fileinfo()
    start, stop = info["hdrLoc"], info["datLoc"] + info["datSpan"]
    compressed = info["file"].compression is not None
    if not compressed and stop > path.stat().st_size:
        raise DataError(
            f"{path} is cut short: extension {hdu.name or 'PRIMARY'} needs {stop} bytes, "
            f"the file has {path.stat().st_size}; download it again"
        )
    if compressed:
        raw = np.frombuffer(_bytes(hdu), dtype=np.uint8)
    else:
        raw = np.memmap(path, dtype=np.uint8, mode="r", offset=start, shape=(stop - start,))
    header = hdu.header.copy()
    return Extension(hdu.name.upper() or "PRIMARY", header, _image(hdu, path, mapped=not compressed), np.asarray(raw))


def _bytes(hdu: Any) -> bytes:
    """The HDU as it stands in an uncompressed file."""
    source = hdu.fileinfo()["file"]
    source.seek(hdu.fileinfo()["hdrLoc"])
    return source.read(hdu.fileinfo()["datLoc"] + hdu.fileinfo()["datSpan"] - hdu.fileinfo()["hdrLoc"])


def _image(hdu: Any, path: Path, *, mapped: bool) -> np.ndarray | None:
    """Pixels of an image HDU: a map of the file for floating point, loaded where numbers are scaled or packed."""
    if not hdu.is_image or not hdu.shape:
        return None
    scaled = "BSCALE" in hdu.header or "BZERO" in hdu.header
    if mapped and not scaled and hdu.header["BITPIX"] in (-32, -64) and not hasattr(hdu, "compressed_data"):
        kind = ">f4" if hdu.header["BITPIX"] == -32 else ">f8"
        offset = hdu.fileinfo()["datLoc"]
        return np.asarray(np.memmap(path, dtype=kind, mode="r", offset=offset, shape=tuple(hdu.shape)))
    return np.array(hdu.data)


@contextmanager
def atomic(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it when the block ends well, remove it when it doesn't.

    Raises
    ------
    FileExistsError
        If `path` exists and `overwrite` is False.
    """
    path = Path(path)
    _refuse_existing(path, overwrite)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except FileNotFoundError as error:
        raise DataError(f"folder {path.parent} does not exist; make it or name another") from error
    os.close(handle)
    part = Path(name)
    try:
        yield part
        _flush(part)
        _refuse_existing(path, overwrite)
        # mkstemp makes private files; a product follows the user's umask like any other file
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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
    """Write HDUs, then `extensions` byte by byte, under a temporary name; rename when whole."""
    path = Path(path)
    with atomic(path, overwrite=overwrite) as part:
        fits.HDUList(list(hdus)).writeto(part, overwrite=True, output_verify="exception")
        if extensions:
            with part.open("ab") as file:
                for extension in extensions:
                    extension.raw.tofile(file)
    return path


@dataclass(frozen=True, eq=False)
class Plane:
    """An image extension that is written slice by slice along the first axis of `shape`; `kind` is "f4" or "u4"."""

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
    path = Path(path)
    with atomic(path, overwrite=overwrite) as part:
        starts = _write_headers(part, primary, planes)
        maps = {
            plane.name: np.memmap(part, dtype=_disk_kind(plane), mode="r+", offset=start, shape=plane.shape)
            for plane, start in zip(planes, starts, strict=True)
        }
        for i in range(planes[0].shape[0]):
            for name, value in slices(i).items():
                maps[name][i] = _to_disk(value, maps[name].dtype)
        for mapped in maps.values():
            mapped.flush()
        with part.open("ab") as file:
            for hdu in extra:
                file.write(_encoded(hdu))
    return path


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
            end = file.tell() + -(-size // BLOCK) * BLOCK
            os.posix_fallocate(file.fileno(), file.tell(), end - file.tell())
            file.seek(end)
    return starts


def _image_header(plane: Plane) -> fits.Header:
    header = fits.ImageHDU(header=plane.header, name=plane.name).header
    kind = np.dtype(plane.kind)
    header["BITPIX"] = -8 * kind.itemsize if kind.kind == "f" else 8 * kind.itemsize
    header["NAXIS"] = len(plane.shape)
    for axis, length in enumerate(reversed(plane.shape), start=1):
        header.set(f"NAXIS{axis}", length, after=f"NAXIS{axis - 1}" if axis > 1 else "NAXIS")
    if kind.kind == "u":
        header["BSCALE"], header["BZERO"] = 1, 2 ** (8 * kind.itemsize - 1)
    return header


def _disk_kind(plane: Plane) -> np.dtype:
    kind = np.dtype(plane.kind)
    return np.dtype(f">{'i' if kind.kind == 'u' else kind.kind}{kind.itemsize}")


def _to_disk(value: np.ndarray, kind: np.dtype) -> np.ndarray:
    """FITS has no unsigned integers: they are stored less 2**31, which is a flip of the highest bit."""
    if kind.kind == "i":
        return (np.asarray(value, np.uint32) ^ np.uint32(2**31)).view(np.int32)
    return value
