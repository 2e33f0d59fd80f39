"""Images on the sky for the report: orientation, stretch, rings, crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from corontools.arrays.radial import radii
from corontools.display.card import Picture
from corontools.display.figure import Mark, Sky, frame
from corontools.display.picture import Scale, image_uri, scaled_uri
from corontools.exposure import Exposure

__all__ = [
    "PANEL",
    "contact_sheet",
    "inner",
    "mean_image",
    "north_sky",
    "residual_scale",
    "shown",
    "sky_of",
    "sky_picture",
    "snr_scale",
]

RINGS = (0.5, 1.0, 2.0, 4.0, 8.0)
# two pictures, or three panels, fill a line of the page
SIZE = (520.0, 490.0)
PANEL = (318.0, 300.0)
# px about the star where what is left of it would set the stretch of a residual
CORE = 5.0
# side in px of the neighbourhood of a pixel without data, and the finite share of it from which the pixel is a hole,
# not the outside
BOX, HOLE = 5, 0.6
# of the S/N map: what noise hardly ever reaches, and what no one doubts
SNR_LIMITS = (-5.0, 15.0)


def mean_image(exposure: Exposure) -> np.ndarray:
    """Mean (y, x) of the good pixels over all integrations; NaN where there is none."""
    cube = exposure.cube
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sum(cube.data, axis=0, where=cube.good, dtype=np.float64) / cube.good.sum(axis=0)


def shown(image: np.ndarray) -> np.ndarray:
    """The image with its holes filled by the median about them: light dots of missing data look like sources."""
    finite = np.isfinite(image)
    inside = ndimage.uniform_filter(finite.astype(float), BOX, mode="nearest") >= HOLE
    y, x = np.nonzero(inside & ~finite)
    padded = np.pad(np.where(finite, image, np.nan), BOX // 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (BOX, BOX))[y, x].reshape(-1, BOX * BOX)
    filled = np.array(image, np.float64)
    filled[y, x] = np.nanmedian(windows, axis=1)
    return filled


def sky_of(exposure: Exposure) -> Sky:
    """How an exposure lies on the sky, by its WCS; without one there is no compass."""
    pa, parity = (None, -1) if exposure.wcs is None else _orientation(exposure)
    ny, nx = exposure.shape[-2:]
    return Sky((ny, nx), exposure.meta.pixel_scale, exposure.center, pa, parity)


def _orientation(exposure: Exposure) -> tuple[float, int]:
    """Position angle of +y in degrees, and -1 where east is to the left of north."""
    x, y = exposure.center
    ra, dec = exposure.wcs.all_pix2world([(x, y), (x + 1, y), (x, y + 1)], 0).T
    east = (np.mod(ra[1:] - ra[0] + 180, 360) - 180) * np.cos(np.radians(dec[0]))
    north = dec[1:] - dec[0]
    parity = -1 if east[0] * north[1] - north[0] * east[1] < 0 else 1
    return float(np.degrees(np.arctan2(east[1], north[1]))), parity


def north_sky(image: Exposure) -> Sky:
    """The sky of an image that is north up and east left."""
    return Sky(image.shape, image.meta.pixel_scale, image.center, 0.0)  # type: ignore[arg-type]


def inner(image: np.ndarray, sky: Sky, reach: float) -> tuple[np.ndarray, Sky]:
    """The square within `reach` arcsec (px without a pixel scale) of the star, as far as the image goes."""
    (ny, nx), (x, y) = image.shape, sky.origin
    r = reach / (sky.pixel_scale or 1.0)
    x0, x1 = max(round(x - r), 0), min(round(x + r) + 1, nx)
    y0, y1 = max(round(y - r), 0), min(round(y + r) + 1, ny)
    if x0 >= x1 or y0 >= y1:
        return image, sky
    cut = image[y0:y1, x0:x1]
    return cut, replace(sky, shape=cut.shape, center=(x - x0, y - y0))


def residual_scale(image: np.ndarray, center: tuple[float, float], unit: str) -> Scale:
    """Stretch of a residual: linear within 3 sigma of the noise far from the star, logarithmic above.

    What is left of the star's core, in the inner 5 px, has no part in it.
    """
    outside = image[np.isfinite(image) & (radii(image.shape, center) > CORE)]
    if not outside.size:
        return Scale.of(image, unit=unit)
    sigma = 1.4826 * float(np.median(np.abs(outside - np.median(outside))))
    if not sigma > 0:
        return Scale.of(image, unit=unit)
    return Scale((-3 * sigma, max(10 * sigma, float(np.percentile(outside, 99.99)))), "asinh", unit=unit)


def snr_scale() -> Scale:
    """The same in every report, so that maps can be compared."""
    return Scale(SNR_LIMITS, "linear", unit="S/N")


def sky_picture(
    image: np.ndarray,
    sky: Sky,
    scale: Scale,
    *,
    marks: Sequence[Mark] = (),
    title: str = "",
    size: tuple[float, float] = SIZE,
) -> str:
    """An image with axes, rings of separation, compass, scale bar and colour bar, as SVG."""
    return frame(
        scaled_uri(shown(image), scale), sky=sky, scale=scale, rings=_rings(sky), marks=marks, title=title, size=size
    )


def _rings(sky: Sky) -> list[float]:
    """Two or three round separations that fit on the image."""
    if sky.pixel_scale is None:
        return []
    (x, y), (ny, nx) = sky.origin, sky.shape
    farthest = max(x, y, nx - 1 - x, ny - 1 - y) * sky.pixel_scale
    return [ring for ring in RINGS if farthest / 12 < ring < 0.95 * farthest][-3:]


def contact_sheet(images: Sequence[np.ndarray], names: Sequence[str], *, columns: int = 3) -> Picture:
    """Small images of one shape side by side in one common stretch."""
    ny, nx = images[0].shape
    gap = max(2, nx // 40)
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    sheet = np.full((rows * (ny + gap) - gap, columns * (nx + gap) - gap), np.nan)
    for i, image in enumerate(images):
        # row 0 of a picture is at its bottom
        y, x = (rows - 1 - i // columns) * (ny + gap), i % columns * (nx + gap)
        sheet[y : y + ny, x : x + nx] = image
    caption = "; ".join(names)
    return Picture(image_uri(sheet), caption=caption, alt=f"images of {caption}", width=int(SIZE[0]))
