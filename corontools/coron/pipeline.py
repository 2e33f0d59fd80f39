"""coron3: from an association to every product (the `calwebb_coron3` pipeline)."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from corontools.association import Association
from corontools.coron.aligned import AlignedRefs
from corontools.coron.combined import CombinedImage, combine
from corontools.coron.contrast import ContrastCurve
from corontools.coron.klip import KlipResult
from corontools.coron.stack import PSFStack
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.folder import staged
from corontools.products import write_exposure
from corontools.progress import progress
from corontools.result import Result, code_of

__all__ = ["Coron3", "coron3", "product_names"]

METHODS: dict[str, Callable[..., Any]] = {
    "reject_outliers": Exposure.reject_outliers,
    "subtract_level": Exposure.subtract_level,
    "repair": PSFStack.repair,
    "align_to": PSFStack.align_to,
    "klip": AlignedRefs.klip,
    "contrast": KlipResult.contrast,
    "combine": combine,
}
STEPS = tuple(METHODS)
Options = Mapping[str, Any] | bool | None
Cleanable = TypeVar("Cleanable", Exposure, PSFStack)


@dataclass(frozen=True, eq=False, repr=False)
class Coron3(Result):
    """All that `coron3` made, in memory; `save` writes the products.

    Attributes
    ----------
    asn : Association
    stack : PSFStack
    klips : tuple of KlipResult
        One for each science member.
    contrasts : tuple of ContrastCurve
        One for each of them; empty where the step was skipped.
    combined : CombinedImage or None
        None where the step was skipped.
    science, references : tuple of Exposure
        The members with their outliers flagged.
    options : mapping
        Keywords of each step; False where it was skipped.
    """

    asn: Association
    stack: PSFStack
    klips: tuple[KlipResult, ...]
    contrasts: tuple[ContrastCurve, ...]
    combined: CombinedImage | None
    science: tuple[Exposure, ...]
    references: tuple[Exposure, ...]
    options: Mapping[str, Any]

    def products(self) -> dict[str, Callable[..., Path]]:
        """Name of each product and what writes it: `write(path, overwrite=False)`."""
        made: dict[str, Callable[..., Path]] = {f"{self.asn.product}_psfstack.fits": self.stack.save}
        if self.options["reject_outliers"] is not False:
            for exposure in (*self.science, *self.references):
                made[self._name(exposure, "crfints")] = partial(
                    write_exposure, exposure, cards={"S_OUTLIR": "COMPLETE", **self._asn_cards}
                )
        for klip in self.klips:
            made[self._name(klip.target, "psfalign")] = klip.aligned.save
            made[self._name(klip.target, "psfsub")] = klip.save
            made[self._name(klip.target, "snr")] = partial(_write_snr, klip)
        for klip, curve in zip(self.klips, self.contrasts, strict=False):
            made[self._name(klip.target, "contrast")] = curve.save
        if self.combined is not None:
            made[f"{self.asn.product}_i2d.fits"] = partial(self.combined.save, cards=self._asn_cards)
        return made

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> tuple[Path, ...]:
        """Write every product into `folder`, which is made if need be: all of them, or none if one fails.

        Raises
        ------
        FileExistsError
            If a product is there already and `overwrite` is False; nothing is written then.
        """
        products = self.products()
        with staged(folder, list(products), overwrite=overwrite) as part:
            for name, write in progress(list(products.items()), "save", "product"):
                write(part / name)
        return tuple(Path(folder) / name for name in products)

    @property
    def _asn_cards(self) -> dict[str, str]:
        return {"ASNPOOL": self.asn.pool, "ASNTABLE": self.asn.path.name}

    def _name(self, exposure: Exposure, suffix: str) -> str:
        return _product_name(self.asn, exposure.meta.filename, suffix)

    def _values(self) -> np.ndarray:
        return self.klips[0].frames if self.combined is None else self.combined.image.data

    def _rows(self) -> list[tuple[str, str]]:
        rows = [*self.asn._rows()[:1], *self.klips[0]._rows()]
        return rows if self.combined is None else [*rows, *self.combined._rows()[1:]]

    def _pictures(self) -> Any:
        return self.klips[0]._pictures() if self.combined is None else self.combined._pictures()


def coron3(
    asn: Association | str | os.PathLike[str],
    *,
    psfmask: np.ndarray | Exposure | None = None,
    reject_outliers: Options = None,
    subtract_level: Options = False,
    repair: Options = None,
    align_to: Options = None,
    klip: Options = None,
    contrast: Options = None,
    combine: Options = None,
) -> Coron3:
    """Stack the references, align them, subtract the star, combine: everything for an association.

    Each step takes the keywords of the method of its name, as a mapping; False skips it (`align_to=False` takes
    the references as they are; `klip` can't be skipped).

    Parameters
    ----------
    asn : Association or path
    psfmask : ndarray or Exposure, shape (y, x), optional
        Weight of the pixels in the alignment, 1 = use. By default the `<science>_psfmask.fits` beside the first
        science member, else a weight made from the data.
    reject_outliers, repair, align_to, klip, contrast, combine : mapping or False, optional
        E.g. ``klip={"modes": 20}``, ``align_to={"to": "first"}``, ``reject_outliers=False``.
    subtract_level : mapping, True or False, optional
        Bring science and references to the level 0 far from the star; left out by default.

    Returns
    -------
    Coron3
        Call its `save(folder)` to write the products.

    Raises
    ------
    DataError
        What the steps raise.
    """
    if not isinstance(asn, Association):
        asn = Association.read(asn)
    given = (reject_outliers, subtract_level, repair, align_to, klip, contrast, combine)
    options = {step: {} if o in (None, True) else o for step, o in zip(STEPS, given, strict=True)}
    if options["klip"] is False:
        raise DataError("klip can't be skipped; use PSFStack and align_to for alignment alone")
    _check_keywords(options)
    _unique_names(asn)
    mask = asn.psfmask if psfmask is None else psfmask
    science = tuple(_cleaned(exposure, options) for exposure in asn.science)
    cleaned = _cleaned(PSFStack.from_asn(asn), options)
    stack = _levelled(cleaned, options)
    stack = stack if options["repair"] is False else stack.repair(**_keywords(options["repair"]))
    klips = tuple(_subtracted(stack, _levelled(target, options), mask, options) for target in science)
    chosen = options["contrast"]
    contrasts = () if chosen is False else tuple(klip.contrast(**_keywords(chosen)) for klip in klips)
    combined = None if options["combine"] is False else _combined(klips, options)
    references, history = _flagged(asn.references, cleaned), (_written(asn, psfmask, options),)
    return Coron3(asn, stack, klips, contrasts, combined, science, references, options, history=history)


def product_names(
    asn: Association, *, reject_outliers: Options = None, contrast: Options = None, combine: Options = None
) -> tuple[str, ...]:
    """Names of the products that `coron3` would make with these options, in their order; nothing is opened."""
    members = (*asn.science_paths, *asn.reference_paths)
    suffixes = ["psfalign", "psfsub", "snr"] + (["contrast"] if contrast is not False else [])
    names = [f"{asn.product}_psfstack.fits"]
    names += [_product_name(asn, path.name, "crfints") for path in members if reject_outliers is not False]
    names += [_product_name(asn, path.name, suffix) for path in asn.science_paths for suffix in suffixes]
    return (*names, *([f"{asn.product}_i2d.fits"] if combine is not False else []))


def _check_keywords(options: Mapping[str, Any]) -> None:
    """Refuse a keyword that a step doesn't have before anything is computed."""
    for step, method in METHODS.items():
        known = list(inspect.signature(method).parameters)[1:]
        wrong = sorted(set(_keywords(options[step])) - set(known))
        if wrong:
            raise DataError(f"step {step} has no keyword {', '.join(wrong)} (it has: {', '.join(known)})")


def _cleaned(images: Cleanable, options: Mapping[str, Any]) -> Cleanable:
    chosen = options["reject_outliers"]
    return images if chosen is False else images.reject_outliers(**_keywords(chosen))


def _levelled(images: Cleanable, options: Mapping[str, Any]) -> Cleanable:
    chosen = options["subtract_level"]
    return images if chosen is False else images.subtract_level(**_keywords(chosen))


def _flagged(exposures: Sequence[Exposure], stack: PSFStack) -> tuple[Exposure, ...]:
    """The reference exposures with the flags that their integrations got in the stack."""
    ends = np.cumsum([exposure.n_int for exposure in exposures])
    parts = np.split(stack.exposure.flags(), ends[:-1])
    return tuple(e.with_(dq=dq.reshape(e.shape)) for e, dq in zip(exposures, parts, strict=True))


def _subtracted(stack: PSFStack, target: Exposure, mask: Any, options: Mapping[str, Any]) -> KlipResult:
    how = {"to": "none"} if options["align_to"] is False else {"mask": mask, **_keywords(options["align_to"])}
    return stack.align_to(target, **how).klip(**_keywords(options["klip"]))


def _combined(klips: tuple[KlipResult, ...], options: Mapping[str, Any]) -> CombinedImage:
    return combine(klips, **_keywords(options["combine"]))


def _write_snr(klip: KlipResult, path: Path, *, overwrite: bool = False) -> Path:
    return write_exposure(klip.snr, path, cards={"S_KLIP": "COMPLETE", "S_HLSP": "COMPLETE"}, overwrite=overwrite)


def _keywords(chosen: Any) -> dict[str, Any]:
    return dict(chosen or {})


def _written(asn: Association, psfmask: np.ndarray | Exposure | None, options: Mapping[str, Any]) -> str:
    """The call of `coron3`, without what was left at its default."""
    mask = {} if psfmask is None else {"psfmask": psfmask}
    default = {"subtract_level": False}
    changed = {step: chosen for step, chosen in options.items() if chosen != default.get(step, {})}
    return f"coron3({code_of(asn)}{''.join(f', {k}={code_of(v)}' for k, v in (mask | changed).items())})"


def _product_name(asn: Association, filename: str, suffix: str) -> str:
    return f"{_root(filename)}_{asn.id}_{suffix}.fits"


def _root(filename: str) -> str:
    """Name without suffix, as JWST's products use it: jw..._nrcalong_calints.fits -> jw..._nrcalong."""
    stem = re.sub(r"\.fits(\.gz)?$", "", filename)
    return re.sub(r"_(calints|cal|rateints|rate|crfints)$", "", stem) or "exposure"


def _unique_names(asn: Association) -> None:
    roots = [_root(path.name) for path in (*asn.science_paths, *asn.reference_paths)]
    twice = sorted({root for root in roots if roots.count(root) > 1})
    if twice:
        raise DataError(f"association {asn.id!r}: members share the name {', '.join(twice)}, so would their products")
