"""PSFs that PSFEx fitted, read from its files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.polynomial import chebyshev, polynomial

from corontools import fits as files
from corontools.arrays.chebyshev import chebyshev_terms
from corontools.calibrate.psf import PixelPSF
from corontools.errors import DataError

__all__ = ["read_psfex"]

MASK = "psf_mask"
# a coordinate on the image, as SExtractor names it
AXIS = re.compile(r"([XY])\w*_IMAGE")
# quintic B-spline at the whole numbers from its middle on
SPLINE = np.array([66, 26, 1]) / 120
# points per pixel, at least, on which the PSF is drawn before splines take over
POINTS = 3


def read_psfex(
    path: str | os.PathLike[str], *, detector: str | int | None = None, shape: tuple[int, int] | None = None
) -> PixelPSF:
    """Read a PSF of PSFEx: a ".psf" file, or a table with a row for each detector.

    Parameters
    ----------
    path : str or path
    detector : str or int, optional
        Of a file with several models the `ccdname`, the name of the extension or the number from 0 on.
    shape : (int, int), optional
        Of the image, (y, x); by default it reaches to the last star. The PSF is the same for any shape.

    Returns
    -------
    PixelPSF
        Its pixels at sampled places are those of the file over their total. Between the samples it is drawn by
        normalised Lanczos-3, as PSFEx does, on three points or more per pixel, and by quintic splines between these.
        The polynomials are the same, written as Chebyshev terms.

    Raises
    ------
    DataError
        If the file can't be read, holds no such model, or one that depends on more than the place on the image.

    Notes
    -----
    The PSF is sum_k u^i v^j M_k with u = (x - POLZERO1) / POLSCAL1 and v alike, x counted from 1, on samples PSF_SAMP
    px apart (Bertin 2011, ASP Conf. 442, 435). Powers of the first coordinate come first: 1, u, u^2, v, u v, v^2.
    """
    model = _chosen(_models(path), detector, path)
    axes, exponents = model.polynomial()
    planes = model.planes()
    if len(planes) != len(exponents):
        raise DataError(f"{path}: the polynomial has {len(exponents)} terms, but there are {len(planes)} images")
    shape = shape or (axes["Y"].last, axes["X"].last)
    splines, step, stretch = _on_pixels(planes, model.number("psf_samp", 1.0))
    return PixelPSF(np.tensordot(_chebyshev(axes, exponents, shape), splines, axes=1), shape, step, (stretch,))


@dataclass(frozen=True)
class _Axis:
    """u = (x - zero) / scale, x counted from 1."""

    zero: float = 1.0
    scale: float = 1.0

    @property
    def last(self) -> int:
        """Where the range ends that PSFEx scaled to -1/2 and 1/2, px."""
        return max(1, int(np.ceil(self.zero + self.scale / 2)))

    def powers(self, degree: int, size: int) -> np.ndarray:
        """u^k as Chebyshev series over an image of this size, a row each."""
        line = np.array([(size + 1) / 2 - self.zero, size / 2]) / self.scale
        rows = np.zeros((degree + 1, degree + 1))
        for k in range(degree + 1):
            rows[k, : k + 1] = chebyshev.poly2cheb(polynomial.polypow(line, k))
        return rows


@dataclass(frozen=True)
class _Model:
    """One model: what its row, else its header, says."""

    values: Mapping[str, Any]
    where: str

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self.values.get(key, default)
        if value is None or not np.isfinite(float(value)):
            raise DataError(f"{self.where}: {key.upper()} of a model of PSFEx should be a number, found {value}")
        return float(value)

    def planes(self) -> np.ndarray:
        """M_k, (K, g, g) with g odd; the sample that holds the star is the middle one."""
        found = np.asarray(self.values[MASK], np.float64)
        found = found[None] if found.ndim == 2 else found
        if found.ndim != 3 or not np.isfinite(found).all() or not found[0].sum() > 0:
            raise DataError(f"{self.where}: finite images (K, y, x) of positive total are needed, found {found.shape}")
        half = max(found.shape[1:]) // 2
        return np.pad(found, [(0, 0)] + [(half - n // 2, half + 1 - n + n // 2) for n in found.shape[1:]])

    def polynomial(self) -> tuple[dict[str, _Axis], list[tuple[int, int]]]:
        """How x and y are scaled, and the exponents of both in each term."""
        names, axes, groups = [], {"X": _Axis(), "Y": _Axis()}, []
        for k in range(1, int(self.number("polnaxis", 0)) + 1):
            text = str(self.values.get(f"polname{k}", "")).strip()
            found = AXIS.fullmatch(text)
            if found is None or found[1] in names:
                raise DataError(
                    f"{self.where}: the PSF depends on {text or 'what has no name'}; only one that depends on the "
                    "place on the image can be read, PSFVAR_KEYS X_IMAGE,Y_IMAGE"
                )
            names.append(found[1])
            axes[found[1]] = _Axis(self.number(f"polzero{k}"), self.number(f"polscal{k}"))
            groups.append(int(self.number(f"polgrp{k}", 1)))
        degrees = {group: int(self.number(f"poldeg{group}")) for group in groups}
        return axes, list(_exponents(names, groups, degrees))


def _exponents(names: list[str], groups: list[int], degrees: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Exponents of x and y of each term, those of the first axis rising first; each group has its total degree."""
    for powers in product(*(range(degrees[group] + 1) for group in groups[::-1])):
        powers = powers[::-1]
        total = {group: sum(p for p, g in zip(powers, groups, strict=True) if g == group) for group in degrees}
        if all(total[group] <= degree for group, degree in degrees.items()):
            of = dict(zip(names, powers, strict=True))
            yield of.get("X", 0), of.get("Y", 0)


def _models(path: str | os.PathLike[str]) -> list[_Model]:
    """All models of a file."""
    files.read(path)  # tells of files that are missing, cut short or no FITS
    found = []
    with files.reading(path, "FITS"), fits.open(path, memmap=False) as hdus:
        for number, hdu in enumerate(hdus):
            names = {name.lower() for name in getattr(getattr(hdu, "columns", None), "names", None) or ()}
            if MASK not in names:
                continue
            cards = {key.lower(): value for key, value in hdu.header.items() if key}
            where = f"{path}, extension {number}"
            found += [_Model(cards | {name: row[name] for name in names}, where) for row in hdu.data]
    return found


def _chosen(models: list[_Model], detector: str | int | None, path: str | os.PathLike[str]) -> _Model:
    """The model of a detector."""
    if not models:
        raise DataError(f"{path} holds no PSF of PSFEx: no table has a column PSF_MASK")
    if isinstance(detector, int | np.integer):
        if not 0 <= detector < len(models):
            raise DataError(f"{Path(path).name} holds {len(models)} models, there is none of number {detector}")
        return models[detector]
    names = [str(model.values.get("ccdname", model.values.get("extname", ""))).strip() for model in models]
    found = [model for model, name in zip(models, names, strict=True) if detector in (None, name)]
    if len(found) != 1:
        raise DataError(
            f"{Path(path).name} holds {len(models)} models, {', '.join(names)}, and {len(found)} for detector="
            f"{detector!r}; give one of these names, or its number from 0 on"
        )
    return found[0]


def _chebyshev(axes: Mapping[str, _Axis], exponents: list[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    """Chebyshev coefficients of each monomial, (n_term, K)."""
    order = max(i + j for i, j in exponents)
    along_x, along_y = axes["X"].powers(order, shape[1]), axes["Y"].powers(order, shape[0])
    terms = chebyshev_terms(order)
    return np.stack([along_x[i, terms[:, 0]] * along_y[j, terms[:, 1]] for i, j in exponents], axis=1)


def _on_pixels(planes: np.ndarray, samp: float) -> tuple[np.ndarray, int, float]:
    """Spline coefficients for samples `samp` px apart, on the grid of a PixelPSF, its points per pixel and stretch."""
    if not samp > 0:
        raise DataError(f"PSF_SAMP should be positive, found {samp}")
    more = int(np.ceil(POINTS * samp - 1e-9))
    planes, samp = _along(planes, _lanczos(planes.shape[1], more)), samp / more
    step, points = int(np.ceil(1 / samp - 1e-9)), planes.shape[1]
    size = int(max(np.ceil(points * samp - 1e-9), np.ceil((points - 1) / step) + 1))
    size += 1 - size % 2
    margin = ((size - 1) * step + 1 - points) // 2
    planes = np.pad(planes, [(0, 0), (margin, margin), (margin, margin)])
    return _along(planes, np.linalg.inv(_splines(planes.shape[1]))), step, samp * step


def _lanczos(size: int, more: int) -> np.ndarray:
    """From samples along an axis to `more` points for each of them, up to the last: Lanczos-3 of total 1."""
    apart = np.arange((size - 1) * more + 1)[:, None] / more - np.arange(size)
    weights = np.where(np.abs(apart) < 3, np.sinc(apart) * np.sinc(apart / 3), 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _splines(size: int) -> np.ndarray:
    """From coefficients along an axis to the values at the points; beyond the edge the last coefficient repeats."""
    made = np.zeros((size, size))
    for row in range(size):
        for apart in range(-2, 3):
            made[row, np.clip(row + apart, 0, size - 1)] += SPLINE[abs(apart)]
    return made


def _along(planes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Rows and columns of planes multiplied by a matrix."""
    return np.asarray(matrix @ planes @ matrix.T)
