"""Subtracted exposures and backgrounds as JWST products."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from astropy.io import fits as astrofits

from corontools.background.place import Area
from corontools.exposure import Exposure
from corontools.fits import Extension
from corontools.meta import Meta

__all__ = ["mask_extension", "with_place"]

MASK = "MASK"


def with_place(meta: Meta, area: Area) -> Meta:
    """With the place on the detector, where it is known."""
    if not area.known:
        return meta
    return meta.with_cards({"SUBSTRT1": area.x + 1, "SUBSTRT2": area.y + 1, "SUBSIZE1": area.nx, "SUBSIZE2": area.ny})


def mask_extension(mask: np.ndarray) -> Extension:
    """A mask as the extension MASK: 1 = background."""
    hdu = astrofits.ImageHDU(mask.astype(np.int32), name=MASK)
    file = io.BytesIO()
    astrofits.HDUList([astrofits.PrimaryHDU(), hdu]).writeto(file)
    raw = np.frombuffer(file.getvalue(), np.uint8)[2880:]
    return Extension(MASK, hdu.header, mask.astype(np.int32), raw)


def without_mask(exposure: Exposure) -> tuple[Any, ...]:
    """The extensions of an exposure but for an earlier mask."""
    return tuple(extension for extension in exposure.extensions if extension.name != MASK)
