import ipywidgets
import numpy as np
import pytest

from corontools import DataError
from corontools_widgets.explore import explore
from corontools_widgets.state import ViewState
from corontools_widgets.view import View, close_widget


class Picture:
    """A result that a view may have."""

    history = ("picture()",)
    code = "picture()"

    def __repr__(self):
        return "a <picture>"

    def _repr_html_(self):
        return "<p>a &lt;picture&gt;</p>"


class Album(View):
    def __init__(self):
        super().__init__(ViewState())
        self.slider = ipywidgets.IntSlider(max=20)
        self.seen = []
        self.watch(lambda change: self.seen.append(change["new"]), "modes")
        self.link("modes", self.slider)
        self.show_as(ipywidgets.VBox([self.slider, ipywidgets.HBox([ipywidgets.HTML("x"), ipywidgets.Button()])]))

    @property
    def result(self):
        return Picture()

    def writers(self):
        return {".txt": lambda path: path.write_text("words"), ".bad": self._fail}

    def browser_writers(self):
        return {".png": self.ask}

    def ask(self, callback):
        self.answer = callback

    def _fail(self, path):
        path.write_text("half")
        raise DataError("no")


def models():
    return set(ipywidgets.widgets.widget._instances)


@pytest.fixture
def view():
    before = models()
    view = Album()
    yield view
    view.close()
    assert models() <= before


def test_widget_and_state_follow_each_other(view):
    view.slider.value = 7
    assert view.state.modes == 7
    view.state.undo()
    assert view.slider.value == view.state.modes == 1
    assert view.seen == [7, 1]


def test_after_the_end_nothing_is_left_and_nothing_follows():
    before = models()
    view = Album()
    assert len(models() - before) > 8  # layouts and styles are models too
    slider, state = view.slider, view.state
    view.close()
    view.close()
    assert models() <= before
    slider.value = 3
    state.modes = 9
    assert (state.modes, slider.value, view.seen) == (9, 3, [])
    assert repr(view) == "Album, closed"
    assert view._repr_mimebundle_() == {"text/plain": "Album, closed"}
    with pytest.raises(DataError, match="was closed"):
        view.widget


def test_the_bundle_has_the_widget_and_the_card(view):
    bundle = view._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == view.widget.model_id
    assert bundle["text/html"] == "<p>a &lt;picture&gt;</p>"
    assert bundle["text/plain"] == "a <picture>"


def test_files_are_written_whole_or_not_at_all(view, tmp_path):
    path = view.save(tmp_path / "a.txt")
    assert path.read_text() == "words"
    with pytest.raises(FileExistsError):
        view.save(path)
    with pytest.raises(DataError, match="no"):
        view.save(tmp_path / "a.bad")
    with pytest.raises(DataError, match=r"'a.doc' can't be written: a Album writes .txt, .bad, .png"):
        view.save(tmp_path / "a.doc")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_picture_is_written_when_the_browser_answers(view, tmp_path):
    path = view.save(tmp_path / "a.png")
    assert not path.exists()
    view.answer(b"picture")
    assert path.read_bytes() == b"picture"
    with pytest.raises(FileExistsError):
        view.save(path)
    with pytest.raises(DataError, match="does not exist"):
        view.save(tmp_path / "nowhere" / "a.png")


def test_a_widget_that_is_shared_is_closed_once():
    before = models()
    shared = ipywidgets.Layout(width="10px")
    close_widget(ipywidgets.HBox([ipywidgets.HTML(layout=shared), ipywidgets.HTML(layout=shared)]))
    assert models() <= before


def test_what_has_no_view_says_so():
    with pytest.raises(DataError, match="no view for a ndarray"):
        explore(np.zeros(3))
    with pytest.raises(DataError, match="no view for a int"):
        explore(3)
