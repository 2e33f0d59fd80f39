"""The other tools' KLIP on the same arrays; each maker gives what runs it, or None where the tool isn't installed."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

Run = Callable[[], None]


def peer(name: str) -> Any:
    """The module, or None where it can't be imported."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def jwst_klip(science: np.ndarray, references: np.ndarray, modes: Sequence[int]) -> Run | None:
    """One call per number of modes; a stand-in for the model keeps float64. It always makes its error, too."""
    klip = peer("jwst.coron.klip")

    def run() -> None:
        for k in modes:
            target = SimpleNamespace(data=science.copy(), err=np.zeros_like(science))
            klip.klip(target, SimpleNamespace(data=references), k, return_psf=False)

    return run if klip else None


def vip_subtraction(science: np.ndarray, references: np.ndarray, modes: Sequence[int]) -> Run | None:
    pca = peer("vip_hci.psfsub.pca_fullfr")

    def run() -> None:
        for k in modes:
            pca._project_subtract(science, references, k, "spat-mean", None, "lapack", False, False)

    return run if pca else None


def vip_pca(science: np.ndarray, references: np.ndarray, modes: Sequence[int]) -> Run | None:
    psfsub = peer("vip_hci.psfsub")
    angles = np.linspace(0.0, 10.0, len(science))

    def run() -> None:
        for k in modes:
            psfsub.pca(science, angles, cube_ref=references, ncomp=k, scaling="spat-mean", verbose=False)

    return run if psfsub else None


def pyklip_rdi(science: np.ndarray, references: np.ndarray, modes: Sequence[int]) -> Run | None:
    """All numbers of modes in one call, one annulus, one process, no derotation; correlations made before."""
    parallelized = peer("pyklip.parallelized")
    n, middle = len(science), [(science.shape[2] - 1) / 2, (science.shape[1] - 1) / 2]
    rows = np.concatenate([science, references]).reshape(n + len(references), -1)
    correlation = np.corrcoef(rows)[:n, n:]

    def run() -> None:
        with open(os.devnull, "w") as quiet, contextlib.redirect_stderr(quiet):
            parallelized.klip_parallelized(
                science, np.tile(middle, (n, 1)), np.zeros(n), np.ones(n), np.zeros(n), 0,
                mode="RDI", annuli=1, subsections=1, numbasis=modes, aligned_center=middle, numthreads=1,
                psf_library=references, psf_library_good=np.arange(len(references)), psf_library_corr=correlation,
                maxnumbasis=len(references), dtype=ctypes.c_double, verbose=False, corr_smooth=0,
            )  # fmt: skip

    return run if parallelized else None
