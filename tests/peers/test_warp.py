"""Warps beside SWarp: the same pixels with the same values, and a variance that SWarp doesn't have.

afw compares itself with SWarp to rtol 4e-5 + atol 1e-2; here on 2048 x 2048 px rotated by 20 degrees.
"""

import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from corontools.arrays.moments import adaptive_moments
from corontools.calibrate import MaskedImage
from corontools.calibrate.visit import VisitImage
from corontools.simulate import star_field
from corontools.simulate.field_psf import MoffatField
from corontools.warp import SkyMap, Tiling, Tract, Warp
from corontools.warp.sky import sky_wcs

PROGRAM = shutil.which("SWarp") or shutil.which("swarp")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(PROGRAM is None, reason="the program SWarp is not installed (Debian package swarp)"),
]

CHANGED = "SWarp has changed: update docs/differences.md"
SIDE, STAMP = 2048, 41
OPTIONS = {
    "c": "/dev/null", "COMBINE": "N", "RESAMPLE": "Y", "RESAMPLING_TYPE": "LANCZOS3", "SUBTRACT_BACK": "N",
    "PROJECTION_ERR": "0.001", "OVERSAMPLING": "1", "RESCALE_WEIGHTS": "N", "WEIGHT_TYPE": "MAP_WEIGHT",
    "WEIGHT_IMAGE": "weight.fits", "WRITE_XML": "N", "VERBOSE_TYPE": "QUIET", "NTHREADS": "2",
}  # fmt: skip


def tan(angle):
    """TAN without distortion, which SWarp reads as we do."""
    return sky_wcs((53.1, -27.8), ((SIDE - 1) / 2, (SIDE - 1) / 2), Tiling(0.2, rotation=angle).cd)


def swarp(image, variance, folder):
    """Image and weight that SWarp makes of an image at 15 degrees on pixels at 35 degrees."""
    header = tan(15.0).to_header()
    fits.writeto(folder / "in.fits", image, header)
    fits.writeto(folder / "weight.fits", 1 / variance, header)
    grid = tan(35.0).to_header()
    grid.update(NAXIS=2, NAXIS1=SIDE, NAXIS2=SIDE)
    # the header of the output, for one image and for their sum
    for name in ("coadd.head", "in.resamp.head"):
        (folder / name).write_text(grid.tostring(sep="\n") + "\nEND\n")
    words = [word for name, value in OPTIONS.items() for word in (f"-{name}", value)]
    subprocess.run([PROGRAM, "in.fits", *words], cwd=folder, check=True, capture_output=True)
    return tuple(fits.getdata(folder / f"in.resamp{part}.fits").astype(np.float32) for part in ("", ".weight"))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A field with noise, warped by SWarp and by us."""
    truth = star_field(SIDE, seed=3).truth
    rng = np.random.default_rng(1)
    light = truth.light - truth.sky
    variance = truth.variance.astype(np.float32)
    image = (light + rng.standard_normal(light.shape) * np.sqrt(truth.variance)).astype(np.float32)
    frame = MaskedImage(image, np.zeros(image.shape, np.int32), variance)
    visit = VisitImage(frame, tan(15.0), truth.psf, visit=1, detector=1, filter="r")
    ours = Warp.from_exposures(visit, Tract.of_wcs(tan(35.0), image.shape)[0, 0])
    theirs, weight = swarp(image, variance, tmp_path_factory.mktemp("swarp"))
    return SimpleNamespace(ours=ours, theirs=theirs, weight=weight, light=light.astype(np.float32), visit=visit)


def test_the_same_pixels_are_reached(both):
    np.testing.assert_array_equal(both.ours.good, both.theirs != 0)
    assert both.ours.good.mean() > 0.85


def test_values_are_the_same_everywhere(both):
    good = both.ours.good
    np.testing.assert_allclose(both.ours.frame.image[good], both.theirs[good], rtol=4e-5, atol=1e-2)


def test_the_noise_is_that_of_our_variance_and_not_that_of_the_weight(both):
    clean = both.visit.with_(frame=both.visit.frame.with_(image=both.light))
    without = Warp.from_exposures(clean, both.ours.patch)
    good = both.ours.good
    noise = (both.ours.frame.image - without.frame.image)[good]
    assert np.std(noise / np.sqrt(both.ours.frame.variance[good])) == pytest.approx(1.0, abs=0.01)
    # SWarp interpolates weights like images: 25 % more variance than there is
    assert np.std(noise * np.sqrt(both.weight[good])) < 0.93, CHANGED


def test_stars_keep_flux_and_size(tmp_path):
    """Noiseless isolated stars, each measured before, after our warp and after SWarp's."""
    psf = MoffatField((SIDE, SIDE))
    rng = np.random.default_rng(4)
    x, y = (v.ravel() + rng.uniform(-20, 20, v.size) for v in np.meshgrid(*[np.arange(500, 1600, 90.0)] * 2))
    image = np.zeros((SIDE, SIDE))
    psf.add(image, x, y, np.full(x.size, 1e5))
    image, variance = image.astype(np.float32), np.ones(image.shape, np.float32)
    visit = VisitImage(
        MaskedImage(image, np.zeros(image.shape, np.int32), variance), tan(15.0), psf, visit=1, detector=1, filter="r"
    )
    patch = SkyMap((Tract.of_wcs(tan(35.0), image.shape),))[0][0, 0]
    ours = Warp.from_exposures(visit, patch).frame.image
    theirs, _ = swarp(image, variance, tmp_path)
    before = measured(image, x, y)
    places = patch.wcs.all_world2pix(*visit.wcs.all_pix2world(x, y, 0), 0)
    (flux, size), swarps = measured(ours, *places), measured(theirs, *places)
    np.testing.assert_allclose(flux, before[0], rtol=2e-4)
    # the kernel itself makes stars of 3.6 px FWHM smaller by 0.3 %
    assert np.median(size / before[1]) == pytest.approx(1.0, abs=3e-3)
    np.testing.assert_allclose(size, before[1], rtol=4e-3)
    np.testing.assert_allclose([flux, size], swarps, rtol=1e-5)


def measured(image, x, y):
    """Fluxes within the same circle, and sizes by adaptive moments."""
    half, flux, stamps = STAMP // 2, [], []
    rows, columns = (np.floor(v + 0.5).astype(int) for v in (y, x))
    v, u = np.mgrid[:SIDE, :SIDE]
    for k, (row, column) in enumerate(zip(rows, columns, strict=True)):
        where = (slice(row - half, row + half + 1), slice(column - half, column + half + 1))
        soft = np.clip(18.5 - np.hypot(v[where] - y[k], u[where] - x[k]), 0, 1)
        flux.append((soft * image[where]).sum())
        stamps.append(image[where])
    at_x, at_y = half + x - columns, half + y - rows
    stamps = np.array(stamps, np.float64)
    found = adaptive_moments(stamps, np.ones_like(stamps), at_x, at_y, sigma=np.full(len(x), 1.7))
    return np.array(flux), (found.xx * found.yy - found.xy**2) ** 0.25
