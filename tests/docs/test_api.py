"""The reference names everything public, and nothing that isn't there."""

from __future__ import annotations

import importlib
import pkgutil
import re
from functools import reduce
from pathlib import Path

import pytest

import corontools
import corontools.arrays
import corontools.coron
import corontools.simulate
import corontools_widgets

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
WHOLE = ("corontools.simulate", "corontools.display")


def entries():
    """Full names of all that the reference lists."""
    found, module = [], ""
    for line in PAGE.splitlines():
        if current := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = current[1]
        elif entry := re.match(r"   ([A-Za-z]\S*)$", line):
            found.append(f"{module}.{entry[1]}")
    return found


@pytest.mark.parametrize("name", entries())
def test_an_entry_is_there(name):
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        assert reduce(getattr, parts[depth:], module).__doc__
        return
    pytest.fail(f"{name} can't be imported")


@pytest.mark.parametrize("module", [corontools, corontools.coron, corontools_widgets])
def test_every_public_name_has_an_entry(module):
    listed = {name.rsplit(".", 1)[1] for name in entries()}
    assert set(module.__all__) <= listed


def test_whole_modules_have_an_entry():
    arrays = {f"corontools.arrays.{m.name}" for m in pkgutil.iter_modules(corontools.arrays.__path__)}
    wanted = {name for name in arrays if "._" not in name} | set(WHOLE)
    assert wanted <= set(entries())
