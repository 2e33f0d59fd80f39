"""Run a recorded chain again."""

from __future__ import annotations

import ast
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from corontools.association import Association
from corontools.background import BackgroundModel
from corontools.calibrate import CalibratedImage, RefCat, Steps
from corontools.calibrate.product import read_visit_image
from corontools.calibrate.psf import GaussianPSF
from corontools.coron.aligned import AlignedRefs
from corontools.coron.calibrated import CalibratedContrast
from corontools.coron.combined import CombinedImage, combine
from corontools.coron.companion import fit_companion
from corontools.coron.contrast import ContrastCurve
from corontools.coron.detection import DetectionMap, detection_map
from corontools.coron.klip import KlipResult
from corontools.coron.pipeline import coron3
from corontools.coron.series import ModeSeries
from corontools.coron.source import Source, SourceSet
from corontools.coron.stack import PSFStack
from corontools.coron.zones import Zones
from corontools.dq import pixels
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.flicker import FlickerCleaner
from corontools.products import history_lines
from corontools.result import Result, memory_print
from corontools.warp import (
    ArtifactRejection,
    Coadd,
    Corrections,
    FourierMatcher,
    ModelPSF,
    Patch,
    PSFMatcher,
    Warp,
    Warper,
)
from corontools.warp.layers import Clip

__all__ = ["replay"]

# what a history may call; a file's header is data, and nothing else in it is run
VERBS = {
    Exposure: {"select", "crop", "mask", "reject_outliers", "repair", "subtract_level"},
    PSFStack: {"mask", "reject_outliers", "repair", "select", "subtract_level", "align_to"},
    AlignedRefs: {"select", "averaged", "unaligned", "inject", "klip", "as_science", "false_alarms"},
    KlipResult: {"at", "inject", "series", "contrast", "combine", "detection_map", "fit_companion"},
    ModeSeries: {"inject"},
    CombinedImage: {"contrast"},
    ContrastCurve: {"sigma", "normalize", "calibrate"},
    DetectionMap: {"exclude", "contrast", "completeness"},
    CalibratedContrast: {"best_modes"},
    BackgroundModel: {"mask_sources", "fit", "with_scale", "subtract_from"},
    CalibratedImage: {
        "using",
        "repair",
        "model_psf",
        "correct_apertures",
        "solve_astrometry",
        "find_stars",
        "solve_photometry",
    },
    Warp: {"match_psf", "likelihood"},
    Coadd: {"add"},
    FlickerCleaner: {"mask_scene", "use_mask", "edit_mask", "fit_background", "fit_noise", "auto", "add_err"},
}
# options that a history may write out
OPTIONS = (
    Warper, Corrections, PSFMatcher, FourierMatcher, ModelPSF, GaussianPSF, Clip, ArtifactRejection,
)  # fmt: skip
# what goes by its fingerprint
IN_MEMORY = ("array", "exposure", "table", "wcs", "visit_image", "masked_image", "backgrounds")
# characters of a path, as Linux has it
LONGEST = 4096
# names that stand for numbers
CONSTANTS = {"inf": math.inf, "nan": math.nan}
# what a call with the wrong arguments can raise
FAILURES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


def replay(
    recorded: str | os.PathLike[str] | Result | Sequence[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    arrays: Sequence[Any] = (),
) -> Any:
    """Run the chain that made a result or a product again.

    The chain is read as data: only the verbs of this package can be called, with literal arguments.

    Parameters
    ----------
    recorded : path, Result or sequence of str
        A product with a HISTORY, a result, or the lines of a history.
    folder : path, optional
        Where the input files are now; else they are looked for under the names that were recorded.
    arrays : sequence of ndarray, Exposure or Table, optional
        What was given in memory; found by its fingerprint.

    Returns
    -------
    Result
        Of the same class as the one that was recorded.

    Raises
    ------
    DataError
        If there is no chain, it holds anything but known calls, or an input is missing.
    """
    code = _recorded(recorded)
    chain = _parsed(code).body
    if not isinstance(chain, ast.Call):
        raise DataError(f"the history is no chain of calls: {_short(code)}")
    try:
        return _Replay(folder, arrays).value(chain)
    except DataError:
        raise
    except FAILURES as error:
        raise DataError(f"the chain {_short(code)} can't be run: {error}") from error


def _parsed(code: str) -> ast.Expression:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python thinks of the style of a history
            return ast.parse(code, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"the history is no chain of calls: {_short(code)}") from error


def _short(code: str) -> str:
    return repr(code if len(code) <= 120 else f"{code[:60]} ... {code[-55:]}")


def _recorded(recorded: Any) -> str:
    if isinstance(recorded, Result):
        return recorded.code
    if isinstance(recorded, str | os.PathLike):
        lines: Sequence[str] = history_lines(_history_cards(recorded))
    else:
        lines = recorded
    starts = [i for i, line in enumerate(lines) if not line.startswith(".")]
    if not starts:
        raise DataError("no chain is recorded here; HISTORY of a product of this package holds one")
    return "".join(lines[starts[-1] :])


def _history_cards(path: str | os.PathLike[str]) -> list[str]:
    """HISTORY cards of a file."""
    from corontools import fits

    header = fits.read(path)[0].header
    return [str(card) for card in header.get("HISTORY", ())]


class _Replay:
    """Evaluates the calls of a chain, one node of its syntax tree at a time."""

    def __init__(self, folder: Any, arrays: Sequence[Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        self.arrays = {memory_print(one): one for one in arrays}

    @property
    def functions(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "Exposure.read": lambda name: Exposure.read(self.file(name)),
            "Association.read": lambda name, **kw: Association.read(self.file(name), **kw),
            "PSFStack.from_asn": lambda asn: PSFStack.from_asn(self.association(asn)),
            "PSFStack.from_exposures": PSFStack.from_exposures,
            "Source.gaussian": Source.gaussian,
            "Source.from_stamp": Source.from_stamp,
            "SourceSet.from_templates": SourceSet.from_templates,
            "Zones.annuli": Zones.annuli,
            "Zones.from_labels": Zones.from_labels,
            "coron3": lambda asn, **kw: coron3(self.association(asn), **kw),
            "combine": combine,
            "detection_map": detection_map,
            "fit_companion": fit_companion,
            "FlickerCleaner": self.flicker,
            "BackgroundModel.from_exposures": self.backgrounds,
            "BackgroundModel.from_reference": lambda image: BackgroundModel.from_reference(self.opened(image)),
            "BackgroundModel.from_templates": lambda cube: BackgroundModel.from_templates(self.opened(cube)),
            "BackgroundModel.from_image": lambda image, **kw: BackgroundModel.from_image(self.opened(image), **kw),
            "CalibratedImage.from_snaps": self.snaps,
            "RefCat.read": self.references,
            "RefCat.from_table": RefCat.from_table,
            "Steps.of": Steps.of,
            "read_visit_image": lambda name: read_visit_image(self.file(name)),
            "Patch.from_json": Patch.from_json,
            "Warp.from_exposures": self.warp,
            "Warp.read": lambda name: Warp.read(self.file(name)),
            "Coadd.from_warps": self.coadd,
            "Coadd.read": lambda name: Coadd.read(self.file(name)),
            **{kind.__name__: kind for kind in OPTIONS},
            **dict.fromkeys(IN_MEMORY, self.known),
            "pixels": pixels,
            "slice": slice,
        }

    def file(self, name: str) -> Path:
        if len(name) > LONGEST:
            raise DataError(f"the history names a file with {len(name)} characters")
        return Path(name) if self.folder is None else self.folder / Path(name).name

    def association(self, asn: Association | str) -> Association:
        return asn if isinstance(asn, Association) else Association.read(self.file(asn))

    def flicker(self, exposure: Exposure, **given: Any) -> FlickerCleaner:
        opened: dict[str, Any] = {k: self.file(v) if isinstance(v, str) else v for k, v in given.items()}
        return FlickerCleaner(exposure, **opened)

    def backgrounds(self, exposures: Sequence[Any], *given: Any, **options: Any) -> BackgroundModel:
        return BackgroundModel.from_exposures([self.opened(one) for one in exposures], *given, **options)

    def snaps(self, *exposures: Any, **options: Any) -> CalibratedImage:
        return CalibratedImage.from_snaps(*(self.opened(one) for one in exposures), **options)

    def references(self, paths: Any, **options: Any) -> RefCat:
        return RefCat.read(self.file(paths) if isinstance(paths, str) else [self.file(p) for p in paths], **options)

    def warp(self, exposures: Sequence[Any], patch: Patch, **options: Any) -> Warp | None:
        return Warp.from_exposures([self.opened(one) for one in exposures], patch, **options)

    def coadd(self, warps: Sequence[Any], *, matched: Sequence[Any] | None = None, **options: Any) -> Coadd:
        found = None if matched is None else [self.opened(one) for one in matched]
        return Coadd.from_warps([self.opened(one) for one in warps], matched=found, **options)

    def opened(self, given: Any) -> Any:
        """What was given, or the file of that name where files are now."""
        return self.file(given) if isinstance(given, str) else given

    def known(self, print_: str) -> Any:
        if print_ not in self.arrays:
            what = f"an array or table in memory ({print_})"
            raise DataError(f"the chain was given {what}; hand it over with arrays=[...]")
        return self.arrays[print_]

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Call):
            return self.chain(node)
        if isinstance(node, ast.List):
            return [self.value(item) for item in node.elts]
        if isinstance(node, ast.Tuple):
            return tuple(self.value(item) for item in node.elts)
        if isinstance(node, ast.Dict) and None not in node.keys:
            return {self.value(k): self.value(v) for k, v in zip(node.keys, node.values, strict=True) if k}
        if isinstance(node, ast.Name) and node.id in CONSTANTS:
            return CONSTANTS[node.id]
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError) as error:
            raise DataError(f"the history holds {ast.unparse(node)[:80]!r}, which is no known call or value") from error

    def chain(self, node: ast.Call) -> Any:
        """Value of `function(...).verb(...).verb(...)`, from its begin."""
        calls = [node]
        while isinstance(calls[-1].func, ast.Attribute) and isinstance(calls[-1].func.value, ast.Call):
            calls.append(calls[-1].func.value)
        made = self.called(calls[-1], self.function(calls[-1].func))
        for call in reversed(calls[:-1]):
            made = self.called(call, _verb(made, call.func.attr))  # type: ignore[attr-defined]
        return made

    def called(self, node: ast.Call, function: Callable[..., Any]) -> Any:
        arguments = [self.value(argument) for argument in node.args]
        if any(keyword.arg is None for keyword in node.keywords):
            raise DataError("the history holds a call with **, which can't be replayed")
        return function(*arguments, **{str(keyword.arg): self.value(keyword.value) for keyword in node.keywords})

    def function(self, node: ast.expr) -> Callable[..., Any]:
        name = ast.unparse(node)
        if name not in self.functions:
            raise DataError(f"the history calls {name[:80]!r}, which can't be replayed")
        return self.functions[name]


def _verb(owner: Any, name: str) -> Callable[..., Any]:
    if name not in VERBS.get(type(owner), ()):
        raise DataError(f"the history calls .{name[:80]} of {type(owner).__name__}, which can't be replayed")
    return getattr(owner, name)
