"""Subject: the warps that a warp explorer shows, by the choices of its state."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cached_property
from typing import Any

import numpy as np

from corontools.calibrate.psf import PSF
from corontools.errors import DataError
from corontools.result import call
from corontools.warp import ModelPSF, PSFMatcher, Warp, look
from corontools.warp.diagnosis import Diagnosis
from corontools.warp.likelihood import Likelihood
from corontools.warp.mosaic import Matches
from corontools.warp.solver import Solver
from corontools_widgets.warp_state import MATCHING, WarpState, choices_of, matcher_of, model_of

__all__ = ["DIRECT", "FLUX", "MATCHED", "SNR", "Subject"]

DIRECT, MATCHED, SNR, FLUX = "direct", "PSF-matched", "S/N of stars", "flux of a star"
KEPT = 3  # matched warps


class Subject:
    """The warp that was given, the direct one that it was made from, and what is made of that.

    Parameters
    ----------
    given : Warp

    Attributes
    ----------
    given : Warp
    direct : Warp or None
        None where a matched or likelihood warp came from a file.
    names : list of str
        Of the images.

    Raises
    ------
    DataError
        If nothing contributes to the warp.
    """

    def __init__(self, given: Warp) -> None:
        if given.reason or given.psf is None:
            raise DataError(f"there is nothing to see: {given.reason or 'the warp has no PSF'}")
        self.given = given
        self.direct = given if given.kind == "direct" else given.direct
        alone = [MATCHED] if given.kind == "psfMatched" else [SNR, FLUX]
        self.names = alone if self.direct is None else [DIRECT, MATCHED, SNR]
        self._warps: dict[Hashable, Warp] = {}

    @property
    def first(self) -> int:
        """Image that is shown first: what was given."""
        if self.direct is None:
            return 0
        return {"direct": 0, "psfMatched": 1, "likelihood": 2}[self.given.kind]

    @cached_property
    def suggested(self) -> float:
        """FWHM of the model that is as wide as the PSF where it is widest, px."""
        assert self.direct is not None
        assert self.direct.psf is not None
        return ModelPSF.like(self.direct.psf, shape=self.direct.shape).fwhm

    @cached_property
    def choices(self) -> dict[str, Any]:
        """Those that stand for what was given."""
        if self.direct is None:
            return {}
        matcher, model = self._base
        return {**choices_of(PSFMatcher(), model), **choices_of(matcher, model)}

    @property
    def _base(self) -> tuple[Any, PSF]:
        made = self.given.convolved
        if isinstance(made, Matches):
            return made.matcher, made.model
        return PSFMatcher(), ModelPSF(self.suggested)

    def options(self, state: WarpState) -> tuple[Any, PSF]:
        """Matcher and model of the choices.

        Raises
        ------
        DataError
            If the matcher can't be so.
        """
        matcher, model = self._base
        return matcher_of(state, matcher), model_of(state, model)

    def key(self, state: WarpState) -> str:
        """Word for the choices that change the kernel."""
        return repr([getattr(state, name) for name in MATCHING])

    def solved(self, state: WarpState) -> Matches:
        """The kernels of the choices, nothing is convolved."""
        if self.direct is None or self._is_given(state):
            made = self.given.convolved
            assert isinstance(made, Matches)
            return made
        matcher, model = self.options(state)
        return self._solver(model, matcher)

    @cached_property
    def _solver(self) -> Solver:
        assert self.direct is not None
        return Solver(self.direct)

    def matched(self, key: str, matcher: Any, model: PSF) -> Warp:
        """The matched warp; the last ones are known still."""
        if key not in self._warps:
            assert self.direct is not None
            self._warps[key] = self.direct.match_psf(_target(model), **_options(matcher))
            while len(self._warps) > KEPT:
                del self._warps[next(iter(self._warps))]
        return self._warps[key]

    def known(self, key: str) -> Warp | None:
        """The matched warp of these choices, if it is made."""
        return self._warps.get(key)

    def know_given(self, state: WarpState) -> None:
        """A matched warp that was given is that of the first choices."""
        if self._is_given(state):
            self._warps[self.key(state)] = self.given

    def code(self, state: WarpState) -> str:
        """Python that gives the matched warp; it isn't made for that."""
        if self.direct is None or self._is_given(state):
            return self.given.code
        matcher, model = self.options(state)
        return f"{self.direct.code}.{call(Warp.match_psf, None, _target(model), **_options(matcher))}"

    def _is_given(self, state: WarpState) -> bool:
        made = self.given.convolved
        return isinstance(made, Matches) and (made.matcher, made.model) == self.options(state)

    @cached_property
    def likelihood(self) -> Likelihood:
        """Of the direct warp."""
        made = self.given.convolved
        if isinstance(made, Likelihood):
            return made
        assert self.direct is not None
        found = self.direct.likelihood().convolved
        assert isinstance(found, Likelihood)
        return found

    @cached_property
    def blank(self) -> np.ndarray:
        """Pixels of blank sky."""
        shown = self.direct or self.given
        return look.blank_sky(shown.frame, shown.psf)

    def checked(self, matched: Warp | None, matches: Matches | None) -> tuple[dict[str, look.Noise], Diagnosis | None]:
        """Noise of blank sky in each image, and the faults of the match."""
        frames = {DIRECT: None if self.direct is None else self.direct.frame}
        frames[MATCHED] = None if matched is None else matched.frame
        if self.direct is None and isinstance(self.given.convolved, Likelihood):
            frames = {SNR: self.given.frame}
        found = {name: self._noise(name, frame) for name, frame in frames.items() if frame is not None}
        return found, None if matches is None else matches.diagnose()

    def _noise(self, name: str, frame: Any) -> look.Noise:
        if name != DIRECT:
            return look.noise(frame, self.blank)
        return self._direct_noise

    @cached_property
    def _direct_noise(self) -> look.Noise:
        assert self.direct is not None
        return look.noise(self.direct.frame, self.blank)


def _target(model: PSF) -> Any:
    """The model as short as it can be written."""
    return model.fwhm if isinstance(model, ModelPSF) and model == ModelPSF(model.fwhm) else model


def _options(matcher: Any) -> dict[str, Any]:
    return {} if matcher == PSFMatcher() else {"matcher": matcher}
