"""Bad input gets a clear error, an interrupted run leaves nothing half-done, and inputs stay as they are."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from astropy.io import fits as astrofits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from corontools import fits
from corontools.association import Association
from corontools.coron import Coron3, KlipResult, PSFStack, Zones, coron3
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta
from corontools.result import Result

QUICK = {"align_to": False, "klip": {"modes": 2}}


def named(data, name="a.fits", **meta) -> Exposure:
    return Exposure(data, meta=Meta(filename=name, unit="MJy/sr").with_(**meta))


@pytest.fixture
def pair(speckles):
    """References and science images in memory, each with a name."""
    return named(speckles(4, seed=2), "ref.fits"), named(speckles(2, seed=3), "sci.fits")


def stacked(reference: Exposure) -> PSFStack:
    return PSFStack.from_exposures([reference])


# --- exposures that don't fit together


def test_no_reference_is_refused():
    with pytest.raises(DataError, match="no reference exposure to stack; give at least one"):
        PSFStack.from_exposures([])


@pytest.mark.parametrize("kind", ["shape", "unit"])
def test_references_that_differ_are_refused_with_both_names_and_both_values(pair, kind):
    reference = pair[0]
    if kind == "shape":
        other, values = named(reference.data[:, :-1], "other.fits"), (r"\(32, 32\)", r"\(31, 32\)")
    else:
        other, values = reference.with_(meta=reference.meta.with_(filename="other.fits", unit="")), ("MJy/sr", "none")
    with pytest.raises(DataError, match=rf"{kind} differs: ref\.fits has {values[0]}, other\.fits has {values[1]}"):
        PSFStack.from_exposures([reference, other])


@pytest.mark.parametrize("kind", ["shape", "unit"])
def test_science_and_references_that_differ_are_refused_with_both_names(pair, kind):
    reference, science = pair
    changed = (
        science.with_(data=science.data[..., 1:]) if kind == "shape" else named(science.data, "sci.fits", unit="DN")
    )
    with pytest.raises(DataError, match=rf"{kind} differs: sci\.fits has .*, ref\.fits has .*"):
        stacked(reference).align_to(changed)
    with pytest.raises(DataError, match=rf"{kind} differs: sci\.fits has .*, ref\.fits has .*"):
        stacked(reference).correlation(changed)


@pytest.mark.parametrize("to", ["each", "first", "mean", "none"])
def test_a_science_image_without_good_pixel_is_refused_by_file_and_index(pair, to):
    reference, science = pair
    data = science.data.copy()
    data[1] = np.nan
    with pytest.raises(DataError, match=r"sci\.fits: integration\(s\) \[1\] have no good pixel; drop them with Exp"):
        stacked(reference).align_to(science.with_(data=data), to=to)
    flagged = science.with_(dq=np.full(science.shape, DQ.DO_NOT_USE))
    with pytest.raises(DataError, match=r"integration\(s\) \[0, 1\] have no good pixel"):
        stacked(reference).align_to(flagged, to=to)


@pytest.mark.parametrize("to", ["each", "first", "mean", "none"])
def test_a_reference_without_good_pixel_is_refused(pair, to):
    reference, science = pair
    data = reference.data.copy()
    data[2] = np.nan
    with pytest.raises(DataError, match=r"reference 2 |\[2\]"):
        stacked(reference.with_(data=data)).repair().align_to(science, to=to).klip(2)


def test_an_unknown_way_to_align_is_refused_with_the_known_ones(pair):
    with pytest.raises(DataError, match="can be aligned to each, first, mean, none; found 'last'"):
        stacked(pair[0]).align_to(pair[1], to="last")


@pytest.mark.parametrize(
    ("mask", "message"),
    [(np.ones((5, 5)), r"the mask has shape \(5, 5\), the images have \(32, 32\)"),
     (np.zeros((32, 32)), "weights from 0 to 1"), (-np.ones((32, 32)), "weights from 0 to 1")],
)  # fmt: skip
def test_a_mask_that_cannot_weigh_is_refused(pair, mask, message):
    with pytest.raises(DataError, match=message):
        stacked(pair[0]).align_to(pair[1], mask=mask)


def test_a_mask_without_a_known_weight_is_refused_without_a_warning(pair):
    with pytest.raises(DataError, match="weights from 0 to 1"):
        stacked(pair[0]).align_to(pair[1], mask=np.full((32, 32), np.nan))


# --- zones, modes, curves


@pytest.mark.parametrize(
    ("zones", "message"),
    [("half", "zones should be 'shared', 'full' or Zones, found 'half'"),
     (Zones.annuli([100, 200]), "holds no pixel of the 32 x 32 px image; move its edges"),
     (Zones.from_labels(np.ones((5, 5), int)), r"zone labels have shape \(5, 5\), the images have \(32, 32\)")],
)  # fmt: skip
def test_zones_that_do_not_fit_are_refused(pair, zones, message):
    with pytest.raises(DataError, match=message):
        stacked(pair[0]).align_to(pair[1], to="none").klip(2, zones=zones)


def test_a_zone_without_good_science_pixel_is_refused_by_integration(pair):
    reference, science = pair
    data = science.data.copy()
    data[1, :16] = np.nan
    labels = np.where(np.arange(32)[:, None] < 16, 1, 2) * np.ones((1, 32), int)
    aligned = stacked(reference).align_to(science.with_(data=data), to="none")
    with pytest.raises(
        DataError, match=r"integration\(s\) \[1\] have no good pixel in a zone of 512 px; move the zone"
    ):
        aligned.klip(2, zones=Zones.from_labels(labels))


def test_a_zone_without_good_reference_pixel_is_refused(pair):
    reference, science = pair
    data = reference.data.copy()
    data[:, :16] = np.nan
    labels = np.where(np.arange(32)[:, None] < 16, 1, 2) * np.ones((1, 32), int)
    aligned = stacked(reference.with_(data=data)).align_to(science, to="none")
    with pytest.raises(DataError, match="zone"):
        aligned.klip(2, zones=Zones.from_labels(labels))


def test_science_and_references_without_common_pixel_are_refused(pair):
    reference, science = (e.data.copy() for e in pair)
    reference[..., :16], science[..., 16:] = np.nan, np.nan
    with pytest.raises(DataError, match=r"no good pixel"):
        stacked(named(reference)).align_to(named(science), to="none").klip(2)


@pytest.mark.parametrize("modes", [-1, 1.5])
def test_a_number_of_modes_that_is_none_is_refused(pair, modes):
    aligned = stacked(pair[0]).align_to(pair[1], to="none")
    with pytest.raises(DataError, match="the number of modes should be 0 or more"):
        aligned.klip(modes)
    with pytest.raises(DataError, match="the number of modes should be 0 or more"):
        aligned.klip(2).at(modes)


def test_more_modes_than_references_are_told_and_cut(pair):
    aligned = stacked(pair[0]).align_to(pair[1], to="none")
    with pytest.warns(UserWarning, match="9 modes asked for, but there are 4"):
        assert aligned.klip(9).modes == 4


@pytest.mark.parametrize("edges", [[], [3], [3, 3], [5, 2], [-1, 4]])
def test_edges_that_do_not_increase_are_refused(edges):
    with pytest.raises(DataError, match=r"zone edges should increase from 0 or more, found .* e\.g\."):
        Zones.annuli(edges)


def test_an_edge_that_is_nan_is_refused():
    with pytest.raises(DataError, match="zone edges should increase"):
        Zones.annuli([0, np.nan, 5])


def test_a_limit_without_width_level_or_flux_is_refused(pair):
    curve = stacked(pair[0]).align_to(pair[1], to="none").klip(2).contrast()
    with pytest.raises(DataError, match=r"the width of the PSF isn't known .* give sigma\(level, fwhm=<px>\)"):
        curve.sigma(5)
    for level in (0, -1, np.nan):
        with pytest.raises(DataError, match="a positive number of sigma"):
            curve.sigma(level, fwhm=3)
    for flux in (0, -1, np.nan):
        with pytest.raises(DataError, match="should be positive"):
            curve.normalize(flux)


def test_a_curve_around_nothing_is_refused(pair):
    klip = stacked(pair[0]).align_to(pair[1], to="none").klip(2)
    for keywords in ({"width": 0}, {"width": -1}, {"center": (500.0, 3.0)}, {"center": "here"}):
        with pytest.raises(DataError):
            klip.contrast(**keywords)


def test_an_image_without_wcs_cannot_be_combined(pair):
    with pytest.raises(DataError, match=r"sci\.fits has no WCS, so north isn't known; give one with"):
        stacked(pair[0]).align_to(pair[1], to="none").klip(2).combine()


def test_a_selection_of_nothing_is_refused_with_the_stars(pair):
    stack = PSFStack.from_exposures([pair[0].with_(meta=pair[0].meta.with_(target="Vega"))])
    with pytest.raises(DataError, match=r"no reference left of 4 \(stars: Vega\)"):
        stack.select(target="Sirius")
    with pytest.raises(DataError, match="no reference left"):
        stack.select(np.zeros(4, bool))


@pytest.mark.parametrize("suffix", [".txt", "", ".fits.gz"])
def test_a_curve_is_not_written_under_an_unknown_suffix(pair, tmp_path, suffix):
    curve = stacked(pair[0]).align_to(pair[1], to="none").klip(2).contrast()
    with pytest.raises(DataError, match=r"written as \.fits, \.ecsv or \.csv"):
        curve.save(tmp_path / f"curve{suffix}")
    assert os.listdir(tmp_path) == []


# --- a run on files


@pytest.fixture
def copy(tiny_asn, tmp_path) -> Path:
    """A copy of the small association that a test may damage."""
    shutil.copytree(tiny_asn.parent, tmp_path / "in")
    return tmp_path / "in" / tiny_asn.name


def inputs(asn: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(asn.parent.iterdir())}


def members(asn: Path) -> list[Path]:
    return sorted(asn.parent.glob("*_calints.fits"))


def test_a_whole_run_leaves_its_inputs_as_they_were(copy, tmp_path):
    before = inputs(copy)
    times = {p.name: p.stat().st_mtime_ns for p in copy.parent.iterdir()}
    coron3(copy, **QUICK).save(tmp_path / "out")
    assert inputs(copy) == before
    assert {p.name: p.stat().st_mtime_ns for p in copy.parent.iterdir()} == times


def test_products_may_go_beside_their_inputs(copy):
    before = inputs(copy)
    paths = coron3(copy, **QUICK).save(copy.parent)
    assert {name: value for name, value in inputs(copy).items() if name in before} == before
    assert not {path.name for path in paths} & set(before)


@pytest.mark.parametrize("which", [0, -1])
def test_a_cut_member_is_refused_by_name(copy, which):
    path = members(copy)[which]
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(DataError, match=rf"{path.name} is cut short"):
        coron3(copy, **QUICK)


def test_a_member_without_image_is_refused_by_name(copy):
    path = members(copy)[0]
    astrofits.PrimaryHDU().writeto(path, overwrite=True)
    with pytest.raises(DataError, match=rf"{path.name}: no image \(SCI extension\)"):
        coron3(copy, **QUICK)


@pytest.mark.parametrize("change", ["shape", "unit"])
def test_a_member_unlike_the_others_is_refused_with_both_names(copy, write_calints, speckles, change):
    science, other = members(copy)[0], members(copy)[-1]
    other.unlink()
    data = speckles(2, (32, 31) if change == "shape" else (32, 32))
    write_calints(other, data, unit="DN/s" if change == "unit" else "MJy/sr")
    with pytest.raises(DataError, match=rf"{change} differs: .*has .*{other.name} has") as error:
        coron3(copy, **QUICK)
    assert science.name.split("_")[0][:7] in str(error.value)


def test_every_missing_member_is_named(copy):
    gone = [members(copy)[0], members(copy)[-1]]
    for path in gone:
        path.unlink()
    with pytest.raises(DataError, match=r"2 member\(s\) missing") as error:
        coron3(copy)
    assert all(path.name in str(error.value) for path in gone)


def test_members_whose_products_would_share_a_name_are_refused(copy):
    table = json.loads(copy.read_text())
    first = table["products"][0]["members"][0]
    table["products"][0]["members"].append({**first, "exptype": "psf"})
    copy.write_text(json.dumps(table))
    with pytest.raises(DataError, match="members share the name"):
        coron3(copy)


@pytest.mark.parametrize("name", ["../x", "/abs/x", "a\\b", "..", "", "a\0b", "a\nb"])
@pytest.mark.parametrize("key", ["product", "asn_id"])
def test_names_that_lead_out_of_the_folder_are_refused_before_anything_is_written(copy, name, key):
    table = json.loads(copy.read_text())
    (table["products"][0] if key == "product" else table)["name" if key == "product" else "asn_id"] = name
    copy.write_text(json.dumps(table))
    before = inputs(copy)
    with pytest.raises(DataError, match="use a plain name without a folder"):
        coron3(copy)
    assert inputs(copy) == before


def test_members_from_elsewhere_write_into_the_output_folder_alone(copy, tmp_path):
    table = json.loads(copy.read_text())
    for member in table["products"][0]["members"]:
        member["expname"] = f"../in/{member['expname']}"
    (tmp_path / "asn").mkdir()
    path = tmp_path / "asn" / "asn.json"
    path.write_text(json.dumps(table))
    before = inputs(copy)
    written = coron3(path, **QUICK).save(tmp_path / "out")
    assert {p.parent for p in written} == {tmp_path / "out"}
    assert inputs(copy) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["asn", "in", "out"]


def test_a_name_in_a_header_is_no_path(copy, tmp_path):
    with astrofits.open(members(copy)[0], mode="update") as hdus:
        hdus[0].header["FILENAME"] = "../../evil_calints.fits"
    written = coron3(copy, **QUICK).save(tmp_path / "out")
    assert not [p for p in written if "evil" in p.name]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_klip_cannot_be_skipped(copy):
    with pytest.raises(DataError, match="klip can't be skipped"):
        coron3(copy, klip=False)


# --- the output folder


@pytest.fixture(scope="module")
def run(tiny_asn) -> Coron3:
    return coron3(tiny_asn, **QUICK)


def test_existing_products_are_kept_and_nothing_is_written(run, tmp_path):
    name = list(run.products())[3]
    (tmp_path / name).write_text("precious")
    with pytest.raises(FileExistsError, match=f"holds {name} already; choose another folder"):
        run.save(tmp_path)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_existing_products_are_replaced_when_told_so(run, tmp_path):
    name = list(run.products())[3]
    (tmp_path / name).write_text("old")
    assert len(run.save(tmp_path, overwrite=True)) == len(run.products())
    assert fits.read(tmp_path / name)


def test_a_file_in_place_of_the_folder_is_told(run, tmp_path):
    (tmp_path / "out").write_text("no folder")
    with pytest.raises(DataError, match="out is a file, not a folder"):
        run.save(tmp_path / "out")


@pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="no folder at hand that root can't write to")
def test_a_folder_that_cannot_be_made_is_told(run):
    with pytest.raises(DataError, match="out"):
        run.save("/proc/self/fdinfo/out")


RESULTS = {
    "stack": lambda run: run.stack, "aligned": lambda run: run.klips[0].aligned, "klip": lambda run: run.klips[0],
    "contrast": lambda run: run.klips[0].contrast(), "combined": lambda run: run.combined,
    "exposure": lambda run: run.science[0],
}  # fmt: skip


@pytest.mark.parametrize("what", RESULTS)
@pytest.mark.parametrize("there", [False, True])
def test_an_interrupt_in_the_middle_of_a_write_leaves_nothing(run, tmp_path, monkeypatch, what, there):
    path = tmp_path / "x.fits"
    if there:
        path.write_text("precious")

    def interrupted(part):
        assert part.stat().st_size > 0
        raise KeyboardInterrupt

    monkeypatch.setattr(fits, "_flush", interrupted)
    with pytest.raises(KeyboardInterrupt):
        RESULTS[what](run).save(path, overwrite=True)
    assert os.listdir(tmp_path) == (["x.fits"] if there else [])
    assert not there or path.read_text() == "precious"


@pytest.mark.parametrize("what", RESULTS)
def test_an_existing_file_is_kept_by_every_result(run, tmp_path, what):
    path = tmp_path / "x.fits"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"x\.fits exists and is kept"):
        RESULTS[what](run).save(path)
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["x.fits"]


def test_an_interrupted_alignment_leaves_nothing(tmp_path, monkeypatch, pair):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("corontools.coron.aligned.AlignedRefs.__getitem__", interrupted)
    aligned = stacked(pair[0]).align_to(pair[1], to="none")
    with pytest.raises(KeyboardInterrupt):
        aligned.save(tmp_path / "x.fits")
    assert os.listdir(tmp_path) == []


FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    from corontools import coron3

    run = coron3(sys.argv[1], align_to=False, klip={"modes": 2})
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    try:
        run.save(sys.argv[2])
    except OSError as error:
        print("OSError", error.errno)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="the system has no limit of file sizes")
@pytest.mark.parametrize("limit", [3000, 60000])
def test_a_disk_that_is_full_in_the_middle_of_a_run_leaves_nothing(tiny_asn, tmp_path, limit):
    script, out = textwrap.dedent(FULL_DISK), tmp_path / "out"
    command = [sys.executable, "-c", script, str(tiny_asn), str(out), str(limit)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.startswith("OSError")
    assert not out.exists()


# --- text from headers on a page

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, speckles, write_calints, write_asn):
    """Results of files whose headers hold markup."""
    folder = tmp_path_factory.mktemp("hostile")
    cards = {"FILTER": HOSTILE, "CORONMSK": HOSTILE, "INSTRUME": HOSTILE}
    for i, name in enumerate(("s_calints.fits", "r_calints.fits")):
        write_calints(folder / name, speckles(3, seed=i), target=HOSTILE, unit=HOSTILE, primary=cards)
    asn = Association.read(write_asn(folder / "asn.json", ["s_calints.fits"], ["r_calints.fits"]))
    run = coron3(asn, **QUICK)
    return {
        "exposure": asn.science[0], "association": asn, "run": run, **{name: get(run) for name, get in RESULTS.items()}
    }  # fmt: skip


@pytest.mark.parametrize("what", ["exposure", "association", "run", *(name for name in RESULTS if name != "exposure")])
def test_markup_in_a_header_is_text_on_every_card(hostile, what):
    html = hostile[what]._repr_html_()
    assert "<img src=x" not in html
    assert "<script" not in html
    assert "</script" not in html
    for picture in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html):
        ElementTree.fromstring(base64.b64decode(picture))
        assert b"<img" not in base64.b64decode(picture)
    if what not in ("association", "aligned"):  # which show no text of a header, or in a picture alone
        assert "&lt;img src=x onerror=alert(1)&gt;" in html


# --- whatever comes


@st.composite
def exposures(draw, shape: tuple[int, int], n_max: int, seed: int, scale: float = 1.0):
    """Images of one star with any kind of numbers, gaps and errors."""
    n, rng = draw(st.integers(1, n_max)), np.random.default_rng(seed)
    ny, nx = shape
    y, x = np.mgrid[:ny, :nx]
    data = rng.normal(20.0, 1.0, (n, ny, nx))
    for amplitude, x0, y0 in zip((80, 50, 40), (nx / 2, nx / 3, nx / 1.5), (ny / 2, ny / 1.5, ny / 3), strict=True):
        jitter = rng.normal(0, 0.2, (n, 1, 1))
        data += amplitude * scale * np.exp(-((x - x0 - jitter) ** 2 + (y - y0) ** 2) / 5)
    data = data.astype(draw(st.sampled_from(["f4", "f8", ">f4", ">f8", "i2", ">i4", "u2"])))
    gaps = draw(st.sampled_from(["none", "few", "half", "column", "pixel", "frame", "inf"]))
    where = {
        "none": np.zeros(data.shape, bool), "few": rng.random(data.shape) < 0.03, "half": rng.random(data.shape) < 0.5,
        "column": np.broadcast_to(x == nx // 2, data.shape), "pixel": np.broadcast_to((x == 1) & (y == 1), data.shape),
        "frame": np.broadcast_to(np.arange(n)[:, None, None] == n - 1, data.shape),
        "inf": rng.random(data.shape) < 0.01,
    }[gaps]  # fmt: skip
    if data.dtype.kind == "f":
        data[where] = np.inf if gaps == "inf" else np.nan
    err = {
        "none": None,
        "good": np.full(data.shape, 0.8, np.float32),
        "gaps": np.where(rng.random(data.shape) < 0.1, np.nan, 0.8),
    }[draw(st.sampled_from(["none", "good", "gaps"]))]
    dq = {
        "none": None,
        "some": np.where(rng.random(data.shape) < 0.05, 1, 0) | np.where(rng.random(data.shape) < 0.1, 2**31, 0),
    }[draw(st.sampled_from(["none", "some"]))]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [10.0, -5.0], [nx // 2 + 1, ny // 2 + 1]
    wcs.wcs.cdelt, wcs.wcs.pc = [-1.75e-5, 1.75e-5], [[0.8, -0.6], [0.6, 0.8]]
    return Exposure(data, err=err, dq=dq, meta=Meta(unit="MJy/sr", pixel_scale=0.063, filename="x.fits"), wcs=wcs)


def check_subtraction(klip: KlipResult) -> None:
    """What holds for every subtraction."""
    target, residual = klip.target, klip.residual
    assert residual.shape == residual.err.shape == klip.psf.shape == target.shape
    known = np.isfinite(residual.data)
    references = np.array([klip.aligned[i].good.any(axis=0) for i in range(target.n_int)])
    np.testing.assert_array_equal(known, target.good & (klip.zones > 0) & references)
    assert ((residual.dq & DQ.DO_NOT_USE) != 0)[~known].all()
    scale = np.nanmax(np.abs(target.data[target.good]))
    np.testing.assert_allclose((residual.data + klip.psf.data)[known], target.data[known], rtol=0, atol=1e-5 * scale)
    assert np.isnan(residual.err[~known]).all()
    assert not (residual.err[known] < 0).any()
    errors = (target.err, klip.aligned.stack.exposure.err)
    if all(err is not None and np.isfinite(err).all() for err in errors):
        assert np.isfinite(residual.err[known]).all()
    power = [np.nansum(np.square(klip.at(k).frames)) for k in range(klip.max_modes + 1)]
    assert all(later <= earlier * (1 + 1e-5) + 1e-6 * scale for earlier, later in pairwise(power))
    explained = klip.variance_explained
    assert explained.size == klip.max_modes + 1
    assert (np.diff(explained) >= -1e-9).all()
    assert explained.max() <= 1 + 1e-9


def check_combination(klip: KlipResult) -> None:
    combined = klip.combine()
    known = combined.count > 0
    np.testing.assert_array_equal(np.isfinite(combined.image.data), known)
    np.testing.assert_array_equal((combined.image.dq & DQ.DO_NOT_USE) == 0, known)
    assert known.any()
    assert combined.count.max() <= klip.target.n_int
    assert not (combined.image.err[known] < 0).any()


@pytest.mark.filterwarnings("ignore:.*modes asked for:UserWarning")
@pytest.mark.filterwarnings("ignore:no star light:UserWarning")
@pytest.mark.filterwarnings("ignore:.*could not be aligned well:UserWarning")
@given(data=st.data())
def test_any_exposures_give_a_subtraction_or_a_data_error(data):
    shape = data.draw(st.tuples(st.integers(3, 22), st.integers(3, 22)))
    reference = data.draw(exposures(shape, 5, 1, scale=0.5))
    science = data.draw(exposures(shape, 3, 2))
    before = [a.tobytes() for e in (reference, science) for a in (e.data, e.good)]
    to = data.draw(st.sampled_from(["none", "each", "first", "mean"]))
    zones = data.draw(st.sampled_from(["shared", "full", Zones.annuli([0, 4, 30], sectors=2)]))
    try:
        aligned = PSFStack.from_exposures([reference]).reject_outliers().repair().align_to(science, to=to)
        klip = aligned.klip(data.draw(st.integers(0, 6)), zones=zones)
        curve = klip.contrast().sigma(5, fwhm=2.5)
    except DataError as error:
        assert str(error)  # noqa: PT017 - to be refused is one of two right outcomes
    else:
        check_subtraction(klip)
        check_combination(klip)
        assert curve.limit.shape == curve.radius.shape == curve.count.shape
        assert np.isnan(curve.noise[curve.count == 0]).all()
        assert not (curve.noise < 0).any()
    assert [a.tobytes() for e in (reference, science) for a in (e.data, e.good)] == before


@pytest.mark.filterwarnings("ignore:no star light:UserWarning")
@pytest.mark.filterwarnings("ignore:.*could not be aligned well:UserWarning")
@given(data=st.data(), to=st.sampled_from(["none", "first"]))
def test_any_result_has_a_card(data, to):
    shape = data.draw(st.tuples(st.integers(8, 16), st.integers(8, 16)))
    reference = data.draw(exposures(shape, 4, 1, scale=0.5))
    science = data.draw(exposures(shape, 2, 2))
    if not science.cube.good.any(axis=(1, 2)).all() or not reference.cube.good.any(axis=(1, 2)).all():
        return
    stack = PSFStack.from_exposures([reference])
    aligned = stack.repair().align_to(science, to=to)
    results: list[Result] = [stack, aligned]
    if np.isfinite(aligned.shifts).all():
        klip = aligned.klip(1)
        results += [klip, klip.contrast(), klip.combine()]
    for result in results:
        assert type(result).__name__ in repr(result)
        assert result._repr_html_().startswith("<div")


# --- odd data


def gaussians(n: int, shape: tuple[int, int] = (16, 16), **planes) -> Exposure:
    """Images of a star with a WCS."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    star = 100 * np.exp(-((x - shape[1] // 2) ** 2 + (y - shape[0] // 2) ** 2) / 6)
    data = star + np.random.default_rng(n).normal(size=(n, *shape))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crpix, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [9.0, 9.0], [-1.75e-5, 1.75e-5]
    planes = {name: np.full(data.shape, value) for name, value in planes.items()}
    return Exposure(data, wcs=wcs, meta=Meta(filename="x.fits"), **planes)


def test_an_alignment_on_too_few_pixels_is_told_and_still_has_a_card():
    with pytest.warns(UserWarning, match=r"reference\(s\) \[0, 1, 2\] could not be aligned well \(TOO_FEW_PIXELS\)"):
        aligned = stacked(gaussians(3, (5, 3))).align_to(gaussians(1, (5, 3)), mask=np.ones((5, 3)))
    assert "flagged" in repr(aligned)


@pytest.mark.filterwarnings("ignore:.*could not be aligned well:UserWarning")
def test_a_reference_whose_shift_is_unknown_is_named():
    aligned = stacked(gaussians(3, (5, 3))).align_to(gaussians(1, (5, 3)), mask=np.ones((5, 3)))
    with pytest.raises(DataError, match="reference"):
        aligned.klip(1)


def test_a_combined_image_without_errors_still_has_a_card():
    combined = stacked(gaussians(1)).align_to(gaussians(1), to="none").klip(1).combine()
    assert "error" in repr(combined)


def test_errors_of_zero_do_not_empty_the_combined_image():
    combined = stacked(gaussians(1, err=0.0)).align_to(gaussians(1, err=0.0), to="none").klip(0).combine()
    assert np.isfinite(combined.image.data).any()


def test_references_without_structure_give_a_subtraction_or_a_data_error():
    reference = Exposure(np.ones((3, 16, 16)), err=np.ones((3, 16, 16)))
    try:
        klip = stacked(reference).align_to(gaussians(1, err=1.0), to="none").klip(2)
        assert np.isfinite(klip.err[np.isfinite(klip.frames)]).all()
    except DataError as error:
        assert "reference" in str(error)  # noqa: PT017 - to be refused is one of two right outcomes


def test_a_zone_with_one_good_pixel_gives_a_subtraction_or_a_data_error():
    labels = np.zeros((16, 16), int)
    labels[3, 3:5] = 1
    bad = np.zeros((16, 16), bool)
    bad[3, 3] = True
    aligned = stacked(gaussians(3, err=1.0)).align_to(gaussians(1, err=1.0).mask(bad), to="none")
    klip = aligned.klip(0, zones=Zones.from_labels(labels))
    assert not (klip.err < 0).any()


def test_a_number_of_modes_that_is_nan_is_refused():
    aligned = stacked(gaussians(3)).align_to(gaussians(1), to="none")
    with pytest.raises(DataError, match="the number of modes"):
        aligned.klip(np.nan)


def test_a_centre_that_is_nan_is_refused():
    klip = stacked(gaussians(3)).align_to(gaussians(1), to="none").klip(1)
    with pytest.raises(DataError, match=r"no ring|centre|center"):
        klip.contrast(center=(np.nan, 3.0))


def test_an_index_beyond_the_references_is_refused_as_data():
    with pytest.raises(DataError, match="7"):
        stacked(gaussians(3)).select([7])
