"""Calibrated contrast: throughput by formula against injection, at one number of modes and as maps for all.

    python benchmarks/contrast.py [--repeats 3] [--quick] [--markdown]

The cube is `simulate.null`: science and references of a lone star, 320 x 320 px. VIP's `contrast_curve` and a pyKLIP
loop of injection and recovery run on the same frames, where they are installed; ours by brute force always does. The
curve includes our subtraction, the maps begin with it at hand.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import HEAD, Task, compare, machine, table

PACKAGES = ("numpy", "scipy", "vip_hci", "pyklip")
FWHM = 2.3
MODES = 20
# where the loops inject sources: distance from the star in half images, and number of angles
RADII, ANGLES = (0.12, 0.25, 0.4, 0.55, 0.75), 3


def aligned_references(n_int: int, n_ref: int, shape: int) -> Any:
    """Simulated references, where they are, and the science exposure."""
    from corontools import PSFStack
    from corontools.simulate import null

    science, references = null(n_int, n_ref, shape=shape)
    return PSFStack.from_exposures([references]).align_to(science, to="none")


def places(target: Any) -> list[tuple[float, float]]:
    """Where sources are injected, 0-based (x, y)."""
    (x, y), reach = target.center, target.shape[-1] / 2
    angles = 2 * np.pi * np.arange(ANGLES) / ANGLES
    return [(x + r * reach * np.cos(a), y + r * reach * np.sin(a)) for r in RADII for a in angles]


def curve(aligned: Any, psf: Any) -> Callable[[], object]:
    """Subtraction, throughput and limit at one number of modes."""
    return lambda: aligned.klip(MODES).detection_map(psf, modes=[MODES]).contrast(1e5)


def maps(aligned: Any, psf: Any, most: int) -> Callable[[], object]:
    """Throughput, noise and limit at every pixel for all numbers of modes."""
    klip, modes = aligned.klip(most), range(1, most + 1)
    return lambda: klip.detection_map(psf, modes=list(modes)).contrast(1e5)


def brute(aligned: Any, psf: Any) -> Callable[[], object]:
    """One source at a time injected, subtracted again, and matched with the PSF."""
    bare = aligned.klip(MODES).frames

    def one(position: tuple[float, float]) -> float:
        p = psf.image(bare.shape[1:], position)
        flux = float(np.nanstd(bare)) * 50
        left = aligned.inject(flux, position=position, psf=psf).klip(MODES).frames - bare
        return float(np.nansum(left * p) / flux / len(left) / np.sum(p * p))

    return lambda: [one(place) for place in places(aligned.target)]


def vip(aligned: Any, psf: Any) -> Callable[[], object] | None:
    """`contrast_curve` on the science cube with the same references; its rotation angles are zero."""
    try:
        from vip_hci.metrics import contrast_curve
        from vip_hci.psfsub import pca
    except ImportError:
        return None
    cube, references = (np.asarray(a, float) for a in (aligned.target.data, aligned.stack.exposure.data))
    stamp = psf.image((31, 31), (15.0, 15.0))

    def run() -> object:
        return contrast_curve(
            cube, np.zeros(len(cube)), stamp / stamp.sum(), FWHM, 0.063, 1e5, pca, sigma=5, nbranch=ANGLES,
            ncomp=MODES, cube_ref=references, plot=False, verbose=False, theta=0, inner_rad=8,
        )  # fmt: skip

    return run


def pyklip(aligned: Any, psf: Any) -> Callable[[], object] | None:
    """Its subtraction of the cube once for every injected source, as its tutorial does."""
    try:
        from pyklip.klip import klip_math
    except ImportError:
        return None
    science = np.asarray(aligned.target.data, float).reshape(aligned.n_int, -1)
    references = np.asarray(aligned.stack.exposure.data, float).reshape(aligned.n_ref, -1)
    shape = aligned.target.shape[1:]

    def reduced(frames: np.ndarray) -> np.ndarray:
        return np.array([klip_math(frame, references, np.array([MODES]))[:, 0] for frame in frames])

    def run() -> object:
        bare = reduced(science)
        return [reduced(science + psf.image(shape, place, 1e3).ravel()) - bare for place in places(aligned.target)]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a small cube")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    from corontools import Source

    n_int, n_ref, shape = (3, 90, 96) if given.quick else (20, 90, 320)
    aligned = aligned_references(n_int, n_ref, shape)
    psf = Source.gaussian(FWHM)
    peers = {"by injection": brute(aligned, psf), "VIP": vip(aligned, psf), "pyKLIP": pyklip(aligned, psf)}
    tasks = [
        Task(f"curve at {MODES} modes, {shape} px", curve(aligned, psf), peers, wanted="300"),
        Task(f"maps for all {n_ref} numbers of modes, {shape} px", maps(aligned, psf, n_ref), wanted="2 s"),
    ]
    rows = [
        row.cells()
        for task in tasks
        for row in compare(task, repeats=given.repeats, threads=os.environ.get("OPENBLAS_NUM_THREADS", "all"))
    ]
    print(machine(PACKAGES))
    print(table(HEAD, rows, markdown=given.markdown))


if __name__ == "__main__":
    main()
