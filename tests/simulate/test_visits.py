"""Frames of one field in several visits: what is in them is where and as bright as the truth says."""

import numpy as np
import pytest

from corontools import DataError
from corontools.calibrate import Plane
from corontools.simulate import star_visits


@pytest.fixture(scope="module")
def field():
    return star_visits((3.4, 4.2, 3.8), shape=300, trailed=2, seed=4)


def fitted(visit, x, y):
    """Flux of a star by its PSF, and the error, in nJy."""
    column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    half = visit.psf.size // 2
    where = slice(row - half, row + half + 1), slice(column - half, column + half + 1)
    model, good = visit.psf.images([x], [y])[0], np.isfinite(visit.frame.image[where])
    weight = np.where(good, model, 0) / np.where(good, visit.frame.variance[where], 1)
    norm = (weight * model).sum()
    return (
        np.array([(weight * np.where(good, visit.frame.image[where], 0)).sum() / norm, norm**-0.5]) * visit.calibration
    )


def test_stars_have_their_flux_where_the_wcs_puts_them(field):
    pulls = []
    bright = field.stars[(field.stars["flux"] > 3e4) & ~field.stars["variable"]]
    for visit in field.visits[:2]:
        x, y = visit.wcs.all_world2pix(bright["ra"], bright["dec"], 0)
        inside = (x > 25) & (y > 25) & (x < 274) & (y < 274)
        apart = np.hypot(*(v[:, None] - v for v in visit.wcs.all_world2pix(field.stars["ra"], field.stars["dec"], 0)))
        alone = np.sort(apart, axis=1)[np.isin(field.stars["ra"], bright["ra"]), 1] > 12
        for k in np.flatnonzero(inside & alone):
            flux, error = fitted(visit, x[k], y[k])
            pulls.append((flux - bright["flux"][k]) / np.hypot(error, 0.02 * flux))
    assert len(pulls) > 10
    # the stamps lack 1 % of the light, others stand in the wings
    assert abs(np.median(pulls)) < 1
    assert np.std(pulls) < 2


def test_the_noise_is_that_of_the_variance(field):
    visit = field.visits[0]
    faint = visit.frame.variance < 1.01 * np.median(visit.frame.variance[np.isfinite(visit.frame.variance)])
    pull = (visit.frame.image / np.sqrt(visit.frame.variance))[faint]
    assert 1.4826 * np.median(np.abs(pull - np.median(pull))) == pytest.approx(1, abs=0.03)
    lost = visit.frame.has(Plane.NO_DATA)
    assert 0 < lost.mean() < 1e-3
    np.testing.assert_array_equal(np.isnan(visit.frame.image), lost)


def test_one_visit_has_a_trail_and_one_star_varies(field):
    trailed = field.visits[field.trailed]
    away = np.roll(field.trail, 40, axis=0) & ~field.trail
    assert np.nanmedian(trailed.frame.image[field.trail]) > np.nanmedian(trailed.frame.image[away]) + 10
    star = field.stars[field.stars["variable"]]
    assert len(star) == 1
    for visit, pulse in zip(field.visits, field.pulse, strict=True):
        flux, error = fitted(visit, *(float(v[0]) for v in visit.wcs.all_world2pix(star["ra"], star["dec"], 0)))
        assert flux == pytest.approx(star["flux"][0] * pulse, abs=4 * np.hypot(error, 0.02 * flux))
    assert np.mean(field.pulse) == pytest.approx(1)


def test_visits_are_turned_and_dithered_and_have_their_seeing(field):
    angles = [np.degrees(np.arctan2(*visit.wcs.pixel_scale_matrix[:, 1])) for visit in field.visits]
    assert np.ptp(angles) > 5
    sigma = [visit.psf.sigma([149.5], [149.5])[0] for visit in field.visits]
    np.testing.assert_allclose(np.divide(sigma, [3.4, 4.2, 3.8]), sigma[0] / 3.4, rtol=2e-3)
    assert len({visit.visit for visit in field.visits}) == 3


def test_a_trail_needs_its_visit():
    with pytest.raises(DataError, match="there are 2 visits"):
        star_visits((3.4, 4.2), shape=100, trailed=2)
