"""VIP's and pyKLIP's reference-star KLIP beside ours: the same numbers where the mathematics is the same."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corontools import Exposure, PSFStack
from corontools.arrays.radial import annular_noise, student_factor

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]

few = settings(max_examples=15, deadline=None)


@pytest.fixture(scope="module")
def vip():
    psfsub = pytest.importorskip("vip_hci.psfsub", reason="VIP is not installed")

    def residuals(science, references, modes, scaling="spat-mean"):
        """Residual of each frame before derotation (the third of the full outputs); all angles are 0."""
        frames = psfsub.pca(
            science,
            np.zeros(len(science)),
            cube_ref=references,
            ncomp=modes,
            scaling=scaling,
            full_output=True,
            verbose=False,
            imlib="skimage",
        )
        return frames[3]

    return residuals


@pytest.fixture(scope="module")
def pyklip():
    return pytest.importorskip("pyklip.klip", reason="pyKLIP is not installed")


@few
@given(n_ref=st.integers(2, 12), share=st.floats(0.01, 1.0), seed=st.integers(0, 99))
def test_vip_with_each_image_centred_is_the_same(vip, speckles, n_ref, share, seed):
    """scaling="spat-mean" subtracts from each image its own mean, as KLIP does; to 1e-6 of the residual."""
    science, references = frames(speckles, n_ref, seed)
    modes = max(1, round(share * n_ref))
    theirs = vip(science, references, modes)
    ours = residual(science, references, modes)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.std(theirs))


@pytest.mark.parametrize("scaling", [None, "temp-mean"])
def test_vip_otherwise_centred_is_another_method(vip, speckles, scaling):
    """Without scaling, VIP's default, the sky level costs a mode; "temp-mean" takes the mean image from both."""
    science, references = frames(speckles, 8, 1)
    theirs = vip(science, references, 5, scaling)
    ours = residual(science, references, 5)
    assert np.abs(ours - theirs).max() > 1e-3 * np.std(ours)


def test_vip_and_pyklip_agree_with_us_on_the_level_of_the_sky(vip, pyklip, speckles):
    science, references = frames(speckles, 8, 2)
    brighter = residual(science + 1000.0, references, 5)
    np.testing.assert_allclose(brighter, residual(science, references, 5), rtol=0, atol=1e-8)
    np.testing.assert_allclose(vip(science + 1000.0, references, 5), brighter, rtol=0, atol=1e-6)
    theirs = pyklip.klip_math(science[0].ravel() + 1000.0, flat(references), np.array([5]))
    np.testing.assert_allclose(theirs[:, 0], brighter[0].ravel(), rtol=0, atol=1e-6)


@few
@given(n_ref=st.integers(3, 12), seed=st.integers(0, 99))
def test_pyklip_gives_the_same_for_every_number_of_modes(pyklip, speckles, n_ref, seed):
    science, references = frames(speckles, n_ref, seed)
    modes = np.unique([1, n_ref // 2, n_ref])
    theirs = pyklip.klip_math(science[0].ravel(), flat(references), modes)
    whole = klip(science[:1], references, n_ref)
    for k, column in zip(modes, theirs.T, strict=True):
        ours = whole.at(int(k)).frames.ravel()
        np.testing.assert_allclose(ours, column, rtol=0, atol=1e-6 * np.std(column))


def test_pyklip_as_it_is_called_gives_the_same(speckles):
    """klip_parallelized over the whole frame, one annulus, one sector, a library of references."""
    parallelized = pytest.importorskip("pyklip.parallelized", reason="pyKLIP is not installed")
    science, references = frames(speckles, 9, 3, shape=(65, 65))
    modes = [1, 4, 9]
    theirs = rdi_by_pyklip(parallelized, science, references, modes)
    ours = np.array([residual(science, references, k) for k in modes])
    seen = np.isfinite(theirs)
    assert seen.mean() > 0.99
    np.testing.assert_allclose(ours[seen], theirs[seen], rtol=0, atol=1e-6 * np.nanstd(theirs))


def test_pyklip_takes_missing_pixels_for_zeros(pyklip, speckles):
    """It fits the science as if its missing pixels were at the mean level; we leave them out of the sums."""
    _, references = frames(speckles, 6, 4)
    science = np.tensordot([[1.0, 0.5, 0.2, 2.0, 0.3, 1.0]], references, 1)
    science[0, 28:36, 30:40] = np.nan
    theirs = pyklip.klip_math(science[0].ravel(), flat(references), np.array([6]))
    ours = residual(science, references, 6)
    assert np.nanstd(theirs) > 1.0, "pyKLIP has changed: update docs/differences.md"
    np.testing.assert_allclose(ours[np.isfinite(ours)], 0.0, atol=1e-6)
    assert np.isnan(ours).sum() == 80


def test_pyklip_repeats_the_last_image_where_references_run_out(pyklip, speckles):
    science, references = frames(speckles, 4, 5)
    theirs = pyklip.klip_math(science[0].ravel(), flat(references), np.array([4, 50]))
    np.testing.assert_array_equal(theirs[:, 0], theirs[:, 1])
    with pytest.warns(UserWarning, match="50 modes asked for, but there are 4 references"):
        assert klip(science, references, 50).max_modes == 4


def test_vip_turns_one_nan_into_a_frame_of_nan(vip, speckles):
    science, references = frames(speckles, 4, 6)
    science[0, 5, 5] = np.nan
    theirs = vip(science, references, 2)
    assert np.isnan(theirs[0]).all(), "VIP has changed: update docs/differences.md"
    ours = residual(science, references, 2)
    assert np.argwhere(np.isnan(ours)).tolist() == [[0, 5, 5]]


def test_detection_limits_agree_with_pyklip_in_wide_rings(pyklip):
    """White noise: pyKLIP counts elements by area and adds the ring's mean, we by circumference and don't."""
    image = np.random.default_rng(7).normal(size=(301, 301))
    radius, theirs = pyklip.meas_contrast(image, 40, 120, 4.0, center=(150, 150), low_pass_filter=False)
    rings, noise, count = annular_noise(image, center=(150, 150), width=4)
    limit = noise * np.sqrt(count / (count - 1)) * student_factor(5, 2 * np.pi * rings / 4.0)
    ours = np.interp(radius, rings, limit)
    np.testing.assert_allclose(ours, theirs, rtol=0.05)


def frames(speckles, n_ref, seed, shape=(64, 64)):
    star = speckles(shape, seed=seed)
    return star.cube(3) + 4.0, star.cube(n_ref) + 1.0


def flat(cube):
    return cube.reshape(len(cube), -1)


def klip(science, references, modes):
    stack = PSFStack.from_exposures([Exposure(references)])
    return stack.align_to(Exposure(science), to="none").klip(modes, zones="full")


def residual(science, references, modes):
    return klip(science, references, modes).frames


def rdi_by_pyklip(parallelized, science, references, modes):
    """Residuals (modes, n_int, y, x)."""
    n, middle = len(science), [(science.shape[2] - 1) / 2, (science.shape[1] - 1) / 2]
    correlation = np.corrcoef(np.concatenate([flat(science), flat(references)]))[:n, n:]
    made, *_ = parallelized.klip_parallelized(
        science.copy(),
        np.tile(middle, (n, 1)),
        np.zeros(n),
        np.ones(n),
        np.zeros(n),
        0,
        mode="RDI",
        annuli=1,
        subsections=1,
        numbasis=modes,
        aligned_center=middle,
        numthreads=1,
        psf_library=references,
        psf_library_good=np.arange(len(references)),
        psf_library_corr=correlation,
        maxnumbasis=len(references),
        dtype=ctypes.c_double,
        verbose=False,
    )
    return made
