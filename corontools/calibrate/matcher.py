"""Matchers of sources to references in the tangent plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from corontools.arrays.affine import Affine
from corontools.arrays.neighbours import mutual_pairs
from corontools.arrays.pattern import PatternMatch, match_pattern
from corontools.errors import DataError

__all__ = ["Matcher", "NearestMatcher", "PatternMatcher"]


class Matcher(Protocol):
    """What finds sources among references; give your own where the astrometry takes one."""

    def match(self, sources: np.ndarray, references: np.ndarray) -> PatternMatch:  # pragma: no cover
        """Match points (n, 2) and (m, 2) of a plane, in pixels, the brightest first; a `reason` where that fails."""
        ...


@dataclass(frozen=True)
class PatternMatcher:
    """Pinwheels of bright sources, found by their shape whatever the pointing; see `arrays.pattern.match_pattern`.

    Parameters
    ----------
    max_shift : float
        Largest error of the pointing, px, in the middle of the image; by default 350 (60 arcsec at 0.2 arcsec/px and
        some more).
    max_rotation : float
        Largest error of the orientation, degrees; by default 1.
    tolerance : float
        Distance between a source and its reference in the first round, px; by default 1.
    rounds : int
        Tolerances tried, each twice the one before; by default 5.
    max_references : int
        Brightest references among which patterns are searched; by default 8192. A quarter as many sources are.

    Raises
    ------
    DataError
        If a number isn't positive.
    """

    max_shift: float = 350.0
    max_rotation: float = 1.0
    tolerance: float = 1.0
    rounds: int = 5
    max_references: int = 8192

    def __post_init__(self) -> None:
        if not all(
            v > 0 for v in (self.max_shift, self.max_rotation, self.tolerance, self.rounds, self.max_references)
        ):
            raise DataError(f"the numbers of a matcher are positive, found {self}")

    def match(self, sources: np.ndarray, references: np.ndarray) -> PatternMatch:
        """As `Matcher.match`; pairs are of the brightest sources and references."""
        return match_pattern(
            sources[: max(self.max_references // 4, 4)],
            references[: self.max_references],
            max_shift=self.max_shift,
            max_rotation=self.max_rotation,
            tolerance=self.tolerance,
            rounds=self.rounds,
        )


@dataclass(frozen=True)
class NearestMatcher:
    """Nearest neighbours, for a WCS that is nearly right.

    Parameters
    ----------
    radius : float
        Largest distance, px; by default 3.
    """

    radius: float = 3.0

    def match(self, sources: np.ndarray, references: np.ndarray) -> PatternMatch:
        """As `Matcher.match`."""
        i, j, _ = mutual_pairs(sources, references, self.radius)
        reason = "" if len(i) else f"no source is within {self.radius:g} px of a reference"
        return PatternMatch(i, j, Affine(np.eye(2), np.zeros(2)), self.radius, 0.0, reason)
