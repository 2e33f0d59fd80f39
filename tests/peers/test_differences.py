"""The page of differences names tests that exist, and every test of a jwst defect is on it."""

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "differences.md"


def names_in(name):
    return set(re.findall(r"^def (test_\w+)", (HERE / name).read_text(encoding="utf-8"), re.MULTILINE))


def test_every_test_that_the_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8"))) - {"test_jwst_"}
    there = set().union(*(names_in(path.name) for path in HERE.glob("test_*.py")))
    assert named
    assert named - there == set()


def test_every_defect_of_jwst_that_is_tested_is_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    tests = set().union(*(names_in(path.name) for path in HERE.glob("test_*.py")))
    defects = names_in("test_jwst_defects.py") | {name for name in tests if name.startswith("test_jwst_")}
    assert [name for name in sorted(defects) if name not in page] == []
