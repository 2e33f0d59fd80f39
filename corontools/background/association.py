"""BackgroundAssociation: targets, background exposures and source catalogue, as association files name them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from corontools.association import Members
from corontools.errors import DataError
from corontools.exposure import Exposure

__all__ = ["BackgroundAssociation", "catalog_of"]

# card that names the source catalogue of an exposure
CATALOG = "SCATFILE"


@dataclass(frozen=True, repr=False)
class BackgroundAssociation:
    """What an association file puts together for the subtraction of a background.

    Attributes
    ----------
    product : str
        Root name of the product; never a path.
    science_paths, background_paths : tuple of Path
        Members "science", one or more, and "background", none or more, in their order.
    catalog : Path or None
        Member "sourcecat".
    path : Path
        The association file.

    Examples
    --------
    A WFSS exposure, with a reference background and the description of the grism::

        asn = BackgroundAssociation.read("bkg_sub_asn.json")
        model = BackgroundModel.from_reference("wfssbkg.fits").mask_sources(asn.catalog, dispersion="orders.yaml")
        model.fit(asn.science[0]).subtract_from(asn.science[0]).save("wfss_exp_001_bsub.fits")
    """

    product: str
    science_paths: tuple[Path, ...]
    background_paths: tuple[Path, ...]
    catalog: Path | None
    path: Path

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, product: str | None = None) -> BackgroundAssociation:
        """Read an association file, the product of that name where it defines several; no member is opened.

        Raises
        ------
        DataError
            If the file isn't such JSON, has no or several products, no "science" member, several catalogues, or members
            that don't exist (all are named at once).
        """
        found = Members.read(path, product=product)
        found.need("science", "name the exposure that the background is subtracted from")
        found.check("science", "background", "sourcecat")
        catalogs = found.of("sourcecat")
        if len(catalogs) > 1:
            raise DataError(f"association {found.id!r} has {len(catalogs)} 'sourcecat' members; keep one")
        return cls(
            found.product, found.of("science"), found.of("background"), catalogs[0] if catalogs else None, found.path
        )

    @cached_property
    def science(self) -> tuple[Exposure, ...]:
        """The exposures that the background is subtracted from, memory-mapped."""
        return tuple(Exposure.read(path) for path in self.science_paths)

    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("product", self.product),
            ("science", ", ".join(p.name for p in self.science_paths)),
            ("backgrounds", ", ".join(p.name for p in self.background_paths) or "none"),
            ("catalogue", "none" if self.catalog is None else self.catalog.name),
        ]

    def __repr__(self) -> str:
        from corontools.display import card

        return card.text("BackgroundAssociation", self._rows())

    def _repr_html_(self) -> str:
        from corontools.display import card

        return card.html("BackgroundAssociation", self._rows())


def catalog_of(path: str | os.PathLike[str]) -> Path | None:
    """The source catalogue that an exposure's header names (SCATFILE), beside its file; None where it names none.

    Raises
    ------
    DataError
        If there is no such file, or the card holds more than the name of one.
    """
    path = Path(path)
    name = Exposure.read(path).meta.card(CATALOG)
    if not isinstance(name, str) or not name.strip() or name.strip().upper() in ("N/A", "NONE"):
        return None
    name = name.strip()
    if name in (".", "..") or name != PurePosixPath(name).name or name != PureWindowsPath(name).name:
        raise DataError(
            f"{path.name}: {CATALOG} = {name!a:.80} should be the name of a file beside it, without folders"
        )
    found = path.with_name(name)
    if not found.is_file():
        raise DataError(f"{path.name}: its source catalogue {name!a:.80} ({CATALOG}) is not beside it; put it there")
    return found
