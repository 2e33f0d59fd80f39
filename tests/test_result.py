"""How a result remembers the calls that made it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from corontools.dq import pixels, runs
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.result import Result, call, code_of, fingerprint, verb


@dataclass(frozen=True, eq=False, repr=False)
class Number(Result):
    value: float

    @verb
    def add(self, amount: float = 1.0, *, times: int = 1) -> Number:
        return self.with_(value=self.value + amount * times)

    def _values(self):
        return np.array([self.value])


def method(self, a=1, b=2, *, c=3):
    """Any method."""


@pytest.mark.parametrize(
    ("arguments", "keywords", "code"),
    [
        ((), {}, "method()"),
        ((5,), {}, "method(5)"),
        ((5, 6), {"c": 7}, "method(5, 6, c=7)"),
        ((1, 6), {}, "method(b=6)"),
        ((), {"b": 6}, "method(b=6)"),
        ((1, 2), {"c": 3}, "method()"),
        ((np.int64(5),), {"c": np.float64(0.1)}, "method(5, c=0.1)"),
        ((Path("a/b.fits"),), {}, "method('a/b.fits')"),
        (([1, (2,)],), {}, "method([1, (2,)])"),
        (({"to": "first", "n": np.int64(2)},), {}, "method({'to': 'first', 'n': 2})"),
        (("it's",), {}, 'method("it\'s")'),
        ((slice(0, 3),), {}, "method(slice(0, 3, None))"),
        ((np.array([2, 0]),), {}, "method([2, 0])"),
        ((np.array([True, False]),), {}, "method([True, False])"),
    ],
)
def test_a_call_is_written_as_the_python_that_gives_it_again(arguments, keywords, code):
    assert call(method, None, *arguments, **keywords) == code


def test_an_image_in_memory_goes_by_its_fingerprint():
    image = np.arange(12.0).reshape(3, 4)
    assert call(method, None, image) == "method(array('3x4 100% 0 2.75 5.5 8.25 11 0.3939'))"
    assert call(method, None, Exposure(image)) == "method(exposure('3x4 100% 0 2.75 5.5 8.25 11 0.3939'))"


def test_a_mask_of_few_runs_is_written_out_and_one_of_many_goes_by_its_fingerprint():
    mask = np.zeros((3, 40, 50), bool)
    mask[1, 5, 7:11] = mask[2] = True
    code = code_of(mask)
    assert code == "pixels((3, 40, 50), [2257, 4, 4000, 2000])"
    np.testing.assert_array_equal(pixels((3, 40, 50), [2257, 4, 4000, 2000]), mask)
    assert code_of(np.indices((60, 60)).sum(axis=0) % 2 == 0).startswith("array('60x60 100% 0")


@given(arrays(bool, array_shapes(min_dims=2, max_dims=3)))
def test_the_runs_of_any_mask_give_it_again(mask):
    np.testing.assert_array_equal(pixels(mask.shape, runs(mask).ravel().tolist()), mask)


@pytest.mark.parametrize(
    ("shape", "found"),
    [((2, 3), [5, 2]), ((2, 3), [-1, 2]), ((2, 3), [1, 0]), ((2, 3), [1]), ((0, 3), []), ((1 << 20, 1 << 20), [])],
)
def test_runs_outside_of_the_mask_are_refused(shape, found):
    with pytest.raises(DataError):
        pixels(shape, found)


def test_an_exposure_of_a_file_goes_by_its_call():
    exposure = Exposure(np.ones((2, 2)), source="Exposure.read('a.fits')")
    assert call(method, None, exposure) == "method(Exposure.read('a.fits'))"


def test_each_verb_adds_its_call_and_leaves_the_first_result_alone():
    first = Number(1.0, history=("Number(1.0)",))
    last = first.add(2.0, times=3).add()
    assert last.value == 8.0
    assert last.history == ("Number(1.0)", ".add(2.0, times=3)", ".add()")
    assert last.code == "Number(1.0).add(2.0, times=3).add()"
    assert first.history == ("Number(1.0)",)


def test_a_verb_keeps_its_name_and_doc():
    assert Number.add.__name__ == "add"


def test_a_fingerprint_tells_shape_and_finite_share():
    image = np.array([[1.0, np.nan], [np.inf, 3.0]])
    assert fingerprint(image) == "2x2 50% 1 1.5 2 2.5 3 1.0000"
    assert fingerprint(np.full((2, 3), np.nan)) == "2x3 0%"
    assert fingerprint(image.astype(">f4")) == fingerprint(image)


def test_the_digest_is_the_fingerprint_of_the_numbers():
    assert Number(2.0).digest() == fingerprint(np.array([2.0]))
    with pytest.raises(NotImplementedError, match="Result has no digest"):
        Result().digest()


def test_text_of_a_result_names_its_chain():
    assert "Number(1.0)\n    .add()" in repr(Number(1.0, history=("Number(1.0)",)).add())


def test_markup_in_a_history_is_text():
    html = Number(1.0, history=("</script><img src=x onerror=alert(1)>",))._repr_html_()
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_a_fingerprint_tells_an_image_from_its_mirror_image():
    image = np.random.default_rng(0).random((6, 7))
    assert fingerprint(image) != fingerprint(image[::-1, ::-1])
