"""Registration of reference-star images on science images by weighted least squares.

For a science image S, a reference image R and a weight w (a psfmask: 1 = use, 0 = leave out), the shift
d = (dx, dy) of the reference and its flux scale beta minimise

    chi2 = sum over x of  w(x)^2 [S(x) - beta R(x - d)]^2 ,

with R interpolated by its Fourier series. The weight enters as a multiplier of the residuals, as in the
align_refs step of the JWST pipeline, hence squared. Pixels where S is bad, where R moved by the nearest
whole shift is bad, or whose source lies outside the frame, are left out of the sum.

Least squares take the model, here R, for free of noise. Noise in it lowers beta, and where the weight cuts
through the speckles a wrong beta moves d. So if S is clearly the less noisy of the two, it is the model, and the
same sum is taken of R(x) - S(x + d) / beta, with w moved by the nearest whole shift; see docs/alignment.md.

The shift is the one to give to `corontools.arrays.shift.shift_image` to bring the reference onto the
science; the JWST pipeline shifts the science onto the reference and finds the opposite sign.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import IntFlag
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from corontools.arrays.repair import fill
from corontools.arrays.shift import spectrum
from corontools.arrays.threads import processors
from corontools.errors import DataError

if TYPE_CHECKING:  # numba is loaded when something is fitted
    from corontools.arrays._register_fit import Fixed, Model, Moving

__all__ = ["Quality", "Registration", "default_weight", "register", "register_pairs"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Pixels searched in x and y in either direction.
MAX_SHIFT = 30.0
MIN_PIXELS = 30
#: Fraction of the weighted variance that a good fit explains, and from which a start needs no search.
GOOD_FRACTION, SURE_FRACTION = 0.5, 0.9
#: A fit that moved further than this from its start (pixels) may have found another speckle.
START_RANGE = 1.5
#: Shortest side in pixels of images that are searched in bins of two pixels first.
COARSE_FROM = 128
#: The science image is the model if its variance of the noise is this many times lower than the reference's,
#: and the latter is a larger fraction of the image's variance than this: that is by how much it lowers beta.
CLEARLY_NOISIER, NOISE_THAT_MATTERS = 2.0, 1e-4
#: Rows at most that the noise is measured in.
SAMPLED_ROWS = 40
#: Science images whose transforms are kept while they serve one reference after the other.
SHARED_MODELS = 4
TINY = float(np.finfo(np.float64).tiny)


class Quality(IntFlag):
    """What is wrong with a registration; 0 is good.

    Attributes
    ----------
    NOT_CONVERGED
        The iteration ended before the shift was exact.
    BEYOND_MAX_SHIFT
        The shift found is longer than allowed in x or y.
    POOR_FIT
        The model explains less than half of the weighted variance of the science image.
    NOT_POSITIVE
        The flux scale is zero or negative.
    TOO_FEW_PIXELS
        Too few good pixels overlap; the numbers are NaN.
    """

    GOOD = 0
    NOT_CONVERGED = 1
    BEYOND_MAX_SHIFT = 2
    POOR_FIT = 4
    NOT_POSITIVE = 8
    TOO_FEW_PIXELS = 16


class Registration(NamedTuple):
    """Shift and flux scale of references on science images; from `register_pairs` with axes (n_int, n_ref).

    Attributes
    ----------
    shift : array (..., 2)
        (dx, dy) in pixels by which to shift the reference.
    scale : array (...)
        Factor by which to multiply the reference.
    covariance : array (..., 3, 3)
        Of (dx, dy, scale). Without variances it is the inverse normal matrix times chi2 / dof, true when the
        noise is independent with a variance proportional to 1 / weight^2; with variances it is the sandwich
        of the weighted least squares with that noise. Speckles that differ between the stars are
        correlated from pixel to pixel, so where these dominate the true errors are larger.
    chi2 : array (...)
        Weighted sum of squared residuals.
    dof : array of int (...)
        Pixels of non-zero weight less three.
    rms : array (...)
        Square root of the weighted mean of the squared residuals, in units of the science image.
    explained : array (...)
        Fraction of the weighted variance of the science image that the fit explains.
    quality : array of int (...)
        `Quality` bits, 0 is good.
    n_iter : array of int (...)
        Evaluations of the model.
    """

    shift: Floats
    scale: Floats
    covariance: Floats
    chi2: Floats
    dof: NDArray[np.int64]
    rms: Floats
    explained: Floats
    quality: NDArray[np.int64]
    n_iter: NDArray[np.int64]

    def mapped(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Registration:
        """The same with `function` applied to every array."""
        return Registration(**{name: function(np.asarray(value)) for name, value in self._asdict().items()})

    @property
    def converged(self) -> Any:
        """Where the iteration came to the exact minimum."""
        return (np.asarray(self.quality) & (Quality.NOT_CONVERGED | Quality.TOO_FEW_PIXELS)) == 0


def register(
    reference: ArrayLike,
    science: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    good_reference: ArrayLike | None = None,
    good_science: ArrayLike | None = None,
    variance: ArrayLike | None = None,
    start: ArrayLike | None = None,
    max_shift: float = MAX_SHIFT,
) -> Registration:
    """Shift and flux scale that bring a reference image onto a science image.

    A correlation finds, of the whole-pixel shifts up to `max_shift`, the one that explains most of the
    science image (large images are searched in bins of two pixels, and again in full if the fit is doubtful).
    It is refined to about 1e-7 px by Newton steps with exact gradients, damped as Levenberg does after a step
    that doesn't lower the sum. All arithmetic is float64, whatever the input: in float32, derivatives taken
    as differences are noise.

    Parameters
    ----------
    reference : array (y, x)
        All values finite: bad pixels filled with plausible values and marked in `good_reference`.
    science : array (y, x)
        Non-finite pixels are left out.
    weight : array (y, x), optional
        psfmask by which residuals are multiplied: 1 = use, 0 = leave out. All 1 by default; see
        `default_weight`.
    good_reference, good_science : array of bool (y, x), optional
        Where the pixels may be used; everywhere by default.
    variance : array (y, x), optional
        Noise variance of science minus scaled reference, for the covariance; where it is not finite the
        pixel is left out. It doesn't weight the fit.
    start : (dx, dy), optional
        Where to begin. The search is skipped if the fit from here stays near and explains more than 90 %
        of the variance; else the better of this minimum and that of the search is returned.
    max_shift : float
        Longest shift in x or y that is searched, pixels.

    Returns
    -------
    Registration
        Of arrays without leading axes. Check `quality`.

    Raises
    ------
    DataError
        If the shapes differ, the reference isn't finite, or no pixel of non-zero weight is good in science
        or reference.

    Examples
    --------
    >>> import numpy as np
    >>> from corontools.arrays.shift import shift_image
    >>> y, x = np.mgrid[:48, :48]
    >>> reference = np.exp(-0.5 * ((x - 20) ** 2 + (y - 26) ** 2) / 3**2)
    >>> science = 2.0 * shift_image(reference, (5.3, -2.1))
    >>> fit = register(reference, science)
    >>> fit.shift.round(5), round(float(fit.scale), 5), Quality(int(fit.quality))
    (array([ 5.3, -2.1]), 2.0, <Quality.GOOD: 0>)
    """
    moving = _reference(reference, good_reference)
    power = _power(weight, moving.image.shape)
    fixed = _science(science, power, good_science, variance)
    begin = None if start is None else np.asarray(start, dtype=np.float64)
    starts = _starts(moving, fixed, begin, max_shift)
    if not _is_noisy(moving, power, [_noise(fixed, fixed.power)]):
        return _register(_reference_model(moving), fixed, starts, max_shift)[0]
    return _inverted(_register(_science_model(fixed), moving, map(np.negative, starts), max_shift)[0])


def register_pairs(
    references: ArrayLike,
    science: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    good_references: ArrayLike | None = None,
    good_science: ArrayLike | None = None,
    variance: ArrayLike | None = None,
    max_shift: float = MAX_SHIFT,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Registration:
    """Register every reference on every science integration.

    The transform of a reference and the images of its derivatives serve all integrations, and the fit to
    one integration is the start for the next. The references are fitted side by side on all processors: each starts
    from the answer of the first, so that the result doesn't depend on their number.

    Parameters
    ----------
    references : array (n_ref, y, x)
        Finite; bad pixels filled and marked in `good_references`.
    science : array (n_int, y, x)
        Non-finite pixels are left out.
    weight : array (y, x), optional
        As for `register`, one for all.
    good_references, good_science, variance : array, optional
        As for `register`, of the shapes of `references`, `science` and `science`.
    max_shift : float
        Longest shift in x or y that is searched, pixels.
    progress : callable
        Is given the list of references to do and returns an iterable over them, as ``tqdm`` does.

    Returns
    -------
    Registration
        Of arrays with leading axes (n_int, n_ref).

    Raises
    ------
    DataError
        As `register`; the message names the integration or reference.
    """
    stack, frames = _stack(references, "references"), _stack(science, "science")
    power = _power(weight, frames.shape[-2:])
    targets = [
        _science(frame, power, _nth(good_science, i), _nth(variance, i), f"integration {i}")
        for i, frame in enumerate(frames)
    ]

    noise = [_noise(target, target.power) for target in targets]
    science_model = lru_cache(SHARED_MODELS)(lambda i: _science_model(targets[i]))
    first = _reference(stack[0], _nth(good_references, 0), "reference 0")
    # references of a dither lie within a pixel of each other; a start that doesn't fit is searched anew
    start = next(_starts(first, targets[0], None, max_shift))

    def fits(ref: int) -> list[Registration]:
        image = _reference(stack[ref], _nth(good_references, ref), f"reference {ref}") if ref else first
        noisy = _is_noisy(image, power, noise)
        moving, model = None if noisy else _reference_model(image), None
        done: list[Registration] = []
        for i, target in enumerate(targets):
            begin, sure = _continuing(done[-1]) if done else (start, SURE_FRACTION)
            starts = _starts(image, target, begin, max_shift)
            if moving is None:
                fit, _ = _register(science_model(i), image, map(np.negative, starts), max_shift, sure=sure)
                done.append(_inverted(fit))
            else:
                fit, model = _register(moving, target, starts, max_shift, model=model, sure=sure)
                done.append(fit)
        return done

    with ThreadPoolExecutor(processors()) as pool:
        rows = pool.map(fits, range(len(stack)))
        try:
            return _pairs_joined([row for _, row in zip(progress(list(range(len(stack)))), rows, strict=True)])
        finally:
            pool.shutdown(cancel_futures=True)  # after an interrupt nothing more is begun


def default_weight(science: ArrayLike, good: ArrayLike | None = None, *, n_sigma: float = 3.0) -> Floats:
    """Weight made from the data, for when there is no psfmask: 1 on the speckles of the star, 0 on the sky.

    The sky level is the median of the good pixels and its noise comes from the pixels below it, which no
    star light brightens. The image, smoothed by a Gaussian of 2 px, gets a weight rising from 0 at
    `n_sigma` to 1 at 2 `n_sigma` times this noise above the sky. Bad pixels have weight 0 and lower the
    weights around: little beside a single one, much beside a patch such as a saturated core.

    Parameters
    ----------
    science : array (y, x) or (n_int, y, x)
        Of a stack, the mean of the good values is used.
    good : array of bool, optional
        Of the same shape; non-finite pixels are bad in any case.
    n_sigma : float
        Threshold in units of the noise of a single pixel.

    Returns
    -------
    array float64 (y, x)
        From 0 (leave out) to 1 (use), the sense of a psfmask.

    Warns
    -----
    UserWarning
        If nothing is brighter than the threshold; then all good pixels have weight 1.

    Raises
    ------
    DataError
        If no pixel is good.
    """
    image, usable = _mean_good(np.asarray(science, dtype=np.float64), good)
    sky = np.median(image[usable])
    below = sky - image[usable & (image < sky)]
    noise = 1.4826 * np.median(below) if below.size else 0.0
    filled = np.where(usable, image - sky, 0.0)
    fraction = gaussian_filter(usable.astype(np.float64), 2.0)
    smooth = gaussian_filter(filled, 2.0) / np.maximum(fraction, 1e-12)
    limit = max(n_sigma * noise, TINY)
    weight = np.where(usable, np.clip(smooth / limit - 1.0, 0.0, 1.0) * fraction**2, 0.0)
    if np.count_nonzero(weight) < MIN_PIXELS:
        warnings.warn("no star light found above the noise: all good pixels get weight 1", stacklevel=2)
        return usable.astype(np.float64)
    return weight


def _register(
    moving: Moving,
    fixed: Fixed,
    starts: Iterator[Floats],
    max_shift: float,
    *,
    model: Model | None = None,
    sure: float = SURE_FRACTION,
) -> tuple[Registration, Model | None]:
    """Fit from one start after the other until one is a sure success or confirmed, else take the best."""
    fits: list[tuple[Registration, Model | None]] = []
    for begin in starts:
        if fits and np.abs(fits[-1][0].shift - begin).max() < START_RANGE:
            break
        fits.append(_fit(moving, fixed, begin, max_shift, model))
        last, model = fits[-1]
        near = np.abs(last.shift - begin).max() < START_RANGE
        if near and last.quality == 0 and last.explained >= sure:
            return fits[-1]
    return max(fits, key=lambda fit: np.nan_to_num(fit[0].explained, nan=-np.inf))


def _starts(reference: Fixed, science: Fixed, start: Floats | None, max_shift: float) -> Iterator[Floats]:
    """What is given, the result of a coarse search (of large images), that of a full one.

    Whichever is the model in the fit, the reference moves in the search: pixels that moved with the weight could
    come to lie on what the weight was to hide.
    """
    from corontools.arrays._register_fit import search

    if start is not None:
        yield start
    if min(science.image.shape) >= COARSE_FROM:
        yield search(reference, science, max_shift, bin_size=2)
    yield search(reference, science, max_shift)


def _fit(
    moving: Moving, fixed: Fixed, start: Floats, max_shift: float, model: Model | None
) -> tuple[Registration, Model | None]:
    """Iterate from a start and judge the result; the last model serves the next image."""
    from corontools.arrays import _register_fit, _register_kernels

    point, converged, n_iter = _register_fit.minimise(moving, fixed, start, model)
    if point is None:
        return _no_fit(n_iter), None
    total, variance, n_pixels = _register_kernels.moments(point.power, fixed.image)
    if n_pixels < MIN_PIXELS:
        return _no_fit(n_iter), None
    explained = 1.0 - point.chi2 / max(variance, TINY)
    checks = {
        Quality.NOT_CONVERGED: not converged,
        Quality.BEYOND_MAX_SHIFT: np.abs(point.shift).max() > max_shift,
        Quality.POOR_FIT: not explained >= GOOD_FRACTION,
        Quality.NOT_POSITIVE: not point.scale > 0,
    }
    registration = Registration(
        shift=point.shift,
        scale=np.array(point.scale),
        covariance=_register_fit.covariance(point, moving, fixed, n_pixels - 3),
        chi2=np.array(point.chi2),
        dof=np.array(n_pixels - 3),
        rms=np.sqrt(point.chi2 / total),
        explained=np.array(explained),
        quality=np.array(sum(int(bit) for bit, wrong in checks.items() if wrong)),
        n_iter=np.array(n_iter),
    )
    return registration, point.model


def _no_fit(n_iter: int) -> Registration:
    nan = np.array(np.nan)
    return Registration(
        shift=np.full(2, np.nan),
        scale=nan,
        covariance=np.full((3, 3), np.nan),
        chi2=nan,
        dof=np.array(0),
        rms=nan,
        explained=nan,
        quality=np.array(int(Quality.TOO_FEW_PIXELS)),
        n_iter=np.array(n_iter),
    )


def _inverted(fit: Registration) -> Registration:
    """The fit of the reference to the science image, from that of the science image to the reference."""
    with np.errstate(divide="ignore"):
        scale = 1 / fit.scale
    change = np.array([-1.0, -1.0, -(scale**2)])
    return fit._replace(
        shift=-fit.shift,
        scale=scale,
        covariance=fit.covariance * np.outer(change, change),
        chi2=fit.chi2 * scale**2,
        rms=fit.rms * np.abs(scale),
    )


def _is_noisy(reference: Fixed, power: Floats, science: Sequence[float]) -> bool:
    """Whether the noise of a reference is clearly higher than that of the science images, each for its own flux."""
    noise = _noise(reference, reference.power * power)
    return bool(noise > max(NOISE_THAT_MATTERS, CLEARLY_NOISIER * np.median(science)))


def _noise(frame: Fixed, power: Floats) -> float:
    """Variance of the noise over the weighted variance of the image; NaN if it isn't known.

    From the median of second differences in x and y along some rows: these are of the speckles where the
    speckles fill the frame, and as good as equal for science and references then.
    """
    from corontools.arrays._register_kernels import moments

    step = 1 + frame.image.shape[0] // SAMPLED_ROWS
    rows = frame.image[:-2:step] - 2 * frame.image[1:-1:step] + frame.image[2::step]
    differences = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    used = np.abs(differences[power[1:-1:step, 1:-1] > 0])
    if used.size < MIN_PIXELS:
        return np.nan
    total, variance, _ = moments(power, frame.image)
    # the squares of the coefficients (1, -2, 1) x (1, -2, 1) add up to 36
    return (1.4826 * float(np.median(used))) ** 2 / 36 * total / max(variance, TINY)


def _continuing(last: Registration) -> tuple[Floats | None, float]:
    """Start for the next integration, and the explained fraction at which it needs no search."""
    if last.quality != 0:
        return None, SURE_FRACTION
    return last.shift, min(SURE_FRACTION, float(last.explained) - 0.1)


def _pairs_joined(rows: Sequence[Sequence[Registration]]) -> Registration:
    """Arrays (n_int, n_ref, ...) of the fits of each reference (outer) to each integration (inner)."""

    def joined(name: str) -> NDArray[Any]:
        return np.array([[getattr(fit, name) for fit in row] for row in rows]).swapaxes(0, 1)

    return Registration(*(joined(name) for name in Registration._fields))


def _reference(image: ArrayLike, good: ArrayLike | None, name: str = "the reference") -> Fixed:
    values = _image(image, name)
    usable = _mask(good, values.shape, "good_reference")
    finite = np.isfinite(values)
    if not (finite & usable).any():
        raise DataError(f"{name} has no good pixel; leave it out")
    n_bad = values.size - np.count_nonzero(finite)
    if n_bad:
        raise DataError(
            f"{name} has {n_bad} pixels NaN or infinite; fill them, for example with local medians, and "
            "mark them in good_reference"
        )
    from corontools.arrays._register_fit import Fixed

    return Fixed(values, usable.astype(np.float64), usable)


def _science(
    image: ArrayLike,
    power: Floats,
    good: ArrayLike | None,
    variance: ArrayLike | None,
    name: str = "the science image",
) -> Fixed:
    values = _image(image, name)
    if values.shape != power.shape:
        raise DataError(f"{name} has shape {values.shape}, reference and weight have {power.shape}")
    usable = np.isfinite(values) & _mask(good, values.shape, "good_science")
    noise = None if variance is None else _image(variance, "the variance")
    if noise is not None:
        usable &= np.isfinite(noise)
    if not usable.any():
        raise DataError(f"{name} has no good pixel; leave it out")
    used = np.where(usable, power, 0.0)
    if not used.any():
        raise DataError(f"the weight is zero on all {np.count_nonzero(usable)} good pixels of {name} (1 = use)")
    from corontools.arrays._register_fit import Fixed

    return Fixed(np.where(usable, values, 0.0), used, usable, noise)


def _reference_model(frame: Fixed) -> Moving:
    """The image with its transform."""
    from corontools.arrays._register_fit import Moving

    return Moving(frame.image, frame.power, spectrum(frame.image), frame.variance)


def _science_model(frame: Fixed) -> Moving:
    """The same with bad pixels filled, which have no weight but spread when they are shifted."""
    return _reference_model(frame._replace(image=fill(frame.image[None], frame.good[None])[0]))


def _power(weight: ArrayLike | None, shape: tuple[int, ...]) -> Floats:
    """Squared weight, 0 where the weight is not finite."""
    if weight is None:
        return np.ones(shape)
    values = _image(weight, "the weight")
    if values.shape != shape:
        raise DataError(f"the weight has shape {values.shape}, the images have {shape}")
    if (values < 0).any():
        raise DataError("the weight has negative values; it is 1 where pixels are used and 0 where not")
    return np.where(np.isfinite(values), values, 0.0) ** 2


def _mask(good: ArrayLike | None, shape: tuple[int, ...], name: str) -> Bools:
    if good is None:
        return np.ones(shape, dtype=bool)
    mask = np.asarray(good, dtype=bool)
    if mask.shape != shape:
        raise DataError(f"{name} has shape {mask.shape}, its image has {shape}")
    return mask


def _image(image: ArrayLike, name: str) -> Floats:
    values = np.require(image, np.float64, ["C", "W"])  # compiled code is compiled again for read-only arrays
    if values.ndim != 2:
        raise DataError(f"{name} should be an image (y, x), found shape {values.shape}")
    return values


def _stack(images: ArrayLike, name: str) -> NDArray[Any]:
    stack = np.asarray(images)
    if stack.ndim != 3 or 0 in stack.shape:
        raise DataError(f"{name} should be a stack (n, y, x), found shape {stack.shape}")
    return stack


def _nth(stack: ArrayLike | None, index: int) -> ArrayLike | None:
    return None if stack is None else np.asarray(stack)[index]


def _mean_good(science: Floats, good: ArrayLike | None) -> tuple[Floats, Bools]:
    """Mean over integrations of the good values, and where there is one."""
    usable = np.isfinite(science)
    if good is not None:
        usable &= np.asarray(good, dtype=bool)
    if not usable.any():
        raise DataError("no good pixel in the science image, from which a weight was to be made")
    values = np.where(usable, science, 0.0).reshape(-1, *science.shape[-2:])
    count = usable.reshape(values.shape).sum(axis=0)
    return values.sum(axis=0) / np.maximum(count, 1), count > 0
