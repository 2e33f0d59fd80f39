"""Angular differential imaging: which frames may be references of which, and their decomposition zone by zone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from corontools.arrays.radial import radii
from corontools.coron.kept import Kept, KeptRows
from corontools.coron.subspace import ReferenceRows, Subspace, subspace_of
from corontools.errors import DataError
from corontools.progress import progress

if TYPE_CHECKING:
    from corontools.coron.aligned import AlignedRefs
    from corontools.coron.stack import PSFStack
    from corontools.exposure import Exposure

__all__ = [
    "RDI",
    "Choice",
    "Job",
    "Rule",
    "Strategy",
    "decompose_jobs",
    "is_turned",
    "known_angles",
    "motion",
    "of_star",
]

Strategy = Literal["rdi", "adi", "ardi"]
# rotation in FWHM that is asked for where nothing else is
LEAST = 0.5
# deg between frames that show the same sky
SAME = 1e-6


def motion(radius: float, angle: np.ndarray | float) -> np.ndarray:
    """Px that the sky moves at `radius` px from the star when it turns by `angle` degrees: 2 r sin(|angle| / 2).

    Angles count modulo 360.

    Examples
    --------
    >>> motion(10.0, np.array([60.0, -60.0, 420.0, 360.0])).round(6).tolist()
    [10.0, 10.0, 10.0, 0.0]
    """
    return 2 * radius * np.sin(np.radians(_smallest(angle)) / 2)


def _smallest(angle: np.ndarray | float) -> np.ndarray:
    """Size of an angle modulo 360, degrees from 0 to 180."""
    return np.abs((np.asarray(angle, np.float64) + 180) % 360 - 180)


def is_turned(exposure: Exposure) -> bool:
    """Whether the sky turns between the integrations of an exposure."""
    angles = exposure.angles
    return angles is not None and bool((_smallest(angles - angles[0]) > SAME).any())


def of_star(stack: PSFStack, science: Exposure) -> np.ndarray:
    """Which frames of a stack are of the science star, bool (n_ref,): by `meta.target`, spaces and case aside."""
    star = _plain(science.meta.target)
    return np.array([_plain(name) == star for name in stack.targets])


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()


@dataclass(frozen=True)
class Rule:
    """What makes a frame a reference; see `AlignedRefs.klip`.

    Attributes
    ----------
    strategy : str
        "rdi", "adi" or "ardi".
    min_rotation : float
        By how many `fwhm` the sky has to move between frames of the same star.
    fwhm : float
        Px.
    """

    strategy: Strategy = "rdi"
    min_rotation: float = 0.0
    fwhm: float = 1.0

    @property
    def least(self) -> float:
        """Px by which the sky has to move."""
        return self.min_rotation * self.fwhm

    @classmethod
    def of(cls, target: Exposure, strategy: Strategy, min_rotation: float | None, fwhm: float | None) -> Rule:
        """As `AlignedRefs.klip` is asked for it.

        Raises
        ------
        DataError
            If the strategy isn't known, a number is impossible, or the width of the PSF isn't known.
        """
        if strategy not in get_args(Strategy):
            raise DataError(f"strategy should be 'rdi', 'adi' or 'ardi', found {strategy!r}")
        if strategy == "rdi":
            if min_rotation is not None or fwhm is not None:
                raise DataError("min_rotation and fwhm choose frames of the same star: give strategy='adi' or 'ardi'")
            return cls()
        wanted = LEAST if min_rotation is None else min_rotation
        if not isinstance(wanted, Real) or not (np.isfinite(wanted) and wanted >= 0):
            raise DataError(f"min_rotation should be 0 or more (times fwhm), found {min_rotation!r}")
        return cls(strategy, float(wanted), _width(target, fwhm) if wanted else 1.0)


RDI = Rule()


def _width(target: Exposure, fwhm: float | None) -> float:
    if fwhm is not None and not (isinstance(fwhm, Real) and np.isfinite(fwhm) and fwhm > 0):
        raise DataError(f"the width of the PSF should be positive, found {fwhm!r} px")
    width = fwhm or target.meta.fwhm
    if not width:
        raise DataError(
            "the width of the PSF isn't known from the header; give fwhm=<px>, or fwhm=1 and min_rotation in px"
        )
    return float(width)


class Job(NamedTuple):
    """One decomposition: the integrations that share a zone and a set of references.

    Attributes
    ----------
    first : int
        Integration whose aligned references serve them all.
    pixels : ndarray of int
        Flat indices of the zone's pixels.
    integrations : tuple of int
    references : ndarray of int
        Which of the stack.
    """

    first: int
    pixels: np.ndarray
    integrations: tuple[int, ...]
    references: np.ndarray


@dataclass(frozen=True, eq=False)
class Choice:
    """Which references each science frame may have.

    Attributes
    ----------
    rule : Rule
        "adi" or "ardi".
    own : ndarray of bool, shape (n_ref,)
        Frames of the science star.
    turned : ndarray, shape (n_int, n_ref)
        Degrees, 0 to 180, between science frames and references; NaN for other stars.
    star : str
        Its name, for messages.
    """

    rule: Rule
    own: np.ndarray
    turned: np.ndarray
    star: str

    @classmethod
    def of(cls, aligned: AlignedRefs, rule: Rule) -> Choice:
        """For aligned references.

        Raises
        ------
        DataError
            If angles aren't known, the stack holds no frame of the star, or a source was put into the science alone.
        """
        science, stack = aligned.target, aligned.stack
        star = repr(science.meta.target) if science.meta.target else "a star without a name"
        own = of_star(stack, science)
        if not own.any():
            raise DataError(
                f"no reference is of the science star, {star} (stars: {', '.join(sorted(set(stack.targets)))}); "
                "put its exposures at other angles into PSFStack.from_exposures, or take strategy='rdi'"
            )
        if aligned.planted == "science":
            raise DataError(
                "a source was injected into the science frames, but not into those of the same star among the "
                "references; inject with into='star', or after klip"
            )
        angles = known_angles(aligned, own)
        turned = np.where(own, _smallest(angles[0][:, None] - angles[1]), np.nan)
        return cls(rule, own, turned, star)

    def allowed(self, radius: float) -> np.ndarray:
        """Which references each science frame may have at `radius` px, bool (n_int, n_ref).

        A frame at the same angle shows the same sky, whatever the rule; so a frame is never its own reference.
        """
        with np.errstate(invalid="ignore"):
            far = (self.turned > SAME) & (motion(radius, self.turned) >= self.rule.least)
        return far if self.rule.strategy == "adi" else far | ~self.own

    @property
    def usable(self) -> np.ndarray:
        """References that may serve any science frame at all, bool (n_ref,)."""
        return self.own if self.rule.strategy == "adi" else np.ones(self.own.size, bool)

    def jobs(self, aligned: AlignedRefs, labels: np.ndarray) -> list[Job]:
        """The decompositions that are needed.

        Raises
        ------
        DataError
            If a frame has no reference in a zone.
        """
        distance, found = radii(labels.shape, aligned.target.center), []
        for zone in np.unique(labels[labels > 0]):
            inside = labels == zone
            radius = float(distance[inside].mean())
            allowed = self.allowed(radius)
            if not allowed.any(axis=1).all():
                raise DataError(self._too_little(int(zone), radius, allowed))
            found += [(int(zone), job) for job in _shared(aligned, np.flatnonzero(inside), allowed)]
        # references are shifted once for all zones
        return [job for _, job in sorted(found, key=lambda item: (item[1].first, item[0]))]

    def _too_little(self, zone: int, radius: float, allowed: np.ndarray) -> str:
        without = np.flatnonzero(~allowed.any(axis=1))
        largest = np.max(self.turned[without], axis=1, where=self.own, initial=0.0)
        at = int(np.argmin(largest))
        moved, every = motion(radius, largest[at]), without.tolist()
        which = f"integration(s) {every if len(every) <= 8 else [*every[:7], '...']}"
        begin = (
            f"zone {zone} (mean radius {radius:.3g} px): no frame of {self.star} is turned by {self.rule.least:.3g} px "
            f"from {which}; the largest rotation that integration {without[at]} has is {largest[at]:.3g} deg, "
        )
        if not largest[at] > SAME:
            return begin + "so no min_rotation would work; add exposures at another angle to the stack"
        works = np.floor(1e3 * moved / self.rule.fwhm) / 1e3  # rounded down, so that it does work
        return begin + (
            f"{moved:.3g} px there. Give min_rotation={works:g} (found {self.rule.min_rotation:g}, times fwhm of "
            f"{self.rule.fwhm:g} px), or zones further out"
        )


def known_angles(aligned: AlignedRefs, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position angles of science frames (n_int,) and references (n_ref,); DataError where a needed one isn't known."""
    science, angles = aligned.target.position_angles, np.array(aligned.stack.angles)
    if science is None:
        raise DataError(
            f"{aligned.target._name}: no angles are known; give them, degrees east of north, with "
            "Exposure.with_(angles=...)"
        )
    unknown = np.flatnonzero(own & np.isnan(angles))
    if unknown.size:
        raise DataError(
            f"no angles are known of reference(s) {unknown.tolist()}, frames of the science star by their name; give "
            "them with Exposure.with_(angles=...) before they are stacked, or name another star in meta.target"
        )
    return science, angles


def _shared(aligned: AlignedRefs, pixels: np.ndarray, allowed: np.ndarray) -> Iterator[Job]:
    """Integrations with the same aligned set and the same references have one decomposition."""
    for members in aligned.sets:
        groups: dict[bytes, list[int]] = {}
        for i in members:
            groups.setdefault(np.packbits(allowed[i]).tobytes(), []).append(i)
        for group in groups.values():
            yield Job(members[0], pixels, tuple(group), np.flatnonzero(allowed[group[0]]))


def decompose_jobs(aligned: AlignedRefs, jobs: list[Job], modes: int) -> tuple[Subspace, ...]:
    """Decompose the references of every job and project its science images on their modes."""
    fewest = min(job.references.size for job in jobs)
    if fewest < modes:
        short = sum(job.references.size < modes for job in jobs)
        warnings.warn(
            f"in {short} of {len(jobs)} zones and angles there are fewer references than {modes} modes "
            f"(fewest {fewest}): all there are are used",
            stacklevel=6,
        )
    zones = len({int(job.pixels[0]) for job in jobs})
    # with a set for every integration the modes are many; 7 digits are what the science itself was stored with
    kind = np.float32 if len(jobs) > zones else np.float64
    spaces: list[Subspace] = []
    first, kept = -1, None
    for job in progress(jobs, "klip", "zone and angle"):
        if kept is None or job.first != first:
            first, kept = job.first, KeptRows.of(ReferenceRows.of(aligned, job.first))
        space = subspace_of(aligned, Kept(kept, job.references), job.pixels, job.integrations, modes, kind)
        spaces.append(replace(space, references=job.references))
    return tuple(spaces)
