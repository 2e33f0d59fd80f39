"""BackgroundExplorer: a target, its background and what is left, made anew at every choice."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.background.average import Stack
from corontools.background.fit import FactorFit, TemplatesFit
from corontools.background.look import Look, mean_image, onto
from corontools.background.model import BackgroundModel
from corontools.display.scale import Scale
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools_widgets import background_words, controls
from corontools_widgets.background_controls import BoxControls, FactorControls, RejectionControls, TemplateControls
from corontools_widgets.background_plots import Profile, RmsHistory
from corontools_widgets.background_state import SIDES, BackgroundState
from corontools_widgets.explore import explore
from corontools_widgets.image_pane import ImagePane
from corontools_widgets.image_view import ImageView, beside
from corontools_widgets.later import Later
from corontools_widgets.panels import CurveSet
from corontools_widgets.references import short_names

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["BackgroundExplorer", "BackgroundState"]

Given = Exposure | str | os.PathLike[str]
TARGET, BACKGROUND, RESIDUAL = range(3)
NAMES = ("target", "background", "residual")
WITHOUT_TARGET = 1  # frames before the exposures
# of the pixels lie beyond each end of the colours: backgrounds are faint
CUT = (1, 99)
SAMPLE = 1 << 18  # px that tell the limits
MOST_OUTLINES = 200  # boxes that are drawn; of more the tint shows where they are
STRIP = 3  # times as wide as high: an image that needs the width of the page
LIVE = 1 << 20  # px up to which images follow a slider while it moves


class BackgroundExplorer(ImageView):
    """Target, background and residual in common limits; each choice makes the background anew.

    Of a mean: its exposures with the rejected pixels, which are tinted, and the rule. Of a reference (WFSS): boxes of
    sources, each of which can be left out, boxes of your own, outliers, and the rms of each round. Of templates (SOSS):
    the template, a scale for each side of the jump, and what is left along the columns. Of an image: its scale.

    Parameters
    ----------
    model : BackgroundModel
        What the choices start from. One that has to be fitted and isn't is fitted to the target.
    target : Exposure or FITS file, optional
        A cube is shown as the mean over its integrations. A mean can be looked at without.
    exposures : sequence of Exposure or FITS file
        Those of a mean, in the order in which it was made of them.
    **choices
        Of `BackgroundState`.

    Raises
    ------
    DataError
        If there is no target where one is needed, it doesn't fit the background, or a choice is none of
        `BackgroundState`.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> target = Exposure(rng.normal(5, 0.1, (64, 64)), err=np.full((64, 64), 0.1))
    >>> view = BackgroundExplorer(BackgroundModel.from_reference(np.ones((64, 64))), target)
    >>> view.state.maxiter = 2
    >>> view.code[-12:], round(view.result.scale)
    (', maxiter=2)', 5)
    >>> view.close()
    """

    state: BackgroundState

    def __init__(
        self, model: BackgroundModel, target: Given | None = None, *, exposures: Sequence[Given] = (), **choices: Any
    ) -> None:
        self.target = target if target is None or isinstance(target, Exposure) else Exposure.read(target)
        self.exposures = tuple(exposures)
        _check_given(model, self.target, self.exposures)
        self.model = model
        self._image = None if self.target is None else mean_image(self.target)
        self._start = _fitted(model, self.target)
        self._made: tuple[Any, BackgroundModel] | None = None
        self._refitted: dict[int, BackgroundModel] = {}
        self.boxes = model.mask_boxes(self.target) if model.kind == "reference" else np.empty((0, 4), int)  # type: ignore[arg-type]
        super().__init__(self._state_of(choices))
        self._problem, self._late = "", set[int]()
        self._rest, self._draw = Later(self._send_rest), Later(self._draw_plots)
        for later in (self._rest, self._draw):
            self.at_end(later.cancel)
        self._seen = self._choices
        self._look()
        self.look_at(self.target or self.result.background)
        self.take(self._made_pane(), {"limits": self._limits()})
        self._make_plot()
        self._lay_out()
        self._join()
        self._tint()
        self._draw_plots()
        self.say()

    # -- what the choices amount to -----------------------------------------------------------------------------------

    @property
    def result(self) -> BackgroundModel:
        """The background that the choices amount to, by its verbs; `view.result.subtract_from` uses it."""
        key = self._choices
        if self._made is None or self._made[0] != key:
            make = {
                "average": self._averaged,
                "reference": self._masked_and_fitted,
                "templates": self._chosen_and_scaled,
                "image": self._scaled,
            }
            self._made = key, make[self.model.kind]()
        return self._made[1]

    @property
    def _choices(self) -> tuple[Any, ...]:
        """What decides the result."""
        state = self.state
        return {
            "average": (state.sigma, state.reject),
            "reference": (state.outlier_percent, state.maxiter, tuple(state.left_out), repr(state.regions)),
            "templates": (state.template, state.left, state.right),
            "image": (state.factor,),
        }[self.model.kind]

    def _averaged(self) -> BackgroundModel:
        choice, state = self.model.choice, self.state
        if choice is None or (choice.sigma, choice.reject) == (state.sigma, state.reject):
            return self.model
        if not self.exposures:
            raise DataError("another mean needs the exposures it is made of; give exposures=[...]")
        rule: Any = state.reject
        return BackgroundModel.from_exposures(list(self.exposures), state.sigma, choice.maxiters, reject=rule)

    def _masked_and_fitted(self) -> BackgroundModel:
        state, start, made = self.state, self._start.fitted, self.model
        assert isinstance(start, FactorFit)
        asked = {"outlier_percent": state.outlier_percent, "maxiter": state.maxiter}
        masked = bool(state.left_out or state.regions)
        if not masked and all(getattr(start, name) == value for name, value in asked.items()):
            return self._start
        made = made.mask_sources(self._masked()) if masked else made
        return made.fit(self.target, rms_stop=start.rms_stop, **asked)  # type: ignore[arg-type]

    def _masked(self) -> Any:
        """Boxes, or a mask where one was given, with what is drawn."""
        drawn = [_corners(region) for region in self.state.regions]
        given = self.model.sources.mask
        if given is None:
            kept = np.delete(self.boxes, self.state.left_out, axis=0)
            return [*map(tuple, kept.tolist()), *drawn]
        mask = given.copy()
        for x0, y0, x1, y1 in drawn:
            mask[max(y0, 0) : max(y1 + 1, 0), max(x0, 0) : max(x1 + 1, 0)] = False
        return mask

    def _chosen_and_scaled(self) -> BackgroundModel:
        state = self.state
        made = self._template(state.template)
        if (state.left, state.right) == (1.0, 1.0):
            return made
        left, right = (float(f"{t * s:.6g}") for t, s in zip((state.left, state.right), made.scale, strict=True))  # type: ignore[arg-type]
        return made.with_scale(left, right)

    def _template(self, index: int) -> BackgroundModel:
        """Fit of a template."""
        start = self._start.fitted
        assert isinstance(start, TemplatesFit)
        if index == start.index:
            return self._start
        if index not in self._refitted:
            percentile = start.source_percentile
            assert self.target is not None
            self._refitted[index] = self.model.fit(self.target, source_percentile=percentile, template=index)
        return self._refitted[index]

    def _scaled(self) -> BackgroundModel:
        if self.state.factor == 1:
            return self.model
        return self.model.with_scale(float(f"{self.state.factor * self.model.factor:.6g}"))

    # -- following the choices ----------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take the images of the choices."""
        result, target = self.result, self.target
        self.shown = None if target is None else Look.of(result, target, self._image)
        self.stack: Stack | None = None
        if self.exposures:
            self.stack = result.stack(self.exposures)
            if target is not None:
                images, rejected = (onto(target, result, cube) for cube in (self.stack.images, self.stack.rejected))
                self.stack = Stack(images, rejected, self.stack.names)

    def _changed(self, _: Any = None) -> None:
        """Make the background anew; what isn't seen follows when the hand rests."""
        if self._seen == self._choices:
            return
        self._seen = self._choices
        try:
            self._look()
            self._problem = ""
        except DataError as error:
            self._problem = str(error)
            self.say()
            return
        if self.model.kind == "average":
            self.pane.set_cube(self._cube())
        else:
            self._send((BACKGROUND, RESIDUAL))
        if self.model.kind in ("average", "reference"):
            self._tint()
        self._draw()
        self.say()

    def _send(self, frames: Sequence[int]) -> None:
        """Send what is in sight now, the rest later."""
        seen = {self.state.frame, self.state.compare}
        for frame in frames:
            if frame in seen:
                self.pane.set_frame(frame, self.image(frame))
            else:
                self._late.add(frame)
        self._rest()

    def _send_rest(self) -> None:
        """The frames that were not in sight."""
        while self._late:
            frame = self._late.pop()
            self.pane.set_frame(frame, self.image(frame))

    def _tint(self) -> None:
        if self.stack is not None:
            before = np.zeros((self._first, *self.stack.rejected.shape[1:]), bool)
            tinted, name = np.concatenate([before, self.stack.rejected]), "rejected"
        elif self.model.kind == "reference" and self.result.mask is not None:
            tinted, name = ~self.result.mask, "sources"
        else:
            return
        self.pane.set_mask(tinted if tinted.any() else None, name=name)

    def _outline(self, _: Any = None) -> None:
        """Draw the boxes: those given, which stay where they are, and those that were drawn."""
        chosen, off = self.controls.chosen, self.state.left_out
        every = range(len(self.boxes)) if len(self.boxes) <= MOST_OUTLINES else sorted({chosen, *off[:MOST_OUTLINES]})
        given = [_region(i, self.boxes[i].tolist(), chosen=i == chosen, off=i in off) for i in every]
        self.pane.regions = [*given, *(dict(region) for region in self.state.regions)]

    def _drawn(self, _: Any = None) -> None:
        """Take the rectangles of the pane when they are let go."""
        mine = [dict(region) for region in self.pane.regions if not region.get("locked")]
        if all(region.get("done", True) for region in mine) and mine != self.state.regions:
            self.state.regions = mine

    def _clicked(self, _: Any = None) -> None:
        if self.state.cursor:
            self.controls.choose_at(*self.state.cursor)

    # -- widgets ------------------------------------------------------------------------------------------------------

    def _state_of(self, choices: Mapping[str, Any]) -> BackgroundState:
        """Choices of the background, and those that were asked for."""
        state, start = BackgroundState(), self._start.fitted
        state.n_boxes, state.n_frames = len(self.boxes), len(self.names)
        state.n_templates = len(self.model.image) if self.model.kind == "templates" else 1
        planned: dict[str, Any] = {"frame": 0, "compare": RESIDUAL}
        if self.target is None:
            planned = {"frame": WITHOUT_TARGET, "compare": 0} if self.exposures else {}
        if self.model.choice is not None:
            planned |= {"sigma": self.model.choice.sigma, "reject": self.model.choice.reject}
        if isinstance(start, FactorFit):
            planned |= {"outlier_percent": start.outlier_percent, "maxiter": start.maxiter}
        if isinstance(start, TemplatesFit):
            planned["template"] = start.index
        state.apply({**planned, **choices})
        state.clear_history()
        return state

    def _made_pane(self) -> ImagePane:
        return ImagePane(
            self._cube(),
            names=self.names,
            name="image",
            sky=self.sky,
            scale=Scale(self._limits(), kind=self.state.stretch, unit=self.unit),
            title=self.title,
            frame=self.state.frame,
            tools=["rectangle"] if self.model.kind == "reference" else [],
            overlays={"rings": False, "star": False},
        )

    def _make_plot(self) -> None:
        made: dict[str, type[RmsHistory] | type[Profile]] = {"reference": RmsHistory, "templates": Profile}
        self.plot = made[self.model.kind](self.unit) if self.model.kind in made else None
        if self.plot is not None:
            self.at_end(self.plot.plot.close)

    def _lay_out(self) -> None:
        self.controls = self._made_controls()
        rows, bar = [] if self.controls is None else self.controls.rows, controls.Toolbar(self)
        figure = [] if self.plot is None else [self.plot.plot.figure]
        for one in figure:
            one.layout.flex, one.layout.min_width = "0 0 auto", "0"
        ny, nx = self.image(0).shape
        wide = nx > STRIP * ny or not rows
        body = [self.pane, *rows, *figure] if wide else [beside(self.pane, *rows, *figure)]
        self.show_as(controls.column(bar.widget, *body, self._words))

    def _made_controls(self) -> Any:
        kind, start = self.model.kind, self._start.fitted
        if kind == "average":
            return RejectionControls(self) if self.exposures else None
        if kind == "reference":
            return BoxControls(self, self.boxes)
        if isinstance(start, TemplatesFit):
            known = np.isfinite(start.rms).all()
            best = int(np.argmin(start.rms)) if known else None
            return TemplateControls(self, best=best, fitted=lambda: self._template(self.state.template).scale)  # type: ignore[arg-type,return-value]
        return FactorControls(self, given=self.model.factor, live=self.image(TARGET).size <= LIVE)

    def _join(self) -> None:
        self.watch(self._changed, "sigma", "reject", "outlier_percent", "maxiter", "left_out", "regions")
        self.watch(self._changed, "template", "left", "right", "factor")
        self.watch(self.say, "frame")
        if self.model.kind == "reference":
            self._outline()
            self.watch(self._outline, "left_out", "regions")
            if len(self.boxes):
                self.watch(self._outline, "index", of=self.controls.box)
            self.watch(self._drawn, "regions", of=self.pane)
            self.watch(self._clicked, "cursor")
        self.state.clear_history()

    def _limits(self) -> tuple[float, float]:
        """Limits that hold target, background and residual, where there are no sources if this is known."""
        if self.shown is None:
            images = [self.image(0), *([] if self.stack is None else self.stack.images[:1])]
        else:
            here = slice(None) if self.shown.mask is None or not self.shown.mask.any() else self.shown.mask
            images = [self.shown.target[here], self.shown.background, self.shown.residual[here]]
        known = [ends for ends in map(_ends, images) if ends is not None]
        low, high = (min(e[0] for e in known), max(e[1] for e in known)) if known else (0.0, 0.0)
        return (low, high) if high > low else (low - 1, low + 1)

    def _cube(self) -> np.ndarray:
        return np.stack([self.image(i) for i in range(len(self.names))], dtype=np.float32, casting="same_kind")

    def _draw_plots(self) -> None:
        fitted = self.result.fitted
        if isinstance(self.plot, RmsHistory) and isinstance(fitted, FactorFit):
            self.plot.show(fitted.rms)
        if isinstance(self.plot, Profile) and isinstance(fitted, TemplatesFit) and self.shown is not None:
            self.plot.show(self.shown.profile(), float(np.median(fitted.column)))

    # -- words and files ----------------------------------------------------------------------------------------------

    @property
    def unit(self) -> str:
        """Of the images."""
        return (self.target.meta.unit if self.target is not None else "") or self.model.meta.unit

    @property
    def title(self) -> str:
        """Of the target."""
        return (self.model if self.target is None else self.target).meta.title

    @property
    def names(self) -> list[str]:
        """Of the frames."""
        given = [one.meta.filename or one.meta.title if isinstance(one, Exposure) else os.path.basename(one)
                 for one in self.exposures]  # fmt: skip
        numbered = [f"{i + 1} {name}" for i, name in enumerate(short_names(given))]
        return [*(NAMES if self.target is not None else ("background",)), *numbered]

    @property
    def _first(self) -> int:
        """Frame of the first exposure."""
        return WITHOUT_TARGET if self.target is None else len(NAMES)

    def image(self, index: int) -> np.ndarray:
        """Target, background, residual, or an exposure of the mean."""
        if index >= self._first:
            assert self.stack is not None
            return self.stack.images[index - self._first]
        if self.shown is None:
            return self.result.background.data
        return (self.shown.target, self.shown.background, self.shown.residual)[index]

    def table(self) -> Table:
        """Of a reference the rms of each round, of templates the residual of each column, of a mean its exposures."""
        return background_words.table(self.result, self.shown, self.stack)

    def curves(self) -> list[CurveSet]:
        """The plot."""
        return background_words.curves(self.result, self.shown, self.unit)

    def to_html(self) -> str:
        """All images, words, the plot and the code."""
        self._send_rest()
        return super().to_html()

    @property
    def text(self) -> str:
        """What is shown, in words."""
        if self._problem:
            return self._problem
        words = [f"{self.title}, {self.names[self.state.frame]}."]
        if self.target is not None and self.target.n_int > 1:
            words.append(f"The {self.target.n_int} integrations of the target are shown as their mean.")
        words += background_words.outcome(self.result, self.stack, self.state.frame - self._first)
        if self.model.kind == "reference":
            words += background_words.boxes(len(self.boxes), len(self.state.left_out), len(self.state.regions))
        if self.target is not None and (reason := self.result.reason_against(self.target)):
            words.append(f"Nothing will be subtracted: {reason}.")
        if self.note:
            words.append(f"The picture: {self.note}; the numbers are of all pixels.")
        return " ".join(words)


def _check_given(model: BackgroundModel, target: Exposure | None, exposures: Sequence[Given]) -> None:
    """Raise where the view can't be opened with what was given."""
    if exposures and model.kind != "average":
        raise DataError(f"exposures belong to a mean of exposures; this background is of the kind {model.kind!r}")
    if target is None and model.kind != "average":
        raise DataError(
            f"a background of the kind {model.kind!r} is looked at on a target; give one, model.explore(target)"
        )
    if target is not None and model.kind == "reference" and target.data.ndim != 2:
        raise DataError(
            f"{target._name}: a factor is fitted to one image (y, x), found shape {target.shape}; give the rate"
        )


def _fitted(model: BackgroundModel, target: Exposure | None) -> BackgroundModel:
    """The background, fitted if it has to be."""
    if model.kind in ("average", "image") or model.fitted is not None:
        return model
    assert target is not None
    return model.fit(target)


def _region(index: int, box: Sequence[int], *, chosen: bool, off: bool) -> dict[str, Any]:
    """A box as a region of the pane; half a pixel more on each side: its corner pixels are in it."""
    name = f"{index + 1}{' (off)' if off else ''}" if chosen else "off" if off else ""
    sides = dict(zip(SIDES, (box[0] - 0.5, box[1] - 0.5, box[2] + 0.5, box[3] + 0.5), strict=True))
    return {"id": f"box-{index}", "kind": "rectangle", "name": name, "locked": True, "visible": True, **sides}


def _corners(region: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Corner pixels of a rectangle: those whose middle is in it."""
    (x0, x1), (y0, y1) = (sorted(float(region[axis + end]) for end in "01") for axis in "xy")
    return tuple(int(v) for v in (np.ceil(x0), np.ceil(y0), np.floor(x1), np.floor(y1)))  # type: ignore[return-value]


def _ends(values: np.ndarray) -> tuple[float, float] | None:
    """Percentiles of an image; None where it has no number."""
    sample = np.ravel(values)
    sample = sample[:: max(1, sample.size // SAMPLE) | 1]
    known = sample[np.isfinite(sample)]
    if not known.size:
        return None
    low, high = np.percentile(known, CUT)
    return float(low), float(high)


@explore.register
def _explore_background(model: BackgroundModel, target: Given | None = None, **options: Any) -> BackgroundExplorer:
    return BackgroundExplorer(model, target, **options)
