import warnings

import numpy as np
import pytest
from scipy import stats

from corontools import DataError, Exposure, PSFStack, Zones
from corontools.simulate import null, tiny


@pytest.fixture(scope="module")
def sim():
    return tiny()


@pytest.fixture(scope="module")
def aligned(sim):
    return PSFStack.from_exposures(sim.references).repair().align_to(sim.science[0], mask=sim.psfmask)


def plain_klip(target, refs, modes):
    """KLIP by a singular value decomposition, without a mask."""
    refs = refs.reshape(len(refs), -1) - refs.reshape(len(refs), -1).mean(axis=1, keepdims=True)
    basis = np.linalg.svd(refs, full_matrices=False)[2][:modes]
    flat = target.ravel() - target.mean()
    return (flat - basis.T @ (basis @ flat)).reshape(target.shape)


def whole(n_sci=3, n_ref=8, **options):
    science, reference = null(n_sci, n_ref, shape=48, **options)
    return science, reference, PSFStack.from_exposures([reference]).align_to(science, to="none")


def test_residuals_are_those_of_plain_klip_at_every_mode_count():
    science, reference, aligned = whole()
    result = aligned.klip(8, zones="full")
    for k in range(9):
        for i in range(3):
            expected = plain_klip(np.asarray(science.data[i], float), np.asarray(reference.data, float), k)
            np.testing.assert_allclose(result.at(k).frames[i], expected, atol=1e-9 * np.abs(science.data).max())


def test_model_and_residual_add_up_to_the_science(aligned):
    result = aligned.klip(6)
    good = np.isfinite(result.frames)
    total = result.psf.data + result.frames
    np.testing.assert_allclose(total[good], np.asarray(result.target.data, float)[good], rtol=1e-6, atol=1e-4)


def test_bad_science_pixels_do_not_move_the_others():
    science, _, aligned = whole()
    hurt = np.array(science.data)
    rng = np.random.default_rng(1)
    bad = rng.random(hurt.shape) < 0.02
    clean = aligned.klip(5, zones="full")
    wild = PSFStack.from_exposures([aligned.stack.exposure]).align_to(
        science.with_(data=np.where(bad, 1e6, hurt)).mask(bad), to="none"
    )
    left = wild.klip(5, zones="full").frames
    assert np.isnan(left[bad]).all()
    assert np.abs(left - clean.frames)[~bad].max() < 0.5 * np.std(clean.frames)
    gaps = PSFStack.from_exposures([aligned.stack.exposure]).align_to(
        science.with_(data=np.where(bad, np.nan, hurt)), to="none"
    )
    np.testing.assert_allclose(gaps.klip(5, zones="full").frames, left, equal_nan=True)


def test_bad_reference_pixels_hardly_matter():
    science, reference, aligned = whole(n_ref=12)
    bad = np.random.default_rng(2).random(reference.shape) < 0.01
    hurt = reference.with_(data=np.where(bad, np.nan, reference.data))
    left = PSFStack.from_exposures([hurt]).align_to(science, to="none").klip(6).frames
    clean = aligned.klip(6).frames
    assert np.isfinite(left).all()
    assert np.std(left - clean) < 0.25 * np.std(clean)


def test_zones_are_worked_on_apart():
    science, reference, aligned = whole()
    zones = Zones.annuli([0, 8, 20], sectors=2)
    result = aligned.klip(4, zones=zones)
    labels = result.zones
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
    assert np.isnan(result.frames[:, labels == 0]).all()
    one = labels == 3
    expected = plain_klip(np.asarray(science.data[1], float)[one], np.asarray(reference.data, float)[:, one], 4)
    np.testing.assert_allclose(result.frames[1, one], expected, atol=1e-7)


def test_the_shared_zone_leaves_dead_corners_out(sim):
    dead = np.zeros((64, 64), bool)
    dead[:10, :10] = True
    refs = [e.with_(data=np.where(dead, np.nan, e.data)) for e in sim.references]
    result = PSFStack.from_exposures(refs).align_to(sim.science[0], to="none").klip(3)
    assert not result.zones[dead].any()
    assert result.zones[~dead].mean() > 0.98
    assert np.isnan(result.frames[:, dead]).all()


def test_one_reference_works_and_says_what_its_error_holds():
    science, reference, _ = whole()
    one = PSFStack.from_exposures([reference.select([0])]).align_to(science, to="none").klip(1)
    expected = plain_klip(np.asarray(science.data[0], float), np.asarray(reference.data[:1], float), 1)
    np.testing.assert_allclose(one.frames[0], expected, atol=1e-6)
    shared, own = one.noise
    amount = float(one.subspaces[0].weights[0, 0] * one.subspaces[0].coefficients(1)[0, 1])
    np.testing.assert_allclose(shared[0], amount**2 * np.square(reference.err[0], dtype=float), rtol=1e-6)
    assert (own > 0).all()


def test_no_error_anywhere_gives_no_photon_noise():
    science, reference, _ = whole()
    bare = PSFStack.from_exposures([Exposure(reference.data)]).align_to(Exposure(science.data), to="none").klip(4)
    assert np.isfinite(bare.err).all()
    assert np.nanmedian(bare.err) > 0


def test_more_modes_than_references_are_clipped_with_a_warning(aligned):
    with pytest.warns(UserWarning, match="50 modes asked for, but there are 10 references: 10 are used") as caught:
        result = aligned.klip()
    assert caught[0].filename == __file__
    assert result.modes == 10
    with pytest.warns(UserWarning, match="99 modes asked for") as caught:
        assert result.at(99).modes == 10
    assert caught[0].filename == __file__


def test_impossible_wishes_are_refused(aligned):
    with pytest.raises(DataError, match="0 or more, found -1"):
        aligned.klip(-1)
    with pytest.raises(DataError, match="'shared', 'full' or Zones, found 'annuli'"):
        aligned.klip(3, zones="annuli")
    with pytest.raises(DataError, match="holds no pixel of the 64 x 64 px image"):
        aligned.klip(3, zones=Zones.annuli([400, 500]))


def test_at_keeps_one_line_of_history_and_shares_the_decomposition(aligned):
    result = aligned.klip(8)
    moved = result.at(3).at(5).at(2)
    assert moved.history[-1] == ".at(2)"
    assert len(moved.history) == len(result.history) + 1
    assert moved.subspaces is result.subspaces


def test_explained_variance_grows_to_what_the_residual_leaves(aligned):
    result = aligned.klip(10)
    share = result.variance_explained
    assert share[0] == 0
    assert (np.diff(share) >= -1e-12).all()
    good = result.target.good & (result.zones > 0)
    values = np.where(good, result.target.data, np.nan).astype(float)
    total = np.nansum((values - np.nanmean(values, axis=(1, 2), keepdims=True)) ** 2)
    np.testing.assert_allclose(1 - share[10], np.nansum(result.frames**2) / total, rtol=1e-3)


def test_a_planted_companion_stands_out_of_the_noise(sim):
    result = PSFStack.from_exposures(sim.references).repair().align_to(sim.science[0], mask=sim.psfmask).klip(8)
    x, y = sim.truth.companion_xy[0][0, 0]
    box = np.s_[:, round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2]
    assert np.nanmax(result.snr.data[box]) > 8


@pytest.mark.parametrize(
    ("n_ref", "change", "pointing"), [(20, 3.0, 5.0), (20, 0.1, 1.0), (8, 3.0, 5.0), (8, 0.1, 1.0)]
)
def test_errors_are_honest_at_every_mode_count(n_ref, change, pointing):
    """|S/N| > 3 occurs at the rate of Student's t within a factor of two, on frames without a companion."""
    counts = (1, n_ref // 2, n_ref - 1, n_ref)
    beyond = dict.fromkeys(counts, 0.0)
    n_seed = 10
    for seed in range(n_seed):
        science, reference = null(4, n_ref, seed=seed, shape=49, change=change, pointing=pointing)
        result = PSFStack.from_exposures([reference]).align_to(science, to="none").klip(n_ref, zones="full")
        for k in counts:
            beyond[k] += np.mean(np.abs(result.at(k).snr.data) > 3) / n_seed
    expected = 2 * stats.t.sf(3, n_ref)
    for k, rate in beyond.items():
        assert expected / 2 < rate < 2 * expected, f"{k} modes: {rate:.4f}, Student's t {expected:.4f}"


def test_photon_noise_is_scaled_to_the_science_star():
    """References observed with less noise than the science: the error must be that of the science."""
    rng = np.random.default_rng(3)
    pattern = 1000 * rng.random((48, 48))
    sigma_ref, sigma_sci = 1.0, 4.0
    refs = pattern + sigma_ref * rng.normal(size=(15, 48, 48))
    sci = pattern + sigma_sci * rng.normal(size=(3, 48, 48))
    stack = PSFStack.from_exposures([Exposure(refs, err=np.full(refs.shape, sigma_ref))])
    result = stack.align_to(Exposure(sci, err=np.full(sci.shape, sigma_sci)), to="none").klip(3)
    np.testing.assert_allclose(np.sqrt(np.mean(result.err**2)), np.std(result.frames), rtol=0.1)


def test_nothing_of_the_input_is_changed(sim):
    before = [np.array(e.data) for e in (*sim.science, *sim.references)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PSFStack.from_exposures(sim.references).repair().align_to(sim.science[0]).klip(3).err.sum()
    for exposure, data in zip((*sim.science, *sim.references), before, strict=True):
        np.testing.assert_array_equal(exposure.data, data)


def test_references_of_one_exposure_do_not_vouch_for_each_other():
    """Eight exposures of five integrations that share their speckles: errors hold as for eight references."""
    beyond, n_seed = dict.fromkeys((1, 8, 40), 0.0), 6
    rng = np.random.default_rng(5)
    for seed in range(n_seed):
        science, reference = null(4, 8, seed=seed, shape=49)
        exposures = []
        for i in range(8):
            data = reference.data[[i] * 5] + rng.normal(size=(5, 49, 49)) * reference.err[i]
            meta = reference.meta.with_(filename=f"{i}.fits")
            exposures.append(Exposure(data, err=reference.err[[i] * 5] * np.sqrt(2), meta=meta))
        result = PSFStack.from_exposures(exposures).align_to(science, to="none").klip(40, zones="full")
        for k in beyond:
            beyond[k] += np.mean(np.abs(result.at(k).snr.data) > 3) / n_seed
    for k, rate in beyond.items():
        assert rate < 2 * 2 * stats.t.sf(3, 8), f"{k} modes: {rate:.4f}"


def test_the_error_of_a_flagged_pixel_has_no_say():
    science, reference, aligned = whole()
    clean = np.nanmedian(aligned.klip(4).err)
    err = np.array(science.err)
    flagged = np.zeros(science.shape, bool)
    flagged[:, 20, 20], err[:, 20, 20] = True, 1e9
    wild = science.with_(err=err).mask(flagged)
    again = PSFStack.from_exposures([reference]).align_to(wild, to="none").klip(4)
    assert np.nanmedian(again.err) == pytest.approx(clean, rel=0.01)
