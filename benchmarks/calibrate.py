"""Single-frame calibration beside its peers: what is found, how right it is, and how long it takes.

    python benchmarks/calibrate.py [TABLE ...] [--quick] [--markdown] [--seeds N]

Without a name all tables are made, in this order:

accuracy: seeded simulations (2048 x 2048 px, 2500 stars, 300 galaxies, cosmic rays, a PSF that varies) calibrated from
counts to nJy, beside the truth.
found: what each stage and its peers make of the first of these frames; the PSFs, of stars of all of them that were
held out of the fit. One star in ten stands 3 to 10 px from a brighter one: most that aren't detected are of these.
time: the same stages and their peers, in turn, with one BLAS thread; the best time counts, the worst is shown. Some of
our loops, astroscrappy and SCAMP use all processors. Imports, compilation (numba) and making the input are not
counted; of source-extractor, PSFEx and SCAMP reading and writing their files is, and starting them.
growth: time of the whole and of each step against the number of stars, with 12 galaxies to a hundred stars.

Fluxes are on the scale of a circle of 12 px radius, outside which 0.7 to 1.3 % of a star's light falls: fluxes and zero
points are compared with the light of the truth inside it, and not with its whole light.

Peers are Python packages, and source-extractor, psfex and scamp on the PATH; one that isn't installed shows "-".
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
from astropy.io import fits
from astropy.table import Table
from harness import HEAD, Row, Task, blas_threads, compare, machine, table
from others import peer
from psf_peer import psfex, psfex_kernels, shapes

from corontools.arrays.flux import circle_sums
from corontools.arrays.moments import adaptive_moments
from corontools.calibrate import CalibratedImage, MaskedImage, Plane, RefCat, Steps, calibrate
from corontools.calibrate.astrometry import AstrometrySolver
from corontools.calibrate.background import BackgroundFitter
from corontools.calibrate.cosmic import CosmicRayFinder
from corontools.calibrate.deblend import Deblender
from corontools.calibrate.detect import SourceDetector
from corontools.calibrate.measure import Measurer
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.psffit import PSFFit, PSFFitter
from corontools.calibrate.refcat import at_epoch
from corontools.calibrate.targets import Sources
from corontools.simulate import StarField, star_field
from corontools.simulate.field_psf import HALF
from corontools.simulate.field_sky import FieldSky

PACKAGES = ("numpy", "scipy", "numba", "astropy", "photutils", "sep", "astroscrappy", "tweakwcs", "astroalign")
STEPS = Steps.of({"photometry": {"band": "r"}})
SIGMA_PER_MAD = 1.4826
UNUSABLE = Plane.BAD | Plane.SAT | Plane.NO_DATA
# of the aperture, px
RADIUS = 12.0
# of the stars of the PSF, one of which is held out
PARTS = 6
# sigma of the smoothed frame to which all detect, and pixels a source has at least
DEPTH, LEAST = 5.0, 5
# pointings that are solved: arcsec and degrees by which they are wrong
POINTINGS = ((3.0, 0.02), (20.0, 0.3), (60.0, 0.9))
COLUMNS = """NUMBER X_IMAGE Y_IMAGE XWIN_IMAGE YWIN_IMAGE ERRAWIN_IMAGE ERRBWIN_IMAGE ERRTHETAWIN_IMAGE FLUX_AUTO
FLUXERR_AUTO FLUX_APER FLUXERR_APER FLUX_RADIUS ELONGATION FLAGS"""
EXTRACT = (
    "source-extractor frame.fits -c extract.conf -CATALOG_NAME frame.cat -CATALOG_TYPE FITS_LDAC -PARAMETERS_NAME "
    "extract.param -FILTER_NAME extract.conv -WEIGHT_TYPE MAP_WEIGHT -WEIGHT_IMAGE weight.fits -PHOT_APERTURES 24 "
    "-GAIN 1 -SATUR_LEVEL 20000 -BACK_SIZE 128 -VERBOSE_TYPE QUIET -DETECT_MINAREA 5 -DETECT_THRESH "
)
SOLVE = (
    "scamp frame.cat -c scamp.conf -ASTREF_CATALOG FILE -ASTREFCAT_NAME references.cat -ASTREFCENT_KEYS "
    "X_WORLD,Y_WORLD -ASTREFERR_KEYS ERRA_WORLD,ERRB_WORLD,ERRTHETA_WORLD -ASTREFMAG_KEY MAG -ASTREFMAGERR_KEY MAGERR "
    "-CENTROID_KEYS XWIN_IMAGE,YWIN_IMAGE -CENTROIDERR_KEYS ERRAWIN_IMAGE,ERRBWIN_IMAGE,ERRTHETAWIN_IMAGE "
    "-DISTORT_DEGREES 3 -POSANGLE_MAXERR 2 -POSITION_MAXERR 1.5 -PIXSCALE_MAXERR 1.02 -SOLVE_PHOTOM N -CHECKPLOT_TYPE "
    "NONE -CHECKPLOT_DEV NULL -WRITE_XML N -VERBOSE_TYPE QUIET"
)
Run = Callable[[], Any]


# frames


@dataclass(frozen=True)
class Scene:
    """A simulated field, calibrated."""

    field: StarField
    image: CalibratedImage
    refs: RefCat

    @classmethod
    def of(cls, size: int, seed: int = 1) -> Scene:
        """Simulate and calibrate one."""
        field = star_field(size, seed=seed)
        refs = RefCat.from_table(field.refcat())
        return cls(field, calibrate(field.exposures[0], refs, steps=STEPS), refs)

    @property
    def start(self) -> MaskedImage:
        """As it was read out."""
        return self.image.start

    @cached_property
    def bad(self) -> np.ndarray:
        """Pixels that tell nothing of the sky."""
        return self.start.has(UNUSABLE)

    @cached_property
    def counts(self) -> np.ndarray:
        """As it was read out, without NaN."""
        return np.ascontiguousarray(np.where(np.isfinite(self.start.image), self.start.image, 0), np.float32)

    @cached_property
    def clean(self) -> MaskedImage:
        """Less the sky, cosmic rays and bad pixels replaced."""
        return self.image.modelled.frame

    @cached_property
    def clean_image(self) -> np.ndarray:
        """The image of that, without NaN."""
        return np.ascontiguousarray(np.where(np.isfinite(self.clean.image), self.clean.image, 0), np.float32)

    @cached_property
    def places(self) -> np.ndarray:
        """Of the sources of the catalogue (x, y), where the whole aperture is on the frame."""
        found = self.image.found.table
        xy = np.stack([np.asarray(found[f"slot_Centroid_{axis}"], float) for axis in "xy"], axis=1)
        return xy[np.all((xy > 20) & (xy < np.array(self.start.shape[::-1]) - 21), axis=1)]

    def held_out(self, part: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Rows of stars to test PSFs with, a sixth of them, and which rows (a mask) they are fitted to."""
        stars = np.flatnonzero(self.image.modelled.passes[-1].selection.selected)
        drawn = np.random.default_rng(self.field.seed).permutation(stars)
        train = np.zeros(len(self.image.modelled.table), bool)
        train[drawn] = True
        train[drawn[part::PARTS]] = False
        return drawn[part::PARTS], train

    @cached_property
    def psfex(self) -> tuple[fits.HDUList, float, float]:
        """Its PSF, and the seconds that source-extractor and PSFEx took."""
        return psfex_run(self)

    def pointed(self, offset: float, rotation: float) -> Any:
        """The true WCS, moved by arcsec and turned by degrees."""
        wcs = self.field.truth.wcs.deepcopy()
        c, s = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
        wcs.wcs.cd = np.array([[c, -s], [s, c]]) @ wcs.wcs.cd
        # as far to the east as to the north
        step = offset / 3600 / np.sqrt(2)
        wcs.wcs.crval += [step / np.cos(np.radians(wcs.wcs.crval[1])), step]
        wcs.wcs.set()
        return wcs


def robust(values: np.ndarray) -> tuple[float, float]:
    """Median and robust standard deviation."""
    middle = np.median(values)
    return float(middle), float(SIGMA_PER_MAD * np.median(np.abs(values - middle)))


def nearest(xy: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each place from the nearest of others, and which that is."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(of).query(xy)
    return np.asarray(distance), np.asarray(index)


def columns_of(catalog: Table, *names: str) -> np.ndarray:
    return np.stack([np.asarray(catalog[name], float) for name in names], axis=1)


# what each tool does


def background_runs(scene: Scene) -> dict[str, Run | None]:
    """Background images of 128-px bins; sources aren't masked yet."""
    sep, photutils = peer("sep"), peer("photutils.background")
    boxes = min(128, scene.start.shape[0] // 8)
    ours = BackgroundFitter(bin_size=boxes)
    return {
        "corontools": lambda: ours.fit(scene.start).image(),
        "sep": sep and (lambda: sep.Background(scene.counts, mask=scene.bad, bw=boxes, bh=boxes).back()),
        "photutils": photutils and (lambda: photutils.Background2D(scene.counts, boxes, mask=scene.bad).background),
    }


def ray_runs(scene: Scene) -> dict[str, Run | None]:
    """Masks of cosmic rays and repaired images."""
    astroscrappy, finder = peer("astroscrappy"), CosmicRayFinder()
    start = scene.image.repaired.backgrounds[0].subtract(scene.start)

    def ours() -> np.ndarray:
        rays = finder.find(start, STEPS.initial_psf)
        _ = rays.repaired
        return rays.mask

    def theirs() -> np.ndarray:
        options = {"gain": 1.0, "readnoise": 8.0, "satlevel": 20_000.0}
        return astroscrappy.detect_cosmics(scene.counts, inmask=scene.bad, **options)[0]

    return {"corontools": ours, "astroscrappy": astroscrappy and theirs}


def detection_runs(scene: Scene) -> dict[str, Run | None]:
    """Places (x, y) of sources after deblending, all to 5 sigma of the smoothed frame."""

    def ours() -> np.ndarray:
        sources = deblended(scene).table
        return columns_of(sources[np.asarray(sources["deblend_nChild"]) == 0], "x", "y")

    return {
        "corontools": ours,
        # it deblends by scikit-image
        "photutils": peer("photutils.segmentation") and peer("skimage") and partial(photutils_sources, scene),
        "sep": peer("sep") and partial(sep_sources, scene),
    }


def photutils_sources(scene: Scene) -> np.ndarray:
    """Detected in the frame smoothed by a Gaussian of 4 px, and deblended."""
    segmentation, kernel, noise = peer("photutils.segmentation"), *smoothing(scene)
    convolve = peer("scipy.signal").fftconvolve
    smooth = convolve(scene.clean_image, kernel, mode="same")
    found = segmentation.detect_sources(smooth, DEPTH * noise, LEAST)
    found = segmentation.deblend_sources(smooth, found, LEAST, progress_bar=False)
    return np.array(segmentation.SourceCatalog(scene.clean_image, found, convolved_data=smooth).centroid)


def sep_sources(scene: Scene) -> np.ndarray:
    """The same by SEP, which measures them too."""
    sep, (kernel, noise) = peer("sep"), smoothing(scene)
    found = sep.extract(
        scene.clean_image, DEPTH * noise, filter_kernel=kernel, filter_type="conv", clean=False, minarea=LEAST
    )
    return np.stack([found["x"], found["y"]], axis=1)


def smoothing(scene: Scene) -> tuple[np.ndarray, float]:
    """Kernel of 4 px FWHM and side 9, and the noise of the sky smoothed by it."""
    kernel = GaussianPSF.of_fwhm(4.0, size=9).kernels([0.0], [0.0])[0]
    variance = np.median(scene.clean.variance[::4, ::4])
    return kernel.astype(np.float32), float(np.sqrt(variance * np.square(kernel).sum()))


def deblended(scene: Scene) -> Sources:
    detections = SourceDetector(DEPTH, 1.0, min_pixels=LEAST).detect(scene.clean, scene.image.psf)
    return Deblender().deblend(scene.clean, detections, scene.image.psf)


def measured(scene: Scene) -> Table:
    """Detected, deblended and measured."""
    return Measurer().measure(scene.clean, deblended(scene), scene.image.psf)


def circle_runs(scene: Scene) -> dict[str, Run | None]:
    """Sums in circles of 12 px about all sources of the catalogue."""
    photutils, sep, xy = peer("photutils.aperture"), peer("sep"), scene.places
    variance = np.array(scene.clean.variance)  # sep takes none that can't be written to

    def theirs() -> np.ndarray:
        circles = photutils.CircularAperture(xy, RADIUS)
        found = photutils.aperture_photometry(scene.clean_image, circles, error=np.sqrt(variance))
        return np.asarray(found["aperture_sum"])

    def by_sep() -> np.ndarray:
        return sep.sum_circle(scene.clean_image, *xy.T, RADIUS, var=variance, subpix=0)[0]

    return {"corontools": partial(circles, scene), "photutils": photutils and theirs, "sep": sep and by_sep}


def circles(scene: Scene) -> np.ndarray:
    half = int(RADIUS) + 1
    corners = np.floor(scene.places + 0.5).astype(int) - half
    along = np.arange(2 * half + 1)
    cut = (corners[:, 1, None, None] + along[:, None], corners[:, 0, None, None] + along)
    pixels, variances = (plane[cut] for plane in (scene.clean_image, scene.clean.variance))
    return circle_sums(pixels, variances, *(scene.places - corners).T, radii=(RADIUS,)).total[:, 0]


# astrometry


def reference_places(scene: Scene, wcs: Any) -> np.ndarray:
    """Degrees at the epoch of the exposure, around a frame so pointed, the brightest first."""
    near = at_epoch(scene.refs.inside(wcs, scene.start.shape, margin=250), scene.image.exposure.meta.mjd)
    order = np.argsort(near.magnitudes("r")[0], kind="stable")
    return columns_of(near.table, "coord_ra", "coord_dec")[order]


def wcs_runs(scene: Scene, wcs: Any) -> dict[str, Run | None]:
    """Functions of 0-based pixels that give degrees, and the number of pairs."""
    psf_stars, sky = scene.image.psf_stars, reference_places(scene, wcs)
    stars = psf_stars[np.asarray(psf_stars["calib_psf_candidate"])]
    xy = columns_of(stars, "slot_Centroid_x", "slot_Centroid_y")
    xy = xy[np.argsort(-np.asarray(stars["base_PsfFlux_instFlux"]))]

    def ours() -> tuple[Callable, int]:
        epoch = scene.image.exposure.meta.mjd
        fit = AstrometrySolver().solve(psf_stars, wcs, scene.refs, scene.start.shape, epoch=epoch)
        return lambda x, y: fit.wcs.all_pix2world(x, y, 0), len(fit.matches)

    tweakwcs, astroalign = peer("tweakwcs"), peer("astroalign")
    return {
        "corontools": ours,
        "tweakwcs": tweakwcs and partial(tweaked, tweakwcs, wcs, xy, sky),
        "astroalign": astroalign and partial(aligned, astroalign, wcs, ranked(scene), sky),
    }


def ranked(scene: Scene) -> np.ndarray:
    """All sources, the brightest first: of the stars of the PSF alone astroalign finds no pattern."""
    found = scene.image.found.table
    flux = np.nan_to_num(np.asarray(found["base_PsfFlux_instFlux"], float))
    single = (np.asarray(found["deblend_nChild"]) == 0) & ~np.asarray(found["sky_source"]) & (flux > 0)
    return columns_of(found, "slot_Centroid_x", "slot_Centroid_y")[single][np.argsort(-flux[single])]


def tweaked(tweakwcs: Any, wcs: Any, xy: np.ndarray, sky: np.ndarray) -> tuple[Callable, int]:
    catalog, references = Table(xy, names=("x", "y")), Table(sky, names=("RA", "DEC"))
    corrector = tweakwcs.FITSWCSCorrector(wcs.deepcopy(), meta={"catalog": catalog})
    match = tweakwcs.XYXYMatch(searchrad=350, separation=0.5, tolerance=1.0)
    tweakwcs.align_wcs([corrector], refcat=references, match=match, fitgeom="general", nclip=3, sigma=3)
    info = corrector.meta["fit_info"]
    return lambda x, y: corrector.wcs.all_pix2world(x, y, 0), int(info.get("nmatches") or 0)


def aligned(astroalign: Any, wcs: Any, xy: np.ndarray, sky: np.ndarray) -> tuple[Callable, int]:
    """A similarity from pixels to where the references are by the WCS as pointed."""
    there = np.stack(wcs.all_world2pix(*sky.T, 0), axis=1)
    transform, (pairs, _) = astroalign.find_transform(xy, there, max_control_points=100)

    def to_sky(x: np.ndarray, y: np.ndarray) -> Any:
        return wcs.all_pix2world(*transform(np.stack([x, y], axis=1)).T, 0)

    return to_sky, len(pairs)


def off_per_axis(scene: Scene, to_sky: Callable) -> float:
    """Px rms per axis over the frame, from where the true WCS has it."""
    ny, nx = scene.start.shape
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, nx - 1, 9), np.linspace(0, ny - 1, 9)))
    there = scene.field.truth.wcs.all_world2pix(*to_sky(x, y), 0)
    return float(np.sqrt(np.mean([np.square(there[0] - x), np.square(there[1] - y)])))


# the binaries


@dataclass(frozen=True)
class Binaries:
    """Files of a scene for source-extractor and SCAMP, in a folder."""

    scene: Scene
    folder: Path

    @classmethod
    def of(cls, scene: Scene, folder: Path) -> Binaries:
        """Write them."""
        made = cls(scene, folder)
        made.write()
        return made

    def write(self) -> None:
        """Cosmic rays replaced, sky left; a catalogue of references at the epoch."""
        weight = np.where(self.scene.bad, 0, 1 / self.scene.clean.variance)
        image = self.scene.clean_image + self.scene.image.modelled.backgrounds.image()
        fits.writeto(self.folder / "frame.fits", image.astype(np.float32), self.header())
        fits.writeto(self.folder / "weight.fits", weight.astype(np.float32))
        (self.folder / "extract.param").write_text("\n".join(COLUMNS.split()))
        rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in smoothing(self.scene)[0])
        (self.folder / "extract.conv").write_text(f"CONV NORM\n{rows}\n")
        for name in ("extract.conf", "scamp.conf"):
            (self.folder / name).touch()
        self.references().writeto(self.folder / "references.cat")

    def header(self) -> fits.Header:
        """Of the WCS as pointed without its distortion, which SCAMP fits itself."""
        wcs = self.scene.image.exposure.wcs.deepcopy()
        wcs.sip, wcs.wcs.ctype = None, ["RA---TAN", "DEC--TAN"]
        return wcs.to_header()

    def references(self) -> fits.HDUList:
        """The catalogue of SCAMP, at the epoch."""
        sky = reference_places(self.scene, self.scene.image.exposure.wcs)
        n, err = len(sky), 5 / 3.6e6
        # of magnitudes only the order counts
        columns = {"X_WORLD": sky[:, 0], "Y_WORLD": sky[:, 1], "MAG": np.linspace(12, 20, n), "MAGERR": np.full(n, 0.1)}
        columns |= {"ERRA_WORLD": np.full(n, err), "ERRB_WORLD": np.full(n, err), "ERRTHETA_WORLD": np.zeros(n)}
        cards = fits.Column("Field Header Card", format="80A", array=np.array(["END".ljust(80)]))
        head = fits.BinTableHDU.from_columns([cards], name="LDAC_IMHEAD")
        return fits.HDUList([fits.PrimaryHDU(), head, fits.BinTableHDU(Table(columns), name="LDAC_OBJECTS")])

    def extract(self) -> np.ndarray:
        """Places (x, y) of the sources of source-extractor."""
        # its unit is the noise of the frame before it is smoothed
        noise = float(np.sqrt(np.square(smoothing(self.scene)[0]).sum()))
        self.run(f"{EXTRACT}{DEPTH * noise:.3f}")
        found = fits.getdata(self.folder / "frame.cat", 2)
        return np.stack([found["X_IMAGE"], found["Y_IMAGE"]], axis=1) - 1.0

    def solve(self) -> tuple[Callable, int]:
        """As `wcs_runs`; it needs the catalogue of source-extractor."""
        from astropy.wcs import WCS

        self.run(SOLVE)
        text = (self.folder / "frame.head").read_bytes().decode("ascii", "ignore")
        fitted = WCS(fits.Header.fromstring(text, sep="\n"))
        return lambda x, y: fitted.all_pix2world(x, y, 0), 0

    def run(self, command: str) -> None:
        """Run a program in the folder."""
        subprocess.run(command.split(), cwd=self.folder, check=True, capture_output=True)


def there(*names: str) -> bool:
    """Whether all these programs are installed."""
    return all(shutil.which(name) for name in names)


# the PSF


def fitted_psf(scene: Scene, part: int = 0) -> PSFFit:
    last, (_, train) = scene.image.modelled.passes[-1], scene.held_out(part)
    catalog = scene.image.modelled.table.copy()
    catalog["calib_psf_candidate"] = train
    return PSFFitter().fit(last.detections.masked, catalog)


def psfex_run(scene: Scene) -> tuple[fits.HDUList, float, float]:
    """As `Scene.psfex`, once more."""
    frame, (_, train) = scene.image.modelled.passes[-1].detections.masked, scene.held_out()
    with tempfile.TemporaryDirectory() as folder:
        return psfex(frame, scene.image.modelled.table, train, Path(folder))


def epsf_kernel(scene: Scene) -> np.ndarray:
    """PSF of photutils, which is the same all over the frame."""
    psf, nddata = peer("photutils.psf"), peer("astropy.nddata")
    frame, (_, train) = scene.image.modelled.passes[-1].detections.masked, scene.held_out()
    bad = frame.has(UNUSABLE | Plane.CR | Plane.INTRP)
    places = scene.image.modelled.table[train]["slot_Centroid_x", "slot_Centroid_y"]
    places.rename_columns(places.colnames, ["x", "y"])
    image = nddata.NDData(np.where(bad, 0, frame.image), mask=bad)
    stars = psf.extract_stars(image, places, size=25)
    model = psf.EPSFBuilder(oversampling=2, maxiters=5, progress_bar=False)(stars)[0]
    y, x = np.mgrid[:25, :25] - 12.0
    return model.evaluate(x, y, 1.0, 0.0, 0.0)


def held_out_shapes(scene: Scene, part: int = 0) -> np.ndarray:
    """Size and ellipticities of the stars held out, (3, n)."""
    catalog = scene.image.modelled.table[scene.held_out(part)[0]]
    return shapes(*(np.asarray(catalog[f"slot_Shape_{axes}"]) for axes in ("xx", "yy", "xy")))


def shapes_at(model: str, scene: Scene, part: int = 0) -> np.ndarray:
    """The same by a model of the PSF, or the truth."""
    catalog = scene.image.modelled.table[scene.held_out(part)[0]]
    x, y = columns_of(catalog, "slot_Centroid_x", "slot_Centroid_y").T
    if model in ("truth", "corontools"):
        psf = scene.field.truth.psf if model == "truth" else fitted_psf(scene, part).psf
        return shapes(*psf.moments(x, y))
    kernels = psfex_kernels(scene.psfex[0], x, y) if model == "PSFEx" else epsf_kernel(scene)[None]
    middle = np.full(len(kernels), kernels.shape[1] // 2)
    moments = adaptive_moments(np.ascontiguousarray(kernels), np.ones_like(kernels), middle, middle, sigma=1.7)
    return np.broadcast_to(shapes(moments.xx, moments.yy, moments.xy), (3, len(x)))


def psf_rows(scene: Scene, repeats: int, threads: str) -> list[Row]:
    """Times of the fits; of PSFEx without and with the run of source-extractor that it needs."""
    installed = there("source-extractor", "psfex")
    times = [scene.psfex[1:], *(psfex_run(scene)[1:] for _ in range(repeats - 1))] if installed else []
    photutils = peer("photutils.psf") and partial(epsf_kernel, scene)
    name = f"PSF of order 2, {scene.held_out()[1].sum()} stars"
    task = Task(name, partial(fitted_psf, scene), {"photutils EPSFBuilder (constant)": photutils})
    rows = timed_rows(task, repeats, threads)
    alone, both = [model for _, model in times], [sum(pair) for pair in times]
    found = {"PSFEx": (alone, ">= 10"), "source-extractor and PSFEx": (both, "")}
    ranges = {peer: (min(t), max(t)) if t else None for peer, (t, _) in found.items()}
    return [Row(name, threads, rows[0].ours, peer, ranges[peer], found[peer][1]) for peer in found] + rows


# how right it is


def light_inside(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Part of a star's light within 12 px."""
    alpha = scene.field.truth.psf.widths(x, y) / (2 * HALF)
    return 1 - (1 + (RADIUS / alpha) ** 2) ** -2


def rays_found(scene: Scene, mask: np.ndarray) -> tuple[float, int]:
    """Percentage of the pixels above 6 sigma that was found, and found pixels that weren't hit."""
    truth = scene.field.truth
    strong = (truth.cosmic_snr > 6) & ~scene.bad
    return 100 * float(mask[strong].mean()), int(np.count_nonzero(mask & ~truth.cosmic_rays & ~scene.bad))


def sky_error(scene: Scene, background: np.ndarray) -> tuple[float, float]:
    """Rms from the true sky, and the mean, counts."""
    off = background - scene.field.truth.sky
    return float(np.sqrt(np.mean(np.square(off)))), float(off.mean())


def completeness(scene: Scene, xy: np.ndarray, *, alone: bool) -> float:
    """Percentage of the stars to magnitude 19 within 2.5 px of a source; without those that have a neighbour in 12."""
    stars, reach = scene.field.truth.stars, np.array(scene.start.shape[::-1])
    places = columns_of(stars, "x", "y")
    chosen = (np.asarray(stars["mag"]) < 19) & np.all((places > 8) & (places < reach - 9), axis=1)
    if alone:
        chosen &= np.asarray(stars["neighbor"]) > 12
    return 100 * float(np.mean(nearest(places[chosen], xy)[0] < 2.5))


def false_sources(scene: Scene, xy: np.ndarray) -> int:
    """Sources with nothing within 6 px."""
    everything = columns_of(scene.field.truth.sources, "x", "y")
    return int(np.count_nonzero(nearest(xy, everything)[0] > 6))


def psf_figures(scene: Scene) -> Iterator[tuple[str, str, str]]:
    truth, psf = scene.field.truth.psf, scene.image.psf
    (ny, nx), catalog = scene.start.shape, scene.image.modelled.table
    used = catalog[np.asarray(catalog["calib_psf_used"])]
    x, y = columns_of(used, "slot_Centroid_x", "slot_Centroid_y").T
    middle = [(nx - 1) / 2], [(ny - 1) / 2]
    width = 100 * float(psf.sigma(*middle)[0] / truth.sigma(*middle)[0] - 1)
    yield "PSF in the middle: sigma off the true one", f"{width:+.2f} %", "<= 1 %"
    off = shapes(*psf.moments(x, y)) - shapes(*truth.moments(x, y))
    size = 100 * off[0] / shapes(*truth.moments(x, y))[0]
    yield "PSF at its stars: size off, median", f"{np.median(size):+.3f} %", "< 0.5 %"
    yield "PSF at its stars: size off, rms", f"{np.sqrt(np.mean(size**2)):.3f} %", ""
    measured = shapes(*columns_of(used, "slot_Shape_xx", "slot_Shape_yy", "slot_Shape_xy").T)
    noise = [robust(one)[1] / np.sqrt(len(x)) for one in measured - shapes(*truth.moments(x, y))]
    for k in (1, 2):
        yield f"PSF at its stars: mean e{k} off", f"{1e3 * off[k].mean():+.2f} +- {1e3 * noise[k]:.2f} e-3", "< 1e-3"
    sizes = [
        [held_out_shapes(scene, k)[0] / shapes_at(name, scene, k)[0] for k in range(PARTS)]
        for name in ("corontools", "truth")
    ]
    (_, ours), (_, floor) = (robust(np.concatenate(parts)) for parts in sizes)
    yield "stars held out: scatter of their size off the PSF", f"{100 * ours:.2f} %", ""
    yield "the same over that off the true PSF", f"{ours / floor:.3f}", "<= 1.1"


def alone(scene: Scene) -> np.ndarray:
    """Stars with less than 0.5 % of their light in other sources within 25 px."""
    from scipy.spatial import cKDTree

    truth = scene.field.truth
    flux, every = np.asarray(truth.sources["flux"]), cKDTree(columns_of(truth.sources, "x", "y"))
    near = every.query_ball_point(columns_of(truth.stars, "x", "y"), 25)
    own = np.asarray(truth.stars["flux"])
    return np.array([flux[rows].sum() for rows in near]) < 1.005 * own


def star_figures(scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Of stars that stand alone."""
    truth, image = scene.field.truth, scene.image
    catalog, stars = image.found.table, truth.stars
    places = columns_of(stars, "x", "y")
    distance, row = nearest(places, columns_of(catalog, "slot_Centroid_x", "slot_Centroid_y"))
    catalog, lone = catalog[row], image.found.good[row] & (distance < 1) & alone(scene)
    lone &= ~np.asarray(catalog["base_PixelFlags_flag_interpolatedCenter"])
    flux, err = columns_of(catalog, "base_PsfFlux_instFlux", "base_PsfFlux_instFluxErr").T
    chosen, bright = lone & (flux > 30 * err), lone & (flux > 200 * err)
    for offset, rotation in (POINTINGS[0], POINTINGS[-1]):
        to_sky, _ = wcs_runs(scene, scene.pointed(offset, rotation))["corontools"]()
        x, y = columns_of(catalog[chosen], "slot_Centroid_x", "slot_Centroid_y").T
        off = np.stack(truth.wcs.all_world2pix(*to_sky(x, y), 0), axis=1) - places[chosen]
        name = f'from {offset:g}" and {rotation:g} deg'
        yield f"coordinates of stars of S/N > 30, {name}", f"{np.sqrt(np.mean(off**2)):.4f} px per axis", "<= 0.05"
        yield f"WCS over the frame, {name}", f"{off_per_axis(scene, to_sky):.4f} px per axis", ""
    true = np.asarray(stars["flux"]) * light_inside(scene, *places.T)
    off, noise = (100 * v[bright] for v in (flux / true - 1, err / true))
    yield "PSF fluxes of stars of S/N > 200: median off", f"{np.median(off):+.2f} %", "<= 1 %"
    yield "the same: scatter, and their mean error", f"{robust(off)[1]:.2f} %, {noise.mean():.2f} %", ""
    wrong = np.count_nonzero(np.abs(off) > np.maximum(1, 3 * noise))
    yield "the same: off by more than 1 % and 3 errors", f"{wrong} of {len(off)}", "0"


def zero_point_figures(scene: Scene) -> Iterator[tuple[str, str, str]]:
    fit, truth = scene.image.photometry, scene.field.truth
    matches = fit.matches[np.asarray(fit.matches["photometry_used"])]
    stars = truth.stars[np.isin(truth.stars["id"], matches["ref_id"])]
    weights = dict(zip(matches["ref_id"], 1 / np.asarray(matches["differenceErr"]) ** 2, strict=True))
    inside = 2.5 * np.log10(light_inside(scene, *columns_of(stars, "x", "y").T))
    expected = truth.zero_point + np.average(inside, weights=[weights[one] for one in stars["id"]])
    off = 1e3 * (fit.zero_point - expected)
    yield "zero point off, by the light within 12 px", f"{off:+.2f} +- {1e3 * fit.err:.2f} mmag", "<= 2 mmag"
    whole = 1e3 * (fit.zero_point - truth.zero_point)
    yield "zero point off, by the whole light", f"{whole:+.2f} mmag", ""


def accuracy(scene: Scene) -> list[tuple[str, str, str]]:
    """What is compared with the truth, how it came out, and what is wanted."""
    image = scene.image
    share, false = rays_found(scene, image.modelled.rays.mask)
    error, mean = sky_error(scene, image.backgrounds.image())
    deep = detection_runs(scene)["corontools"]()
    return [
        ("cosmic rays: pixels above 6 sigma that were found", f"{share:.2f} %", ">= 99.5 %"),
        ("cosmic rays: false pixels", f"{false}", "< 100"),
        ("background: rms from the truth", f"{error:.2f}", "<= 0.5"),
        ("background: mean", f"{mean:+.2f}", ""),
        *psf_figures(scene),
        (f"stars to mag 19 detected at {DEPTH:g} sigma", f"{completeness(scene, deep, alone=False):.1f} %", ""),
        ("the same, without a neighbour within 12 px", f"{completeness(scene, deep, alone=True):.1f} %", "> 98 %"),
        *star_figures(scene),
        *zero_point_figures(scene),
    ]


# what was found


def found_rows(scene: Scene, folder: Path, quick: bool) -> Iterator[tuple[str, str, str]]:
    for name, run in background_runs(scene).items():
        told = run and "rms {:.2f}, mean {:+.2f} off".format(*sky_error(scene, run()))
        yield "background, sources not masked", name, told or "-"
    final = sky_error(scene, scene.image.backgrounds.image())
    yield "background, detected sources masked", "corontools", "rms {:.2f}, mean {:+.2f} off".format(*final)
    for name, run in ray_runs(scene).items():
        told = run and "{:.2f} % above 6 sigma, {} false pixels".format(*rays_found(scene, run().astype(bool)))
        yield "cosmic rays", name, told or "-"
    yield from detection_rows(scene, folder)
    yield from wcs_rows(scene, None if quick else folder)
    sums = {name: run and run() for name, run in circle_runs(scene).items()}
    ours = sums.pop("corontools")
    for name, values in sums.items():
        told = "-" if values is None else f"at most {np.max(np.abs(values / ours - 1)):.1e} off corontools"
        yield f"circles about {len(scene.places)} sources", name, told


def detection_rows(scene: Scene, folder: Path) -> Iterator[tuple[str, str, str]]:
    runs = detection_runs(scene)
    runs["source-extractor"] = there("source-extractor") and Binaries.of(scene, folder).extract
    for name, run in runs.items():
        if run:
            xy = run()
            every, lone = (completeness(scene, xy, alone=only) for only in (False, True))
            told = (
                f"{every:.1f} %, {lone:.1f} % without neighbours; {len(xy)} sources, {false_sources(scene, xy)} false"
            )
        yield "stars to mag 19", name, told if run else "-"


def wcs_rows(scene: Scene, folder: Path | None) -> Iterator[tuple[str, str, str]]:
    for offset, rotation in POINTINGS:
        stage = f'WCS from {offset:g}" and {rotation:g} deg'
        for name, run in wcs_runs(scene, scene.pointed(offset, rotation)).items():
            yield stage, name, solved(scene, run)
    if folder:
        scamp = Binaries(scene, folder).solve if there("source-extractor", "scamp") else None
        yield 'WCS from 3" and 0.02 deg', "SCAMP, distortion of order 3", solved(scene, scamp)


def solved(scene: Scene, run: Run | None) -> str:
    """How right a WCS is, and by how many pairs."""
    if not run:
        return "-"
    try:
        to_sky, pairs = run()
    except Exception as error:  # noqa: BLE001 - a peer that fails is a result
        return f"{type(error).__name__}"
    return f"{off_per_axis(scene, to_sky):.4f} px per axis" + f", {pairs} pairs" * bool(pairs)


def psf_found(scenes: Sequence[Scene]) -> Iterator[tuple[str, str, str]]:
    """Stars held out of all scenes, by how much their size is off each model."""
    stars = np.concatenate([held_out_shapes(scene) for scene in scenes], axis=1)
    missing = {"PSFEx": not there("source-extractor", "psfex"), "photutils EPSFBuilder": not peer("photutils.psf")}
    true = np.concatenate([shapes_at("truth", scene) for scene in scenes], axis=1)
    for name in ("truth", "corontools", "PSFEx", "photutils EPSFBuilder"):
        told = "-"
        if not missing.get(name):
            model = np.concatenate([shapes_at(name, scene) for scene in scenes], axis=1)
            size, wrong = robust(stars[0] / model[0] - 1), np.sqrt(np.mean((model[0] / true[0] - 1) ** 2))
            e1, e2 = (np.median(stars[k] - model[k]) for k in (1, 2))
            told = f"{size[0]:+.4f} +- {size[1]:.4f}, model {wrong:.4f} rms off; e {e1:+.4f}, {e2:+.4f}"
        yield f"size of {stars.shape[1]} stars held out, relative", name, told


# time


def tasks(scene: Scene, binaries: Binaries) -> list[Task]:
    def task(name: str, runs: dict[str, Run | None], wanted: str = "") -> Task:
        ours = runs.pop("corontools")
        return Task(name, ours, runs, wanted=wanted)

    extract = binaries.extract if there("source-extractor") else None
    scamp = binaries.solve if there("source-extractor", "scamp") else None
    size = "x".join(map(str, scene.start.shape))
    return [
        Task(f"whole calibration {size}", partial(chain, scene.field.exposures[0], scene.refs), wanted="<= 12 s"),
        task("background, 128-px bins", background_runs(scene)),
        task("cosmic rays", ray_runs(scene), ">= 3"),
        task(f"detection to {DEPTH:g} sigma, deblending", detection_runs(scene)),
        Task("the same with full measurement", partial(measured, scene), {"source-extractor": extract}),
        task("pattern match and WCS", {**wcs_runs(scene, scene.pointed(*POINTINGS[0])), "SCAMP": scamp}),
        task(f"circles about {len(scene.places)} sources", circle_runs(scene)),
    ]


def timed_rows(task: Task, repeats: int, threads: str) -> list[Row]:
    """As `compare`, after a first run of ours, which compiles; a peer that fails has no time."""
    task.ours()
    failed: set[str] = set()

    def guarded(name: str, run: Run) -> None:
        try:
            run()
        except Exception:  # noqa: BLE001 - whatever a peer raises
            failed.add(name)

    peers = {name: run and partial(guarded, name, run) for name, run in task.peers.items()}
    rows = compare(replace(task, peers=peers), repeats=repeats, threads=threads)
    return [replace(row, peer=None) if row.peer_name in failed else row for row in rows]


def chain(exposure: Any, refs: RefCat) -> tuple[CalibratedImage, dict[str, float]]:
    """Calibrated image, and the seconds of each verb."""
    begin = time.perf_counter()
    image, times = CalibratedImage.from_snaps(exposure, steps=STEPS), {}
    for name, given in {
        "repair": (), "model_psf": (), "correct_apertures": (), "solve_astrometry": (refs,), "find_stars": (),
        "solve_photometry": (refs,),
    }.items():  # fmt: skip
        start = time.perf_counter()
        image = getattr(image, name)(*given)
        times[name] = time.perf_counter() - start
    return image, {**times, "whole": time.perf_counter() - begin}


VERBS = ("whole", "repair", "model_psf", "solve_astrometry", "find_stars", "solve_photometry")


def growth_rows(size: int, numbers: Sequence[int], repeats: int) -> Iterator[tuple[str, ...]]:
    for stars in numbers:
        field = star_field(size, sky=FieldSky(n_stars=stars, n_galaxies=12 * stars // 100))
        refs = RefCat.from_table(field.refcat())
        made = [chain(field.exposures[0], refs) for _ in range(repeats)]
        best = [min(times[verb] for _, times in made) for verb in VERBS]
        sources = len(made[0][0].found.table)
        yield str(stars), str(sources), *(f"{t:.2f} s" for t in best), f"{1e3 * best[0] / sources:.1f} ms"


# tables


def print_accuracy(scenes: Sequence[Scene], quick: bool, markdown: bool) -> None:
    made = [accuracy(scene) for scene in scenes]
    rows = [
        (name, *(one[k][1] for one in made), "" if quick else wanted) for k, (name, _, wanted) in enumerate(made[0])
    ]
    print(table(("off the truth", *(f"seed {s.field.seed}" for s in scenes), "wanted"), rows, markdown=markdown))


def print_found(scenes: Sequence[Scene], quick: bool, markdown: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = [*found_rows(scenes[0], Path(folder), quick), *psf_found(scenes)]
    print(table(("found", "by", "result"), rows, markdown=markdown))


def print_times(scenes: Sequence[Scene], quick: bool, markdown: bool) -> None:
    scene, repeats = scenes[0], 1 if quick else 2
    with tempfile.TemporaryDirectory() as folder, blas_threads(1) as threads:
        todo = tasks(scene, Binaries.of(scene, Path(folder)))
        rows = [row for task in todo for row in timed_rows(task, repeats, threads)]
        rows += psf_rows(scene, repeats, threads)
    # the number of threads is the same for all, and what is wanted, is wanted at full size
    cells = [(row[0], *row[2:-1], "" if quick else row[-1]) for row in (row.cells() for row in rows)]
    print(table((HEAD[0], *HEAD[2:]), cells, markdown=markdown))


def print_growth(scenes: Sequence[Scene], quick: bool, markdown: bool) -> None:
    numbers = (150, 300, 600) if quick else (600, 1250, 2500, 5000, 10_000)
    with blas_threads(1):
        rows = list(growth_rows(scenes[0].start.shape[0], numbers, 1 if quick else 2))
    print(table(("stars", "sources found", *VERBS, "per source"), rows, markdown=markdown))


TABLES = {"accuracy": print_accuracy, "found": print_found, "time": print_times, "growth": print_growth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", metavar="TABLE", nargs="*", help=f"of {', '.join(TABLES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a small field, once")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    parser.add_argument("--seeds", type=int, default=3, help="fields of accuracy and the PSF (default 3)")
    options = parser.parse_args()
    unknown = sorted(set(options.tables) - set(TABLES))
    if unknown:
        parser.error(f"there is no table {unknown[0]}, there are {', '.join(TABLES)}")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(machine(PACKAGES), end="\n\n")
    chosen = options.tables or list(TABLES)
    many = not options.quick and {"accuracy", "found"} & set(chosen)
    scenes = [Scene.of(1024 if options.quick else 2048, seed) for seed in range(1, 1 + (options.seeds if many else 1))]
    for name in chosen:
        TABLES[name](scenes, options.quick, options.markdown)
        print(flush=True)


if __name__ == "__main__":
    main()
