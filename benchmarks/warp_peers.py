"""A frame to warp, and what the peers do with it: SWarp, reproject, drizzle, and the convolution of HOTPANTS."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numba import njit
from others import peer
from warp_growth import tan

from corontools.arrays.chebyshev import chebyshev_design
from corontools.arrays.threads import in_threads
from corontools.calibrate import MaskedImage, Plane
from corontools.calibrate.visit import VisitImage
from corontools.simulate import star_field
from corontools.warp import Patch, PSFMatcher, Tract

PROGRAM = shutil.which("SWarp") or shutil.which("swarp")
OPTIONS = {
    "c": "/dev/null", "COMBINE": "N", "RESAMPLE": "Y", "RESAMPLING_TYPE": "LANCZOS3", "SUBTRACT_BACK": "N",
    "PROJECTION_ERR": "0.001", "OVERSAMPLING": "1", "RESCALE_WEIGHTS": "N", "WEIGHT_TYPE": "MAP_WEIGHT",
    "WEIGHT_IMAGE": "weight.fits", "WRITE_XML": "N", "VERBOSE_TYPE": "QUIET",
}  # fmt: skip
Run = Callable[[], Any]


def frame_of(image: np.ndarray, variance: np.ndarray) -> MaskedImage:
    return MaskedImage(image.astype(np.float32), np.zeros(image.shape, np.int32), variance.astype(np.float32))


@dataclass(frozen=True)
class Scene:
    """A frame with noise, its light without, and the pixels that it is put on."""

    visit: VisitImage
    light: np.ndarray
    patch: Patch

    @property
    def size(self) -> int:
        """Side, px."""
        return self.visit.shape[0]

    @classmethod
    @cache
    def of(cls, size: int) -> Scene:
        """Of a star field, its stars and cosmic rays in the mask."""
        truth = star_field(size, seed=3).truth
        light, rng = truth.light - truth.sky, np.random.default_rng(1)
        frame = frame_of(light + rng.standard_normal(light.shape) * np.sqrt(truth.variance), truth.variance)
        frame = frame.marked(light > 5 * np.sqrt(truth.variance), Plane.DETECTED)
        frame = frame.marked(rng.uniform(size=light.shape) < 1e-3, Plane.CR)
        visit = VisitImage(frame, tan(size, 15.0), truth.psf, visit=1, detector=1, filter="r")
        return cls(visit, light.astype(np.float32), Tract.of_wcs(tan(size, 35.0), light.shape)[0, 0])


def swarp(scene: Scene, folder: Path, image: np.ndarray | None = None) -> tuple[Callable[[int], Any], Run]:
    """What runs SWarp with some threads, and what reads the image and weight that it made."""
    image, header = scene.visit.frame.image if image is None else image, scene.visit.wcs.to_header()
    fits.writeto(folder / "in.fits", np.asarray(image, np.float32), header, overwrite=True)
    fits.writeto(folder / "weight.fits", np.float32(1) / scene.visit.frame.variance, header, overwrite=True)
    grid = scene.patch.wcs.to_header()
    grid.update(NAXIS=2, NAXIS1=scene.size, NAXIS2=scene.size)
    # of one image and of their sum
    for name in ("coadd.head", "in.resamp.head"):
        (folder / name).write_text(grid.tostring(sep="\n") + "\nEND\n")
    words = [word for name, value in OPTIONS.items() for word in (f"-{name}", value)]

    def run(threads: int) -> None:
        command = [str(PROGRAM), "in.fits", *words, "-NTHREADS", str(threads)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    return run, lambda: [fits.getdata(folder / f"in.resamp{part}.fits").astype(np.float32) for part in ("", ".weight")]


def reprojected(scene: Scene, image: np.ndarray, how: str) -> Run | None:
    """Image by reproject: "bicubic" and the like, or "hann" for the adaptive one."""
    module = peer("reproject")
    if not module:
        return None
    given = ((np.asarray(image), scene.visit.wcs), scene.patch.wcs)
    options: dict[str, Any] = {"shape_out": scene.visit.shape, "return_footprint": False}
    if how in ("hann", "gaussian"):
        return partial(module.reproject_adaptive, *given, kernel=how, conserve_flux=True, **options)
    return partial(module.reproject_interp, *given, order=how, **options)


def drizzled(scene: Scene, image: np.ndarray, kernel: str) -> Run | None:
    """Image by drizzle, the map of pixels made as well."""
    module, utils = peer("drizzle.resample"), peer("drizzle.utils")

    def run() -> np.ndarray:
        with_shape = scene.visit.wcs.deepcopy()
        with_shape.array_shape = scene.visit.shape
        made = module.Drizzle(kernel=kernel, out_shape=scene.visit.shape)
        made.add_image(image, exptime=1.0, pixmap=utils.calc_pixmap(with_shape, scene.patch.wcs))
        return made.out_img

    return run if module else None


@njit(cache=True, nogil=True)
def convolve_blocks(image, functions, coefficients, top, step, out):  # type: ignore[no-untyped-def]
    """A row of blocks: the kernel of each is made of its functions, and applied pixel by pixel."""
    side, (ny, nx) = functions.shape[1], image.shape
    half, kernel = side // 2, np.empty(functions.shape[1:])
    for k in range(len(coefficients)):
        kernel[:] = 0.0
        for f in range(len(functions)):
            for i in range(side):
                for j in range(side):
                    kernel[i, j] += coefficients[k, f] * functions[f, i, j]
        for y in range(max(top, half), min(top + step, ny - half)):
            for x in range(max(k * step, half), min((k + 1) * step, nx - half)):
                total = 0.0
                for i in range(side):
                    for j in range(side):
                        total += kernel[i, j] * image[y + half - i, x + half - j]
                out[y, x] = total


def by_blocks(image: np.ndarray, kernel: Any, matcher: PSFMatcher, step: int) -> np.ndarray:
    """Image convolved as HOTPANTS does it, one kernel for each block of step x step px, by all processors."""
    functions, shape = matcher.basis.images, image.shape
    flat = kernel.planes.reshape(len(kernel.planes), -1)
    parts = np.linalg.lstsq(functions.reshape(len(functions), -1).T, flat.T, rcond=None)[0]
    out, middle = np.zeros(shape, np.float32), (step - 1) / 2
    x = np.minimum(np.arange(0, shape[1], step) + middle, shape[1] - 1)

    def row(top: int) -> None:
        y = np.full(len(x), min(top + middle, shape[0] - 1))
        terms = chebyshev_design(x, y, kernel.order, shape=kernel.shape)
        convolve_blocks(image, functions, terms @ parts.T, top, step, out)

    in_threads(row, range(0, shape[0], step))
    return out
