"""Steps: what each part of the calibration is done with, and its options."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import IntFlag
from pathlib import Path
from typing import Any

from corontools.calibrate.adaptive import AdaptiveDetector
from corontools.calibrate.aperture import ApertureCorrector
from corontools.calibrate.astrometry import AstrometrySolver
from corontools.calibrate.background import BackgroundFitter
from corontools.calibrate.color import ColorTerm
from corontools.calibrate.cosmic import CosmicRayFinder, DefectFiller
from corontools.calibrate.deblend import Deblender
from corontools.calibrate.detect import SourceDetector
from corontools.calibrate.matcher import NearestMatcher
from corontools.calibrate.measure import MINIMAL, Measurer
from corontools.calibrate.photometry import ZeroPointFitter
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.psffit import PSFFitter
from corontools.calibrate.select import StarSelector
from corontools.calibrate.sky import SkySources
from corontools.calibrate.snaps import SnapCombiner
from corontools.calibrate.stars import ScienceSelector
from corontools.calibrate.wcsfit import SipFitter
from corontools.errors import DataError
from corontools.fits import one_line

__all__ = ["Steps"]

# what can be written in a file
PLAIN = (bool, int, float, str)
# steps that aren't the default ones go by their name in a file
OTHERS: dict[str, type] = {one.__name__: one for one in (AdaptiveDetector, ColorTerm, NearestMatcher, SipFitter)}


def _of_stars() -> SourceDetector:
    return SourceDetector.of_stars(BackgroundFitter(bin_size=64, style="akima"))


@dataclass(frozen=True)
class Steps:
    """What does each step of the calibration, with its options; another object with the same method may stand there.

    Attributes
    ----------
    snaps : SnapCombiner
        `combine(exposures)` adds two snaps.
    defects : DefectFiller
        `fill(masked)` replaces bad pixels.
    initial_psf : PSF
        Stands for the PSF until one is fitted.
    background : BackgroundFitter
        `fit(masked)` fits the sky, again after each detection.
    cosmic_rays : CosmicRayFinder
        `find(masked, psf)` finds cosmic rays.
    psf_detection : SourceDetector
        `detect(masked, psf, background)` finds stars for the PSF.
    psf_measurement : Measurer
        `measure(masked, detections, psf)` gives a table.
    star_selector : StarSelector
        `select(table)` chooses the stars that the PSF is fitted to.
    psf_fitter : PSFFitter
        `fit(masked, table, selection=)` fits the PSF.
    aperture : ApertureCorrector
        `fit(table, shape)` fits what fluxes lack of those in a large aperture.
    astrometry : AstrometrySolver
        `solve(table, wcs, refcat, shape)` fits the WCS; it holds a matcher and a fitter.
    star_detection : SourceDetector
        Finds the stars of the final catalogue.
    sky_sources : SkySources
        `add(detections, ...)` adds places without a source.
    deblender : Deblender
        `deblend(masked, detections, psf)` parts blends.
    measurement : Measurer
        Measures the final catalogue.
    science : ScienceSelector
        `select(table)` chooses the good stars of the final catalogue.
    photometry : ZeroPointFitter
        `fit(table, refcat, ...)` fits the zero point.

    Examples
    --------
    >>> steps = Steps(star_selector=StarSelector(min_snr=30.0))
    >>> steps.changes()
    {'star_selector': {'min_snr': 30.0}}
    >>> Steps.of({"psf_fitter": {"order": 1}}).psf_fitter.order
    1
    """

    snaps: SnapCombiner = field(default_factory=SnapCombiner)
    defects: DefectFiller = field(default_factory=DefectFiller)
    initial_psf: Any = field(default_factory=lambda: GaussianPSF.of_fwhm(4.0, size=11))
    background: Any = field(default_factory=BackgroundFitter)
    cosmic_rays: Any = field(default_factory=CosmicRayFinder)
    psf_detection: Any = field(default_factory=SourceDetector)
    psf_measurement: Any = field(default_factory=lambda: Measurer(MINIMAL))
    star_selector: Any = field(default_factory=StarSelector)
    psf_fitter: Any = field(default_factory=PSFFitter)
    aperture: Any = field(default_factory=ApertureCorrector)
    astrometry: Any = field(default_factory=AstrometrySolver)
    star_detection: Any = field(default_factory=_of_stars)
    sky_sources: Any = field(default_factory=SkySources)
    deblender: Any = field(default_factory=Deblender)
    measurement: Any = field(default_factory=Measurer)
    science: Any = field(default_factory=ScienceSelector)
    photometry: Any = field(default_factory=ZeroPointFitter)

    @classmethod
    def of(cls, options: Mapping[str, Any] | Steps | None = None) -> Steps:
        """Steps with some options changed, as `changes` tells them or a file has them.

        Raises
        ------
        DataError
            If a step or an option isn't known, or a value isn't of its kind.
        """
        if isinstance(options, Steps):
            return options
        return _changed(cls(), options or {}, "steps")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Steps:
        """Steps with the options of a TOML file, as `save` writes it; what isn't in it has its default.

        Raises
        ------
        DataError
            If the file can't be read, or names what isn't known.
        """
        import tomllib

        try:
            return cls.of(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except DataError as error:
            raise DataError(f"{path}: {one_line(error)}") from error
        except (OSError, ValueError, RecursionError) as error:
            reason = one_line(error)
            raise DataError(f"{path} can't be read as options of the calibration (TOML): {reason}") from error

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all options to a TOML file.

        Raises
        ------
        DataError
            If a step is an object of another package.
        """
        import tomli_w

        from corontools.fits import atomic

        text = tomli_w.dumps(self.to_dict())
        with atomic(path, overwrite=True) as part:
            part.write_text(text, encoding="utf-8")
        return Path(path)

    def with_(self, **options: Any) -> Steps:
        """Copy with steps changed, each an object or a mapping of its options.

        Raises
        ------
        DataError
            If there is no such step, or no such option.
        """
        return _changed(self, options, "steps")

    def to_dict(self) -> dict[str, Any]:
        """All options, by step."""
        return _plain(self, "steps")

    def changes(self) -> dict[str, Any]:
        """Options that aren't the defaults, by step."""
        return _differing(self, Steps())

    @property
    def code(self) -> str:
        """Python code that gives these steps, if they are all of this package."""
        foreign = {one.name: getattr(self, one.name) for one in fields(self) if not _ours(getattr(self, one.name))}
        changes = replace(self, **{name: getattr(Steps(), name) for name in foreign}).changes()
        return f"Steps.of({ {**changes, **foreign}!r})"

    def __str__(self) -> str:
        import tomli_w

        return tomli_w.dumps(self.to_dict())


def _plain(step: Any, name: str) -> dict[str, Any]:
    """Fields of a step as what TOML can hold; None is left out."""
    if not _ours(step):
        raise DataError(
            f"{name} is {type(step).__module__}.{type(step).__name__}; only steps of corontools can be saved"
        )
    found = {f.name: getattr(step, f.name) for f in fields(step)}
    kind = {"type": type(step).__name__} if type(step).__name__ in OTHERS else {}
    return kind | {key: _value(value, f"{name}.{key}") for key, value in found.items() if value is not None}


def _ours(step: Any) -> bool:
    return is_dataclass(step) and type(step).__module__.startswith("corontools.")


def _value(value: Any, name: str) -> Any:
    if isinstance(value, IntFlag):
        return [str(one.name) for one in type(value) if one & value]
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, tuple | list):
        return [_value(one, name) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _value(one, name) for key, one in value.items()}
    return _plain(value, name)


def _differing(step: Any, default: Any) -> dict[str, Any]:
    """Fields that differ from those of another step of the same class."""
    found: dict[str, Any] = {}
    for one in fields(step):
        mine, its = getattr(step, one.name), getattr(default, one.name)
        if mine == its:
            continue
        alike = is_dataclass(mine) and type(mine) is type(its)
        found[one.name] = _differing(mine, its) if alike else _value(mine, one.name)
    return found


def _changed(step: Any, options: Mapping[str, Any], name: str) -> Any:
    """A step with options changed; the kind of each value is that of the field's present one."""
    known = {one.name: one for one in fields(step)}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise DataError(f"{name} has no {', '.join(unknown)}; it has {', '.join(known)}")
    made = {key: _like(getattr(step, key), value, f"{name}.{key}") for key, value in options.items()}
    return type(step)(**{key: made.get(key, getattr(step, key)) for key in known})


def _other(options: Mapping[str, Any], name: str) -> Any:
    """The step that a file names by its type."""
    kind, rest = options["type"], {key: value for key, value in options.items() if key != "type"}
    if not isinstance(kind, str) or kind not in OTHERS:
        raise DataError(f"{name}: no step is called {kind!r}; there are {', '.join(OTHERS)}, and the default ones")
    if kind == ColorTerm.__name__:
        return _color_term(rest, name)
    return _changed(OTHERS[kind](), rest, name)


def _color_term(options: Mapping[str, Any], name: str) -> ColorTerm:
    """A colour term has no defaults: its own words are needed, and numbers are."""
    lost = [one for one in ("band", "color", "coefficients") if one not in options]
    if lost:
        raise DataError(f"{name}: a ColorTerm needs {', '.join(lost)}")
    return _changed(ColorTerm("", ("", ""), (0.0,)), options, name)


def _like(present: Any, value: Any, name: str) -> Any:
    """A value of the kind of the one that it takes the place of."""
    if is_dataclass(present):
        return _step_like(present, value, name)
    if present is None and isinstance(value, Mapping) and "type" in value:
        return _other(value, name)
    if isinstance(value, list | tuple) and isinstance(present, IntFlag | tuple):
        return _each_like(present, value, name) if isinstance(present, tuple) else _flags(type(present), value, name)
    if type(present) is float and type(value) is int and abs(value) < sys.float_info.max:
        return float(value)
    # True and False are no numbers here, though they are in Python
    if present is None or (isinstance(value, type(present)) and isinstance(value, bool) <= isinstance(present, bool)):
        return value
    raise DataError(f"{name} should be {type(present).__name__}, found {value!r}")


def _each_like(present: tuple[Any, ...], values: Any, name: str) -> tuple[Any, ...]:
    """As many values as one likes, of the kind of the first of those that they take the place of."""
    return tuple(_like(present[0], one, name) for one in values) if present else tuple(values)


def _step_like(present: Any, value: Any, name: str) -> Any:
    """The step with its options changed, another that a file names, or an object in its place."""
    if isinstance(value, Mapping):
        return _other(value, name) if "type" in value else _changed(present, value, name)
    if isinstance(value, PLAIN):
        raise DataError(f"{name} should be {type(present).__name__}, found {value!r}")
    return value


def _flags(kind: type[IntFlag], names: Any, where: str) -> IntFlag:
    unknown = [name for name in names if not isinstance(name, str) or name not in kind.__members__]
    if unknown:
        raise DataError(f"{where}: no plane {', '.join(map(str, unknown))}; there are {', '.join(kind.__members__)}")
    made = kind(0)
    for name in names:
        made |= kind[name]
    return made
