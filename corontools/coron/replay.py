"""Run a recorded chain again."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from corontools.association import Association
from corontools.coron.aligned import AlignedRefs
from corontools.coron.combined import CombinedImage, combine
from corontools.coron.contrast import ContrastCurve
from corontools.coron.klip import KlipResult
from corontools.coron.pipeline import coron3
from corontools.coron.stack import PSFStack
from corontools.coron.zones import Zones
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.products import history_lines
from corontools.result import Result, fingerprint

__all__ = ["replay"]

# what a history may call; a file's header is data, and nothing else in it is run
VERBS = {
    Exposure: {"select", "crop", "reject_outliers", "repair"},
    PSFStack: {"reject_outliers", "repair", "select", "align_to"},
    AlignedRefs: {"select", "klip"},
    KlipResult: {"at", "contrast", "combine"},
    CombinedImage: {"contrast"},
    ContrastCurve: {"sigma", "normalize"},
}


def replay(
    recorded: str | os.PathLike[str] | Result | Sequence[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    arrays: Sequence[np.ndarray | Exposure] = (),
) -> Any:
    """Run the chain that made a result or a product again.

    The chain is read as data: only the verbs of this package can be called, with literal arguments.

    Parameters
    ----------
    recorded : path, Result or sequence of str
        A product with a HISTORY, a result, or the lines of a history.
    folder : path, optional
        Where the input files are now; else they are looked for under the names that were recorded.
    arrays : sequence of ndarray or Exposure, optional
        What was given as an array in memory; found by its fingerprint.

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
    try:
        tree = ast.parse(code, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"the history is no chain of calls: {code[:120]!r}") from error
    return _Replay(folder, arrays).value(tree.body)


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

    def __init__(self, folder: Any, arrays: Sequence[np.ndarray | Exposure]) -> None:
        self.folder = None if folder is None else Path(folder)
        self.arrays = {fingerprint(a.data if isinstance(a, Exposure) else a): a for a in arrays}

    @property
    def functions(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "Exposure.read": lambda name: Exposure.read(self.file(name)),
            "Association.read": lambda name, **kw: Association.read(self.file(name), **kw),
            "PSFStack.from_asn": lambda name: PSFStack.from_asn(self.file(name)),
            "PSFStack.from_exposures": PSFStack.from_exposures,
            "Zones.annuli": Zones.annuli,
            "Zones.from_labels": Zones.from_labels,
            "coron3": lambda name, **kw: coron3(self.file(name), **kw),
            "combine": combine,
            "array": self.known,
            "exposure": self.known,
        }

    def file(self, name: str) -> Path:
        return Path(name) if self.folder is None else self.folder / Path(name).name

    def known(self, print_: str) -> Any:
        if print_ not in self.arrays:
            raise DataError(f"the chain was given an array in memory ({print_}); hand it over with arrays=[...]")
        return self.arrays[print_]

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Call):
            return self.called(node)
        if isinstance(node, ast.List):
            return [self.value(item) for item in node.elts]
        if isinstance(node, ast.Tuple):
            return tuple(self.value(item) for item in node.elts)
        if isinstance(node, ast.Dict) and None not in node.keys:
            return {self.value(k): self.value(v) for k, v in zip(node.keys, node.values, strict=True) if k}
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(f"the history holds {ast.unparse(node)[:80]!r}, which is no known call or value") from error

    def called(self, node: ast.Call) -> Any:
        arguments = [self.value(argument) for argument in node.args]
        keywords = {k.arg: self.value(k.value) for k in node.keywords if k.arg}
        return self.function(node.func)(*arguments, **keywords)

    def function(self, node: ast.expr) -> Callable[..., Any]:
        name = ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""
        if name in self.functions:
            return self.functions[name]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):
            owner = self.value(node.value)
            if node.attr in VERBS.get(type(owner), ()):
                return getattr(owner, node.attr)  # type: ignore[no-any-return]
        raise DataError(f"the history calls {ast.unparse(node)[-80:]!r}, which can't be replayed")
