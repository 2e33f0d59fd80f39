import numpy as np
import pytest
from astropy.table import Table

from corontools.calibrate.deblend import Deblender
from corontools.calibrate.detect import SourceDetector
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.measure import MINIMAL, Measurer
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.targets import Sources
from corontools.errors import DataError

PSF = GaussianPSF.of_fwhm(4.0, size=41)


def planted(rows, shape):
    """Image of rows (x, y, flux, sigma)."""
    image = np.zeros(shape)
    along_y, along_x = np.arange(shape[0])[:, None], np.arange(shape[1])
    for x, y, flux, sigma in rows:
        r2 = (along_x - x) ** 2 + (along_y - y) ** 2
        image += flux * np.exp(-0.5 * r2 / sigma**2) / (2 * np.pi * sigma**2)
    return image


def frame(image, *, sky=100.0, seed=None):
    variance = sky + image
    if seed is not None:
        image = image + np.random.default_rng(seed).normal(size=image.shape) * np.sqrt(variance)
    return MaskedImage(image.astype(np.float32), np.zeros(image.shape, np.int32), variance.astype(np.float32))


def pairs(rng, *, sep, flux, companion, width=PSF.width, n=6, pitch=60):
    """Blends far from each other: first of each pair a star."""
    rows = []
    for k in range(n * n):
        x, y = 30 + pitch * (k % n) + rng.uniform(-0.5, 0.5), 30 + pitch * (k // n) + rng.uniform(-0.5, 0.5)
        angle = rng.uniform(0, 2 * np.pi)
        rows += [(x, y, flux, PSF.width)]
        rows += [(x + sep * np.cos(angle), y + sep * np.sin(angle), companion, width)]
    return np.array(rows), (n * pitch, n * pitch)


def taken_apart(masked, **options):
    return Deblender(**options).deblend(masked, SourceDetector.of_stars().detect(masked, PSF), PSF)


def of_truth(table, rows):
    """Row of the table for each planted source, of those that weren't taken apart, within 1.5 px."""
    single = table[np.asarray(table["deblend_nChild"]) == 0]
    x, y = single["slot_Centroid_x"].value, single["slot_Centroid_y"].value
    distance = np.hypot(x[:, None] - rows[:, 0], y[:, None] - rows[:, 1])
    assert distance.min(axis=0).max() < 1.5
    return single[np.argmin(distance, axis=0)]


@pytest.mark.parametrize(("sep", "ratio"), [(6.0, 1.0), (8.0, 0.3), (12.0, 0.1)])
def test_close_stars_get_their_own_light(sep, ratio):
    rows, shape = pairs(np.random.default_rng(1), sep=sep, flux=2e5, companion=2e5 * ratio)
    masked = frame(planted(rows, shape), seed=2)
    found = of_truth(Measurer(MINIMAL).measure(masked, taken_apart(masked), PSF), rows)
    assert found["detect_fromBlend"].all()
    assert np.mean(found["deblend_deblendedAsPsf"]) > 0.95
    for which in (slice(0, None, 2), slice(1, None, 2)):
        off = (found["base_PsfFlux_instFlux"].value - rows[:, 2])[which]
        pull = off / found["base_PsfFlux_instFluxErr"].value[which]
        assert abs(np.mean(pull)) < 0.6
        assert 1.4826 * np.median(np.abs(pull)) < 1.4
    assert np.abs(found["slot_Centroid_x"].value - rows[:, 0]).max() < 0.2


def test_children_together_have_all_light_of_the_blend():
    rows, shape = pairs(np.random.default_rng(2), sep=7.0, flux=1e5, companion=1e5, n=2)
    masked = frame(planted(rows, shape), seed=3)
    sources = taken_apart(masked)
    parents = np.flatnonzero(np.asarray(sources.table["deblend_nChild"]) > 0)
    assert len(parents) == 4
    for parent in parents:
        whole = sources.share(parent)
        children = np.flatnonzero(sources.table["parent"] == sources.table["id"][parent])
        assert len(children) == sources.table["deblend_nChild"][parent] == 2
        shares = [sources.share(child) for child in children]
        assert all(share[:2] == whole[:2] for share in shares)
        np.testing.assert_allclose(sum(share[2] for share in shares), whole[2], atol=1e-6)
        y0, x0, light = sources.image(children[0], masked.image)
        ny, nx = light.shape
        np.testing.assert_allclose(
            np.nan_to_num(light), shares[0][2] * masked.image[y0 : y0 + ny, x0 : x0 + nx], rtol=1e-5
        )


def test_a_star_beside_a_galaxy_keeps_to_itself():
    rows, shape = pairs(np.random.default_rng(4), sep=10.0, flux=1e5, companion=2e5, width=3.2)
    masked = frame(planted(rows, shape), seed=5)
    found = of_truth(Measurer().measure(masked, taken_apart(masked), PSF), rows)
    assert not found["deblend_deblendedAsPsf"][1::2].any()
    stars, galaxies = found[::2], found[1::2]
    assert np.median(stars["base_PsfFlux_instFlux"].value) == pytest.approx(1e5, rel=0.01)
    assert np.median(galaxies["base_GaussianFlux_instFlux"].value) == pytest.approx(2e5, rel=0.02)
    assert np.median(galaxies["slot_Shape_xx"].value) == pytest.approx(3.2**2, rel=0.04)
    assert (galaxies["base_ClassificationSizeExtendedness_value"] > 0.9).all()
    assert (stars["base_Blendedness_abs"] > 0.005).all()
    assert (stars["base_Blendedness_abs"] < 0.5).all()


def test_single_sources_stay_as_they_are():
    masked = frame(planted([(40, 40, 1e5, PSF.width), (100, 90, 1e5, 3.0)], (140, 140)))
    sources = taken_apart(masked)
    assert len(sources) == 2
    assert sources.table["deblend_nChild"].tolist() == [0, 0]
    assert sources.table["parent"].tolist() == [0, 0]
    assert not sources.table["deblend_deblendedAsPsf"].any()
    assert np.isnan(sources.table["deblend_psf_instFlux"]).all()


def test_what_cannot_be_taken_apart_is_left_whole_and_flagged():
    rows, shape = pairs(np.random.default_rng(6), sep=7.0, flux=1e5, companion=1e5, n=1)
    masked = frame(planted(rows, shape))
    big = taken_apart(masked, max_pixels=50).table
    assert (big["deblend_parentTooBig"][0], big["deblend_skipped"][0], len(big)) == (True, True, 1)
    detections = SourceDetector.of_stars().detect(masked, PSF)
    holes = (np.indices(shape).sum(axis=0) % 2 == 0) & (np.asarray(detections.labels) > 0)
    lost = masked.marked(holes, Plane.NO_DATA)
    table = Deblender().deblend(lost, detections, PSF).table
    assert (table["deblend_masked"][0], table["deblend_skipped"][0], len(table)) == (True, True, 1)


def test_the_highest_of_too_many_peaks_are_kept():
    rows = [(40 + 7 * k, 60, 1e5 * (k + 1), PSF.width) for k in range(4)]
    masked = frame(planted(rows, (120, 120)))
    table = taken_apart(masked, max_peaks=2).table
    assert table["deblend_nPeaks"][0] == 4
    assert table["deblend_tooManyPeaks"][0]
    assert sorted(table["x"][table["parent"] > 0].tolist()) == [54, 61]


def test_a_template_at_the_border_is_patched_with_itself():
    rows = [(3.0, 40.0, 2e5, 3.0), (14.0, 40.0, 2e5, 3.0)]
    masked = frame(planted(rows, (80, 80)))
    labels = np.ones((80, 80), np.int32)
    detections = SourceDetector.of_stars().detect(masked, PSF)
    peaks = Table({"id": [1, 2], "footprint": [1, 1], "x": [3, 14], "y": [40, 40], "significance": [90.0, 90.0]})
    footprints = Table({"id": [1], "sky_source": [False]})
    sources = Deblender(psf_chi2=1e-9).deblend(
        masked, detections.with_(labels=labels, peaks=peaks, footprints=footprints), PSF
    )
    assert sources.table["deblend_patchedTemplate"].tolist() == [False, True, True]
    _, _, part = sources.share(1)
    assert part[40, 0] > 0.9
    # no higher than the valley on the way there
    assert part[40, 14] < 0.4


def test_ids_are_unique_and_children_name_their_parents():
    rows, shape = pairs(np.random.default_rng(7), sep=7.0, flux=1e5, companion=1e5, n=3)
    masked = frame(planted(rows, shape), seed=8)
    sources = taken_apart(masked)
    table = sources.table
    assert len(np.unique(table["id"])) == len(table)
    assert table["id"].min() > 0
    children = table[table["parent"] > 0]
    assert np.isin(children["parent"], table["id"][table["deblend_nChild"] > 0]).all()
    assert (children["deblend_parentNPeaks"] == 2).all()
    assert isinstance(Sources.of(SourceDetector.of_stars().detect(masked, PSF)), Sources)


def test_options_that_make_no_sense_are_an_error():
    with pytest.raises(DataError, match="should be positive"):
        Deblender(radius=0)
