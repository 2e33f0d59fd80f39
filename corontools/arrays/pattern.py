"""Sources found among references by their pattern: pinwheels (Tabur 2007), verified by all the others."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from corontools.arrays.affine import Affine, fit_affine, fit_rigid
from corontools.arrays.neighbours import mutual_pairs

__all__ = ["PatternMatch", "match_pattern"]

# sources next in brightness that make the pinwheel around a centre, how many of them are tried as its first spoke, and
# how many have to end at a reference (the rest may be spurious, or missing among the references)
SPOKES = 8
FIRST = 4
AGREEING = 3
# sources, the brightest, by which hypotheses are judged
JUDGES = 1000
# centres of pinwheels tried first
BRIGHTEST = 30
# hypotheses verified in each round, those with the most agreeing spokes first
VERIFIED = 100
# log10 of the probability, of any hypothesis tried, at which as many pairs by chance are excluded
CHANCE = -6.0
# pairs asked for: so many, or this part of the sources or references that could be in one, and never fewer than LEAST
PAIRS, PART, LEAST = 30, 0.3, 4
# another solution with this part of the pairs of the best one makes it ambiguous
RIVAL = 0.5
# places off the solution at which chance pairs are counted
DECOYS = 12


class PatternMatch(NamedTuple):
    """Which sources are which references; no pair, and the reason, where that can't be told.

    Attributes
    ----------
    source, reference : ndarray of int, shape (n_pairs,)
        Indices of the pairs.
    map : Affine
        Takes sources to references.
    tolerance : float
        At which the pattern was found, in the unit of the points.
    chance : float
        log10 of the probability that so many pairs are due to chance.
    reason : str
        Why there is no solution; empty where there is one.
    """

    source: np.ndarray
    reference: np.ndarray
    map: Affine
    tolerance: float
    chance: float
    reason: str = ""


class _Solution(NamedTuple):
    map: Affine
    n_pairs: int
    needed: int
    chance: float


def match_pattern(
    sources: np.ndarray,
    references: np.ndarray,
    *,
    max_shift: float = 350.0,
    max_rotation: float = 1.0,
    tolerance: float = 1.0,
    rounds: int = 5,
    n_centres: int = 150,
) -> PatternMatch:
    """Find sources among references that are shifted and turned by unknown, limited amounts.

    A pinwheel is a source and the eight next in brightness. It is laid on each reference within reach and turned so
    that one of its long spokes ends at another; where more spokes do, the thousand brightest sources are laid on the
    references and counted. A solution needs more pairs than chance would give in all places and turns tried, counted
    at decoy places so that clustered fields are judged by their own density, at least min(30, 0.3 min(n, m)) and
    four, and no rival. The tolerance is doubled until there is one.

    Parameters
    ----------
    sources, references : ndarray, shape (n, 2) and (m, 2)
        In one plane and unit, of one handedness, the brightest first.
    max_shift : float
        Of the middle of the sources.
    max_rotation : float
        Degrees, in both directions.
    tolerance : float
        Distance at which a source is a reference, in the first round.
    rounds : int
        Number of tolerances tried, each twice the one before.
    n_centres : int
        Brightest sources that are centres of pinwheels.

    References
    ----------
    Tabur, V. 2007, PASA 24, 189.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> references = rng.uniform(0, 2000, (60, 2))
    >>> truth = Affine.of_rotation(0.8, shift=(100.0, -50.0))
    >>> found = match_pattern(truth.inverse()(references[:40]), references)
    >>> len(found.source), round(found.map.rotation, 6), bool(np.all(found.source == found.reference))
    (40, 0.8, True)
    >>> match_pattern(rng.uniform(0, 2000, (40, 2)), references).reason[:29]
    'no pattern of the sources was'
    """
    sources, references = np.asarray(sources, float).reshape(-1, 2), np.asarray(references, float).reshape(-1, 2)
    if min(len(sources), len(references)) < LEAST:
        return _none(f"{LEAST} sources and references are needed, there are {len(sources)} and {len(references)}")
    search = _Search(sources, references, max_shift, math.radians(max_rotation))
    reason = ""
    # the brightest sources mostly do; the others are asked where they don't
    for tol, n in (
        (tol, n) for tol in tolerance * 2.0 ** np.arange(rounds) for n in (min(BRIGHTEST, n_centres), n_centres)
    ):
        if search.crowding(tol) > 1.0:
            break
        found = search.solutions(float(tol), n)
        if len(found) > 1:
            return _none(f"patterns agree with the references at {len(found)} different places; none is preferred")
        if found:
            return search.polished(found[0], float(tol))
        reason = reason or search.best
    return _none(reason or "no pattern of the sources was found among the references")


def _none(reason: str) -> PatternMatch:
    return PatternMatch(np.empty(0, int), np.empty(0, int), Affine(np.eye(2), np.zeros(2)), math.nan, 0.0, reason)


class _Search:
    """Points, and what is asked of each tolerance."""

    def __init__(self, sources: np.ndarray, references: np.ndarray, max_shift: float, max_turn: float) -> None:
        from scipy.spatial import cKDTree

        self.sources, self.references = sources, references
        self.bright = sources[:JUDGES]
        self.max_shift, self.max_turn = max_shift, max_turn
        self.middle = (sources.min(axis=0) + sources.max(axis=0)) / 2
        self.radius = float(np.hypot(*(np.ptp(sources, axis=0) / 2)))
        self.tree = cKDTree(references)
        self.density = len(references) / max(float(np.prod(np.ptp(references, axis=0))), 1e-300)
        self.best = ""

    def crowding(self, tol: float) -> float:
        """Mean number of references within the tolerance of any place."""
        return self.density * math.pi * tol**2

    def hypotheses(self, tol: float, n_centres: int) -> list[Affine]:
        """Maps by which pinwheels fall on references, those that most spokes tell first."""
        from corontools.arrays._pattern_kernels import pinwheels

        n_spokes = min(SPOKES, len(self.sources) - 1)
        size = (min(n_centres, len(self.sources)), n_spokes, min(FIRST, n_spokes))
        limits = (tol, self.max_shift, self.max_turn, AGREEING)
        rows = pinwheels(self.sources, self.references, self.middle, size, limits, _grid(self.references, tol))
        rows = rows.reshape(-1, rows.shape[-1])
        rows = rows[rows[:, 0] > 0]
        rows = rows[np.argsort(-rows[:, 0], kind="stable")]
        return [self._map(row) for row in rows]

    def _map(self, row: np.ndarray) -> Affine:
        turn = np.array([[row[1], -row[2]], [row[2], row[1]]])
        return Affine(turn, self.middle + row[3:] - turn @ self.middle)

    def solutions(self, tol: float, n_centres: int) -> list[_Solution]:
        """Different maps that more pairs tell than chance would give, the best first, without weak rivals."""
        tried: list[Affine] = []
        good: list[_Solution] = []
        for hypothesis in self.hypotheses(tol, n_centres):
            if any(self._apart(hypothesis, other) < 5 * tol for other in tried):
                continue
            if len(tried) >= VERIFIED:
                break
            solution = self._verified(hypothesis, tol)
            tried += [hypothesis, solution.map]
            if self._holds(solution) and not any(self._apart(solution.map, g.map) < 5 * tol for g in good):
                good.append(solution)
        good.sort(key=lambda solution: -solution.n_pairs)
        return [solution for solution in good if solution.n_pairs >= RIVAL * good[0].n_pairs]

    def _apart(self, one: Affine, other: Affine) -> float:
        """How far two maps differ at the most within the field."""
        corners = self.middle + self.radius * np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
        return float(np.hypot(*(one(corners) - other(corners)).T).max())

    def _verified(self, hypothesis: Affine, tol: float) -> _Solution:
        """Rotation and shift that the bright sources tell, and how many of them agree with it."""
        found = hypothesis
        n_sources, n_references = self._overlap(found(self.bright), tol)
        needed = max(LEAST, min(PAIRS, math.ceil(PART * min(n_sources, n_references))))
        for reach in (3 * tol, 2 * tol, tol):
            i, j, distance = mutual_pairs(found(self.bright), self.references, reach)
            if len(i) < needed:
                return _Solution(hypothesis, int(np.count_nonzero(distance <= tol)), needed, 0.0)
            found = fit_rigid(self.bright[i], self.references[j])
        moved = found(self.bright)
        n_pairs = len(mutual_pairs(moved, self.references, tol)[0])
        return _Solution(found, n_pairs, needed, self._chance(moved, n_pairs, n_sources, tol))

    def _overlap(self, moved: np.ndarray, tol: float) -> tuple[int, int]:
        """Numbers of sources and of references that lie where both are."""
        low = np.maximum(moved.min(axis=0), self.references.min(axis=0)) - tol
        high = np.minimum(moved.max(axis=0), self.references.max(axis=0)) + tol
        sources, references = (np.all((p >= low) & (p <= high), axis=1).sum() for p in (moved, self.references))
        return int(sources), int(references)

    def _chance(self, moved: np.ndarray, n_pairs: int, n_sources: int, tol: float) -> float:
        """log10 of the probability of as many pairs by chance in one of the places and turns that can be told apart."""
        turns = max(1.0, 2 * self.max_turn * self.radius / tol)
        trials = math.log10(max(1.0, 2 * self.max_shift / tol) ** 2 * turns)
        even = n_sources * self.crowding(tol)
        if _log_tail(n_pairs, even) + trials >= CHANCE:
            return _log_tail(n_pairs, even) + trials
        angle = np.arange(DECOYS) * 2.4  # golden angle
        radius = tol * (12 + 3 * np.arange(DECOYS))
        counts = [
            np.isfinite(self.tree.query(moved + offset, distance_upper_bound=tol)[0]).sum()
            for offset in np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        ]
        return _log_tail(n_pairs, max(float(np.mean(counts)), even)) + trials

    def _holds(self, solution: _Solution) -> bool:
        shift = np.hypot(*(solution.map(self.middle) - self.middle))
        within = shift <= 1.05 * self.max_shift and abs(solution.map.rotation) <= 1.05 * math.degrees(self.max_turn)
        holds = bool(within and solution.n_pairs >= solution.needed and solution.chance < CHANCE)
        if not holds and solution.n_pairs >= LEAST:
            self.best = (
                f"the best pattern has {solution.n_pairs} pairs; {solution.needed} are needed, and log10 of the "
                f"probability of chance below {CHANCE:g} (found {min(solution.chance, 0.0):.1f})"
            )
        return holds

    def polished(self, solution: _Solution, tol: float) -> PatternMatch:
        """All pairs, by a linear map where there are enough to tell one."""
        found, radius = solution.map, max(tol, 1.0)
        i, j, _ = mutual_pairs(found(self.sources), self.references, radius)
        for _ in range(3):
            if len(i) < 2 * LEAST:
                break
            found = fit_affine(self.sources[i], self.references[j])
            i, j, _ = mutual_pairs(found(self.sources), self.references, radius)
        return PatternMatch(i, j, found, tol, solution.chance)


def _log_tail(count: int, expected: float) -> float:
    """log10 of an upper limit to the Poisson probability of `count` or more; 0 where they are not unusual."""
    if count <= expected:
        return 0.0
    first = count * math.log(max(expected, 1e-300)) - expected - math.lgamma(count + 1)
    return min(0.0, (first - math.log1p(-expected / (count + 1))) / math.log(10))


def _grid(points: np.ndarray, tol: float) -> tuple:
    """Points in square cells: x and y of the origin, side, numbers along x and y, starts, members."""
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    # no more cells than a few for each point
    cell = max(4 * tol, math.sqrt(float(np.prod(span)) / (4 * len(points))), float(span.max()) / 4096, 1e-9)
    column, row = ((points - low) // cell).astype(np.int64).T
    nx, ny = int(column.max()) + 1, int(row.max()) + 1
    at = row * nx + column
    start = np.searchsorted(np.sort(at), np.arange(nx * ny + 1))
    return float(low[0]), float(low[1]), float(cell), nx, ny, start, np.argsort(at, kind="stable")
