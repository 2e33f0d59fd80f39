import numpy as np
import pytest

from corontools import DataError, Exposure, Meta, PSFStack, Source, combine
from corontools.simulate import Companion, coronagraph


@pytest.fixture(scope="module")
def sim():
    companions = [Companion(0.9, 40.0, 4e-5), Companion(1.3, 200.0, 4e-5)]
    return coronagraph(shape=(72, 64), n_int=2, n_dither=5, companions=companions, seed=3)


@pytest.fixture(scope="module")
def results(sim):
    stack = PSFStack.from_exposures(sim.references).repair()
    return [stack.align_to(e, mask=sim.psfmask).klip(6) for e in sim.science]


def sky_position(image, sep, pa):
    """Pixel of (sep arcsec, pa deg) on a north-up image, east left."""
    scale = image.meta.pixel_scale
    return image.center[0] - sep * np.sin(np.radians(pa)) / scale, image.center[1] + sep * np.cos(
        np.radians(pa)
    ) / scale


def centroid(image, x, y, half=2):
    box = np.s_[round(y) - half : round(y) + half + 1, round(x) - half : round(x) + half + 1]
    weight = np.clip(image[box], 0, None)
    rows, columns = np.mgrid[box]
    return (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()


def test_companions_of_both_rolls_fall_on_their_place_on_the_sky(sim, results):
    combined = combine(results)
    for companion in sim.truth.companions:
        x, y = sky_position(combined.image, companion.sep, companion.pa)
        found = centroid(combined.image.data, x, y)
        assert np.hypot(found[0] - x, found[1] - y) < 0.5
        assert np.nanmax(combined.snr[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2]) > 5


def test_the_wcs_says_the_same_as_the_centre(results):
    combined = combine(results)
    x, y = sky_position(combined.image, 1.0, 30.0)
    star, there = combined.image.wcs.pixel_to_world([combined.image.center[0], x], [combined.image.center[1], y])
    assert star.separation(there).arcsec == pytest.approx(1.0, rel=1e-3)
    assert star.position_angle(there).deg == pytest.approx(30.0, abs=0.05)


def test_wrong_pointing_in_the_wcs_moves_nothing_when_the_star_is_the_anchor(results):
    target = results[1].target
    wrong = target.wcs.deepcopy()
    wrong.wcs.crval = wrong.wcs.crval + np.array([3e-5, -2e-5])  # 0.1 arcsec
    moved = results[1].with_(aligned=results[1].aligned.with_(target=target.with_(wcs=wrong)))
    right = combine(results)
    np.testing.assert_allclose(combine([results[0], moved]).image.data, right.image.data, atol=1e-4, equal_nan=True)
    by_wcs = combine([results[0], moved], anchor="wcs")
    assert by_wcs.image.shape != right.image.shape or not np.allclose(
        by_wcs.image.data, right.image.data, equal_nan=True
    )


def test_holes_of_one_roll_are_filled_by_the_other(results):
    combined = combine(results)
    alone = results[0].combine()
    assert np.isnan(alone.image.data).sum() / alone.image.data.size > 0
    assert combined.count.max() == 4
    assert np.isfinite(combined.image.data[combined.count > 0]).all()
    assert (combined.image.dq[combined.count == 0] == 1).all()


def test_photon_noise_averages_down_and_speckles_of_one_exposure_do_not(results):
    one = results[0]
    speckle, photon = np.ones(one.target.shape), np.full(one.target.shape, 4.0)
    blank = np.where(np.isfinite(one.frames), 0.0, np.nan)
    for part, expected in (((0 * speckle, photon), 4.0 / 2), ((speckle, 0 * photon), 1.0)):
        made = one.with_()
        made.__dict__.update(noise=part, frames=blank)
        image = made.combine().image
        middle = np.isfinite(image.data)
        # interpolation lowers independent noise, never raises it
        assert np.nanmedian(image.err[middle] ** 2) <= expected * 1.001
        assert np.nanmedian(image.err[middle] ** 2) > 0.5 * expected


def test_results_without_a_wcs_or_with_other_units_are_refused(results):
    target = results[0].target
    bare = results[0].with_(aligned=results[0].aligned.with_(target=target.with_(wcs=None)))
    with pytest.raises(DataError, match="has no WCS, so north isn't known"):
        bare.combine()
    other = target.with_(meta=target.meta.with_(unit="Jy"))
    with pytest.raises(DataError, match="units differ"):
        combine([results[0], results[0].with_(aligned=results[0].aligned.with_(target=other))])
    with pytest.raises(DataError, match="no result to combine"):
        combine([])


def test_a_result_without_errors_is_averaged_with_equal_weights(sim):
    science, reference = sim.science[0], sim.references[0]
    bare = Exposure(science.data, meta=science.meta, wcs=science.wcs)
    one = PSFStack.from_exposures([Exposure(reference.data[:1], meta=reference.meta)]).align_to(bare, to="none").klip(1)
    combined = one.combine()
    assert set(np.unique(combined.weight)) <= {0.0, 1.0, 2.0}
    assert np.isfinite(combined.image.data).any()


SHAPE = (60, 56)


def rolls(noise, *, bad=0.0, seed=1):
    """Results of two exposures of four integrations at two angles: white noise over a pattern that references show."""
    rng = np.random.default_rng(seed)
    pattern, always = 100 * rng.random(SHAPE), rng.random(SHAPE) < bad
    stars = Exposure(pattern + 0.1 * rng.normal(size=(12, *SHAPE)), err=np.full((12, *SHAPE), 0.1))
    made = []
    for angle in (12.0, 22.0):
        cube = pattern + noise * rng.normal(size=(4, *SHAPE))
        cube[(rng.random(cube.shape) < bad / 3) | always] = np.nan
        meta = Meta(center=(27.0, 30.0), pixel_scale=0.1)
        science = Exposure(cube, err=np.full(cube.shape, noise), angles=angle, meta=meta)
        made.append(PSFStack.from_exposures([stars]).align_to(science, to="none").klip(2, zones="full"))
    return made


@pytest.mark.parametrize("how", ["mean", "median"])
@pytest.mark.parametrize("bad", [0.0, 0.02])
def test_a_source_on_two_rolls_keeps_its_flux_and_place(bad, how):
    """Fitted on the north-up image where it was put, (sep, pa): flux to 0.5 %, place to 0.01 px."""
    place, fwhm = {"sep": 1.43, "pa": 70.0}, 2.5
    before = rolls(0.01, bad=bad)
    image = combine([one.inject(100.0, **place, psf=Source.gaussian(fwhm)) for one in before], how=how).image
    change = image.data - combine(before, how=how).image.data
    x, y = sky_position(image, **place)
    rows, columns = np.indices(change.shape)
    use = (np.hypot(columns - x, rows - y) < 4) & np.isfinite(change)
    dx, dy, width = columns[use] - x, rows[use] - y, fwhm / 2.3548
    psf = np.exp(-(dx**2 + dy**2) / (2 * width**2))
    bases = np.stack([psf, psf * dx / width**2, psf * dy / width**2, np.ones_like(psf)], axis=1)
    peak, move_x, move_y, _ = np.linalg.lstsq(bases, change[use], rcond=None)[0]
    assert peak == pytest.approx(100.0, rel=5e-3)
    assert np.hypot(move_x, move_y) / peak < 0.01


@pytest.mark.parametrize("how", ["mean", "median"])
@pytest.mark.parametrize("bad", [0.0, 0.03])
def test_the_scatter_of_the_combined_image_is_its_error(bad, how):
    combined = [combine(rolls(1.0, bad=bad, seed=seed), how=how) for seed in range(4)]
    assert np.mean([np.nanstd(one.snr[one.count > 3]) for one in combined]) == pytest.approx(1.0, abs=0.05)


def test_a_bad_pixel_of_all_integrations_leaves_a_hole_of_its_own_size():
    one = rolls(0.01)[0]
    cube = one.target.data.copy()
    cube[:, 20, 40] = np.nan
    whole, holed = one.combine(), one.with_(aligned=one.aligned.with_(target=one.target.with_(data=cube))).combine()
    lost = np.isnan(holed.image.data) & np.isfinite(whole.image.data)
    assert 1 <= lost.sum() <= 3
    assert (holed.image.dq[lost] == 1).all()
    assert (holed.count[lost] == 0).all()
