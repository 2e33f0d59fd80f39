import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from scipy import ndimage

from corontools.calibrate.detections import Detections
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.measure import FULL, MINIMAL, Measurer
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import GaussianPSF
from corontools.errors import DataError

PSF = GaussianPSF(1.7, size=41)


def planted(x, y, flux, shape=(160, 160), psf=PSF):
    """Stars of known flux at known places."""
    image, half = np.zeros(np.array(shape) + psf.size), psf.size // 2
    for px, py, stamp, f in zip(x, y, psf.images(x, y), flux, strict=True):
        x0, y0 = int(np.floor(px + 0.5)), int(np.floor(py + 0.5))
        image[y0 : y0 + psf.size, x0 : x0 + psf.size] += f * stamp
    return image[half : half + shape[0], half : half + shape[1]]


def frame(image, *, sky=100.0, noise=None):
    """Masked image with the Poisson noise of image and sky, or none but in the variance."""
    variance = sky + np.maximum(image, 0)
    if noise is not None:
        image = image + noise.normal(size=image.shape) * np.sqrt(variance)
    return MaskedImage(image.astype(np.float32), np.zeros(image.shape, np.int32), variance.astype(np.float32))


def detected(image, *, threshold=10.0, sky=()):
    """Footprints above a threshold, with the highest pixel of each; some are sky sources."""
    labels, n = ndimage.label(image > threshold, np.ones((3, 3)))
    ids = np.arange(1, n + 1)
    places = np.array(ndimage.maximum_position(image, labels, ids)).reshape(n, 2)
    peaks = Table({"id": ids, "footprint": ids, "x": places[:, 1], "y": places[:, 0], "significance": np.full(n, 50.0)})
    footprints = Table({"id": ids, "sky_source": np.isin(ids, sky)})
    return Detections(labels.astype(np.int32), footprints, peaks, None)


def grid(rng, pitch=53.3, n=3, first=27.0):
    """Places some distance apart, anywhere within a pixel."""
    x, y = (values.ravel() for values in np.meshgrid(first + pitch * np.arange(n), first + pitch * np.arange(n)))
    return x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, y.size)


def nearest(table, x, y):
    """Rows of the table nearest to places."""
    distance = np.hypot(table["slot_Centroid_x"].value[:, None] - x, table["slot_Centroid_y"].value[:, None] - y)
    return table[np.argmin(distance, axis=0)]


def test_stars_without_noise_are_measured_to_a_part_in_a_thousand():
    rng = np.random.default_rng(1)
    x, y = grid(rng)
    flux = 10 ** rng.uniform(4, 6, x.size)
    image = planted(x, y, flux)
    found = nearest(Measurer().measure(frame(image), detected(image), PSF), x, y)
    np.testing.assert_allclose(found["slot_Centroid_x"].value, x, atol=2e-4)
    np.testing.assert_allclose(found["slot_Centroid_y"].value, y, atol=2e-4)
    for name in (
        "base_PsfFlux",
        "base_GaussianFlux",
        "base_CircularApertureFlux_12_0",
        "base_CompensatedTophatFlux_12",
    ):
        np.testing.assert_allclose(found[f"{name}_instFlux"].value, flux, rtol=1e-3)
    np.testing.assert_allclose(found["slot_Shape_xx"].value, 1.7**2, rtol=1e-3)
    np.testing.assert_allclose(found["slot_PsfShape_yy"].value, 1.7**2, rtol=1e-3)
    np.testing.assert_allclose(found["base_ClassificationSizeExtendedness_value"], 0, atol=1e-3)
    np.testing.assert_allclose(found["base_Blendedness_abs"], 0, atol=1e-6)
    assert (found["detect_isPrimary"] & found["detect_isIsolated"]).all()


def test_errors_are_those_of_many_stars():
    rng = np.random.default_rng(2)
    x, y = grid(rng, pitch=48.0, n=14)
    image = planted(x, y, np.full(x.size, 8000.0), shape=(680, 680))
    found = nearest(Measurer(MINIMAL).measure(frame(image, noise=rng), detected(image), PSF), x, y)
    truth = {"slot_Centroid_x": x, "slot_Centroid_y": y, "base_PsfFlux_instFlux": 8000.0, "slot_Shape_xx": 1.7**2}
    truth |= {"base_GaussianFlux_instFlux": 8000.0, "base_CompensatedTophatFlux_12_instFlux": 8000.0}
    for name, value in truth.items():
        pull = (found[name].value - value) / found[f"{name}Err"].value
        assert abs(np.mean(pull)) < 0.3, name
        assert 0.85 < np.std(pull) < 1.15, name


def test_neighbours_are_replaced_by_noise():
    x, y, flux = np.array([60.2, 85.1]), np.array([80.3, 79.7]), np.array([1e4, 1e6])
    image = planted(x, y, flux)
    masked, detections = frame(image), detected(image, threshold=1.0)
    assert len(detections) == 2
    found = nearest(Measurer(MINIMAL).measure(masked, detections, PSF), x, y)[0]
    aperture = "base_CompensatedTophatFlux_12_instFlux"
    # the ring reaches into the neighbour, of which nothing is left but noise of 10 per pixel
    assert found[aperture] == pytest.approx(1e4, abs=3 * found[f"{aperture}Err"])
    both = detections.with_(labels=(np.asarray(detections.labels) > 0).astype(np.int32))
    blended = nearest(Measurer(MINIMAL).measure(masked, both, PSF), x, y)[0]
    assert abs(blended[aperture] - 1e4) > 20 * found[f"{aperture}Err"]


def test_the_same_call_gives_the_same_numbers_and_another_seed_others():
    x, y = np.array([60.2, 85.1]), np.array([80.3, 79.7])
    image = planted(x, y, [1e4, 1e6])
    masked, detections = frame(image), detected(image, threshold=1.0)
    name = "base_CompensatedTophatFlux_12_instFlux"
    first, again, other = (Measurer(MINIMAL, seed=seed).measure(masked, detections, PSF)[name] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_same_sources_can_be_measured_with_a_new_psf():
    x, y = grid(np.random.default_rng(3))
    image = planted(x, y, np.full(x.size, 1e5))
    masked, detections = frame(image), detected(image)
    wrong = Measurer(MINIMAL).measure(masked, detections, GaussianPSF.of_fwhm(3.0, size=11))
    right = Measurer(MINIMAL).measure(masked, detections, PSF)
    np.testing.assert_array_equal(wrong["id"], right["id"])
    assert abs(wrong["base_PsfFlux_instFlux"] / 1e5 - 1).min() > 0.05
    np.testing.assert_allclose(right["base_PsfFlux_instFlux"], 1e5, rtol=1e-3)
    # a round PSF of the wrong width does not move the stars
    np.testing.assert_allclose(wrong["slot_Centroid_x"], right["slot_Centroid_x"], atol=2e-3)


def test_only_what_is_asked_for_is_measured():
    image = planted([40.0], [50.0], [1e5])
    table = Measurer(("base_PsfFlux",)).measure(frame(image), detected(image), PSF)
    assert "base_PsfFlux_instFlux" in table.colnames
    assert "slot_Centroid_x" in table.colnames
    assert not [name for name in table.colnames if "Shape" in name or "PixelFlags" in name or "Aperture" in name]
    with pytest.raises(DataError, match="base_Psfflux"):
        Measurer(("base_Psfflux",))
    assert set(MINIMAL) < set(FULL)


def test_columns_have_units():
    image = planted([40.0], [50.0], [1e5])
    table = Measurer(aperture=9.0).measure(frame(image), detected(image), PSF)
    assert table["slot_Centroid_xErr"].unit == u.pix
    assert table["slot_Shape_xyErr"].unit == u.pix**2
    assert table["base_CircularApertureFlux_9_0_instFluxErr"].unit == u.ct
    assert table["base_CompensatedTophatFlux_9_flag"].unit is None
    assert table["id"].dtype == np.int64


def test_planes_become_flags():
    x, y = np.array([40.0, 40.0, 110.0, 110.0]), np.array([40.0, 110.0, 40.0, 110.0])
    image = planted(x, y, np.full(4, 1e5))
    mask = np.zeros(image.shape, np.int32)
    mask[40, 45] = Plane.CR
    mask[111, 41] = Plane.SAT
    mask[39:42, 109:112] = Plane.INTRP
    masked = frame(image).with_(mask=mask)
    found = nearest(Measurer(MINIMAL).measure(masked, detected(image), PSF), x, y)
    name = "base_PixelFlags_flag_"
    assert found[f"{name}cr"].tolist() == [True, False, False, False]
    assert found[f"{name}crCenter"].tolist() == [False] * 4
    assert found[f"{name}saturatedCenter"].tolist() == [False, True, False, False]
    assert found[f"{name}saturatedCenterAll"].tolist() == [False] * 4
    assert found[f"{name}interpolatedCenterAll"].tolist() == [False, False, True, False]
    assert not found[f"{name}offimage"].any()


def test_what_lies_at_the_border_is_flagged():
    x, y = np.array([4.3, 80.0, 145.2]), np.array([80.0, 80.0, 80.0])
    image = planted(x, y, np.full(3, 1e5))
    found = nearest(Measurer().measure(frame(image), detected(image), PSF), x, y)
    assert found["base_PsfFlux_flag_edge"].tolist() == [True, False, True]
    assert found["base_CompensatedTophatFlux_12_flag_bounds"].tolist() == [True, False, True]
    assert found["base_CircularApertureFlux_12_0_flag_apertureTruncated"].tolist() == [True, False, False]
    assert np.isnan(found["base_CircularApertureFlux_12_0_instFlux"]).tolist() == [True, False, False]
    # what is left of the stars is enough for the PSF
    np.testing.assert_allclose(found["base_PsfFlux_instFlux"].value, 1e5, rtol=2e-3)


def test_missing_pixels_leave_a_star_its_psf_flux():
    image = planted([80.2], [79.9], [1e5])
    masked = frame(image)
    lost = np.zeros(image.shape, bool)
    lost[81:83, 82] = True
    holed = np.where(lost, np.nan, np.asarray(masked.image))
    masked = masked.marked(lost, Plane.NO_DATA).with_(image=holed, variance=np.where(lost, np.inf, masked.variance))
    row = Measurer().measure(masked, detected(image), PSF)[0]
    assert row["base_PsfFlux_instFlux"] == pytest.approx(1e5, rel=0.01)
    assert row["base_PsfFlux_npixels"] == 41**2 - 2
    assert row["base_PixelFlags_flag_nodata"]
    assert row["base_CircularApertureFlux_12_0_flag"]
    assert np.isnan(row["base_CircularApertureFlux_12_0_instFlux"])


def test_galaxies_are_extended_and_large_ones_get_large_stamps():
    wide, huge = GaussianPSF(3.5, size=61), GaussianPSF(9.0, size=141)
    image = planted([60.3], [80.0], [1e5], (300, 300), wide) + planted([190.4], [190.0], [2e6], (300, 300), huge)
    image += planted([60.0], [220.0], [1e5], (300, 300))
    table = Measurer().measure(frame(image), detected(image, threshold=5.0), PSF)
    found = nearest(table, np.array([60.3, 190.4, 60.0]), np.array([80.0, 190.0, 220.0]))
    np.testing.assert_allclose(found["slot_Shape_xx"].value, [3.5**2, 81.0, 1.7**2], rtol=0.02)
    np.testing.assert_allclose(found["base_GaussianFlux_instFlux"].value, [1e5, 2e6, 1e5], rtol=0.02)
    np.testing.assert_allclose(found["slot_Centroid_x"].value, [60.3, 190.4, 60.0], atol=0.02)
    assert found["base_ClassificationSizeExtendedness_value"].tolist() == pytest.approx([1, 1, 0], abs=1e-3)


def test_sky_sources_are_not_primary():
    image = planted([40.0, 110.0], [50.0, 50.0], [1e5, 1e5])
    table = Measurer(MINIMAL).measure(frame(image), detected(image, sky=(2,)), PSF)
    assert table["sky_source"].tolist() == [False, True]
    assert table["detect_isPrimary"].tolist() == [True, False]


def test_sky_sources_are_measured_where_they_were_put():
    blank, rng = np.zeros((300, 300)), np.random.default_rng(9)
    labels = np.zeros(blank.shape, np.int32)
    places = np.stack([values.ravel() for values in np.meshgrid(30 + 24 * np.arange(11), 30 + 24 * np.arange(11))])
    for k, (px, py) in enumerate(places.T):
        labels[py - 8 : py + 9, px - 8 : px + 9] = k + 1
    ids = np.arange(1, places.shape[1] + 1)
    columns = {"id": ids, "footprint": ids, "x": places[0], "y": places[1], "significance": np.zeros(len(ids))}
    detections = Detections(labels, Table({"id": ids, "sky_source": np.full(len(ids), True)}), Table(columns), None)
    table = Measurer(MINIMAL).measure(frame(blank, noise=rng), detections, PSF)
    np.testing.assert_array_equal(table["slot_Centroid_x"].value, places[0])
    assert table["slot_Centroid_flag"].all()
    pull = table["base_PsfFlux_instFlux"] / table["base_PsfFlux_instFluxErr"]
    assert abs(np.mean(pull)) < 0.3
    assert 0.85 < np.std(pull) < 1.15


def test_a_frame_without_sources_gives_a_table_without_rows():
    image = np.zeros((160, 160))
    table = Measurer().measure(frame(image), detected(image), PSF)
    assert len(table) == 0
    assert "base_PsfFlux_instFlux" in table.colnames


def test_footprints_of_another_frame_are_an_error():
    image = planted([40.0], [50.0], [1e5])
    with pytest.raises(DataError, match=r"\(160, 160\) and \(100, 160\)"):
        Measurer().measure(frame(image[:100]), detected(image), PSF)
    with pytest.raises(DataError, match="wider than the aperture"):
        Measurer(annulus=0.9)
