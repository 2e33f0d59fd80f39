"""The least-squares problem behind `corontools.arrays.register`: search, exact gradients, iteration."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
import scipy.fft as sf
from numpy.typing import NDArray

from corontools.arrays import _register_kernels as kernels
from corontools.arrays.shift import overlap, padded_shape

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

#: Expected distance in pixels from the exact minimum at which the iteration ends.
TOLERANCE = 1e-7
#: Steps shorter than this (pixels) are right to TOLERANCE without second derivatives of the residuals.
NEGLIGIBLE = 5e-7
MAX_ITERATIONS = 50
#: Longest step in pixels; a longer one leaves the speckle it was computed for.
LONGEST_STEP = 1.0
#: Newton steps within the expansion about one point; they need no transform.
MAX_REFINEMENTS = 5
#: Derivative images are renewed when the shift has moved by more than this many pixels; near by they serve
#: for the normal matrix, while the gradient is always that of the very shift.
MODEL_RANGE = 0.3
#: The set of pixels follows the nearest whole shift this often and is then kept, so that a minimum halfway
#: between two whole shifts can't alternate between two sets.
MAX_PIXEL_SETS = 20
TINY = float(np.finfo(np.float64).tiny)


class Moving(NamedTuple):
    """The image that is shifted and scaled, the squared weight of its pixels, 0 for bad ones, its `spectrum`."""

    image: Floats
    power: Floats
    transform: Complexes
    variance: Floats | None = None  # of the residuals over scale^2, on the pixels of this image


class Fixed(NamedTuple):
    """The image that is fitted, with any finite value where it isn't good, and the squared weight, 0 there."""

    image: Floats
    power: Floats
    good: NDArray[np.bool_]
    variance: Floats | None = None  # of the residuals


class Model(NamedTuple):
    """The moving image at one shift: derivatives by dx and by dy, image."""

    shift: Floats
    images: tuple[Floats, Floats, Floats]


class Point(NamedTuple):
    """The sum of squares at one shift, the scale being at its best for it, and what its surroundings follow from."""

    shift: Floats
    scale: float
    chi2: float
    sums: Floats  # (3, 3) of power * residual times the (i, j)th derivative of the moving image by (dy, dx)
    cross: Complexes | None  # from which they follow for any shift; None: as good as at the minimum, second ones are 0
    normal: Floats  # (3, 3) sums of power * products of the model's images
    power: Floats
    model: Model
    source: tuple[tuple[slice, slice], ...]  # output and source pixels along y and x


class Minimum(NamedTuple):
    """Where the iteration ended."""

    point: Point | None  # None: no pixels overlap
    converged: bool
    n_iter: int


class Workspace:
    """Arrays that are written over and over: fresh ones of this size cost as much as the sums."""

    _local = threading.local()

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        ly, lx = padded_shape(shape)
        self.plane = np.empty((ly, lx // 2 + 1), dtype=np.complex128)
        self.rows = np.empty((shape[0], lx // 2 + 1), dtype=np.complex128)
        self.residual = np.zeros((ly, lx))  # stays 0 beyond the image
        # a real image has each column of the half plane twice, except the first and an even length's last
        self.count = np.full(lx // 2 + 1, 2.0 / (ly * lx))
        self.count[0] /= 2
        if lx % 2 == 0:
            self.count[-1] /= 2
        self.ky, self.kx = -2j * np.pi * sf.fftfreq(ly), -2j * np.pi * sf.rfftfreq(lx)

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Workspace:
        """That of this thread."""
        space = getattr(cls._local, "space", None)
        if space is None or space.shape != shape:
            space = cls._local.space = cls(shape)
        return space

    def phases(self, shift: Floats) -> tuple[Complexes, Complexes]:
        """Factors (3, ly), (3, kx) of a spectrum that shift its image, their first and second derivatives.

        As in `arrays.shift`, the term at the Nyquist frequency of an even length is a cosine.
        """
        ly, lx = self.residual.shape
        return _powers(self.ky, shift[1], ly), _powers(self.kx, shift[0], lx)


def search(moving: Fixed, fixed: Fixed, max_shift: float, *, bin_size: int = 1) -> Floats:
    """Whole-pixel shift that explains most of the fixed image, refined by a parabola.

    For a whole-pixel shift the best scale and the sum of squares follow from two correlations, which the
    FFT gives for all shifts at once. Means are subtracted before, lest a pedestal favour large overlaps.
    With bins of two pixels it costs a quarter and is good to a fraction of a speckle.
    """
    good, power = moving.power, fixed.power
    image, data = moving.image * good, fixed.image * power
    if bin_size > 1:
        good, power, image, data = (_binned(array, bin_size) for array in (good, power, image, data))
    total = max(_dot(power, good), TINY)
    image -= good * (_dot(power, image) / total)
    data -= power * (_dot(good, data) / total)
    lags = [min(int(np.ceil(max_shift / bin_size)), n - 1) for n in power.shape]
    squares = np.divide(image**2, good, out=np.zeros_like(good), where=good > 0)
    product, norm = _correlation(data, image, lags), _correlation(power, squares, lags)
    usable = (product > 0) & (norm > 1e-9 * norm.max())
    explained = np.divide(product**2, norm, out=np.zeros_like(norm), where=usable)
    peak = np.unravel_index(np.argmax(explained), explained.shape)
    if explained[peak] <= 0:
        return np.zeros(2)
    at = (_parabola(np.moveaxis(explained, axis, 0), peak, axis) - lags[axis] for axis in (1, 0))
    return bin_size * np.array(list(at))


def approach(moving: Moving, fixed: Fixed, start: Floats) -> Floats:
    """A start brought near to the minimum without an image of the moving one.

    The best sum of squares for a shift is that of the data less A^2 / B, with A the sum of power * data * moving
    and B that of power * moving^2. One transform gives A for every shift; B, which changes slowly, comes from
    whole shifts.
    """
    shape, space = fixed.image.shape, Workspace.of(fixed.image.shape)
    power = fixed.power * _moved_map(moving.power, _source(shape, start))
    np.multiply(power, fixed.image, out=space.residual[: shape[0], : shape[1]])
    cross, shift = _cross(moving), start
    whole = np.floor(start + 0.5)
    slope, bend = _expanded_norm(power, moving.image, whole)
    for _ in range(MAX_REFINEMENTS):
        sums = _sums(cross, shape, shift)
        if not sums[0, 0] > 0:
            return start
        ratio = _gradient(sums) / sums[0, 0]
        matrix = np.outer(ratio, ratio) - _curvature(sums) / sums[0, 0] + bend
        if not (matrix[0, 0] > 0 and np.linalg.det(matrix) > 0):
            return start
        step = np.linalg.solve(matrix, ratio - slope - bend @ (shift - whole))
        shift = shift + step
        if not np.abs(shift - start).max() < LONGEST_STEP:
            return start
        if np.abs(step).max() < 1e-3:
            break
    return shift


def minimise(moving: Moving, fixed: Fixed, start: Floats, model: Model | None) -> Minimum:
    """Newton iteration, damped after a step that doesn't lower the sum, to the exact minimum."""
    point = _point(moving, fixed, approach(moving, fixed, start), None, model)
    before, damping, n_sets = 1.0, 0.0, 1
    for n_iter in range(1, MAX_ITERATIONS + 1):
        if point is None:
            return Minimum(None, False, n_iter)
        step = _step(point, damping)
        size = float(np.abs(step[:2]).max())
        if not np.isfinite(size):
            break
        # steps shrink by a nearly constant factor, or faster, so the next one can be foretold
        if damping == 0 and size * min(size, before) < TOLERANCE * before:
            return Minimum(_moved(point, step), True, n_iter)
        trial = _point(moving, fixed, point.shift + step[:2], point, point.model, n_sets >= MAX_PIXEL_SETS)
        if trial is None or trial.power is not point.power or trial.chi2 <= _slack(point):
            n_sets += trial is not None and trial.power is not point.power
            point, before, damping = trial, size, damping / 10 if damping > 1e-2 else 0.0
        else:
            before, damping = size, max(1e-2, 10 * damping)
    return Minimum(point, False, n_iter)


def covariance(point: Point, moving: Moving, fixed: Fixed, dof: int) -> Floats:
    """Covariance of (dx, dy, scale), see `Registration`."""
    factors = np.array([point.scale, point.scale, 1.0])
    normal = point.normal * np.outer(factors, factors)
    if not _is_convex(normal):
        return np.full((3, 3), np.nan)
    bread = np.linalg.inv(normal)
    noise = fixed.variance
    if moving.variance is not None:
        noise = point.scale**2 * _moved_map(moving.variance, point.source)
    if noise is None:
        return bread * point.chi2 / dof
    noise = point.power**2 * np.where(point.power > 0, noise, 0.0)
    filling = kernels.products(noise, *point.model.images) * np.outer(factors, factors)
    return bread @ filling @ bread


def _binned(image: Floats, size: int) -> Floats:
    """Mean over bins of size x size pixels; an incomplete last bin is left out."""
    ny, nx = (n - n % size for n in image.shape)
    # sums of slices are several times as fast as a mean over the axes of a reshaped image
    rows = sum(image[start:ny:size, :nx] for start in range(1, size)) + image[:ny:size, :nx]
    return (sum(rows[:, start::size] for start in range(1, size)) + rows[:, ::size]) / size**2


def _expanded_norm(power: Floats, image: Floats, whole: Floats) -> tuple[Floats, Floats]:
    """First and second derivatives, over twice its value, of the norm B of `approach` at a whole shift."""
    here, left, right, below, above = kernels.norms(power, image, int(whole[0]), int(whole[1]))
    if not here > 0:
        return np.zeros(2), np.zeros((2, 2))
    slope = np.array([right - left, above - below]) / (4 * here)
    return slope, np.diag([left + right, below + above]) / (2 * here) - np.eye(2)


def _dot(a: Floats, b: Floats) -> float:
    """Sum of the products of two images; not by BLAS, whose threads would contend with those of the references."""
    return float(np.einsum("ij,ij->", a, b))


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
    moving: Moving,
    fixed: Fixed,
    shift: Floats,
    previous: Point | None,
    model: Model | None,
    keep_pixels: bool = False,
) -> Point | None:
    """Evaluate at a shift, reusing the model, pixel set and normal matrix where these still hold."""
    source = _source(fixed.image.shape, shift)
    if previous is not None and (keep_pixels or source == previous.source):
        power, source = previous.power, previous.source
    else:
        power = fixed.power * _moved_map(moving.power, source)
    if model is None or np.abs(model.shift - shift).max() > MODEL_RANGE:
        model = _model(moving, shift)
    image = model.images[2] if np.array_equal(model.shift, shift) else _image(moving, shift)
    norm, product = kernels.projection(power, image, fixed.image)
    if not norm > 0:
        return None
    space, scale = Workspace.of(fixed.image.shape), product / norm
    chi2 = kernels.residual(power, image, fixed.image, scale, space.residual)
    if not np.isfinite(chi2):
        return None
    if previous is not None and power is previous.power and model is previous.model:
        normal = previous.normal
    else:
        normal = kernels.products(power, *model.images)
    point = Point(shift, scale, chi2, np.zeros((3, 3)), None, normal, power, model, source)
    if image is model.images[2]:
        point.sums[0, 1], point.sums[1, 0] = kernels.slopes(space.residual, *model.images[:2])
        if (np.abs(_gradient(point.sums)) < NEGLIGIBLE * abs(scale) * np.diag(normal)[:2]).all():
            return point
    # by Parseval's theorem one transform gives the sums of all derivatives, without their images
    cross = _cross(moving)
    return point._replace(sums=_sums(cross, fixed.image.shape, shift), cross=cross)


def _source(shape: tuple[int, ...], shift: Floats) -> tuple[tuple[slice, slice], ...]:
    """Output and source pixels along y and along x."""
    return tuple(overlap(n, d) for n, d in zip(shape, shift[::-1], strict=True))


def _moved_map(values: Floats, source: tuple[tuple[slice, slice], ...]) -> Floats:
    """Values on the pixels of the moving image, moved by the nearest whole shift; 0 outside."""
    (to_y, from_y), (to_x, from_x) = source
    out = np.zeros_like(values)
    out[to_y, to_x] = values[from_y, from_x]
    return out


def _powers(k: Complexes, offset: float, length: int) -> Complexes:
    out = np.empty((3, k.size), dtype=np.complex128)
    np.exp(k * offset, out=out[0])
    np.multiply(k, out[0], out=out[1])
    np.multiply(k, out[1], out=out[2])
    if length % 2 == 0:
        out[:, length // 2].imag = 0.0
    return out


def _model(moving: Moving, shift: Floats) -> Model:
    along_y, along_x = Workspace.of(moving.image.shape).phases(shift)
    by_x, image = _inverse(moving, along_y[0], (along_x[1], along_x[0]))
    (by_y,) = _inverse(moving, along_y[1], (along_x[0],))
    return Model(shift, (by_x, by_y, image))


def _image(moving: Moving, shift: Floats) -> Floats:
    along_y, along_x = Workspace.of(moving.image.shape).phases(shift)
    return _inverse(moving, along_y[0], (along_x[0],))[0]


def _inverse(moving: Moving, along_y: Complexes, each: tuple[Complexes, ...]) -> list[Floats]:
    """Images (y, lx) of the spectrum times one factor along y and each of several along x.

    What lies beyond the image is kept: sums over whole rows of memory are faster.
    """
    space = Workspace.of(moving.image.shape)
    kernels.rows_times(moving.transform, along_y, space.plane)
    rows = sf.ifft(space.plane, axis=0, overwrite_x=True, workers=1)
    images = []
    for along_x in each:
        kernels.columns_times(rows, along_x, space.rows)
        images.append(sf.irfft(space.rows, n=space.residual.shape[1], axis=1, workers=1))
    return images


def _cross(moving: Moving) -> Complexes:
    """Of the weighted residuals in the workspace with the moving image, for `_sums`."""
    space = Workspace.of(moving.image.shape)
    cross = sf.rfft2(space.residual, workers=1)
    kernels.conjugate_times(cross, moving.transform, space.count)
    return cross


def _sums(cross: Complexes, shape: tuple[int, int], shift: Floats) -> Floats:
    """Sums (3, 3) of the residuals that made `cross` times the derivatives of the moving image at a shift."""
    return kernels.contraction(cross, *Workspace.of(shape).phases(shift))


def _step(point: Point, damping: float) -> Floats:
    """Change of (dx, dy, scale) by Newton's method, by Gauss and Newton's where the sum isn't convex."""
    hessian = _hessian(point)
    exact = _is_convex(hessian)
    if not exact:
        hessian = point.normal * np.outer((point.scale, point.scale, 1.0), (point.scale, point.scale, 1.0))
    hessian[np.diag_indices(3)] *= 1 + damping
    if not _is_convex(hessian):
        return np.full(3, np.nan)
    step = np.linalg.solve(hessian, np.array([*(point.scale * _gradient(point.sums)), 0.0]))
    longest = np.abs(step[:2]).max()
    if exact and damping == 0 and longest < LONGEST_STEP and point.cross is not None:
        return _refined(point, step)
    return step * min(1.0, LONGEST_STEP / longest) if longest > 0 else step


def _refined(point: Point, first: Floats) -> Floats:
    """A Newton step carried to the minimum of an expansion of the sum that is good beyond the second order.

    With R the moving image, R' its derivatives and b its scale, the gradient at a distance t of the point is
    the sum of power * (S - b R(t)) R'(t). The sum with the residual of the point itself, S - b0 R(0), is known
    exactly for every t. Of the rest, power * (b R(t) - b0 R(0)) R'(t), with a weight that changes slowly over a
    pixel nothing but b0 N t and (b - b0) times the sum of R R' is left up to the second order, N being the
    normal matrix: the squared norm of R(t) is then that of R(0).
    """
    normal, shape, step = point.normal, point.power.shape, first
    assert point.cross is not None  # by the condition in _step
    for _ in range(MAX_REFINEMENTS):
        sums = _sums(point.cross, shape, point.shift + step[:2])
        along = normal[:2, :2] @ step[:2]
        scale = sums[0, 0] - point.scale * (normal[:2, 2] @ step[:2] + 0.5 * step[:2] @ along)
        change = scale / normal[2, 2]
        gradient = _gradient(sums) - point.scale * along - change * normal[:2, 2]
        slope = (_gradient(sums) - point.scale * (normal[:2, 2] + along)) / normal[2, 2]
        matrix = point.scale * normal[:2, :2] - _curvature(sums) + np.outer(normal[:2, 2], slope)
        more = np.linalg.solve(matrix, gradient)
        step = np.array([*(step[:2] + more), change + float(slope @ more)])
        if not np.abs(step[:2] - first[:2]).max() < 0.5 * LONGEST_STEP:
            return first
        if np.abs(more).max() < 1e-3 * np.abs(step[:2]).max():
            break
    return step


def _gradient(sums: Floats) -> Floats:
    """Sums of power * residual times the derivatives of the moving image by dx and by dy."""
    return np.array([sums[0, 1], sums[1, 0]])


def _curvature(sums: Floats) -> Floats:
    """The same of the second derivatives."""
    return np.array([[sums[0, 2], sums[1, 1]], [sums[1, 1], sums[2, 0]]])


def _hessian(point: Point) -> Floats:
    """Half the second derivatives of the sum by (dx, dy, scale)."""
    hessian = point.normal.copy()
    hessian[:2, :2] *= point.scale**2
    hessian[:2, :2] -= point.scale * _curvature(point.sums)
    hessian[:2, 2] = hessian[2, :2] = point.scale * point.normal[:2, 2] - _gradient(point.sums)
    return hessian


def _is_convex(hessian: Floats) -> bool:
    """Whether the symmetric matrix is positive definite by more than rounding."""
    (xx, xy, xs), (_, yy, ys), (_, _, ss) = hessian.tolist()
    if not (xx > 0 and yy > 0 and ss > 0):  # nor NaN
        return False
    a, b, c = xy * xy / (xx * yy), xs * xs / (xx * ss), ys * ys / (yy * ss)
    # the minors of the matrix scaled to a diagonal of ones
    return 1 - a > 1e-10 and 1 - a - b - c + 2 * xy * xs * ys / (xx * yy * ss) > 1e-10


def _moved(point: Point, step: Floats) -> Point:
    """The point after a last small step, its sum changed to first order."""
    chi2 = max(0.0, point.chi2 - point.scale * float(_gradient(point.sums) @ step[:2]))
    return point._replace(shift=point.shift + step[:2], scale=point.scale + float(step[2]), chi2=chi2)


def _slack(point: Point) -> float:
    """The sum up to which a new one counts as not worse, given rounding."""
    return point.chi2 * (1 + 1e-9) + 1e-24 * point.scale**2 * point.normal[2, 2]
