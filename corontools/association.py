"""Association: which exposures belong together, as the JSON files of the archive say."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.fits import one_line

__all__ = ["Association", "Members"]

# bytes of a name; suffixes and the identifier have to fit in the 255 that file systems allow
LONGEST = 120


@dataclass(frozen=True)
class Members:
    """The files of one product of an association file, by what they are.

    Attributes
    ----------
    product : str
        Root name of the product; never a path.
    id : str
        Association identifier ("c1001").
    kinds : mapping of str to tuple of Path
        "science", "psf", "background", "sourcecat" ... and the members of that kind, in their order.
    path : Path
        The association file.
    pool : str
        The pool it came from; written as ASNPOOL.
    """

    product: str
    id: str
    kinds: Mapping[str, tuple[Path, ...]]
    path: Path
    pool: str = ""

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, product: str | None = None) -> Members:
        """Read an association file, the product of that name where it defines several; no member is opened.

        Raises
        ------
        DataError
            If the file isn't such JSON, has no or several products, or a product name with a path in it.
        """
        path = Path(path)
        table = _load(path)
        chosen = _choose(_products(table, path), product, path)
        name = _safe_name(chosen.get("name"), "product name", path)
        kinds = {kind: tuple(path.parent / one for one in names) for kind, names in _members(chosen, path).items()}
        identifier = _safe_name(table.get("asn_id", "a0000"), "asn_id", path)
        return cls(name, identifier, kinds, path, str(table.get("asn_pool") or ""))

    @classmethod
    def products(cls, path: str | os.PathLike[str]) -> tuple[str, ...]:
        """Names of the products that a file defines."""
        return tuple(str(one.get("name")) for one in _products(_load(Path(path)), Path(path)))

    def of(self, kind: str) -> tuple[Path, ...]:
        """Members of a kind, none where there is none."""
        return self.kinds.get(kind, ())

    def need(self, kind: str, hint: str = "") -> None:
        """Raise a DataError where there is no member of a kind; it tells what there is, and the way out."""
        if self.of(kind):
            return
        found = ", ".join(f"{k or 'no exptype'} x{len(names)}" for k, names in self.kinds.items()) or "none"
        text = f"association {self.id!r} has no {kind!r} member (found: {one_line(found)})"
        raise DataError(f"{text}{hint and '; ' + hint}")

    def check(self, *kinds: str) -> None:
        """Raise a DataError where members of these kinds don't exist; it names all of them."""
        # unlike Path.is_file, this takes a name that no disk can hold for a missing file
        missing = [str(p) for kind in kinds for p in self.of(kind) if not os.path.isfile(p)]
        if missing:
            names = one_line(", ".join(missing))
            raise DataError(f"association {self.id!r}: {len(missing)} member(s) missing: {names}")


@dataclass(frozen=True, repr=False)
class Association:
    """Members of one coronagraphic product.

    Attributes
    ----------
    product : str
        Root name of the product; never a path.
    id : str
        Association identifier ("c1001").
    science_paths, reference_paths : tuple of Path
        Exposures of the science target, and of the reference stars ("psf" members), in their order.
    path : Path
        The association file.
    pool : str
        The pool it came from; written as ASNPOOL.
    code : str
        The call that reads it.
    """

    product: str
    id: str
    science_paths: tuple[Path, ...]
    reference_paths: tuple[Path, ...]
    path: Path
    pool: str = ""
    code: str = ""

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, product: str | None = None) -> Association:
        """Read an association file; the old form ("coron") and the current one ("coron3") are both known.

        Members are looked for beside the file; nothing is opened yet.

        Parameters
        ----------
        path : path
            JSON file.
        product : str, optional
            Name of the product where the file defines several.

        Raises
        ------
        DataError
            If the file isn't such JSON, has no or several products, no "science" or "psf" member, a product
            name with a path in it, or members that don't exist (all are named at once).
        """
        found = Members.read(path, product=product)
        found.need("psf", "give references with PSFStack.from_exposures(...)")
        found.need("science")
        found.check("science", "psf")
        code = f"Association.read({str(found.path)!r}{'' if product is None else f', product={product!r}'})"
        return cls(found.product, found.id, found.of("science"), found.of("psf"), found.path, found.pool, code)

    @cached_property
    def science(self) -> tuple[Exposure, ...]:
        """The science exposures, memory-mapped."""
        return tuple(Exposure.read(path) for path in self.science_paths)

    @cached_property
    def references(self) -> tuple[Exposure, ...]:
        """The exposures of the reference stars, memory-mapped."""
        return tuple(Exposure.read(path) for path in self.reference_paths)

    @cached_property
    def psfmask(self) -> Exposure | None:
        """Transmission of the coronagraph (1 = use), from `<science member>_psfmask.fits`; None where there is none."""
        found = [p.with_name(f"{p.stem}_psfmask.fits") for p in self.science_paths]
        return next((Exposure.read(p) for p in found if p.exists()), None)

    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("product", self.product),
            ("science", ", ".join(p.name for p in self.science_paths)),
            ("references", ", ".join(p.name for p in self.reference_paths)),
        ]

    def __repr__(self) -> str:
        from corontools.display import card

        return card.text(f"Association {self.id}", self._rows())

    def _repr_html_(self) -> str:
        from corontools.display import card

        return card.html(f"Association {self.id}", self._rows())


def _load(path: Path) -> Mapping[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"association {one_line(path)} does not exist") from error
    except OSError as error:  # a folder, no permission
        raise DataError(f"association {one_line(path)} can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DataError(f"association {one_line(path)} is not JSON: {one_line(error)}") from error
    if not isinstance(table, dict):
        raise DataError(f"association {path} holds a {type(table).__name__}, not an object with 'products'")
    return table


def _products(table: Mapping[str, Any], path: Path) -> list[Mapping[str, Any]]:
    products = table.get("products")
    if not isinstance(products, list) or not products or not all(isinstance(p, dict) for p in products):
        raise DataError(f"association {path} defines no product; it needs a list 'products' with 'name' and 'members'")
    return products


def _choose(products: list[Mapping[str, Any]], wanted: str | None, path: Path) -> Mapping[str, Any]:
    names = [str(p.get("name")) for p in products]
    shown = one_line(", ".join(names))
    if wanted is not None:
        if wanted not in names:
            raise DataError(f"association {path} has no product {wanted!r} (found: {shown})")
        return products[names.index(wanted)]
    if len(products) > 1:
        raise DataError(f"association {path} defines {len(products)} products; choose one by name: {shown}")
    return products[0]


def _safe_name(name: object, what: str, path: Path) -> str:
    """A name that can become a file name in the output folder and nowhere else."""
    text = name if isinstance(name, str) else ""
    bare = text not in ("", ".", "..") and text == PurePosixPath(text).name == PureWindowsPath(text).name
    # isprintable is False for control characters and for lone surrogates, which have no bytes
    if not bare or not text.isprintable() or len(text.encode()) > LONGEST:
        raise DataError(f"association {path}: {name!a:.80} can't be its {what}; use a plain name without a folder")
    return text


def _members(product: Mapping[str, Any], path: Path) -> dict[str, list[str]]:
    members = product.get("members")
    if not isinstance(members, list):
        raise DataError(f"association {path}: product {product.get('name')!a:.80} has no list of members")
    kinds: dict[str, list[str]] = {}
    for member in members:
        name = member.get("expname") if isinstance(member, dict) else None
        if not isinstance(name, str) or not name or "\0" in name:
            raise DataError(f"association {path}: a member needs 'expname' and 'exptype', found {member!a:.80}")
        kinds.setdefault(str(member.get("exptype", "")).lower(), []).append(name)
    return kinds
