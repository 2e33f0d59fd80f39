"""ViewState: the choices made in a view, with undo, and as a dictionary that can be kept."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Self

from traitlets import Bool, CaselessStrEnum, Float, HasTraits, Int, List, TraitError, Tuple, Unicode, validate

from corontools.errors import DataError

__all__ = ["STRETCHES", "ViewState"]

STRETCHES = ("asinh", "linear", "sqrt", "log")
HISTORY = 200  # steps that can be undone
DRAG = 0.1  # s; changes of one choice that follow each other faster are one step


class ViewState(HasTraits):
    """Choices that views have in common; a view's own state adds more traits.

    Every change can be undone. Changes made together (in `hold_trait_notifications` or by `apply`) are one step, and
    so are those of one trait that follow each other within 0.1 s, as in a drag. The last 200 steps are kept.

    Attributes
    ----------
    modes : int
        KL modes.
    stretch : {"asinh", "linear", "sqrt", "log"}
        From values to colours.
    limits : [float, float] or []
        Values of the first and the last colour; empty: automatic.
    colors : str
        Palette.
    cursor : [float, float] or []
        Chosen point (x, y), 0-based px; empty for none.
    compare : int
        Frame to compare with; -1 for none.
    blink : bool
        Whether the two take turns.
    level : float
        Sigma of detection limits, positive.
    n_frames : int or None
        How many frames there are; known when a view has the state. No choice.

    Examples
    --------
    >>> state = ViewState(modes=20)
    >>> state.modes = 5
    >>> state.undo(), state.modes
    (True, 20)
    >>> ViewState.from_dict(state.to_dict()).modes
    20
    """

    modes = Int(1, min=0)
    stretch = CaselessStrEnum(STRETCHES, default_value="asinh")
    limits = List(Float(), maxlen=2)
    colors = Unicode("inferno")
    cursor = List(Float(), maxlen=2)
    compare = Int(-1, min=-1)
    blink = Bool(False)
    level = Float(5.0)
    n_frames: int | None = None

    def __init__(self, **choices: Any) -> None:
        super().__init__()
        self._choices = dict(sorted(self.traits().items()))
        self._past: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self._future: list[dict[str, Any]] = []
        self._last, self._drag = ("", -math.inf), ""
        self._now = self.to_dict()
        if choices:
            self.apply(choices)
        self.clear_history()
        self.observe(self._record)

    @validate("level")
    def _positive(self, proposal: dict[str, Any]) -> float:
        value = float(proposal["value"])
        if not (math.isfinite(value) and value > 0):
            raise TraitError(f"the level should be a positive number of sigma, found {value}")
        return value

    @validate("compare")
    def _frame_there(self, proposal: dict[str, Any]) -> int:
        return self.below(proposal, self.n_frames)

    def below(self, proposal: dict[str, Any], n: int | None) -> int:
        """The proposed index, if it is one of n."""
        index, name = int(proposal["value"]), proposal["trait"].name
        if n is not None and index >= n:
            raise TraitError(f"{name} should be one of 0 to {n - 1}, found {index}")
        return index

    @validate("limits", "cursor")
    def _pair(self, proposal: dict[str, Any]) -> list[float]:
        values = list(proposal["value"])
        name = proposal["trait"].name
        if len(values) not in (0, 2) or not all(math.isfinite(v) for v in values):
            raise TraitError(f"{name} should be two finite numbers or none, found {values}")
        if name.endswith("limits") and values and not values[0] < values[1]:
            raise TraitError(f"{name} should be two numbers, the lower first, found {values}")
        return values

    def to_dict(self) -> dict[str, Any]:
        """All choices as plain values that JSON can hold."""
        return {name: _plain(getattr(self, name)) for name in self._choices}

    @classmethod
    def from_dict(cls, choices: Mapping[str, Any]) -> Self:
        """State with these choices, the others at their defaults.

        Raises
        ------
        DataError
            If a name or a value is not one of this state; nothing is then changed.
        """
        return cls(**_named(choices))

    def apply(self, choices: Mapping[str, Any], *, drag: str = "") -> None:
        """Make the choices of a dictionary, all or none of them, as one step.

        Calls with the same word in `drag` that follow each other within 0.1 s are one step together.

        Raises
        ------
        DataError
            As `from_dict`.
        """
        choices = _named(choices)
        unknown = sorted(set(choices) - set(self._choices))
        if unknown:
            known = ", ".join(self._choices)
            raise DataError(f"a {type(self).__name__} has no {', '.join(map(repr, unknown))}; it has {known}")
        self._drag = drag
        try:
            with self.hold_trait_notifications():  # rolls back what an error leaves half done
                for name, value in choices.items():
                    setattr(self, name, tuple(value) if isinstance(self._choices[name], Tuple) else value)
        except (TraitError, TypeError) as error:
            raise DataError(str(error)) from error
        finally:
            self._drag = ""

    def undo(self) -> bool:
        """Take the last step back; False where there is none."""
        return self._step(self._past, self._future)

    def redo(self) -> bool:
        """Make the step that was taken back last again; False where there is none."""
        return self._step(self._future, self._past)

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether a step was taken back."""
        return bool(self._future)

    def clear_history(self) -> None:
        """Forget all steps; what is chosen now is where undo ends."""
        self._past.clear()
        self._future.clear()
        self._now, self._last = self.to_dict(), ("", -math.inf)

    def _record(self, change: Mapping[str, Any]) -> None:
        now = self.to_dict()
        if now == self._now:  # the others of a step that is already recorded
            return
        name, when = self._drag or change["name"], time.monotonic()
        if not (name == self._last[0] and when - self._last[1] < DRAG and self._past):
            self._past.append(self._now)
        self._future.clear()
        self._now, self._last = now, (name, when)

    def _step(self, source: Any, target: Any) -> bool:
        if not source:
            return False
        target.append(self._now)
        # what is recorded already is no new step
        self._now = source.pop()
        self._last = ("", -math.inf)
        self.apply(self._now)
        return True


def _named(choices: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(choices, Mapping) or not all(isinstance(name, str) for name in choices):
        raise DataError(f"a state is given as a dictionary of names and values, found {choices!r}")
    return dict(choices)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
