"""Files of reference catalogues."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.units import UnitsWarning

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
    try:
        with warnings.catch_warnings():
            # days, and units that columns we don't need are given in
            warnings.simplefilter("ignore", UnitsWarning)
            return Table.read(path, format=kind)
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow, which isn't installed ({error})") from error
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path}: no table can be read ({error})") from error


def unmasked(table: Table) -> Table:
    """NaN (or False) where putting tables together left gaps."""
    for name in table.colnames if table.has_masked_columns else ():
        column = table[name]
        if hasattr(column, "mask"):
            fill = {"f": np.nan, "b": False}.get(column.dtype.kind, 0)
            table.replace_column(name, column.filled(fill))
    return table
