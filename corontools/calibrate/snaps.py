"""Two snaps of one visit become one exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta

__all__ = ["SnapCombiner"]

# px by which the corners of two snaps may be apart
APART = 0.5
READ_NOISE = ("RDNOISE", "READNOIS")
# keywords of what is known of both together; the others are changed where they are
CARDS = {"exposure_time": ("EFFEXPTM", "EXPTIME"), "mjd": ("EXPMID", "MJD-AVG")}


@dataclass(frozen=True)
class SnapCombiner:
    """Adds two snaps, pixel by pixel.

    Where one of them is bad, the other one counts for the whole time: the scale of the flux stays, and the variance
    is that of the one scaled up. Where both are bad they are added as they are, with the flags of both; NaN stays only
    where both are.

    Parameters
    ----------
    bad : int
        Bits of `DQ` that make a pixel bad; 0 to add all that is finite.

    Examples
    --------
    >>> first, second = (Exposure(np.full((2, 2), v), err=np.ones((2, 2))) for v in (3.0, 1.0))
    >>> both = SnapCombiner().combine([first, second.mask(np.eye(2) > 0)])
    >>> both.data.tolist(), both.variance.round(6).tolist(), int(both.flags().max())
    ([[6.0, 4.0], [4.0, 6.0]], [[4.0, 2.0], [2.0, 4.0]], 0)
    """

    bad: int = DQ.DO_NOT_USE

    def combine(self, snaps: Exposure | Sequence[Exposure]) -> Exposure:
        """Sum of two snaps, or the one that is given as it is.

        Errors are added in quadrature, flags are those of the pixels that count. The header is that of the first, with
        both exposure times and the mean of the dates.

        Raises
        ------
        DataError
            If there are none or more than two, one has several images or no errors, or they differ in shape, unit,
            filter or in where they point.
        """
        given = [snaps] if isinstance(snaps, Exposure) else list(snaps)
        if len(given) not in (1, 2):
            raise DataError(f"a visit has one exposure or two snaps, found {len(given)}")
        if len(given) == 1:
            return given[0]
        first, second = given
        _check(first, second)
        used, shares = _used(given, self.bad), _shares(given)
        share, total, variance = np.zeros((3, *first.shape))
        for snap, counts, part in zip(given, used, shares, strict=True):
            share += np.where(counts, part, 0.0)
            total += np.where(counts, snap.data, 0.0)
            variance += np.where(counts, _variance(snap), 0.0)
        share[share == 0] = np.nan
        kind = np.result_type(first.data, second.data)
        data, err = (total / share).astype(kind), (np.sqrt(variance) / share).astype(kind)
        return first.with_(
            data=data,
            err=err,
            dq=_flags(given, used),
            meta=_meta(first.meta, second.meta),
            variances={},
            extensions=(),
            pixel_dq=None,
        )


def _check(first: Exposure, second: Exposure) -> None:
    """Raise where the snaps aren't two images of one visit."""
    for snap in (first, second):
        if snap.n_int != 1 or snap.variance is None:
            found = f"{snap.n_int} images with{'out' if snap.variance is None else ''} errors"
            raise DataError(f"{_name(snap)}: a snap is one image with errors, found {found}")
    one, other = ({"shape": s.shape, "unit": s.meta.unit, "filter": s.meta.filter} for s in (first, second))
    for what, value in one.items():
        if value != other[what]:
            raise DataError(f"two snaps have the same {what}, found {value} and {other[what]}; calibrate one of them")
    apart = _apart(first, second)
    if apart > APART:
        raise DataError(f"two snaps see the same place, these are {apart:.3g} px apart; calibrate one of them")


def _variance(snap: Exposure) -> np.ndarray:
    return np.asarray(snap.variance)


def _apart(first: Exposure, second: Exposure) -> float:
    """Greatest distance of the corners on the sky, px of the first; 0 where one has no WCS."""
    if first.wcs is None or second.wcs is None:
        return 0.0
    ny, nx = first.shape[-2:]
    corners = np.array([(0, 0), (1, 0), (nx - 1, 0), (0, ny - 1), (nx - 1, ny - 1)], float)
    one, other = (_directions(*snap.wcs.all_pix2world(corners, 0).T) for snap in (first, second))
    return float(np.linalg.norm(one - other, axis=1).max() / np.linalg.norm(one[1] - one[0]))


def _directions(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) of coordinates in degrees."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _used(snaps: Sequence[Exposure], bad: int) -> list[np.ndarray]:
    """Pixels of each snap that count: the good ones, where neither is good the finite ones."""
    finite = [np.isfinite(snap.data) & np.isfinite(_variance(snap)) for snap in snaps]
    good = [ok & ((snap.flags() & np.uint32(bad)) == 0) for ok, snap in zip(finite, snaps, strict=True)]
    neither = ~(good[0] | good[1])
    return [ok | (neither & known) for ok, known in zip(good, finite, strict=True)]


def _shares(snaps: Sequence[Exposure]) -> list[float]:
    """Part of the exposure time of each; halves where it isn't known."""
    times = [snap.meta.exposure_time or np.nan for snap in snaps]
    total = float(np.sum(times))
    return [time / total for time in times] if np.isfinite(total) else [0.5, 0.5]


def _flags(snaps: Sequence[Exposure], used: Sequence[np.ndarray]) -> np.ndarray:
    """Flags of the pixels that count, and of both where none does."""
    neither = ~(used[0] | used[1])
    flags = np.where(neither, np.uint32(DQ.NON_SCIENCE | DQ.DO_NOT_USE), np.uint32(0))
    for snap, counts in zip(snaps, used, strict=True):
        flags |= np.where(counts | neither, snap.flags(), np.uint32(0))
    return flags


def _meta(first: Meta, second: Meta) -> Meta:
    """Header of the first with the time of both and the mean of the dates, where both are known."""
    changes: dict[str, float] = {}
    if first.exposure_time is not None and second.exposure_time is not None:
        changes["exposure_time"] = first.exposure_time + second.exposure_time
    if first.mjd is not None and second.mjd is not None:
        changes["mjd"] = (first.mjd + second.mjd) / 2
    both = first.with_(**changes)
    for name, value in changes.items():
        keys = {key: value for key in CARDS[name] if key == CARDS[name][0] or both.card(key) is not None}
        both = _with_cards(both, keys)
    # what is read twice has the noise of both
    noise = {key: float(value) * 2**0.5 for key in READ_NOISE if isinstance(value := both.card(key), int | float)}
    return _with_cards(both, noise)


def _with_cards(meta: Meta, cards: dict[str, float]) -> Meta:
    """With cards in the primary header, and in that of the image where it has them."""
    changed = meta.with_cards(cards) if cards else meta
    return changed if changed.science is None else changed.with_(science=_changed(changed.science, cards))


def _changed(header: Any, cards: dict[str, float]) -> Any:
    """A copy of a header, with the cards changed that it has."""
    changed = header.copy()
    changed.update({key: value for key, value in cards.items() if key in header})
    return changed


def _name(snap: Exposure) -> str:
    return snap.meta.filename or snap.meta.title
