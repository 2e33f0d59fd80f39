"""Flicker noise beside jwst: stripes that are left, time, growth, memory.

    python benchmarks/flicker.py [TABLE ...] [--quick] [--markdown] [--seeds N]

Without a name all tables are made, in this order:

residuals: seeded simulations (1/f noise of four amplifiers with offsets and alternating columns, sources, extended
light, white noise) are cleaned; the rms of what is left of the stripes, with its scatter over the seeds.
time: ours and jwst on the same float32 images and masks, in turn, in one process with one BLAS thread; the best time
counts, the worst is shown. Imports, compilation (numba) and making the input are not counted.
growth: time of a correction against the number of groups.
memory: private memory (Linux: RssAnon) while a ramp in a file is cleaned into another, 5 GB of disk.

Where jwst isn't installed, it shows "-".
"""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from harness import HEAD, Task, blas_threads, compare, machine, spread, table, timed
from others import peer
from ramp_memory import memory_rows
from residuals import cleaners, scene, tables

from corontools import Exposure, FlickerCleaner
from corontools.arrays.clip import background_pixels, clipped_stats
from corontools.arrays.nsclean import fourier_stream, fourier_stripes
from corontools.arrays.stream import stream_stripes
from corontools.arrays.stripes import median_stripes
from corontools.simulate.flicker import ramp

os.environ.setdefault("TQDM_DISABLE", "1")
PACKAGES = ("numpy", "scipy", "numba", "astropy", "jwst")
ALLSLITS = (150.0, 200.0, 49943.0, 49957.0)
BOTS = (1061.0, 1211.0, 49943.0, 49957.0)
INSTRUMENT = ("NIRCAM", "NRCALONG", "NRC_IMAGE")


def slits(shape: tuple[int, int]) -> np.ndarray:
    """Background of a subarray with four slits: a third of the pixels, and of the others."""
    good = np.random.default_rng(2).random(shape) < 0.95
    for start, stop in ((20, 60), (80, 120), (140, 200), (215, 245)):
        good[shape[0] * start // 256 : shape[0] * stop // 256] = False
    return good


# the fits


def clip_tasks(size: int) -> list[Task]:
    _, image, good = scene((size, size))
    jwst, stats = peer("jwst.clean_flicker_noise.background_level"), peer("astropy.stats")

    def task(what: str, ours: dict[str, Any], theirs: dict[str, Any], wanted: str) -> Task:
        run = (lambda: jwst.clip_to_background(image, good.copy(), **theirs)) if jwst else None
        name = f"scene clipping {size}x{size}{what}"
        return Task(
            name, lambda: background_pixels(image, good, **ours), {"jwst clip_to_background": run}, wanted=wanted
        )

    return [
        Task(
            f"clipped statistics {size}x{size}",
            lambda: clipped_stats(image, good),
            {"astropy": lambda: stats.sigma_clipped_stats(image.astype(np.float64), mask=~good)},
            wanted=">= 10",
        ),
        task("", {}, {}, ">= 10"),
        task(", lower half", {"lower_half": True}, {"lower_half_only": True}, ">= 10"),
        task(", histogram", {"histogram": True}, {"fit_histogram": True}, ">= 10"),
        task(", exact", {"exact": True}, {}, ""),
    ]


def median_tasks(size: int) -> list[Task]:
    _, image, good = scene((size, size))
    jwst = peer("jwst.clean_flicker_noise.clean_flicker_noise")

    def task(axis: int, channels: int) -> Task:
        by_channel = channels > 1
        run = (lambda: jwst.median_clean(image, good, axis + 1, fit_by_channel=by_channel)) if jwst else None
        kind = f"{'horizontal' if axis else 'vertical'}{', by channel' if by_channel else ''}"
        return Task(
            f"median {size}x{size}, {kind}",
            lambda: image - median_stripes(image, good, axis=axis, channels=channels).model,
            {"jwst median_clean": run},
        )

    return [task(axis, channels) for axis in (1, 0) for channels in (1, 4)]


def fourier_tasks(size: int) -> list[Task]:
    _, image, good = scene((size, size), axis=0)
    few = good & (np.arange(size) % 11 == 5)[:, None]
    jwst = peer("jwst.clean_flicker_noise.clean_flicker_noise")

    def task(mask: np.ndarray) -> Task:
        run = (lambda: jwst.fft_clean_full_frame(image.copy(), mask, "NRS1")) if jwst else None
        return Task(
            f"fft {size}x{size}, {mask.mean():.0%} good",
            lambda: image - fourier_stripes(image, mask, axis=0).model,
            {"jwst NSClean": run},
            wanted=">= 7",
        )

    return [task(good), task(few)]


def subarray_tasks(shape: tuple[int, int]) -> list[Task]:
    _, image, good = scene(shape, axis=0, channels=1)
    jwst = peer("jwst.clean_flicker_noise.clean_flicker_noise")

    def task(what: str, mask: np.ndarray, frequencies: tuple[float, float, float, float]) -> Task:
        run = None
        if jwst:
            run = lambda: jwst.fft_clean_subarray(image.copy(), mask.copy(), "NRS1", fc=frequencies)  # noqa: E731
        return Task(
            f"fft {shape[0]}x{shape[1]}, {mask.mean():.0%} good, {what}",
            lambda: image - fourier_stream(image, mask, axis=0, frequencies=frequencies).model,
            {"jwst NSCleanSubarray": run},
            wanted=">= 10",
        )

    third = slits(shape)
    return [task("to 1211 Hz", good, BOTS), task("to 1211 Hz", third, BOTS), task("ALLSLITS", third, ALLSLITS)]


def stream_task(size: int) -> Task:
    _, image, good = scene((size, size))
    return Task(f"stream {size}x{size}", lambda: image - stream_stripes(image, good, axis=1).model)


# whole ramps


def simulated(n_int: int, n_group: int, size: int) -> tuple[Exposure, np.ndarray]:
    """A ramp and its scene mask; of a full frame, four amplifiers."""
    exposure, truth = ramp((n_int, n_group, size, size), channels=4 if size == 2048 else 1)
    return exposure, (truth.sources < 2) & (np.random.default_rng(2).random((size, size)) < 0.9)


def jwst_step(exposure: Exposure, mask: np.ndarray, **options: Any) -> Callable[[], object] | None:
    """The step on a copy, in place: from the second time on it cleans what is clean, with the same work."""
    step, models = (
        peer(name) for name in ("jwst.clean_flicker_noise.clean_flicker_noise", "stdatamodels.jwst.datamodels")
    )
    if not step or not models:
        return None
    model = models.RampModel(data=exposure.data.copy(), groupdq=np.zeros(exposure.shape, np.uint8))
    model.meta.instrument.name, model.meta.instrument.detector, model.meta.exposure.type = INSTRUMENT
    model.meta.subarray.name = "FULL" if exposure.shape[-2:] == (2048, 2048) else "SUBGRISM256"
    model.meta.subarray.slowaxis, model.meta.subarray.fastaxis = 2, 1
    given = models.ImageModel(data=mask.astype(np.float32))
    return lambda: step.do_correction(model, user_mask=given, **options)


def whole_tasks(n_int: int, n_group: int, size: int) -> list[Task]:
    """From a ramp in memory to a cleaned one."""
    exposure, mask = simulated(n_int, n_group, size)

    def task(noise: str, background: str, wanted: str) -> Task:
        return Task(
            f"whole correction {n_int}x{n_group}x{size}x{size}, {noise}, background {background}",
            lambda: FlickerCleaner(exposure).use_mask(mask).fit_background(background).fit_noise(noise).cleaned,
            {"jwst do_correction": jwst_step(exposure, mask, background_method=background)} if wanted else {},
            wanted=wanted,
        )

    return [
        task("median", "median", ">= 8"),
        task("median", "model", ">= 6"),
        *(task(noise, "median", "") for noise in ("fft", "stream")),
    ]


def _clean(exposure: Exposure, mask: np.ndarray) -> Exposure:
    return FlickerCleaner(exposure).use_mask(mask).cleaned


def growth_rows(size: int) -> list[tuple[str, ...]]:
    """Time of a correction ("median", background "median") against the number of groups."""
    rows = []
    for n_group in (3, 5, 9, 17):
        exposure, mask = simulated(1, n_group, size)
        times = [t for _ in range(3) for t in timed(partial(_clean, exposure, mask))]
        each = min(times) / (n_group - 1)
        rows.append((f"1x{n_group}x{size}x{size}", spread((min(times), max(times))), f"{1e3 * each:.1f} ms"))
    return rows


def tasks(quick: bool) -> list[Task]:
    size, subarray = (512, (64, 1024)) if quick else (2048, (256, 2048))
    return [
        *clip_tasks(size),
        *median_tasks(size),
        *fourier_tasks(size),
        *subarray_tasks(subarray),
        stream_task(size),
        *whole_tasks(2, 5, size),
    ]


# tables


def print_times(quick: bool, markdown: bool) -> None:
    todo = tasks(quick)
    for task in todo:
        task.ours()
    with blas_threads(1) as threads:
        rows = [row.cells() for task in todo for row in compare(task, repeats=2 if quick else 3, threads=threads)]
    if quick:  # what is wanted, is wanted at full size
        rows = [(*row[:-1], "") for row in rows]
    # the number of threads is the same for all
    head, *rows = ((name, *others) for name, _, *others in (HEAD, *rows))
    print(table(head, rows, markdown=markdown))


def print_growth(quick: bool, markdown: bool) -> None:
    with blas_threads(1):
        rows = growth_rows(512 if quick else 2048)
    print(table(("growth with groups", "ours", "each difference"), rows, markdown=markdown))


def print_memory(quick: bool, markdown: bool) -> None:
    rows = memory_rows(2, 4, 512) if quick else memory_rows(10, 10, 2048)
    if quick:  # what is wanted, is wanted at full size
        rows = [(*row[:-1], "") for row in rows]
    print(table(("from file to file", "frames", "time", "wanted"), rows, markdown=markdown))


def print_residuals(quick: bool, markdown: bool, seeds: int) -> None:
    with blas_threads(1):
        made = tables(2048, 1 if quick else seeds)
    for title, rows in made:
        print(f"**{title.capitalize()}**\n" if markdown else title)
        print(table(("left", *cleaners()), rows, markdown=markdown), end="\n\n")


TABLES = ("residuals", "time", "growth", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", metavar="TABLE", nargs="*", help=f"of {', '.join(TABLES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small images; of residuals, one seed")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    parser.add_argument("--seeds", type=int, default=3, help="of the residuals (default 3)")
    options = parser.parse_args()
    unknown = sorted(set(options.tables) - set(TABLES))
    if unknown:
        parser.error(f"there is no table {unknown[0]}, there are {', '.join(TABLES)}")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(machine(PACKAGES), end="\n\n")
    makers = {
        "residuals": partial(print_residuals, seeds=options.seeds),
        "time": print_times,
        "growth": print_growth,
        "memory": print_memory,
    }
    for name in options.tables or TABLES:
        makers[name](options.quick, options.markdown)
        print(flush=True)


if __name__ == "__main__":
    main()
