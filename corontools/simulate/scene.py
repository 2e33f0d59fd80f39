"""Scene: what stands around the star, in sky coordinates, and how it falls on the detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corontools.simulate.optics import Optics

__all__ = ["PIXEL_SCALE", "PIXEL_SR", "V3I_YANG", "Companion", "Disk", "Star", "axes", "to_detector"]

# NIRCam long-wave channel behind the round masks, as in the headers of real exposures
PIXEL_SR = 9.20944023299612e-14
PIXEL_SCALE = 0.003918172030450555**0.5
V3I_YANG = 0.05428612


@dataclass(frozen=True)
class Companion:
    """A point source beside the star.

    Attributes
    ----------
    sep : float
        Arcsec from the star.
    pa : float
        Position angle, degrees east of north.
    contrast : float
        Flux as a fraction of the star's, before the mask takes its part.
    """

    sep: float
    pa: float
    contrast: float


@dataclass(frozen=True)
class Disk:
    """An optically thin ring around the star, as bright on the near side as on the far one.

    Attributes
    ----------
    r0, width : float
        Arcsec: radius of the ring and 1-sigma width of its Gaussian profile.
    inclination : float
        Degrees; 0 is face-on. Seen edge-on it is as thick as a ring of 87 degrees.
    pa : float
        Position angle of the major axis, degrees east of north.
    contrast : float
        Flux of the whole ring as a fraction of the star's.
    """

    r0: float = 2.0
    width: float = 0.2
    inclination: float = 60.0
    pa: float = 128.0
    contrast: float = 1e-3

    def brightness(self, east: np.ndarray, north: np.ndarray) -> np.ndarray:
        """Fraction of the star's flux per square arcsec at (east, north) arcsec from the star."""
        s, c = np.sin(np.radians(self.pa)), np.cos(np.radians(self.pa))
        flatten = max(np.cos(np.radians(self.inclination)), 0.05)
        radius = np.hypot(east * s + north * c, (east * c - north * s) / flatten)
        area = (2 * np.pi) ** 1.5 * self.r0 * self.width * flatten
        return self.contrast / area * np.exp(-0.5 * ((radius - self.r0) / self.width) ** 2)


@dataclass(frozen=True)
class Star:
    """The science target and the reference star.

    Attributes
    ----------
    flux, reference_flux : float
        Jansky.
    disk : Disk or None
        Around the science target.
    """

    flux: float = 4.25
    reference_flux: float = 3.4
    disk: Disk | None = None

    @staticmethod
    def surface(jansky: float) -> float:
        """Sum over all pixels of a source, MJy/sr."""
        return jansky * 1e-6 / PIXEL_SR


def axes(roll: float) -> np.ndarray:
    """Matrix from pixels (x, y) to arcsec (east, north) at a roll (ROLL_REF).

    The y axis points to the position angle ROLL_REF + V3I_YANG (VPARITY is -1), and east is to the left of
    north.
    """
    angle = np.radians(roll + V3I_YANG)
    return PIXEL_SCALE * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def to_detector(companion: Companion, roll: float) -> np.ndarray:
    """Pixels (dx, dy) from the star to a companion at a roll."""
    pa = np.radians(companion.pa)
    return np.linalg.inv(axes(roll)) @ (companion.sep * np.array([np.sin(pa), np.cos(pa)]))


def disk_image(disk: Disk, optics: Optics, roll: float, psf: np.ndarray, star: np.ndarray) -> np.ndarray:
    """Disk behind the mask, in fractions of the star's flux per pixel; `star` is its (x, y) on the detector.

    The transmission of the mask multiplies the disk before it is blurred by the off-axis PSF.
    """
    from scipy.signal import fftconvolve

    y, x = np.indices(optics.shape)
    (ee, en), (ne, nn) = axes(roll)
    dx, dy = x - star[0], y - star[1]
    sky = disk.brightness(ee * dx + en * dy, ne * dx + nn * dy) * PIXEL_SCALE**2
    return np.maximum(fftconvolve(sky * optics.mask, psf, mode="same"), 0.0)
