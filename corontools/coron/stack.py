"""PSFStack: the images of reference stars, all in one cube (the `stack_refs` task)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from corontools.arrays.pairs import correlation
from corontools.association import Association
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import VARIANCES, Exposure, check_alike, indices
from corontools.result import Result, code_of, verb

if TYPE_CHECKING:
    from astropy.table import QTable

    from corontools.coron.aligned import AlignedRefs

__all__ = ["PSFStack"]


@dataclass(frozen=True, eq=False, repr=False)
class PSFStack(Result):
    """All integrations of all reference exposures along the first axis, in member order.

    Attributes
    ----------
    members : tuple of str
        "file [integration]" of each reference.
    targets : tuple of str
        Star of each reference.
    pool : Exposure
        The images that the references were selected from.
    angles : tuple of float
        Position angle of the +y axis of each reference, see `Exposure.position_angles`; NaN where it isn't known.
    chosen : tuple of int or None
        Which of them; None: all.

    Examples
    --------
    >>> import numpy as np
    >>> frames = np.random.default_rng(1).normal(size=(4, 16, 16))
    >>> stack = PSFStack.from_exposures([Exposure(frames[:3]), Exposure(frames[3])])
    >>> stack.n_ref, stack.select([0, 3]).n_ref
    (4, 2)
    """

    members: tuple[str, ...]
    targets: tuple[str, ...]
    pool: Exposure
    angles: tuple[float, ...]
    chosen: tuple[int, ...] | None = None

    @classmethod
    def from_asn(cls, asn: Association | str | os.PathLike[str]) -> PSFStack:
        """Stack the "psf" members of an association (or of its file)."""
        if not isinstance(asn, Association):
            asn = Association.read(asn)
        return cls.from_exposures(asn.references).with_(history=(f"PSFStack.from_asn({code_of(asn)})",))

    @classmethod
    def from_exposures(cls, exposures: Sequence[Exposure]) -> PSFStack:
        """Stack exposures of reference stars.

        Errors and variances are kept where every exposure has them.

        Raises
        ------
        DataError
            If there is none, or shapes or units differ (both files are named).
        """
        cubes = [exposure.cube for exposure in exposures]
        if not cubes:
            raise DataError("no reference exposure to stack; give at least one")
        for cube in cubes[1:]:
            check_alike(cubes[0], cube)
        names = [c.meta.filename or f"exposure {i}" for i, c in enumerate(cubes)]
        return cls(
            pool=_concatenate(cubes),
            members=tuple(f"{name} [{i}]" for name, c in zip(names, cubes, strict=True) for i in range(c.n_int)),
            targets=tuple(c.meta.target for c in cubes for _ in range(c.n_int)),
            angles=tuple(angle for c in cubes for angle in _angles(c)),
            history=(f"PSFStack.from_exposures({code_of(list(exposures))})",),
        )

    @property
    def n_ref(self) -> int:
        """Number of reference images."""
        return len(self.members)

    @cached_property
    def exposure(self) -> Exposure:
        """SCI, ERR, DQ and variances of the references, (n_ref, y, x); copied from the pool when first asked for."""
        return self.pool if self.chosen is None else self.pool.select(list(self.chosen))

    @cached_property
    def groups(self) -> np.ndarray:
        """Which references share speckles with each other that the science star doesn't share, int (n_ref,).

        Those of one star, where there are three stars or more; else those of one exposure, where there are three or
        more; else each by itself.
        """
        files = [member.rsplit(" [", 1)[0] for member in self.members]
        for names in (list(self.targets), files):
            known = list(dict.fromkeys(names))
            if len(known) >= 3:
                return np.array([known.index(name) for name in names])
        return np.arange(self.n_ref)

    @verb
    def mask(self, bad: np.ndarray, *, bits: int = DQ.DO_NOT_USE) -> PSFStack:
        """Set DQ `bits` where `bad`, (n_ref, y, x) or (y, x) for all, is True; see `Exposure.mask`.

        Examples
        --------
        >>> stack = PSFStack.from_exposures([Exposure(np.ones((2, 3, 4)))])
        >>> masked = stack.mask(np.eye(3, 4, dtype=bool))
        >>> masked.history[-1], int(masked.exposure.good.sum())
        ('.mask(pixels((3, 4), [0, 1, 5, 1, 10, 1]))', 18)
        """
        return self._with_exposure(self.exposure.mask(bad, bits=bits))

    @verb
    def reject_outliers(self, sigma: float = 5.0) -> PSFStack:
        """Flag pixels that leave the other integrations of the same exposure (OUTLIER, DO_NOT_USE).

        See `Exposure.reject_outliers`; exposures with fewer than three integrations are left as they are.
        """
        dq = self.exposure.flags()
        for rows in self._runs():
            dq[rows] = self.exposure.select(rows).reject_outliers(sigma).flags()
        return self._with_exposure(self.exposure.with_(dq=dq))

    @verb
    def subtract_level(self, *, beyond: float | None = None) -> PSFStack:
        """Bring every reference to the level 0 far from the star; see `Exposure.subtract_level`."""
        return self._with_exposure(self.exposure.subtract_level(beyond=beyond))

    @verb
    def repair(self, box: int = 3) -> PSFStack:
        """Fill bad pixels from good neighbours; see `Exposure.repair`."""
        return self._with_exposure(self.exposure.repair(box))

    @verb
    def select(
        self,
        which: Sequence[int] | np.ndarray | slice | None = None,
        *,
        target: str | None = None,
        best: int | None = None,
        like: Exposure | None = None,
    ) -> PSFStack:
        """Keep some references: by index, by star, or those most correlated with a science exposure.

        Parameters
        ----------
        which : indices, slice or boolean mask, optional
        target : str, optional
            Name of the star.
        best, like : int and Exposure, optional
            Keep the `best` references with the highest mean correlation with `like`; their order stays.

        Raises
        ------
        DataError
            If nothing remains.
        """
        keep = np.arange(self.n_ref)
        if target is not None:
            keep = keep[[name == target for name in self.targets]]
        if which is not None:
            keep = np.intersect1d(keep, indices(which, self.n_ref, "references"))
        if (best is None) != (like is None) or (best is not None and best < 1):
            raise DataError(f"select(best=n, like=science) needs both, and n of at least 1; found best={best}")
        if best is not None and like is not None:
            order = np.argsort(-self.correlation(like).mean(axis=0)[keep], kind="stable")
            keep = np.sort(keep[order[:best]])
        if not keep.size:
            stars = ", ".join(sorted(set(self.targets)))
            raise DataError(f"no reference left of {self.n_ref} (stars: {stars}); select others")
        return self._taken(keep)

    @verb
    def align_to(
        self,
        target: Exposure,
        *,
        to: Literal["each", "first", "mean", "none"] = "each",
        mask: np.ndarray | Exposure | None = None,
    ) -> AlignedRefs:
        """Shift every reference onto the science images.

        Parameters
        ----------
        target : Exposure
            Science exposure.
        to : str
            "each": every reference to every integration, as the `align_refs` task says. "first", "mean": to the first
            integration or to the mean of all, one set for all: errors then leave out the jitter between
            integrations. "none": the references are aligned already.
        mask : ndarray or Exposure, shape (y, x), optional
            Weight of each pixel in the fit, 1 = use (JWST's psfmask: the transmission of the coronagraph). Without
            it, the weight is made from the data, see `arrays.register.default_weight`.

        Raises
        ------
        DataError
            If shapes or units differ, or an image has no good pixel.
        """
        from corontools.coron.aligned import align

        return align(self, target, to=to, mask=mask)

    def correlation(self, target: Exposure) -> np.ndarray:
        """Pearson correlation (n_int, n_ref) of science integrations and references, over pixels good in both."""
        cube, refs = target.cube, self.exposure
        check_alike(cube, refs)
        science, references = ((e.data.reshape(e.n_int, -1), e.good.reshape(e.n_int, -1)) for e in (cube, refs))
        return correlation(science[0], references[0], good_a=science[1], good_b=references[1])

    def statistics(self, like: Exposure | None = None) -> QTable:
        """Table with one row for each reference: what the choice of references can go by.

        Columns index, member, target, median, sigma (by the median absolute deviation) and peak of the good pixels,
        good (their share), outliers (pixels flagged OUTLIER) and correlation: the mean with the integrations of a
        science exposure where one is given, else with the other references.

        Parameters
        ----------
        like : Exposure, optional
            Science exposure.

        Raises
        ------
        DataError
            If its shape or unit differs.
        """
        from corontools.coron.frames import frame_statistics

        return frame_statistics(self, like)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the `_psfstack` product (CubeModel)."""
        from corontools.products import write_exposure

        exposure = self.exposure.with_(
            meta=self.exposure.meta.with_(history=self.history),
            extensions=(),  # area, times and WCS model of the first exposure say nothing of the others
            source="",
        )
        return write_exposure(exposure, path, cards={"S_PSFSTK": "COMPLETE"}, overwrite=overwrite)

    def _runs(self) -> list[list[int]]:
        """Indices of the references that come from one exposure."""
        files = [member.rsplit(" [", 1)[0] for member in self.members]
        return [[i for i, name in enumerate(files) if name == one] for one in dict.fromkeys(files)]

    def with_data(self, data: np.ndarray) -> PSFStack:
        """The same frames with other pixels (n_ref, y, x); the history stays."""
        return self._with_exposure(self.exposure.with_(data=data))

    def _with_exposure(self, exposure: Exposure) -> PSFStack:
        return self.with_(pool=exposure, chosen=None)

    def _taken(self, keep: np.ndarray) -> PSFStack:
        before = range(self.n_ref) if self.chosen is None else self.chosen
        return self.with_(
            chosen=tuple(before[i] for i in keep),
            members=tuple(self.members[i] for i in keep),
            targets=tuple(self.targets[i] for i in keep),
            angles=tuple(self.angles[i] for i in keep),
        )

    def _values(self) -> np.ndarray:
        return np.where(self.exposure.good, self.exposure.data, np.nan)

    def _rows(self) -> list[tuple[str, str]]:
        counts = {star or "unnamed star": self.targets.count(star) for star in dict.fromkeys(self.targets)}
        stars = ", ".join(f"{star} x{count}" for star, count in counts.items())
        return [("references", f"{self.n_ref}: {stars}"), *self.exposure._rows()[1:]]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        good = self.exposure.good
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.sum(self.exposure.data, axis=0, where=good) / good.sum(axis=0)
        return [quick.image_picture(mean, "mean of the references")]


def _angles(cube: Exposure) -> list[float]:
    known = cube.position_angles
    return [float("nan")] * cube.n_int if known is None else known.tolist()


def _concatenate(cubes: Sequence[Exposure]) -> Exposure:
    """One cube in native byte order, metadata from the first."""

    def joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
        out = np.concatenate(list(arrays))
        return out.astype(out.dtype.newbyteorder("="), copy=False)

    errors = [cube.err for cube in cubes if cube.err is not None]
    angles = [cube.angles for cube in cubes if cube.angles is not None]
    common = [name for name in VARIANCES if all(name in cube.variances for cube in cubes)]
    return Exposure(
        data=joined(cube.data for cube in cubes),
        err=joined(errors) if len(errors) == len(cubes) else None,
        dq=joined(cube.flags() for cube in cubes),
        variances={name: joined(cube.variances[name] for cube in cubes) for name in common},
        meta=cubes[0].meta,
        wcs=cubes[0].wcs,
        angles=joined(angles) if len(angles) == len(cubes) else None,
    )
