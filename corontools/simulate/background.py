"""Exposures with a background that is known: nods on a star field, a slitless spectrum, NIRISS SOSS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.dq import DQ
from corontools.exposure import Exposure
from corontools.meta import Meta

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["NodTruth", "SlitlessTruth", "SossTruth", "nods", "slitless", "soss"]

# DN/s; s per DN: what photons add to the variance is the light over this
READ_NOISE, GAIN_TIME = 0.3, 100.0
# stars per pixel, and 1 sigma of a point source in px
DENSITY, SIGMA = 1 / 300, 1.2
# order -> middle of the trace from the source and its size, px; light of an order relative to the first one
DISPERSION = {1: {"offset": (60, 0), "extent": (124, 8)}, 2: {"offset": (-70, 1), "extent": (92, 10)}}
LIGHT = {1: 1.0, 2: 0.2}
# rows of SOSS templates, and those that SUBSTRIP96 covers
ROWS, ROWS_96, COLUMNS, JUMP = 256, slice(10, 106), 2048, 700


@dataclass(frozen=True)
class NodTruth:
    """What was put into nods.

    Attributes
    ----------
    sky : ndarray, shape (y, x)
        The background, the same in all exposures, DN/s.
    stars : ndarray, shape (n, y, x)
        Light of the stars in each exposure, DN/s.
    hits : ndarray of bool, shape (n, y, x), of rateints (n, n_int, y, x)
        Pixels to which cosmic rays added light that no flag tells of.
    """

    sky: np.ndarray
    stars: np.ndarray
    hits: np.ndarray


@dataclass(frozen=True)
class SlitlessTruth:
    """What a slitless exposure was made of.

    Attributes
    ----------
    reference : ndarray, shape (y, x)
        Background before it is scaled, 1 on average.
    factor : float
        By which it was multiplied, DN/s.
    catalog : Table
        x, y (0-based px of the direct image) and mag (AB) of the sources that are known.
    unlisted : Table
        Those that aren't.
    traces : ndarray, shape (y, x)
        Light of all sources, DN/s.
    dispersion : dict
        Where each order puts the light, as `BackgroundModel.mask_sources` takes it.
    """

    reference: np.ndarray
    factor: float
    catalog: Table
    unlisted: Table
    traces: np.ndarray
    dispersion: dict[int, dict[str, tuple[int, int]]] = field(default_factory=lambda: dict(DISPERSION))

    @property
    def background(self) -> np.ndarray:
        """The reference times its factor, DN/s."""
        return self.factor * self.reference


@dataclass(frozen=True)
class SossTruth:
    """What a SOSS exposure was made of.

    Attributes
    ----------
    templates : ndarray, shape (n, 256, 2048)
        Backgrounds of different zodiacal light, DN/s.
    index : int
        The one that was taken.
    scale : (float, float)
        Left and right of the jump.
    background, traces : ndarray, shape (y, x)
        Of the rows that were read, DN/s.
    """

    templates: np.ndarray
    index: int
    scale: tuple[float, float]
    background: np.ndarray
    traces: np.ndarray


def nods(
    n: int,
    shape: tuple[int, ...] = (128, 128),
    *,
    level: float = 4.0,
    gradient: float = 0.3,
    hits: float = 0.003,
    seed: int = 1,
) -> tuple[list[Exposure], NodTruth]:
    """Dithered exposures of a star field on a sky with a gradient, with cosmic rays, errors and bad pixels.

    ERR has the photons of sky and stars and 0.3 DN/s of read noise. In 0.2 % of the pixels, the same in all exposures,
    data are wrong and DQ has DO_NOT_USE.

    Parameters
    ----------
    n : int
        Exposures; each is displaced by up to a quarter of the image.
    shape : (int, int) or (int, int, int)
        (y, x) of rates, (n_int, y, x) of rateints.
    level, gradient : float
        Sky in the middle, DN/s, and by which part of it the sky changes from corner to corner.
    hits : float
        Part of the pixels that are hit in an image, by rays of about 20 DN/s.
    seed : int

    Returns
    -------
    exposures : list of Exposure
        In DN/s, nod0_rate.fits and so on, or nod0_rateints.fits.
    truth : NodTruth

    Examples
    --------
    >>> exposures, truth = nods(3, (64, 64))
    >>> [e.shape for e in exposures], truth.stars.shape, round(float(truth.sky.mean()), 3)
    ([(64, 64), (64, 64), (64, 64)], (3, 64, 64), 4.0)
    """
    rng = np.random.default_rng((seed, 1))
    ny, nx = shape[-2:]
    y, x = np.indices((ny, nx))
    sky = level * (1 + gradient * ((x + 0.5) / nx + (y + 0.5) / ny - 1) / 2)
    where = rng.uniform(-0.5, 1.5, (max(1, round(4 * ny * nx * DENSITY)), 2)) * (ny, nx)
    fluxes = np.minimum(8 * (1 + rng.pareto(0.8, len(where))), 20_000)
    shifts = rng.uniform(-0.25, 0.25, (n, 2)) * (ny, nx)
    stars = np.array([_stars((ny, nx), where + shift, fluxes) for shift in shifts])
    bad = np.where(rng.random((ny, nx)) < 0.002, np.uint32(DQ.DO_NOT_USE), np.uint32(0))
    hit = rng.random((n, *shape)) < hits
    rays = np.where(hit, rng.exponential(20.0, hit.shape), 0.0) + np.where(bad > 0, -50.0, 0.0)
    kind = "rate" if len(shape) == 2 else "rateints"
    made = [
        _observed(sky + stars[i], shape, rng, rays[i], bad, name=f"nod{i}_{kind}.fits", EXP_TYPE="NRC_IMAGE")
        for i in range(n)
    ]
    return made, NodTruth(sky, stars, hit)


def slitless(
    shape: tuple[int, int] = (256, 512), *, factor: float = 0.8, sources: int = 24, unlisted: int = 4, seed: int = 1
) -> tuple[Exposure, SlitlessTruth]:
    """A slitless exposure: traces of two orders along the rows on a background with a structure of its own.

    Parameters
    ----------
    shape : (int, int)
        (y, x).
    factor : float
        Background, DN/s, on average over the image.
    sources, unlisted : int
        Sources of the catalogue, of magnitudes 18 to 22, and others of 20 to 22 that it lacks.
    seed : int

    Returns
    -------
    exposure : Exposure
        In DN/s, with DISPAXIS 1.
    truth : SlitlessTruth

    Examples
    --------
    >>> exposure, truth = slitless((64, 256), sources=2)
    >>> exposure.meta.card("DISPAXIS"), truth.factor, len(truth.catalog), truth.catalog.colnames
    (1, 0.8, 2, ['x', 'y', 'mag'])
    """
    from astropy.table import Table

    rng = np.random.default_rng((seed, 2))
    ny, nx = shape
    y, x = np.mgrid[:ny, :nx]
    # zodiacal light, dispersed: each order ends somewhere, which makes steps
    steps = _step(x, 0.15 * nx, 12) - 0.6 * _step(x, 0.8 * nx, 20) + 0.1 * np.cos(2.5 * np.pi * y / ny)
    reference = (2 + steps) / np.mean(2 + steps)
    where = rng.uniform(0.02, 0.98, (sources + unlisted, 2)) * (nx, ny)
    mag = np.concatenate([rng.uniform(18, 22, sources), rng.uniform(20, 22, unlisted)])
    table = Table({"x": where[:, 0], "y": where[:, 1], "mag": mag})
    traces = np.sum([_dispersed(shape, x, y, 10 ** (0.4 * (21.5 - m))) for x, y, m in table.iterrows()], axis=0)
    made = _observed(factor * reference + traces, shape, rng, name="wfss_rate.fits", DISPAXIS=1, EXP_TYPE="NRC_WFSS")
    return made, SlitlessTruth(reference, factor, table[:sources], table[sources:], traces)


def soss(
    n_int: int = 2,
    rows: int = 96,
    *,
    n_templates: int = 4,
    index: int = 1,
    scale: tuple[float, float] = (0.9, 0.8),
    seed: int = 1,
) -> tuple[Exposure, SossTruth]:
    """A SOSS exposure: orders 1 and 2 with their wings on a background that jumps near column 700.

    Parameters
    ----------
    n_int : int
        Integrations.
    rows : {96, 256}
        SUBSTRIP96 or SUBSTRIP256.
    n_templates, index : int
        Templates, which fall off differently to the right, and the one that is taken.
    scale : (float, float)
        By which it is multiplied left and right of the jump.
    seed : int

    Returns
    -------
    exposure : Exposure
        (n_int, rows, 2048), DN/s.
    truth : SossTruth

    Examples
    --------
    >>> exposure, truth = soss(1)
    >>> exposure.shape, truth.templates.shape, [round(float(truth.background[48, x]), 1) for x in (600, 800)]
    ((1, 96, 2048), (4, 256, 2048), [4.2, 5.7])
    """
    rng = np.random.default_rng((seed, 3))
    y, x = np.mgrid[:ROWS, :COLUMNS]
    right = x >= JUMP + y // 32
    fall = 2.2 * np.clip((x - JUMP) / (COLUMNS - JUMP), 0, 1) ** 1.5 + 0.2 * (JUMP - x) / JUMP * ~right
    templates = np.array([np.where(right, 7.2, 4.7) - fall * (0.4 + 0.4 * k) for k in range(n_templates)])
    # row of order 1, which turns up to the left, and of order 2, which leaves it to the right
    first = 40 + 40 * (x / COLUMNS - 0.6) ** 2
    second = first + 20 + 130 * (x / COLUMNS) ** 2
    traces = _trace(y - first, 60 * (0.2 + x / COLUMNS)) + _trace(y - second, 30 * _step(x, 300, 60) * np.exp(-x / 900))
    cut = ROWS_96 if rows < ROWS else slice(None)
    background = (templates[index] * np.where(right, scale[1], scale[0]))[cut]
    shape = (n_int, *background.shape)
    made = _observed(background + traces[cut], shape, rng, name="soss_rateints.fits", EXP_TYPE="NIS_SOSS")
    return made, SossTruth(templates, index, scale, background, traces[cut])


def _observed(
    light: np.ndarray,
    shape: tuple[int, ...],
    rng: np.random.Generator,
    added: Any = 0.0,
    flags: Any = 0,
    *,
    name: str,
    **cards: Any,
) -> Exposure:
    """Light with photon and read noise, and their error; what is added has no noise of its own."""
    err = np.broadcast_to(np.sqrt(READ_NOISE**2 + light / GAIN_TIME), shape).astype(np.float32)
    data = (rng.normal(light, err) + added).astype(np.float32)
    dq = np.broadcast_to(np.asarray(flags, np.uint32), shape).copy()
    meta = Meta(filename=name, exp_type=cards["EXP_TYPE"], unit="DN/s").with_cards({"FILENAME": name, **cards})
    return Exposure(data, err=err, dq=dq, meta=meta)


def _stars(shape: tuple[int, int], where: np.ndarray, fluxes: np.ndarray) -> np.ndarray:
    """Gaussian stars, where (n, 2) as y and x."""
    ys, xs = (_profile(np.arange(n) - where[:, i, None], SIGMA) for i, n in enumerate(shape))
    return np.asarray((ys.T * fluxes) @ xs)


def _dispersed(shape: tuple[int, int], x: float, y: float, brightness: float) -> np.ndarray:
    """Both orders of a source; `brightness` is the light of order 1 in each column, DN/s."""
    image = np.zeros(shape)
    columns, rows = np.arange(shape[1]), np.arange(shape[0])
    for order, at in DISPERSION.items():
        (dx, dy), (length, _) = at["offset"], at["extent"]
        along = _step(columns, x + dx - length / 2 + 6, 2) - _step(columns, x + dx + length / 2 - 6, 2)
        image += LIGHT[order] * brightness * _profile(rows - y - dy, SIGMA)[:, None] * along
    return image


def _trace(off: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A flat profile of 20 px with wings, at a distance in rows; light is its height."""
    core = _step(off, -10, 1.5) - _step(off, 10, 1.5)
    return np.asarray(light * (core + 0.02 * np.exp(-np.abs(off) / 8)))


def _profile(off: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian whose sum is 1."""
    return np.asarray(np.exp(-0.5 * np.square(off / sigma)) / (sigma * np.sqrt(2 * np.pi)))


def _step(x: np.ndarray, at: float, width: float) -> np.ndarray:
    """From 0 to 1, smoothly."""
    return np.asarray(0.5 * (1 + np.tanh((x - at) / width)))
