"""Coronagraphy beside jwst, VIP and pyKLIP: time, memory, and how they grow.

    python benchmarks/coron.py [--quick] [--markdown]

The same arrays go to all. Imports, compilation (numba) and making the input are not counted: every task runs once on
small images before. Ours and the peers run in turn in one process; the best time counts, the worst is shown.
A peer that isn't installed shows "-".
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import HEAD, Task, blas_threads, compare, machine, peak_memory, report_memory, spread, table, timed
from others import jwst_klip, peer, pyklip_rdi, vip_pca, vip_subtraction

from corontools import Exposure, Live, PSFStack, Source, Zones
from corontools.coron.contrast import measure

os.environ.setdefault("TQDM_DISABLE", "1")
MODES = (1, 5, 10, 20, 50)
PACKAGES = ("numpy", "scipy", "numba", "jwst", "vip_hci", "pyklip")


def speckles(n: int, size: int, *, seed: int = 1, shift: float = 0.0) -> np.ndarray:
    """Images (n, size, size) of a star behind a rough, slowly changing pupil; each moved by up to `shift` px."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size // 2
    pupil = np.hypot(x, y) < size / 8
    inside = np.count_nonzero(pupil)
    static = np.random.default_rng(0).normal(0, 0.5, inside)
    images = np.empty((n, size, size))
    for image in images:
        tilt = 2 * np.pi / size * (rng.uniform(-shift, shift, 2) @ [x[pupil], y[pupil]])
        wave = np.zeros((size, size), complex)
        wave[pupil] = np.exp(1j * (static + rng.normal(0, 0.05, inside) - tilt))
        image[...] = np.fft.fftshift(np.abs(np.fft.fft2(wave)) ** 2)
    images *= 1e5 / images[0].max()
    return images + rng.normal(0, 1.0, images.shape)


def stack(references: np.ndarray) -> PSFStack:
    return PSFStack.from_exposures([Exposure(references)])


def weight(size: int) -> np.ndarray:
    """A psfmask: 1 = use; the edges, where a periodic shift is wrong, are left out."""
    mask = np.zeros((size, size))
    mask[5:-5, 5:-5] = 1.0
    return mask


# alignment


def align_task(size: int, n_ref: int, n_int: int = 1) -> Task:
    science, references = speckles(n_int, size, seed=2, shift=0.3), speckles(n_ref, size, seed=3, shift=0.3)
    mask, refs, target = weight(size), stack(references), Exposure(science)
    registration = peer("jwst.coron.imageregistration")

    def theirs() -> None:
        for image in science:
            for reference in references:
                registration.align_fourier_lsq(image, reference, mask)

    what = "each of 1 integration" if n_int == 1 else f"each of {n_int} integrations"
    return Task(
        f"align {size}x{size}, {n_ref} references to {what}, per fit",
        lambda: refs.align_to(target, mask=mask),
        {"jwst align_fourier_lsq (float64)": theirs if registration else None},
        per=n_ref * n_int,
        wanted=">= 15" if n_int == 1 else "",
    )


def real_align_task() -> list[Task]:
    """AU Mic (JWST/NIRCam F444W) as delivered, where the files are."""
    folder = Path(os.environ.get("CORONTOOLS_DATA", "../shared/data")) / "aumic_f444w"
    files = sorted(folder.glob("*calints.fits"))
    if len(files) < 3:
        return []
    science, _, *references = [np.nan_to_num(Exposure.read(file).data[0].astype(np.float64)) for file in files]
    mask = np.asarray(Exposure.read(next(folder.glob("*psfmask*.fits"))).data, np.float64).reshape(science.shape)
    refs, target, registration = stack(np.array(references)), Exposure(science), peer("jwst.coron.imageregistration")

    def theirs() -> None:
        for reference in references:
            registration.align_fourier_lsq(science, reference, mask)

    return [
        Task(
            f"align AU Mic {science.shape[1]}x{science.shape[0]}, {len(references)} references, per fit",
            lambda: refs.align_to(target, mask=mask),
            {"jwst align_fourier_lsq (float64)": theirs if registration else None},
            per=len(references),
            wanted=">= 15",
        )
    ]


# KLIP


def klip_task(size: int, n_int: int, n_ref: int) -> Task:
    """Residuals for all numbers of modes; jwst makes its errors along with them, the others make none."""
    science, references = speckles(n_int, size, seed=2), speckles(n_ref, size, seed=3)
    modes = [k for k in MODES if k <= n_ref]
    aligned = stack(references).align_to(Exposure(science), to="none")

    def ours() -> None:
        klip = aligned.klip(modes[-1], zones="full")
        for k in modes:
            klip.at(k).frames  # noqa: B018 - computed when asked for

    others = {
        "jwst klip": jwst_klip(science, references, modes),
        "VIP pca, subtraction alone": vip_subtraction(science, references, modes),
        "VIP pca as called (derotates)": vip_pca(science, references, modes),
        "pyKLIP klip_parallelized": pyklip_rdi(science, references, modes),
    }
    what = f"KLIP {size}x{size}, {n_int} integrations, {n_ref} references, K = {', '.join(map(str, modes))}"
    return Task(what, ours, others, wanted=">= 100 jwst, >= 40 others")


def error_task(size: int, n_int: int, n_ref: int) -> Task:
    """One number of modes with errors; ours are those of the science (leave-one-out), jwst's of the training set."""
    science, references, modes = speckles(n_int, size, seed=2), speckles(n_ref, size, seed=3), min(20, n_ref)
    aligned = stack(references).align_to(Exposure(science), to="none")
    return Task(
        f"KLIP {size}x{size}, {n_int} integrations, {n_ref} references, K = {modes}, with errors",
        lambda: aligned.klip(modes, zones="full").residual,
        {"jwst klip": jwst_klip(science, references, [modes])},
    )


def mode_task(size: int, n_ref: int) -> Task:
    """What a slider does: another number of modes of a decomposition that is there."""
    klip = stack(speckles(n_ref, size, seed=3)).align_to(Exposure(speckles(1, size, seed=2)), to="none")
    whole = klip.klip(min(50, n_ref), zones="full")
    name = f"at({whole.modes}).frames, 1 integration {size}x{size}, {n_ref} references"
    return Task(name, lambda: whole.at(whole.modes).frames, wanted="<= 5 ms")


def live_tasks(size: int, n_int: int, n_ref: int) -> list[Task]:
    """What the notebook's views do at a click or a drag; no peer does it."""
    modes, places = min(30, n_ref - 1), itertools.count()
    target = Exposure(speckles(n_int, size, seed=2))
    aligned = stack(speckles(n_ref, size, seed=3)).align_to(target, to="none")
    series, live = aligned.klip(modes).series(), Live(aligned)
    planet = {"position": (0.7 * size, 0.45 * size), "psf": Source.gaussian(3.0)}

    def image(**choice: Any) -> np.ndarray:
        """Mean residual after another choice."""
        return live.klip(modes, **choice).series([modes // 2]).frames

    def other_zones() -> np.ndarray:
        return image(zones=Zones.annuli([3, size / 6 + 0.01 * next(places), size / 3, size]))

    what = f"{size}x{size}, {n_int} integrations, {n_ref} references, {modes} modes"
    return [
        Task(f"series, all frames, {what}", series.klip.series, wanted="<= 300 ms"),
        Task(f"series.inject, all frames, {what}", lambda: series.inject(9.0, **planet), wanted="<= 60 ms"),
        Task(f"series.injected_frame, {what}", lambda: series.injected_frame(3, 9.0, **planet), wanted="<= 20 ms"),
        Task(f"Live, a reference dropped, {what}", lambda: image(keep=slice(1, None)), wanted="<= 250 ms"),
        Task(f"Live, three new annuli, {what}", other_zones, wanted="<= 250 ms"),
    ]


# contrast, pipeline


def contrast_task(size: int) -> Task:
    image = speckles(1, size)[0]
    exposure, hlsp = Exposure(image), peer("jwst.coron.hlsp")

    def theirs() -> None:
        from stdatamodels.jwst.datamodels import ImageModel

        hlsp.contrast_curve(ImageModel(data=image), 2)

    return Task(
        f"noise in rings, {size}x{size}, width 2",
        lambda: measure(exposure, width=2, center="image"),
        {"jwst hlsp.contrast_curve": theirs if hlsp else None},
        wanted=">= 100",
    )


@contextlib.contextmanager
def demo() -> Iterator[list[Task]]:
    """coron3 on the simulated set, in memory and with all products; empty where the simulation is missing."""
    with contextlib.ExitStack() as open_until_end:
        try:
            from corontools import coron3
            from corontools.simulate import demo as simulated
        except ImportError:
            yield []
            return
        folder = Path(open_until_end.enter_context(tempfile.TemporaryDirectory()))
        asn = simulated().write(folder / "input")
        peers = {"jwst coron3 (needs files from a server)": None}
        run = partial(coron3, asn, klip={"modes": 20})
        yield [
            Task("coron3 on the demo set, in memory", run, peers),
            Task("coron3 on the demo set, products written", lambda: run().save(folder / "out", overwrite=True), peers),
        ]


# memory and growth


def memory_case(which: str, size: int, n_int: int, n_ref: int) -> None:
    """Run in a process of its own; the input is float32, as files hold it."""
    science = speckles(n_int, size, seed=2, shift=0.3).astype(np.float32)
    references = speckles(n_ref, size, seed=3, shift=0.3).astype(np.float32)
    if which == "jwst":
        run = jwst_klip(science, references, [50])
        report_memory(run if run else lambda: None)
        return
    refs, target = stack(references), Exposure(science)
    to = {"each": "each", "klip": "none"}[which]
    report_memory(lambda: refs.align_to(target, to=to, mask=weight(size)).klip(50, zones="full").frames)


def memory_rows(size: int, n_int: int, n_ref: int) -> list[tuple[str, ...]]:
    cases = {"each": "align to each, KLIP 50", "klip": "KLIP 50, aligned before"}
    if peer("jwst.coron.klip"):
        cases["jwst"] = "jwst klip 50, aligned before"
    rows = []
    for which, name in cases.items():
        loaded, peak, seconds = peak_memory(__file__, ["--memory", which, *map(str, (size, n_int, n_ref))])
        title = f"{name}: {n_int} integrations, {n_ref} references, {size}x{size}"
        rows.append((title, f"{loaded:.0f} MiB", f"{peak:.0f} MiB", f"{seconds:.1f} s"))
    return rows


def growth_rows(base: tuple[int, int, int]) -> list[tuple[str, ...]]:
    """KLIP with 10 modes while one of size, integrations and references grows."""
    rows = []
    for axis, name in enumerate(("image size", "integrations", "references")):
        for factor in (0.5, 1.0, 2.0):
            case = [max(2, round(n * factor)) if i == axis else n for i, n in enumerate(base)]
            rows.append((name, "{0}x{0}, {1} integrations, {2} references".format(*case), *growth(*case)))
    return rows


def growth(size: int, n_int: int, n_ref: int) -> tuple[str, str]:
    science, references = speckles(n_int, size, seed=2), speckles(n_ref, size, seed=3)
    aligned, modes = stack(references).align_to(Exposure(science), to="none"), min(10, n_ref)
    theirs = jwst_klip(science, references, [modes])
    times = timed(lambda: aligned.klip(modes, zones="full").frames)
    return spread((min(times), max(times))), "-" if theirs is None else spread((min(t := timed(theirs)), max(t)))


# the program


def tasks(quick: bool) -> list[Task]:
    if quick:
        return [
            align_task(160, 3),
            klip_task(101, 4, 24),
            error_task(101, 4, 24),
            contrast_task(101),
            mode_task(320, 20),
            *live_tasks(160, 4, 24),
        ]
    return [
        align_task(320, 5),
        align_task(320, 3, 5),
        *real_align_task(),
        klip_task(201, 20, 90),
        error_task(201, 20, 90),
        contrast_task(320),
        mode_task(320, 90),
        *live_tasks(320, 20, 90),
    ]


def warm_up() -> None:
    small = [
        align_task(48, 2),
        klip_task(33, 2, 6),
        error_task(33, 2, 6),
        contrast_task(32),
        mode_task(48, 4),
        *live_tasks(48, 2, 5),
    ]
    for task in small:
        for run in (task.ours, *task.peers.values()):
            if run:
                run()


def print_times(quick: bool, markdown: bool) -> None:
    rows: list[tuple[str, ...]] = []
    with demo() as pipeline:
        todo = [*tasks(quick), *pipeline]
        for task in pipeline:
            task.ours()
        for limit in (1, None):
            with blas_threads(limit) as threads:
                done = any(row[1] == threads for row in rows)  # one processor, or no means to change the number
                for task in () if done else todo:
                    rows += [row.cells() for row in compare(task, repeats=2 if quick else 3, threads=threads)]
    if quick:  # what is wanted, is wanted at full size
        rows = [(*row[:-1], "") for row in rows]
    print(table(HEAD, rows, markdown=markdown), end="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small images, under two minutes")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    parser.add_argument("--memory", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.memory:
        which, *numbers = options.memory
        memory_case(which, *map(int, numbers))
        return
    print(machine(PACKAGES), end="\n\n")
    warm_up()
    print_times(options.quick, options.markdown)
    with blas_threads(1):
        rows = growth_rows((101, 4, 20) if options.quick else (201, 10, 45))
    print(
        table(("growth with", "KLIP, K = 10, one BLAS thread", "ours", "jwst klip"), rows, markdown=options.markdown),
        end="\n\n",
    )
    rows = memory_rows(*((160, 4, 24) if options.quick else (320, 20, 90)))
    print(table(("memory of a process", "before", "peak", "time"), rows, markdown=options.markdown))


if __name__ == "__main__":
    main()
