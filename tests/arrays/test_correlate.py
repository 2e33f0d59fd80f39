import numpy as np
import pytest

from corontools.arrays.correlate import correlate


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (9, 4), (15, 2)])
def test_it_is_the_sum_over_the_overlap(shape):
    rng = np.random.default_rng(2)
    images, stamp = rng.normal(size=(19, 7, 9)), rng.normal(size=shape)
    (h, w), (ny, nx) = shape, images.shape[1:]
    wide = np.pad(images, ((0, 0), (h - 1, h - 1), (w - 1, w - 1)))
    brute = [[np.sum(wide[:, j : j + h, i : i + w] * stamp, axis=(1, 2)) for i in range(nx + w - 1)]
             for j in range(ny + h - 1)]  # fmt: skip
    np.testing.assert_allclose(correlate(images, stamp), np.moveaxis(brute, -1, 0), atol=1e-12)
