"""What is measured of a source in its stamp, as columns with the names that the LSST pipelines give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from corontools.arrays.centroid import CentroidFlag, Centroids, peak_centroids, refined_centroids
from corontools.arrays.flux import CircleSums, PSFFluxes, circle_sums, compensated_tophat, psf_fluxes
from corontools.arrays.moments import ORDERS, MomentFlag, Moments, adaptive_moments, blendedness, higher_moments
from corontools.calibrate.psf import PSF

__all__ = ["PLUGINS", "View"]

Columns = dict[str, np.ndarray]
FAILED = CentroidFlag.EDGE | CentroidFlag.NO_SECOND_DERIVATIVE | CentroidFlag.NOT_AT_MAXIMUM


@dataclass(frozen=True, eq=False)
class View:
    """Stamps of sources and what is known of them; what several measurements need is measured once.

    Attributes
    ----------
    pixels, variances : ndarray, shape (n, side, side)
        NaN and infinite variance outside the frame.
    parents : callable
        Gives the stamps with all that each source was blended with.
    corners : ndarray of int, shape (n, 2)
        (y, x) in the frame of the first pixel of each stamp.
    peaks : ndarray of int, shape (n, 2)
        (x, y) in the frame where each source was found.
    fixed : ndarray of bool, shape (n,)
        Sources that are measured there: blank sky has a highest pixel, but no centroid.
    psf : PSF
    sigma : float
        Width of the PSF in the middle of the frame, px.
    shape : tuple of int
        Of the frame, (y, x).
    radii : tuple of float
        Of the aperture, and of the outer edge of the ring around it, px.
    """

    pixels: np.ndarray
    variances: np.ndarray
    parents: Callable[[], np.ndarray]
    corners: np.ndarray
    peaks: np.ndarray
    fixed: np.ndarray
    psf: PSF
    sigma: float
    shape: tuple[int, int]
    radii: tuple[float, float]

    @cached_property
    def first(self) -> Centroids:
        """Centroids by the PSF centred on a pixel, in the stamp."""
        kernels = self.psf.kernels(self.peaks[:, 0], self.peaks[:, 1])
        start = self.peaks - self.corners[:, ::-1]
        found = peak_centroids(self.pixels, self.variances, kernels, start)
        x, y = (np.where(self.fixed, start[:, k], values) for k, values in enumerate((found.x, found.y)))
        flags = np.where(self.fixed, np.int32(CentroidFlag.NOT_AT_MAXIMUM), found.flags)
        return found._replace(x=x, y=y, flags=flags)

    @cached_property
    def images(self) -> np.ndarray:
        """Stars of total 1 where the sources are, (n, k, k)."""
        return self.psf.images(self.first.x + self.corners[:, 1], self.first.y + self.corners[:, 0])

    @cached_property
    def centroids(self) -> Centroids:
        """Centroids by these, in the stamp."""
        return refined_centroids(self.pixels, self.variances, self.images, self.first)

    @cached_property
    def moments(self) -> Moments:
        """Adaptive moments of the sources, in the stamp."""
        x, y = self.centroids.x, self.centroids.y
        return adaptive_moments(self.pixels, self.variances, x, y, sigma=self.sigma, max_shift=2 * self.sigma)

    @cached_property
    def psf_moments(self) -> Moments:
        """Adaptive moments of the PSF where the sources are, in stamps of the PSF."""
        at = (self.first.x, self.first.y)
        x, y = (values - np.floor(values + 0.5) + self.images.shape[1] // 2 for values in at)
        return adaptive_moments(self.images, np.ones_like(self.images), x, y, sigma=self.sigma)

    @cached_property
    def psf_fluxes(self) -> PSFFluxes:
        """Fluxes by the PSF."""
        return psf_fluxes(self.pixels, self.variances, self.images, self.first.x, self.first.y)

    @cached_property
    def circles(self) -> CircleSums:
        """Sums in the aperture and within the outer edge of the ring."""
        x, y = self.centroids.x, self.centroids.y
        return circle_sums(self.pixels, self.variances, x, y, radii=self.radii)

    def leaves(self, reach: float) -> np.ndarray:
        """Whether pixels as far from a source's own lie outside the frame, (n,)."""
        x = np.floor(self.first.x + self.corners[:, 1] + 0.5)
        y = np.floor(self.first.y + self.corners[:, 0] + 0.5)
        return (np.minimum(x, y) < reach) | (x + reach >= self.shape[1]) | (y + reach >= self.shape[0])


def sdss_centroid(view: View) -> Columns:
    """Position in the frame; that of the peak where the centroid failed or went far from it."""
    found = view.centroids
    x, y = found.x + view.corners[:, 1], found.y + view.corners[:, 0]
    failed = (found.flags & int(FAILED)) != 0
    far = np.hypot(x - view.peaks[:, 0], y - view.peaks[:, 1]) > np.maximum(3.0, 2 * view.sigma * found.step)
    lost = failed | far
    columns = {
        "slot_Centroid_x": np.where(lost, view.peaks[:, 0], x),
        "slot_Centroid_y": np.where(lost, view.peaks[:, 1], y),
        "slot_Centroid_xErr": np.where(lost, np.nan, found.x_err),
        "slot_Centroid_yErr": np.where(lost, np.nan, found.y_err),
        "slot_Centroid_flag": lost,
        "base_SdssCentroid_flag_resetToPeak": far,
    }
    names = {"edge": "EDGE", "noSecondDerivative": "NO_SECOND_DERIVATIVE", "notAtMaximum": "NOT_AT_MAXIMUM"}
    for name, flag in {**names, "near_edge": "NEAR_EDGE"}.items():
        columns[f"base_SdssCentroid_flag_{name}"] = (found.flags & CentroidFlag[flag].value) != 0
    return columns


def source_moments(view: View) -> Columns:
    """Shape of the source."""
    found = view.moments
    columns = {"slot_Shape_xx": found.xx, "slot_Shape_yy": found.yy, "slot_Shape_xy": found.xy}
    columns |= {"slot_Shape_xxErr": found.xx_err, "slot_Shape_yyErr": found.yy_err, "slot_Shape_xyErr": found.xy_err}
    columns["slot_Shape_flag"] = found.flags != 0
    for flag in MomentFlag:
        name = str(flag.name).lower().replace("_", " ").title().replace(" ", "")
        columns[f"slot_Shape_flag_{name[0].lower()}{name[1:]}"] = (found.flags & flag.value) != 0
    return columns


def psf_shape(view: View) -> Columns:
    """Shape of the PSF at the source."""
    found = view.psf_moments
    columns = {"slot_PsfShape_xx": found.xx, "slot_PsfShape_yy": found.yy, "slot_PsfShape_xy": found.xy}
    return {**columns, "slot_PsfShape_flag": found.flags != 0}


def higher_source(view: View) -> Columns:
    """Moments of third and fourth order of the source."""
    return _higher("ext_shapeHSM_HigherOrderMomentsSource", view.pixels, view.moments)


def higher_psf(view: View) -> Columns:
    """Moments of third and fourth order of the PSF at the source."""
    return _higher("ext_shapeHSM_HigherOrderMomentsPSF", view.images, view.psf_moments)


def _higher(name: str, pixels: np.ndarray, moments: Moments) -> Columns:
    found = higher_moments(pixels, moments)
    columns = {f"{name}_{p}{q}": found[:, k] for k, (p, q) in enumerate(ORDERS)}
    return {**columns, f"{name}_flag": (moments.flags != 0) | ~np.isfinite(found).all(axis=1)}


def psf_flux(view: View) -> Columns:
    """Flux of a star."""
    found = view.psf_fluxes
    edge, none = view.leaves(view.images.shape[1] // 2), found.n_pixels == 0
    return {
        "base_PsfFlux_instFlux": found.flux,
        "base_PsfFlux_instFluxErr": found.flux_err,
        "base_PsfFlux_area": found.area,
        "base_PsfFlux_chi2": found.chi2,
        "base_PsfFlux_npixels": found.n_pixels,
        "base_PsfFlux_flag": edge | none | ~np.isfinite(found.flux),
        "base_PsfFlux_flag_edge": edge,
        "base_PsfFlux_flag_noGoodPixels": none,
    }


def gaussian_flux(view: View) -> Columns:
    """Flux under the source's own Gaussian."""
    found = view.moments
    columns = {"base_GaussianFlux_instFlux": found.flux, "base_GaussianFlux_instFluxErr": found.flux_err}
    return {**columns, "base_GaussianFlux_flag": (found.flags != 0) | ~np.isfinite(found.flux)}


def aperture_flux(view: View) -> Columns:
    """Flux in the circle; NaN where a pixel of it has no value."""
    sums = view.circles
    whole = sums.part[:, 0] >= 1
    name = f"base_CircularApertureFlux_{float(view.radii[0]):.1f}".replace(".", "_")
    return {
        f"{name}_instFlux": np.where(whole, sums.total[:, 0], np.nan),
        f"{name}_instFluxErr": np.where(whole, np.sqrt(sums.variance[:, 0]), np.nan),
        f"{name}_flag": ~whole,
        f"{name}_flag_apertureTruncated": view.leaves(np.ceil(view.radii[0])),
    }


def tophat_flux(view: View) -> Columns:
    """Flux in the circle less the light of the ring around it."""
    flux, err = compensated_tophat(view.circles, view.radii)
    bounds, name = view.leaves(np.ceil(view.radii[1])), f"base_CompensatedTophatFlux_{view.radii[0]:g}"
    flags = {f"{name}_flag": bounds | ~np.isfinite(flux), f"{name}_flag_bounds": bounds}
    return {f"{name}_instFlux": flux, f"{name}_instFluxErr": err, **flags}


def blended(view: View) -> Columns:
    """Part of the light at the source that is its neighbours'; 0 for what wasn't blended."""
    raw, absolute = blendedness(view.pixels, view.parents(), view.variances, view.moments)
    flag = (view.moments.flags != 0) | ~np.isfinite(raw + absolute)
    return {"base_Blendedness_raw": raw, "base_Blendedness_abs": absolute, "base_Blendedness_flag": flag}


def extendedness(view: View) -> Columns:
    """How sure it is that the source isn't of the PSF's size, 0 to 1."""
    source, psf = (found.xx + found.yy for found in (view.moments, view.psf_moments))
    value = 1 - np.exp(-0.5 * (source - psf) ** 2 / psf)
    flag = (view.moments.flags != 0) | ~np.isfinite(value)
    return {"base_ClassificationSizeExtendedness_value": value, "base_ClassificationSizeExtendedness_flag": flag}


PLUGINS: dict[str, Callable[[View], Columns]] = {
    "base_SdssCentroid": sdss_centroid,
    "ext_shapeHSM_HsmSourceMoments": source_moments,
    "ext_shapeHSM_HsmPsfMoments": psf_shape,
    "ext_shapeHSM_HigherOrderMomentsSource": higher_source,
    "ext_shapeHSM_HigherOrderMomentsPSF": higher_psf,
    "base_PsfFlux": psf_flux,
    "base_GaussianFlux": gaussian_flux,
    "base_CircularApertureFlux": aperture_flux,
    "base_CompensatedTophatFlux": tophat_flux,
    "base_Blendedness": blended,
    "base_ClassificationSizeExtendedness": extendedness,
}
