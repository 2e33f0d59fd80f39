"""FlickerCleaner: 1/f noise removed from ramps and rates (the `clean_flicker_noise` step)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from corontools.errors import DataError
from corontools.exposure import Exposure, readonly
from corontools.flicker.brightness import checked_flux, over_median, relative_brightness
from corontools.flicker.edit import Edit
from corontools.flicker.frames import Frames, Log, real_type
from corontools.flicker.level import METHODS, box_of, filled_flat
from corontools.flicker.plan import Plan, check_noise
from corontools.flicker.rate import draft_rate, photon_share
from corontools.flicker.readout import Readout
from corontools.flicker.references import cut, plane, typical
from corontools.flicker.regions import mask_image
from corontools.flicker.scene import Regions, Scene, make_scene
from corontools.result import Result, function_call, verb

if TYPE_CHECKING:
    from corontools.flicker.auto import Choice
    from corontools.flicker.checks import InjectionTest, NullTest
    from corontools.flicker.look import OneImage
    from corontools.flicker.psd import LineSpectrum

__all__ = ["FlickerCleaner"]

# what is computed from the inputs alone: no verb changes it
INPUTS = {"exposure", "flat", "axis", "channels", "gain", "read_noise", "exact"}
KEPT = ("readout", "flat_image", "draft_rate", "_photons", "_middles")


@dataclass(frozen=True, eq=False)
class SceneChoice:
    """How the scene mask is made, or the mask itself."""

    histogram: bool = False
    per_integration: bool = False
    regions: Regions = field(default_factory=Regions)
    given: np.ndarray | None = None


@dataclass(frozen=True, eq=False, repr=False)
class FlickerCleaner(Result):
    """Stripes that flicker noise leaves in ramps or rates: fitted, seen, subtracted.

    Without a verb the choices are those of the JWST pipeline: mask at 2 sigma, median background, median of each
    line. Everything is computed when it is read, one image at a time, so a ramp may be larger than the memory.

    Parameters
    ----------
    exposure : Exposure
        A ramp (n_int, n_group, y, x), rateints (n_int, y, x) or a rate (y, x).
    flat : ndarray, Exposure or FITS file, optional
        Images are divided by it before the fit, and the noise multiplied after. A full frame is cut to a subarray.
    axis : {0, 1}, optional
        Axis along which a stripe runs: 1 horizontal, 0 vertical. By default from the header.
    channels : int, optional
        Amplifiers that share a line; by default 4 for a full near-infrared frame, else 1.
    gain, read_noise : float, ndarray or FITS file, optional
        Electrons per unit, and 1-sigma read noise of one group in the ramp's unit. Both together weight the draft rate
        by photon and read noise; without them it is a least-squares line.
    exact : bool
        Sort the values to be clipped; by default they are counted in narrow bins (1e-4 sigma), which is quicker.

    Attributes
    ----------
    plan, scene_choice, edits : choices made by the verbs
    choice : Choice or None
        What `auto` found.

    Raises
    ------
    DataError
        If the orientation isn't known, or the observing mode isn't supported.

    Examples
    --------
    >>> from corontools.arrays.flicker import flicker_noise
    >>> stripes = flicker_noise((128, 128), rms=5.0, channels=1)
    >>> rate = Exposure(100 + stripes + np.random.default_rng(1).normal(0, 1.0, stripes.shape))
    >>> cleaner = FlickerCleaner(rate, axis=1)
    >>> cleaner.status["correction"], bool(cleaner.cleaned.data.std() < 0.8 * rate.data.std())
    ('COMPLETE', True)
    """

    exposure: Exposure
    flat: Any = field(default=None, kw_only=True)
    axis: int | None = field(default=None, kw_only=True)
    channels: int | None = field(default=None, kw_only=True)
    gain: Any = field(default=None, kw_only=True)
    read_noise: Any = field(default=None, kw_only=True)
    exact: bool = field(default=False, kw_only=True)
    plan: Plan = field(default=Plan(), kw_only=True)
    scene_choice: SceneChoice = field(default=SceneChoice(), kw_only=True)
    edits: tuple[Edit, ...] = field(default=(), kw_only=True)
    choice: Choice | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.exposure.data.ndim <= 4:
            raise DataError(
                f"{self.exposure._name}: a ramp (n_int, n_group, y, x), rateints (n_int, y, x) or a rate (y, x) is "
                f"needed, found shape {self.exposure.shape}"
            )
        self.readout  # noqa: B018 - an orientation that isn't known is told now
        if not self.history:
            given = {name: getattr(self, name) for name in ("flat", "axis", "channels", "gain", "read_noise", "exact")}
            object.__setattr__(self, "history", (function_call(FlickerCleaner, self.exposure, **given),))

    def with_(self, **changes: Any) -> FlickerCleaner:
        """Copy with the named attributes changed; the history stays, and so does what is known already."""
        made = replace(self, **changes)
        keep: tuple[str, ...] = KEPT if INPUTS.isdisjoint(changes) else ()
        if keep and made.plan.flux == self.plan.flux:
            keep += ("_scales",)
        if keep and "scene_choice" not in changes and made.plan.n_sigma == self.plan.n_sigma:
            keep += ("scene",) if "edits" in changes else ("scene", "mask")
            keep += ("_corrected", "frames", "log") if made.plan == self.plan and "edits" not in changes else ()
        made.__dict__.update({name: self.__dict__[name] for name in keep if name in self.__dict__})
        return made

    @cached_property
    def readout(self) -> Readout:
        """Geometry of the reading."""
        return Readout.of(self.exposure, axis=self.axis, channels=self.channels)

    @cached_property
    def flat_image(self) -> np.ndarray | None:
        """Flat field of these pixels without zeros and gaps, (y, x); None where none was given."""
        if self.flat is None:
            return None
        image: np.ndarray = np.asarray(plane(self.flat).data, real_type(self.exposure.data))
        return readonly(filled_flat(cut(image, self.exposure.shape[-2:], self.readout.corner, what="flat")))

    @cached_property
    def draft_rate(self) -> np.ndarray:
        """Slope of each pixel, all integrations together (y, x); of rates the data themselves.

        Per second where the header has TGROUP, else per group; NaN where no difference can be used.
        """
        if self.exposure.data.ndim < 4:
            return self.exposure.data
        return readonly(draft_rate(self.exposure, photons=self._photons))

    @cached_property
    def scene(self) -> Scene:
        """The scene mask as it was made, before `edit_mask`, and how."""
        choice = self.scene_choice
        if choice.given is not None:
            return Scene(choice.given, ("given",))
        made = make_scene(
            self._rates(),
            choice.regions.lit((self.exposure.shape[-2], self.exposure.shape[-1]), self._pixel_flags),
            n_sigma=self.plan.n_sigma,
            histogram=choice.histogram,
            each=choice.per_integration and self.exposure.data.ndim > 2,
            exact=self.exact,
        )
        return replace(made, flavours=(*choice.regions.flavours, *made.flavours), left_out=choice.regions.left_out)

    def _rates(self) -> Iterator[np.ndarray]:
        """Rates of which the scene mask is made, over the flat, one at a time."""
        exposure = self.exposure
        rates: Iterable[np.ndarray] = exposure.data.reshape(-1, *exposure.shape[-2:])
        if exposure.data.ndim == 4 and not self.scene_choice.per_integration:
            rates = [self.draft_rate]
        elif exposure.data.ndim == 4:
            rates = (draft_rate(exposure, photons=self._photons, integration=i) for i in range(len(exposure.data)))
        for rate in rates:
            yield rate if self.flat_image is None else rate / self.flat_image

    @cached_property
    def mask(self) -> np.ndarray:
        """True where a pixel shows background: (y, x), or (n_int, y, x)."""
        mask = self.scene.mask
        for edit in self.edits:
            mask = edit.applied(mask, self.draft_rate)
        return readonly(mask)

    @property
    def flavours(self) -> tuple[str, ...]:
        """Kinds of masking that were applied."""
        return (*self.scene.flavours, *(("by hand",) if self.edits else ()))

    @verb
    def mask_scene(
        self,
        *,
        n_sigma: float = 2.0,
        fit_histogram: bool = False,
        science: Any = False,
        per_integration: bool = False,
    ) -> FlickerCleaner:
        """Make the scene mask from the draft rate: background is True, sources, bad and missing pixels are False.

        Parameters
        ----------
        n_sigma : float
            Pixels further above the background are sources (further than 3 sigma below: bad); each image less its
            background is clipped at `n_sigma` once more, on both sides. 0: no clipping.
        fit_histogram : bool
            Centre and sigma from a Gaussian fitted to the histogram.
        science : bool, region or mapping, optional
            Regions with light: True for those of the observing mode, as far as flags or the layout of the detector
            tell them ("failed_open", "fixed_slits", "non_science"). "slices" (IFU), "slits" (MOS, fixed slits) and
            "traces" (SOSS) have to be given, alone or in a mapping from kind to regions: boxes (x0, y0, x1, y1),
            polygons, images of 0 and 1, FITS files. In a mapping False leaves a kind in, as ``"fixed_slits": False``
            where targets in fixed slits are planned beside the shutters; "science" are regions of your own.
        per_integration : bool
            A mask for each integration.

        Raises
        ------
        DataError
            If `n_sigma` is negative, the mode needs regions that were not given, or hasn't that kind.
        """
        regions = Regions.of(science, self.readout, self.exposure.shape)
        return self.with_(
            scene_choice=SceneChoice(fit_histogram, per_integration, regions),
            edits=(),
            plan=replace(self.plan, n_sigma=_checked_sigma(n_sigma)),
        )

    @verb
    def use_mask(self, mask: np.ndarray | Exposure | str | os.PathLike[str], *, n_sigma: float = 2.0) -> FlickerCleaner:
        """Take a mask as it is: 1 (True) is background, 0 isn't used.

        Parameters
        ----------
        mask : ndarray, Exposure or FITS file
            Shape (y, x), or (n_int, y, x).
        n_sigma : float
            Each image less its background is clipped here; 0: not at all.

        Raises
        ------
        DataError
            If the shape is another, or it holds anything but 0 and 1.
        """
        shape = self.exposure.shape
        if isinstance(mask, str | os.PathLike):
            mask = Exposure.read(mask)
        values = mask.data if isinstance(mask, Exposure) else np.asarray(mask)
        each = values.ndim == 3 and len(shape) > 2
        given = mask_image(values, (shape[0], *shape[-2:]) if each else shape[-2:])
        return self.with_(
            scene_choice=SceneChoice(given=given), edits=(), plan=replace(self.plan, n_sigma=_checked_sigma(n_sigma))
        )

    @verb
    def edit_mask(self, *, masked: Any = None, used: Any = None, above: float | None = None) -> FlickerCleaner:
        """Change the scene mask by hand; later changes go over earlier ones.

        Parameters
        ----------
        masked, used : region or ndarray of bool, optional
            What shows sources, and what shows background: boxes, polygons, images of 0 and 1, FITS files, as
            `mask_scene` takes for `science`, or an array (n_int, y, x). `used` goes over `masked`. Pixels that are
            missing or flagged stay out of every fit.
        above : float, optional
            Pixels whose draft rate is higher show sources.

        Raises
        ------
        DataError
            If nothing is given, or it doesn't fit the images.
        """
        return self.with_(edits=(*self.edits, Edit.of(masked, used, above, self.exposure.shape)))

    @verb
    def fit_background(
        self,
        method: Literal["median", "model", "median_image"] | None = "median",
        *,
        box: int | tuple[int, int] | None = None,
        flux: Sequence[float] | np.ndarray | None = None,
    ) -> FlickerCleaner:
        """Choose what is subtracted before the stripes are fitted, and restored after.

        Parameters
        ----------
        method : {"median", "model", "median_image"} or None
            "median": the median of the background pixels. "model": a smooth map of it. "median_image": the median over
            integrations, right where starlight fills the frame (coronagraphy, time series); each image is then
            corrected by itself, the first group too. None: nothing.
        box : int or (int, int), optional
            Height and width of the boxes of "model", px; by default the largest up to 32 that divide the image.
        flux : sequence of float, shape (n_int,), optional
            Brightness of each integration for "median_image", in any unit; by default the draft rate of each is fitted
            by that of all.

        Raises
        ------
        DataError
            If there is no such method, fewer than two integrations for "median_image", or an option doesn't fit.
        """
        if method not in METHODS:
            raise DataError(f"the background is one of 'median', 'model', 'median_image', None; found {method!r}")
        if box is not None and method != "model":
            raise DataError(f"box belongs to 'model', not to {method!r}")
        if flux is not None and method != "median_image":
            raise DataError(f"flux belongs to 'median_image', not to {method!r}")
        n_int = self.exposure.shape[0] if self.exposure.data.ndim > 2 else 1
        if method == "median_image" and n_int < 2:
            raise DataError("'median_image' needs two or more integrations, found one; take 'median' or 'model'")
        sides = None if box is None else box_of(self.exposure.shape, box)
        return self.with_(plan=replace(self.plan, background=method, box=sides, flux=checked_flux(flux, n_int)))

    @verb
    def fit_noise(
        self, method: Literal["median", "fft", "stream"] = "median", *, by_channel: bool = False
    ) -> FlickerCleaner:
        """Choose how the stripes are fitted.

        Parameters
        ----------
        method : {"median", "fft", "stream"}
            "median": one level for each line. "fft": slow waves along each line of a full frame, the slow and the
            fastest frequencies of the time stream of a subarray. "stream": the time stream of each amplifier, with the
            power spectrum that the data have.
        by_channel : bool
            A level for each amplifier's part of a line ("median" alone).

        Raises
        ------
        DataError
            If the detector or subarray doesn't allow it.
        """
        check_noise(method, by_channel, self.readout)
        return self.with_(plan=replace(self.plan, noise=method, by_channel=by_channel))

    @verb
    def auto(self) -> FlickerCleaner:
        """Choose background and by_channel from the draft rate, for NIRCam and NIRISS imaging.

        The rules are those of the JWST pipeline; the figures that decided are in `choice` and on the card.

        Raises
        ------
        DataError
            If the exposure is of another mode, or the rate can't be given per second.
        """
        from corontools.flicker.auto import choose

        choice = choose(self.exposure, self.draft_rate, self.readout, self.flat_image)
        plan = replace(self.plan, background=choice.background, box=None, noise="median", by_channel=choice.by_channel)
        return self.with_(plan=plan, choice=choice)

    @verb
    def add_err(self) -> FlickerCleaner:
        """Let `cleaned` carry the error of the correction: in ERR, and in VAR_RNOISE where there is one.

        Raises
        ------
        DataError
            If the exposure has no ERR; ramps have none: correct their rates, or take the error from `err`.
        """
        if self.exposure.err is None:
            raise DataError(
                f"{self.exposure._name} has no ERR to which the error of the correction could be added; `err` is that "
                "error by itself"
            )
        return self.with_(plan=replace(self.plan, add_err=True))

    @cached_property
    def frames(self) -> Frames:
        """The images, with all that is needed to correct them."""
        scales = self._scales if self.plan.background == "median_image" else None
        return Frames(self.exposure, self.mask, self.plan, self.readout, self.flat_image, scales, self.exact)

    def ready(self) -> Frames:
        """The images, with their mask; the draft rate, as large as one, is kept only if it was asked for before."""
        asked = "draft_rate" in self.__dict__
        frames = self.frames
        if not asked:
            self.__dict__.pop("draft_rate", None)
        return frames

    @cached_property
    def cleaned(self) -> Exposure:
        """The exposure without the noise: its shape, flags, errors (see `add_err`), WCS and extensions."""
        from corontools.flicker.product import cleaned

        return cleaned(self, self._corrected)

    @cached_property
    def noise(self) -> np.ndarray:
        """What was subtracted, of the data's shape; in a ramp the noise of all differences up to a group."""
        with np.errstate(invalid="ignore"):  # infinite values leave NaN
            return readonly(self.exposure.data - self._corrected)

    @cached_property
    def background(self) -> np.ndarray:
        """Background of each image, of the data's shape; of ramps that of each difference, 0 in the first group.

        For "median_image" the median images that were subtracted.
        """
        return readonly(self.frames.backgrounds())

    @cached_property
    def err(self) -> np.ndarray:
        """1-sigma error of `noise`, alike all along a line for medians; 0 where nothing was subtracted, NaN if unknown.

        Unknown is the error of medians where no line has eight usable pixels.
        """
        out = np.zeros(self.exposure.shape, np.float32)
        self.frames.errors_into(out)
        return readonly(out)

    @property
    def status(self) -> Mapping[str, str]:
        """What became of each step: mask, background, noise, correction; COMPLETE, SKIPPED or FAILED."""
        done = self.log.status
        made = "COMPLETE" if self.mask.any() else "FAILED"
        return {
            "mask": made if self.scene_choice.given is None else "SKIPPED",
            "background": done if self.plan.background is not None else "SKIPPED",
            "noise": done,
            "correction": done,
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left unchanged, and why."""
        return self.log.notes

    def one_image(self, integration: int = 0, group: int | None = None) -> OneImage:
        """One image before and after, fitted now: a rate, or the difference between a group and the one before.

        Parameters
        ----------
        integration, group : int
            0-based; a difference goes by its later group, by default the first that there is.

        Raises
        ------
        DataError
            If there is no such image.
        """
        from corontools.flicker.look import OneImage

        frames = self.frames
        j = frames.indices[0][1] if group is None and frames.indices else int(group or 0)
        return OneImage.of(frames, integration, j, self._middle(j))

    def _middle(self, j: int) -> np.ndarray | None:
        """Median image of a group, where it is subtracted; that of the last group asked for is kept."""
        key = self.plan.flux, j
        if self.frames.scales is None or not 0 <= j < self.frames.data.shape[1]:
            return None
        if key not in self._middles:
            self._middles.clear()
            self._middles[key] = self.frames.middle(j)
        return self._middles[key]

    @cached_property
    def _middles(self) -> dict[Any, np.ndarray]:
        return {}

    @cached_property
    def _scales(self) -> np.ndarray:
        if self.plan.flux is not None:
            return over_median(np.array(self.plan.flux))
        return relative_brightness(self.exposure, self.draft_rate, self._photons)

    @cached_property
    def psd(self) -> LineSpectrum:
        """Power spectrum of the levels of the lines, before and after, of the first image with usable pixels."""
        found = self.one_image(*self.frames.first()).psd
        assert found is not None  # it has usable pixels
        return found

    def null_test(self, *, n: int = 4, seed: int = 1) -> NullTest:
        """Correct `n` images of white noise without stripes, under the same mask; see `NullTest`."""
        from corontools.flicker.checks import null_test

        step = f".null_test(n={n}, seed={seed})"
        return null_test(self.frames, n=n, seed=seed).with_(history=(*self.history, step))

    def injection_test(
        self, *, rms: float | None = None, alpha: float = 1.0, n: int = 4, seed: int = 1
    ) -> InjectionTest:
        """Plant known stripes in the first image, `n` times; see `InjectionTest`.

        Parameters
        ----------
        rms : float, optional
            Of the planted noise; by default that of the background pixels.
        alpha : float
            Slope of its power spectrum.
        n, seed : int
        """
        from corontools.flicker.checks import injection_test

        step = f".injection_test(rms={rms!r}, alpha={alpha!r}, n={n}, seed={seed})"
        return injection_test(self.frames, rms=rms, alpha=alpha, n=n, seed=seed).with_(history=(*self.history, step))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the cleaned exposure, a ramp one image at a time; whole or not at all."""
        from corontools.flicker.product import save

        return save(self, path, overwrite=overwrite)

    def save_mask(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the scene mask (ImageModel or CubeModel), 1 = background; `use_mask` reads it."""
        from corontools.flicker.product import save_data

        return save_data(self, self.mask, path, overwrite=overwrite)

    def save_noise(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write what was subtracted, in the form of the exposure."""
        from corontools.flicker.product import save_data

        return save_data(self, self.noise, path, overwrite=overwrite)

    def save_background(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the background of each image, in the form of the exposure."""
        from corontools.flicker.product import save_data

        return save_data(self, self.background, path, overwrite=overwrite)

    @cached_property
    def _photons(self) -> float:
        """Photon over read-noise variance of a difference of the median pixel."""
        gain, read_noise = typical(self.gain), typical(self.read_noise)
        return photon_share(self.exposure, gain, read_noise) if self.exposure.data.ndim == 4 else 0.0

    @cached_property
    def log(self) -> Log:
        """What happened to the images."""
        self._corrected  # noqa: B018 - makes it known
        return self.log

    @cached_property
    def _corrected(self) -> np.ndarray:
        out: np.ndarray = np.empty(self.exposure.shape, real_type(self.exposure.data))
        self.clean_into(out)
        return readonly(out)

    def clean_into(self, out: np.ndarray) -> Log:
        """Write the cleaned data into an array of the data's shape, such as a mapped file, one image at a time."""
        log = self.ready().correct_into(out)
        self.__dict__["log"] = log  # known now, as if it had been read
        return log

    @property
    def _pixel_flags(self) -> np.ndarray | None:
        """Flags (y, x) that hold for all images: of pixels, of rates, of the flat."""
        exposure, found = self.exposure, []
        if exposure.pixel_dq is not None:
            found.append(exposure.pixel_dq)
        if exposure.dq is not None and exposure.data.ndim < 4:
            found.append(np.bitwise_or.reduce(exposure.dq.reshape(-1, *exposure.shape[-2:]), axis=0))
        flat = None if self.flat is None else plane(self.flat)
        if flat is not None and flat.dq is not None:
            found.append(cut(flat.dq, exposure.shape[-2:], self.readout.corner, what="flat"))
        return np.bitwise_or.reduce(found, axis=0) if found else None

    def _values(self) -> np.ndarray:
        return self.cleaned.data

    def _rows(self) -> list[tuple[str, str]]:
        from corontools.flicker.cards import rows

        return rows(self)

    def _pictures(self) -> Sequence[Any]:
        from corontools.flicker.cards import pictures

        return pictures(self)


def _checked_sigma(n_sigma: float) -> float:
    if not 0 <= n_sigma < np.inf:
        raise DataError(f"n_sigma should be 0 (no clipping) or a positive number, found {n_sigma}")
    return float(n_sigma)
