"""Refit: the chain of a calibration with another selection of stars, one step after the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from corontools.calibrate.image import CalibratedImage
from corontools.calibrate.select import StarSelector
from corontools.errors import DataError

__all__ = ["Refit"]

STAGES = ("modelled", "corrections", "astrometry", "found", "photometry")
VERBS = ("model_psf", "correct_apertures", "solve_astrometry", "find_stars", "solve_photometry")
KEPT = 8  # results


class Refit:
    """Calibrations with other stars, as far as the one that they start from has come.

    Parameters
    ----------
    given : CalibratedImage
    refcat, photometry_refcat : optional
        References of the astrometry and of the photometry; by default those that the astrometry was solved with.

    Attributes
    ----------
    given : CalibratedImage
    notes : tuple of str
        Warnings of the last steps.
    """

    def __init__(self, given: CalibratedImage, refcat: Any = None, photometry_refcat: Any = None) -> None:
        if refcat is None and given.astrometry is not None:
            refcat = given.astrometry.references
        references = {"solve_astrometry": (refcat,)}
        references["solve_photometry"] = (refcat if photometry_refcat is None else photometry_refcat,)
        self.given, self.notes = given, tuple[str, ...]()
        self._verbs = [(verb, references.get(verb, ())) for stage, verb in zip(STAGES, VERBS, strict=True)
                       if getattr(given, stage) is not None]  # fmt: skip
        self._known: dict[str, tuple[CalibratedImage, tuple[str, ...]]] = {}
        self._key, self._now, self._left = "", given, list[tuple[str, tuple]]()

    @property
    def selector(self) -> StarSelector | None:
        """Options that the choices start from; None where the stars aren't chosen yet, or by something else."""
        selector = self.given.steps.star_selector
        return selector if self.given.modelled is not None and isinstance(selector, StarSelector) else None

    def ask(self, options: Mapping[str, Any]) -> None:
        """Begin anew with these options of the selector; what was done before is known still."""
        self._key = repr(sorted(options.items()))
        self._now, self._left, self.notes = self.given, [], ()
        if self._key in self._known:
            self._now, self.notes = self._known[self._key]
        elif options:
            self._now = _rewound(self.given).using(star_selector=dict(options))
            self._left = list(self._verbs)

    @property
    def next(self) -> str:
        """The verb that is called next; "" where all is done."""
        return self._left[0][0] if self._left else ""

    def step(self) -> None:
        """Call the next verb.

        Raises
        ------
        DataError
            If it fails.
        """
        verb, references = self._left[0]
        method: Callable[..., CalibratedImage] = getattr(self._now, verb)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                self._now = method(*references)
            except DataError as error:
                raise DataError(f"{verb}: {error}") from error
        self.notes += tuple(str(one.message) for one in caught)
        del self._left[0]
        if not self._left:
            self._known[self._key] = self._now, self.notes
            while len(self._known) > KEPT:
                del self._known[next(iter(self._known))]

    def finished(self) -> CalibratedImage:
        """The calibration with the options that were asked for last.

        Raises
        ------
        DataError
            If a step fails.
        """
        while self._left:
            self.step()
        return self._now


def _rewound(given: CalibratedImage) -> CalibratedImage:
    """The calibration before its PSF was fitted, where the chain tells nothing else after that."""
    first = next((i for i, call in enumerate(given.history) if call.startswith(".model_psf(")), len(given.history))
    if any(call.startswith(".using(") for call in given.history[first:]):
        return given
    return given.with_(history=given.history[:first], **dict.fromkeys(STAGES))
