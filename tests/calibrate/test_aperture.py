"""Aperture corrections: the light that fluxes lack, over the image."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from corontools.calibrate.aperture import ApertureCorrector
from corontools.calibrate.select import TooFewStarsError
from corontools.errors import DataError

SHAPE = (800, 1000)


def lacking(x, y):
    """Part of the light that the PSF flux has."""
    return 0.97 - 0.02 * (x / 1000) ** 2 + 0.01 * x * y / 8e5


def stars(n=120, *, noise=0.0, seed=1):
    """Stars, all used for the PSF, whose fluxes lack known parts of their light."""
    rng = np.random.default_rng(seed)
    x, y, flux = rng.uniform(0, 999, n), rng.uniform(0, 799, n), rng.uniform(1e5, 1e6, n)
    table = Table({"slot_Centroid_x": x, "slot_Centroid_y": y, "calib_psf_used": np.ones(n, bool), "light": flux})
    parts = {
        "base_PsfFlux": lacking(x, y),
        "base_GaussianFlux": 0.9 + 0.01 * y / 800,
        "base_CircularApertureFlux_12_0": 1.0,
        "base_CompensatedTophatFlux_12": 0.985,
    }
    for name, part in parts.items():
        table[f"{name}_instFlux"] = flux * part * (1 + noise * rng.normal(size=n)) * u.ct
        table[f"{name}_instFluxErr"] = flux / 500 * u.ct
    return table


def test_corrected_fluxes_have_all_the_light():
    table = stars()
    corrections = ApertureCorrector().fit(table, SHAPE)
    made = corrections.apply(table)
    for name in ("base_PsfFlux", "base_GaussianFlux", "slot_CalibFlux", "base_NormalizedCompensatedTophatFlux"):
        np.testing.assert_allclose(made[f"{name}_instFlux"], table["light"], rtol=2e-4)
        assert made[f"{name}_instFlux"].unit == u.ct
    np.testing.assert_allclose(
        made["base_PsfFlux_apCorr"] * table["base_PsfFlux_instFlux"], made["base_PsfFlux_instFlux"]
    )
    np.testing.assert_allclose(made["base_PsfFlux_instFluxErr"], table["light"] / 500 * made["base_PsfFlux_apCorr"])
    np.testing.assert_allclose(made["base_NormalizedCompensatedTophatFlux_apCorr"], 1 / 0.985)
    assert not made["base_PsfFlux_flag_apCorr"].any()
    assert "base_PsfFlux_apCorr" not in table.colnames


def test_the_field_is_right_between_the_stars():
    table = stars(noise=0.002)
    field = ApertureCorrector().fit(table, SHAPE).fields["base_PsfFlux"]
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(50, 950, 9), np.linspace(50, 750, 9)))
    assert np.abs(field.at(x, y) * lacking(x, y) - 1).max() < 0.002
    assert field.err == pytest.approx(np.hypot(0.002, 0.002) / 0.97, rel=0.25)


def test_outliers_are_clipped():
    table = stars(noise=0.001)
    table["base_PsfFlux_instFlux"][:6] *= 0.7
    field = ApertureCorrector().fit(table, SHAPE).fields["base_PsfFlux"]
    assert not field.used[:6].any()
    assert field.used[6:].mean() > 0.97
    assert float(field.at([500.0], [400.0])[0]) == pytest.approx(1 / lacking(500.0, 400.0), rel=1e-3)


def test_only_bright_stars_of_the_psf_count():
    table = stars()
    table["calib_psf_used"][:30] = False
    table["base_PsfFlux_instFluxErr"][30:50] = table["base_PsfFlux_instFlux"][30:50] / 100
    corrections = ApertureCorrector().fit(table, SHAPE)
    flagged = corrections.flagged(table)
    for name in ("base_PsfFlux", "base_GaussianFlux", "slot_CalibFlux"):
        used = np.asarray(flagged[f"apcorr_{name}_used"])
        assert not used[:50].any()
        assert used[50:].mean() > 0.9
    assert corrections.cuts == {"not used for the PSF": 30, "of S/N < 200": 20}
    assert str(corrections).startswith("slot_CalibFlux: 1.01")


def test_faint_stars_are_better_than_none():
    table = stars(20)
    table["base_PsfFlux_instFluxErr"] *= 10
    with pytest.warns(UserWarning, match="0 of 20 PSF stars have S/N >= 200"):
        corrections = ApertureCorrector().fit(table, SHAPE)
    assert corrections.fields["base_PsfFlux"].used.sum() > 10


@pytest.mark.parametrize(("count", "terms"), [(1, 1), (3, 1), (5, 3), (12, 6)])
def test_the_order_follows_the_number_of_stars(count, terms):
    table = stars(count)
    corrector = ApertureCorrector(fluxes=("base_GaussianFlux",), min_snr=0.0)
    if count < 3:
        with pytest.warns(UserWarning, match="PSF stars have"):
            corrections = corrector.fit(table, SHAPE)
    else:
        corrections = corrector.fit(table, SHAPE)
    assert corrections.fields["base_GaussianFlux"].coefficients.size == terms
    assert corrections.fields["slot_CalibFlux"].coefficients.size == 1


def test_values_that_are_missing_stay_missing():
    table = stars()
    corrections = ApertureCorrector().fit(table, SHAPE)
    table["slot_Centroid_x"][0] = np.nan
    table["base_CompensatedTophatFlux_12_instFlux"][1] = np.nan
    made = corrections.apply(table)
    assert np.isnan(made["base_PsfFlux_instFlux"][0])
    assert made["base_PsfFlux_flag_apCorr"][:2].tolist() == [True, False]
    assert made["slot_CalibFlux_flag"][:3].tolist() == [False, True, False]


def test_corrections_are_applied_once():
    table = stars()
    corrections = ApertureCorrector().fit(table, SHAPE)
    with pytest.raises(DataError, match="corrected fluxes already"):
        corrections.apply(corrections.apply(table))


def test_no_star_and_missing_columns_are_told():
    table = stars()
    table["calib_psf_used"] = False
    with pytest.raises(TooFewStarsError, match="120 not used for the PSF"):
        ApertureCorrector().fit(table, SHAPE)
    table.remove_column("base_CompensatedTophatFlux_12_instFlux")
    with pytest.raises(DataError, match="need the columns base_CompensatedTophatFlux_12_instFlux"):
        ApertureCorrector().fit(table, SHAPE)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_a_few_bright_stars_are_never_all_clipped(n):
    for seed in range(40):
        few = ApertureCorrector().fit(stars(n, noise=0.003, seed=seed), SHAPE)
        assert all(2 * field.used.sum() >= n for field in few.fields.values())
