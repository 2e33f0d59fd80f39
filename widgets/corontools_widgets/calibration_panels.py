"""Panels of a calibration explorer below its image: sizes, residuals of the PSF, whiskers, offsets, zero point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets

from corontools.calibrate import look, look_field
from corontools.calibrate.image import CalibratedImage
from corontools.display.scale import Scale
from corontools_widgets import calibration_words, controls
from corontools_widgets.calibration_plots import FieldPlot, SizePlot, ZeroPointPlot
from corontools_widgets.image_pane import ImagePane
from corontools_widgets.image_view import beside
from corontools_widgets.panels import CurveSet

if TYPE_CHECKING:
    from corontools_widgets.calibration import CalibrationExplorer

__all__ = ["Panels"]

TILES = ("stars", "models", "residuals")
# percent of the peak of each star
TILE_LIMITS = (-3.0, 100.0)
WHISKERS = {
    "shape": ("ellipticity", ("stars", "PSF")),
    "residual": ("ellipticity, stars less PSF", ("stars less PSF",)),
    "size": ("size, stars over PSF", ("wider (up) or narrower (down)",)),
}
OFFSETS = ("from sources to references",)


class Panels:
    """What is shown of the steps that were done.

    Parameters
    ----------
    view : CalibrationExplorer
        With its state and the calibration that is shown first.

    Attributes
    ----------
    sizes : SizePlot or None
    tiles : ImagePane or None
    whiskers, offsets : FieldPlot or None
    zero_point : ZeroPointPlot or None
    """

    def __init__(self, view: CalibrationExplorer) -> None:
        self._view, self._now = view, view.shown
        self.mosaic: look_field.Mosaic
        shape, now = view.shown.start.shape, view.shown
        self.sizes = SizePlot() if now.modelled is not None else None
        self.whiskers = FieldPlot(shape) if now.modelled is not None else None
        self.tiles = self._made_tiles() if now.modelled is not None else None
        self.offsets = FieldPlot(shape, arrows=True) if now.astrometry is not None else None
        self.zero_point = ZeroPointPlot() if now.photometry is not None else None
        for panel in (self.sizes, self.whiskers, self.offsets, self.zero_point):
            if panel is not None:
                view.at_end(panel.plot.close)
        self._join()

    @property
    def beside_image(self) -> list[ipywidgets.Widget]:
        """What goes beside the image."""
        return [] if self.sizes is None else [self.sizes.widget]

    @property
    def rows(self) -> list[ipywidgets.Widget]:
        """What goes below it."""
        made = []
        if self.tiles is not None and self.whiskers is not None:
            made += [_heading("Stars of the PSF"), beside(self.tiles, self._what, self.whiskers.widget)]
        fits = [("Astrometry", self.offsets), ("Zero point", self.zero_point)]
        parts = [ipywidgets.VBox([_heading(name), panel.widget], layout={"flex": "1 1 360px", "min_width": "240px"})
                 for name, panel in fits if panel is not None]  # fmt: skip
        return made + ([controls.row(*parts, align_items="flex-start", grid_gap="0 14px")] if parts else [])

    def show(self, calibrated: CalibratedImage) -> None:
        """Draw another calibration."""
        self._now = calibrated
        if calibrated.modelled is not None and self.tiles is not None:
            self.mosaic = look_field.mosaic(calibrated.modelled.passes[-1].fit, grid=self.mosaic.grid)
            self.tiles.set_cube(self.mosaic.images, names=TILES)
            self.tiles.regions = [self._outline(i) for i in range(len(self.mosaic.x)) if not self.mosaic.kept[i]]
        if self.offsets is not None:
            self.offsets.show([look_field.offsets(calibrated)], OFFSETS)
        if self.zero_point is not None and calibrated.photometry is not None:
            self.zero_point.show(look.differences(calibrated.photometry), calibrated.photometry.zero_point)
        self.show_sizes()
        self._show_whiskers()

    def choose(self, place: tuple[float, float] | None) -> None:
        """Ring about the source at a place (px)."""
        if self.sizes is not None:
            self.sizes.ring(*(place or (None, None)))

    def curves(self) -> list[CurveSet]:
        """The plots, for a page."""
        made, now, side = [], self._now, max(self._now.start.shape)
        if self.whiskers is not None:
            title, names = WHISKERS[self._view.state.whiskers]
            made.append(calibration_words.field_curves(self._fields, names, side, title=title.capitalize()))
        if now.astrometry is not None:
            fields = [look_field.offsets(now)]
            made.append(calibration_words.field_curves(fields, OFFSETS, side, title="Offsets of the astrometry"))
        if now.photometry is not None:
            made.append(calibration_words.zero_point_curves(look.differences(now.photometry), now.photometry))
        return made

    @property
    def _fields(self) -> tuple[look_field.Field, ...]:
        return look_field.whiskers(self._now, self._view.state.whiskers)

    def _made_tiles(self) -> ImagePane:
        assert self._now.modelled is not None
        self.mosaic = look_field.mosaic(self._now.modelled.passes[-1].fit)
        return ImagePane(
            self.mosaic.images,
            names=TILES,
            name="image",
            scale=Scale(TILE_LIMITS, unit="% of the peak"),
            title="residuals of the PSF; framed stars are rejected",
            compare=2,
            overlays={"rings": False, "star": False, "compass": False, "bar": False},
        )

    def _outline(self, i: int) -> dict[str, Any]:
        """A frame round the tile of a star that was rejected."""
        (x, y), side = self.mosaic.corners[i].tolist(), self.mosaic.side
        corners = {"x0": x - 0.5, "y0": y - 0.5, "x1": x + side - 0.5, "y1": y + side - 0.5}
        return {"kind": "rectangle", "locked": True, "visible": True, **corners}

    def _join(self) -> None:
        view = self._view
        if self.sizes is None or self.tiles is None:
            return
        self._what = controls.choice("whiskers", [(words, name) for name, (words, _) in WHISKERS.items()], "shape")
        view.link("whiskers", self._what)
        view.watch(self._show_whiskers, "whiskers")
        view.watch(self.show_sizes, "sizes")
        view.watch(self._tile_clicked, "cursor", of=self.tiles)
        self.sizes.on_choose(lambda x, y: setattr(view.state, "cursor", [x, y]))
        self.sizes.on_drag(view.pull)

    def show_sizes(self, _: Any = None) -> None:
        """Draw sizes and magnitudes."""
        if self.sizes is not None and self._now.modelled is not None:
            snr = getattr(self._now.steps.star_selector, "min_snr", self._view.state.min_snr)
            self.sizes.show(look.SizeMagnitude.of(self._now.modelled), what=self._view.state.sizes, min_snr=snr)

    def _show_whiskers(self, _: Any = None) -> None:
        if self.whiskers is not None:
            self.whiskers.show(self._fields, WHISKERS[self._view.state.whiskers][1])

    def _tile_clicked(self, _: Any = None) -> None:
        assert self.tiles is not None
        star = self.mosaic.star_at(*self.tiles.cursor) if self.tiles.cursor else None
        if star is not None:
            self._view.state.cursor = [round(float(self.mosaic.x[star]), 2), round(float(self.mosaic.y[star]), 2)]


def _heading(text: str) -> ipywidgets.HTML:
    return controls.words(text, tag="h4", margin="10px 0 0 2px")
