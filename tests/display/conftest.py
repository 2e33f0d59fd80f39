"""An SVG reader of its own: where the words of a figure are, and whether they stay on the page."""

import re
import xml.etree.ElementTree as ET

import pytest

SVG = "{http://www.w3.org/2000/svg}"
# Widths in Helvetica and DejaVu Sans lie between 0.22 and 1.0 of the font size; digits and most lower-case
# letters are below 0.64.
SLIM = set("ijlI.,:;'|!tfr()[]/- ′″")
BROAD = set("mwMWOQGD@%…")


def width_of(text, size):
    return size * sum(0.3 if c in SLIM else 0.98 if c in BROAD else 0.63 for c in text)


def words_of(root):
    """(text, left, top, right, bottom) of every text element; superscripts count as full characters."""
    for node in root.iter(f"{SVG}text"):
        text, size = "".join(node.itertext()), float(node.get("font-size"))
        superscripts = sum(len(t.text) for t in node.iter(f"{SVG}tspan") if float(t.get("font-size", size)) < size)
        width = width_of(text, size) - 0.25 * 0.6 * size * superscripts
        x, y = float(node.get("x")), float(node.get("y"))
        start = {None: 0.0, "middle": -width / 2, "end": -width}[node.get("text-anchor")]
        if re.match(r"rotate\(-90 ", node.get("transform", "")):
            yield text, x - 0.8 * size, y - start - width, x + 0.2 * size, y - start
        else:
            yield text, x + start, y - 0.8 * size, x + start + width, y + 0.2 * size


@pytest.fixture
def read_svg():
    """Parse an SVG and check that no word leaves its viewBox; gives the root and the words."""

    def read(svg):
        root = ET.fromstring(svg)
        _, _, width, height = map(float, root.get("viewBox").split())
        words = list(words_of(root))
        for text, left, top, right, bottom in words:
            inside = left >= -0.5 and top >= -0.5 and right <= width + 0.5 and bottom <= height + 0.5
            assert inside, f"{text!r} at {left:.0f} {top:.0f} {right:.0f} {bottom:.0f} leaves {width:g} x {height:g}"
        numbers = [v for node in root.iter() for k, v in node.items() if k in ("d", "x", "y", "transform")]
        assert not any(re.search("nan|inf", v) for v in numbers)
        return root, [word[0] for word in words]

    return read


@pytest.fixture
def hostile():
    """What a FITS header may hold to attack the page that shows it."""
    return """</script><img src=x onerror="alert(1)">'"><svg onload=alert(2)>&amp;]]>--><b>\x1b[31m\x00\ud800"""
