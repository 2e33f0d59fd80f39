"""Real exposures; what is expected of them is in their README."""

import numpy as np
import pytest
from astropy.io import fits

from corontools import Exposure, PSFStack, Source, coron3, detection_map
from corontools.arrays.radial import radii
from corontools.arrays.shift import shift_image
from corontools.simulate import demo

OFFSETS = [(-0.102, -0.018), (-0.068, 0.158), (-0.092, 0.143), (-0.057, 0.073), (-0.179, 0.062), (-0.261, 0.147)]


def recorded(path):
    """Shift (dx, dy) that was applied to the delivered exposure."""
    with fits.open(path) as hdus:
        return np.ravel(hdus["IMSHIFTS"].data).astype(float)


def undone(exposure, path):
    """The exposure as it was before the recorded shift was applied."""
    filled = exposure.repair()
    return filled.with_(
        data=shift_image(np.asarray(filled.data, float), -recorded(path)),
        dq=None,
        err=None,
        source="",
        extensions=(),
    )


def filled_with_zeros(exposure):
    return Exposure(np.nan_to_num(np.asarray(exposure.data, float)), meta=exposure.meta, wcs=exposure.wcs)


@pytest.fixture(scope="module")
def ring():
    distance = radii((320, 320), (150, 174))
    return lambda inner, outer: (distance > inner) & (distance < outer)


def test_delivered_exposures_need_no_shift(aumic):
    aligned = PSFStack.from_asn(aumic).repair().align_to(aumic.science[0], mask=aumic.psfmask)
    assert np.hypot(*aligned.shifts[0].T).max() < 0.01
    assert not aligned.quality.any()


@pytest.fixture
def misaligned(aumic):
    """Science, references and recorded shifts (7, 2) of the exposures before they were aligned."""
    exposures = (aumic.science[0], *aumic.references)
    paths = (aumic.science_paths[0], *aumic.reference_paths)
    frames = [undone(exposure, path) for exposure, path in zip(exposures, paths, strict=True)]
    return frames[0], PSFStack.from_exposures(frames[1:]), np.array([recorded(path) for path in paths])


def test_recorded_shifts_undone_are_recovered_and_alignment_pays(aumic, misaligned, ring):
    science, stack, _ = misaligned
    aligned = stack.align_to(science, mask=aumic.psfmask)
    np.testing.assert_allclose(aligned.shifts[0], -np.array(OFFSETS), atol=0.02)
    # the rings of the figures on record: about the star as delivered, residual of six modes
    use = ring(15, 30)
    after = np.nanstd(aligned.klip(6).frames[0][use])
    before = np.nanstd(stack.align_to(science, to="none").klip(6).frames[0][use])
    assert after == pytest.approx(3.01, rel=0.01)
    assert after < 0.75 * before


def test_with_the_mask_where_the_coronagraph_was_the_shifts_are_those_on_record(aumic, misaligned):
    science, stack, shifts = misaligned
    mask = np.nan_to_num(shift_image(np.asarray(aumic.psfmask.data, float), -shifts[0])).clip(0, 1)
    aligned = stack.align_to(science, mask=mask)
    np.testing.assert_allclose(aligned.shifts[0], shifts[1:] - shifts[0], atol=0.02)


def test_full_frame_residuals_are_those_on_record(aumic, ring):
    stack = PSFStack.from_exposures([filled_with_zeros(e) for e in aumic.references])
    result = stack.align_to(filled_with_zeros(aumic.science[0]), to="none").klip(6, zones="full")
    use = ring(10, 45)
    for modes, expected in ((0, 44.56), (1, 2.764), (2, 2.230), (3, 2.229), (6, 2.224)):
        assert result.at(modes).frames[0][use].std() == pytest.approx(expected, rel=1e-3)


def test_coron3_runs_to_completion_and_shows_the_disk(aumic, tmp_path):
    with pytest.warns(UserWarning, match="there are 6 references"):
        result = coron3(aumic)
    names = [path.name for path in result.save(tmp_path)]
    assert len(names) == 2 + 8 + 2 * 4
    image = result.combined.image
    scale = image.meta.pixel_scale
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    pa = np.degrees(np.arctan2(image.center[0] - x, y - image.center[1])) % 180
    radius = np.hypot(x - image.center[0], y - image.center[1]) * scale
    at = (radius > 1.5) & (radius < 2.5) & np.isfinite(image.data)
    # the disk of AU Mic lies at position angle 128.5 deg (MacGregor et al. 2013)
    along, across = at & (np.abs(pa - 128.5) < 6), at & (np.abs(pa - 38.5) < 30)
    assert np.median(image.data[along]) > 5 * np.std(image.data[across])


def test_rolls_show_the_same_disk(aumic):
    stack = PSFStack.from_asn(aumic).repair()
    results = [stack.align_to(e, mask=aumic.psfmask).klip(6) for e in aumic.science]
    turned = [result.combine() for result in results]
    cut = [
        t.image.data[
            int(t.image.center[1]) - 60 : int(t.image.center[1]) + 60,
            int(t.image.center[0]) - 60 : int(t.image.center[0]) + 60,
        ]
        for t in turned
    ]
    use = np.isfinite(cut[0]) & np.isfinite(cut[1])
    y, x = np.mgrid[-60:60, -60:60]
    use &= np.hypot(x, y) > 15
    assert np.corrcoef(cut[0][use], cut[1][use])[0, 1] > 0.7


def test_frames_of_another_instrument_go_through_the_same_objects(data_folder):
    cube = Exposure.read(data_folder / "naco_betapic" / "naco_betapic_cube.fits")
    assert cube.shape == (61, 101, 101)
    assert cube.meta.center is None
    centred = cube.with_(meta=cube.meta.with_(center=(51.3, 51.0), pixel_scale=0.02719, target="beta Pic"))
    assert centred.center == (51.3, 51.0)
    stack = PSFStack.from_exposures([centred.select(slice(0, 60))])
    assert stack.n_ref == 60
    aligned = stack.align_to(centred.select([60]))
    assert np.abs(aligned.shifts).max() < 1.5
    left = aligned.klip(10)
    assert np.nanstd(left.at(10).frames) < np.nanstd(left.at(1).frames)
    assert left.contrast().radius.size > 20


def test_calibrated_contrast_of_both_rolls_is_what_is_published_for_such_exposures(aumic):
    # Bogat et al. 2025: deeper than 1e-5 at 1" in F444W, of 5 sigma, in the median of such stars, with more references
    run = demo()
    psf = Source.from_stamp(run.psf(101))  # a simulated one, off the mask; its total is 1
    star = 4.25e-6 / 9.21e-14  # 4.25 Jy on pixels of 9.21e-14 sr: MJy/sr
    stack = PSFStack.from_asn(aumic).repair()
    results = [stack.align_to(one, mask=aumic.psfmask).klip(6) for one in aumic.science]
    found = detection_map(results, psf, transmission=aumic.psfmask)
    y, x = np.indices(found.masked.shape)
    along = np.radians(128.5)  # position angle of the disk, edge on
    distance = np.abs((x - found.center[0]) * np.cos(along) + (y - found.center[1]) * np.sin(along))
    found = found.exclude(mask=distance < 12)
    contrast = found.contrast(star)
    assert contrast.limit.shape[0] == 6
    assert np.isfinite(contrast.image[5]).mean() > 0.5
    at = contrast.best_modes([1.0, 2.0])
    assert 0.8e-5 < at.limit[0] < 1.4e-5
    assert 1.5e-6 < at.limit[1] < 3e-6
    # both rolls together go deeper than either: noise averages down
    alone = results[0].detection_map(psf, transmission=aumic.psfmask).contrast(star)
    far = slice(20, 40)
    assert np.nanmedian(contrast.limit[5, far]) < np.nanmedian(alone.limit[5, far])
    # the disk itself is what stands out most
    assert np.nanmax(found.snr[5][distance < 12]) > 15
