"""Camera: from a plan and a scene to exposures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from corontools.exposure import VARIANCES, Exposure
from corontools.simulate import headers
from corontools.simulate.detector import Noise, expose
from corontools.simulate.optics import Optics
from corontools.simulate.scene import PIXEL_SCALE, Companion, Disk, Star, disk_image, to_detector

__all__ = ["Camera", "off_axis_psf"]


@dataclass(frozen=True, eq=False)
class Camera:
    """Optics and detector, with the random numbers that the detector needs."""

    optics: Optics
    noise: Noise
    seeds: Mapping[str, np.random.SeedSequence]

    def signal(
        self,
        visit: headers.Visit,
        opds: Sequence[np.ndarray],
        offsets: np.ndarray,
        scene: tuple[Star, Sequence[Companion]],
    ) -> np.ndarray:
        """Noise-free images (n_int, y, x), MJy/sr, of a star and what surrounds it."""
        star, companions = scene
        places = [PIXEL_SCALE * to_detector(c, visit.roll) for c in companions]
        frames = []
        for opd, offset in zip(opds, offsets, strict=True):
            frame = self.optics.image(opd, tuple(offset))
            for companion, place in zip(companions, places, strict=True):
                frame = frame + companion.contrast * self.optics.image(opd, tuple(offset + place))
            frames.append(frame)
        total = np.array(frames)
        if star.disk is not None and not visit.is_psf:
            total += self._disk(star.disk, visit, opds[0], offsets.mean(axis=0))
        return total * Star.surface(star.reference_flux if visit.is_psf else star.flux)

    def _disk(self, disk: Disk, visit: headers.Visit, opd: np.ndarray, offset: np.ndarray) -> np.ndarray:
        psf = off_axis_psf(self.optics, opd, 121)
        return disk_image(disk, self.optics, visit.roll, psf, self.optics.center + offset / PIXEL_SCALE)

    def exposure(self, visit: headers.Visit, signal: np.ndarray) -> Exposure:
        """Noise and bad pixels added, and all that a file would tell."""
        stream = np.random.SeedSequence([visit.observation, visit.dither, *self.seeds["noise"].generate_state(4)])
        defects = np.random.default_rng(self.seeds["defects"])
        planes = expose(signal, self.noise, np.random.default_rng(stream), defects)
        variances = {name: planes.pop(name) for name in VARIANCES}
        meta = headers.meta(visit, self.optics.shape, self.optics.center)
        return Exposure(
            planes["data"],
            planes["err"],
            planes["dq"],
            meta=meta,
            wcs=headers.wcs(meta),
            variances=variances,
            extensions=headers.extensions(visit, self.optics.shape),
        )


def off_axis_psf(optics: Optics, opd: np.ndarray, size: int, offset: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Stamp of a source `offset` arcsec from its middle, behind the Lyot stop but not behind the mask."""
    middle = (size - 1) / 2
    stamp = replace(optics, shape=(size, size), center=(middle, middle), grid=optics.n)
    return stamp.image(opd, offset, occulted=False)
