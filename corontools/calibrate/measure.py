"""Measurement of sources, each with its neighbours replaced by noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table

from corontools.arrays.stamps import Pair, blank_sources, source_stamps
from corontools.arrays.threads import in_threads
from corontools.calibrate.detections import Detections
from corontools.calibrate.flags import detect_flags, pixel_flags
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.plugins import PLUGINS, Columns, View
from corontools.calibrate.psf import PSF
from corontools.calibrate.targets import Sources
from corontools.errors import DataError

__all__ = ["FULL", "MINIMAL", "Measurer"]

FRAME_PLUGINS = ("base_PixelFlags", "base_FootprintArea")
# all that stars of the PSF and photometry need
MINIMAL = (
    "base_SdssCentroid",
    "ext_shapeHSM_HsmSourceMoments",
    "base_PsfFlux",
    "base_GaussianFlux",
    "base_CircularApertureFlux",
    "base_CompensatedTophatFlux",
    "base_PixelFlags",
)
FULL = (*PLUGINS, *FRAME_PLUGINS)
# pixels of the stamps that a thread works on at a time
BLOCK = 1 << 20


@dataclass(frozen=True)
class Measurer:
    """Positions, shapes, fluxes and flags of sources.

    Parameters
    ----------
    plugins : tuple of str
        What to measure, of `FULL`; `MINIMAL` is enough to choose stars. Centroids are always measured.
    aperture : float
        Radius of the aperture and of the compensated tophat, px.
    annulus : float
        Outer radius of the ring around the tophat, in units of the aperture.
    max_half : int
        Half the side of the largest stamp, px: what is larger is measured by its middle.
    seed : int
        Of the noise that neighbours are replaced by.

    Raises
    ------
    DataError
        If a plugin isn't one of `FULL`, or a radius makes no sense.
    """

    plugins: tuple[str, ...] = FULL
    aperture: float = 12.0
    annulus: float = 1.7
    max_half: int = 100
    seed: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "plugins", tuple(self.plugins))
        unknown = sorted(set(self.plugins) - set(FULL))
        if unknown:
            raise DataError(f"plugins are of {', '.join(FULL)}; found {', '.join(unknown)}")
        if not (0 < self.aperture < np.inf and 1 < self.annulus < np.inf and self.max_half > 0):
            raise DataError(f"radii should be positive, and the ring wider than the aperture, found {self}")

    def measure(self, masked: MaskedImage, sources: Sources | Detections, psf: PSF) -> Table:
        """Measure all sources of a frame.

        While one source is measured, the footprints of all others hold noise of the sky beside them, the same at
        every call. Pixels that are NaN are left out. Sky sources are measured where they were put.

        Parameters
        ----------
        masked : MaskedImage
            Less its background.
        sources : Sources or Detections
            Of a deblender, or of detection: then each footprint is one source, at its highest peak.
        psf : PSF

        Returns
        -------
        Table
            One row per source, in their order: their `id`, `parent`, `footprint`, deblender's columns and flags, and
            the columns of the plugins. Fluxes in counts, positions in px from the middle of the first pixel; a value
            that couldn't be measured is NaN, and its flag set.

        Raises
        ------
        DataError
            If the footprints aren't of this frame.
        """
        sources = sources if isinstance(sources, Sources) else Sources.of(sources)
        if sources.footprints.labels.shape != masked.shape:
            raise DataError(
                f"footprints should be of the frame that is measured; found {sources.footprints.labels.shape} "
                f"and {masked.shape} px: detect again"
            )
        frame = (np.asarray(masked.image), np.asarray(masked.variance))
        blank = blank_sources(*frame, sources.footprints.labels, seed=self.seed)
        sigma = middle_sigma(psf, masked.shape)
        blocks = self._blocks(sources, psf)
        found = in_threads(lambda block: self._columns(frame, blank, sources, block, psf, sigma), blocks)
        columns = _joined(found, [rows for _, rows in blocks])
        flags = pixel_flags(masked, sources, columns["slot_Centroid_x"], columns["slot_Centroid_y"])
        for name in (plugin for plugin in self.plugins if plugin in FRAME_PLUGINS):
            columns |= {key: values for key, values in flags.items() if key.startswith(name)}
        return _table(sources, columns)

    def _blocks(self, sources: Sources, psf: PSF) -> list[tuple[int, np.ndarray]]:
        """Half sides of stamps, and the rows that are measured in them together."""
        least = max(psf.size // 2 + 4, int(np.ceil(self.annulus * self.aperture)) + 4)
        _, _, y0, y1, x0, x1 = sources.footprints.rows.T
        x, y = np.asarray(sources.table["x"]), np.asarray(sources.table["y"])
        reach = np.max([x - x0, x1 - x, y - y0, y1 - y], axis=0) + 4
        halves = sorted({least, *(half for half in (40, 64, self.max_half) if half > least)})
        of = np.searchsorted(halves, np.clip(reach, least, halves[-1]))
        blocks = []
        for k, half in enumerate(halves):
            rows, many = np.flatnonzero(of == k), max(BLOCK // (2 * half + 1) ** 2, 1)
            blocks += [(half, rows[first : first + many]) for first in range(0, len(rows), many)]
        return blocks or [(least, np.zeros(0, int))]

    def _columns(
        self, frame: Pair, blank: Pair, sources: Sources, block: tuple[int, np.ndarray], psf: PSF, sigma: float
    ) -> Columns:
        half, rows = block
        peaks = np.stack([np.asarray(sources.table[name], np.int64)[rows] for name in ("x", "y")], axis=1)
        corners, mine = peaks[:, ::-1] - half, sources.footprints.of(rows)
        pixels, variances = source_stamps(frame, blank, mine, corners, side=2 * half + 1)
        view = View(
            pixels,
            variances,
            parents=lambda: source_stamps(frame, blank, mine.whole(), corners, side=2 * half + 1)[0],
            corners=corners,
            peaks=peaks,
            fixed=np.asarray(sources.table["sky_source"], bool)[rows],
            psf=psf,
            sigma=sigma,
            shape=frame[0].shape,
            radii=(self.aperture, self.aperture * self.annulus),
        )
        names = dict.fromkeys(("base_SdssCentroid", *(name for name in self.plugins if name in PLUGINS)))
        columns: Columns = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            for name in names:
                columns |= PLUGINS[name](view)
        return columns


def middle_sigma(psf: PSF, shape: tuple[int, int]) -> float:
    """Width of the PSF in the middle of a frame, px.

    Raises
    ------
    DataError
        If it has none.
    """
    sigma = float(psf.sigma([shape[1] / 2], [shape[0] / 2])[0])
    if not 0 < sigma < np.inf:
        raise DataError(f"the PSF in the middle of the frame has no width (found {sigma}): fit it again")
    return sigma


def _joined(found: list[Columns], rows: list[np.ndarray]) -> Columns:
    """Columns of all blocks, in the order of the sources."""
    order = np.argsort(np.concatenate(rows), kind="stable")
    return {name: np.concatenate([columns[name] for columns in found])[order] for name in found[0]}


def _table(sources: Sources, columns: Columns) -> Table:
    table = sources.table.copy()
    table.rename_columns(["x", "y"], ["slot_Peak_x", "slot_Peak_y"])
    for name, values in {**detect_flags(sources.table), **columns}.items():
        table[name] = values
    for name in table.colnames:
        table[name].unit = _unit(name)
    return table


def _unit(name: str) -> u.UnitBase | None:
    if name.endswith(("_instFlux", "_instFluxErr")):
        return u.ct
    if name.startswith(("slot_Shape_", "slot_PsfShape_")) and "flag" not in name:
        return u.pix**2
    if name.startswith(("slot_Centroid_", "slot_Peak_", "deblend_psfCenter_")) and "flag" not in name:
        return u.pix
    return u.pix if name in ("base_PsfFlux_area", "base_FootprintArea_value") else None
