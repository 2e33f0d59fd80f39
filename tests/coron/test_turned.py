"""Detection maps where sources turn with the sky, against sources put into the frames and reduced again."""

import numpy as np
import pytest

from corontools import DataError, Exposure, PSFStack, Source, detection_map
from corontools.arrays.radial import student_factor
from corontools.coron.combined import turned_mean
from corontools.coron.grid import positions
from corontools.coron.matching import unsubtracted
from corontools.coron.turned import turned_grid
from tests.coron.test_adi import ZONES, adi, by_wcs, sequence

PSF = Source.gaussian(3.5)


def at(found, sep, pa):
    """Pixel (y, x) of the north-up map."""
    return round(found.center[1] + sep * np.cos(np.radians(pa))), round(found.center[0] - sep * np.sin(np.radians(pa)))


@pytest.fixture(scope="module")
def klip():
    return adi(sequence(), 3)


@pytest.fixture(scope="module")
def found(klip):
    return klip.detection_map(PSF)


def left_of(klip, pixel, flux=0.05):
    """Share of a source on a pixel of the map that the whole reduction of frames with it leaves, as the PSF sees it."""
    fields, grid = turned_grid([klip])
    dx, dy = pixel[0] - grid.center[0], pixel[1] - grid.center[1]
    made = klip.inject(flux, sep=np.hypot(dx, dy) * 0.05, pa=np.degrees(np.arctan2(-dx, dy)), psf=PSF)
    # weights as without the source: they follow the scatter of the residual, which any source changes
    image = turned_mean(fields, [(made.frames - klip.frames) / flux], grid)
    light = PSF.image(grid.shape, pixel)
    return np.nansum(image * light) / np.sum(np.square(light), where=np.isfinite(image))


def test_throughput_is_what_injection_leaves_where_it_is_computed(klip, found):
    """On a ring, 2 FWHM from the star, every 60 degrees: first order holds, so within 3 %."""
    for angle in np.radians(range(0, 360, 60)):
        x, y = round(found.center[0] + 7.0 * np.cos(angle)), round(found.center[1] + 7.0 * np.sin(angle))
        assert found.throughput[0, y, x] == pytest.approx(left_of(klip, (x, y)), rel=0.06)


def test_throughput_between_these_places_is_right_on_average(klip, found):
    """At 24 places anywhere: by 3 % on average, by 15 % at most nearly everywhere (it differs from place to place)."""
    rng = np.random.default_rng(5)
    ratio = []
    for sep, pa in zip(rng.uniform(5, 15, 24), rng.uniform(0, 360, 24), strict=True):
        y, x = at(found, sep, pa)
        ratio.append(found.throughput[0, y, x] / left_of(klip, (x, y)))
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.03)
    assert np.std(ratio) < 0.1


def test_a_source_adds_its_flux_to_the_map(klip, found):
    """Matched with the PSF: flux times the share that is left, over that share."""
    y, x = at(found, 10.0, 100.0)
    fields, grid = turned_grid([klip])
    response = klip.response(position=by_grid(fields[0], grid, (x, y)), psf=PSF).frames
    matched, power = unsubtracted(turned_mean(fields, [klip.frames + 2.0 * response], grid), PSF)
    gained = matched[y, x] / power[y, x] / found.throughput[0, y, x] - found.flux[0, y, x]
    assert gained == pytest.approx(2.0, rel=0.15)


def by_grid(field, grid, pixel):
    """Where a pixel of the grid lies in the first integration."""
    first = next(exposure for integrations, exposure in field.parts if 0 in integrations)
    x, y = positions(first, grid, anchor="star")
    return x[pixel[1], pixel[0]], y[pixel[1], pixel[0]]


def test_less_is_left_of_a_source_near_the_star_and_with_more_modes(klip):
    found = klip.detection_map(PSF, modes=[1, 3])
    assert found.modes.tolist() == [1, 3]
    inner, outer = ([at(found, r, pa) for pa in range(0, 360, 45)] for r in (7.0, 14.0))
    shares = [[np.mean([one[place] for place in places]) for places in (inner, outer)] for one in found.throughput]
    assert shares[1][0] < shares[0][0] < 1
    assert shares[1][0] < shares[1][1]


def test_a_planet_stands_out_and_the_contrast_follows():
    klip = adi(sequence(source=40.0, sep=11.0, pa=60.0), 4)
    found = klip.detection_map(PSF)
    y, x = at(found, 11.0, 60.0)
    near = found.snr[0, y - 2 : y + 3, x - 2 : x + 3]
    assert near.max() == np.nanmax(found.snr) > 5
    limits = found.exclude([(x, y)]).contrast(star_flux=1e4)
    assert limits.limit.shape == (1, limits.radius.size)
    inside = (limits.radius > 5) & (limits.radius < 14)
    assert np.isfinite(limits.limit[0, inside]).all()
    assert (limits.throughput[0, inside] < 1).all()
    np.testing.assert_allclose(
        limits.limit[0, inside], limits.noise[0, inside] * student_factor(5.0, limits.elements[inside])
    )


def test_a_transmission_dims_what_is_seen_and_not_the_noise(klip, found):
    half = klip.detection_map(PSF, transmission=np.full(klip.target.shape[-2:], 0.5))
    y, x = at(found, 9.0, 60.0)
    assert half.throughput[0, y, x] == pytest.approx(0.5 * found.throughput[0, y, x])
    assert half.flux[0, y, x] == pytest.approx(2 * found.flux[0, y, x])
    np.testing.assert_allclose(half.snr[0, y, x], found.snr[0, y, x])


def test_one_result_alone_and_in_a_list_give_the_same(klip, found):
    listed = detection_map([klip], PSF)
    np.testing.assert_array_equal(listed.flux, found.flux)
    assert listed.history[0].startswith("detection_map([")
    assert found.history[-1].startswith(".detection_map(")


def test_fixed_references_under_a_turning_sky_leave_what_they_leave_of_one_frame(klip):
    """Other stars as references: no self-subtraction, so the share is that of `match_at`, frame by frame."""
    cube = sequence()
    others = sequence(10, seed=9).with_(angles=None)
    rdi = PSFStack.from_exposures([others]).align_to(cube, to="none").klip(3, zones=ZONES)
    made = rdi.detection_map(PSF)
    x, y = by_wcs(340.0, 11.0, 90.0)
    response = rdi.response(position=(x, y), psf=PSF)
    row, column = at(made, 11.0, 90.0)
    assert made.throughput[0, row, column] == pytest.approx(response.throughput, abs=0.06)


def test_frames_without_north_are_refused():
    cube = sequence(6)
    aligned = PSFStack.from_exposures([cube]).align_to(cube, to="none")
    blind = aligned.klip(2, zones=ZONES)
    blind = blind.with_(aligned=blind.aligned.with_(target=Exposure(cube.data)))
    with pytest.raises(DataError, match="has no WCS"):
        detection_map([blind], PSF)
