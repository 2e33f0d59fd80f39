import json
import math

import pytest
from traitlets import TraitError

from corontools import DataError
from corontools_widgets import state as module
from corontools_widgets.state import ViewState


@pytest.fixture
def state():
    return ViewState(modes=10)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that every look at moves on by a second."""
    moments = iter(range(10**6))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(moments)))


def test_all_choices_survive_json(state):
    state.limits, state.cursor, state.stretch = [-1.0, 5.0], [3.0, 4.5], "log"
    again = ViewState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert again.to_dict() == state.to_dict()
    assert not again.can_undo


@pytest.mark.parametrize(
    ("choices", "found"),
    [
        ({"mode": 3}, "'mode'"),
        ({"modes": "three"}, "modes"),
        ({"modes": -1}, "modes"),
        ({"limits": [1.0]}, "limits"),
        ({"limits": [2.0, 1.0]}, "limits"),
        ({"limits": [0.0, math.inf]}, "limits"),
        ({"cursor": [math.nan, 1.0]}, "cursor"),
        ({"level": 0}, "level"),
        ({"stretch": "cubic"}, "stretch"),
        ({"colors": None}, "colors"),
        ({1: 2}, "names and values"),
        ("modes", "names and values"),
    ],
)
def test_a_wrong_choice_is_named_and_changes_nothing(state, choices, found):
    before = state.to_dict()
    with pytest.raises(DataError, match=found):
        state.apply(choices)
    with pytest.raises(DataError, match=found):
        ViewState.from_dict(choices)
    assert state.to_dict() == before
    assert not state.can_undo


def test_a_dictionary_is_taken_whole_or_not_at_all(state):
    seen = []
    state.observe(lambda change: seen.append(change["name"]), ["modes", "level"])
    with pytest.raises(DataError):
        state.apply({"modes": 3, "level": -5.0})
    assert (state.modes, state.level, seen) == (10, 5.0, [])


def test_undo_and_redo_walk_through_the_steps(state):
    for modes in (1, 2, 3):
        state.modes = modes
    assert state.undo()
    assert state.undo()
    assert state.modes == 1
    assert state.redo()
    assert state.modes == 2
    state.level = 3.0
    assert not state.can_redo
    while state.undo():
        pass
    assert (state.modes, state.level) == (10, 5.0)
    assert not state.undo()


def test_changes_made_together_are_one_step(state):
    state.apply({"modes": 4, "level": 3.0})
    with state.hold_trait_notifications():
        state.blink, state.compare = True, 2
    state.undo()
    assert (state.blink, state.compare, state.modes) == (False, -1, 4)
    state.undo()
    assert (state.modes, state.level) == (10, 5.0)
    assert not state.can_undo


def test_a_drag_is_one_step(state, monkeypatch):
    moments = iter([0.0, 0.03, 0.06, 0.09, 0.12, 5.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(moments))
    for modes in range(5):
        state.modes = modes
    state.level = 4.0
    state.undo()
    assert (state.modes, state.level) == (4, 5.0)
    state.undo()
    assert state.modes == 10


def test_choices_that_are_dragged_together_are_one_step(state, monkeypatch):
    monkeypatch.setattr(module.time, "monotonic", lambda: 1.0)
    state.apply({"limits": [0.0, 1.0]}, drag="pan")
    state.apply({"cursor": [1.0, 2.0]}, drag="pan")
    state.undo()
    assert (state.limits, state.cursor) == ([], [])


def test_only_the_last_steps_are_kept(state):
    for modes in range(11, 11 + module.HISTORY + 50):
        state.modes = modes
    steps = 0
    while state.undo():
        steps += 1
    assert steps == module.HISTORY
    assert state.modes == 11 + 49


def test_what_is_set_one_by_one_is_checked_too(state):
    with pytest.raises(TraitError, match="positive number of sigma"):
        state.level = -1
    with pytest.raises(TraitError, match="lower first"):
        state.limits = [2.0, 1.0]
