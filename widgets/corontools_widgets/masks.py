"""MaskView: views of cubes whose pixels are flagged: data quality, outliers, what was painted."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray
from traitlets import Bool, Float, List, TraitError, Unicode, validate

from corontools.coron.stack import PSFStack
from corontools.display.scale import Scale, default_limits
from corontools.dq import DQ
from corontools.exposure import Exposure
from corontools_widgets import controls
from corontools_widgets.image_pane import ImagePane, Stroke
from corontools_widgets.image_view import ImageState, ImageView, html_table, percent, plural

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["FOUND", "PAINTED", "MaskState", "MaskView", "painting", "read_stroke", "write_stroke"]

Mask = NDArray[np.bool_]
ALL = -1  # frame of a stroke that is painted in all of them
FOUND, PAINTED = "outliers found", "painted"
SIGMAS = (3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0)


class MaskState(ImageState):
    """Choices of a `MaskView`.

    Attributes
    ----------
    tint : list of str
        What is tinted: names of `DQ` bits, "outliers found" and "painted".
    sigma : float
        From where on a pixel is an outlier, positive.
    reject : bool
        Outliers are rejected in the result.
    painted : list of str
        Strokes of the brush, see `write_stroke`.
    paint_all : bool
        The brush paints in all frames.
    """

    tint = List(Unicode())
    sigma = Float(5.0)
    reject = Bool(False)
    painted = List(Unicode())
    paint_all = Bool(False)

    @validate("sigma")
    def _sigma_positive(self, proposal: dict[str, Any]) -> float:
        return self._positive(proposal)

    @validate("tint")
    def _tint_known(self, proposal: dict[str, Any]) -> list[str]:
        known = [*DQ.__members__, FOUND, PAINTED]
        odd = [name for name in proposal["value"] if name not in known]
        if odd:
            raise TraitError(f"tint should be some of {', '.join(known)}, found {odd[0]!r}")
        return list(proposal["value"])

    @validate("painted")
    def _strokes(self, proposal: dict[str, Any]) -> list[str]:
        for text in proposal["value"]:
            self.below({"value": read_stroke(text).frame, "trait": proposal["trait"]}, self.n_frames)
        return list(proposal["value"])


def write_stroke(stroke: Stroke) -> str:
    """A stroke in a line: frame (-1: all), radius, + or -, and the points; to a tenth of a pixel.

    Examples
    --------
    >>> write_stroke(Stroke(2, ((10.04, 4.0), (11.0, 5.5)), 1.5, False))
    '2 1.5 + 10.0,4.0 11.0,5.5'
    """
    points = dict.fromkeys(f"{x:.1f},{y:.1f}" for x, y in stroke.points)
    return " ".join([str(stroke.frame), f"{stroke.radius:g}", "-" if stroke.erase else "+", *points])


def read_stroke(text: str) -> Stroke:
    """The stroke of a line; the inverse of `write_stroke`.

    Raises
    ------
    TraitError
        If it is no such line.
    """
    try:
        frame, radius, sign, *words = text.split()
        points = tuple((float(x), float(y)) for x, y in (word.split(",") for word in words))
        stroke = Stroke(int(frame), points, float(radius), {"+": False, "-": True}[sign])
    except (ValueError, KeyError) as error:
        raise TraitError(f"a stroke is written '0 2.5 + 10.0,4.0 ...', found {text!r}") from error
    if stroke.frame < ALL or not all(map(math.isfinite, (stroke.radius, *sum(points, ())))):
        raise TraitError(f"a stroke needs a frame and finite numbers, found {text!r}")
    return stroke


def painting(strokes: Sequence[Stroke], shape: tuple[int, int, int]) -> Mask:
    """Pixels (n, y, x) that the strokes leave painted, each on top of those before it."""
    mask = np.zeros(shape, bool)
    for stroke in strokes:
        frames = slice(None) if stroke.frame == ALL else stroke.frame
        rows, columns = (_reach(stroke, axis, size) for axis, size in ((1, shape[1]), (0, shape[2])))
        # only the part of the image that it can reach: images are large
        near = tuple((x - columns.start, y - rows.start) for x, y in stroke.points)
        size = (rows.stop - rows.start, columns.stop - columns.start)
        if min(size) > 0 and near:
            part = Stroke(stroke.frame, near, stroke.radius, stroke.erase).mask(size)
            mask[frames, rows, columns][..., part] = not stroke.erase
    return mask


def _reach(stroke: Stroke, axis: int, size: int) -> slice:
    places = [point[axis] for point in stroke.points] or [-1.0]
    start, stop = min(places) - stroke.radius, max(places) + stroke.radius
    return slice(int(np.clip(math.floor(start), 0, size)), int(np.clip(math.ceil(stop) + 1, 0, size)))


class MaskView(ImageView):
    """Base of the views of a cube with flags: what is tinted, outliers at a level, painting, statistics.

    Attributes
    ----------
    exposure : Exposure, (n, y, x)
        As it was given.
    """

    state: MaskState
    exposure: Exposure

    def open(self, exposure: Exposure, *, title: str, name: str, names: Sequence[str]) -> None:
        """Make the pane of an exposure (n, y, x), and the controls of its masks."""
        self.exposure = exposure
        self._found: tuple[float, tuple[Any, Mask]] | None = None
        self._made: tuple[Any, Any] | None = None
        self._strokes: tuple[tuple[str, ...], Mask] | None = None
        self._bits = _bits_of(exposure)
        data = exposure.data
        limits = default_limits(data[0] if np.isfinite(data[0]).any() else data)
        pane = ImagePane(
            data,
            names=names,
            name=name,
            sky=self.look_at(exposure),
            scale=Scale(limits, unit=exposure.meta.unit),
            title=title,
            tools=["paint"],
        )
        pane.on_paint(self._stroke)
        self.take(pane, {"limits": limits})
        self.state.tint = ["DO_NOT_USE", PAINTED] if "DO_NOT_USE" in self._bits else [PAINTED]
        self._make_masks()
        self.state.clear_history()

    # -- what the choices amount to -----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def subject(self) -> PSFStack | Exposure:
        """What is explored, as it was given."""

    @property
    def painted(self) -> Mask:
        """Pixels (n, y, x) that are painted; hand it to `mask` to do the same without the view."""
        strokes = tuple(self.state.painted)
        if self._strokes is None or self._strokes[0] != strokes:
            shape = self.exposure.shape
            self._strokes = strokes, painting([read_stroke(text) for text in strokes], shape)  # type: ignore[arg-type]
        return self._strokes[1]

    @property
    def brushed(self) -> Mask:
        """`painted`, or (y, x) where all of it was painted in all frames: shorter in the history."""
        everywhere = all(read_stroke(text).frame == ALL for text in self.state.painted)
        return self.painted[0] if everywhere else self.painted

    @property
    def outliers(self) -> Mask:
        """Pixels (n, y, x) that `reject_outliers` flags at the chosen level."""
        return self._search()[1]

    def _rejected(self) -> Any:
        """The subject without its outliers."""
        return self._search()[0]

    def _search(self) -> tuple[Any, Mask]:
        """The subject without its outliers, and where they are; kept for the level last asked for."""
        if self._found is None or self._found[0] != self.state.sigma:
            made = self.subject.reject_outliers(self.state.sigma)
            found = (_flags(made) & ~self.exposure.flags() & np.uint32(DQ.OUTLIER)) > 0
            self._found = self.state.sigma, (made, found)
        return self._found[1]

    def cleaned(self) -> Any:
        """The subject without outliers where these are rejected, painted pixels masked; kept for the last choices."""
        key = self.state.reject and self.state.sigma, tuple(self.state.painted)
        if self._made is None or self._made[0] != key:
            made = self._rejected() if self.state.reject else self.subject
            self._made = key, self.masked(made) if self.painted.any() else made
        return self._made[1]

    @abstractmethod
    def masked(self, subject: Any) -> Any:
        """The subject with the painted pixels masked."""

    def image(self, index: int) -> np.ndarray:
        """A frame as it was given."""
        return self.exposure.data[index]

    # -- controls -----------------------------------------------------------------------------------------------------

    def _make_masks(self) -> None:
        state = self.state
        labels = {name: f"{name} {percent(share)}" for name, share in self._bits.items()}
        labels |= {FOUND: FOUND, PAINTED: PAINTED}
        self._boxes = {name: _box(label, name in state.tint) for name, label in labels.items()}
        for name, box in self._boxes.items():
            self.watch(partial(self._ticked, name), "value", of=box)
        self._sigmas = controls.Stepper("outliers beyond", [f"{s:g} σ" for s in SIGMAS], _nearest(state.sigma))
        self._sigmas.slider.continuous_update = False  # they take a while to find
        self.watch(self._stepped, "index", of=self._sigmas)
        self._reject = _box("reject outliers", state.reject)
        self.link("reject", self._reject)
        self._all = _box("paint in all frames", state.paint_all)
        self.link("paint_all", self._all)
        self._clear = controls.button("clear painting", "take away all that is painted")
        self._clear.on_click(lambda _: setattr(state, "painted", []))
        self._statistics = ipywidgets.HTML(layout={"display": "none", "width": "auto"})
        self._fold = ipywidgets.ToggleButton(
            description="statistics", tooltip="show a table of all frames", layout={"width": "auto", "flex": "0 0 auto"}
        )
        self.watch(self._show_table, "value", of=self._fold)
        self.watch(self._mask, "tint", "sigma", "painted")
        self.watch(self._show_table, "reject", "sigma", "painted")
        self.watch(self.say, "frame", "sigma", "reject", "painted", "tint", "cursor")

    @property
    def mask_controls(self) -> list[ipywidgets.Widget]:
        """Rows: what is tinted, outliers, painting; the table has a place of its own."""
        return [
            controls.row(controls.words("tint:", margin="0 6px 0 2px"), *self._boxes.values()),
            controls.row(self._sigmas.widget),
            controls.row(self._reject, self._all, self._clear, self._fold),
        ]

    def _mask(self, _: Any = None) -> None:
        """Tint the pixels that are chosen."""
        chosen = [name for name in self.state.tint if name in self._boxes]
        for name, box in self._boxes.items():
            box.value = name in chosen
        if self._sigmas.index != _nearest(self.state.sigma):
            self._sigmas.index = _nearest(self.state.sigma)
        self._clear.disabled = not self.state.painted
        bits = np.uint32(sum(DQ[name] for name in chosen if name in self._bits))
        mask = np.zeros(self.exposure.shape, bool)
        if bits and self.exposure.dq is not None:
            mask |= (self.exposure.dq & bits) > 0
        if FOUND in chosen:
            mask |= self.outliers
        if PAINTED in chosen and self.state.painted:
            mask |= self.painted
        self.pane.set_mask(mask if mask.any() else None, name=", ".join(chosen))

    def _ticked(self, name: str, change: Mapping[str, Any]) -> None:
        self._tinted(name, change["new"])

    def _tinted(self, name: str, wanted: bool) -> None:
        others = [other for other in self.state.tint if other != name]
        if wanted != (name in self.state.tint):
            self.state.tint = [*others, name] if wanted else others

    def _stepped(self, change: Mapping[str, Any]) -> None:
        if change["new"] != _nearest(self.state.sigma):
            tint = [FOUND] if FOUND not in self.state.tint else []
            self.state.apply({"sigma": SIGMAS[change["new"]], "tint": [*self.state.tint, *tint]}, drag="sigma")

    def _stroke(self, stroke: Stroke) -> None:
        frame = ALL if self.state.paint_all else stroke.frame
        text = write_stroke(Stroke(frame, stroke.points, stroke.radius, stroke.erase))
        tint = [] if PAINTED in self.state.tint else [PAINTED]
        self.state.apply({"painted": [*self.state.painted, text], "tint": [*self.state.tint, *tint]})

    def _show_table(self, _: Any = None) -> None:
        shown = self._fold.value
        self._statistics.layout.display = "block" if shown else "none"
        self._statistics.value = html_table(self.shown_table()) if shown else ""

    def shown_table(self) -> Table:
        """The table as it is shown."""
        return self.table()

    # -- words --------------------------------------------------------------------------------------------------------

    def mask_words(self, index: int) -> list[str]:
        """Sentences on the flags of a frame."""
        words = [f"{percent(1 - float(self.exposure.good[index].mean()))} of its pixels were bad as given."]
        if FOUND in self.state.tint or self.state.reject:
            found = self.outliers
            done = "rejected" if self.state.reject else "found, not rejected"
            each, total = (plural(int(np.count_nonzero(m)), "outlier") for m in (found[index], found))
            words.append(f"{each} beyond {self.state.sigma:g} sigma, {total} in all frames, {done}.")
        if self.state.painted:
            words.append(f"{plural(int(np.count_nonzero(self.painted[index])), 'pixel')} painted.")
        if self.note:
            words.append(f"The picture: {self.note}.")
        return words

    def close(self) -> None:
        """Close all widgets and let go of the masks."""
        super().close()
        self._found = self._made = self._strokes = None


def _flags(subject: PSFStack | Exposure) -> NDArray[np.uint32]:
    exposure = subject.exposure if isinstance(subject, PSFStack) else subject
    return exposure.cube.flags()


def _bits_of(exposure: Exposure) -> dict[str, float]:
    """Share of the pixels that have each bit, for the bits that occur."""
    if exposure.dq is None:
        return {}
    occur = int(np.bitwise_or.reduce(exposure.dq, axis=None))
    return {
        str(bit.name): np.count_nonzero(exposure.dq & np.uint32(bit)) / exposure.dq.size for bit in DQ if occur & bit
    }


def _nearest(sigma: float) -> int:
    return int(np.argmin(np.abs(np.array(SIGMAS) - sigma)))


def _box(label: str, value: bool) -> ipywidgets.Checkbox:
    layout = ipywidgets.Layout(width="auto", flex="0 0 auto", margin="2px 10px 2px 2px")
    return ipywidgets.Checkbox(value, description=label, indent=False, layout=layout)
