"""FlickerExplorer: one image of an exposure before and after its stripes are removed, fitted anew at every choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np

from corontools.display.scale import Scale
from corontools.errors import DataError
from corontools.flicker.cleaner import FlickerCleaner
from corontools.flicker.look import OneImage
from corontools.flicker.scene import FLAVOURS
from corontools_widgets import controls
from corontools_widgets.explore import explore
from corontools_widgets.figures import Reading
from corontools_widgets.flicker_controls import FlickerControls
from corontools_widgets.flicker_plots import BeforeAfter
from corontools_widgets.flicker_state import ALL, BACKGROUNDS, METHODS, FlickerState, brushed, shapes
from corontools_widgets.image_pane import ImagePane, Stroke
from corontools_widgets.image_view import ImageView, cell, percent
from corontools_widgets.later import Later
from corontools_widgets.masks import write_stroke
from corontools_widgets.panels import CurveSet, Quantity

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["FlickerExplorer", "FlickerState"]

NAMES = ("before", "after", "noise")
BEFORE, AFTER, NOISE = range(3)
TOOLS = ["paint", "rectangle", "circle", "polygon"]
# of the pixels lie beyond each end of the colours: stripes are faint
CUT = (1, 99)
SAMPLE = 1 << 18  # px that tell the limits
# two columns, one below the other where the page is narrow
ROW = {"align_items": "flex-start", "grid_gap": "0 14px"}
SIDE = {"flex": "1 1 400px", "min_width": "240px", "max_width": "100%"}


class FlickerExplorer(ImageView):
    """An image before and after, the noise between them, and the mask, which is painted on; each change is fitted.

    Levels of the lines and their power spectrum follow. The mask is tinted: brush, rectangles, circles, polygons and a
    threshold mask pixels, the eraser makes them background.

    Parameters
    ----------
    cleaner : FlickerCleaner
        What the choices start from.
    **choices
        Of `FlickerState`.

    Raises
    ------
    DataError
        If there is no image to correct (a ramp of one group), or a choice is none of `FlickerState`.

    Examples
    --------
    >>> from corontools import Exposure
    >>> from corontools.arrays.flicker import flicker_noise
    >>> rate = Exposure(100 + flicker_noise((64, 64), rms=5.0, channels=1))
    >>> view = FlickerExplorer(FlickerCleaner(rate, axis=1))
    >>> view.state.method = "fft"
    >>> view.result.code[-17:]
    ".fit_noise('fft')"
    >>> view.close()
    """

    state: FlickerState

    def __init__(self, cleaner: FlickerCleaner, **choices: Any) -> None:
        if not cleaner.frames.indices:
            raise DataError("a ramp of one group has no difference that could be corrected; nothing is to be seen")
        self._given = cleaner
        self._masked: tuple[Any, FlickerCleaner] | None = None
        self._made: tuple[Any, FlickerCleaner] | None = None
        super().__init__(_state_of(cleaner, choices))
        self._problem, self._late = "", set[int]()
        self._rest, self._draw = Later(self._send_rest), Later(self._show_curves)
        for later in (self._rest, self._draw):
            self.at_end(later.cancel)
        self._seen, self.shown = self._key, self._look()
        self.look_at(cleaner.exposure)
        self.take(self._made_pane(), self._limits())
        self._make_plots()
        self._lay_out()
        self._join()
        self._tint()
        self._show_curves()
        self.say()

    # -- what the choices amount to -----------------------------------------------------------------------------------

    @property
    def cleaner(self) -> FlickerCleaner:
        """What the choices start from."""
        return self._given

    @property
    def result(self) -> FlickerCleaner:
        """The cleaner that the choices amount to, by its verbs; `view.result.cleaned` corrects the whole exposure."""
        key = self._choices
        if self._made is None or self._made[0] != key:
            self._made = key, self._fitted_as_chosen(self._masked_as_chosen())
        return self._made[1]

    @property
    def mask(self) -> np.ndarray:
        """The mask as it is now, True is background: (y, x), or (n_int, y, x)."""
        return self.result.mask

    @property
    def _choices(self) -> tuple[Any, ...]:
        """What decides the result."""
        state = self.state
        return (*self._mask_choices, state.background, tuple(state.box), state.method, state.by_channel)

    @property
    def _mask_choices(self) -> tuple[Any, ...]:
        state = self.state
        return state.n_sigma, tuple(state.painted), repr(state.regions), state.above

    @property
    def _key(self) -> tuple[Any, ...]:
        """What decides what is shown."""
        return (self.place, *self._choices)

    @property
    def place(self) -> tuple[int, int]:
        """(integration, group) of the image that is shown."""
        state = self.state
        if self._given.exposure.data.ndim < 4:
            return state.integration, 0
        return state.integration, max(state.group, 0 if state.background == "median_image" else 1)

    def _masked_as_chosen(self) -> FlickerCleaner:
        """The cleaner with the mask; kept for the last choices, so that what is known of it is known to all fits."""
        key = self._mask_choices
        if self._masked is None or self._masked[0] != key:
            made, state = self._given, self.state
            if state.n_sigma != made.plan.n_sigma:
                made = _clipped(made, state.n_sigma)
            if state.regions or state.above is not None:
                drawn = shapes(state.regions, self._size[1:])
                made = made.edit_mask(masked=drawn or None, above=state.above)
            if state.painted:
                masked, used = brushed(state.painted, self._size)
                if masked.any() or used.any():
                    made = made.edit_mask(masked=_unless_empty(masked), used=_unless_empty(used))
            self._masked = key, made
        return self._masked[1]

    def _fitted_as_chosen(self, made: FlickerCleaner) -> FlickerCleaner:
        made.mask  # noqa: B018 - known now, it is handed on to all that follow
        plan, state = made.plan, self.state
        box = tuple(state.box) if state.box and state.background == "model" else None
        if (state.background, box) != (plan.background, plan.box):
            made = made.fit_background(state.background, box=box)  # type: ignore[arg-type]
        by_channel = state.by_channel and state.method == "median" and made.readout.channels > 1
        if (state.method, by_channel) != (plan.noise, plan.by_channel):
            made = made.fit_noise(state.method, by_channel=by_channel)  # type: ignore[arg-type]
        return made

    @property
    def _size(self) -> tuple[int, int, int]:
        exposure = self._given.exposure
        ny, nx = exposure.shape[-2:]
        return exposure.shape[0] if exposure.data.ndim > 2 else 1, ny, nx

    def _look(self) -> OneImage:
        return self.result.one_image(*self.place)

    # -- following the choices ----------------------------------------------------------------------------------------

    def _changed(self, _: Any = None) -> None:
        """Fit the image anew; what isn't seen follows when the hand rests."""
        if self._seen == self._key:
            return
        old, self._seen = self._seen, self._key
        try:
            self.shown, self._problem = self._look(), ""
        except DataError as error:
            self._problem = str(error)
            self.say()
            return
        if old[0] != self._seen[0] or "median_image" in {old[5], self._seen[5]}:
            self._send_all()
        else:
            self._send_fit()
        if old[0][0] != self._seen[0][0] or old[1:5] != self._seen[1:5]:
            self._tint()
        self._draw()
        self.say()

    def _send_all(self) -> None:
        """Another image."""
        self._late.clear()
        self.pane.set_cube(self._cube())
        self.pane.title = self.title
        self.limit(self._limits())

    def _send_fit(self) -> None:
        """The same image, fitted otherwise."""
        seen = {self.state.frame, *([self.state.compare] if self.state.compare >= 0 else [])}
        self.limit({"noise_limits": _ends(self.shown.noise)})
        for frame in (AFTER, NOISE):
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
        mask = self.mask
        here = ~(mask[self.place[0]] if mask.ndim == 3 else mask)
        self.pane.set_mask(here if here.any() else None, name="not background")

    def _stroke(self, stroke: Stroke) -> None:
        where = ALL if self.state.paint_all or self._size[0] == 1 else self.state.integration
        text = write_stroke(Stroke(where, stroke.points, stroke.radius, stroke.erase))
        self.state.painted = [*self.state.painted, text]

    def _drawn(self, _: Any = None) -> None:
        """Take the shapes of the pane when they are let go."""
        regions = [dict(region) for region in self.pane.regions]
        if all(region.get("done", True) for region in regions) and regions != self.state.regions:
            self.state.regions = regions

    # -- widgets ------------------------------------------------------------------------------------------------------

    def _made_pane(self) -> ImagePane:
        exposure, limits = self._given.exposure, self._limits()
        pane = ImagePane(
            self._cube(),
            names=NAMES,
            name="image",
            sky=self.sky,
            scale=Scale(limits["limits"], kind=self.state.stretch, unit=exposure.meta.unit),
            title=self.title,
            tools=TOOLS,
            overlays={"rings": False, "star": False},
        )
        pane.regions = self.state.regions
        pane.on_paint(self._stroke)
        return pane

    def _make_plots(self) -> None:
        line, unit = self._line, self._given.exposure.meta.unit
        level = f"level ({unit})" if unit else "level"
        self.profile = BeforeAfter(Reading(line), Reading(level))
        self.spectrum = BeforeAfter(Reading(f"cycles per {line}", log=True), Reading("power", log=True))
        for plot in (self.profile, self.spectrum):
            self.at_end(plot.plot.close)

    def _lay_out(self) -> None:
        ramp = self._given.exposure.data.ndim == 4
        self.controls = FlickerControls(self, self._given.readout, ramp=ramp)
        bar = controls.Toolbar(self)
        columns = [[self.pane, *self.controls.rows], [self.profile.widget, self.spectrum.widget]]
        sides = [ipywidgets.VBox(column, layout=SIDE) for column in columns]
        self.show_as(controls.column(bar.widget, controls.row(*sides, **ROW), self._words))

    def _join(self) -> None:
        names = ("integration", "group", "n_sigma", "background", "box", "method", "by_channel")
        self.watch(self._changed, *names, "painted", "regions", "above")
        self.watch(lambda _: setattr(self.pane, "regions", self.state.regions), "regions")
        self.watch(self._drawn, "regions", of=self.pane)
        self.state.clear_history()

    def held(self, name: str) -> str:
        """The noise has limits of its own."""
        return "noise_limits" if name == "limits" and self.state.frame == NOISE else name

    def _limits(self) -> dict[str, tuple[float, float]]:
        frames = self.result.frames
        image = self.shown.before
        return {"limits": _ends(image[frames.good(*self.place)]), "noise_limits": _ends(self.shown.noise)}

    def _cube(self) -> np.ndarray:
        return np.stack([self.image(i) for i in range(len(NAMES))])

    def _show_curves(self) -> None:
        levels, spectrum = self.shown.levels, self.shown.psd
        self.profile.show(np.arange(levels.before.size), *levels)
        if spectrum is None:
            self.spectrum.show([], [], [])
        else:
            self.spectrum.show(spectrum.frequency, spectrum.before, spectrum.after)

    # -- words and files ----------------------------------------------------------------------------------------------

    @property
    def _line(self) -> str:
        return self._given.readout.stripes[:-1]

    @property
    def title(self) -> str:
        """Exposure, integration and groups."""
        return f"{self._given.exposure.meta.title}, {self._named}"

    @property
    def _named(self) -> str:
        i, j = self.place
        exposure = self._given.exposure
        if exposure.data.ndim < 4:
            return f"integration {i + 1} of {self._size[0]}" if self._size[0] > 1 else "rate"
        group = f"group {j + 1}" if self.state.background == "median_image" else f"group {j + 1} \u2212 {j}"
        return f"integration {i + 1}, {group}"

    def image(self, index: int) -> np.ndarray:
        """The image before, after, or the noise."""
        return (self.shown.before, self.shown.after, self.shown.noise)[index]

    def table(self) -> Table:
        """Levels of the lines before and after."""
        from astropy.table import Table

        levels = self.shown.levels
        return Table([np.arange(levels.before.size), *levels], names=[self._line, "before", "after"])

    def curves(self) -> list[CurveSet]:
        """Levels of the lines and their power spectrum."""
        levels, spectrum = self.shown.levels, self.shown.psd
        across, up = Quantity(self._line), Quantity("level", self._given.exposure.meta.unit)
        x = np.arange(levels.before.size)
        lines = {"before": (x, levels.before), "after": (x, levels.after)}
        made = [CurveSet(lines, across=across, up=up, title=f"Levels of the {self._line}s", linked=False)]
        if spectrum is not None:
            across, up = Quantity(f"cycles per {self._line}", log=True), Quantity("power", log=True)
            lines = {name: (spectrum.frequency, getattr(spectrum, name)) for name in ("before", "after")}
            made.append(CurveSet(lines, across=across, up=up, title="Power spectrum of the levels", linked=False))
        return made

    def to_html(self) -> str:
        """The image before, after, and the noise, with both plots and the code."""
        self._send_rest()
        return super().to_html()

    @property
    def text(self) -> str:
        """What is shown, in words."""
        if self._problem:
            return self._problem
        result, mask = self.result, self.mask
        here = mask[self.place[0]] if mask.ndim == 3 else mask
        words = [
            f"{self.title}.",
            f"{percent(float(here.mean()))} of the pixels are background ({', '.join(result.flavours)}).",
            self._outcome(),
        ]
        if self.note:
            words.append(f"The picture: {self.note}; mask and fit have all pixels.")
        return " ".join(words)

    def _outcome(self) -> str:
        fitted, unit = self.shown.fitted, self._given.exposure.meta.unit
        if fitted is None:
            return "No pixel is usable: the image is left unchanged."
        before, after = (cell(float(np.nanstd(level)), digits=3) for level in self.shown.levels)
        used = percent(float(np.isfinite(fitted.residual).mean()))
        rms = f"rms of the {self._line}s' levels {before} before, {after} after {unit}".rstrip()
        return f"{used} were fitted to; {rms}."


def _state_of(cleaner: FlickerCleaner, choices: Mapping[str, Any]) -> FlickerState:
    """Choices of a cleaner, and those that were asked for."""
    plan, exposure = cleaner.plan, cleaner.exposure
    try:
        i, j = cleaner.frames.first()
    except DataError:  # no usable pixel; the words tell
        i, j = cleaner.frames.indices[0]
    state = FlickerState(compare=AFTER, integration=i, group=j)
    state.n_int = exposure.shape[0] if exposure.data.ndim > 2 else 1
    state.n_group = exposure.shape[1] if exposure.data.ndim == 4 else 1
    state.shape = exposure.shape[-2:]  # type: ignore[assignment]
    state.n_frames = len(NAMES)
    state.methods = METHODS[:1] if cleaner.readout.mode == "MIRI" else METHODS
    state.backgrounds = tuple(name for name in BACKGROUNDS if state.n_int > 1 or name != "median_image")
    box = [] if plan.box is None else list(plan.box)
    planned = {"n_sigma": plan.n_sigma, "background": plan.background, "box": box, "method": plan.noise}
    state.apply({**planned, "by_channel": plan.by_channel, **choices})
    return state


def _clipped(cleaner: FlickerCleaner, n_sigma: float) -> FlickerCleaner:
    """The same mask with sources beginning elsewhere."""
    choice = cleaner.scene_choice
    if choice.given is not None:
        made = cleaner.use_mask(choice.given, n_sigma=n_sigma)
    else:
        inside = {kind: True if pixels is None else pixels for kind, pixels in choice.regions.inside.items()}
        left_out = {kind: False for kind, name in FLAVOURS.items() if name in choice.regions.left_out}
        made = cleaner.mask_scene(
            n_sigma=n_sigma,
            fit_histogram=choice.histogram,
            science={**inside, **left_out} if inside else False,
            per_integration=choice.per_integration,
        )
    for edit in cleaner.edits:
        made = made.edit_mask(masked=edit.masked, used=edit.used, above=edit.above)
    return made


def _unless_empty(mask: np.ndarray) -> np.ndarray | None:
    return mask if mask.any() else None


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Limits that show faint stripes."""
    sample = np.ravel(values)
    sample = sample[:: max(1, sample.size // SAMPLE) | 1]
    known = sample[np.isfinite(sample)]
    low, high = (float(end) for end in np.percentile(known, CUT)) if known.size else (0.0, 0.0)
    return (low, high) if high > low else (low - 1, low + 1)


@explore.register
def _explore_flicker(cleaner: FlickerCleaner, **choices: Any) -> FlickerExplorer:
    return FlickerExplorer(cleaner, **choices)
