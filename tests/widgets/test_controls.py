import ipywidgets
import pytest

from corontools_widgets import controls
from corontools_widgets.state import ViewState
from corontools_widgets.view import View, close_widget


class Named:
    history = ()

    def __init__(self, code):
        self.code = code


class Bare(View):
    def __init__(self):
        super().__init__(ViewState())
        self.toolbar = controls.Toolbar(self)
        self.show_as(self.toolbar.widget)

    @property
    def result(self):
        return Named(f"klip({self.state.modes})")


@pytest.fixture
def stepper():
    stepper = controls.Stepper("KL modes", ["1", "2", "<b>5</b>"])
    yield stepper
    close_widget(stepper.widget)


def test_buttons_and_slider_step_through_the_places(stepper):
    seen = []
    stepper.observe(lambda change: seen.append(change["new"]), "index")
    stepper.next.click()
    stepper.slider.set_state({"value": 2})
    stepper.next.click()
    stepper.before.click()
    assert seen == [1, 2, 1]
    assert stepper.slider.value == 1


def test_the_ends_are_seen(stepper):
    assert stepper.before.disabled
    assert not stepper.next.disabled
    stepper.index = 2
    assert stepper.next.disabled
    stepper.index = 99
    assert stepper.index == 2


def test_names_are_text(stepper):
    stepper.index = 2
    assert "&lt;b&gt;5&lt;/b&gt;" in stepper.readout.value
    assert "<b>" not in controls.words("<b>x</b>").value
    line = controls.words()
    controls.say(line, "<i>")
    assert ">&lt;i&gt;</span>" in line.value


def test_other_places_keep_the_index_where_they_can(stepper):
    stepper.index = 2
    stepper.rename(["a", "b", "c", "d"])
    assert (stepper.index, stepper.slider.max) == (2, 3)
    stepper.rename(["a"])
    assert (stepper.index, stepper.slider.max) == (0, 0)
    stepper.rename([])
    assert "none" in stepper.readout.value


def test_every_control_has_a_name(stepper):
    assert stepper.slider.description == "KL modes"
    assert (stepper.before.tooltip, stepper.next.tooltip) == ("previous KL modes", "next KL modes")
    ends = controls.Range("contrast")
    assert [box.tooltip for box in ends.ends] == ["first value of contrast", "last value of contrast"]


def test_a_range_is_typed_in_any_order():
    ends = controls.Range("contrast")
    ends.ends[0].value = "1e-3"
    assert ends.value == []
    ends.ends[1].value = "1e-6"
    assert ends.value == [1e-6, 1e-3]
    assert [box.value for box in ends.ends] == ["1e-06", "0.001"]
    ends.auto.click()
    assert ends.value == []
    assert [box.value for box in ends.ends] == ["", ""]


def test_a_range_says_what_was_wrong_and_keeps_its_value():
    ends = controls.Range("contrast")
    ends.value = [1.0, 2.0]
    ends.ends[0].value = "one"
    assert "'one'" in ends.problem
    ends.ends[0].value = "2"
    assert "two different numbers" in ends.problem
    assert ends.value == [1.0, 2.0]
    ends.ends[0].value = "inf"
    assert "two different numbers" in ends.problem
    ends.ends[0].value = "0.5"
    assert (ends.problem, ends.value) == ("", [0.5, 2.0])


def test_a_range_may_be_read_in_other_numbers():
    ends = controls.Range("contrast")
    ends.value = [0.1, 10.0]
    ends.read_as(lambda v: -v, lambda v: -v)
    assert [box.value for box in ends.ends] == ["-10", "-0.1"]
    ends.ends[0].value = "-5"
    assert ends.value == [0.1, 5.0]


def test_the_toolbar_undoes_and_shows_the_code():
    before = set(ipywidgets.widgets.widget._instances)
    view = Bare()
    bar = view.toolbar
    assert bar.undo.disabled
    assert bar.redo.disabled
    view.state.modes = 8
    assert not bar.undo.disabled
    bar.code.value = True
    assert (bar.shown.value, bar.shown.layout.display) == ("klip(8)", "flex")
    bar.undo.click()
    assert (bar.shown.value, view.state.modes) == ("klip(1)", 1)
    assert bar.undo.disabled
    bar.redo.click()
    assert view.state.modes == 8
    view.close()
    assert set(ipywidgets.widgets.widget._instances) <= before
