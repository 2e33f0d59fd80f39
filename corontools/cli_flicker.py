"""The command `corontools flicker`: its options, and what it does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corontools.cli_each import Command, Item, Shared, absolute, add_each
from corontools.manifest import Made
from corontools.options import count, sigma

if TYPE_CHECKING:
    from corontools.flicker import FlickerCleaner

__all__ = ["add_flicker", "check_flicker", "clean_file"]

# how stripes run -> axis of numpy along which they do
STRIPES = {"rows": 1, "columns": 0}
# more products of the flicker noise -> suffix of their names
EXTRAS = {"mask": "mask", "background": "flicker_bkg", "noise": "flicker_noise"}
EXAMPLES = """examples:
  corontools flicker jw*_ramp.fits -o out --background model --box 32
  corontools flicker jw*_nis_rate.fits -o out --auto --add-err
  corontools flicker jw*_nrs1_rate.fits -o out --noise fft --mask mask.fits --save noise
"""


def add_flicker(commands: Any, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The command and its options; gives its parser."""
    command = commands.add_parser(
        "flicker",
        parents=[common],
        help="remove 1/f noise from ramps or rates",
        description="Mask the scene, fit the stripes that flicker noise leaves and subtract them, file by file; write "
        "<name>_clean_flicker_noise.fits for every file. Why a file fails is told at the end; the others are done.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("files", metavar="FILE", type=Path, nargs="+", help="ramps, rateints or rates (FITS)")
    add("-o", "--out", type=Path, required=True, help="folder for the products, made if need be")
    add("--noise", choices=("median", "fft", "stream"), help="how stripes are fitted (default median)")
    add("--by-channel", action="store_true", help="a median for each amplifier")
    backgrounds = ("median", "model", "median_image", "none")
    add("--background", choices=backgrounds, help="what is subtracted first (default median)")
    add("--box", type=count, metavar="PX", help="boxes of the background model (default 32 or what divides)")
    add("--n-sigma", type=sigma, metavar="N", help="sources are this far above the background (default 2; 0: no clip)")
    add("--histogram", action="store_true", help="sigma from a Gaussian fitted to the histogram")
    add(
        "--science",
        metavar="FILE",
        nargs="?",
        const=True,
        help="mask the mode's regions with light, or those of a FILE",
    )
    add("--per-integration", action="store_true", help="a scene mask for each integration")
    add("--mask", type=Path, metavar="FILE", help="a scene mask instead: 1 = background")
    add("--flat", type=Path, metavar="FILE", help="flat field")
    add("--auto", action="store_true", help="choose background and amplifiers from the data (NIRCam, NIRISS imaging)")
    add("--axis", choices=tuple(STRIPES), help="how stripes run, where the header doesn't tell")
    add("--add-err", action="store_true", help="add the error of the correction to ERR")
    add(
        "--save",
        choices=EXTRAS,
        action="append",
        default=[],
        metavar="WHAT",
        help="write as well: " + ", ".join(EXTRAS),
    )
    add_each(command, Command("flicker", "file", _items, clean_file, "files", ("mask", "flat", "science")))
    return command


def check_flicker(args: argparse.Namespace) -> None:
    """An option of another choice is a contradiction."""
    if args.auto and (args.background or args.noise or args.box is not None or args.by_channel):
        args.parser.error("--auto chooses --background, --noise and --by-channel by itself")
    if args.mask and (args.science or args.histogram or args.per_integration):
        args.parser.error("--mask is a mask; --science, --histogram and --per-integration make one")
    if args.box is not None and args.background != "model":
        args.parser.error("--box belongs to --background model")


def _items(args: argparse.Namespace) -> list[Item]:
    from corontools.flicker.product import SUFFIX
    from corontools.products import product_name

    return [Item(product_name(path.name, SUFFIX), path, (path,)) for path in map(absolute, args.files)]


def clean_file(item: Item, shared: Shared) -> Made:
    """Clean a file, all its products or none; its notes say what was left unchanged."""
    from corontools.products import product_name

    path, args = item.data, shared.options
    extras = {what: product_name(path.name, EXTRAS[what]) for what in dict.fromkeys(args.save)}

    def write(part: Path) -> list[str]:
        cleaner = _cleaner(path, args)
        cleaner.save(part / item.title)
        for what, name in extras.items():
            getattr(cleaner, f"save_{what}")(part / name)
        return [f"{path.name}: {note}" for note in cleaner.notes]

    return shared.recipe.make(item.title, item.files, [item.title, *extras.values()], write)


def _cleaner(path: Path, args: argparse.Namespace) -> FlickerCleaner:
    """The file with the choices of the command line; what wasn't asked for isn't in the chain."""
    from corontools.exposure import Exposure
    from corontools.flicker import FlickerCleaner

    axis = None if args.axis is None else STRIPES[args.axis]
    cleaner = FlickerCleaner(Exposure.read(path), flat=None if args.flat is None else str(args.flat), axis=axis)
    cleaner = _masked(cleaner, args)
    if args.auto:
        cleaner = cleaner.auto()
    if args.background:
        method = None if args.background == "none" else args.background
        cleaner = cleaner.fit_background(method, box=args.box)
    if args.noise or args.by_channel:
        cleaner = cleaner.fit_noise(args.noise or "median", by_channel=args.by_channel)
    return cleaner.add_err() if args.add_err else cleaner


def _masked(cleaner: FlickerCleaner, args: argparse.Namespace) -> FlickerCleaner:
    """With the scene mask that was asked for."""
    sigma = {} if args.n_sigma is None else {"n_sigma": args.n_sigma}
    if args.mask is not None:
        return cleaner.use_mask(str(args.mask), **sigma)
    chosen = {"fit_histogram": args.histogram, "science": args.science, "per_integration": args.per_integration}
    given = sigma | {name: value for name, value in chosen.items() if value}
    return cleaner.mask_scene(**given) if given else cleaner
