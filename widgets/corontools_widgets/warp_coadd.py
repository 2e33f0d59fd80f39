"""CoaddExplorer: a coadd with its errors, depth and weights on the same pixels, and what contributes to a place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
from astropy.table import Table
from traitlets import Float, List, TraitError, Unicode, validate

from corontools.calibrate.planes import Plane
from corontools.display.picture import Scale
from corontools.display.scale import default_limits
from corontools.warp import Coadd
from corontools.warp.look import Noise, blank_sky, exposure_of, noise
from corontools_widgets import controls, warp_words
from corontools_widgets.explore import explore
from corontools_widgets.image_pane import ImagePane
from corontools_widgets.image_view import ImageState, ImageView, beside, html_table
from corontools_widgets.panels import CurveSet
from corontools_widgets.warp_plots import NoisePlot

__all__ = ["CoaddExplorer", "CoaddState"]

# images, and the choice that holds the limits of each
IMAGES = {"coadd": "limits", "error": "error_limits", "warps": "depth_limits", "weight": "weight_limits"}
PLANES = ("", *Plane.__members__)
SHOWN = ("visit", "goodpix", "weight")
HINT = "click the image to see which visits cover a place"


class CoaddState(ImageState):
    """Choices of a `CoaddExplorer`.

    Attributes
    ----------
    frame : int
        Coadd, error of each pixel, number of warps that count, and sum of their weights in percent of the greatest.
    tint : str
        Plane of the mask that is tinted, such as "CLIPPED"; "" for none.
    error_limits, depth_limits, weight_limits : [float, float] or []
        `limits` of the other images.
    """

    tint = Unicode("")
    error_limits = List(Float(), maxlen=2)
    depth_limits = List(Float(), maxlen=2)
    weight_limits = List(Float(), maxlen=2)

    @validate("error_limits", "depth_limits", "weight_limits")
    def _in_order(self, proposal: dict[str, Any]) -> list[float]:
        return self._pair(proposal)

    @validate("tint")
    def _plane(self, proposal: dict[str, Any]) -> str:
        if proposal["value"] not in PLANES:
            raise TraitError(f"tint should be one of {', '.join(PLANES[1:])} or '', found {proposal['value']!r}")
        return str(proposal["value"])


class CoaddExplorer(ImageView):
    """A coadd, the error of each pixel, how many warps count, and their weights; a click tells of the visits there.

    Parameters
    ----------
    coadd : Coadd
    **choices
        Of `CoaddState`.

    Examples
    --------
    >>> from corontools.calibrate.visit import VisitImage
    >>> from corontools.simulate import star_field
    >>> from corontools.warp import SkyMap, Tiling, Warp
    >>> field = star_field(200)
    >>> visits = [VisitImage.from_exposure(field.exposures[0], field.truth.psf, visit=number) for number in (1, 2)]
    >>> patch = SkyMap.around(visits, tiling=Tiling(0.2, (200, 200), 0))[0][0, 0]
    >>> view = CoaddExplorer(Coadd.from_warps([Warp.from_exposures(visit, patch) for visit in visits]))
    >>> view.pane.names, view.image(2).max()
    (['coadd', 'error', 'warps', 'weight'], np.float32(2.0))
    >>> view.close()
    """

    state: CoaddState

    def __init__(self, coadd: Coadd, **choices: Any) -> None:
        super().__init__(CoaddState(**choices))
        self.coadd = coadd
        blank = blank_sky(coadd.frame, coadd.psf)
        self.noise: dict[str, Noise] = {"coadd": noise(coadd.frame, blank)}
        self.look_at(exposure_of(coadd))
        self.take(self._made_pane(), self._limits())
        self._plot = NoisePlot(("coadd",))
        self.at_end(self._plot.plot.close)
        self._plot.show(self.noise)
        self._here = ipywidgets.HTML(layout={"width": "auto"})
        self._tinted = controls.choice("tint", [("nothing", ""), *((p, p) for p in Plane.__members__)], self.state.tint)
        self.link("tint", self._tinted)
        side = [controls.row(self._tinted), self._here, self._plot.widget]
        self.show_as(controls.column(controls.Toolbar(self).widget, beside(self.pane, *side), self._words))
        self.watch(self._tint, "tint")
        self.watch(self._place, "cursor")
        self.watch(self.say, "frame")
        self.state.clear_history()
        self._tint()
        self._place()

    @property
    def result(self) -> Coadd:
        """The coadd as it was given."""
        return self.coadd

    def _made_pane(self) -> ImagePane:
        return ImagePane(
            np.stack([self.image(i) for i in range(len(IMAGES))]),
            names=list(IMAGES),
            name="image",
            sky=self.sky,
            scale=Scale(self._limits()[self.held("limits")], kind=self.state.stretch, unit=self._unit),
            title=self.title,
            frame=self.state.frame,
            overlays={"rings": False, "star": False},
        )

    def held(self, name: str) -> str:
        """Each image has limits of its own."""
        return list(IMAGES.values())[self.index] if name == "limits" else name

    @property
    def _unit(self) -> str:
        return (self.coadd.meta.unit, self.coadd.meta.unit, "warps", "% of the greatest")[self.index]

    def _follow(self, change: Any = None) -> None:
        super()._follow(change)
        self.pane.unit = self._unit

    def _limits(self) -> dict[str, tuple[float, float]]:
        deepest = float(max(self.coadd.depth.max(), 1))
        automatic = (default_limits(self.image(0)), default_limits(self.image(1)), (0.0, deepest), (0.0, 100.0))
        return dict(zip(IMAGES.values(), automatic, strict=True))

    def _tint(self, _: Any = None) -> None:
        name = self.state.tint
        where = self.coadd.frame.has(Plane[name]) if name else None
        self.pane.set_mask(where if where is not None and where.any() else None, name=name or "mask")

    def _place(self, _: Any = None) -> None:
        """Tell which visits cover the place that was clicked."""
        self._here.value = html_table(self._visits) if self.state.cursor else HINT
        self.say()

    @property
    def _visits(self) -> Table:
        found = self.coadd.inputs_at(*self.state.cursor)
        return found[[name for name in SHOWN if name in found.colnames]]

    # -- words and files ----------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Filter and patch."""
        return f"coadd, {self.coadd.filter or 'filter unknown'}, patch {self.coadd.patch.name}"

    def image(self, index: int) -> np.ndarray:
        """Coadd, error, number of warps, or weight in percent of the greatest; NaN where nothing counts."""
        coadd = self.coadd
        if index < 2:
            made = np.asarray((coadd.image, coadd.error)[index], np.float32)
            return np.where(np.isfinite(made), made, np.float32(np.nan))
        if index == 2:
            return np.asarray(coadd.depth, np.float32)
        return np.asarray(100 * coadd.weight / (np.nanmax(coadd.weight) or 1), np.float32)

    def table(self) -> Table:
        """The visits."""
        return self.coadd.inputs.visits

    def curves(self) -> Sequence[CurveSet]:
        """Noise."""
        return warp_words.curves(None, self.noise, "peak", max(self.coadd.shape))

    @property
    def text(self) -> str:
        """What is shown, in words."""
        words = [f"{self.title}, {self.pane.names[self.state.frame]}."]
        words += [f"{name[0].upper()}{name[1:]}: {told}." for name, told in self.coadd._rows()]
        words += warp_words.noise(self.noise)
        if self.state.cursor:
            found = self._visits
            names = ", ".join(str(visit) for visit in found["visit"])
            words.append(f"At ({self.state.cursor[0]:.0f}, {self.state.cursor[1]:.0f}) px: {names or 'no visit'}.")
        if self.note:
            words.append(f"The picture: {self.note}; the numbers are of all pixels.")
        return " ".join(words)


@explore.register
def _explore_coadd(coadd: Coadd, **options: Any) -> CoaddExplorer:
    return CoaddExplorer(coadd, **options)
