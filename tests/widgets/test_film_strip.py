"""Thumbnails of which some are ticked."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import traitlets as tl

from corontools.errors import DataError
from corontools_widgets.film_strip import FilmStrip


@pytest.fixture
def strip():
    made = FilmStrip(
        np.random.default_rng(1).normal(size=(3, 20, 20)), [["a", "r 0.99"], ["<b>"], ["c"]], label="references"
    )
    yield made
    made.close()


def test_all_are_ticked_at_first_and_the_pictures_are_one_png(strip):
    assert strip.kept == [True, True, True]
    assert strip._sprite.startswith(b"\x89PNG")
    assert strip.captions[1] == ["<b>"]


def test_a_change_in_the_browser_reaches_python(strip):
    seen = []
    strip.observe(lambda change: seen.append(change["new"]), "kept")
    strip.set_state({"kept": [True, False, True], "chosen": 2})
    assert seen == [[True, False, True]]
    assert strip.chosen == 2


def test_captions_and_flags_can_change_but_not_their_number(strip):
    strip.captions = [["x"], ["y"], ["z", "r 0.5"]]
    strip.flagged = [2]
    assert strip.get_state(["captions", "flagged"]) == {"captions": [["x"], ["y"], ["z", "r 0.5"]], "flagged": [2]}
    with pytest.raises(tl.TraitError, match="3 frames, found 1 captions"):
        strip.captions = [["x"]]
    with pytest.raises(tl.TraitError, match="found frame 3 among the flagged"):
        strip.flagged = [0, 3]
    assert (len(strip.captions), strip.flagged) == (3, [2])


def test_as_many_ticks_and_captions_as_frames(strip):
    with pytest.raises(tl.TraitError, match="3 frames"):
        strip.kept = [True]
    with pytest.raises(DataError, match="2 frames, but 1 captions"):
        FilmStrip(np.zeros((2, 8, 8)), [["a"]], label="references")


def test_a_strip_that_was_closed_is_let_go():
    strip = FilmStrip(np.zeros((2, 8, 8)), [["a"], ["b"]], label="references")
    gone = weakref.ref(strip)
    strip.close()
    del strip
    gc.collect()
    assert gone() is None
