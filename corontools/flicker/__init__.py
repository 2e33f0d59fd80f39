"""Flicker (1/f) noise: masked, fitted and removed, from ramps or rates."""

from corontools.flicker.auto import Choice
from corontools.flicker.checks import InjectionTest, NullTest
from corontools.flicker.cleaner import FlickerCleaner
from corontools.flicker.psd import LineSpectrum
from corontools.flicker.readout import Readout
from corontools.flicker.scene import Scene

__all__ = ["Choice", "FlickerCleaner", "InjectionTest", "LineSpectrum", "NullTest", "Readout", "Scene"]
