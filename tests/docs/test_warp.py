"""The page on warps: its example runs, and it names what there is."""

import re
from pathlib import Path

import pytest

import corontools.warp
from corontools.calibrate import calibrate
from corontools.simulate import star_field

PAGE = Path(__file__).resolve().parents[2] / "docs" / "warp.md"


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("visits")
    field = star_field(1024, seed=3)
    exposure = field.exposures[0]
    for k in (1, 2):
        visit = exposure.with_(meta=exposure.meta.with_cards({"VISIT": k}))
        calibrate(visit, field.refcat(), steps={"photometry": {"band": "r"}}).save(folder / f"visit{k}")
    return folder


def test_the_example_runs(visits, monkeypatch, capsys):
    monkeypatch.chdir(visits)
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL).group(1)
    found = {}
    exec(code, found)
    assert found["coadd"].depth.max() == 2
    assert capsys.readouterr().out


def test_what_there_is_is_named():
    text = PAGE.read_text(encoding="utf-8")
    missing = {name for name in corontools.warp.__all__ if name not in text}
    assert missing <= {"Patch", "Tract", "Warper", "make_warps"}
