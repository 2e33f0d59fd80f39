"""The page for those who come from other tools: every call of ours on it works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from corontools import simulate
from corontools.arrays.apertures import aperture_snr
from corontools.cli import main
from corontools.coron import stim_map
from corontools.simulate.flicker import ramp

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming_from.md"
VIEWS = ".explore("  # needs no more than its own tests


def rows():
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [re.split(r" \| ", line.strip("| ")) for line in lines]


def ours():
    """Every piece of code in the right column."""
    return [code for row in rows() for code in re.findall(r"`([^`]+)`", row[1])]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the page takes for granted: the files in a folder, and its chain."""
    folder = tmp_path_factory.mktemp("coming")
    sim = simulate.tiny()
    sim.write(folder).rename(folder / "asn.json")
    sim.science[0].save(folder / "calints.fits")
    _write_ramp(folder)
    cube = np.asarray(sim.science[0].data)
    fits.writeto(folder / "cube.fits", cube)
    given = {"cube": cube, "references": np.concatenate([e.data for e in sim.references])}
    given |= {
        "bad": cube > 1e3,
        "star_flux": 1e6,
        "aperture_snr": aperture_snr,
        "stim_map": stim_map,
        "psf": sim.psf(21),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (setup,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        exec(setup, given)
        yield given


def _write_ramp(folder):
    """A ramp, a mask and a flat for it."""
    exposure, _ = ramp((2, 4, 64, 128), channels=4)
    header = fits.Header({"TGROUP": 10.0, "INSTRUME": "NIRCAM", "EXP_TYPE": "NRC_IMAGE"})
    exposure.with_(meta=exposure.meta.with_(primary=header)).save(folder / "ramp.fits")
    fits.writeto(folder / "mask.fits", np.ones((64, 128), np.float32))
    fits.writeto(folder / "flat.fits", np.ones((64, 128), np.float32))


def test_the_page_has_every_tool():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"\n## {tool}\n" in text for tool in ("jwst", "pyKLIP", "VIP", "spaceKLIP"))
    assert all(len(row) == 2 for row in rows())
    assert len(ours()) > 40


@pytest.mark.filterwarnings("ignore:50 modes asked for")
@pytest.mark.parametrize("code", dict.fromkeys(code for code in ours() if VIEWS not in code))
def test_a_call_works(code, names):
    if code.startswith("corontools "):
        assert main([*shlex.split(code)[1:], "--overwrite"]) == 0
    elif " = " in code.split("(")[0]:
        exec(code, dict(names))
    else:
        assert eval(code.replace('.save("out")', '.save("out", overwrite=True)'), dict(names)) is not None
