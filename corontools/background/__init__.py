"""Background subtracted from images, from slitless spectra and from NIRISS SOSS."""

from corontools.background.association import BackgroundAssociation
from corontools.background.fit import FactorFit, TemplatesFit
from corontools.background.model import BackgroundModel

__all__ = ["BackgroundAssociation", "BackgroundModel", "FactorFit", "TemplatesFit"]
