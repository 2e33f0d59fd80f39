"""The page for those who come from other tools: every call of ours on it works."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from corontools import BackgroundModel, Exposure, simulate
from corontools.arrays.apertures import aperture_snr
from corontools.background import BackgroundAssociation
from corontools.calibrate import Plane
from corontools.calibrate.adaptive import AdaptiveDetector
from corontools.calibrate.astrometry import AstrometrySolver
from corontools.calibrate.color import gaia_dr2_to_sdss
from corontools.calibrate.measure import Measurer
from corontools.calibrate.photometry import ZeroPointFitter
from corontools.calibrate.product import read_visit_image
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.wcsfit import SipFitter
from corontools.cli import main
from corontools.coron import stim_map
from corontools.simulate.flicker import ramp
from corontools.warp import (
    ArtifactRejection,
    Coadd,
    Corrections,
    PSFMatcher,
    SkyMap,
    Warp,
    Warper,
    WarpTypes,
    make_warps,
    worst_seeing,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming_from.md"
VIEWS = ".explore("  # needs no more than its own tests
WARPS = (ArtifactRejection, Coadd, Corrections, PSFMatcher, SkyMap, Warp, WarpTypes, Warper, make_warps, worst_seeing)
STEPS = (AdaptiveDetector, AstrometrySolver, GaussianPSF, Measurer, SipFitter, ZeroPointFitter)


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
    _write_visit(folder)
    backgrounds = _write_backgrounds(folder)
    cube = np.asarray(sim.science[0].data)
    fits.writeto(folder / "cube.fits", cube)
    given = {"cube": cube, "references": np.concatenate([e.data for e in sim.references])}
    given |= {
        "bad": cube > 1e3,
        "star_flux": 1e6,
        "aperture_snr": aperture_snr,
        "stim_map": stim_map,
        "psf": sim.psf(21),
        "BackgroundModel": BackgroundModel,
        "BackgroundAssociation": BackgroundAssociation,
        "Plane": Plane,
        "gaia_dr2_to_sdss": gaia_dr2_to_sdss,
        "read_visit_image": read_visit_image,
        **{step.__name__: step for step in (*STEPS, *WARPS)},
        **_write_visits(folder),
        **backgrounds,
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


def _write_visit(folder):
    """A star field, once as two snaps, and a reference catalogue, once as shards."""
    for snaps, names in ((1, ("visit.fits",)), (2, ("snap1.fits", "snap2.fits"))):
        field = simulate.star_field(1024, snaps=snaps)
        for name, exposure in zip(names, field.exposures, strict=True):
            exposure.save(folder / name)
    refs = field.refcat()
    refs.write(folder / "gaia.fits")
    (folder / "shards").mkdir()
    refs[:700].write(folder / "shards" / "1.fits")
    refs[700:].write(folder / "shards" / "2.fits")


def _write_visits(folder):
    """Three calibrated frames of one field; gives them with their warps."""
    visits = simulate.star_visits((3.4, 3.9, 3.6), shape=200).visits
    for visit in visits:
        visit.save(folder / f"visit{visit.visit}.fits")
    patch = SkyMap.around(visits)[0][0, 0]
    warps = [Warp.from_exposures(visit, patch) for visit in visits]
    return {"visits": visits, "patch": patch, "warps": warps, "warp": warps[0]}


def _write_backgrounds(folder):
    """Nods, a grism exposure with its reference, mask and catalogue, templates; gives what was written."""
    rng, shape = np.random.default_rng(1), (64, 128)
    target, *nods = (Exposure(rng.normal(10, 1, shape), err=np.ones(shape)) for _ in range(3))
    grism = Exposure(rng.normal(3, 1, shape), err=np.ones(shape))
    for name, one in {"target": target, "nod1": nods[0], "nod2": nods[1]}.items():
        one.save(folder / f"{name}_rate.fits")
    members = [("science", "target_rate.fits"), ("background", "nod1_rate.fits"), ("background", "nod2_rate.fits")]
    listed = [{"exptype": kind, "expname": name} for kind, name in members]
    (folder / "bkg_asn.json").write_text(json.dumps({"products": [{"name": "target", "members": listed}]}))
    Exposure(np.full(shape, 1.5)).save(folder / "wfssbkg.fits")
    Table({"x": [30.0], "y": [32.0], "mag": [20.0]}).write(folder / "cat.ecsv")
    (folder / "orders.json").write_text('{"1": {"offset": [10, 0], "extent": [30, 6]}}')
    y, x = np.indices((96, 2048))
    templates = (1 + 0.1 * y / 96 + 0.5 * (x > 700)) * np.ones((2, 1, 1))
    fits.writeto(folder / "sossbkg.fits", templates)
    soss = Exposure(0.9 * templates[0] + rng.normal(0, 0.1, (96, 2048)), err=np.full((96, 2048), 0.1))
    return {
        "target": target, "nods": nods, "grism": grism, "soss": soss, "model": BackgroundModel.from_exposures(nods)
    }  # fmt: skip


def test_the_page_has_every_tool():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"\n## {tool}\n" in text for tool in ("jwst", "LSST", "pyKLIP", "VIP", "spaceKLIP"))
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
