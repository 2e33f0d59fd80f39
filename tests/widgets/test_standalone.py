"""The page without a kernel: what stands in the file. What it does in a browser is in tests/browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import numpy as np
import pytest

from corontools.display.ticks import linear_ticks, log_ticks
from corontools.errors import DataError
from corontools_widgets import standalone
from corontools_widgets.standalone import CurveFamily, CurveSet, Quantity, Trend, page

EVIL = '</script><img src=x onerror="alert(1)">\'<!-- & \u2028'
X = np.array([0.5, 1.0, 2.0])
Y = np.array([[1e-3, 1e-4, 1e-5], [np.nan, 8e-5, np.inf]])


class Tags(HTMLParser):
    """Elements, attributes and texts of a page, as a browser's parser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, str] = {}
        self.open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.open = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        self.words[self.open] = self.words.get(self.open, "") + data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def curves_page(**changes: object) -> str:
    family = CurveFamily(X, Y, title="limit", names=["1", "2"])
    return page("AU Mic", **{"pane": None, "curves": [family], **changes})  # type: ignore[arg-type]


def data_of(text: str) -> dict:
    return json.loads(Tags(text).words["ct-data"])


def test_numbers_that_are_not_finite_are_gaps():
    (curve,) = data_of(curves_page())["curves"]
    assert curve["y"] == [[1e-3, 1e-4, 1e-5], [None, 8e-5, None]]
    assert curve["x"] == [0.5, 1.0, 2.0]


def test_each_curve_may_have_its_own_separations():
    family = CurveFamily([X, X + 1], Y, up=Quantity("limit", "mag", log=False))
    spec = family.spec()
    assert spec["x"][1] == [1.5, 2.0, 3.0]
    assert (spec["y_label"], spec["log_y"]) == ("limit (mag)", False)


def test_curves_that_do_not_match_their_separations_are_refused():
    with pytest.raises(DataError, match=r"\(2, 3\) or \(3,\).*\(4,\)"):
        CurveFamily(np.arange(4), Y).spec()
    with pytest.raises(DataError, match="'b' should have 2 values"):
        Trend([1, 2], {"b": [1.0]}).spec()
    with pytest.raises(DataError, match="one finite number a frame"):
        Trend([1, np.nan], {"b": [1.0, 2.0]}).spec()


def test_curves_that_are_not_as_many_as_the_frames_are_refused():
    pane = {"state": {"frame": 0, "names": ["1", "2", "3"]}, "buffers": {}, "frames": ["", "", ""]}
    fixed = CurveSet({"published": (X, X)})
    assert data_of(page("t", pane=pane, curves=[fixed]))["image"]
    for panel in (CurveFamily(X, Y, title="limit"), Trend([1, 2], {"b": [1, 2]}, title="limit")):
        with pytest.raises(DataError, match="'limit' should hold one entry for each of 3 frames, found 2"):
            page("t", pane=pane, curves=[panel])


def test_frames_travel_in_base_85_that_ends_no_script():
    content = bytes(range(256)) * 5
    chunk = base64.b64encode(content).decode()
    pane = {"state": {"frame": 0, "names": ["1"]}, "buffers": {"_first": chunk}, "frames": [chunk]}
    text = page("t", pane=pane)
    shown = data_of(text)["pane"]
    assert shown["frames"] == [shown["buffers"]["_first"]]
    assert base64.b85decode(shown["frames"][0].translate(str.maketrans(",.:", "<>&"))) == content


def test_words_of_any_header_stay_text():
    family = CurveFamily(X, Y, title=EVIL, up=Quantity(EVIL, EVIL, log=True), names=[EVIL, EVIL])
    trend = Trend([1, 2], {EVIL: [1, 2]}, title=EVIL, hint=EVIL)
    words = {"text": EVIL, "code": EVIL, "chain": [EVIL]}
    clean = Tags(
        page("t", pane=None, curves=[CurveFamily(X, Y), Trend([1, 2], {"b": [1, 2]})], **dict.fromkeys(words, "w"))
    )
    tags = Tags(page(EVIL, pane=None, curves=[family, trend], **words))
    assert [tag for tag, _ in tags.found] == [tag for tag, _ in clean.found]
    assert tags.words["title"] == tags.words["h1"] == EVIL
    assert tags.words["ct-code-text"] == EVIL
    assert json.loads(tags.words["ct-data"])["curves"][0]["title"] == EVIL


def test_control_characters_of_a_header_become_visible():
    assert data_of(curves_page(code="a\x1b[31m"))["code"] == ["a\ufffd[31m"]


def test_only_the_scripts_of_the_page_may_run_and_nothing_is_loaded():
    text = curves_page()
    (policy,) = [str(m["content"]) for m in Tags(text).attributes("meta") if m.get("http-equiv")]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'")
    assert not [a for _, a in Tags(text).found for name in ("src", "href") if a.get(name)]
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)


def test_text_and_code_may_follow_the_frame():
    text = curves_page(text=["one mode", "two modes"], code=["klip.at(1)", "klip.at(2)"])
    data = data_of(text)
    assert data["words"] == ["one mode", "two modes"]
    assert data["code"] == ["klip.at(1)", "klip.at(2)"]
    assert Tags(text).words["ct-words"] == "one mode"


def test_paragraphs_and_calls_can_be_read_without_javascript():
    text = curves_page(text="First.\n\nSecond.", chain=["stack", ".klip(5)"])
    assert "<p>First.</p><p>Second.</p>" in text
    assert "stack\n.klip(5)" in html.unescape(text)


def test_a_page_of_few_words_holds_no_empty_parts():
    tags = Tags(page("AU Mic", pane=None))
    assert not tags.attributes("h2")
    assert not tags.attributes("details")


@pytest.fixture(scope="module")
def node() -> Iterator[Callable[[str], Any]]:
    """Function that gives the value of a JavaScript expression in which `m` is the module of the ticks."""
    runner = shutil.which("node")
    if runner is None:
        pytest.skip("no node on the path")
    module = resources.files(standalone.__package__).joinpath("ticks.js").read_bytes()
    uri = "data:text/javascript;base64," + base64.b64encode(module).decode()
    program = f"""
        import {{ createInterface }} from "node:readline";
        import * as m from "{uri}";
        for await (const line of createInterface(process.stdin)) console.log(JSON.stringify(eval(line)));
    """
    command = [runner, "--input-type=module", "--eval", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def value(source: str) -> Any:
            print(source, file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield value


def ranges(log: bool) -> list[tuple[float, float, int]]:
    rng = np.random.default_rng(5)
    low = 10 ** rng.uniform(-12, 6, 200) * (1 if log else rng.choice([-1, 1], 200))
    width = np.abs(low) * 10 ** rng.uniform(-2, 4, 200)
    return [(float(a), float(a + w), int(n)) for a, w, n in zip(low, width, rng.integers(2, 14, 200), strict=True)]


@pytest.mark.parametrize("log", [False, True])
def test_ticks_are_those_of_the_static_figures(node, log):
    asked = ranges(log)
    python = [(log_ticks if log else linear_ticks)(*ask) for ask in asked]
    found = node(f"{json.dumps(asked)}.map((a) => m.{'logTicks' if log else 'linearTicks'}(...a))")
    for ask, ours, theirs in zip(asked, python, found, strict=True):
        assert theirs["labels"] == list(ours.labels), ask
        assert theirs["major"] == pytest.approx(ours.major, rel=1e-9, abs=1e-300), ask
        assert theirs["factor"] == ours.factor, ask
        assert len(theirs["minor"]) == pytest.approx(len(ours.minor), abs=0), ask


def test_numbers_of_modes_have_whole_ticks(node):
    ticks = node("m.linearTicks(0.9, 3.1, 8, true)")
    assert ticks["labels"] == ["1", "2", "3"]
    assert ticks["minor"] == []


def test_numbers_in_the_read_out_keep_their_width(node):
    written = node("[0.5, -2e-6, 123456, 0, 12345678, null].map((v) => m.raised(m.number(v, 3)))")
    assert written == ["0.500", "−2.00×10⁻⁶", "1.23×10⁵", "0.00", "1.23×10⁷", "—"]
    assert math.isclose(node("m.tickStep(0, 33, 5)[1]"), 1)
