"""Colour terms: from the bands of a reference catalogue to that of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corontools.calibrate.refcat import RefCat
from corontools.calibrate.refcolumns import GAIA_AB
from corontools.errors import DataError

__all__ = ["ColorTerm", "gaia_dr2_to_sdss"]

# G - band as a polynomial in BP - RP (Vega), range of BP - RP, scatter in mag: Gaia DR2 documentation, section 5.3.7,
# tables 5.7 and 5.9 (Carrasco); Evans et al. 2018, A&A 616, A4, appendix A
GAIA_DR2_SDSS = {
    "g": ((0.13518, -0.46245, -0.25171, 0.021349), (-0.5, 2.0), 0.16497),
    "r": ((-0.12879, 0.24662, -0.027464, -0.049465), (0.2, 2.7), 0.066739),
    "i": ((-0.29676, 0.64728, -0.10141), (0.0, 4.5), 0.098957),
}


@dataclass(frozen=True)
class ColorTerm:
    """Magnitude in another band, as one of the catalogue's plus a polynomial in a colour of the catalogue.

    m = m_band + sum_k coefficients[k] (color[0] - color[1])^k, all AB magnitudes.

    Parameters
    ----------
    band : str
        Of the catalogue, nearest to that of the image.
    color : (str, str)
        Two bands of the catalogue, the bluer first; `band` may be one of them.
    coefficients : tuple of float
        mag / mag^k.
    valid : (float, float)
        Range of the colour, mag; beyond it there is no magnitude.
    scatter : float
        Of stars about the polynomial, mag; added in quadrature to the errors.
    source : str
        Where it was published.

    Examples
    --------
    >>> from astropy.table import Table
    >>> refs = RefCat.from_table(Table({"ra": [1.0], "dec": [2.0], "gmag": [18.5], "rmag": [18.0]}))
    >>> ColorTerm("r", ("g", "r"), (0.01, -0.1)).magnitudes(refs)[0].round(6).tolist()
    [17.96]
    """

    band: str
    color: tuple[str, str]
    coefficients: tuple[float, ...]
    valid: tuple[float, float] = (-np.inf, np.inf)
    scatter: float = 0.0
    source: str = ""

    def magnitudes(self, refcat: RefCat) -> tuple[np.ndarray, np.ndarray]:
        """AB magnitudes and their errors; NaN where a band isn't known or the colour is out of range.

        The errors of the colour are propagated, and a band that is in both is counted once. An error that isn't known
        counts as zero.

        Raises
        ------
        DataError
            If the catalogue lacks a band.
        """
        bands = dict.fromkeys((self.band, *self.color))
        found = {name: refcat.magnitudes(name) for name in bands}
        color = found[self.color[0]][0] - found[self.color[1]][0]
        with np.errstate(invalid="ignore"):
            inside = (color >= self.valid[0]) & (color <= self.valid[1])
        polynomial = np.polynomial.Polynomial(self.coefficients)
        slope = polynomial.deriv()(color)
        variance = np.full(len(color), self.scatter**2)
        for name in bands:
            part = (name == self.band) + slope * ((name == self.color[0]) * 1.0 - (name == self.color[1]))
            variance += (part * np.nan_to_num(found[name][1])) ** 2
        values = found[self.band][0] + polynomial(color)
        return np.where(inside, values, np.nan), np.where(inside, np.sqrt(variance), np.nan)

    def __str__(self) -> str:
        terms = " ".join(f"{c:+g} ({self.color[0]} - {self.color[1]})^{k}" for k, c in enumerate(self.coefficients))
        return f"{self.band} {terms}" + (f" [{self.source}]" if self.source else "")


def gaia_dr2_to_sdss(band: str) -> ColorTerm:
    """SDSS g, r or i from Gaia DR2's G, BP and RP, by the published transformations between passbands.

    They are for Vega magnitudes; the term holds for the AB magnitudes of `RefCat`.

    Raises
    ------
    DataError
        If there is none for the band.

    References
    ----------
    Gaia DR2 documentation, section 5.3.7; Evans et al. 2018, A&A 616, A4.

    Examples
    --------
    >>> gaia_dr2_to_sdss("r").scatter
    0.066739
    """
    if band not in GAIA_DR2_SDSS:
        raise DataError(f"Gaia's magnitudes are transformed to {', '.join(GAIA_DR2_SDSS)}, found {band!r}")
    published, valid, scatter = GAIA_DR2_SDSS[band]
    ab = GAIA_AB["DR2"]
    reddening = ab["phot_bp_mean"] - ab["phot_rp_mean"]
    # m = G - p(BP - RP) in Vega magnitudes, rewritten for the AB colour c = (BP - RP) + reddening
    difference = np.polynomial.Polynomial(published)(np.polynomial.Polynomial([-reddening, 1.0]))
    coefficients = -difference.coef
    coefficients[0] -= ab["phot_g_mean"]
    return ColorTerm(
        "phot_g_mean",
        ("phot_bp_mean", "phot_rp_mean"),
        tuple(float(c) for c in coefficients),
        (valid[0] + reddening, valid[1] + reddening),
        scatter,
        f"Gaia DR2 to SDSS {band}, Gaia DR2 documentation 5.3.7",
    )
