"""Aperture corrections: what fluxes lack of the light in a large aperture, over the image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from corontools.arrays.chebyshev import chebyshev_at, fit_chebyshev
from corontools.calibrate.columns import column, flag
from corontools.calibrate.select import TooFewStarsError, told_cuts
from corontools.errors import DataError

__all__ = ["ApertureCorrections", "ApertureCorrector", "ApertureField"]

X, Y, USED = "slot_Centroid_x", "slot_Centroid_y", "calib_psf_used"
NORMALIZED, CALIB = "base_NormalizedCompensatedTophatFlux", "slot_CalibFlux"
# sigma over the median absolute deviation
MAD = 1.4826
# fewer bright stars are too few to go by them alone
FEW = 3
# least tolerance of the clipping, for fluxes without noise
LEAST = 1e-7


@dataclass(frozen=True, eq=False)
class ApertureField:
    """Factor of a flux over the image.

    Attributes
    ----------
    coefficients : ndarray, shape (K,)
        Of `corontools.arrays.chebyshev`.
    shape : (int, int)
        Of the image, (y, x).
    err : float
        Scatter of the stars about it.
    used : ndarray of bool, shape (n_row,)
        Rows of the table that it was fitted to.
    """

    coefficients: np.ndarray
    shape: tuple[int, int]
    err: float
    used: np.ndarray

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Factor at places (n,); NaN where the place is."""
        return chebyshev_at(self.coefficients, x, y, shape=self.shape)


@dataclass(frozen=True, eq=False)
class ApertureCorrections:
    """Factors of the fluxes of one image.

    Attributes
    ----------
    fields : dict of str to ApertureField
        By the name of the flux, such as base_PsfFlux; slot_CalibFlux is that of the compensated tophat.
    tophat : str
        Name of the flux that slot_CalibFlux is made of.
    cuts : dict
        How many sources weren't used, and why.
    """

    fields: dict[str, ApertureField]
    tophat: str
    cuts: dict[str, int]

    def __str__(self) -> str:
        lines = [
            f"{name}: {f.coefficients[0]:.4f} +- {f.err:.4f} ({f.used.sum()} stars)" for name, f in self.fields.items()
        ]
        return "\n".join(lines)

    def apply(self, table: Table) -> Table:
        """Copy of a table of the same image with corrected fluxes.

        Each flux and its error are multiplied; factors stand in <flux>_apCorr, their errors in <flux>_apCorrErr, and
        <flux>_flag_apCorr is set where there is none. slot_CalibFlux and base_NormalizedCompensatedTophatFlux are new.

        Raises
        ------
        DataError
            If a flux is missing, or corrected already.
        """
        kinds = ("_instFlux", "_instFluxErr")
        _need(table, (X, Y, *(f"{name}{kind}" for name in (*self._others, self.tophat) for kind in kinds)))
        done = [name for name in (*self._others, NORMALIZED) if f"{name}_apCorr" in table.colnames]
        if done:
            raise DataError(f"the table has corrected fluxes already ({', '.join(done)}_apCorr); give it as measured")
        table = table.copy()
        self._normalize(table)
        x, y = column(table, X), column(table, Y)
        for name, field in self._others.items():
            factor = field.at(x, y)
            for kind in kinds:
                table[f"{name}{kind}"] *= factor
            table[f"{name}_apCorr"], table[f"{name}_apCorrErr"] = factor, np.full(len(table), field.err)
            table[f"{name}_flag_apCorr"] = ~(np.isfinite(factor) & (factor > 0))
        return table

    def flagged(self, table: Table) -> Table:
        """Copy of the table that the corrections were fitted to, with apcorr_<flux>_used."""
        table = table.copy()
        for name, field in self.fields.items():
            table[f"apcorr_{name}_used"] = field.used
        return table

    @property
    def _others(self) -> dict[str, ApertureField]:
        return {name: field for name, field in self.fields.items() if name != CALIB}

    def _normalize(self, table: Table) -> None:
        """Add the compensated tophat on the scale of the aperture, and the same as the flux to calibrate with."""
        factor = float(self.fields[CALIB].coefficients[0])
        for name in (NORMALIZED, CALIB):
            for kind in ("_instFlux", "_instFluxErr"):
                table[f"{name}{kind}"] = table[f"{self.tophat}{kind}"] * factor
            lost = ~np.isfinite(column(table, f"{name}_instFlux"))
            table[f"{name}_flag"] = lost | flag(table, f"{self.tophat}_flag")
        table[f"{NORMALIZED}_apCorr"], table[f"{NORMALIZED}_apCorrErr"] = (
            np.full(len(table), factor),
            np.zeros(len(table)),
        )


@dataclass(frozen=True)
class ApertureCorrector:
    """Factors that bring fluxes to the scale of the light in a large aperture, from the stars of the PSF.

    The compensated tophat is made insensitive to the sky by the ring around it, and lacks the light that it takes for
    sky: the median ratio to the plain aperture of bright stars gives that back. The other fluxes follow it by a
    polynomial over the image, fitted to the same stars with outliers clipped.

    Parameters
    ----------
    fluxes : tuple of str
        To be corrected.
    aperture, tophat : str
        Names of the fluxes of the aperture and of the compensated tophat.
    min_snr : float
        Of base_PsfFlux; where fewer than three stars have it, all stars of the PSF are used, with a warning.
    order : int
        Of the polynomials; lowered while there are no more stars than coefficients.
    clip : float
        How many sigma a star may be off.
    rounds : int
        Of clipping.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> table = Table({"slot_Centroid_x": rng.uniform(0, 99, 50), "slot_Centroid_y": rng.uniform(0, 99, 50)})
    >>> table["calib_psf_used"] = True
    >>> corrector = ApertureCorrector(fluxes=("base_PsfFlux",))
    >>> for name in ("base_PsfFlux", corrector.aperture, corrector.tophat):
    ...     table[f"{name}_instFlux"], table[f"{name}_instFluxErr"] = np.full(50, 1e5), np.full(50, 3e2)
    >>> table["base_PsfFlux_instFlux"] *= 0.98 - 0.0001 * table["slot_Centroid_x"]
    >>> corrections = corrector.fit(table, (100, 100))
    >>> bool(np.allclose(corrections.apply(table)["base_PsfFlux_instFlux"], 1e5, rtol=1e-5))
    True
    """

    fluxes: tuple[str, ...] = ("base_PsfFlux", "base_GaussianFlux")
    aperture: str = "base_CircularApertureFlux_12_0"
    tophat: str = "base_CompensatedTophatFlux_12"
    min_snr: float = 200.0
    order: int = 2
    clip: float = 4.0
    rounds: int = 4

    def fit(self, table: Table, shape: tuple[int, int]) -> ApertureCorrections:
        """Factors from a table with calib_psf_used, on an image of this shape (y, x).

        Raises
        ------
        DataError
            If the table lacks a column.
        TooFewStarsError
            If no star can be used; tells why.
        """
        names = ("base_PsfFlux", *self.fluxes, self.aperture, self.tophat)
        _need(table, (X, Y, USED, "base_PsfFlux_instFluxErr", *(f"{name}_instFlux" for name in names)))
        good, cuts = self._good(table)
        flux = {name: column(table, f"{name}_instFlux") for name in names}
        calib = self._field(table, flux[self.aperture], flux[self.tophat], good, (shape, 0, cuts))
        fields = {CALIB: calib}
        whole = flux[self.tophat] * calib.coefficients[0]
        for name in self.fluxes:
            fields[name] = self._field(table, whole, flux[name], good, (shape, self.order, cuts))
        return ApertureCorrections(fields, self.tophat, cuts)

    def _good(self, table: Table) -> tuple[np.ndarray, dict[str, int]]:
        """Stars of the PSF, bright if there are some, and what took others away."""
        used = flag(table, USED) & ~flag(table, "base_PsfFlux_flag")
        with np.errstate(invalid="ignore", divide="ignore"):
            bright = column(table, "base_PsfFlux_instFlux") / column(table, "base_PsfFlux_instFluxErr") >= self.min_snr
        cuts = {"not used for the PSF": int(np.count_nonzero(~used))}
        if np.count_nonzero(used & bright) < FEW:
            if used.any():
                warnings.warn(
                    f"{np.count_nonzero(used & bright)} of {np.count_nonzero(used)} PSF stars have S/N >= "
                    f"{self.min_snr:g}; aperture corrections are from all of them",
                    stacklevel=3,
                )
            return used, cuts
        cuts[f"of S/N < {self.min_snr:g}"] = int(np.count_nonzero(used & ~bright))
        return used & bright, cuts

    def _field(
        self,
        table: Table,
        whole: np.ndarray,
        flux: np.ndarray,
        good: np.ndarray,
        like: tuple[tuple[int, int], int, Mapping[str, int]],
    ) -> ApertureField:
        """Clipped polynomial of whole / flux, moved so that the median residual is 0."""
        (shape, order, cuts), x, y = like, column(table, X), column(table, Y)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(good & (flux > 0) & (whole > 0), whole / flux, np.nan)
        used = np.isfinite(ratio) & np.isfinite(x) & np.isfinite(y)
        if not used.any():
            raise TooFewStarsError(
                f"no star can tell aperture corrections: {told_cuts(cuts)}, and the others have no positive flux; "
                "measure fluxes of the stars the PSF was fitted to",
                cuts,
            )
        off = ratio - np.median(ratio[used])
        for _ in range(self.rounds):
            # about 0, where half of the stars stay; the scatter of three about their median can be next to nothing
            used &= np.abs(off) <= self.clip * MAD * float(np.median(np.abs(off[used]))) + LEAST
            coefficients = fit_chebyshev(
                x[used], y[used], ratio[used], order=_order(order, int(np.count_nonzero(used))), shape=shape
            )
            off = ratio - chebyshev_at(coefficients, x, y, shape=shape)
        coefficients[0] += np.median(off[used])
        return ApertureField(coefficients, shape, _scatter(off[used]), used)


def _scatter(off: np.ndarray) -> float:
    return float(MAD * np.median(np.abs(off - np.median(off))))


def _order(order: int, count: int) -> int:
    """Order that so many stars allow: one more than there are coefficients."""
    while order and count <= (order + 1) * (order + 2) // 2:
        order -= 1
    return order


def _need(table: Table, names: tuple[str, ...]) -> None:
    lost = [name for name in names if name not in table.colnames]
    if lost:
        raise DataError(f"aperture corrections need the columns {', '.join(lost)}; measure them")
