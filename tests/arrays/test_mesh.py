"""Background map: the same as photutils gives, and what it should give."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.stats import SigmaClip
from photutils.background import Background2D, MedianBackground

from corontools import DataError
from corontools.arrays.mesh import mesh_background


def scene(shape, *, seed=1, kind=np.float32):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = 100 + 0.05 * x + 3 * np.sin(y / 40) + rng.normal(0, 1, shape)
    image[rng.random(shape) < 0.01] += 50
    good = rng.random(shape) > 0.02
    good[40:75, 50:110] = False  # several boxes of it
    image[5, 5] = np.nan
    return image.astype(kind), good & np.isfinite(image)


def photutils_map(image, good, box, smooth=5):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Background2D(
            image,
            box,
            mask=~good,
            filter_size=smooth,
            sigma_clip=SigmaClip(sigma=3.0, maxiters=5),
            bkg_estimator=MedianBackground(),
        ).background


@pytest.mark.parametrize("kind", [np.float32, np.float64, ">f4"])
@pytest.mark.parametrize(
    ("shape", "box", "smooth"),
    [((128, 160), (16, 16), 5), ((128, 160), (32, 20), 3), ((130, 163), (16, 16), 5), ((127, 159), (16, 16), 1)],
)
def test_the_map_is_that_of_photutils(shape, box, smooth, kind):
    image, good = scene(shape, kind=kind)
    ours = mesh_background(image, good, box=box, smooth=smooth)
    assert ours.dtype == (np.float64 if kind is np.float64 else np.float32)
    theirs = photutils_map(image.astype(ours.dtype), good, box, smooth)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-5 if ours.dtype == np.float32 else 1e-9)


def test_one_box_gives_its_median():
    image, good = scene((128, 160))
    np.testing.assert_allclose(
        mesh_background(image, good | True & np.isfinite(image), box=(128, 160)), np.nanmedian(image), atol=0.2
    )


def test_without_enough_pixels_there_is_no_map():
    image, good = scene((128, 160))
    good[::2] = False
    assert mesh_background(image, good, box=(16, 16)) is None
    assert mesh_background(image, good & False) is None


def test_inputs_stay_and_have_to_fit():
    image, good = scene((128, 160))
    before = image.copy(), good.copy()
    assert mesh_background(image, good) is not None
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(good, before[1])
    with pytest.raises(DataError, match="a mask of its shape"):
        mesh_background(image, good[1:])
