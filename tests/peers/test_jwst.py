"""Where jwst's coronagraphic functions are right, ours give the same; both in float64.

jwst's data models hold float32, in which its alignment fails (see test_jwst_defects.py), so its functions are
called on plain arrays, or on a stand-in for the model.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corontools import DQ, Exposure, PSFStack
from corontools.arrays.kl import decompose
from corontools.arrays.outliers import temporal
from corontools.arrays.radial import annular_noise
from corontools.arrays.shift import shift_image

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("jwst", reason="jwst is not installed")

from jwst.coron import hlsp, imageregistration, median_replace_img, stack_refs  # noqa: E402
from jwst.coron import klip as jwst_klip  # noqa: E402
from jwst.outlier_detection import coron as jwst_outliers  # noqa: E402
from stdatamodels.jwst import datamodels  # noqa: E402

pixels = st.floats(-2.0, 2.0)
few = settings(max_examples=20, deadline=None)


def unweighted(shape):
    """All ones: the weight that jwst takes without a mask."""
    return np.ones(shape[-2:])


def star_in(image, margin=6):
    """Mask that leaves a frame of `margin` px out, where jwst's shift wraps around and ours has no value."""
    mask = np.zeros(image.shape[-2:])
    mask[margin:-margin, margin:-margin] = 1.0
    return mask


@few
@given(dx=pixels, dy=pixels, shape=st.sampled_from([(96, 96), (95, 98), (99, 97)]))
def test_a_fourier_shift_is_the_same_where_nothing_wraps_around(speckles, dx, dy, shape):
    image = speckles(shape).image()
    theirs = imageregistration.fourier_imshift(image, np.array([dx, dy]))
    ours = shift_image(image, (dx, dy))
    inside = np.isfinite(ours)
    # 3e-9 of the power lies beyond the Nyquist frequency, where an even and an odd length differ
    np.testing.assert_allclose(ours[inside], theirs[inside], rtol=0, atol=1e-7 * image.max())
    np.testing.assert_allclose(
        ours[inside], speckles(shape).image(at=(dx, dy))[inside], rtol=0, atol=1e-6 * image.max()
    )


@few
@given(dx=pixels, dy=pixels, flux=st.floats(0.05, 20.0), seed=st.integers(0, 99))
def test_shifts_of_exact_copies_are_the_same(speckles, dx, dy, flux, seed):
    star = speckles(seed=seed)
    science, reference = star.image(), flux * star.image(at=(dx, dy))
    theirs = imageregistration.align_fourier_lsq(science, reference, unweighted(science.shape))
    fit = aligned_to_first(science, reference, unweighted(science.shape)).fit
    # jwst shifts and scales the science onto the reference, hence the signs
    np.testing.assert_allclose(fit.shift[0, 0], -theirs[:2], rtol=0, atol=1e-4)
    np.testing.assert_allclose(fit.scale[0, 0], 1 / theirs[2], rtol=1e-5)
    np.testing.assert_allclose(fit.shift[0, 0], (-dx, -dy), rtol=0, atol=1e-6)


@few
@given(dx=pixels, dy=pixels, seed=st.integers(0, 99), power=st.sampled_from([0.0, 1.0, 2.0]))
def test_shifts_of_noisy_stars_that_differ_are_the_same(speckles, dx, dy, seed, power):
    star = speckles(seed=seed)
    science, reference = star.cube(2, change=0.2, at=[(0, 0), (dx, dy)])
    science = science + star.rng.normal(0, 1.0, science.shape)
    mask = star_in(science) * star.rng.random(science.shape) ** power
    # with the roles exchanged jwst minimises the sum that we minimise, so the noise matters alike
    theirs = imageregistration.align_fourier_lsq(reference, science, mask)
    fit = aligned_to_first(science, reference, mask).fit
    np.testing.assert_allclose(fit.shift[0, 0], theirs[:2], rtol=0, atol=1e-4)
    np.testing.assert_allclose(fit.scale[0, 0], theirs[2], rtol=1e-5)


def test_the_sum_of_squares_is_the_same(speckles):
    star = speckles()
    science, reference = star.cube(2, at=[(0, 0), (0.4, -0.3)])
    mask = star_in(science) * 0.7
    fit = aligned_to_first(science, reference, mask).fit
    parameters = (*fit.shift[0, 0], fit.scale[0, 0])
    theirs = imageregistration.shift_subtract(parameters, reference, science, mask)
    np.testing.assert_allclose(fit.chi2[0, 0], np.sum(np.square(theirs)), rtol=1e-6)


def test_aligned_references_are_the_same(speckles, cube64, monkeypatch):
    star = speckles()
    science = star.cube(2, change=0.0)
    references = star.cube(4, change=0.0, at=star.rng.uniform(-0.4, 0.4, (4, 2)))
    monkeypatch.setattr(imageregistration, "CubeModel", lambda shape: Updated(cube64, shape))
    theirs = imageregistration.align_models(
        cube64(science), cube64(references), SimpleNamespace(data=unweighted(science.shape))
    )
    ours = stack(references).align_to(Exposure(science), to="first", mask=unweighted(science.shape))[0]
    np.testing.assert_allclose(ours.data, theirs.data, rtol=0, atol=1e-6 * references.max())


def test_the_mask_is_a_weight_in_both(speckles):
    """1 means use, 0 leave out, as in the reference files; the documents of jwst say the opposite."""
    star = speckles((96, 128))
    science = star.image()
    reference = star.image(at=(0.7, -0.4))
    y, x = np.mgrid[:96, :128]
    for image, place in ((science, 112.0), (reference, 110.0)):  # an object that moved another way
        image += 3 * science.max() * np.exp(-0.5 * ((x - place) ** 2 + (y - 40.0) ** 2) / 4.0)
    mask = np.ones(science.shape)
    mask[:, 94:] = 0.0
    theirs = imageregistration.align_fourier_lsq(reference, science, mask)
    ours = aligned_to_first(science, reference, mask).shifts[0, 0]
    np.testing.assert_allclose(ours, (-0.7, 0.4), rtol=0, atol=1e-3)
    np.testing.assert_allclose(theirs[:2], (-0.7, 0.4), rtol=0, atol=1e-3)


def test_karhunen_loeve_modes_are_the_same(speckles):
    references = speckles().cube(12).reshape(12, -1)
    centered = references - references.mean(axis=1, keepdims=True)
    theirs, eigenvalues, _ = jwst_klip.karhunen_loeve_transform(centered, normalize=True)
    basis, _, ours = decompose(centered, 12)
    sign = np.sign(np.sum(basis * theirs, axis=1))[:, None]  # an eigenvector's is arbitrary
    np.testing.assert_allclose(basis, sign * theirs, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours / (centered.shape[1] - 1), eigenvalues, rtol=1e-9)


@few
@given(
    n_ref=st.integers(2, 15),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 99),
    shape=st.sampled_from([(64, 64), (63, 66)]),
)
def test_klip_residuals_are_the_same_to_a_millionth_of_the_residual(speckles, cube64, n_ref, share, seed, shape):
    """The stricter of two measures: the star's peak is a hundred to a thousand times the residual."""
    star = speckles(shape, seed=seed)
    science, references = star.cube(3) + 5.0, star.cube(n_ref) + 2.0
    modes = round(share * n_ref)
    ours = stack(references).align_to(Exposure(science), to="none").klip(n_ref, zones="full").at(modes)
    theirs, psf = jwst_klip.klip(cube64(science), cube64(references), modes)
    scatter = np.std(theirs.data)
    np.testing.assert_allclose(ours.frames, theirs.data, rtol=0, atol=1e-6 * scatter)
    # ours keeps the mean level in the model of the star, jwst drops it from both
    level = science.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(ours.psf.data - level, psf.data, rtol=0, atol=1e-6 * scatter)


@pytest.mark.parametrize("to", ["first", "each"])
def test_alignment_and_klip_together_are_the_same(speckles, cube64, monkeypatch, to):
    star = speckles()
    science = np.repeat(star.cube(1), 2, axis=0)
    references = star.cube(8, at=star.rng.uniform(-0.4, 0.4, (8, 2)))
    mask = star_in(science)
    aligned = stack(references).align_to(Exposure(science), to=to, mask=mask)
    assert aligned[0].good.all()  # no reference moved by more than half a pixel, so none lost an edge
    # jwst's shifts are found with the science as the one that moves; here ours are taken for both
    shifted = np.array(
        [imageregistration.fourier_imshift(r, s) for r, s in zip(references, aligned.shifts[0], strict=True)]
    )
    ours = aligned.klip(5, zones="full")
    theirs = jwst_klip.klip(cube64(science), cube64(shifted), 5, return_psf=False)
    # a basis for each integration is kept in float32: exact to that of the star, not of what is left of it
    scale = np.std(theirs.data) if to == "first" else np.ptp(science)
    np.testing.assert_allclose(ours.frames, theirs.data, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("modes", [1, 5, 12])
def test_an_edge_that_one_aligned_reference_lost_hardly_matters(speckles, cube64, modes):
    """A row of sky is all that is missing, so a KLIP of complete references is the truth."""
    pytest.importorskip("numba", reason="missing pixels are estimated by code that numba compiles")
    star = speckles()
    science, references = star.cube(1), star.cube(12)
    lost = references.copy()
    lost[11, 0] = np.nan
    ours = stack(lost).align_to(Exposure(science), to="none").klip(12, zones="full").at(modes)
    theirs = jwst_klip.klip(cube64(science), cube64(references), modes, return_psf=False)
    np.testing.assert_allclose(ours.frames, theirs.data, rtol=0, atol=0.3 * np.std(theirs.data))


def test_klip_gives_the_numbers_of_jwsts_own_test():
    """The arrays of test_klip in jwst/coron/tests/test_coron.py, called, not copied."""
    own = pytest.importorskip("jwst.coron.tests.test_coron", reason="jwst was installed without its tests")
    seen = {}

    def recorded(target, references, truncate):
        seen.update(science=target.data.copy(), references=references.data.copy())
        seen["result"] = jwst_klip.klip(target, references, truncate)
        return seen["result"]

    original, own.klip = own.klip, SimpleNamespace(klip=recorded)
    try:
        own.test_klip()
    finally:
        own.klip = original
    ours = stack(seen["references"]).align_to(Exposure(seen["science"]), to="none").klip(3, zones="full")
    np.testing.assert_allclose(ours.frames, seen["result"][0].data, rtol=0, atol=1e-6)


def test_the_stack_is_the_same(speckles):
    exposures = [speckles(seed=i).cube(n) for i, n in enumerate((2, 1, 3))]
    rng = np.random.default_rng(5)
    dq = [rng.integers(0, 5, e.shape).astype(np.uint32) for e in exposures]
    models = [
        datamodels.CubeModel(data=e, err=np.sqrt(e + 1), dq=d, var_poisson=e + 1)
        for e, d in zip(exposures, dq, strict=True)
    ]
    theirs = stack_refs.make_cube(models)
    ours = PSFStack.from_exposures([Exposure(m.data, m.err, m.dq) for m in models]).exposure
    np.testing.assert_array_equal(ours.data, theirs.data)
    np.testing.assert_array_equal(ours.err, theirs.err)
    np.testing.assert_array_equal(ours.dq, theirs.dq)


@pytest.mark.parametrize("shape", [(40, 40), (39, 39), (41, 41), (40, 61), (42, 42)])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_noise_in_rings_is_the_same(monkeypatch, shape, width):
    """jwst's centre is pixel round(n / 2) - 1, halves rounded to even; ours is any point."""
    image = np.random.default_rng(3).normal(size=shape)
    image[5:8, 20:30] = np.nan
    monkeypatch.setattr(hlsp, "datamodels", SimpleNamespace(ContrastModel=Table))
    theirs = hlsp.contrast_curve(SimpleNamespace(data=image), width).rows
    y, x = (round(n / 2) - 1 for n in shape)
    radius, noise, _ = annular_noise(image, center=(x, y), width=width)
    np.testing.assert_allclose(np.transpose([radius, noise]), theirs, rtol=1e-12)


def test_good_neighbours_fill_a_lone_bad_pixel_alike(speckles):
    pytest.importorskip("numba", reason="repair is compiled by numba, which is not installed")
    cube = speckles().cube(2).astype(np.float32)
    dq = np.zeros(cube.shape, np.uint32)
    dq[0, 40, 51] = dq[1, 60, 42] = DQ.DO_NOT_USE
    cube[1, 53, 53] = np.nan
    model = datamodels.CubeModel(data=cube.copy(), dq=dq.copy())
    theirs = median_replace_img.median_replace_img(model, 3, int(DQ.DO_NOT_USE))
    np.testing.assert_array_equal(Exposure(cube, dq=dq).repair(3).data, theirs.data)


def test_a_cosmic_ray_is_found_by_both(speckles):
    cube = np.repeat(speckles().cube(1), 6, axis=0)
    rng = np.random.default_rng(8)
    cube += rng.normal(0, 1.0, cube.shape)
    cube[3, 30, 35] += 100.0
    err = np.ones(cube.shape)
    model = datamodels.CubeModel(data=cube, err=err)
    theirs = jwst_outliers.detect_outliers(model, False, ~int(DQ.DO_NOT_USE), 0.7, 7.0, None)
    ours = temporal(cube, good=np.isfinite(cube), err=err, sigma=7.0)
    assert np.argwhere(ours).tolist() == np.argwhere(theirs.dq & DQ.OUTLIER).tolist() == [[3, 30, 35]]


@pytest.mark.real
def test_shifts_of_au_mic_are_the_same(au_mic):
    # the science image is the less noisy of the two, so ours takes it as the model; asked the same way round, so does
    # the peer (docs/alignment.md)
    science, references, mask = au_mic
    mask = mask * star_in(science, 20)  # ringing at the edges, where jwst's shift wraps around, costs 1e-4 px more
    fit = PSFStack.from_exposures([Exposure(r) for r in references]).align_to(Exposure(science), mask=mask).fit
    # jwst starts at equal fluxes and ends 3 px away for one reference that is 14 times fainter
    equal = references * fit.scale[0][:, None, None]
    theirs = [imageregistration.align_fourier_lsq(science, r, mask) for r in equal]
    np.testing.assert_allclose(fit.shift[0], -np.array(theirs)[:, :2], rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.array(theirs)[:, 2], 1.0, rtol=1e-5)


def stack(references):
    return PSFStack.from_exposures([Exposure(references)])


def aligned_to_first(science, reference, mask):
    return stack(reference).align_to(Exposure(science), to="first", mask=mask)


class Updated:
    """A float64 cube that takes metadata and ignores them."""

    def __new__(cls, cube, shape):
        made = cube(np.zeros(shape))
        made.update = lambda model: None
        return made


class Table:
    """Stands for jwst's ContrastModel, which rounds to float32."""

    def __init__(self, contrast_table):
        self.rows = contrast_table

    def update(self, model):
        pass
