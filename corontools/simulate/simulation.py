"""A whole data set: two rolls of the target, a dithered reference star, and the truth."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from corontools.errors import DataError
from corontools.exposure import VARIANCES, Exposure
from corontools.simulate import headers, plan
from corontools.simulate.camera import Camera, off_axis_psf
from corontools.simulate.detector import Noise
from corontools.simulate.optics import Optics
from corontools.simulate.scene import PIXEL_SCALE, Companion, Star, to_detector
from corontools.simulate.wavefront import Wavefront

__all__ = ["Simulation", "Truth", "coronagraph"]

PRODUCT = "t001_nircam_f444w-maskrnd-sub320a335r"


@dataclass(frozen=True, eq=False)
class Truth:
    """What went into the images.

    Attributes
    ----------
    companions : tuple of Companion
    star : Star
    science_xy, reference_xy : tuple of ndarray, each of shape (n_int, 2)
        0-based (x, y) of the star on the detector, for every integration of every exposure.
    companion_xy : tuple of ndarray, each of shape (n_int, n_companions, 2)
        The same of the companions, for every science exposure.
    flux, reference_flux : float
        Sum over all pixels of the unocculted stars behind the Lyot stop, MJy/sr.
    """

    companions: tuple[Companion, ...]
    star: Star
    science_xy: tuple[np.ndarray, ...]
    reference_xy: tuple[np.ndarray, ...]
    companion_xy: tuple[np.ndarray, ...]

    @property
    def flux(self) -> float:
        """Total of the science target, MJy/sr."""
        return Star.surface(self.star.flux)

    @property
    def reference_flux(self) -> float:
        """Total of the reference star, MJy/sr."""
        return Star.surface(self.star.reference_flux)


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated data set.

    Attributes
    ----------
    science, references : tuple of Exposure
        One science exposure per roll, one reference exposure per dither point.
    psfmask : Exposure
        Transmission of the mask (1 = all), 2-D.
    truth : Truth
    optics : Optics
    opd : ndarray
        Static wavefront of the science target in metres, on the grid of the pupil.
    """

    science: tuple[Exposure, ...]
    references: tuple[Exposure, ...]
    psfmask: Exposure
    truth: Truth
    optics: Optics
    opd: np.ndarray = field(repr=False)

    def psf(self, size: int = 61, *, offset: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """Off-axis PSF: no mask, but the Lyot stop.

        The total over an infinite plane is 1 behind the Lyot stop: calibrated exposures (PHOTMJSR) make up
        for the light that the stop takes (a fraction 1 - `optics.throughput`). Times the flux of a source
        in MJy/sr (`truth.flux * contrast`) it is the image of that source far from the mask.

        Parameters
        ----------
        size : int
            Pixels a side.
        offset : (float, float)
            Pixels (x, y) of the source from the middle of the stamp, ((size - 1) / 2, (size - 1) / 2).

        Returns
        -------
        ndarray, shape (size, size)
        """
        return off_axis_psf(self.optics, self.opd, size, (offset[0] * PIXEL_SCALE, offset[1] * PIXEL_SCALE))

    def write(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the exposures, a psfmask beside each science exposure, and their association.

        The files have the extensions of real `calints` files in their order, except ASDF: the WCS is in the
        FITS header only.

        Returns
        -------
        Path
            The association file.

        Raises
        ------
        FileExistsError
            If a file exists and `overwrite` is False.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for exposure in (*self.science, *self.references):
            _standard_order(exposure).save(folder / exposure.meta.filename, overwrite=overwrite)
        for exposure in self.science:
            mask = self.psfmask.with_(meta=headers.psfmask_meta(exposure.meta), wcs=exposure.wcs)
            mask.save(folder / mask.meta.filename, overwrite=overwrite)
        path = folder / f"jw{headers.PROGRAM}-c1001_coron3_00001_asn.json"
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists and is kept; choose another folder or overwrite it")
        path.write_text(json.dumps(_association(self.science, self.references), indent=2) + "\n", encoding="utf-8")
        return path


def _standard_order(exposure: Exposure) -> Exposure:
    """Variances after AREA and INT_TIMES, as the pipeline writes them."""
    variances = (fits.ImageHDU(exposure.variances[n], name=f"VAR_{n.upper()}") for n in VARIANCES)
    kept = (*exposure.extensions, *(headers.extension(hdu) for hdu in variances))
    return exposure.with_(variances={}, extensions=kept)


def _association(science: Sequence[Exposure], references: Sequence[Exposure]) -> dict[str, Any]:
    kinds = [("science", e) for e in science] + [("psf", e) for e in references]
    members = [{"expname": e.meta.filename, "exptype": kind} for kind, e in kinds]
    program = headers.PROGRAM
    return {
        "asn_type": "coron3", "asn_rule": "Asn_Lv3NRCCoron", "asn_id": "c1001", "program": program,
        "target": "t001", "asn_pool": f"jw{program}_pool.csv",
        "products": [{"name": f"jw{program}-c1001_{PRODUCT}", "members": members}],
    }  # fmt: skip


def coronagraph(
    *,
    seed: int = 1,
    shape: int | tuple[int, int] = plan.SUBARRAY,
    n_int: int = 3,
    n_dither: int = 9,
    rolls: Sequence[float] = (63.76, 73.77),
    companions: Sequence[Companion] = (),
    star: Star = Star(),  # noqa: B008 - frozen
    wavefront: Wavefront = Wavefront(),  # noqa: B008 - frozen
    noise: Noise = Noise(),  # noqa: B008 - frozen
) -> Simulation:
    """Simulate NIRCam exposures in F444W behind the round mask 335R, and of a reference star.

    Exposures follow one another: one science exposure per roll, then the reference star at each point of
    the dither. The wavefront drifts all along, and jumps between the stars. Every source is propagated
    through mask and Lyot stop on its own (see `optics`), so that the residual of a star depends on where it
    stands behind the mask, and a companion near the mask is dimmed and deformed as a real one.

    Parameters
    ----------
    seed : int
        The same seed gives the same arrays, bit by bit, on the same machine.
    shape : int or (int, int)
        Pixels (ny, nx). The mask stands at 0-based (x, y) = (150, 174) of the full subarray (320, 320), at
        (nx // 2, ny // 2) of other frames.
    n_int : int
        Integrations of every exposure.
    n_dither : int
        Points of the reference's small grid dither: 1, 5 or 9, each an exposure.
    rolls : sequence of float
        ROLL_REF of the science exposures, degrees.
    companions : sequence of Companion
    star : Star
        Fluxes, and the disk.
    wavefront : Wavefront
    noise : Noise

    Raises
    ------
    DataError
        If there is no such dither, or no integration.

    Examples
    --------
    >>> sim = coronagraph(shape=48, n_int=2, n_dither=1, companions=[Companion(1.0, 90.0, 1e-4)])
    >>> [e.meta.roll for e in sim.science], sim.references[0].data.shape
    ([63.76, 73.77], (2, 48, 48))
    """
    if n_dither not in headers.PATTERNS or n_int < 1:
        raise DataError(f"n_dither must be 1, 5 or 9 and n_int at least 1, found {n_dither} and {n_int}")
    call = _call(locals())
    seeds = plan.purpose_seeds(seed)
    optics, visits = plan.frame_optics(shape, wavefront), plan.visits(rolls, n_int, n_dither, noise.time)
    opds, offsets = plan.wavefronts(seeds, optics, wavefront, visits), plan.pointing(seeds, wavefront, visits)
    camera = Camera(optics, noise, seeds)
    exposures = []
    for visit, opd, offset in zip(visits, opds, offsets, strict=True):
        scene = (star, () if visit.is_psf else tuple(companions))
        exposures.append(camera.exposure(visit, camera.signal(visit, opd, offset, scene)))
    exposures = _with_source(exposures, call)
    return _assemble(exposures, visits, offsets, (optics, opds[0][0], star, tuple(companions)))


def _call(given: dict[str, Any]) -> str:
    """The call that makes this data set, as Python."""
    usual = {name: parameter.default for name, parameter in signature(coronagraph).parameters.items()}
    changed = (f"{name}={value!r}" for name, value in given.items() if repr(value) != repr(usual[name]))
    return f"simulate.coronagraph({', '.join(changed)})"


def _with_source(exposures: Sequence[Exposure], call: str) -> list[Exposure]:
    n = sum(not e.meta.primary["IS_PSF"] for e in exposures)
    places = [f"science[{i}]" for i in range(n)] + [f"references[{i}]" for i in range(len(exposures) - n)]
    return [e.with_(source=f"{call}.{place}") for e, place in zip(exposures, places, strict=True)]


def _assemble(
    exposures: Sequence[Exposure],
    visits: Sequence[headers.Visit],
    offsets: Sequence[np.ndarray],
    made_of: tuple[Optics, np.ndarray, Star, tuple[Companion, ...]],
) -> Simulation:
    optics, opd, star, companions = made_of
    xy = [np.array(optics.center) + offset / PIXEL_SCALE for offset in offsets]
    n = sum(not visit.is_psf for visit in visits)
    places = [np.array([to_detector(c, v.roll) for c in companions]).reshape(1, -1, 2) for v in visits[:n]]
    truth = Truth(
        companions,
        star,
        science_xy=tuple(xy[:n]),
        reference_xy=tuple(xy[n:]),
        companion_xy=tuple(star_xy[:, None] + place for star_xy, place in zip(xy[:n], places, strict=True)),
    )
    mask = Exposure(optics.mask.astype(np.float32), meta=headers.psfmask_meta(exposures[0].meta), wcs=exposures[0].wcs)
    return Simulation(tuple(exposures[:n]), tuple(exposures[n:]), mask, truth, optics, opd)
