"""WarpExplorer: a warp as it is, matched to a PSF that is chosen live, and as S/N of stars."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np

from corontools.calibrate.planes import Plane
from corontools.display.scale import Scale, default_limits
from corontools.errors import DataError
from corontools.warp import Warp
from corontools.warp.diagnosis import Diagnosis
from corontools.warp.likelihood import Likelihood
from corontools.warp.look import Noise, exposure_of
from corontools.warp.mosaic import Matches
from corontools_widgets import controls, warp_words
from corontools_widgets.explore import explore
from corontools_widgets.flicker import ROW, SIDE
from corontools_widgets.image_pane import ImagePane
from corontools_widgets.image_view import ImageView
from corontools_widgets.later import Later
from corontools_widgets.panels import CurveSet
from corontools_widgets.warp_controls import MatchControls, SeenControls
from corontools_widgets.warp_panels import Panels
from corontools_widgets.warp_state import MATCHING, WarpState, choices_of
from corontools_widgets.warp_subject import DIRECT, FLUX, MATCHED, SNR, Subject
from corontools_widgets.warp_work import Worker

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["WarpExplorer", "WarpState"]

CONVOLVING = "working: convolving the image \u2026"
LOOKING = "working: noise and faults \u2026"
CORRELATING = "working: S/N of stars \u2026"
FAILED = "not matched, see below"
REST = 0.3  # s after the last image in which nothing else was asked for


class WarpExplorer(ImageView):
    """The direct warp, the PSF-matched one and the S/N of stars on the same pixels, with model and matcher to choose.

    Kernels follow each choice at once, with the pictures of the place that was clicked and the quality over the field;
    the image follows as soon as it is convolved, in the background, then noise and faults.

    Parameters
    ----------
    warp : Warp
        Of any kind; one that was matched or correlated can be matched otherwise where its direct warp is at hand.
    **choices
        Of `WarpState`.

    Attributes
    ----------
    given : Warp
        As it was given.

    Raises
    ------
    DataError
        If nothing contributes to the warp, or a choice is none of `WarpState`.

    Examples
    --------
    >>> from corontools.calibrate.visit import VisitImage
    >>> from corontools.simulate import star_field
    >>> from corontools.warp import SkyMap, Tiling
    >>> field = star_field(200)
    >>> visit = VisitImage.from_exposure(field.exposures[0], field.truth.psf)
    >>> patch = SkyMap.around([visit], tiling=Tiling(0.2, (200, 200), 0))[0][0, 0]
    >>> view = WarpExplorer(Warp.from_exposures(visit, patch), fwhm=5.0)
    >>> view.result.kind, view.result.psf.fwhm, view.code.endswith(".match_psf(5.0)")
    ('psfMatched', 5.0, True)
    >>> view.close()
    """

    state: WarpState

    def __init__(self, warp: Warp, **choices: Any) -> None:
        self.given, self._subject = warp, Subject(warp)
        super().__init__(self._state_of(choices))
        self._problem, self._shown_key = "", ""
        self.matches: Matches | None = None
        self.matched: Warp | None = None
        self._likelihood: Likelihood | None = None
        self.noise: dict[str, Noise] = {}
        self.diagnosis: Diagnosis | None = None
        self._spans: dict[str, tuple[Any, tuple[float, float]]] = {}
        self._begin_workers()
        self._first_match()
        self.look_at(exposure_of(warp))
        self.take(self._made_pane(), self._limits())
        self._make_controls()
        self._lay_out()
        self._join()
        self._draw_match()
        self._tint()
        self._check()
        self._want_snr()
        self.say()

    # -- what the choices amount to -----------------------------------------------------------------------------------

    @property
    def result(self) -> Warp:
        """The matched warp of the choices; what was given where its direct warp isn't at hand."""
        if self._subject.direct is None:
            return self.given
        matcher, model = self._subject.options(self.state)
        return self._subject.matched(self._key, matcher, model)

    @property
    def code(self) -> str:
        """Python that gives `result`."""
        return self._subject.code(self.state)

    @property
    def _key(self) -> str:
        return self._subject.key(self.state)

    @property
    def place(self) -> tuple[float, float]:
        """What was clicked, px; the middle of the image where nothing was."""
        ny, nx = self.given.shape
        x, y = self.state.cursor or ((nx - 1) / 2, (ny - 1) / 2)
        return float(np.clip(x, 0, nx - 1)), float(np.clip(y, 0, ny - 1))

    def _state_of(self, choices: dict[str, Any]) -> WarpState:
        state = WarpState()
        state.apply({**self._subject.choices, "frame": self._subject.first, **choices})
        state.clear_history()
        return state

    def _begin_workers(self) -> None:
        self._images, self._checks, self._stars = Worker(), Worker(), Worker()
        self._rest = Later(self._check, delay=REST)
        for worker in (self._images, self._checks, self._stars):
            self.at_end(worker.close)
        self.at_end(self._rest.cancel)

    def _first_match(self) -> None:
        subject = self._subject
        if isinstance(self.given.convolved, Likelihood):
            self._likelihood = self.given.convolved
        if subject.direct is None:
            self.matches = self.given.convolved if isinstance(self.given.convolved, Matches) else None
            self.matched = self.given if self.matches is not None else None
            return
        subject.know_given(self.state)
        try:
            self.matches, self.matched = subject.solved(self.state), self.result
            self._shown_key = self._key
        except DataError as error:
            self._problem = str(error)

    # -- following the choices ----------------------------------------------------------------------------------------

    def _changed(self, _: Any = None) -> None:
        """Solve for the kernels now, and ask for the image."""
        if self._key == self._shown_key and not (self._problem or self._images.busy):
            return
        self.panels.wait()
        self._rest.cancel()
        self._checks.forget()
        try:
            matcher, model = self._subject.options(self.state)
            self.matches = self._subject.solved(self.state)
        except DataError as error:
            self._fail(error)
            return
        self._problem = ""
        self._draw_match()
        self._say_work(CONVOLVING)
        key = self._key
        self._images.ask(partial(self._subject.matched, key, matcher, model), partial(self._take, key))

    def _fail(self, error: DataError) -> None:
        self._problem = str(error)
        self._say_work(FAILED)
        self.say()

    def _take(self, key: str, made: Warp | DataError) -> None:
        """Show the image that was convolved; a later one may be on its way."""
        if isinstance(made, DataError):
            self._fail(made)
            return
        self.matched, self._shown_key = made, key
        self.pane.set_frame(self._subject.names.index(MATCHED), self.image(self._subject.names.index(MATCHED)))
        self.limit(self._limits())
        self._tint()
        if key == self._key:
            self._say_work(LOOKING)
            self._rest()
        self.say()

    def _check(self) -> None:
        """Look at noise and faults."""
        if self.matches is None and self.matched is None and self._problem:
            return
        self._say_work(LOOKING)
        work = partial(self._subject.checked, self.matched, self.matches)
        self._checks.ask(work, partial(self._show_check, self._key))

    def _show_check(self, key: str, found: Any) -> None:
        if key != self._key:
            return
        if isinstance(found, DataError):
            self._fail(found)
            return
        self.noise, self.diagnosis = found
        self.panels.show_check(self.noise, self.diagnosis)
        self._say_work("")
        self.say()

    def take_remedy(self) -> None:
        """Choose what the diagnosis proposes."""
        if self.diagnosis is not None and self.diagnosis.faults:
            self.state.apply(choices_of(self.diagnosis.matcher, self.diagnosis.model))

    def _want_snr(self, _: Any = None) -> None:
        """Make the S/N of stars when it is looked at."""
        if SNR not in self._subject.names or self._likelihood is not None:
            return
        if self._subject.names.index(SNR) in (self.state.frame, self.state.compare) and not self._stars.busy:
            self._say_work(CORRELATING)
            self._stars.ask(lambda: self._subject.likelihood, self._show_snr)

    def _show_snr(self, made: Likelihood | DataError) -> None:
        if isinstance(made, DataError):
            self._fail(made)
            return
        self._likelihood = made
        self.pane.set_cube(self._cube())  # its noise is other than that of the others
        self.limit(self._limits())
        self._tint()
        self._say_work("")
        self.say()

    def _say_work(self, text: str) -> None:
        controls.say(self._status, text)

    def _draw_match(self) -> None:
        if self.matches is not None:
            self.panels.show_match(self.matches, self.place)

    def _place(self, _: Any = None) -> None:
        self.panels.show_place(self.place)
        self.say()

    def _tint(self, _: Any = None) -> None:
        name = self.state.tint
        if not name:
            self.pane.set_mask(None)
            return
        none = np.zeros(self.given.shape, bool)
        frames = [self._frame(one) for one in self._subject.names]
        where = np.stack([none if frame is None else frame.has(Plane[name]) for frame in frames])
        self.pane.set_mask(where if where.any() else None, name=name)

    def _frame(self, name: str) -> Any:
        """Of an image, with its mask; None where it isn't made yet."""
        if name == DIRECT:
            assert self._subject.direct is not None
            return self._subject.direct.frame
        if name == MATCHED:
            return None if self.matched is None else self.matched.frame
        return None if self._likelihood is None else self._likelihood.frame

    # -- widgets ------------------------------------------------------------------------------------------------------

    def _made_pane(self) -> ImagePane:
        return ImagePane(
            self._cube(),
            names=self._subject.names,
            name="image",
            sky=self.sky,
            scale=Scale(self._limits()[self.held("limits")], kind=self.state.stretch, unit=self._unit),
            title=self.title,
            frame=self.state.frame,
            overlays={"rings": False, "star": False},
        )

    def _make_controls(self) -> None:
        subject = self._subject
        self.seen = SeenControls(self, several=subject.direct is not None)
        self.controls: MatchControls | None = None
        if subject.direct is not None:
            given = subject.choices
            self.controls = MatchControls(self, subject.suggested, given["sigmas"], given)
        images = (DIRECT, MATCHED) if subject.direct is not None else (subject.names[0],)
        self.panels = Panels(
            self,
            self.given.shape,
            images=images,
            matched=subject.direct is not None or self.matches is not None,
            take=self.take_remedy if subject.direct is not None else None,
        )
        self._status = controls.words(margin="0 0 0 10px")

    def _lay_out(self) -> None:
        bar = controls.Toolbar(self, self._status)
        rows: list[ipywidgets.Widget] = [] if self.controls is None else self.controls.rows
        columns = [[self.pane, *self.panels.under_image], [*self.seen.rows, *rows, *self.panels.beside_image]]
        sides = [ipywidgets.VBox(column, layout=SIDE) for column in columns]
        self.show_as(controls.column(bar.widget, controls.row(*sides, **ROW), *self.panels.rows, self._words))

    def _join(self) -> None:
        if self._subject.direct is not None:
            self.watch(self._changed, *MATCHING)
        self.watch(self._tint, "tint")
        self.watch(self._place, "cursor")
        self.watch(self._want_snr, "frame", "compare")
        self.watch(self.say, "frame", "quality")
        self.state.clear_history()

    def _follow(self, change: Any = None) -> None:
        super()._follow(change)
        self.pane.unit = self._unit

    @property
    def _unit(self) -> str:
        return "" if self._subject.names[self.index] == SNR else self.given.meta.unit

    def held(self, name: str) -> str:
        """S/N has limits of its own, the matched image where that is chosen."""
        shown = self._subject.names[self.index]
        if name == "limits" and shown == SNR:
            return "snr_limits"
        return "matched_limits" if name == "limits" and shown == MATCHED and self.state.own else name

    def _limits(self) -> dict[str, tuple[float, float]]:
        names = self._subject.names
        shown = {"limits": FLUX if FLUX in names else names[0], "matched_limits": MATCHED, "snr_limits": SNR}
        return {held: self._span(name) for held, name in shown.items()}

    def _span(self, name: str) -> tuple[float, float]:
        """Limits of an image, worked out once for each."""
        frame = self._likelihood if name in (SNR, FLUX) else self._frame(name) if name in self._subject.names else None
        if name not in self._subject.names or frame is None:
            return 0.0, 1.0
        if self._spans.get(name, (None,))[0] is not frame:
            self._spans[name] = frame, default_limits(self.image(self._subject.names.index(name)))
        return self._spans[name][1]

    def _cube(self) -> np.ndarray:
        return np.stack([self.image(i) for i in range(len(self._subject.names))])

    # -- words and files ----------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Of the visit."""
        patch = self.given.patch
        return f"visit {self.given.visit}, {self.given.filter or 'filter unknown'}, patch {patch.name}"

    def image(self, index: int) -> np.ndarray:
        """The direct warp, the matched one, or S/N; NaN where it isn't made yet."""
        name = self._subject.names[index]
        if name in (SNR, FLUX) and self._likelihood is not None:
            made = self._likelihood.snr if name == SNR else self._likelihood.flux.image
            return np.asarray(made, np.float32)
        frame = None if name in (SNR, FLUX) else self._frame(name)
        return np.full(self.given.shape, np.nan, np.float32) if frame is None else np.asarray(frame.image, np.float32)

    def table(self) -> Table:
        """Quality of the match at its places; of a likelihood warp its visit."""
        return self.given.inputs.visits if self.matches is None else self.matches.quality

    def curves(self) -> Sequence[CurveSet]:
        """Quality over the field, and noise."""
        return warp_words.curves(self.matches, self.noise, self.state.quality, max(self.given.shape))

    @property
    def text(self) -> str:
        """What is shown, in words."""
        words = [f"{self.title}, {self.pane.names[self.state.frame]}."]
        if self._problem:
            words.append(f"{self._problem}. What is shown is the match before.")
        if self.matches is not None:
            words += warp_words.match(self.matches)
        elif self._likelihood is not None:
            words += [f"{name}: {text}." for name, text in self._likelihood.rows()]
        words += warp_words.noise(self.noise)
        if self.diagnosis is not None:
            words += warp_words.diagnosis(self.diagnosis)
        if self.note:
            words.append(f"The picture: {self.note}; the numbers are of all pixels.")
        return " ".join(words)


@explore.register
def _explore_warp(warp: Warp, **options: Any) -> WarpExplorer:
    return WarpExplorer(warp, **options)
