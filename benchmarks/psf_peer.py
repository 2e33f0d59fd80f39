"""PSF fits of corontools and PSFEx to the same stars of a simulated field; needs source-extractor and psfex.

Run as `python benchmarks/psf_peer.py [seed]`. Both get the same frame, sky subtracted and cosmic rays masked, and the
same five sixths of its PSF stars; the others tell how far sizes and ellipticities of stars are off the models.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from corontools.arrays.moments import adaptive_moments
from corontools.calibrate.background import BackgroundFitter
from corontools.calibrate.cosmic import CosmicRayFinder, DefectFiller
from corontools.calibrate.detect import SourceDetector
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.measure import MINIMAL, Measurer
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.psffit import PSFFit, PSFFitter
from corontools.calibrate.psfstars import BAD_PLANES
from corontools.calibrate.select import StarSelector
from corontools.simulate import star_field

SIZE, KERNEL = 41, "conv.conv"
COLUMNS = ("X_IMAGE", "Y_IMAGE", "FLUX_RADIUS", "FLUX_APER(1)", "FLUXERR_APER(1)", "ELONGATION", "FLAGS", "SNR_WIN")


def measured(seed: int) -> tuple[MaskedImage, Table, np.ndarray, object]:
    """Frame, table of its sources, which are stars, and the true PSF."""
    field = star_field(seed=seed)
    frame = DefectFiller().fill(MaskedImage.from_exposure(field.exposures[0]))
    fitter, guess = BackgroundFitter(), GaussianPSF.of_fwhm(4.0)
    frame = CosmicRayFinder().repair(fitter.fit(frame).subtract(frame), guess)
    found = SourceDetector().detect(frame, guess, fitter)
    table = Measurer(MINIMAL).measure(found.masked, found, guess)
    return found.masked, table, StarSelector().select(table).selected, field.truth.psf


def ours(frame: MaskedImage, table: Table, train: np.ndarray) -> tuple[PSFFit, float]:
    """Fit, and seconds it took."""
    table = table.copy()
    table["calib_psf_candidate"] = train
    PSFFitter(rounds=1).fit(frame, table[train])  # compiles
    start = time.perf_counter()
    fit = PSFFitter().fit(frame, table)
    return fit, time.perf_counter() - start


def psfex(frame: MaskedImage, table: Table, train: np.ndarray, folder: Path) -> tuple[fits.HDUList, float, float]:
    """PSF file of PSFEx, and seconds that source-extractor and PSFEx took."""
    bad = frame.has(BAD_PLANES)
    fits.writeto(folder / "frame.fits", np.where(bad, 0, frame.image).astype(np.float32))
    weight = np.where(bad, 0, 1 / frame.variance).astype(np.float32)
    fits.writeto(folder / "weight.fits", weight)
    places = np.stack([np.asarray(table[f"slot_Centroid_{axis}"])[train] + 1 for axis in "xy"], axis=1)
    np.savetxt(folder / "stars.txt", np.column_stack([np.arange(len(places)), places]), fmt=("%d", "%.4f", "%.4f"))
    (folder / "se.param").write_text("\n".join((*COLUMNS, f"VIGNET({SIZE},{SIZE})", "VECTOR_ASSOC(1)")))
    (folder / KERNEL).write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    extract = (
        "source-extractor frame.fits -c se.conf -CATALOG_NAME stars.cat -CATALOG_TYPE FITS_LDAC -PARAMETERS_NAME "
        f"se.param -FILTER_NAME {KERNEL} -DETECT_THRESH 10 -BACK_TYPE MANUAL -BACK_VALUE 0 -WEIGHT_TYPE MAP_WEIGHT "
        "-WEIGHT_IMAGE weight.fits -PHOT_APERTURES 24 -GAIN 1 -SATUR_LEVEL 1e9 -ASSOC_NAME stars.txt -ASSOC_DATA 1 "
        "-ASSOC_PARAMS 2,3 -ASSOC_RADIUS 2 -ASSOCSELEC_TYPE MATCHED -VERBOSE_TYPE QUIET"
    )
    model = (
        f"psfex stars.cat -c psfex.conf -PSF_SIZE {SIZE},{SIZE} -PSF_SAMPLING 1.0 -PSFVAR_DEGREES 2 -PSF_SUFFIX .psf "
        "-SAMPLE_AUTOSELECT N -SAMPLE_FWHMRANGE 1,20 -SAMPLE_MINSN 1 -SAMPLE_MAXELLIP 1 -CHECKIMAGE_TYPE NONE "
        "-CHECKPLOT_TYPE NONE -WRITE_XML N -VERBOSE_TYPE QUIET -NTHREADS 2"
    )
    (folder / "se.conf").touch()
    (folder / "psfex.conf").touch()
    seconds = []
    for command in (extract, model):
        start = time.perf_counter()
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return fits.open(folder / "stars.psf", memmap=False), *seconds


def psfex_kernels(file: fits.HDUList, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """PSF of a file of PSFEx at places, (n, 41, 41)."""
    header, planes = file[1].header, file[1].data["PSF_MASK"][0]
    u, v = ((p + 1 - header[f"POLZERO{k}"]) / header[f"POLSCAL{k}"] for k, p in ((1, x), (2, y)))
    terms = np.stack([np.ones_like(u), u, u * u, v, u * v, v * v], axis=1)
    return np.einsum("nk,kij->nij", terms, planes.astype(float))


def shapes(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Size and ellipticities, (3, n)."""
    return np.array([np.sqrt((xx + yy) / 2), (xx - yy) / (xx + yy), 2 * xy / (xx + yy)])


def told(name: str, stars: np.ndarray, model: np.ndarray, truth: np.ndarray) -> None:
    """Print how stars, and the true PSF, are off a model."""
    off, wrong = stars - model, truth - model
    off[0], wrong[0] = off[0] / model[0], wrong[0] / model[0]
    middle = np.median(off, axis=1)
    spread = 1.4826 * np.median(np.abs(off - middle[:, None]), axis=1)
    print(
        f"{name:6s} size {middle[0]:+.5f} +- {spread[0]:.5f}, e1 {middle[1]:+.5f} +- {spread[1]:.5f}, e2 "
        f"{middle[2]:+.5f} +- {spread[2]:.5f}; rms from the truth: {np.array2string(wrong.std(axis=1), precision=5)}"
    )


def main(seed: int) -> None:
    frame, table, selected, truth = measured(seed)
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(selected))
    test, train = drawn[: len(drawn) // 6], np.zeros(len(table), bool)
    train[drawn[len(drawn) // 6 :]] = True
    fit, seconds = ours(frame, table, train)
    with tempfile.TemporaryDirectory() as folder:
        file, extract, model = psfex(frame, table, train, Path(folder))
    print(f"{train.sum()} stars, {len(test)} to test; corontools {seconds:.3f} s ({fit.kept.sum()} used)")
    print(f"PSFEx {model:.3f} s ({file[1].header['ACCEPTED']} used), after source-extractor {extract:.3f} s")
    x, y = (np.asarray(table[f"slot_Centroid_{axis}"])[test] for axis in "xy")
    stars = shapes(*(np.asarray(table[f"slot_Shape_{axes}"])[test] for axes in ("xx", "yy", "xy")))
    true = shapes(*truth.moments(x, y))
    kernels = psfex_kernels(file, x, y)
    middle = np.full(len(x), SIZE // 2)
    theirs = adaptive_moments(kernels, np.ones_like(kernels), middle, middle, sigma=1.7)
    told("truth", stars, true, true)
    told("ours", stars, shapes(*fit.psf.moments(x, y)), true)
    told("PSFEx", stars, shapes(theirs.xx, theirs.yy, theirs.xy), true)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
