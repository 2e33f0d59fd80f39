"""A recorded chain gives the same numbers again, and nothing else in a header is run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits as astrofits
from hypothesis import given
from hypothesis import strategies as st

from corontools.association import Association
from corontools.coron import AlignedRefs, CombinedImage, ContrastCurve, KlipResult, PSFStack, Zones, coron3, replay
from corontools.errors import DataError
from corontools.exposure import Exposure


def pixels(path: Path, name: str = "SCI") -> np.ndarray:
    with astrofits.open(path) as hdus:
        return np.array(hdus[name].data)


def same(a, b):
    """Equal to the bit, NaN included."""
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b), strict=True)


def test_a_subtracted_product_gives_itself_again(tiny_products, tiny_run):
    again = replay(tiny_products["psfsub"])
    klip = tiny_run.klips[0]
    assert type(again) is KlipResult
    assert again.modes == klip.modes
    for name in ("data", "err", "dq"):
        same(getattr(again.residual, name), getattr(klip.residual, name))
    same(np.asarray(again.residual.data, ">f4"), pixels(tiny_products["psfsub"]))
    assert again.history == klip.history


def test_a_contrast_product_gives_itself_again(tiny_products, tiny_run):
    again = replay(tiny_products["contrast"])
    assert type(again) is ContrastCurve
    same(again.noise, tiny_run.klips[0].contrast().noise)
    same(np.asarray(again.noise, ">f4"), pixels(tiny_products["contrast"], "CONTRAST")["sigma"].astype(">f4"))


def test_a_combined_product_gives_itself_again(tiny_products, tiny_run):
    again = replay(tiny_products["i2d"])
    assert type(again) is CombinedImage
    for name in ("data", "err", "dq"):
        same(getattr(again.image, name), getattr(tiny_run.combined.image, name))
    same(again.weight, tiny_run.combined.weight)
    same(again.count, tiny_run.combined.count)


def test_stack_and_alignment_products_give_themselves_again(tiny_products, tiny_run):
    stack, aligned = replay(tiny_products["psfstack"]), replay(tiny_products["psfalign"])
    assert (type(stack), type(aligned)) == (PSFStack, AlignedRefs)
    same(stack.exposure.data, tiny_run.stack.exposure.data)
    same(aligned.shifts, tiny_run.klips[0].aligned.shifts)


def test_the_whole_run_gives_itself_again(tiny_run):
    again = replay(tiny_run)
    same(again.combined.image.data, tiny_run.combined.image.data)
    assert again.history == tiny_run.history


def test_inputs_that_moved_are_found_in_their_new_folder(tiny_asn, tmp_path):
    shutil.copytree(tiny_asn.parent, tmp_path / "old")
    asn = Association.read(tmp_path / "old" / tiny_asn.name)
    klip = PSFStack.from_asn(asn).align_to(asn.science[0], to="first").klip(3)
    path, frames = klip.save(tmp_path / "psfsub.fits"), klip.frames
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(DataError, match="does not exist"):
        replay(path)
    same(replay(path, folder=tmp_path / "new").frames, frames)


@pytest.mark.parametrize("name", ["β Pictoris", "back\\slash β", 'it\'s "quoted"', "x" * 200])
def test_inputs_in_a_folder_of_any_name_are_found(tiny_asn, tmp_path, name):
    shutil.copytree(tiny_asn.parent, tmp_path / name)
    asn = Association.read(tmp_path / name / tiny_asn.name)
    klip = PSFStack.from_asn(asn).align_to(asn.science[0], to="none").klip(1)
    same(replay(klip.save(tmp_path / "psfsub.fits")).frames, klip.frames)


def aligned(stack, science):
    return stack.align_to(science, to="none")


ZONES = Zones.annuli([0, 6, 12], sectors=2)
CHAINS = {
    "cleaned": lambda stack, science: stack.reject_outliers(4.0).repair(5).align_to(science, to="first").klip(2),
    "unaligned": lambda stack, science: stack.align_to(science, to="none").klip(3, zones="full").at(1),
    "mean": lambda stack, science: stack.align_to(science.select(1), to="mean").klip(2),
    "slice": lambda stack, science: stack.select(slice(1, 5)).align_to(science, to="none").klip(2),
    "indices": lambda stack, science: stack.select(np.array([4, 0, 1])).align_to(science, to="none").klip(1),
    "mask": lambda stack, science: stack.select(np.arange(6) % 2 == 0).align_to(science, to="none").klip(1),
    "flagged": lambda stack, science: stack.mask(np.indices((32, 32))[0] == 5).align_to(science, to="none").klip(1),
    "flagged science": lambda stack, science: aligned(stack, science.mask(np.eye(32, dtype=bool), bits=5)).klip(1),
    "star": lambda stack, science: stack.select(target="reference 0").align_to(science, to="none").klip(1),
    "best": lambda stack, science: stack.select(best=3, like=science).align_to(science, to="none").klip(1),
    "later": lambda stack, science: stack.align_to(science, to="first").select([0, 2, 3]).klip(2),
    "zones": lambda stack, science: stack.align_to(science, to="none").klip(2, zones=ZONES),
    "outside": lambda stack, science: stack.align_to(science, to="none").klip(1, zones=Zones.annuli([4, np.inf])),
    "contrast": lambda stack, science: aligned(stack, science).klip(2).contrast(3, center=(15.0, 16.5)).sigma(5),
    "limit": lambda stack, science: aligned(stack, science).klip(2).contrast().sigma(3, fwhm=2.5).normalize(1e4),
    "plain": lambda stack, science: aligned(stack, science).klip(2).contrast().sigma(3, statistics="gaussian"),
    "combined": lambda stack, science: stack.align_to(science, to="none").klip(2).combine().contrast(4),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_every_verb_is_replayed(tiny_asn, name):
    asn = Association.read(tiny_asn)
    made = CHAINS[name](PSFStack.from_asn(asn), asn.science[0])
    again = replay(made)
    assert type(again) is type(made)
    same(again._values(), made._values())
    assert again.history == made.history


def test_what_was_given_in_memory_is_found_by_its_numbers(speckles):
    references, science = Exposure(speckles(4, seed=2)), Exposure(speckles(1, seed=3))
    weight, labels = np.ones((32, 32)), np.tri(32, dtype=int) + 1
    aligned = PSFStack.from_exposures([references]).align_to(science, to="first", mask=weight)
    klip = aligned.klip(2, zones=Zones.from_labels(labels))
    same(replay(klip, arrays=[references, science, weight, labels]).frames, klip.frames)
    with pytest.raises(DataError, match=r"was given an array or table in memory .*hand it over with arrays="):
        replay(klip, arrays=[references, science])


def test_lines_of_a_chain_are_replayed_without_a_file(tiny_asn):
    lines = [f"PSFStack.from_asn({str(tiny_asn)!r})", ".select([1, 2])"]
    assert replay(lines).n_ref == 2
    foreign = ["made by another program", *lines]
    assert replay(foreign).n_ref == 2


def test_a_file_without_chain_is_refused(tiny_asn, tmp_path):
    with pytest.raises(DataError, match="no chain is recorded here"):
        replay(next(tiny_asn.parent.glob("*calints.fits")))
    with pytest.raises(DataError, match="does not exist"):
        replay(tmp_path / "none.fits")
    with pytest.raises(DataError, match="no chain is recorded here"):
        replay([])


HOSTILE = [
    "__import__('os').system('echo')", "os.system('echo')", "exec('1')", "eval('1')", "open('x', 'w')", "print(1)",
    "lambda: 1", "(lambda: 1)()", "(x := 1)", "f'{open(1)}'", "combine(f'{1}')", "[x for x in (1,)]", "{**{}}",
    "().__class__.__bases__[0].__subclasses__()", "PSFStack.from_asn.__globals__['os'].system('echo')",
    "PSFStack.from_exposures.__self__.save('x')", "Zones.annuli([1, 2]).__class__()",
    "Zones.annuli([1, 2]).map.tofile('x')", "Zones.annuli.__func__(1)", "Zones.annuli(*[[1, 2]])",
    "Zones.annuli(**{'edges': [1, 2]})", "Zones.annuli([1, 2])[0]()", "Exposure.save('x')",
    "Exposure.read('x').save('y')", "KlipResult()", "Result()", "coron3('x').save('y')", "await x", "(yield 1)",
    "combine if 1 else 2", "combine", "1", "'a.fits'", "[1]", "", " ", "\x00", "a b", "import os", "x = 1",
    "2 ** 99999", "'a' * 10 ** 9", "1 if 2else 3", "slice(1, 2)(3)", "array([1])", "array({})", "combine({[]: 1})",
    "combine({[1]})", "Exposure.read('\\0')", "Exposure.read(3)", "Exposure.read(b'x')", "Exposure.read()",
    "coron3()", "coron3(5)", "PSFStack.from_exposures(None)", "PSFStack.from_exposures([None])",
    "PSFStack.from_exposures([])", "combine(5)", "combine([5])", "combine([])", "Zones.annuli(5)",
    "Zones.annuli(['a', 'b'])", "Zones.annuli([2, 1])", "Association.read('x', product=1)",
    "Association.read('/dev/null')", "exposure('x', 'y')", "combine(x=1)",
    "pixels((10**6, 10**9), [])", "pixels(5, 3)", "pixels((4, 4), [15, 2])", "pixels((-4, -4), [])",
]  # fmt: skip


@pytest.mark.parametrize("code", HOSTILE, ids=ascii)
def test_a_hostile_history_is_refused_and_runs_nothing(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.system", lambda command: pytest.fail(f"ran {command}"))
    with pytest.raises(DataError) as error:
        replay([code])
    assert len(str(error.value)) < 500
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_call_after_a_known_one_is_refused(tiny_asn):
    begin = f"PSFStack.from_asn({str(tiny_asn)!r})"
    verbs = [
        ".save('x.fits')", ".__class__()", ".with_(members=())", ".exposure", ".select([99])", ".select('a')",
        ".repair(box='a')", ".repair(3, 4, 5)", ".align_to(3)", ".explore()", ".select(best=1, like=2)",
    ]  # fmt: skip
    for verb in verbs:
        with pytest.raises(DataError):
            replay([begin, verb])


MONSTERS = """
    import json, sys
    from corontools import DataError, replay

    seen = []
    watched = {"os.system", "subprocess.Popen", "os.exec", "os.fork", "socket.connect", "shutil.rmtree", "os.remove"}
    sys.addaudithook(lambda event, args: seen.append(event) if event in watched else None)
    million = 10**6
    monsters = {
        "minus": "-" * million + "1", "open": "(" * million, "parentheses": "(" * 1000 + "1" + ")" * 1000,
        "lists": "combine(" + "[" * 150 + "]" * 150 + ")", "verbs": "combine([])" + ".repair()" * 100_000,
        "verbs that parse": "combine([])" + ".repair()" * 900, "attributes": "a" + ".b" * 300_000,
        "attributes that parse": "a" + ".b" * 900 + "()", "sum": "+".join(["1"] * 200_000),
        "sum that parses": "combine(" + "+".join(["1"] * 900) + ")", "number": "combine(" + "9" * 5000 + ")",
        "not": "not " * 20_000 + "1", "text": "Exposure.read('" + "a" * million + "')", "name": "a" * million,
        "arguments": "combine([" + "1," * 300_000 + "])", "calls": "combine(" * 190 + ")" * 190,
    }
    for name, code in monsters.items():
        try:
            replay([code])
        except DataError as error:
            monsters[name] = len(str(error))
    print(json.dumps({"seen": seen, "monsters": monsters}))
"""


def test_huge_and_deep_histories_are_refused(tmp_path):
    script = textwrap.dedent(MONSTERS)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    told = json.loads(run.stdout)
    assert told["seen"] == []
    # a number: how long the message of the DataError is
    long = {name: length for name, length in told["monsters"].items() if not isinstance(length, int) or length > 1000}
    assert not long


TOKENS = st.sampled_from([
    "PSFStack.from_exposures", "Zones.annuli", "combine", "array", "slice", "Exposure.read", "coron3", ".repair",
    ".klip", ".at", ".__class__", "(", ")", "[", "]", "{", "}", ",", ".", ":", "=", "*", "**", "+", "-", "1", "2.5",
    "'a'", "None", "inf", "lambda ", "x", "f'{x}'", " if ", " else ", " for ", " in ", "not ", ":=", ";", "@", "==",
    '\\', "\n",
])  # fmt: skip


@given(st.lists(TOKENS, max_size=12).map("".join) | st.text(max_size=40))
def test_any_text_raises_data_error_or_gives_what_a_chain_can_give(code):
    try:
        made = replay([code])
    except DataError:
        return
    assert type(made).__name__ in ("Zones", "slice")


@given(st.lists(st.text("abc.()'\\ \n", max_size=90), min_size=1, max_size=4))
def test_any_history_card_is_read_as_data(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "history.fits"
    header = astrofits.Header()
    for line in lines:
        for card in line.splitlines():
            header.add_history(card[:72])
    astrofits.PrimaryHDU(header=header).writeto(path, overwrite=True)
    with pytest.raises(DataError):
        replay(path)


def test_a_run_with_a_product_chosen_by_name_is_replayed(tiny_asn, tmp_path):
    table = json.loads(tiny_asn.read_text())
    table["products"] = [{**table["products"][0], "name": name} for name in ("first", "second")]
    shutil.copytree(tiny_asn.parent, tmp_path / "two")
    path = tmp_path / "two" / "two_asn.json"
    path.write_text(json.dumps(table))
    run = coron3(Association.read(path, product="second"), align_to=False, klip={"modes": 2})
    same(replay(run).combined.image.data, run.combined.image.data)
    assert replay(run).asn.product == "second"


def test_a_run_with_a_mask_in_memory_is_replayed(tiny_asn):
    weight = np.tri(32)
    run = coron3(tiny_asn, psfmask=weight, align_to={"to": "first"}, klip={"modes": 2}, combine=False)
    same(replay(run, arrays=[weight]).klips[0].frames, run.klips[0].frames)


def test_a_run_with_zones_and_arrays_among_its_options_is_replayed(tiny_asn):
    weight = np.tri(32)
    zones = Zones.annuli([0, 6, 12])
    run = coron3(tiny_asn, align_to={"to": "first", "mask": weight}, klip={"modes": 2, "zones": zones}, combine=False)
    assert len(run.code) < 1000
    same(replay(run, arrays=[weight]).klips[0].frames, run.klips[0].frames)
