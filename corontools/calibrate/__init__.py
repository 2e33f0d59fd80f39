"""A single frame from counts to nJy: cosmic rays, PSF, astrometry, photometry."""
