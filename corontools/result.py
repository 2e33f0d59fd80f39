"""Result: what every step of a chain gives; immutable, with the calls that made it."""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from corontools.dq import runs
from corontools.exposure import Exposure, readonly

__all__ = ["Result", "call", "code_of", "fingerprint", "function_call", "verb"]

# a choice of images up to this length is written out, and so is a mask of so many runs of pixels; longer ones go by
# their fingerprint
INDICES = 1000
# values beyond which a fingerprint is taken of a part of them, about so many
LARGE, SAMPLE = 1 << 22, 1 << 20

P = ParamSpec("P")
R = TypeVar("R", bound="Result")
S = TypeVar("S", bound="Result")


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Base of all results.

    Attributes
    ----------
    history : tuple of str
        The chain that made it, one Python call a line. Products carry it in HISTORY, and
        `corontools.replay` runs it again.
    """

    history: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        for attribute in fields(self):
            value = getattr(self, attribute.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, attribute.name, readonly(value))

    def with_(self: R, **changes: Any) -> R:
        """Copy with the named attributes changed; the history stays."""
        return replace(self, **changes)

    @property
    def code(self) -> str:
        """The chain as one Python expression."""
        return "".join(self.history)

    def digest(self) -> str:
        """Rounded percentiles of the result's numbers: a fingerprint for a notebook that is a test."""
        return fingerprint(self._values())

    def explore(self, **options: Any) -> Any:
        """Open the live view of this result in a notebook; see `corontools.widgets` for the options of each.

        Raises
        ------
        DataError
            If there is no view of this kind of result.
        """
        from corontools.widgets import explore  # late: results don't know their views, and scripts need none

        return explore(self, **options)

    def _values(self) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no digest")

    def _rows(self) -> list[tuple[str, str]]:
        return []

    def _pictures(self) -> Sequence[Any]:
        return ()

    def __repr__(self) -> str:
        from corontools.display import card

        return card.text(type(self).__name__, self._rows(), self.history)

    def _repr_html_(self) -> str:
        from corontools.display import card

        return card.html(type(self).__name__, self._rows(), pictures=self._pictures(), chain=self.history)


def verb(method: Callable[Concatenate[R, P], S]) -> Callable[Concatenate[R, P], S]:
    """Make a method that gives a new result append its own call to the result's history."""

    @functools.wraps(method)
    def recorded(self: R, /, *args: P.args, **kwargs: P.kwargs) -> S:
        made = method(self, *args, **kwargs)
        return made.with_(history=(*self.history, "." + call(method, self, *args, **kwargs)))

    return recorded


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The call as Python code, without the first argument (self or cls) and without defaults.

    Examples
    --------
    >>> def crop(self, size, *, center=None): ...
    >>> call(crop, None, 64, center=(3, 4))
    'crop(64, center=(3, 4))'
    """
    return _written(function, 1, *args, **kwargs)


def function_call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The call of a function that is no method as Python code, without defaults; a chain begins with it.

    Examples
    --------
    >>> def join(items, *, by=None): ...
    >>> function_call(join, [1, 2], by=3)
    'join([1, 2], by=3)'
    """
    return _written(function, 0, *args, **kwargs)


def _written(function: Callable[..., Any], first: int, *args: Any, **kwargs: Any) -> str:
    """The call with its arguments from the first that counts."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    words, positional = [], True
    for name, parameter in list(bound.signature.parameters.items())[first:]:
        value = bound.arguments.get(name, parameter.default)
        positional &= parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            words += [f"{key}={code_of(item)}" for key, item in bound.arguments.get(name, {}).items()]
            continue
        if value is parameter.default:
            positional = False  # what follows one that is left out needs its name
            continue
        words.append(code_of(value) if positional else f"{name}={code_of(value)}")
    return f"{function.__name__}({', '.join(words)})"


def code_of(value: Any) -> str:
    """Python code that gives `value` again; images and exposures without a file go by their fingerprint.

    A mask of few runs is written out, see `dq.pixels`.
    """
    for kind, attribute in IN_MEMORY.items():
        if hasattr(value, attribute):
            return f"{kind}({memory_print(value)!r})"
    for kind, written in WRITERS:
        if isinstance(value, kind):
            return written(value)
    return getattr(value, "code", None) or repr(value)


def _exposure_code(exposure: Exposure) -> str:
    return exposure.source or f"exposure({memory_print(exposure)!r})"


def _array_code(array: np.ndarray) -> str:
    """Short lists and masks of few runs are written out."""
    if array.ndim == 1 and array.dtype.kind in "biu" and array.size <= INDICES:
        return repr(array.tolist())
    found = runs(array) if array.dtype.kind == "b" and array.size else None
    if found is not None and len(found) <= INDICES:
        return f"pixels({array.shape}, {found.ravel().tolist()})"
    return f"array({fingerprint(array)!r})"


def _list_code(items: list | tuple) -> str:
    inside = ", ".join(code_of(item) for item in items)
    return f"[{inside}]" if isinstance(items, list) else f"({inside}{',' if len(items) == 1 else ''})"


def _mapping_code(items: Mapping) -> str:
    return "{" + ", ".join(f"{code_of(key)}: {code_of(item)}" for key, item in items.items()) + "}"


# what goes by its fingerprint, by an attribute that tells it
IN_MEMORY = {"table": "colnames", "wcs": "to_header_string"}
# how values of each kind are written; the first kind that a value is of counts
WRITERS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (Exposure, _exposure_code),
    (np.ndarray, _array_code),
    (np.generic, lambda value: repr(value.item())),
    (enum.Enum, lambda value: repr(value.value)),
    (Path, lambda value: repr(str(value))),
    ((list, tuple), _list_code),
    (Mapping, _mapping_code),
)


def memory_print(value: Any) -> str:
    """Fingerprint of an array, of the data of an exposure, of the columns of a table that hold numbers, or of a WCS.

    What has a `memory_print` tells its own.
    """
    if hasattr(value, "memory_print"):
        return str(value.memory_print)
    if hasattr(value, "to_header_string"):
        return hashlib.sha256(value.to_header_string(relax=True).encode()).hexdigest()[:16]
    if hasattr(value, "colnames"):
        columns = [value[name] for name in value.colnames]
        numbers = [np.asarray(one, np.float64) for one in columns if getattr(one, "dtype", np.dtype(str)).kind in "iuf"]
        return f"{len(value)} rows: " + fingerprint(np.array(numbers).reshape(len(numbers), -1))
    return fingerprint(value.data if isinstance(value, Exposure) else value)


def fingerprint(array: np.ndarray) -> str:
    """Shape, share of finite values, five percentiles to 4 digits, and the centre of mass of the values.

    Equal for equal results on any machine. The last number, from -1 to 1, tells an image from its mirror image.

    Examples
    --------
    >>> fingerprint(np.arange(12.0).reshape(3, 4))
    '3x4 100% 0 2.75 5.5 8.25 11 0.3939'
    """
    array = np.asarray(array)
    shape = "x".join(str(n) for n in array.shape)
    if array.size > LARGE:  # such as a ramp in a mapped file: some of its values, evenly spread
        array = array.reshape(-1)[:: array.size // SAMPLE | 1]
    array = np.asarray(array, np.float64)
    finite = array[np.isfinite(array)]
    if not finite.size:
        return f"{shape} 0%"
    percentiles = " ".join(f"{value:.4g}" for value in np.percentile(finite, (0, 25, 50, 75, 100)))
    height = finite - finite.min()
    balance = float(height @ np.linspace(-1, 1, finite.size) / height.sum()) if height.any() else 0.0
    # no zero is negative: its sign would be that of the last rounding
    return f"{shape} {100 * finite.size / array.size:.4g}% {percentiles} {round(balance, 4) + 0.0:.4f}"
