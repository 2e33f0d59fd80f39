"""What was made of what: beside the products of each item, a record by which the next run knows that they are whole.

A record is a small JSON file in the sub-folder ``.corontools`` of the output folder: check sums of the inputs and of
the products, the options, and the versions of what computed. It holds no times: equal runs leave equal records, and a
clock that is wrong changes nothing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from corontools.errors import DataError
from corontools.folder import KEPT, PARTS, holder, staged

__all__ = ["Made", "Recipe", "digest", "record_of", "versions"]

# what stands in a record
KINDS = {"verb": str, "options": dict, "inputs": list, "products": dict, "notes": list, "versions": dict}
PACKAGES = ("numpy", "scipy", "astropy", "numba", "photutils")


class Made(NamedTuple):
    """The products of an item: name, bytes and seconds of each, what there is to say of them, and if they were kept."""

    rows: list[tuple[str, int, float]]
    notes: list[str]
    kept: bool = False


def digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file.

    Raises
    ------
    DataError
        If it can't be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error


def versions() -> dict[str, str]:
    """Of this package and those that compute."""
    from corontools import __version__

    return {"corontools": __version__} | {name: metadata.version(name) for name in PACKAGES}


def record_of(folder: str | os.PathLike[str], title: str) -> dict[str, Any] | None:
    """The record of an item; None where there is none that can be used."""
    try:
        found = json.loads(_record(Path(folder), title).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # none, or one that lost its end
        return None
    return found if isinstance(found, dict) and all(isinstance(found.get(k), t) for k, t in KINDS.items()) else None


def _record(folder: Path, title: str) -> Path:
    return folder / KEPT / f"{title}.json"


@dataclass(frozen=True)
class Recipe:
    """How the items of one run become products in a folder; what workers need besides the item itself.

    Attributes
    ----------
    verb : str
    options : mapping
        What JSON can hold. A file stands for what it contains: a `Path` becomes its check sum.
    folder : Path
    run : str
        Of `folder.locked`; an item that ends after its run has ended writes nothing.
    overwrite : bool
        Make what is whole again, and replace what isn't ours.
    """

    verb: str
    options: Mapping[str, Any]
    folder: Path
    run: str
    overwrite: bool = False

    @classmethod
    def of(cls, verb: str, options: Mapping[str, Any], folder: Path, run: str, *, overwrite: bool = False) -> Recipe:
        """With the files of the options read once, here."""
        plain = json.loads(json.dumps({name: _plain(value) for name, value in options.items()}))
        return cls(verb, plain, folder, run, overwrite)

    def make(
        self,
        title: str,
        inputs: Sequence[str | os.PathLike[str]],
        names: Sequence[str],
        write: Callable[[Path], Sequence[str] | None],
        *,
        optional: Collection[str] = (),
    ) -> Made:
        """Have the products `names` of an item written into a folder by `write`, unless they are there and whole.

        `write` gives what there is to say. Its files come into the output folder together, after the record that names
        them: a run that ends in between is found out by the next one.

        Raises
        ------
        FileExistsError
            If products are there that are somebody else's, or of other inputs or options, and `overwrite` is False.
        DataError
            If an input can't be read, or the run ended meanwhile.
        """
        began = time.perf_counter()
        sums = [[os.fspath(path), _digest_in(self.run, os.fspath(path))] for path in inputs]
        made_of = {"verb": self.verb, "options": dict(self.options), "inputs": sums}
        known = None if self.overwrite else self._known(title, made_of)
        if known is not None and self._whole(known, set(names) - set(optional)):
            return Made(self._rows(known["products"], 0.0), [*known["notes"], *_changed(known["versions"])], kept=True)
        parts = self.folder / KEPT / PARTS
        replace = self.overwrite or known is not None
        with staged(self.folder, names, overwrite=replace, optional=optional, parts=parts) as part:
            notes = list(write(part) or ())
            products = {name: digest(part / name) for name in names if name not in optional or (part / name).exists()}
            if holder(self.folder).get("run") != self.run:
                raise DataError(f"{title}: the run ended before this was done; run it again")
            record = made_of | {"products": products, "notes": notes, "versions": versions()}
            _write_record(_record(self.folder, title), record, parts)
        if known is not None:
            notes = [*notes, f"{title}: made again, for its products were not whole"]
        return Made(self._rows(products, time.perf_counter() - began), notes)

    def _known(self, title: str, made_of: Mapping[str, Any]) -> dict[str, Any] | None:
        """The record of the same work; products of other work are refused."""
        known = record_of(self.folder, title)
        if known is None:
            return None
        other = next((what for what in made_of if _contents(known[what]) != _contents(made_of[what])), None)
        if other is None:
            return known
        there = next((name for name in known["products"] if (self.folder / name).exists()), None)
        if there is None:
            return None
        raise FileExistsError(
            f"{self.folder} holds {there} already, made with other {other}; choose another folder, or --overwrite"
        )

    def _whole(self, known: Mapping[str, Any], needed: set[str]) -> bool:
        """Whether all products are as they were made."""
        files = [(self.folder / name, wanted) for name, wanted in known["products"].items()]
        return needed <= set(known["products"]) and all(p.is_file() and digest(p) == wanted for p, wanted in files)

    def _rows(self, products: Collection[str], seconds: float) -> list[tuple[str, int, float]]:
        each = seconds / max(len(products), 1)
        return [(name, (self.folder / name).stat().st_size, each) for name in products]


@functools.lru_cache(maxsize=256)
def _digest_in(run: str, path: str) -> str:
    """Of a file that several items of a run may have; read once by each worker."""
    return digest(path)


def _contents(part: Any) -> Any:
    """Of the inputs what is in them, wherever they lie; anything else as it is."""
    return [sum_ for _, sum_ in part] if isinstance(part, list) else part


def _plain(value: Any) -> Any:
    """As it stands in the record."""
    if isinstance(value, Path):
        return f"sha256:{digest(value)}"
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _changed(known: Mapping[str, str]) -> list[str]:
    """Versions that have changed since products were made, which are whole all the same."""
    now = versions()
    changed = [f"{name} {version} (now {now.get(name)})" for name, version in known.items() if now.get(name) != version]
    return [f"kept what was made with {', '.join(changed)}; --overwrite makes it again"] if changed else []


def _write_record(path: Path, record: Mapping[str, Any], parts: Path) -> None:
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    part = parts / f"{path.name}.{os.getpid()}"
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
