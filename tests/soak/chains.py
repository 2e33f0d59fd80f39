"""Small jobs of all kinds, each from its input to its products; what it gives should be gone when it is done with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

# given the folder that it may write to, in a loop of events as a cell of a notebook; gives what nothing may hold later
Chain = Callable[[Path], Awaitable[list[Any]]]

STROKES = ["-1 3 + 40,30"]
BOX = {"kind": "rectangle", "x0": 39.6, "y0": 10.4, "x1": 50.2, "y1": 13.0, "done": True, "locked": False}
SIDE = 200


async def coronagraph(folder: Path) -> list[Any]:
    """Files of a sequence, all products of an association, a report."""
    from corontools import coron3, simulate
    from corontools.coron.report import report

    run = coron3(simulate.tiny().write(folder / "in"), klip={"modes": 5})
    run.save(folder / "out")
    (folder / "report.html").write_text(report(run), encoding="utf-8")
    return [run, run.klips[0], run.klips[0].frames, run.combined.image.data]


async def stripes(folder: Path) -> list[Any]:
    """A ramp in a file, cleaned into another."""
    from corontools import Exposure, FlickerCleaner
    from corontools.simulate.flicker import ramp

    ramp((2, 3, 64, 128))[0].save(folder / "a_ramp.fits")
    cleaner = FlickerCleaner(Exposure.read(folder / "a_ramp.fits")).mask_scene(n_sigma=2).fit_noise("stream")
    cleaner.save(folder / "a_clean_flicker_noise.fits")
    return [cleaner, cleaner.exposure, cleaner.cleaned.data, cleaner.mask]


async def background(folder: Path) -> list[Any]:
    """A mean of exposures in files, subtracted from another; a reference, scaled."""
    from corontools import BackgroundModel, Exposure
    from corontools.simulate.background import nods, slitless

    paths = [one.save(folder / one.meta.filename) for one in nods(4)[0]]
    model = BackgroundModel.from_exposures(paths[1:])
    target = Exposure.read(paths[0])
    made = model.subtract_from(target)
    made.save(folder / "a_bsub.fits")
    exposure, truth = slitless((128, 256))
    fitted = BackgroundModel.from_reference(truth.reference).fit(exposure)
    return [model, made, made.data, target.data, fitted, fitted.background.data]


async def calibration(folder: Path) -> list[Any]:
    """A frame from counts to nJy, written with its catalogue."""
    made = _calibrated()
    made.save(folder)
    return [made, made.image, made.image.data, made.background]


def _calibrated() -> Any:
    from corontools.calibrate import calibrate
    from corontools.simulate import star_field
    from corontools.simulate.field_sky import FieldSky

    field = star_field(400, sky=FieldSky(n_stars=300, n_galaxies=30))
    return calibrate(field.exposures[0], field.refcat(), steps={"photometry": {"band": "r"}})


async def coadd(folder: Path) -> list[Any]:
    """Visits warped and matched to one PSF, written, combined from the files, written and read."""
    from corontools.simulate import star_visits
    from corontools.warp import Coadd, SkyMap, Tiling, Warp, worst_seeing

    visits = star_visits(shape=SIDE).visits
    patch = SkyMap.around(visits, tiling=Tiling(0.2, (SIDE, SIDE), 0))[0][0, 0]
    warps = [Warp.from_exposures(visit, patch) for visit in visits]
    matched = [warp.match_psf(worst_seeing(visits, patch)) for warp in warps]
    paths = [warp.save(folder)[0] for warp in matched]
    again = Warp.read(paths[0])
    direct = Coadd.from_warps(warps)
    clipped = Coadd.from_warps(paths, statistic="clipped")
    read = Coadd.read(direct.save(folder)[0])
    return [warps[0], matched[0], matched[0].frame.image, again.frame.image, direct, clipped.image, read, read.image]


async def view_of_modes(folder: Path) -> list[Any]:
    """A view of KL modes: another number of them, a reference left out, zones, a companion injected."""
    from corontools import PSFStack
    from corontools.simulate import null

    science, references = null(3, 8, shape=48)
    klip = PSFStack.from_exposures([references]).align_to(science, to="none").klip(8)
    changes = [
        {"modes": 3}, {"dropped": [0]}, {"edges": [2.0, 10.0, 20.0]}, {"cursor": [30.0, 14.0]},
        {"source": [33.0, 30.0, 3.0]},
    ]  # fmt: skip
    view = await _shown(klip, changes, page=folder / "view.html")
    return [klip, klip.frames, view, view.series]


async def view_of_stripes(folder: Path) -> list[Any]:
    """A view of a ramp: other fits, a mask painted by hand."""
    from corontools import FlickerCleaner
    from corontools.simulate.flicker import ramp

    cleaner = FlickerCleaner(ramp((2, 3, 48, 64))[0])
    view = await _shown(cleaner, [{"method": "fft"}, {"painted": STROKES}, {"background": "model", "box": [16, 16]}])
    return [cleaner, cleaner.exposure.data, view, view.cleaner]


async def view_of_a_background(folder: Path) -> list[Any]:
    """A view of a reference and its target: a box is drawn, the fit is changed."""
    from corontools import BackgroundModel
    from corontools.simulate.background import slitless

    target, truth = slitless((96, 128), sources=4)
    model = BackgroundModel.from_reference(truth.reference)
    view = await _shown(model, [{"regions": [BOX]}, {"outlier_percent": 2.0}, {"frame": 2}], target)
    return [model, target.data, view]


async def view_of_a_frame(folder: Path) -> list[Any]:
    """A view of a calibrated frame: the PSF is fitted to other stars, in a thread."""
    made = _calibrated()
    view = await _shown(made, [{"whiskers": "size"}, {"clip": 3.0}, {"tint": "SAT"}])
    return [made, made.image, view, view.shown]


async def view_of_a_warp(folder: Path) -> list[Any]:
    """A view of a warp: matched to other PSFs, in a thread; closed while that works."""
    from corontools.simulate import star_visits
    from corontools.warp import SkyMap, Tiling, Warp

    (visit,) = star_visits((3.4,), shape=SIDE, trailed=0).visits
    warp = Warp.from_exposures(visit, SkyMap.around([visit], tiling=Tiling(0.2, (SIDE, SIDE), 0))[0][0, 0])
    view = await _shown(warp, [{"fwhm": 5.0}, {"frame": 1}, {"fwhm": 5.2, "kernel_size": 31}])
    return [warp, warp.frame.image, view, view.matches]


async def _shown(result: Any, changes: list[Mapping[str, Any]], *given: Any, page: Path | None = None) -> Any:
    """A view that was opened, changed and closed."""
    view = result.explore(*given)
    view._repr_mimebundle_()
    for change in changes:
        view.state.apply(change)
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)  # what waits for the hand to rest begins
    view.state.undo()
    if page is not None:
        view.save(page)
    view.close()
    return view


CHAINS: dict[str, Chain] = {
    "coron3 of files, products and report": coronagraph,
    "view of KL modes": view_of_modes,
    "flicker of a ramp": stripes,
    "view of a ramp": view_of_stripes,
    "background of files": background,
    "view of a background": view_of_a_background,
    "calibrate": calibration,
    "view of a calibrated frame": view_of_a_frame,
    "warps, matched, and coadds": coadd,
    "view of a warp": view_of_a_warp,
}
