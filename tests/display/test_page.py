import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from corontools.display import Picture, Section, Series, Table, figure
from corontools.display.page import page
from corontools.errors import DataError

SVG = figure.curves([Series([1, 2], [1e-4, 1e-5], label="5 sigma")], log_y=True, title="Contrast")
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Checks that elements are closed in order; collects them and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words, self.names = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.names += [name for name, _ in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.names += [name for name, _ in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_a_page_holds_all_that_was_given():
    table = Table(["sep", "contrast"], [["0.5", "1e-4"], ["1.0", "2e-5"]])
    section = Section(
        "Contrast", "One.\n\nTwo.", [SVG, Picture("data:image/png;base64,AA==", "residual")], table, "f()", "note"
    )
    reader = Reader(page("AU Mic", [section], summary_rows=[("filter", "F444W")]))
    for word in ("AU Mic", "F444W", "Contrast", "One.", "Two.", "residual", "0.5", "2e-5", "f()", "note"):
        assert word in reader.words
    assert reader.tags.count("p") == 3
    assert "svg" in reader.tags


def test_hostile_words_run_nothing(hostile):
    section = Section(
        hostile,
        f"{hostile}\n\n{hostile}",
        [Picture(hostile, hostile, hostile), figure.curves([Series([1], [1], label=hostile)], title=hostile)],
        Table([hostile], [[hostile]]),
        hostile,
        hostile,
    )
    text = page(hostile, [section] * 5, summary_rows=[(hostile, hostile)])
    reader = Reader(text)
    assert "script" not in reader.tags
    assert "b" not in reader.tags
    assert reader.tags.count("img") == 5
    assert not any(name.startswith("on") for name in reader.names)
    text.encode("utf-8")


def test_a_page_asks_no_network_and_forbids_scripts():
    text = page("AU Mic", [Section("A", figures=[SVG])])
    assert "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in text
    assert text.index("Content-Security-Policy") < text.index("<title>")
    addresses = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s>]+)', text)
    assert all(a.startswith(("data:", "#")) for a in addresses)
    assert set(re.findall(r"https?://[^\"' )]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in text


def test_light_and_dark_themes_and_print_are_styled():
    text = page("AU Mic", [])
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_columns_of_numbers_are_aligned_to_the_right():
    rows = [["HD 1", "1.5", "−2e-5 ± 1e-6"], ["HD 2", "nan", "3e-5"]]
    text = page("T", [Section("S", table=Table(["name", "sep", "contrast"], rows))])
    assert re.findall(r'<th scope="col"( class="number")?>', text) == ["", ' class="number"', ' class="number"']
    assert text.count('<td class="number">') == 4


def test_many_sections_get_contents_that_lead_to_them():
    text = page("T", [Section(f"Part {k}") for k in range(5)])
    targets = re.findall(r'href="#(\w+)"', text)
    assert len(targets) == 5
    assert all(f'id="{target}"' in text for target in targets)


def test_what_is_no_figure_is_refused():
    with pytest.raises(DataError, match="SVG text or a Picture"):
        page("T", [Section("S", figures=["<script>alert(1)</script>"])])


def test_a_table_with_a_short_row_is_refused():
    with pytest.raises(DataError, match="has 1 cells, the header has 2"):
        page("T", [Section("S", table=Table(["a", "b"], [["1"]]))])


def test_display_is_light_to_import():
    code = (
        "import sys, corontools.display; "
        "heavy = {'matplotlib', 'PIL', 'scipy', 'astropy', 'numba', 'ipywidgets', 'photutils'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
