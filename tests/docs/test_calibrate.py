"""The page on the calibration of frames: its code runs, and it names every product, verb and plane."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from corontools import CalibratedImage
from corontools.calibrate import Plane
from corontools.calibrate.adaptive import AdaptiveDetector
from corontools.calibrate.astrometry import AstrometrySolver
from corontools.calibrate.color import ColorTerm, gaia_dr2_to_sdss
from corontools.calibrate.photometry import ZeroPointFitter
from corontools.calibrate.product import product_names
from corontools.calibrate.wcsfit import SipFitter
from corontools.simulate import star_field

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "calibrate.md").read_text(encoding="utf-8")
OF_STEPS = (AdaptiveDetector, AstrometrySolver, ColorTerm, SipFitter, ZeroPointFitter, gaia_dr2_to_sdss)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What the blocks of code made, run one after the other in a folder with the files that they name."""
    folder = tmp_path_factory.mktemp("calibrate")
    field = star_field(1024, snaps=2)
    for name, snap in zip(("snap1.fits", "snap2.fits"), field.exposures, strict=True):
        snap.save(folder / name)
    field.refcat().write(folder / "gaia.fits")
    given: dict = {"field": field}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(block, given)
    return given | {"folder": folder}


def test_both_ways_of_the_page_end_at_the_same_zero_point(run):
    assert run["made"].zero_point == run["image"].zero_point
    assert abs(run["made"].zero_point - run["field"].truth.zero_point) < 0.01


def test_the_recipe_finds_the_same_objects(run):
    assert len(run["mine"]) > 10
    assert sorted(path.name for path in (run["folder"] / "out").iterdir()) == sorted(product_names())


@pytest.mark.parametrize(
    "code", [code for code in re.findall(r"`((?:using|ZeroPointFitter)\([^`]*)`", PAGE) if "mine" not in code]
)
def test_steps_that_the_page_names_are_there(code, run):
    given = {step.__name__: step for step in OF_STEPS} | {"using": run["image"].using}
    assert eval(code, given) is not None


def test_every_product_verb_and_plane_is_on_the_page():
    products = {name.removesuffix(".fits") for name in product_names()}
    verbs = {"repair", "model_psf", "correct_apertures", "solve_astrometry", "find_stars", "solve_photometry"}
    assert [name for name in sorted(products | verbs) if f"`{name}`" not in PAGE] == []
    assert all(hasattr(CalibratedImage, verb) for verb in verbs)
    of_frames = [plane for plane in Plane if plane <= Plane.NOT_DEBLENDED]
    assert [plane.name for plane in of_frames if f"{plane.name} {plane.value}" not in PAGE] == []
