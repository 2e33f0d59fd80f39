"""The command `corontools calibrate`: its options, and what it does."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corontools.options import positive

if TYPE_CHECKING:
    from corontools.calibrate import CalibratedImage, RefCat
    from corontools.exposure import Exposure

__all__ = ["add_calibrate", "calibrate_file", "check_calibrate"]

EXAMPLES = """examples:
  corontools calibrate visit.fits --refcat gaia.fits --band phot_g_mean -o out
  corontools calibrate snap1.fits snap2.fits --refcat refs.parquet --band r --options options.toml -o out
  corontools calibrate image.fits --weight weight.fits --mask mask.fits --refcat gaia.fits --photometry ps1.fits -o out
"""


def add_calibrate(commands: Any, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The command and its options; gives its parser."""
    command = commands.add_parser(
        "calibrate",
        parents=[common],
        help="calibrate a single frame: cosmic rays, PSF, astrometry, photometry",
        description="Repair cosmic rays, fit background, PSF, WCS and zero point, and write the frame in nJy with its "
        "catalogues of stars; all products, or none if a step fails.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("files", metavar="FILE", type=Path, nargs="+", help="an exposure in counts, or two snaps (FITS)")
    add("-o", "--out", type=Path, required=True, help="folder for the products, made if need be")
    add("--refcat", metavar="FILE", nargs="+", required=True, help="reference catalogue (FITS, ECSV, Parquet; shards)")
    add("--photometry", metavar="FILE", nargs="+", help="another reference catalogue, for the zero point")
    add("--band", metavar="NAME", help="of the references, which is that of the image (default the first)")
    add("--options", metavar="FILE", type=Path, help="options of all steps (TOML); --write-options gives them")
    add("--write-options", action="store_true", help="write the options too, calibrate.toml")
    add("--weight", metavar="FILE", type=Path, help="inverse variances, for a file without errors")
    add("--mask", metavar="FILE", type=Path, help="pixels that aren't 0 are bad, for a file without flags")
    add("--gain", type=positive, metavar="E", help="electrons per count: variance from the counts, without --weight")
    add("--read-noise", type=positive, metavar="E", help="electrons, with --gain")
    add("--parquet", action="store_true", help="write the catalogues as Parquet too (pyarrow)")
    command.set_defaults(parser=command)
    return command


def check_calibrate(args: argparse.Namespace) -> None:
    """What contradicts itself, or isn't enough."""
    if len(args.files) > 2:
        args.parser.error(f"a visit is one exposure or two snaps, found {len(args.files)} files; calibrate one by one")
    if args.weight and args.gain:
        args.parser.error("--weight is the inverse variance; --gain makes one from the counts")
    if args.read_noise and not args.gain:
        args.parser.error("--read-noise belongs to --gain")


def calibrate_file(args: argparse.Namespace) -> tuple[list[tuple[str, int, float]], list[str]]:
    """Calibrate a frame, all products or none; gives name, bytes and seconds of each, and what was found."""
    from corontools.calibrate import Steps, calibrate
    from corontools.calibrate.product import product_names
    from corontools.folder import staged

    extra = ["calibrate.toml"] if args.write_options else []
    steps = _steps(args)
    with staged(args.out, [*product_names(parquet=args.parquet), *extra], overwrite=args.overwrite) as part:
        start = time.perf_counter()
        exposures = [_exposure(path, args) for path in args.files]
        photometric = None if args.photometry is None else _refcat(args.photometry)
        made = calibrate(
            exposures[0], _refcat(args.refcat), second=exposures[1] if len(exposures) > 1 else None,
            photometry_refcat=photometric, steps=steps,
        )  # fmt: skip
        written = made.save(part, parquet=args.parquet)
        written += [Steps.save(made.steps, part / name) for name in extra]
        took = (time.perf_counter() - start) / len(written)
        rows = [(path.name, path.stat().st_size, took) for path in written]
    return rows, _told(made)


def _told(made: CalibratedImage) -> list[str]:
    return [f"{name}: {value}" for name, value in made._rows()]


def _steps(args: argparse.Namespace) -> Any:
    from corontools.calibrate import Steps

    steps = Steps() if args.options is None else Steps.read(args.options)
    return steps if args.band is None else steps.with_(photometry={"band": args.band})


def _refcat(paths: list[str]) -> RefCat:
    from corontools.calibrate import RefCat

    return RefCat.read(paths[0] if len(paths) == 1 else paths)


def _exposure(path: Path, args: argparse.Namespace) -> Exposure:
    """The file, with errors and flags of other files."""
    import numpy as np

    from corontools.dq import DQ
    from corontools.exposure import Exposure

    exposure = Exposure.read(path)
    if args.weight is not None:
        weight = np.asarray(Exposure.read(args.weight).data, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            exposure = exposure.with_(err=np.where(weight > 0, 1 / np.sqrt(weight), np.nan))
    if args.gain is not None:
        counts = np.asarray(exposure.data, np.float64)
        noise = (args.read_noise or 0.0) / args.gain
        exposure = exposure.with_(err=np.sqrt(np.maximum(counts, 0.0) / args.gain + noise**2))
    if args.mask is not None:
        exposure = exposure.mask(np.asarray(Exposure.read(args.mask).data) != 0, bits=DQ.DO_NOT_USE)
    return exposure
