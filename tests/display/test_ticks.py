import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from corontools.display.ticks import linear_ticks, log_ticks, number

SIZES = st.floats(-250, 250).map(lambda power: 10.0**power)


def value_of(text, factor=""):
    """The number that a label says."""
    text, factor = (t.replace("−", "-").replace("×", "*").replace("^", "**") for t in (text, factor))
    product = text + factor
    power = re.search(r"10\*\*(-?\d+)$", product)
    mantissa = re.sub(r"\*?10\*\*-?\d+$", "", product) or "1"
    return float(Fraction(mantissa) * Fraction(10) ** int(power[1] if power else 0))


@given(st.floats(-1, 1), SIZES, st.integers(2, 12))
@settings(max_examples=300)
def test_linear_ticks_are_round_equidistant_and_say_their_values(start, size, count):
    low = start * size
    high = low + size
    ticks = linear_ticks(low, high, count)
    major = np.array(ticks.major)
    assert 1 <= len(major) <= count + 1
    assert np.all((major >= low - 1e-6 * size) & (major <= high + 1e-6 * size))
    if len(major) > 1:
        step = np.diff(major).mean()
        np.testing.assert_allclose(np.diff(major), step, rtol=1e-6)
        assert round(step / 10 ** math.floor(math.log10(step) + 1e-6)) in (1, 2, 5)
    assert len(set(ticks.labels)) == len(major)
    said = [value_of(text, ticks.factor) for text in ticks.labels]
    np.testing.assert_allclose(said, major, atol=1e-6 * size)


@given(st.floats(-1, 1), SIZES)
@settings(max_examples=100)
def test_minor_ticks_lie_between_major_ones(start, size):
    ticks = linear_ticks(start * size, start * size + size)
    assert not set(ticks.minor) & set(ticks.major)
    assert len(ticks.minor) >= len(ticks.major) - 1


@given(st.floats(-200, 200), st.floats(0.01, 90), st.integers(2, 9))
@settings(max_examples=300)
def test_log_ticks_stay_in_range_and_say_their_values(start, decades, count):
    low, high = 10.0**start, 10.0 ** (start + decades)
    assume(high > low)
    ticks = log_ticks(low, high, count)
    major = np.array(ticks.major)
    assert np.all((major > low * (1 - 1e-6)) & (major < high * (1 + 1e-6)))
    assert len(major) <= max(count + 1, 7)
    said = [value_of(text, ticks.factor) for text in ticks.labels]
    np.testing.assert_allclose(said, major, rtol=1e-6, atol=1e-6 * (high - low))


def test_many_decades_get_a_tick_each_with_eight_minor_ones():
    ticks = log_ticks(1e-7, 1e-3, 6)
    assert ticks.labels == ("10^−7", "10^−6", "10^−5", "10^−4", "10^−3")
    assert len(ticks.minor) == 4 * 8


def test_very_many_decades_are_thinned_to_round_strides():
    powers = [round(math.log10(v)) for v in log_ticks(1e-150, 1e150, 8).major]
    assert powers == [-150, -100, -50, 0, 50, 100, 150]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.5, "−0.5"), (100, "100"), (12345, "12345"), (0.00012, "1.2×10^−4"), (-1e6, "−10^6")],
)
def test_single_numbers_read_like_those_of_a_person(value, text):
    assert number(value) == text
