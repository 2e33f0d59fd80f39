"""Files of reference catalogues."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from corontools import fits
from corontools.errors import DataError

__all__ = ["files_of", "read_table", "unmasked"]

FORMATS = {
    ".fits": "fits", ".fit": "fits", ".fits.gz": "fits", ".ecsv": "ascii.ecsv", ".parquet": "parquet",
    ".parq": "parquet", ".csv": "ascii.csv", ".vot": "votable", ".xml": "votable",
}  # fmt: skip


def files_of(path: Path) -> list[Path]:
    """The file, or the FITS files of a folder; LSST's empty schema is none of them."""
    if not path.is_dir():
        return [path]
    return [file for file in sorted(path.glob("*.fits*")) if "master_schema" not in file.name]


def read_table(path: Path) -> Table:
    """The table of a file, by its suffix."""
    kind = next((form for suffix, form in FORMATS.items() if path.name.lower().endswith(suffix)), None)
    if kind is None:
        raise DataError(f"{path}: a reference catalogue is one of {', '.join(FORMATS)}; give RefCat.from_table(...)")
    import yaml  # late: it comes with astropy, and heads of tables are written in it

    try:
        # libraries warn of days, and of units that columns we don't need are given in
        with fits.reading(path, "a table", csv.Error, RecursionError, NotImplementedError, yaml.YAMLError):
            CHECKS.get(kind, _check_text)(path)
            return Table.read(path, format=kind)
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow, which isn't installed ({error})") from error


def _check_text(path: Path) -> None:
    """Text stands in the file as it is: a packed one may unpack to any size."""
    if fits.is_packed(path):
        raise DataError(f"{path} is packed; unpack it")


def _check_votable(path: Path) -> None:
    """All of the table stands in the file: what XML refers to would be fetched."""
    if re.search(r"<!(ENTITY|ATTLIST)|STREAM[^>]*\bhref", path.read_text(encoding="utf-8")):
        raise DataError(f"{path} refers to other files; give a VOTable that holds its data")


def _check_parquet(path: Path) -> None:
    """A column of equal values takes a few bytes, however long it is."""
    from pyarrow import parquet

    found = parquet.read_metadata(path)
    size = 8 * found.num_rows * found.num_columns
    if size > fits.most_unpacked(path.stat().st_size):
        raise DataError(f"{path} announces {found.num_rows} rows, more than it can hold; make or download it again")


CHECKS: dict[str, Callable[[Path], Any]] = {"fits": fits.read, "votable": _check_votable, "parquet": _check_parquet}


def unmasked(table: Table) -> Table:
    """NaN (or False) where putting tables together left gaps."""
    for name in table.colnames if table.has_masked_columns else ():
        column = table[name]
        if hasattr(column, "mask"):
            fill = {"f": np.nan, "b": False}.get(column.dtype.kind, 0)
            table.replace_column(name, column.filled(fill))
    return table
