"""The command `corontools calibrate`: its options, and what it does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corontools.cli_each import Command, Item, Shared, absolute, add_each
from corontools.manifest import Made
from corontools.options import positive

if TYPE_CHECKING:
    from corontools.calibrate import CalibratedImage, RefCat
    from corontools.exposure import Exposure

__all__ = ["add_calibrate", "calibrate_visit", "check_calibrate"]

FILES = ("refcat", "photometry", "options", "weight", "mask")
EXAMPLES = """examples:
  corontools calibrate visit.fits --refcat gaia.fits --band phot_g_mean -o out
  corontools calibrate snap1.fits snap2.fits --refcat refs.parquet --band r --options options.toml -o out
  corontools calibrate visit*.fits --each --refcat gaia.fits --scheduler tcp://head:8786 -o out
  corontools calibrate image.fits --weight weight.fits --mask mask.fits --refcat gaia.fits --photometry ps1.fits -o out
"""


def add_calibrate(commands: Any, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The command and its options; gives its parser."""
    command = commands.add_parser(
        "calibrate",
        parents=[common],
        help="calibrate a single frame: cosmic rays, PSF, astrometry, photometry",
        description="Repair cosmic rays, fit background, PSF, WCS and zero point, and write the frame in nJy with its "
        "catalogues of stars; all products of a visit, or none if a step fails.",
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
    add("--each", action="store_true", help="each FILE is a visit of its own, its products in a folder of its name")
    add_each(command, Command("calibrate", "visit", _items, calibrate_visit, "files", FILES))
    return command


def check_calibrate(args: argparse.Namespace) -> None:
    """What contradicts itself, or isn't enough."""
    if len(args.files) > 2 and not args.each:
        args.parser.error(
            f"a visit is one exposure or two snaps, found {len(args.files)} files; with --each every file is a visit"
        )
    if args.weight and args.gain:
        args.parser.error("--weight is the inverse variance; --gain makes one from the counts")
    if args.read_noise and not args.gain:
        args.parser.error("--read-noise belongs to --gain")


def _items(args: argparse.Namespace) -> list[Item]:
    files = tuple(map(absolute, args.files))
    if not args.each:
        return [Item("calibrate", "", files)]
    return [Item(stem, stem, (path,)) for path in files for stem in (path.name.split(".")[0],)]


def calibrate_visit(item: Item, shared: Shared) -> Made:
    """Calibrate a visit, all its products or none; its notes are what was found."""
    from corontools.calibrate import Steps, calibrate
    from corontools.calibrate.product import product_names

    args, folder = shared.options, item.data
    extra = ["calibrate.toml"] if args.write_options else []

    def write(part: Path) -> list[str]:
        (part / folder).mkdir(exist_ok=True)
        first, *second = (_exposure(path, args) for path in item.files)
        photometric = None if args.photometry is None else _refcat(args.photometry)
        made = calibrate(
            first, _refcat(args.refcat), second=second[0] if second else None, photometry_refcat=photometric,
            steps=_steps(args),
        )  # fmt: skip
        made.save(part / folder, parquet=args.parquet)
        for name in extra:
            Steps.save(made.steps, part / folder / name)
        return [f"{folder}: {row}" if folder else row for row in _told(made)]

    names = [str(Path(folder) / name) for name in (*product_names(parquet=args.parquet), *extra)]
    return shared.recipe.make(item.title, item.files, names, write)


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
