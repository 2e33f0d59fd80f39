"""Background subtraction beside jwst: time and memory.

    python benchmarks/background.py [--quick] [--markdown] [--memory]

The same files and float32 images go to both: four rateints of 10 integrations, averaged with outliers rejected; the
factor of a reference background; the choice and scales of 8 SOSS templates. Imports, compilation (numba) and making the
input are not counted. Ours and jwst run in turn in one process, with one BLAS thread; the best time counts, the worst
is shown. `--memory` shows the peak of resident memory over what was there before, each in a process of its own. Where
jwst isn't installed, it shows "-".
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from harness import HEAD, Task, blas_threads, compare, machine, peak_memory, report_memory, table
from others import peer

from corontools import BackgroundModel, Exposure, Meta

PACKAGES = ("numpy", "scipy", "numba", "astropy", "jwst")
N_EXPOSURES, N_INT = 4, 10
# as if they were read from a file: of arrays the history would hold a fingerprint, which takes time
SOURCE = "Exposure.read('target.fits')"


def write_rateints(folder: Path, size: int) -> list[str]:
    """Files of a flat background with noise, hits and flags."""
    paths = []
    for i in range(N_EXPOSURES):
        path = folder / f"nod{i}_rateints.fits"
        if not path.exists():
            rng = np.random.default_rng(i)
            data = rng.standard_normal((N_INT, size, size), np.float32) + 10
            data.reshape(-1)[:: 1009 + i] += 500
            err, dq = np.ones_like(data), np.zeros(data.shape, np.uint32)
            dq[:, 5, ::7] = 4
            cards = {"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DATAMODL": "CubeModel", "SUBSTRT1": 1, "SUBSTRT2": 1,
                     "SUBSIZE1": size, "SUBSIZE2": size}  # fmt: skip
            planes = [fits.ImageHDU(plane, name=name) for plane, name in ((data, "SCI"), (err, "ERR"), (dq, "DQ"))]
            fits.HDUList([fits.PrimaryHDU(header=fits.Header(cards)), *planes]).writeto(path)
        paths.append(str(path))
    return paths


def jwst_average(paths: list[str]) -> object:
    """As jwst's step does it, with the first file as the target."""
    datamodels = peer("stdatamodels.jwst.datamodels")
    with datamodels.open(paths[0]) as target:
        return peer("jwst.background.background_sub").average_background(target, paths, 3.0, None)


def average_task(paths: list[str], size: int) -> Task:
    run = (lambda: jwst_average(paths)) if peer("jwst.background.background_sub") else None
    name = f"{N_EXPOSURES} rateints of {N_INT}x{size}x{size}"
    return Task(name, lambda: BackgroundModel.from_exposures(paths), {"jwst": run}, wanted=">= 4")


def factor_task(size: int) -> Task:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:size, :size]
    reference = (1 + 0.3 * np.sin(x / 40) + 0.001 * y).astype(np.float32)
    err = np.full(reference.shape, 0.2, np.float32)
    image = (0.1234 * reference + rng.normal(0, err)).astype(np.float32)
    mask = rng.random(image.shape) < 0.7
    meta = Meta(primary=fits.Header({"DISPAXIS": 1}))
    model, exposure = (
        BackgroundModel.from_reference(reference).mask_sources(mask),
        Exposure(image, err=err, meta=meta, source=SOURCE),
    )
    wfss = peer("jwst.background.background_sub_wfss")

    def theirs() -> object:
        return wfss.ScalingFactorComputer()(image.copy(), reference.copy(), err**2, mask=~mask)

    name = f"WFSS factor {size}x{size}, 5 rounds"
    return Task(name, lambda: model.fit(exposure).scale, {"jwst": theirs if wfss else None}, wanted=">= 5")


def soss_task(folder: Path, n_int: int) -> Task:
    y, x = np.mgrid[:256, :2048]
    base = np.where(x >= 700, 1.5, 1.0)
    templates = np.array([base * (1 + 0.1 * k * (x / 2048) ** 1.5) for k in range(8)], np.float32)
    trace = 40 * np.exp(-0.5 * ((y - 60 - 0.01 * x) / 6) ** 2)
    data = np.random.default_rng(1).normal(0.9 * templates[3] + trace, 0.1, (n_int, 256, 2048)).astype(np.float32)
    model, exposure = BackgroundModel.from_templates(templates), Exposure(data, source=SOURCE)
    soss, datamodels = peer("jwst.background.background_sub_soss"), peer("stdatamodels.jwst.datamodels")
    path = folder / "templates.fits"
    if soss:
        datamodels.SossBkgModel(data=templates).save(str(path))

    def theirs() -> object:
        opened = datamodels.CubeModel(data=data.copy())
        opened.dq = np.zeros(data.shape, np.uint32)
        return soss.subtract_soss_bkg(opened, str(path), 35.0, [25.0, 50.0])

    name = f"SOSS {n_int} integrations, 8 templates"
    run = theirs if soss else None
    return Task(name, lambda: model.fit(exposure).subtract_from(exposure), {"jwst": run}, wanted=">= 4")


def print_times(folder: Path, size: int, quick: bool, markdown: bool) -> None:
    todo = [average_task(write_rateints(folder, size), size), factor_task(size), soss_task(folder, 2 if quick else 10)]
    todo[0].ours()
    for task in todo[1:]:
        task.ours()
    with blas_threads(1) as threads:
        rows = [row.cells() for task in todo for row in compare(task, repeats=2, threads=threads)]
    print(table(HEAD, [(*row[:-1], "") for row in rows] if quick else rows, markdown=markdown))


def print_memory(folder: Path, size: int, markdown: bool) -> None:
    paths, rows = write_rateints(folder, size), []
    there = {"ours": True, "jwst": bool(peer("jwst.background.background_sub"))}
    for name in (name for name, installed in there.items() if installed):
        loaded, peak, seconds = peak_memory(__file__, ["--one", name, *paths])
        rows.append((name, f"{peak - loaded:.0f}", f"{peak:.0f}", f"{seconds:.1f}"))
    print(table(("rateints", "MiB above begin", "MiB peak", "s"), rows, markdown=markdown))


def one(name: str, paths: list[str]) -> None:
    """Average with one of both, in this process."""
    if name == "ours":
        tiny = [Exposure(np.ones((2, 4, 4), np.float32), err=np.ones((2, 4, 4), np.float32))] * 2
        BackgroundModel.from_exposures(tiny)
        report_memory(lambda: BackgroundModel.from_exposures(paths))
    else:
        peer("jwst.background.background_sub")
        report_memory(lambda: jwst_average(paths))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small images")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    parser.add_argument("--memory", action="store_true", help="memory instead of times")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if options.one:
        one(options.one[0], options.one[1:])
        sys.exit()
    print(machine(PACKAGES), end="\n\n")
    size = 256 if options.quick else 2048
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            print_memory(Path(folder), size, options.markdown)
        else:
            print_times(Path(folder), size, options.quick, options.markdown)


if __name__ == "__main__":
    main()
