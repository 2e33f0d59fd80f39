"""Many visits from files to files, each run in a process of its own: time, memory, and what a killed run leaves.

    python benchmarks/warp_growth.py KIND FOLDER NUMBER

does one run ("warps", "reuse", "mean", "clipped" or "median") of the first visits in a folder and prints a line of
JSON; `warp.py` makes the tables. Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
from astropy.io import fits
from astropy.table import Table
from harness import resident
from ramp_memory import Watch, private_memory

from corontools.calibrate import MaskedImage, Plane
from corontools.calibrate.product import psf_to_hdu
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.visit import VisitImage
from corontools.simulate import star_field
from corontools.warp import Coadd, Tiling, Tract, WarpTypes, make_warps
from corontools.warp.sky import sky_wcs

# of which the last three are coadds
KINDS = ("warps", "reuse", "mean", "clipped", "median")
COADDS = KINDS[2:]
TYPES = WarpTypes(matched=5.0)


def tan(size: int, angle: float) -> Any:
    """TAN without distortion, north turned by an angle, degrees."""
    return sky_wcs((53.1, -27.8), ((size - 1) / 2, (size - 1) / 2), Tiling(0.2, rotation=angle).cd)


def write_visit(visit: VisitImage, path: Path) -> None:
    """A file that `read_visit_image` reads, with a Gaussian for its PSF."""
    head = fits.Header({"VISIT": visit.visit, "DETECTOR": str(visit.detector), "FILTER": visit.filter})
    planes = [
        fits.ImageHDU(np.asarray(getattr(visit.frame, name.lower())), name=name, header=header)
        for name, header in (("IMAGE", visit.wcs.to_header()), ("MASK", None), ("VARIANCE", None))
    ]
    summary = fits.BinTableHDU(Table({"n": [1]}), name="SUMMARY")
    psf = psf_to_hdu(GaussianPSF.of_fwhm(3.8))
    fits.HDUList([fits.PrimaryHDU(header=head), *planes, psf, summary]).writeto(path, overwrite=True)


def write_visits(folder: Path, n: int, size: int) -> None:
    """The same sky with other noise, turned by a degree from visit to visit."""
    truth = star_field(size, seed=3).truth
    light, variance = truth.light - truth.sky, truth.variance.astype(np.float32)
    for k in range(n):
        rng = np.random.default_rng(k)
        image = (light + rng.standard_normal(light.shape) * np.sqrt(variance)).astype(np.float32)
        frame = MaskedImage(image, np.zeros(light.shape, np.int32), variance)
        frame = frame.marked(rng.uniform(size=light.shape) < 1e-3, Plane.CR)
        visit = VisitImage(frame, tan(size, k), truth.psf, visit=k, detector=1, filter="r")
        write_visit(visit, folder / f"visit{k:03d}.fits")


# one run


def work(kind: str, folder: Path, n: int, out: Path) -> None:
    """Make or use the warps of the first visits."""
    visits = sorted(folder.glob("visit*.fits"))[:n]
    size = fits.getheader(visits[0], "IMAGE")["NAXIS1"]
    patch = Tract.of_wcs(tan(size, 20.0), (size, size))[0, 0]
    if kind in COADDS:
        warps = sorted(out.glob("*_directWarp-*.fits"), key=lambda path: int(path.stem.rpartition("-")[2]))
        Coadd.from_warps(warps[:n], statistic=kind)
    else:
        make_warps(visits, patch, out, types=TYPES, reuse=kind == "reuse")


def one(kind: str, folder: Path, n: int) -> dict[str, float]:
    """Seconds, seconds of the processors, MiB of private and of all memory."""
    with tempfile.TemporaryDirectory(dir=folder) as small:  # imports and compiled code aren't counted
        work("warps", folder, 2, Path(small))
        if kind in COADDS:
            work(kind, folder, 2, Path(small))
    with contextlib.suppress(OSError, AttributeError):  # what was freed and not given back would hide what is needed
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    opened, begin, spent = private_memory(), time.perf_counter(), time.process_time()
    with Watch() as watch:
        work(kind, folder, n, folder / "warps")
    seconds, cpu = time.perf_counter() - begin, time.process_time() - spent
    return {"seconds": seconds, "cpu": cpu, "private": watch.peak - opened, "resident": resident()}


def run(kind: str, folder: Path, n: int) -> dict[str, float]:
    """`one` in a fresh process."""
    words = [sys.executable, __file__, kind, str(folder), str(n)]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def measured(kinds: Sequence[str], numbers: Sequence[int], size: int) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Kind, number of visits and what was measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_visits(folder, max(numbers), size)
        for n in numbers:
            for path in (folder / "warps").glob("*.fits"):
                path.unlink()
            for kind in kinds:
                yield kind, n, run(kind, folder, n)


# a run that is killed


def interrupted(n: int, size: int, writing: bool) -> tuple[str, str, str]:
    """How far a run was when it was killed, what was left there, and whether the files are equal at last."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_visits(folder, n, size)
        work("warps", folder, n, folder / "whole")
        killed = killed_run(folder, n, writing)
        kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("killed/*.fits")}
        begun = len(list(folder.rglob("killed/**/.corontools-*")))
        work("reuse", folder, n, folder / "killed")
        made = sorted(folder.glob("killed/*.fits"))
        left = sum(kept.get(path.name) == path.stat().st_mtime_ns for path in made)
        whole = sorted(folder.glob("whole/*.fits"))
        rest = len(list(folder.rglob("killed/**/.corontools-*")))
        equal = [a.name == b.name and a.read_bytes() == b.read_bytes() for a, b in zip(made, whole, strict=True)]
    there = f"{len(kept)} of {2 * n} files, {begun} folder begun; ended by signal {-killed}"
    after = f"{sum(equal)} of {len(whole)} files equal byte by byte; {rest} folder of the killed run still there"
    return there, f"{left} left as they were", after


def killed_run(folder: Path, n: int, writing: bool) -> int:
    """A process that is killed when half of the warps are there, or the next is being written; its exit status."""
    child = subprocess.Popen([sys.executable, __file__, "killed", str(folder), str(n)])
    parts = "killed/**/.corontools-*/*.fits"
    while child.poll() is None and not (
        len(list(folder.glob("killed/*.fits"))) >= n and (not writing or any(folder.glob(parts)))
    ):
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    return child.wait()


if __name__ == "__main__":
    kind, folder, n = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if kind == "killed":
        work("warps", folder, n, folder / "killed")
    else:
        print(json.dumps(one(kind, folder, n)))
