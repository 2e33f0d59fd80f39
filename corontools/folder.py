"""Products of one run: all of them appear in the output folder, or none; and one run on a folder at a time."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from corontools.errors import DataError

__all__ = ["KEPT", "PARTS", "holder", "locked", "removed_on_failure", "staged"]

# sub-folder of an output folder: what was made of what, and who is at work
KEPT = ".corontools"
LOCK, HOLDER, PARTS = "lock", "holder", "parts"


@contextmanager
def staged(
    folder: str | os.PathLike[str],
    names: Sequence[str],
    *,
    overwrite: bool = False,
    optional: Collection[str] = (),
    parts: Path | None = None,
) -> Iterator[Path]:
    """A folder whose files come into `folder` all together when the work is done, and never if it fails.

    Each of the names has to be there then, but for those in `optional`; names may have sub-folders. It is made in
    `folder`, or in `parts` on the same disk.

    Raises
    ------
    FileExistsError
        If one of the names is there already and `overwrite` is False; nothing is begun then.
    DataError
        If the folder is a file or can't be made.
    """
    folder = Path(folder)
    _check_free(folder, names, overwrite=overwrite)
    with removed_on_failure(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"folder {folder} can't be made: {error.strerror}; name another") from error
        with tempfile.TemporaryDirectory(prefix=".corontools-", dir=parts or folder) as part:
            yield Path(part)
            for name in names:
                if name not in optional or (Path(part) / name).exists():
                    (folder / name).parent.mkdir(exist_ok=True)
                    (Path(part) / name).replace(folder / name)


def _check_free(folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Whether files of these names may come into a folder."""
    _check_folder(folder)
    parents = {(folder / name).parent for name in names} - {folder}
    linked = next((parent for parent in parents if parent.is_symlink()), None)
    if linked is not None:
        raise DataError(f"{linked} is a link to another place; remove it, or name another folder")
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise FileExistsError(f"{folder} holds {there[0]}{more} already; choose another folder, or --overwrite")


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, not a folder; name another")


@contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Hold an output folder, which is made if need be, against other runs; gives a name for this one.

    The lock is the operating system's, so a process that is killed leaves none. What such a run left in the making is
    removed, and so is a folder that was made for nothing.

    Raises
    ------
    DataError
        If another run holds the folder, or it can't be written to.
    """
    from filelock import FileLock, Timeout

    folder, run = Path(folder), uuid.uuid4().hex
    _check_folder(folder)
    new, hidden = not folder.exists(), folder / KEPT
    if hidden.is_symlink():
        raise DataError(f"{hidden} is a link to another place; remove it")
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        lock = FileLock(hidden / LOCK)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(
            f"{folder} is in use {_by(holder(folder))}; wait for its end, or name another folder"
        ) from error
    except OSError as error:
        raise DataError(f"folder {folder} can't be written to: {error.strerror}; name another") from error
    try:
        shutil.rmtree(hidden / PARTS, ignore_errors=True)
        (hidden / PARTS).mkdir()
        me = {"run": run, "host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        part = hidden / PARTS / HOLDER
        part.write_text(json.dumps(me), encoding="utf-8")
        part.replace(hidden / HOLDER)  # also a link that somebody put there, and not what it points to
        yield run
    finally:
        _left(folder, new)
        lock.release()


def holder(folder: Path) -> dict[str, Any]:
    """Run, host, process and begin of the run that holds a folder, or was killed while it did; empty without one."""
    try:
        found = json.loads((folder / KEPT / HOLDER).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # none, or one that is being written
        return {}
    return found if isinstance(found, dict) else {}


def _by(who: dict[str, Any]) -> str:
    words = [
        f"{what} {who[key]}" for what, key in (("on", "host"), ("process", "pid"), ("since", "since")) if key in who
    ]
    return f"by another run ({', '.join(words)})" if words else "by another run"


def _left(folder: Path, new: bool) -> None:
    """Remove what a run needed for itself; all of it, where nothing was made."""
    hidden = folder / KEPT
    (hidden / HOLDER).unlink(missing_ok=True)
    shutil.rmtree(hidden / PARTS, ignore_errors=True)
    if not any(hidden.glob("*.json")):
        shutil.rmtree(hidden, ignore_errors=True)
        if new:
            with suppress(OSError):  # something is in it
                folder.rmdir()


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
