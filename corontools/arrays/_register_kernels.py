"""The least-squares problem behind `corontools.arrays.register`: search, exact gradients, iteration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.fft as sf
from numpy.typing import NDArray

from corontools.arrays.shift import inverse, overlap, padded_shape, phases

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

#: Expected distance in pixels from the exact minimum at which the iteration ends.
TOLERANCE = 1e-7
MAX_ITERATIONS = 50
#: Longest step in pixels; a longer one leaves the speckle it was computed for.
LONGEST_STEP = 1.0
#: Derivative images are renewed when the shift has moved by more than this many pixels; near by they serve
#: for the normal matrix, while the gradient is always that of the very shift.
MODEL_RANGE = 0.3
#: The set of pixels follows the nearest whole shift this often and is then kept, so that a minimum halfway
#: between two whole shifts can't alternate between two sets.
MAX_PIXEL_SETS = 20
TINY = float(np.finfo(np.float64).tiny)


class Reference(NamedTuple):
    """A reference image, where it is good, and its `spectrum`."""

    image: Floats
    good: NDArray[np.bool_]
    transform: Complexes


class Science(NamedTuple):
    """A science image with any finite value where it is left out, and the squared weight, 0 there."""

    data: Floats
    power: Floats
    variance: Floats | None


class Model(NamedTuple):
    """The reference at one shift: derivatives by dx and by dy, image."""

    shift: Floats
    images: Floats  # (3, y, x)


class Point(NamedTuple):
    """The sum of squares and its derivatives at one shift, the scale being at its best for this shift."""

    shift: Floats
    scale: float
    chi2: float
    gradient: Floats  # sum of power * residual * derivative of the reference, by dx and by dy
    curvature: Floats  # (2, 2) the same of the second derivatives
    normal: Floats  # (3, 3) sums of power * products of the model's images
    power: Floats
    model: Model
    source: tuple[tuple[slice, slice], ...]  # output and source pixels along y and x


class Minimum(NamedTuple):
    """Where the iteration ended."""

    point: Point | None  # None: no pixels overlap
    converged: bool
    n_iter: int


def search(reference: Reference, science: Science, max_shift: float, *, bin_size: int = 1) -> Floats:
    """Whole-pixel shift that explains most of the science image, refined by a parabola.

    For a whole-pixel shift the best scale and the sum of squares follow from two correlations, which the
    FFT gives for all shifts at once. Means are subtracted before, lest a pedestal favour large overlaps.
    With bins of two pixels it costs a quarter and is good to a fraction of a speckle.
    """
    good, power = reference.good.astype(np.float64), science.power
    moving, fixed = reference.image * good, science.data * power
    if bin_size > 1:
        good, power, moving, fixed = (_binned(array, bin_size) for array in (good, power, moving, fixed))
    weight = power * good
    total = max(weight.sum(), TINY)
    moving -= good * (dot(power, moving) / total)
    fixed -= power * (dot(good, fixed) / total)
    lags = [min(int(np.ceil(max_shift / bin_size)), n - 1) for n in power.shape]
    squares = np.divide(moving**2, good, out=np.zeros_like(good), where=good > 0)
    product, norm = _correlation(fixed, moving, lags), _correlation(power, squares, lags)
    usable = (product > 0) & (norm > 1e-9 * norm.max())
    explained = np.divide(product**2, norm, out=np.zeros_like(norm), where=usable)
    peak = np.unravel_index(np.argmax(explained), explained.shape)
    if explained[peak] <= 0:
        return np.zeros(2)
    at = (_parabola(np.moveaxis(explained, axis, 0), peak, axis) - lags[axis] for axis in (1, 0))
    return bin_size * np.array(list(at))


def minimise(reference: Reference, science: Science, start: Floats, model: Model | None) -> Minimum:
    """Newton iteration, damped after a step that doesn't lower the sum, to the exact minimum."""
    point = _point(reference, science, start, None, model)
    before, damping, n_sets = 0.0, 0.0, 1
    for n_iter in range(1, MAX_ITERATIONS + 1):
        if point is None:
            return Minimum(None, False, n_iter)
        step = _step(point, damping)
        size = float(np.abs(step[:2]).max())
        if not np.isfinite(size):
            break
        # steps shrink by a nearly constant factor near the minimum, so the next one can be foretold
        if size == 0 or (damping == 0 and size * min(size, before) < TOLERANCE * before):
            return Minimum(_moved(point, step), True, n_iter)
        trial = _point(reference, science, point.shift + step[:2], point, point.model, n_sets >= MAX_PIXEL_SETS)
        if trial is None or trial.power is not point.power or trial.chi2 <= _slack(point):
            n_sets += trial is not None and trial.power is not point.power
            point, before, damping = trial, size, damping / 10 if damping > 1e-2 else 0.0
        else:
            before, damping = size, max(1e-2, 10 * damping)
    return Minimum(point, False, n_iter)


def covariance(point: Point, science: Science) -> tuple[Floats, int]:
    """Covariance of (dx, dy, scale), see `Registration`, and the number of degrees of freedom."""
    dof = int(np.count_nonzero(point.power)) - 3
    factors = np.array([point.scale, point.scale, 1.0])
    normal = point.normal * np.outer(factors, factors)
    if not _is_convex(normal):
        return np.full((3, 3), np.nan), dof
    bread = np.linalg.inv(normal)
    if science.variance is None:
        return bread * point.chi2 / dof, dof
    noise = point.power**2 * np.where(point.power > 0, science.variance, 0.0)
    filling = _products(noise, point.model.images) * np.outer(factors, factors)
    return bread @ filling @ bread, dof


def _binned(image: Floats, size: int) -> Floats:
    """Mean over bins of size x size pixels; an incomplete last bin is left out."""
    ny, nx = (n - n % size for n in image.shape)
    # sums of slices are several times as fast as a mean over the axes of a reshaped image
    rows = np.sum([image[start:ny:size, :nx] for start in range(size)], axis=0)
    return np.sum([rows[:, start::size] for start in range(size)], axis=0) / size**2


def _correlation(fixed: Floats, moving: Floats, lags: list[int]) -> Floats:
    """Sum over x of fixed(x) moving(x - d) for |d| <= lags, (2 lag_y + 1, 2 lag_x + 1)."""
    ly, lx = (sf.next_fast_len(n + lag, real=True) for n, lag in zip(fixed.shape, lags, strict=True))
    transform = sf.rfft2(moving, s=(ly, lx), workers=1)
    np.conjugate(transform, out=transform)
    transform *= sf.rfft2(fixed, s=(ly, lx), workers=1)
    rows, columns = (np.arange(-lag, lag + 1) for lag in lags)
    strip = sf.ifft(transform, axis=0, workers=1, overwrite_x=True)[rows]
    return sf.irfft(strip, n=lx, axis=1, workers=1, overwrite_x=True)[:, columns]


def _parabola(values: Floats, peak: tuple[np.intp, ...], axis: int) -> float:
    """Position along the first axis of the vertex of the parabola through the peak and its neighbours."""
    at, across = int(peak[axis]), int(peak[1 - axis])
    if not 0 < at < len(values) - 1:
        return float(at)
    left, middle, right = values[at - 1 : at + 2, across]
    curvature = left - 2 * middle + right
    return at + (float(0.5 * (left - right) / curvature) if curvature < 0 else 0.0)


def _point(
    reference: Reference,
    science: Science,
    shift: Floats,
    previous: Point | None,
    model: Model | None,
    keep_pixels: bool = False,
) -> Point | None:
    """Evaluate at a shift, reusing the model, pixel set and normal matrix where these still hold."""
    source = tuple(overlap(n, d) for n, d in zip(science.data.shape, shift[::-1], strict=True))
    if previous is not None and (keep_pixels or source == previous.source):
        power, source = previous.power, previous.source
    else:
        power = _overlapping(reference, science, source)
    if model is None or np.abs(model.shift - shift).max() > MODEL_RANGE:
        model = _model(reference, shift)
    here = np.array_equal(model.shift, shift)
    image = model.images[2] if here else _image(reference, phases(reference.image.shape, shift))
    scale, chi2, weighted = _residual(image, science.data, power)
    if not np.isfinite(chi2):
        return None
    gradient, curvature = _derivatives(weighted, reference, shift)
    if previous is not None and power is previous.power and model is previous.model:
        normal = previous.normal
    else:
        normal = _products(power, model.images)
    return Point(shift, scale, chi2, gradient, curvature, normal, power, model, source)


def _overlapping(reference: Reference, science: Science, source: tuple[tuple[slice, slice], ...]) -> Floats:
    """Squared weight where the reference, moved by the nearest whole shift, is good; 0 elsewhere."""
    (to_y, from_y), (to_x, from_x) = source
    power = np.zeros_like(science.power)
    power[to_y, to_x] = science.power[to_y, to_x] * reference.good[from_y, from_x]
    return power


def dot(a: Floats, b: Floats) -> float:
    """Sum of the products of two images; not by BLAS, whose threads would contend with those of the references."""
    return float(np.einsum("ij,ij->", a, b))


def _model(reference: Reference, shift: Floats) -> Model:
    shape = reference.image.shape
    along_y, along_x = phases(shape, shift)
    slope_y, slope_x = phases(shape, shift, derivative=1)
    images = np.empty((3, *shape))
    for image, factors in zip(images, ((along_y, slope_x), (slope_y, along_x), (along_y, along_x)), strict=True):
        image[...] = inverse(reference.transform, factors, shape)
    return Model(shift, images)


def _image(reference: Reference, factors: tuple[Complexes, Complexes]) -> Floats:
    return np.ascontiguousarray(inverse(reference.transform, factors, reference.image.shape))


def _residual(image: Floats, data: Floats, power: Floats) -> tuple[float, float, Floats]:
    """Best scale, sum of squares, and residual times power."""
    work = power * image
    norm = dot(work, image)
    if not norm > 0:
        return np.nan, np.nan, work
    scale = dot(work, data) / norm
    residual = image * -scale
    residual += data
    np.multiply(power, residual, out=work)
    return scale, dot(residual, work), work


def _derivatives(weighted: Floats, reference: Reference, shift: Floats) -> tuple[Floats, Floats]:
    """Sums of `weighted` times first (2,) and second (2, 2) derivatives of the reference by the shift.

    By Parseval's theorem one transform gives them all, without the images of the derivatives.
    """
    shape = weighted.shape
    ly, lx = padded_shape(shape)
    cross = sf.rfft2(weighted, s=(ly, lx), workers=1)
    np.conjugate(cross, out=cross)
    cross *= reference.transform
    along_y, along_x = zip(*(phases(shape, shift, derivative=order) for order in range(3)), strict=True)
    # a real image has each column of the half plane twice, except the first and an even length's last
    count = np.full(cross.shape[1], 2.0 / (ly * lx))
    count[0] /= 2
    if lx % 2 == 0:
        count[-1] /= 2
    rows = np.einsum("ak,kl->al", np.stack(along_y), cross)
    sums = np.einsum("al,bl->ab", rows, count * np.stack(along_x)).real
    return np.array([sums[0, 1], sums[1, 0]]), np.array([[sums[0, 2], sums[1, 1]], [sums[1, 1], sums[2, 0]]])


def _products(power: Floats, images: Floats) -> Floats:
    """Sums of power times the product of two of the images, (3, 3)."""
    out = np.empty((3, 3))
    for i in range(3):
        weighted = power * images[i]
        out[i, i:] = out[i:, i] = [dot(weighted, image) for image in images[i:]]
    return out


def _step(point: Point, damping: float) -> Floats:
    """Change of (dx, dy, scale) by Newton's method, by Gauss and Newton's where the sum isn't convex."""
    hessian = _hessian(point)
    if not _is_convex(hessian):
        hessian = point.normal * np.outer((point.scale, point.scale, 1.0), (point.scale, point.scale, 1.0))
    hessian[np.diag_indices(3)] *= 1 + damping
    if not _is_convex(hessian):
        return np.full(3, np.nan)
    step = np.linalg.solve(hessian, np.array([*(point.scale * point.gradient), 0.0]))
    longest = np.abs(step[:2]).max()
    return step * min(1.0, LONGEST_STEP / longest) if longest > 0 else step


def _hessian(point: Point) -> Floats:
    """Half the second derivatives of the sum by (dx, dy, scale)."""
    hessian = point.normal.copy()
    hessian[:2, :2] *= point.scale**2
    hessian[:2, :2] -= point.scale * point.curvature
    hessian[:2, 2] = hessian[2, :2] = point.scale * point.normal[:2, 2] - point.gradient
    return hessian


def _is_convex(hessian: Floats) -> bool:
    """Whether the symmetric matrix is positive definite by more than rounding."""
    size = np.sqrt(np.abs(np.diag(hessian)))
    if not (np.isfinite(hessian).all() and (size > 0).all()):
        return False
    return bool(np.linalg.eigvalsh(hessian / np.outer(size, size))[0] > 1e-10)


def _moved(point: Point, step: Floats) -> Point:
    """The point after a last small step, its sum changed to first order."""
    chi2 = max(0.0, point.chi2 - point.scale * float(point.gradient @ step[:2]))
    return point._replace(shift=point.shift + step[:2], scale=point.scale + float(step[2]), chi2=chi2)


def _slack(point: Point) -> float:
    """The sum up to which a new one counts as not worse, given rounding."""
    return point.chi2 * (1 + 1e-9) + 1e-24 * point.scale**2 * point.normal[2, 2]
