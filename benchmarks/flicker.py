"""Flicker noise beside jwst: time, and stripes that are left.

    python benchmarks/flicker.py [--quick] [--markdown] [--residuals]

The same float32 images and masks go to both. Imports, compilation (numba) and making the input are not counted. Ours
and jwst run in turn in one process, with one BLAS thread; the best time counts, the worst is shown. `--residuals`
cleans seeded simulations instead (1/f noise of four amplifiers with offsets and alternating columns, sources, white
noise) and shows the rms of what is left of the stripes. Where jwst isn't installed, it shows "-".
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import HEAD, Task, blas_threads, compare, machine, table
from others import peer

from corontools.arrays.clip import background_pixels, clipped_stats
from corontools.arrays.nsclean import fourier_stream, fourier_stripes
from corontools.arrays.stream import stream_stripes
from corontools.arrays.stripes import Stripes, median_stripes
from corontools.simulate.flicker import flicker_noise

PACKAGES = ("numpy", "scipy", "numba", "astropy", "jwst")
ALLSLITS = (150.0, 200.0, 49943.0, 49957.0)
BOTS = (1061.0, 1211.0, 49943.0, 49957.0)
WHITE = 8.0


def scene(
    shape: tuple[int, int], *, alpha: float = 1.0, rms: float = 5.0, axis: int = 1, channels: int = 4, seed: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stripes, image (float32) and background mask: round sources are masked, and a tenth of the other pixels."""
    rng = np.random.default_rng(seed)
    stripes = np.zeros(shape)
    if rms:
        options: dict[str, Any] = {"offsets": 3.0, "alternating": 1.0} if channels > 1 else {}
        stripes = flicker_noise(shape, alpha=alpha, rms=rms, channels=channels, axis=axis, seed=seed, **options)
    image, good = stripes + rng.normal(0, WHITE, shape), rng.random(shape) < 0.9
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(max(1, shape[0] * shape[1] // 100_000)):
        distance = np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1]))
        radius = rng.uniform(5, 60)
        image += 1e3 * np.exp(-0.5 * (distance / radius * 4) ** 2)
        good &= distance > radius
    return stripes, image.astype(np.float32), good


def slits(shape: tuple[int, int]) -> np.ndarray:
    """Background of a subarray with four slits: a third of the pixels, and of the others."""
    good = np.random.default_rng(2).random(shape) < 0.95
    for start, stop in ((20, 60), (80, 120), (140, 200), (215, 245)):
        good[shape[0] * start // 256 : shape[0] * stop // 256] = False
    return good


# time


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


def tasks(quick: bool) -> list[Task]:
    size, subarray = (512, (64, 1024)) if quick else (2048, (256, 2048))
    return [
        *clip_tasks(size),
        *median_tasks(size),
        *fourier_tasks(size),
        *subarray_tasks(subarray),
        stream_task(size),
    ]


def print_times(quick: bool, markdown: bool) -> None:
    todo = tasks(quick)
    for task in todo:
        task.ours()
    with blas_threads(1) as threads:
        rows = [row.cells() for task in todo for row in compare(task, repeats=2 if quick else 3, threads=threads)]
    if quick:  # what is wanted, is wanted at full size
        rows = [(*row[:-1], "") for row in rows]
    print(table(HEAD, rows, markdown=markdown))


# stripes that are left

Clean = Callable[[np.ndarray, np.ndarray], np.ndarray]


def cleaners() -> dict[str, Clean | None]:
    """What each method takes for stripes in a full frame with horizontal ones."""
    jwst = peer("jwst.clean_flicker_noise.clean_flicker_noise")

    def ours(fit: Callable[..., Stripes], **options: Any) -> Clean:
        return lambda image, good: fit(image, good, axis=1, **options).model

    def median(by_channel: bool) -> Clean:
        return lambda image, good: image - jwst.median_clean(image, good, 2, fit_by_channel=by_channel)

    def nsclean(image: np.ndarray, good: np.ndarray) -> np.ndarray:
        return image - jwst.fft_clean_full_frame(image.T.copy(), good.T.copy(), "NRS1").T

    return {
        "none": lambda image, good: np.zeros_like(image),
        "jwst median": median(False) if jwst else None,
        "jwst by channel": median(True) if jwst else None,
        "jwst fft": nsclean if jwst else None,
        "median by channel": ours(median_stripes, channels=4),
        "fft": ours(fourier_stripes),
        "stream": ours(stream_stripes),
    }


def residual_rows(size: int, seeds: int) -> list[tuple[str, ...]]:
    """Mean over the seeds of the rms of what is left, on the whole array / under the sources."""
    rows = []
    for alpha in (0.7, 1.0, 1.3, 1.6, None):
        scenes = [scene((size, size), alpha=alpha or 1.0, rms=5.0 if alpha else 0.0, seed=s) for s in range(seeds)]
        cells = []
        for clean in cleaners().values():
            if clean is None:
                cells.append("-")
                continue
            left = [(clean(image, good) - stripes, good) for stripes, image, good in scenes]
            under = np.mean([np.std(rest[~good]) for rest, good in left])
            cells.append(f"{np.mean([np.std(rest) for rest, _ in left]):.3f} / {under:.3f}")
        rows.append((f"alpha {alpha}" if alpha else "no stripes", *cells))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small images")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    parser.add_argument("--residuals", action="store_true", help="stripes that are left instead of times")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(machine(PACKAGES), end="\n\n")
    if options.residuals:
        with blas_threads(1):
            rows = residual_rows(2048, 1 if options.quick else 3)
        print(table(("rms left, all / masked", *cleaners()), rows, markdown=options.markdown))
    else:
        print_times(options.quick, options.markdown)


if __name__ == "__main__":
    main()
