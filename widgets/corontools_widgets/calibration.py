"""CalibrationExplorer: a calibrated frame, its sources, and the stars that its PSF is fitted to, chosen by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np

from corontools.calibrate import look
from corontools.calibrate.image import CalibratedImage
from corontools.calibrate.planes import Plane
from corontools.display.frame import Mark
from corontools.display.scale import Scale, default_limits
from corontools.errors import DataError
from corontools_widgets import calibration_words, controls
from corontools_widgets.calibration_controls import MarkControls, StarControls, glyphs
from corontools_widgets.calibration_panels import Panels
from corontools_widgets.calibration_refit import Refit
from corontools_widgets.calibration_state import CalibrationState
from corontools_widgets.explore import explore
from corontools_widgets.flicker import ROW, SIDE
from corontools_widgets.image_pane import ImagePane
from corontools_widgets.image_view import ImageView, plural
from corontools_widgets.later import Later
from corontools_widgets.panels import CurveSet

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["CalibrationExplorer", "CalibrationState"]

# signs drawn of each kind: of more the picture gets slow
MOST = 300
# px from a source, and over the side of the image where that is more, within which a click chooses it
REACH, SHARE = 12.0, 0.015
LEAST_SNR, LEAST_CLIP = 1.0, 0.2
WORKING = "working: {} ..."
NOTHING = "no source is there, or it is a blend whose parts are listed"
HINT = "click a source to read its row"
FAILED = "the PSF isn't fitted anew, see below"
NEXT = 0.02  # s between two steps, in which the page is heard


class CalibrationExplorer(ImageView):
    """A frame with its sources, its backgrounds to blink, and what PSF, astrometry and zero point were fitted to.

    A click on the image, or on a point beside it, tells of a source. The band of widths and the least S/N of the stars
    can be dragged: the PSF, and all that came after it, is then fitted again, one step after the other.

    Parameters
    ----------
    calibrated : CalibratedImage
        As far as it has come.
    refcat, photometry_refcat : RefCat, Table or file, optional
        References for other selections of stars; by default those that the astrometry was solved with.
    **choices
        Of `CalibrationState`.

    Raises
    ------
    DataError
        If a choice is none of `CalibrationState`.

    Examples
    --------
    >>> from corontools.simulate import star_field
    >>> frame = CalibratedImage.from_snaps(star_field(512).exposures[0]).repair()
    >>> view = CalibrationExplorer(frame, tint="BAD")
    >>> view.pane.names[0], len(view.pane.names), view.result is frame
    ('result', 3, True)
    >>> view.close()
    """

    state: CalibrationState

    def __init__(
        self, calibrated: CalibratedImage, *, refcat: Any = None, photometry_refcat: Any = None, **choices: Any
    ) -> None:
        self._refit = Refit(calibrated, refcat, photometry_refcat)
        self.shown = calibrated
        super().__init__(self._state_of(choices))
        self._problem = ""
        self._begin, self._go_on = Later(self._step), Later(self._step, delay=NEXT)
        for later in (self._begin, self._go_on):
            self.at_end(later.cancel)
        self._take_up()
        self.look_at(calibrated.image)
        self.take(self._made_pane(), self._limits())
        self._make_controls()
        self.panels = Panels(self)
        self._lay_out()
        self._join()
        self._draw()
        if self.controls is not None:
            self._changed()

    # -- what the choices amount to -----------------------------------------------------------------------------------

    @property
    def result(self) -> CalibratedImage:
        """The calibration that the choices amount to, by its verbs; steps that are still to be done are done now."""
        if self._problem:
            raise DataError(self._problem)
        return self._refit.finished()

    def _state_of(self, choices: dict[str, Any]) -> CalibrationState:
        state, selector = CalibrationState(), self._refit.selector
        planned = {} if selector is None else {"min_snr": selector.min_snr, "clip": selector.clip}
        state.apply({**planned, **choices})
        state.clear_history()
        return state

    def _take_up(self) -> None:
        """What is seen of a calibration."""
        self.frames = look.frames(self.shown)
        self.sources = look.catalog(self.shown)

    # -- following the choices ----------------------------------------------------------------------------------------

    def _changed(self, _: Any = None) -> None:
        """Other stars: ask for a fit, which begins when the hand rests."""
        assert self.controls is not None
        self._go_on.cancel()
        self._problem = ""
        self._refit.ask(self.controls.options)
        self._await()
        self._begin()

    def pull(self, name: str, value: float) -> None:
        """Take what was dragged: "min_snr", or "clip" by which the tolerance is multiplied."""
        state = self.state
        wanted = max(value, LEAST_SNR) if name == "min_snr" else max(value * state.clip, LEAST_CLIP)
        wanted = float(f"{wanted:.3g}")
        if self.controls is None or wanted == getattr(state, name):
            self.panels.show_sizes()  # the grip goes back
        else:
            state.apply({name: wanted})

    def _await(self) -> None:
        """Say what is being done."""
        controls.say(self._status, WORKING.format(self._refit.next) if self._refit.next else "")

    def _step(self) -> None:
        """Do one step; show the result after the last one."""
        try:
            if self._refit.next:
                self._refit.step()
        except DataError as error:
            self._problem = str(error)
            controls.say(self._status, FAILED)
            self.say()
            return
        self._await()
        if self._refit.next:
            self._go_on()
        else:
            self._show()

    def _show(self) -> None:
        """Take the calibration that is finished."""
        made = self._refit.finished()
        if made is not self.shown:
            self.shown = made
            self._take_up()
            self.pane.set_cube(self._cube(), names=self.frames.names)
            self.limit(self._limits())
            self._draw()
        self.say()

    def _draw(self) -> None:
        """All that goes with a calibration beside its images."""
        self.marks.count(self.sources)
        self._mark()
        self._tint()
        self.panels.show(self.shown)
        self._choose()
        self.say()

    def _mark(self, _: Any = None) -> None:
        chosen = np.isin(np.asarray(self.sources["kind"]), self.state.kinds)
        marks, regions = glyphs(self.sources[chosen], self.shown.start.shape, most=MOST)
        with self.pane.hold_sync():
            self.pane.marks, self.pane.regions = marks, regions

    def _tint(self, _: Any = None) -> None:
        name = self.state.tint
        where = self.shown.frame.has(Plane[name]) if name else None
        self.pane.set_mask(where if where is not None and where.any() else None, name=name or "mask")

    @property
    def chosen(self) -> int | None:
        """Row of the source that was clicked; None where there is none."""
        if not self.state.cursor or not len(self.sources):
            return None
        return look.nearest(self.sources, *self.state.cursor, radius=max(REACH, SHARE * max(self.shown.start.shape)))

    def _choose(self, _: Any = None) -> None:
        """Tell of the source that was clicked."""
        row = self.chosen
        missed = NOTHING if self.state.cursor else HINT
        self._row.value = missed if row is None else calibration_words.row_html(self.sources[row])
        self.panels.choose(None if row is None else (float(self.sources["x"][row]), float(self.sources["y"][row])))
        self.say()

    # -- widgets ------------------------------------------------------------------------------------------------------

    def _made_pane(self) -> ImagePane:
        return ImagePane(
            self._cube(),
            names=self.frames.names,
            name="image",
            sky=self.sky,
            scale=Scale(self._limits()["limits"], kind=self.state.stretch, unit=self.shown.image.meta.unit),
            title=self.title,
            overlays={"rings": False, "star": False},
        )

    def _make_controls(self) -> None:
        self.marks = MarkControls(self, self.sources)
        selector = self._refit.selector
        self.controls = None if selector is None else StarControls(self, selector)
        self._status = controls.words(margin="0 0 0 10px")
        self._row = ipywidgets.HTML(layout={"width": "auto", "display": "block" if len(self.sources) else "none"})

    def _lay_out(self) -> None:
        bar = controls.Toolbar(self, self._status)
        stars = [] if self.controls is None else self.controls.rows
        columns = [[self.pane, self._row], [*self.panels.beside_image, *stars]]
        sides = [ipywidgets.VBox(column, layout=SIDE) for column in columns if column]
        top = controls.row(*sides, **ROW)
        self.show_as(controls.column(bar.widget, *self.marks.rows, top, *self.panels.rows, self._words))

    def _join(self) -> None:
        self.watch(self._mark, "kinds")
        self.watch(self._tint, "tint")
        self.watch(self._choose, "cursor")
        self.watch(self.say, "frame")
        if self.controls is not None:
            self.watch(self._changed, "min_snr", "clip", "width_limits")
        self.state.clear_history()

    def held(self, name: str) -> str:
        """The first background and the others have limits of their own."""
        later = self.state.frame - self.frames.n_images
        if name != "limits" or later < 0:
            return name
        return "round_limits" if later else "background_limits"

    def _limits(self) -> dict[str, tuple[float, float]]:
        n, images = self.frames.n_images, self.frames.images
        backgrounds = {"background_limits": images[n : n + 1], "round_limits": images[n + 1 :]}
        return {"limits": default_limits(images[0]), **{name: _ends(part) for name, part in backgrounds.items()}}

    def _cube(self) -> np.ndarray:
        return np.stack(self.frames.images)

    # -- words and files ----------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Of the exposure."""
        return self.shown.exposure.meta.title

    def image(self, index: int) -> np.ndarray:
        """The result, the image as it was, or the background of a round."""
        return self.frames.images[index]

    def table(self) -> Table:
        """Sources by kind."""
        return self.sources

    def drawn_marks(self) -> list[Mark]:
        """Sources of the kinds that are marked, the brightest."""
        return [Mark(mark["x"], mark["y"], "") for mark in self.pane.marks]

    def curves(self) -> Sequence[CurveSet]:
        """Shapes, offsets, and the histogram of the zero point."""
        return self.panels.curves()

    @property
    def text(self) -> str:
        """What is shown, in words."""
        words = [f"{self.title}, {self.pane.names[self.state.frame]}."]
        if self._problem:
            words.append(f"{self._problem}. What is shown is the calibration before.")
        words += calibration_words.outcome(self.shown)
        words += [f"{note[0].upper()}{note[1:]}." for note in self._refit.notes]
        left = [plural(n - MOST, "source") for n in self._numbers if n > MOST]
        if left:
            words.append(f"Not marked: {', '.join(left)} of kinds with more than {MOST}.")
        if self.note:
            words.append(f"The picture: {self.note}; the numbers are of all pixels.")
        return " ".join(words)

    @property
    def _numbers(self) -> list[int]:
        """How many sources there are of each kind that is marked."""
        kinds = np.asarray(self.sources["kind"])
        return [int(np.count_nonzero(kinds == kind)) for kind in self.state.kinds]


def _ends(images: Sequence[np.ndarray]) -> tuple[float, float]:
    """Least and greatest value."""
    if not images:
        return 0.0, 1.0
    low, high = float(min(image.min() for image in images)), float(max(image.max() for image in images))
    return (low, high) if high > low else (low - 1, low + 1)


@explore.register
def _explore_calibration(calibrated: CalibratedImage, **options: Any) -> CalibrationExplorer:
    return CalibrationExplorer(calibrated, **options)
