"""PSFs of PSFEx: against its formula, files made by hand, and files that it wrote."""

import shutil
import subprocess

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from corontools.calibrate.product import psf_from_hdu, psf_to_hdu
from corontools.calibrate.psf import PixelPSF
from corontools.calibrate.psfex import read_psfex
from corontools.errors import DataError
from corontools.simulate.field_psf import MoffatField

ZERO, SCALE = (251.0, 200.5), (443.0, 343.0)
AXES = ("X_IMAGE", "Y_IMAGE")


def planes(n_term, *, size=25, samp=1.0, width=1.8):
    """A Gaussian, and how it changes: by other Gaussians, each in its own place."""
    along = (np.arange(size) - size // 2) * samp
    made = [1.02 * gaussian(along, along, width) * samp**2]
    for k in range(1, n_term):
        made.append(0.1 * gaussian(along - np.cos(k), along - np.sin(k), width + 0.1 * k) * samp**2 / k)
    return np.array(made, np.float32)


def gaussian(x, y, width):
    return np.exp(-0.5 * (x**2 + y[:, None] ** 2) / width**2) / (2 * np.pi * width**2)


def cards(*, samp=1.0, names=AXES, groups=(1, 1), degrees=(2,)):
    found = {"POLNAXIS": len(names), "POLNGRP": len(degrees), "PSF_SAMP": samp}
    for k, (name, group, zero, scale) in enumerate(zip(names, groups, ZERO, SCALE, strict=False), start=1):
        found |= {f"POLNAME{k}": name, f"POLGRP{k}": group, f"POLZERO{k}": zero, f"POLSCAL{k}": scale}
    return found | {f"POLDEG{k}": degree for k, degree in enumerate(degrees, start=1)}


def model_hdu(images, **options):
    column = fits.Column("PSF_MASK", f"{images.size}E", dim=str(images.shape[::-1]), array=images[None])
    hdu = fits.BinTableHDU.from_columns([column], name="PSF_DATA")
    hdu.header.update(cards(**options))
    return hdu


def written(path, *hdus):
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def by_formula(images, x, y, exponents):
    """Samples of the PSF over their total at a place, 0-based."""
    u, v = (x + 1 - ZERO[0]) / SCALE[0], (y + 1 - ZERO[1]) / SCALE[1]
    made = sum(u**i * v**j * image.astype(float) for (i, j), image in zip(exponents, images, strict=True))
    return made / made.sum()


ORDERS = {
    0: [(0, 0)],
    1: [(0, 0), (1, 0), (0, 1)],
    2: [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2)],
    3: [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (0, 3)],
}


@pytest.mark.parametrize("degree", ORDERS)
@pytest.mark.parametrize("shape", [None, (400, 500), (100, 30)])
def test_at_sampled_places_a_psf_is_that_of_the_formula(tmp_path, degree, shape):
    images = planes(len(ORDERS[degree]))
    psf = read_psfex(written(tmp_path / "a.psf", model_hdu(images, degrees=(degree,))), shape=shape)
    assert (psf.order, psf.size) == (degree, 25)
    assert psf.shape == (shape or (372, 473))
    for x, y in [(0.0, 0.0), (250.0, 100.3), (499.0, 399.0)]:
        expected = by_formula(images, x, y, ORDERS[degree])
        np.testing.assert_allclose(psf.kernels([x], [y])[0], expected, rtol=0, atol=1e-10 * expected.max())


@pytest.mark.parametrize(
    ("options", "exponents"),
    [
        ({"groups": (1, 2), "degrees": (2, 1)}, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]),
        ({"names": ("Y_IMAGE", "X_IMAGE")}, None),
        ({"names": ("XWIN_IMAGE",), "groups": (1,)}, [(0, 0), (1, 0), (2, 0)]),
        ({"names": (), "groups": (), "degrees": ()}, [(0, 0)]),
    ],
    ids=["a degree for each axis", "y before x", "x alone", "constant"],
)
def test_other_polynomials_are_read_as_well(tmp_path, options, exponents):
    images = planes(len(exponents or ORDERS[2]))
    psf = read_psfex(written(tmp_path / "a.psf", model_hdu(images, **options)), shape=(400, 500))
    x, y = 123.0, 321.0
    if exponents is None:
        # u goes with the first name
        u, v = (y + 1 - ZERO[0]) / SCALE[0], (x + 1 - ZERO[1]) / SCALE[1]
        terms = [1, u, u * u, v, u * v, v * v]
        expected = np.tensordot(terms, images.astype(float), axes=1)
        expected /= expected.sum()
    else:
        expected = by_formula(images, x, y, exponents)
    np.testing.assert_allclose(psf.kernels([x], [y])[0], expected, rtol=0, atol=1e-10 * expected.max())


@pytest.mark.parametrize(("samp", "width", "size"), [(0.4, 1.8, 61), (0.5, 1.8, 49), (0.73, 1.8, 41), (1.0, 1.8, 31),
                                                     (1.37, 3.5, 31), (2.6, 7.0, 31)])  # fmt: skip
def test_a_star_between_the_samples_is_a_star_there(tmp_path, samp, width, size):
    psf = read_psfex(written(tmp_path / "a.psf", model_hdu(planes(1, size=size, samp=samp, width=width), samp=samp,
                                                          degrees=(0,))))  # fmt: skip
    assert abs(psf.size - size * samp) <= 2
    along = np.arange(psf.size) - psf.size // 2
    for dx, dy in [(0.0, 0.0), (0.5, -0.25), (-0.31, 0.42)]:
        star = psf.images([100 + dx - 1e-12], [50 + dy])[0]
        expected = gaussian(along - dx, along - dy, width)
        # what Lanczos-3 makes of 4 samples per FWHM
        assert np.abs(star - expected).max() < 8e-3 * expected.max()
        assert star.sum() == pytest.approx(1)
    assert psf.sigma([10.0], [10.0])[0] == pytest.approx(width, rel=0.01)


@pytest.mark.parametrize("samp", [1.0, 0.8, 2.3])
def test_between_samples_it_is_drawn_by_lanczos_3(tmp_path, samp):
    images = planes(1, size=31, samp=samp, width=1.8 * max(samp, 1))
    psf = read_psfex(written(tmp_path / "a.psf", model_hdu(images, samp=samp, degrees=(0,))))
    for dx, dy in [(0.0, 0.0), (0.25, -0.25), (0.37, 0.1)]:
        rows, columns = (lanczos(np.arange(psf.size) - psf.size // 2 - d, samp, 31) for d in (dy, dx))
        expected = rows @ images[0].astype(float) @ columns.T
        expected /= expected.sum()
        assert np.abs(psf.images([40 + dx], [60 + dy])[0] - expected).max() < 1e-3 * expected.max()


def lanczos(places, samp, size):
    """Normalised weights of samples at places, px from the middle; none beyond the last sample."""
    apart = places[:, None] / samp - (np.arange(size) - size // 2)
    weights = np.where(np.abs(apart) < 3, np.sinc(apart) * np.sinc(apart / 3), 0)
    inside = np.abs(places) / samp <= size // 2
    return np.where(inside[:, None], weights / np.where(inside, weights.sum(axis=1), 1)[:, None], 0)


def test_the_middle_of_an_even_stamp_is_where_psfex_has_it(tmp_path):
    images = np.zeros((1, 24, 20), np.float32)
    images[0, 12, 10] = 1
    psf = read_psfex(written(tmp_path / "a.psf", model_hdu(images, degrees=(0,))))
    kernel = psf.kernels([0.0], [0.0])[0]
    assert psf.size == 25
    assert kernel[12, 12] == pytest.approx(1)


def merged(path, *, names=("N4", "S9")):
    """A table with a row for each CCD, cards in lower-case columns."""
    rows = []
    for k, name in enumerate(names):
        row = {key.lower(): value for key, value in cards().items()}
        rows.append(row | {"ccdname": name, "polzero1": ZERO[0] + 10 * k, "psf_mask": planes(6, width=1.8 + 0.2 * k)})
    Table(rows=rows).write(path, format="fits")
    return path


def test_a_merged_table_has_a_model_for_each_detector(tmp_path):
    path = merged(tmp_path / "merged.fits")
    there = [100.0], [100.0]
    assert read_psfex(path, detector="N4").sigma(*there) < read_psfex(path, detector="S9").sigma(*there) - 0.1
    for number, name in enumerate(("N4", "S9")):
        one, other = read_psfex(path, detector=number), read_psfex(path, detector=name)
        np.testing.assert_array_equal(one.kernels(*there), other.kernels(*there))
    moved = read_psfex(path, detector=1, shape=(400, 500))
    alone = written(tmp_path / "a.psf", model_hdu(planes(6, width=2.0)))
    # its zero is 10 px farther
    expected = read_psfex(alone, shape=(400, 500)).kernels([90.0], [100.0])
    np.testing.assert_allclose(moved.kernels(*there), expected, atol=1e-12)


def test_which_of_several_models_has_to_be_told(tmp_path):
    path = merged(tmp_path / "merged.fits")
    with pytest.raises(DataError, match=r"merged.fits holds 2 models, N4, S9, and 2 for detector=None"):
        read_psfex(path)
    with pytest.raises(DataError, match=r"and 0 for detector='S1'"):
        read_psfex(path, detector="S1")
    with pytest.raises(DataError, match="there is none of number 2"):
        read_psfex(path, detector=2)
    several = written(tmp_path / "a.psf", *(model_hdu(planes(6, width=1.8 + 0.2 * k)) for k in range(3)))
    assert read_psfex(several, detector=2).sigma([9.0], [9.0]) > read_psfex(several, detector=0).sigma([9.0], [9.0])


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: model_hdu(planes(6), names=("X_IMAGE", ":SEEING")), "depends on :SEEING; only one that depends on"),
        (lambda: model_hdu(planes(6), names=("X_IMAGE", "X_IMAGE")), "depends on X_IMAGE"),
        (lambda: model_hdu(planes(5)), "the polynomial has 6 terms, but there are 5 images"),
        (lambda: model_hdu(planes(6) * np.nan), "finite images"),
        (lambda: model_hdu(planes(6) * 0), "of positive total"),
        (lambda: model_hdu(planes(6), samp=0.0), "PSF_SAMP should be positive, found 0"),
        (lambda: model_hdu(planes(6), degrees=()), "POLDEG1 of a model of PSFEx should be a number, found None"),
        (lambda: fits.BinTableHDU(Table({"a": [1]})), "no table has a column PSF_MASK"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, made, told):
    with pytest.raises(DataError, match=told):
        read_psfex(written(tmp_path / "a.psf", made()))


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none.psf does not exist"):
        read_psfex(tmp_path / "none.psf")
    (tmp_path / "text.psf").write_text("PSF" * 1000)
    with pytest.raises(DataError, match=r"text.psf can't be read as FITS"):
        read_psfex(tmp_path / "text.psf")


def test_it_is_written_and_read_as_any_other_psf(tmp_path):
    psf = read_psfex(written(tmp_path / "a.psf", model_hdu(planes(6), samp=0.73)))
    written(tmp_path / "b.fits", psf_to_hdu(psf))
    with fits.open(tmp_path / "b.fits") as hdus:
        again = psf_from_hdu(hdus["PSF"])
    assert isinstance(again, PixelPSF)
    there = [10.2, 300.0], [20.7, 200.0]
    np.testing.assert_array_equal(again.images(*there), psf.images(*there))


# --- what psfex wrote ---


@pytest.fixture(scope="module")
def of_psfex(tmp_path_factory):
    """Function that runs psfex on stars of a known PSF with samples so far apart."""
    if not (shutil.which("psfex") and shutil.which("source-extractor")):
        pytest.skip("source-extractor and psfex aren't installed")
    folder, truth = tmp_path_factory.mktemp("psfex"), MoffatField((400, 500))
    rng = np.random.default_rng(1)
    x, y = (v.ravel() + rng.uniform(-2, 2, 64) for v in np.mgrid[30:470:8j, 30:370:8j])
    image = rng.normal(0, 5, truth.shape)
    truth.add(image, x, y, np.full(64, 1e5))
    fits.writeto(folder / "stars.fits", image.astype(np.float32))
    columns = "X_IMAGE Y_IMAGE FLUX_RADIUS FLUX_APER(1) FLUXERR_APER(1) ELONGATION FLAGS SNR_WIN VIGNET(35,35)"
    (folder / "columns").write_text(columns.replace(" ", "\n"))
    (folder / "empty").touch()
    ran(
        folder, "source-extractor stars.fits -c empty -CATALOG_NAME stars.cat -CATALOG_TYPE FITS_LDAC -FILTER N "
        "-PARAMETERS_NAME columns -DETECT_THRESH 20 -BACK_TYPE MANUAL -BACK_VALUE 0 -PHOT_APERTURES 20 -GAIN 1 "
        "-SATUR_LEVEL 1e9"
    )  # fmt: skip

    def run(samp):
        ran(
            folder, f"psfex stars.cat -c empty -PSF_SIZE 31,31 -PSF_SAMPLING {samp} -PSFVAR_DEGREES 2 -PSF_SUFFIX .psf "
            "-SAMPLE_AUTOSELECT N -SAMPLE_FWHMRANGE 1,20 -SAMPLE_MINSN 1 -SAMPLE_MAXELLIP 1 -PSFVAR_NSNAP 3 "
            "-CHECKIMAGE_TYPE SNAPSHOTS_IMRES -CHECKIMAGE_NAME snap.fits -CHECKPLOT_TYPE NONE -WRITE_XML N -NTHREADS 1"
        )  # fmt: skip
        return folder / "stars.psf", fits.getdata(folder / "snap_stars.fits").astype(float), truth

    return run


def ran(folder, command):
    subprocess.run([*command.split(), "-VERBOSE_TYPE", "QUIET"], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("samp", [0.0, 0.5, 1.0])
def test_a_file_of_psfex_gives_the_pixels_that_psfex_draws(of_psfex, samp):
    path, snapshots, truth = of_psfex(samp)
    psf, header = read_psfex(path, shape=truth.shape), fits.getheader(path, 1)
    assert psf.order == 2
    # 0 stands for samples by the seeing: two of them per FWHM
    assert 2 < header["PSF_SAMP"] < 2.5 if samp == 0 else header["PSF_SAMP"] == samp
    middle = snapshots.reshape(3, 35, 3, 35).transpose(0, 2, 1, 3)[:, :, 12:23, 12:23]
    thirds = (np.arange(3) + 0.5) / 3 - 0.5
    x, y = (thirds * header[f"POLSCAL{k}"] + header[f"POLZERO{k}"] - 1 for k in (1, 2))
    for j in range(3):
        for i in range(3):
            half = psf.size // 2
            drawn = psf.kernels(x[i : i + 1], y[j : j + 1])[0, half - 5 : half + 6, half - 5 : half + 6]
            drawn = drawn / drawn.sum() * middle[j, i].sum()
            assert np.abs(drawn - middle[j, i]).max() < 1e-4 * middle[j, i].max()


def test_a_file_of_psfex_has_the_size_of_the_stars(of_psfex):
    path, _, truth = of_psfex(0.5)
    x, y = (v.ravel().astype(float) for v in np.mgrid[50:450:5j, 50:350:5j])
    # stamps of 17 px cut the wings
    np.testing.assert_allclose(read_psfex(path).sigma(x, y), truth.sigma(x, y), rtol=0.03)
