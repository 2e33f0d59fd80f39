"""Warps, matched PSFs and coadds beside their peers: how right they are, how long they take, in how much memory.

    python benchmarks/warp.py [TABLE ...] [--quick] [--markdown] [--repeats N]

Without a name all tables are made, in this order:

accuracy: a star field of 2048 x 2048 px turned by 20 degrees, beside SWarp, pixel by pixel; fluxes and sizes of stars
without noise, beside SWarp, reproject and drizzle.
matching: a Moffat PSF of 3.2 to 4.0 px matched to wider ones, at 17 x 17 places from corner to corner; its width a
linear function of the place ("linear"), or one with squares ("curved"). A telescope's PSF with wide wings.
time: pairs of runs in turn, after one that isn't counted; the ratios are medians of those of each pair, with the
smallest and the greatest. "One" gives this process one processor, one thread to BLAS and one to SWarp. Seconds of the
processors (cpu) tell more than the clock where a machine is shared. What HOTPANTS does is done by loops of this file.
growth: warps, matched warps and coadds of more and more visits, from files to files, each in a process of its own.
memory: the same runs; private memory (MiB) beyond that with everything imported. Linux only.
interrupted: a run killed in the middle and run again with reuse, beside one that wasn't killed, byte by byte.

Peers are Python packages and SWarp; one that isn't installed shows "-".
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
from harness import blas_threads, machine, table
from warp_growth import KINDS, interrupted, measured, write_visit
from warp_peers import PROGRAM, Run, Scene, by_blocks, drizzled, frame_of, reprojected, swarp

from corontools.arrays.moments import adaptive_moments
from corontools.arrays.threads import processors
from corontools.arrays.varying import Term, sum_varying
from corontools.simulate.field_psf import MoffatField
from corontools.simulate.optics import Optics
from corontools.warp import FourierMatcher, ModelPSF, PSFMatcher, Warp, diagnose
from corontools.warp.kernel import convolve

PACKAGES = ("numpy", "scipy", "numba", "astropy", "reproject", "drizzle")
# coefficients of 1, u, v, u^2, u v, v^2 for the FWHM, px: both go from 3.2 to 4.0
FIELDS = {"linear": (3.6, 0.25, 0.15, 0.0, 0.0, 0.0), "curved": (3.24, 0.16, 0.12, 0.24, 0.0, 0.24)}
# peak residual and error of the size (px) that are wanted of order 2 on the linear field
WANTED = {4.0: "<= 1 %", 4.6: "<= 3 %, 0.015 px", 6.0: "<= 5 % with the remedy"}
STAMP = 41
# seconds after which a run isn't repeated any more
ENOUGH = 25.0


# accuracy


def pixel_rows(scene: Scene, folder: Path) -> Iterator[tuple[str, ...]]:
    """Pixels beside those of SWarp, and noise beside the variance."""
    ours = Warp.from_exposures(scene.visit, scene.patch)
    light = scene.visit.with_(frame=scene.visit.frame.with_(image=scene.light))
    good, clean = ours.good, Warp.from_exposures(light, scene.patch)
    noise = (ours.frame.image - clean.frame.image)[good]
    told = weighted = "-"
    if PROGRAM:
        run, made = swarp(scene, folder)
        run(processors())
        image, weight = made()
        # afw's tolerance
        off = np.abs(ours.frame.image - image)[good] / (1e-2 + 4e-5 * np.abs(image[good]))
        same = "the same" if np.array_equal(good, image != 0) else "others"
        told, weighted = f"{off.max():.2f} (pixels reached: {same})", f"{np.std(noise * np.sqrt(weight[good])):.3f}"
    yield "largest difference from SWarp over 1e-2 + 4e-5 |value|", told, "<= 1"
    yield "noise / sqrt(variance)", f"{np.std(noise / np.sqrt(ours.frame.variance[good])):.3f}", "1.00 +- 0.01"
    yield "noise x sqrt(weight) of SWarp", weighted, ""


def star_rows(scene: Scene, folder: Path) -> Iterator[tuple[str, ...]]:
    """Noiseless isolated stars of a round 3.2 to 4.4 px, before and after."""
    rng, size = np.random.default_rng(4), scene.size
    grid = np.arange(0.25 * size, 0.78 * size, 90.0)
    x, y = (v.ravel() + rng.uniform(-20, 20, v.size) for v in np.meshgrid(grid, grid))
    image = np.zeros((size, size))
    MoffatField(image.shape).add(image, x, y, np.full(x.size, 1e5))
    image = image.astype(np.float32)
    before = star_sizes(image, x, y)
    places = scene.patch.wcs.all_world2pix(*scene.visit.wcs.all_pix2world(x, y, 0), 0)
    for name, run in star_runs(scene, folder, image).items():
        told = "-"
        if run:
            flux, width = (after / first for after, first in zip(star_sizes(run(), *places), before, strict=True))
            told = f"{np.median(flux):.5f}, worst {worst(flux):.5f}; {np.median(width):.4f}, worst {worst(width):.4f}"
        yield f"flux and size of {x.size} stars over those before, {name}", told, "2e-4; 3e-3" * (name == "corontools")


def worst(ratios: np.ndarray) -> float:
    return float(ratios[np.argmax(np.abs(ratios - 1))])


def star_runs(scene: Scene, folder: Path, image: np.ndarray) -> dict[str, Run | None]:
    flat = scene.visit.with_(frame=frame_of(image, np.ones(image.shape)))
    run, made = swarp(scene, folder, image)
    return {
        "corontools": lambda: Warp.from_exposures(flat, scene.patch).frame.image,
        "SWarp LANCZOS3": (lambda: (run(1), made()[0])[1]) if PROGRAM else None,
        **{f"reproject {how}": reprojected(scene, image, how) for how in ("bicubic", "bilinear", "hann")},
        **{f"drizzle {how}": drizzled(scene, image, how) for how in ("square", "lanczos3")},
    }


def star_sizes(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes within circles of 18 px, whose edges are soft, and determinant radii by adaptive moments."""
    half = STAMP // 2
    columns, rows = (np.floor(v + 0.5).astype(int) for v in (x, y))
    at_x, at_y = half + x - columns, half + y - rows
    stamps = np.array(
        [image[j - half :, i - half :][:STAMP, :STAMP] for i, j in zip(columns, rows, strict=True)], float
    )
    away = np.hypot(np.arange(STAMP)[None, :, None] - at_y[:, None, None], np.arange(STAMP) - at_x[:, None, None])
    found = adaptive_moments(stamps, np.ones_like(stamps), at_x, at_y, sigma=np.full(len(x), 1.7))
    return (np.clip(18.5 - away, 0, 1) * stamps).sum(axis=(1, 2)), (found.xx * found.yy - found.xy**2) ** 0.25


def print_accuracy(quick: bool, markdown: bool, _: int) -> None:
    scene = Scene.of(512 if quick else 2048)
    with tempfile.TemporaryDirectory() as folder:
        rows = [*pixel_rows(scene, Path(folder)), *star_rows(scene, Path(folder))]
    print(table(("accuracy", "found", "wanted"), rows, markdown=markdown))


# matching


def told(matched: Any) -> tuple[str, ...]:
    """Worst residuals, size and noise over the field."""
    ny, nx = matched.kernel.shape
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, nx - 1, 17), np.linspace(0, ny - 1, 17)))
    found = matched.quality_at(x, y)
    gain, off = found["noise_gain"], np.abs(found["size_error"]).max()
    return (
        f"{100 * found['peak'].max():.2f} %", f"{100 * found['total'].max():.2f} %", f"{off:.4f} px",
        f"{gain.min():.3f} to {gain.max():.3f}",
    )  # fmt: skip


def matching_rows(size: int, orders: Sequence[int]) -> Iterator[tuple[str, ...]]:
    frame = frame_of(np.zeros((size, size)), np.ones((size, size)))
    for name, widths in FIELDS.items():
        psf = MoffatField((size, size), widths)
        for fwhm in (4.0, 4.6, 6.0):
            for order in orders:
                matched = PSFMatcher(order=order, cell=max(size // 16, 32)).match(frame, psf, fwhm)
                wanted = WANTED[fwhm] if (name, order) == ("linear", 2) else ""
                yield f"{name}, to {fwhm} px, order {order}", *told(matched), "" if fwhm == 6.0 else wanted
                if fwhm == 6.0:
                    found = diagnose(matched)
                    mended = found.matcher.match(frame, psf, found.model)
                    how = f"{found.matcher.kernel_size} px, sigmas {', '.join(f'{s:g}' for s in found.matcher.sigmas)}"
                    faults = f"with the remedy of {', '.join(found.faults)}: {how}, order {found.matcher.order}"
                    yield faults, *told(mended), wanted


@dataclass(frozen=True)
class Fixed:
    """One stamp everywhere, as a PSF."""

    stamp: np.ndarray

    @property
    def size(self) -> int:
        """Side, px."""
        return len(self.stamp)

    def kernels(self, x: Any, _: Any) -> np.ndarray:
        """As of any PSF."""
        return np.repeat(self.stamp[None], np.size(x), axis=0)


@cache
def telescope(size: int = 101) -> Fixed:
    """F200W through the pupil and a Lyot stop, 0.031 arcsec / px."""
    optics = Optics((size, size), (size // 2, size // 2), 0.0312, (1.85e-6, 1.99e-6, 2.13e-6))
    stamp = optics.image(np.zeros((optics.n, optics.n)), occulted=False)
    return Fixed(stamp / stamp.sum())


WIDE = {"Gaussians, 41 px": PSFMatcher(kernel_size=41, sigmas=(1.0, 2.0, 4.5)), "Fourier, 101 px": FourierMatcher()}


def print_matching(quick: bool, markdown: bool, _: int) -> None:
    size = 256 if quick else 2048
    rows = list(matching_rows(size, (2,) if quick else (2, 4)))
    frame = frame_of(np.zeros((256, 256)), np.ones((256, 256)))
    for name, matcher in WIDE.items():
        rows += [(f"telescope, to 5.0 px, {name}", *told(matcher.match(frame, telescope(), 5.0)), "")]
    head = ("matching", "peak residual", "sum of residuals", "size error", "noise gain", "wanted")
    print(table(head, rows, markdown=markdown))


# time


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """Leave so many processors to this process, to BLAS and to programs that are started."""
    before, told = os.sched_getaffinity(0), os.environ.get("CORONTOOLS_THREADS")
    os.sched_setaffinity(0, sorted(before)[:threads])
    os.environ["CORONTOOLS_THREADS"] = str(threads)
    try:
        with blas_threads(threads):
            yield
    finally:
        os.sched_setaffinity(0, before)
        os.environ.pop("CORONTOOLS_THREADS")
        os.environ.update({} if told is None else {"CORONTOOLS_THREADS": told})


def paired(runs: Sequence[Run], repeats: int) -> np.ndarray:
    """Seconds of the clock and of the processors, (run, repeat, 2), in turn; NaN once a run had `ENOUGH`."""
    seconds = np.full((len(runs), repeats, 2), np.nan)
    for run in runs:  # compiles, and reads files for the first time
        run()
    for k in range(repeats):
        for i in np.roll(np.arange(len(runs)), k):
            if np.nansum(seconds[i, :, 0]) < ENOUGH:
                begin, spent = time.perf_counter(), sum(os.times()[:4])
                runs[i]()
                seconds[i, k] = time.perf_counter() - begin, sum(os.times()[:4]) - spent
    return seconds


# what is timed: name, ours, peers and what is wanted of the ratio or of ours
Timed = tuple[str, Run, dict[str, Run | None], str]


def warp_tasks(scene: Scene, folder: Path, threads: int) -> list[Timed]:
    run, _ = swarp(scene, folder)
    write_visit(scene.visit, folder / "visit.fits")
    theirs = partial(run, threads) if PROGRAM else None

    def from_files() -> None:
        Warp.from_exposures(folder / "visit.fits", scene.patch).save(folder, overwrite=True)

    image = np.asarray(scene.visit.frame.image)
    peers = {"reproject bicubic": reprojected(scene, image, "bicubic")}
    if threads == 1:  # none of these uses more
        peers |= {"reproject adaptive, hann": reprojected(scene, image, "hann")}
        peers |= {f"drizzle {how}": drizzled(scene, image, how) for how in ("square", "lanczos3")}
    memory = partial(Warp.from_exposures, scene.visit, scene.patch)
    return [
        ("warp of image, variance, mask", memory, {"SWarp, image and weight, files": theirs}, ">= 1"),
        ("the same from file to file", from_files, {"SWarp, image and weight, files": theirs}, ">= 1"),
        ("warp of image, variance, mask", memory, peers, ">= 3 (bicubic)"),
    ]


def matching_tasks(scene: Scene) -> list[Timed]:
    frame, psf, matcher, model = scene.visit.frame, scene.visit.psf, PSFMatcher(), ModelPSF(5.0)
    ticks = np.arange(64, scene.size, 128.0)
    places = [v.ravel() for v in np.meshgrid(ticks, ticks)]
    solve = partial(matcher.kernel, psf, model, *places, shape=frame.shape)
    kernel, direct = solve(), Warp.from_exposures(scene.visit, scene.patch)
    image, steps = np.asarray(frame.image), {1: "each pixel", 10: "10 x 10 px", 21: "21 x 21 px"}
    blocks = {f"image alone, a kernel for {steps[k]}": partial(by_blocks, image, kernel, matcher, k) for k in steps}
    convolved = partial(convolve, frame, kernel.at, size=kernel.size, missing=matcher.missing)
    alone = {"ours, image alone": partial(sum_varying, [Term(image)], kernel.at)}
    return [
        ("solve for the kernel", solve, {}, ""),
        ("convolve image, variance, mask, 21 x 21", convolved, alone | blocks, ">= 10 (each pixel)"),
        ("both", lambda: matcher.match(frame, psf, model), {}, "<= 1.3 s on 2"),
        ("match a warp, its PSF warped", lambda: direct.match_psf(model), {}, ""),
    ]


def wide_tasks(scene: Scene) -> list[Timed]:
    few, many = WIDE.values()
    ours, theirs = (partial(one.match, scene.visit.frame, telescope(), 5.0) for one in (many, few))
    return [("telescope's PSF by Fourier, 101 x 101", ours, {"Gaussians, 41 x 41": theirs}, "")]


def time_rows(task: Timed, threads: str, repeats: int) -> list[tuple[str, ...]]:
    """Seconds, medians of ratios, and between what these are."""
    name, ours, peers, wanted = task
    there = {key: run for key, run in peers.items() if run}
    seconds = paired([ours, *there.values()], repeats)
    rows = []
    for key in peers or {"": None}:
        cells = ["-"] * 3
        if key in there:
            theirs = seconds[1 + list(there).index(key)]
            ratios = [
                f"{np.nanmedian(r):.3g} ({np.nanmin(r):.3g} to {np.nanmax(r):.3g})" for r in (theirs / seconds[0]).T
            ]
            cells = [shown(theirs), *ratios]
        rows.append((name, threads, shown(seconds[0]), key or "none", *cells, wanted))
    return rows


def shown(seconds: np.ndarray) -> str:
    """Least and median by the clock, and least of the processors."""
    wall, cpu = seconds.T
    return f"{np.nanmin(wall):.2f}, {np.nanmedian(wall):.2f} s; cpu {np.nanmin(cpu):.2f} s"


def print_blocks(scene: Scene, quick: bool) -> None:
    """Check that the loops of this file do the same as ours."""
    frame, matcher = scene.visit.frame, PSFMatcher()
    matched = matcher.match(frame, scene.visit.psf, 5.0)
    for step in (1, 10, 21)[: 1 if quick else 3]:
        off = np.abs(matched.frame.image - by_blocks(np.asarray(frame.image), matched.kernel, matcher, step))
        worst = (off / np.sqrt(frame.variance))[10:-10, 10:-10].max()
        print(f"a kernel for {step} x {step} px: ours differs by {worst:.2g} sigma of a pixel at most")


def print_time(quick: bool, markdown: bool, repeats: int) -> None:
    scene, rows = Scene.of(512 if quick else 2048), []
    print_blocks(scene, quick)
    for threads in (processors(),) if quick else (1, processors()):
        with tempfile.TemporaryDirectory() as folder, limited(threads):
            tasks = [*warp_tasks(scene, Path(folder), threads), *matching_tasks(scene)]
            tasks += [] if quick else wide_tasks(scene)
            for task in tasks:
                rows += time_rows(task, str(threads), 1 if quick else repeats)
    head = ("task", "threads", "ours", "peer", "peer's time", "ratio", "ratio of cpu", "wanted")
    print(table(head, [(*row[:-1], "" if quick else row[-1]) for row in rows], markdown=markdown))


# many visits


@cache
def grown(quick: bool) -> list[tuple[str, int, dict[str, float]]]:
    """Runs of more and more visits."""
    return list(measured(KINDS[::2], (2, 4), 256) if quick else measured(KINDS, (4, 8, 16, 32), 1024))


def print_grown(keys: tuple[str, ...], quick: bool, markdown: bool, _: int) -> None:
    made = {(kind, n): found for kind, n, found in grown(quick)}
    numbers = sorted({n for _, n in made})
    rows = []
    for kind in dict.fromkeys(kind for kind, _ in made):
        for key in keys:
            each = [made[kind, n][key] / (n if key in ("seconds", "cpu") else 1) for n in numbers]
            rows.append((kind, key, *(f"{value:.3f}" if value < 10 else f"{value:.0f}" for value in each)))
    print(table(("run", "what", *(f"{n} visits" for n in numbers)), rows, markdown=markdown))


def print_interrupted(quick: bool, markdown: bool, _: int) -> None:
    n, size, rows = (3, 256, []) if quick else (8, 1024, [])
    for writing in (False, True):
        name = "when the next is being written" if writing else "when half of the files are there"
        rows.append((name, *interrupted(n, size, writing)))
    print(table(("killed", "was there", "the second run", "after it"), rows, markdown=markdown))


TABLES: dict[str, Callable[[bool, bool, int], None]] = {
    "accuracy": print_accuracy, "matching": print_matching, "time": print_time,
    "growth": partial(print_grown, ("seconds", "cpu")), "memory": partial(print_grown, ("private", "resident")),
    "interrupted": print_interrupted,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", metavar="TABLE", nargs="*", help=f"of {', '.join(TABLES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small frames, once")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of runs that are timed (default 7)")
    options = parser.parse_args()
    unknown = sorted(set(options.tables) - set(TABLES))
    if unknown:
        parser.error(f"there is no table {unknown[0]}, there are {', '.join(TABLES)}")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(machine(PACKAGES), end="\n\n")
    for name in options.tables or list(TABLES):
        begin = time.perf_counter()
        TABLES[name](options.quick, options.markdown, options.repeats)
        print(f"{name}: {time.perf_counter() - begin:.0f} s, load {os.getloadavg()[0]:.1f}\n", flush=True)


if __name__ == "__main__":
    main()
