"""Records of what was made of what: whole products are kept, all else is made again or refused."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from corontools import DataError
from corontools.folder import KEPT, locked
from corontools.manifest import Recipe, digest, record_of


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("abc")
    return path


@pytest.fixture
def make(tmp_path, source):
    """Have `a` and `b` made of the source in a run of its own; gives what was made and how often it was written."""
    calls = []

    def write(part):
        calls.append(1)
        (part / "a").write_text(source.read_text())
        (part / "b").write_text("b")
        return ["said"]

    def go(options=None, *, write=write, overwrite=False, names=("a", "b"), optional=()):
        with locked(tmp_path / "out") as run:
            recipe = Recipe.of("copy", options or {"n": 1}, tmp_path / "out", run, overwrite=overwrite)
            return recipe.make("a", [source], names, write, optional=optional), len(calls)

    return go


def test_what_is_whole_is_kept_and_says_the_same(make, tmp_path):
    made, calls = make()
    assert ([row[:2] for row in made.rows], made.notes, made.kept, calls) == ([("a", 3), ("b", 1)], ["said"], False, 1)
    record = (tmp_path / "out" / KEPT / "a.json").read_bytes()
    made, calls = make()
    assert (made.notes, made.kept, calls) == (["said"], True, 1)
    assert (tmp_path / "out" / KEPT / "a.json").read_bytes() == record
    assert json.loads(record)["products"] == {"a": digest(tmp_path / "in.txt"), "b": hashlib.sha256(b"b").hexdigest()}


@pytest.mark.parametrize("damage", ["cut", "removed", "record"])
def test_what_is_not_whole_is_made_again(make, tmp_path, damage):
    make()
    path = tmp_path / "out" / "b"
    if damage == "record":  # as after a kill between the record and its products
        path.write_text("older")
    path.write_text("") if damage == "cut" else path.unlink() if damage == "removed" else None
    made, calls = make()
    assert (path.read_text(), calls, made.kept) == ("b", 2, False)
    assert made.notes == ["said", "a: made again, for its products were not whole"]


def test_other_options_or_inputs_are_refused_and_replaced_if_asked(make, tmp_path, source):
    make()
    with pytest.raises(FileExistsError, match=r"out holds a already, made with other options; choose another folder"):
        make({"n": 2})
    source.write_text("xyz")
    os.utime(source, (0, 0))
    with pytest.raises(FileExistsError, match="made with other inputs"):
        make()
    assert (tmp_path / "out" / "a").read_text() == "abc"
    made, _ = make({"n": 2}, overwrite=True)
    assert not made.kept
    assert (tmp_path / "out" / "a").read_text() == "xyz"


def test_a_file_among_the_options_stands_for_what_it_contains(make, tmp_path):
    flat = tmp_path / "flat"
    flat.write_text("1")
    make({"flat": flat})
    moved = flat.rename(tmp_path / "moved")
    assert make({"flat": moved})[0].kept
    moved.write_text("2")
    with pytest.raises(FileExistsError, match="other options"):
        make({"flat": moved})


def test_products_of_somebody_else_are_kept(make, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b").write_text("precious")
    with pytest.raises(FileExistsError, match="out holds b already; choose another folder, or --overwrite"):
        make()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]


def test_other_versions_are_noted_and_kept(make, tmp_path):
    make()
    path = tmp_path / "out" / KEPT / "a.json"
    path.write_text(path.read_text().replace('"numpy": "', '"numpy": "0.'))
    made, calls = make()
    assert (made.kept, calls) == (True, 1)
    assert "kept what was made with numpy 0." in made.notes[-1]


@pytest.mark.parametrize("text", ["", "[]", '{"products": {}}', "\x00"])
def test_a_record_that_cannot_be_used_is_none(make, tmp_path, text):
    make()
    (tmp_path / "out" / KEPT / "a.json").write_text(text)
    assert record_of(tmp_path / "out", "a") is None
    with pytest.raises(FileExistsError, match="already"):
        make()


def test_an_optional_product_may_lack(make, tmp_path):
    def write(part):
        (part / "a").write_text("a")

    made, _ = make(write=write, optional=["b"])
    assert [row[0] for row in made.rows] == ["a"]
    assert make(write=write, optional=["b"])[0].kept


def test_a_failure_leaves_nothing(make, tmp_path):
    def write(part):
        (part / "a").write_text("half")
        raise DataError("no")

    with pytest.raises(DataError, match="no"):
        make(write=write)
    assert not (tmp_path / "out").exists()


def test_an_item_that_ends_after_its_run_writes_nothing(tmp_path, source):
    with locked(tmp_path / "out") as run:
        recipe = Recipe.of("copy", {}, tmp_path / "out", run)
    with (
        locked(tmp_path / "out"),
        pytest.raises(DataError, match="the run ended before this was done"),
    ):
        recipe.make("a", [source], ["a"], lambda part: (part / "a").write_text("late") and None)
    assert not (tmp_path / "out").exists()


def test_an_input_that_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="none can't be read: No such file"):
        digest(tmp_path / "none")
