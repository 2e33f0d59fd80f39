"""The report: complete, self-contained, and safe whatever a header says."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from corontools import Association, coron3
from corontools.coron.report import report
from corontools.coron.report.steps import mode_counts, numeral
from corontools.simulate import tiny

HOSTILE = '</script><img src=x onerror="alert(1)">&amp;'
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Elements with their attributes, checked to be closed in order; the words of headings and cells."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.headings, self.rows, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "h2":
            self.headings.append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings[-1] += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def cells(self, first):
        """The rows whose first cell is this."""
        return [row for row in self.rows if row[0] == first]


def is_self_contained(text):
    """Whether nothing is loaded, run or linked to outside the page, and the policy says so."""
    page = Page(text)
    policy = [a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert not {"script", "iframe", "object", "link", "base", "form"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith(("data:", "#s"))
    bare = re.sub(r"data:[a-z/+]+;base64,[A-Za-z0-9+/=]*", "", text).replace('xmlns="http://www.w3.org/2000/svg"', "")
    return not re.search("https?:|url\\(|@import", bare.replace("http-equiv", ""))


@pytest.fixture(scope="module")
def simulation():
    return tiny()


@pytest.fixture(scope="module")
def result(simulation, tmp_path_factory):
    return coron3(simulation.write(tmp_path_factory.mktemp("tiny")), klip={"modes": 8})


@pytest.fixture(scope="module")
def known(simulation, result):
    peak = simulation.truth.flux * simulation.psf().max()
    return Page(report(result, truth=simulation.truth, star_flux=peak))


def test_every_step_has_its_section(known):
    steps = ["References", "Alignment", "Subtraction", "Combined image", "Companions", "Contrast", "Products"]
    assert known.headings == [*steps, "How it was made"]
    captions = [a["alt"] for t, a in known.elements if t == "img"]
    assert captions == ["images of 0 G 80-21; 2 G 80-21; 4 G 80-21; 5 G 80-21; 7 G 80-21; 9 G 80-21"]
    # mean; two shifts, weight, not moved, moved; science, four residuals, curve; two images and S/N each; contrast
    outer = [a for t, a in known.elements if t == "svg" and a.get("role") == "img"]
    assert len(outer) == 1 + 5 + 6 + 4 + 1


def test_the_summary_tells_what_was_observed(known):
    assert known.cells("target") == [["target", "V* AU Mic"]]
    assert known.cells("instrument") == [["instrument", "JWST NIRCAM F444W MASKA335R"]]
    assert known.cells("science") == [["science", "2 exposures, 4 integrations"]]
    assert known.cells("references") == [["references", "10 images: G 80-21 \u00d710"]]
    assert known.cells("modes") == [["modes", "8"]]


def test_the_planted_companion_is_in_the_table_and_found(simulation, known):
    (row,) = known.cells("b")
    planted = simulation.truth.companions[0]
    assert [float(v) for v in row[1:4]] == [planted.sep, planted.pa, planted.contrast]
    assert float(row[6]) < 1.0
    assert float(row[7]) > 5.0


def test_shifts_are_tabled_for_each_exposure_and_star(result, known):
    table = [row for row in known.rows if len(row) == 9 and row[0] == "G 80-21"]
    assert [row[1] for row in table] == ["1", "2"]
    assert [row[2] for row in table] == ["20", "20"]
    flagged = sum(int((klip.aligned.quality != 0).sum()) for klip in result.klips)
    assert sum(int(row[-1]) for row in table) == flagged


def test_products_and_the_chain_are_written_out(result, known):
    words = "".join(known.words)
    assert all(name in words for name in result.products())
    assert result.code in words
    assert all(line in words for klip in result.klips for line in klip.history)


def test_the_page_needs_nothing_else(simulation, result):
    assert is_self_contained(report(result, truth=simulation.truth))


def test_axes_tell_what_is_plotted(simulation, result, known):
    assert "flux / peak of the star off the mask" in known.words
    plain = Page(report(result))
    assert "noise, limit (MJy/sr)" in plain.words
    assert "Companions" not in plain.headings
    assert not plain.cells("b")


def test_a_reduction_without_optional_steps_is_reported(simulation, result):
    skipped = {"reject_outliers": False, "align_to": False, "contrast": False, "combine": False}
    bare = Page(report(coron3(result.asn, klip={"modes": 1}, **skipped), truth=simulation.truth))
    assert "Combined image" not in bare.headings
    assert "Skipped: the references were taken as they are." in bare.words


def test_names_from_a_header_stay_text(tmp_path, speckles, write_calints, write_asn):
    names = [f"jw{i}_nrcalong_calints.fits" for i in range(3)]
    for i, name in enumerate(names):
        write_calints(tmp_path / name, speckles(3, seed=i), target=HOSTILE, unit="<b>&", primary={"CORONMSK": HOSTILE})
    asn = Association.read(write_asn(tmp_path / "asn.json", names[:1], names[1:]))
    text = report(coron3(asn, klip={"modes": 2}))
    assert is_self_contained(text)
    assert Page(text).cells("target") == [["target", HOSTILE]]


def test_images_without_wcs_error_or_scale_are_reported(tmp_path, speckles, write_asn):
    from astropy.io import fits

    for i in range(3):
        fits.PrimaryHDU(speckles(2, seed=i)).writeto(tmp_path / f"frames{i}.fits")
    asn = Association.read(write_asn(tmp_path / "asn.json", ["frames0.fits"], ["frames1.fits", "frames2.fits"]))
    page = Page(report(coron3(asn, klip={"modes": 2}, combine=False)))
    assert "separation (px)" in page.words
    assert "noise, limit" in page.words


def test_mode_counts_are_few_increase_and_end_with_the_chosen_one():
    for modes in (1, 2, 5, 50, 300):
        counts = mode_counts(modes)
        assert counts[0] == 1
        assert counts[-1] == modes
        assert counts == sorted(set(counts))
        assert len(counts) <= 4


def test_numbers_in_tables_have_a_true_minus_and_no_negative_zero():
    assert [numeral(v, ".3f") for v in (-0.25, -0.0002, float("nan"))] == ["\u22120.250", "0.000", "\u2014"]


@pytest.mark.real
def test_real_exposures_are_reported_without_truth(aumic):
    text = report(coron3(aumic, klip={"modes": 6}))
    assert is_self_contained(text)
    page = Page(text)
    assert page.cells("references") == [["references", "6 images: G 80-21 \u00d72, G-7-34 \u00d72, G 161-71 \u00d72"]]
    assert page.headings[3:5] == ["Combined image", "Contrast"]
