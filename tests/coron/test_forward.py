import warnings

import numpy as np
import pytest
from astropy.io import fits

from corontools import Exposure, Meta, PSFStack, Source, Zones
from corontools.arrays.apertures import aperture_means
from corontools.simulate import coronagraph, null

PLACE = {"position": (33.0, 27.0), "psf": Source.gaussian(3.0)}
ZONES = Zones.annuli([4, 13, 24])


@pytest.fixture(scope="module")
def cube():
    """Frames of a star without a companion, the sky turning by 80 degrees."""
    science, _ = null(14, 2, shape=49)
    meta = Meta(center=science.center, target="A")
    return Exposure(science.data, angles=np.linspace(-40.0, 40.0, 14), meta=meta)


def reduced(cube, *, others=(), modes=6, strategy="adi", target=None):
    aligned = PSFStack.from_exposures([cube, *others]).align_to(cube if target is None else target, to="none")
    return aligned.klip(modes, strategy=strategy, min_rotation=1.0, fwhm=3.0, zones=ZONES)


def difference(klip, flux, place=PLACE):
    """Exact change of the residuals by a source, over its flux: reduced with it and without."""
    return (klip.inject(flux, **place).frames - klip.frames) / flux


def error(found, exact):
    known = np.isfinite(exact)
    assert (known == np.isfinite(found)).all()
    return np.linalg.norm((found - exact)[known]) / np.linalg.norm(exact[known])


@pytest.mark.parametrize("modes", [0, 1, 3, 6])
def test_the_response_to_a_faint_source_is_that_of_a_reduction_with_it(cube, modes):
    klip = reduced(cube).at(modes)
    response = klip.response(**PLACE)
    flux = min(response.faint, 100.0)
    exact = difference(klip, flux)
    assert error(response.frames, exact) < 0.03
    seen = np.isfinite(exact)
    throughput = np.sum((exact * response.light)[seen]) / np.sum(np.square(response.light[seen]))
    assert response.throughput == pytest.approx(throughput, rel=0.01)


def test_what_the_references_take_is_no_small_part(cube):
    """Without the turn of the modes the response would be far off: the source subtracts itself."""
    klip = reduced(cube)
    response = klip.response(**PLACE)
    fixed = PSFStack.from_exposures([cube]).align_to(cube, to="none").klip(6, zones=ZONES).response(**PLACE)
    assert fixed.bend == 0
    exact = difference(klip, response.faint)
    assert error(fixed.frames, exact) > 5 * error(response.frames, exact)


def test_the_error_grows_with_the_flux_and_is_flagged(cube):
    response = reduced(cube).response(**PLACE)
    errors = [error(response.frames, difference(response.klip, times * response.faint)) for times in (1, 4, 16)]
    assert errors[0] < 0.03
    assert 2 < errors[1] / errors[0] < 8
    assert errors[2] > 0.1
    bright = response.klip.inject(8 * response.faint, **PLACE).response(**PLACE)
    with pytest.warns(UserWarning, match=r"first order holds up to .* take out what was found with inject\(-flux"):
        assert bright.flux > response.faint


def test_missing_pixels_of_science_and_references_are_allowed_for(cube):
    hurt = cube.mask(np.random.default_rng(2).random(cube.shape) < 0.02)
    klip = reduced(hurt, modes=4)
    response = klip.response(**PLACE)
    assert error(response.frames, difference(klip, response.faint)) < 0.03
    alone = reduced(cube, modes=4, target=hurt)
    response = alone.response(**PLACE)
    assert error(response.frames, difference(alone, response.faint)) < 0.03


def test_stars_beside_the_own_one_hold_nothing_of_it(cube):
    other, _ = null(6, 2, shape=49, seed=5)
    other = Exposure(other.data, meta=cube.meta.with_(target="B"))
    klip = reduced(cube, others=[other], strategy="ardi")
    response = klip.response(**PLACE)
    assert error(response.frames, difference(klip, response.faint)) < 0.03


def test_with_reference_stars_it_is_exact_at_any_flux(cube):
    other, _ = null(8, 2, shape=49, seed=5)
    klip = (
        PSFStack.from_exposures([Exposure(other.data)])
        .align_to(cube.with_(angles=None), to="none")
        .klip(6, zones=ZONES)
    )
    response = klip.response(**PLACE)
    assert response.faint == np.inf
    assert error(response.frames, difference(klip, 1e5)) < 1e-9
    series = klip.series()
    assert response.throughput == pytest.approx(series.throughput_at(PLACE["position"], psf=PLACE["psf"])[-1])
    planted = klip.inject(1e5, **PLACE)
    expected = planted.series().flux_at(PLACE["position"], psf=PLACE["psf"])[-1]
    assert planted.response(**PLACE).flux == pytest.approx(expected, rel=1e-6)


def fitted(klip, place=PLACE):
    """Flux at which nothing is left, by taking out what is found until there is no more."""
    total = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            total += klip.inject(-total, **place).response(**place).flux
    return total


def test_the_flux_of_a_bright_source_is_found_step_by_step(cube):
    klip = reduced(cube)
    nothing = fitted(klip)
    assert fitted(klip.inject(40.0, **PLACE)) == pytest.approx(40.0 + nothing, abs=1e-3)
    assert abs(nothing) < 4.0


def test_shifted_references_of_another_roll_have_it_at_its_place_there():
    sim = coronagraph(shape=56, n_int=2, n_dither=1, seed=3)
    first, second = sim.science
    aligned = PSFStack.from_exposures([second]).repair().align_to(first.repair(), mask=sim.psfmask)
    klip = aligned.klip(1, strategy="adi", zones=Zones.annuli([6, 22]))
    place = {"sep": 0.9, "pa": 60.0}
    response = klip.response(**place)
    assert error(response.frames, difference(klip, response.faint, place)) < 0.03


def test_beta_pic_b_is_as_bright_as_others_find_it(data_folder):
    """VIP's tutorial finds 648 for the flux in an aperture one FWHM across, by negative companions (NEGFC)."""
    folder = data_folder / "naco_betapic"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist")
    cube = Exposure.read(folder / "naco_betapic_cube.fits")
    angles = np.ravel(fits.getdata(folder / "naco_betapic_pa.fits")) - 104.84
    cube = cube.with_(meta=Meta(center=(51.3, 51.0), pixel_scale=0.02719, target="beta Pic"), angles=angles)
    psf = fits.getdata(folder / "naco_betapic_psf.fits").astype(float)
    aperture = np.pi * 2.4**2 * aperture_means(psf, np.array([[19.0, 19.0]]), 2.4)[0]
    aligned = PSFStack.from_exposures([cube]).align_to(cube, to="none")
    klip = aligned.klip(10, strategy="adi", min_rotation=0.25, fwhm=4.8, zones=Zones.annuli([5, 28]))
    place = {"sep": 16.6 * 0.02719, "pa": 210.4, "psf": Source.from_stamp(psf / aperture)}
    assert fitted(klip, place) == pytest.approx(648.2, rel=0.1)
