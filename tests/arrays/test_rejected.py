"""Which values a mean leaves out: against a plain search, astropy, and the means themselves."""

import numpy as np
import pytest

from corontools.arrays.combine import combine
from corontools.arrays.rejected import rejected


def searched(x, e, sigma, most=99):
    """Leave-one-out of one pixel, written down as the rule is told."""
    left = list(range(x.size))
    for _ in range(most):
        if len(left) < 2:
            break
        away = x[left] - x[left].mean()
        worst = left[int(np.argmax(away if len(left) == 2 else np.abs(away)))]
        others = [i for i in left if i != worst]
        expected = e[worst] ** 2 + (e[others] ** 2).sum() / len(others) ** 2
        if abs(x[worst] - x[others].mean()) <= sigma * np.sqrt(expected):
            break
        left = others
    return np.array([i not in left for i in range(x.size)])


def sets(n, *, seed=1):
    rng = np.random.default_rng(seed)
    e = rng.uniform(0.5, 2.0, (n, 400))
    return rng.normal(0, e) + 20 * (rng.random((n, 400)) < 0.2) * rng.random((n, 400)), e


@pytest.mark.parametrize("most", [None, 1])
@pytest.mark.parametrize("n", [2, 3, 6, 12])
def test_values_that_leave_the_others_are_those_of_a_plain_search(n, most):
    x, e = sets(n)
    found = rejected(x, e, sigma=2.5, maxiters=most)
    expected = np.array([searched(x[:, p], e[:, p], 2.5, 99 if most is None else most) for p in range(400)]).T
    assert expected.any()
    np.testing.assert_array_equal(found, expected)


def test_a_sigma_clip_rejects_what_astropy_masks():
    from astropy.stats import sigma_clip

    x, e = sets(15)
    expected = sigma_clip(x, sigma=2.0, maxiters=None, axis=0).mask
    np.testing.assert_array_equal(rejected(x, e, reject="sigma_clip", sigma=2.0), expected)
    assert not rejected(x, e, reject="none", sigma=2.0).any()


@pytest.mark.parametrize("reject", ["leave_one_out", "sigma_clip"])
def test_what_stays_gives_the_mean_and_what_is_unusable_is_not_called_rejected(reject):
    x, e = (array.astype(np.float32).reshape(6, 20, 20) for array in sets(6))
    x[0, 2, 3], e[1, 2, 3] = np.nan, np.inf
    flags = np.zeros(x.shape, np.uint32)
    flags[2, 4] = 1
    options = {"reject": reject, "sigma": 1.5, "excess": 1.1}
    found, mean = rejected(x, e, flags, **options), combine(x, e, flags, **options)
    usable = np.isfinite(x) & np.isfinite(e) & (flags == 0)
    assert not found[~usable].any()
    kept = usable & ~found
    np.testing.assert_array_equal(kept.sum(axis=0), mean.kept)
    np.testing.assert_allclose(np.mean(x, axis=0, where=kept, dtype=float), mean.mean)


def test_equal_values_are_rejected_as_often_as_the_rule_does():
    x = np.array([0.0, 0.0, 9.0, 9.0, 0.0, 0.0])[:, None]
    found = rejected(x, np.ones_like(x), sigma=3.0)
    assert found.sum() == 6 - combine(x, np.ones_like(x), sigma=3.0).kept[0]
    np.testing.assert_array_equal(found[:, 0], x[:, 0] > 0)
