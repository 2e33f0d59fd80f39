"""Products of one run: all of them appear in the output folder, or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from corontools.errors import DataError

__all__ = ["removed_on_failure", "staged"]


@contextmanager
def staged(
    folder: str | os.PathLike[str], names: Sequence[str], *, overwrite: bool = False, optional: Collection[str] = ()
) -> Iterator[Path]:
    """A folder whose files come into `folder` all together when the work is done, and never if it fails.

    Each of the names has to be there then, but for those in `optional`.

    Raises
    ------
    FileExistsError
        If one of the names is there already and `overwrite` is False; nothing is begun then.
    DataError
        If the folder is a file or can't be made.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, not a folder; name another")
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise FileExistsError(f"{folder} holds {there[0]}{more} already; choose another folder, or --overwrite")
    with removed_on_failure(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"folder {folder} can't be made: {error.strerror}; name another") from error
        with tempfile.TemporaryDirectory(prefix=".corontools-", dir=folder) as part:
            yield Path(part)
            for name in names:
                if name not in optional or (Path(part) / name).exists():
                    (Path(part) / name).replace(folder / name)


@contextmanager
def removed_on_failure(folder: Path) -> Iterator[None]:
    """Remove a folder that was not there before if what fills it fails."""
    new = not folder.exists()
    try:
        yield
    except BaseException:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
