"""Which pixels of a slitless exposure show background: from boxes, a mask, or a catalogue and how grisms disperse."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import reprlib
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corontools.background.product import MASK
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.fits import is_packed, most_unpacked, one_line, reading

__all__ = ["Order", "Sources", "orders"]

SKY = (("ra", "dec"), ("sky_centroid.ra", "sky_centroid.dec"))
PIXEL = (("x", "y"), ("xcentroid", "ycentroid"))
CORNERS = tuple(f"sky_bbox_{corner}" for corner in ("ll", "lr", "ul", "ur"))
MAGNITUDES = ("isophotal_abmag", "abmag", "mag")
CATALOGS = {".ecsv", ".txt", ".csv", ".cat"}
# px from a source, beyond any detector
FAR = 1e6
# levels of the tree of an ASDF file
DEEPEST = 200
HINT = '{1: {"offset": (80, 0), "extent": (240, 10)}}'


@dataclass(frozen=True)
class Order:
    """Where one order of a grism puts the light of a source.

    Attributes
    ----------
    offset : (float, float)
        (x, y) from the source to the middle of its trace, px.
    extent : (float, float)
        Width and height of the trace of a point source, px.
    """

    offset: tuple[float, float]
    extent: tuple[float, float]

    def box(self, x: tuple[float, float], y: tuple[float, float]) -> tuple[int, int, int, int]:
        """Corner pixels (x0, y0, x1, y1) of the trace of a source that reaches from x[0] to x[1] and y[0] to y[1]."""
        (dx, dy), (width, height) = self.offset, self.extent
        return (
            math.floor(x[0] + dx - width / 2),
            math.floor(y[0] + dy - height / 2),
            math.ceil(x[1] + dx + width / 2),
            math.ceil(y[1] + dy + height / 2),
        )


@dataclass(frozen=True, eq=False)
class Sources:
    """What is masked: boxes, a mask, or a catalogue with its orders.

    Attributes
    ----------
    boxes : ndarray of int, shape (n, 4), or None
        Corner pixels (x0, y0, x1, y1), which are in the box.
    mask : ndarray of bool, shape (y, x), or None
        True where there is background.
    catalog : table or None
    orders : tuple of Order
    faintest : float or None
        AB magnitude of the faintest source that is masked.
    """

    boxes: np.ndarray | None = None
    mask: np.ndarray | None = None
    catalog: Any = None
    orders: tuple[Order, ...] = ()
    faintest: float | None = None

    @classmethod
    def of(cls, given: Any, dispersion: Any, faintest: float | None) -> Sources:
        """What `BackgroundModel.mask_sources` was given.

        Raises
        ------
        DataError
            If it is nothing of this kind.
        """
        table = _table(given)
        if table is not None:
            if dispersion is None:
                raise DataError(f"a catalogue needs dispersion=, where each order puts the light: {HINT}")
            return cls(catalog=table, orders=orders(dispersion), faintest=faintest)
        if dispersion is not None or faintest is not None:
            raise DataError("dispersion and mmag_extract belong to a catalogue; boxes and masks are taken as they are")
        if isinstance(given, np.ndarray | Exposure | str | os.PathLike) and not _is_boxes(given):
            return cls(mask=_mask(given))
        return cls(boxes=_checked_boxes(given))

    def background(self, target: Exposure) -> np.ndarray:
        """True where a pixel (y, x) of the target shows background.

        Raises
        ------
        DataError
            If a mask has another shape, or the catalogue lacks columns, which are named.
        """
        ny, nx = target.shape[-2:]
        if self.mask is not None:
            if self.mask.shape != (ny, nx):
                raise DataError(f"a mask of {self.mask.shape} doesn't fit {target._name} of {(ny, nx)}")
            return self.mask.copy()
        found = np.ones((ny, nx), bool)
        for x0, y0, x1, y1 in self._boxes(target):
            found[max(y0, 0) : max(y1 + 1, 0), max(x0, 0) : max(x1 + 1, 0)] = False
        return found

    def _boxes(self, target: Exposure) -> Any:
        if self.catalog is None:
            return [] if self.boxes is None else self.boxes
        keep = _bright(self.catalog, self.faintest)
        x, y = _footprints(self.catalog, target)
        boxes = []
        for i in np.flatnonzero(keep & np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)):
            boxes += [order.box((x[i].min(), x[i].max()), (y[i].min(), y[i].max())) for order in self.orders]
        return boxes


def orders(dispersion: Mapping[Any, Any] | str | os.PathLike[str]) -> tuple[Order, ...]:
    """Orders from a mapping of order -> {"offset": (dx, dy), "extent": (width, height)}, or a YAML or JSON file of it.

    Raises
    ------
    DataError
        If something is missing or no pair of numbers.

    Examples
    --------
    >>> orders({1: {"offset": (80, 0), "extent": (240, 10)}})
    (Order(offset=(80.0, 0.0), extent=(240.0, 10.0)),)
    """
    if not isinstance(dispersion, Mapping):
        dispersion = _loaded(Path(dispersion))
    if not isinstance(dispersion, Mapping) or not dispersion:
        found = reprlib.repr(dispersion)
        raise DataError(f"a dispersion tells for each order an offset and an extent in px: {HINT}; found {found}")
    return tuple(_order(name, entry) for name, entry in dispersion.items())


def _loaded(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the dispersion file {path} can't be read: {one_line(error)}") from error
    import yaml  # late: it comes with astropy, and few need it

    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"{path} is neither JSON nor YAML: {one_line(error)}") from error


def _order(name: Any, entry: Any) -> Order:
    pairs = []
    for key in ("offset", "extent"):
        value: Any = entry.get(key) if isinstance(entry, Mapping) else None
        if not _is_pair(value):
            # not written out: YAML can hold a part of itself many times
            found = reprlib.repr(entry)
            raise DataError(f"order {reprlib.repr(name)} needs {key}: two numbers in px, as {HINT}; found {found}")
        pairs.append((float(value[0]), float(value[1])))
    return Order(*pairs)


def _is_pair(value: Any) -> bool:
    """Whether these are two numbers that can be px."""
    numbers: Any = value if isinstance(value, list | tuple | np.ndarray) else ()
    return len(numbers) == 2 and all(isinstance(n, int | float | np.number) and -FAR < n < FAR for n in numbers)


def _table(given: Any) -> Any:
    """A catalogue from a file or table; None where it is something else."""
    if hasattr(given, "colnames"):
        return given
    if not isinstance(given, str | os.PathLike) or Path(given).suffix.lower() not in CATALOGS:
        return None
    import yaml
    from astropy.table import Table

    path = Path(given)
    with reading(path, "a table", csv.Error, RecursionError, yaml.YAMLError):
        if is_packed(path):
            raise DataError(f"the catalogue {path} is packed; unpack it")
        return Table.read(path, format="ascii.ecsv" if path.suffix.lower() == ".ecsv" else "ascii")


def _is_boxes(given: Any) -> bool:
    """Whether an array is a list of boxes rather than a mask."""
    return isinstance(given, np.ndarray) and given.dtype.kind != "b" and given.ndim == 2 and given.shape[1] == 4


def _checked_boxes(given: Any) -> np.ndarray:
    try:
        boxes = np.asarray(given, np.float64).reshape(-1, 4) if np.size(given) else np.empty((0, 4))
    except (TypeError, ValueError):
        boxes = np.full((1, 4), np.nan)
    if (np.ndim(given) != 2 and boxes.size) or not np.isfinite(boxes).all():
        raise DataError(f"boxes are a list of (x0, y0, x1, y1), 0-based, the corner pixels included; found {given!r}")
    return np.stack([*np.floor(boxes[:, :2].T), *np.ceil(boxes[:, 2:].T)], axis=1).astype(int)


def _mask(given: Any) -> np.ndarray:
    """A mask of 0 and 1 from an array, an exposure, or the MASK (else the first image) of a FITS or ASDF file."""
    if isinstance(given, str | os.PathLike):
        given = _asdf_mask(Path(given)) if Path(given).suffix.lower() == ".asdf" else Exposure.read(given)
    if isinstance(given, Exposure):
        named = [e.data for e in given.extensions if e.name == MASK and e.data is not None]
        given = named[0] if named else given.data
    values = np.asarray(given)
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise DataError("a mask holds 1 (True) for background and 0 for sources; found other values")
    return values.astype(bool)


def _asdf_mask(path: Path) -> np.ndarray:
    """The `mask` (else the `data`) of a data model saved as ASDF."""
    try:
        import asdf  # comes with stdatamodels, which only those need who work with ASDF
        import yaml
    except ImportError as error:
        raise DataError(f"{path.name}: asdf is needed for an ASDF file: pip install asdf, or give FITS") from error
    failures = (RecursionError, NotImplementedError, struct.error, yaml.YAMLError, asdf.ValidationError)
    with reading(path, "ASDF", *failures), warnings.catch_warnings():
        warnings.simplefilter("ignore", asdf.exceptions.AsdfWarning)
        _check_depth(path)
        _check_blocks(path)
        tree = asdf.util.load_yaml(path, tagged=True)
        name = next((name for name in ("mask", "data") if name in tree), None)
        if name is None:
            raise DataError(f"{path.name}: neither mask nor data in it, found {one_line(', '.join(map(str, tree)))}")
        _check_node(tree[name], path)
        # the tree holds data models of many kinds, of which only one array is made
        with asdf.open(path, memmap=False, lazy_tree=True, ignore_unrecognized_tag=True) as file:
            found = np.asarray(file.tree[name])
            if found.nbytes > most_unpacked(path.stat().st_size):
                raise DataError(f"{path.name}: {name} of shape {found.shape} is larger than the file can hold")
            return np.array(found)


def _check_depth(path: Path) -> None:
    """A tree that is too deep would end Python itself, as libraries go down it by recursion."""
    import yaml

    depth, loader = 0, getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open("rb") as file:
        for event in yaml.parse(_text_of(file.read()), Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise DataError(f"{path.name}: its tree is deeper than {DEEPEST} levels; make it again")


def _text_of(content: bytes) -> bytes:
    """The tree of an ASDF file, before its blocks."""
    end = re.search(rb"\r?\n\.\.\.\r?\n", content)
    return content if end is None else content[: end.end()]


def _check_node(node: Any, path: Path) -> None:
    """An array of the file itself: another source is a file or an address that would be opened."""
    source = node.get("source", 0) if isinstance(node, Mapping) else 0
    if "core/ndarray" not in getattr(node, "_tag", "") or not isinstance(source, int):
        raise DataError(f"{path.name}: its mask isn't an array that the file itself holds, found {reprlib.repr(node)}")


def _check_blocks(path: Path) -> None:
    """Blocks announce how much room they take unpacked."""
    content = path.read_bytes()
    for begin in re.finditer(re.escape(b"\xd3BLK"), content):
        head = content[begin.end() : begin.end() + 34]
        if len(head) == 34 and max(struct.unpack(">QQQ", head[10:])) > most_unpacked(len(content)):
            raise DataError(f"{path.name}: a block announces more than the file can hold; make or download it again")


def _bright(table: Any, faintest: float | None) -> np.ndarray:
    """Sources that are bright enough; one without a magnitude is."""
    if faintest is None:
        return np.ones(len(table), bool)
    name = next((name for name in MAGNITUDES if name in table.colnames), None)
    if name is None:
        raise DataError(
            f"mmag_extract needs AB magnitudes, column {' or '.join(MAGNITUDES)}; the catalogue has "
            f"{one_line(', '.join(table.colnames))}"
        )
    return ~(_column(table, name) > faintest)


def _footprints(table: Any, target: Exposure) -> tuple[np.ndarray, np.ndarray]:
    """Positions x and y on the target, (n, corners): of the corners of each source where there are columns of these."""
    if target.wcs is not None and set(CORNERS) <= set(table.colnames):
        corners = [table[name] for name in CORNERS]
        return _on_target(target, [c.ra.deg for c in corners], [c.dec.deg for c in corners])
    if target.wcs is not None and "sky_centroid" in table.colnames:
        sky = table["sky_centroid"]
        return _on_target(target, [sky.ra.deg], [sky.dec.deg])
    for names in SKY:
        if target.wcs is not None and set(names) <= set(table.colnames):
            return _on_target(target, *([_column(table, name)] for name in names))
    for names in PIXEL:
        if set(names) <= set(table.colnames):
            x, y = (_column(table, name)[:, None] for name in names)
            return x, y
    sky_names = "sky_bbox_ll, sky_bbox_lr, sky_bbox_ul, sky_bbox_ur, or sky_centroid, or ra, dec"
    without = "" if target.wcs is not None else f", which {target._name} has no WCS for"
    raise DataError(
        f"the catalogue lacks positions: columns {sky_names} (sky{without}) or x, y or xcentroid, ycentroid (0-based "
        f"px of the target); it has {one_line(', '.join(table.colnames))}"
    )


def _on_target(target: Exposure, ra: Sequence[Any], dec: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    x, y = target.wcs.all_world2pix(np.array(ra, np.float64).T.ravel(), np.array(dec, np.float64).T.ravel(), 0)
    return x.reshape(-1, len(ra)), y.reshape(-1, len(ra))


def _column(table: Any, name: str) -> np.ndarray:
    """A column as numbers; what is masked is NaN."""
    column = table[name]
    try:
        values = np.asarray(getattr(column, "value", column), np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {name!r} of the catalogue should hold numbers, found {one_line(error)}") from error
    return np.where(np.ma.getmaskarray(column), np.nan, values) if hasattr(column, "mask") else values
