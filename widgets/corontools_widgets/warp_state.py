"""WarpState: the choices of a warp explorer, and the model and matcher that they stand for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from traitlets import Bool, CaselessStrEnum, Float, Int, List, TraitError, Unicode, validate

from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import PSF
from corontools.warp import FourierMatcher, ModelPSF, PSFMatcher
from corontools.warp.look import QUALITY
from corontools_widgets.image_view import ImageState

__all__ = ["MATCHERS", "MATCHING", "WarpState", "choices_of", "matcher_of", "model_of"]

MATCHERS = {"alard-lupton": "Alard & Lupton", "fourier": "Fourier"}
# choices that change the kernel
MATCHING = (
    "fwhm", "matcher", "kernel_size", "fourier_size", "sigmas", "order", "cell", "auto_pad", "damping",
)  # fmt: skip
PLANES = ("", *Plane.__members__)


class WarpState(ImageState):
    """Choices of a `WarpExplorer`.

    Attributes
    ----------
    frame : int
        Direct warp, PSF-matched warp, S/N of a star at each pixel by the likelihood image.
    fwhm : float
        Of the model, px; 0 for a model that was given and is no `ModelPSF`.
    matcher : {"alard-lupton", "fourier"}
    kernel_size, fourier_size : int
        Odd side of the kernel of either matcher, px; 0 of the second: that of the PSF's stamps.
    sigmas : list of float
        Widths of the Gaussians that the kernel is made of, px.
    order : int
        Of the polynomial by which the kernel changes over a detector.
    cell : int
        Mean distance of the places at which PSFs are matched, px.
    auto_pad : float or None
        See `PSFMatcher`; None for stamps padded by `pad_by` of the matcher that was given.
    damping : float or None
        Of either matcher; None for its default.
    own : bool
        The matched warp has limits of its own.
    matched_limits, snr_limits : [float, float] or []
        Those, and of the S/N.
    tint : str
        Plane of the mask that is tinted, such as "EDGE"; "" for none.
    quality : {"peak", "size", "shape"}
        What is drawn over the field.
    """

    fwhm = Float(4.0)
    matcher = CaselessStrEnum(tuple(MATCHERS), default_value="alard-lupton")
    kernel_size = Int(21, min=3)
    fourier_size = Int(0, min=0)
    sigmas = List(Float(), default_value=[0.7, 1.5, 3.0], minlen=1)
    order = Int(2, min=0, max=8)
    cell = Int(128, min=32)
    auto_pad = Float(1.4, allow_none=True)
    damping = Float(None, allow_none=True)
    own = Bool(False)
    matched_limits = List(Float(), maxlen=2)
    snr_limits = List(Float(), maxlen=2)
    tint = Unicode("")
    quality = CaselessStrEnum(tuple(QUALITY), default_value="peak")

    @validate("fwhm")
    def _not_negative(self, proposal: dict[str, Any]) -> float:
        value = float(proposal["value"])
        if not 0 <= value < float("inf"):
            raise TraitError(f"fwhm should be a positive number of px, found {value}")
        return value

    @validate("kernel_size", "fourier_size")
    def _odd(self, proposal: dict[str, Any]) -> int:
        size, name = int(proposal["value"]), proposal["trait"].name
        if size and size % 2 == 0:
            raise TraitError(f"{name} should be odd, found {size}")
        return size

    @validate("sigmas")
    def _above_zero(self, proposal: dict[str, Any]) -> list[float]:
        if not all(0 < sigma < float("inf") for sigma in proposal["value"]):
            raise TraitError(f"sigmas should be positive, found {proposal['value']}")
        return list(proposal["value"])

    @validate("matched_limits", "snr_limits")
    def _in_order(self, proposal: dict[str, Any]) -> list[float]:
        return self._pair(proposal)

    @validate("tint")
    def _plane(self, proposal: dict[str, Any]) -> str:
        if proposal["value"] not in PLANES:
            raise TraitError(f"tint should be one of {', '.join(PLANES[1:])} or '', found {proposal['value']!r}")
        return str(proposal["value"])


def choices_of(matcher: PSFMatcher | FourierMatcher, model: PSF) -> dict[str, Any]:
    """Choices that stand for a matcher and a model.

    Examples
    --------
    >>> choices_of(FourierMatcher(cell=64), ModelPSF(4.5))
    {'fwhm': 4.5, 'order': 2, 'cell': 64, 'damping': None, 'matcher': 'fourier', 'fourier_size': 0}
    """
    made: dict[str, Any] = {"fwhm": model.fwhm if isinstance(model, ModelPSF) else 0.0}
    made |= {"order": matcher.order, "cell": matcher.cell}
    made["damping"] = None if matcher.damping == type(matcher)().damping else matcher.damping
    if isinstance(matcher, FourierMatcher):
        return {**made, "matcher": "fourier", "fourier_size": matcher.kernel_size or 0}
    return {
        **made,
        "matcher": "alard-lupton",
        "kernel_size": matcher.kernel_size,
        "sigmas": list(matcher.sigmas),
        "auto_pad": matcher.auto_pad,
    }


def matcher_of(state: WarpState, given: PSFMatcher | FourierMatcher) -> PSFMatcher | FourierMatcher:
    """The matcher of the choices; options that are none are those of the one that was given."""
    kind = FourierMatcher if state.matcher == "fourier" else PSFMatcher
    start: Any = given if isinstance(given, kind) else kind()
    shared: dict[str, Any] = {"order": state.order, "cell": state.cell}
    shared["damping"] = kind().damping if state.damping is None else state.damping
    if state.matcher == "fourier":
        return start.with_(**shared, kernel_size=state.fourier_size or None)
    pads = {"auto_pad": state.auto_pad} if state.auto_pad is None else {"auto_pad": state.auto_pad, "pad_by": 0}
    degrees = start.degrees if len(start.degrees) == len(state.sigmas) else (start.degrees[0],) * len(state.sigmas)
    sums = {"kernel_size": state.kernel_size, "sigmas": tuple(state.sigmas), "degrees": degrees}
    return start.with_(**shared, **pads, **sums)


def model_of(state: WarpState, given: PSF) -> PSF:
    """The model of the choices, with the wings of the one that was given."""
    if not state.fwhm:
        return given
    if not isinstance(given, ModelPSF):
        return ModelPSF(state.fwhm)
    return given if given.fwhm == state.fwhm else replace(given, fwhm=state.fwhm, size=0)
