"""Detection maps where sources turn with the sky: matched filter of the combined image, throughput by first order.

See `docs/contrast.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from corontools.arrays.radial import radii
from corontools.coron.combined import Field, turned_mean
from corontools.coron.forward import respond
from corontools.coron.grid import Grid, north_up, positions
from corontools.coron.matching import Match, unsubtracted
from corontools.coron.source import Source
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.progress import progress

if TYPE_CHECKING:
    from corontools.coron.klip import KlipResult

__all__ = ["match_turned", "turned_fields", "turned_grid"]

# places on a ring at which the throughput is computed; between rings, px over their radius
ANGLES, GROWTH = 6, 1 / 6
# share of a PSF that must be measured at such a place
LEAST_SEEN = 0.5


def turned_fields(results: Sequence[KlipResult]) -> list[Field]:
    """The results with their integrations by angle.

    Raises
    ------
    DataError
        If one has neither angles nor a WCS.
    """
    lacking = next((one.target for one in results if one.target.position_angles is None), None)
    if lacking is not None:
        raise DataError(
            f"{lacking._name} has neither a WCS nor angles, so north isn't known; give one with "
            "Exposure.with_(wcs=...) or with_(angles=...)"
        )
    return [Field.of(one) for one in results]


def turned_grid(results: Sequence[KlipResult]) -> tuple[list[Field], Grid]:
    """The same, and the north-up grid that holds them all."""
    fields = turned_fields(results)
    return fields, north_up([exposure for field in fields for _, exposure in field.parts], anchor="star")


def match_turned(results: Sequence[KlipResult], modes: np.ndarray, source: Source) -> Match:
    """Match a PSF with the combined image, and with what all of it leaves of a source, for each number of modes.

    The response comes from `KlipResult.response` at six places on each of many rings around the star, and is
    interpolated between them. What a source takes of itself changes with separation; around a ring it varies by a few
    per cent from speckle to speckle, of which the places are a sample.
    """
    _, grid = turned_grid(results)
    out = Match.zeros(len(modes), grid.shape)
    for i, k in enumerate(modes):
        chosen = [one.at(int(k)) for one in results]
        fields = [Field.of(one) for one in chosen]
        image = turned_mean(fields, [one.frames for one in chosen], grid)
        matched, power = unsubtracted(image, source)
        out.matched[i], out.power[:] = matched, power
        out.response[i] = power * _share(fields, source, grid, power, what=f"throughput, {k} modes")
    return out


def _share(fields: Sequence[Field], source: Source, grid: Grid, power: np.ndarray, *, what: str) -> np.ndarray:
    """<q, p> / <p, p> at every pixel (y, x), q what is left of a source in the combined image."""
    fwhm = source.width_in(fields[0].result.target.meta)
    rings = _rings(fwhm, min(_inscribed(field.result.target) for field in fields))
    angles = 2 * np.pi * np.arange(ANGLES) / ANGLES
    shares = np.full((rings.size, ANGLES), np.nan)
    places = [(i, j) for i in range(rings.size) for j in range(ANGLES)]
    lookup = [positions(_first(field), grid, anchor="star") for field in fields]
    for i, j in progress(places, what, "source"):
        x = round(grid.center[0] + rings[i] * np.cos(angles[j]))
        y = round(grid.center[1] + rings[i] * np.sin(angles[j]))
        if power[y, x] > LEAST_SEEN * source.power:
            left = _left(fields, source, grid, (x, y), [(float(a[y, x]), float(b[y, x])) for a, b in lookup])
            shares[i, j] = left / power[y, x]
    return _between(rings, shares, grid)


def _left(
    fields: Sequence[Field],
    source: Source,
    grid: Grid,
    pixel: tuple[int, int],
    places: Sequence[tuple[float, float]],
) -> float:
    """<q, p> of a source on a pixel of the grid, which lies at `places` in the first integrations of the results."""
    images = [
        respond(field.result, {"position": place, "psf": source}, told=False).frames
        for field, place in zip(fields, places, strict=True)
    ]
    response = turned_mean(fields, images, grid)
    found = source.footprint(grid.shape, pixel)
    return float(np.nansum(response.flat[found.pixels] * found.values))


def _first(field: Field) -> Exposure:
    """The first integration, in which places are given."""
    return next(exposure for integrations, exposure in field.parts if 0 in integrations)


def _inscribed(target: Exposure) -> float:
    """Radius, px, within which a source stays in the image while it turns; its pixel may be half a px further out."""
    (x, y), (ny, nx) = target.center, target.shape[-2:]
    return min(x, y, nx - 1 - x, ny - 1 - y) - 1.0


def _rings(fwhm: float, far: float) -> np.ndarray:
    """Radii from one FWHM to the edge of the image, a FWHM apart or more."""
    radius = [min(fwhm, far)]
    while radius[-1] < far:
        radius.append(min(far, radius[-1] + max(fwhm, radius[-1] * GROWTH)))
    return np.array(radius)


def _between(rings: np.ndarray, shares: np.ndarray, grid: Grid) -> np.ndarray:
    """Values on rings (n_ring, n_angle) at every pixel, linear in radius and angle; unknown ones as their ring has."""
    from scipy.ndimage import map_coordinates

    known = np.isfinite(shares)
    if not known.any():
        return np.full(grid.shape, np.nan)
    rows = known.any(axis=1)
    means = np.divide(np.nansum(shares, axis=1), known.sum(axis=1), out=np.zeros(rings.size), where=rows)
    means = np.interp(rings, rings[rows], means[rows])
    table = np.where(known, shares, means[:, None])
    table = np.concatenate([table, table[:, :1]], axis=1)
    y, x = np.indices(grid.shape, dtype=float)
    r = radii(grid.shape, grid.center)
    angle = np.arctan2(y - grid.center[1], x - grid.center[0]) % (2 * np.pi)
    at = np.interp(r, rings, np.arange(rings.size))
    return map_coordinates(table, [at, angle * ANGLES / (2 * np.pi)], order=1, mode="nearest")
