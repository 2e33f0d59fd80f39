"""The command `corontools background`: its options, and what it does."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from corontools.cli_each import Command, Item, Shared, absolute, add_each
from corontools.errors import DataError
from corontools.manifest import Made
from corontools.options import count, number, percent, positive

if TYPE_CHECKING:
    from corontools.background import BackgroundModel
    from corontools.exposure import Exposure

__all__ = ["add_background", "check_background", "subtract_from_file"]

COMBINED = "combinedbackground"
# way to a background -> options that belong to it; without one it is the mean of the association's exposures
WAYS = {
    "bkg": ("sigma", "maxiters", "reject"),
    "reference": ("catalog", "dispersion", "mmag_extract", "mask", "outlier_percent", "rms_stop", "maxiter"),
    "templates": ("source_percentile",),
    "image": ("scale",),
}
FILES = ("bkg", "reference", "templates", "image", "catalog", "dispersion", "mask")
EXAMPLES = """examples:
  corontools background jw..._asn.json -o out
  corontools background jw..._nrcalong_rate.fits --bkg nod2_rate.fits nod3_rate.fits -o out --save-background
  corontools background jw..._asn.json --reference wfssbkg.fits --dispersion orders.yaml -o out
  corontools background jw..._nis_rateints.fits --templates sossbkg.fits -o out
"""


def add_background(commands: Any, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The command and its options; gives its parser."""
    command = commands.add_parser(
        "background",
        parents=[common],
        help="subtract the background of sky and telescope",
        description="Subtract the mean of background exposures, a scaled reference (WFSS), the best of several "
        "templates (SOSS) or an image of your own; write <name>_bsub.fits (cubes: _bsubints) for every "
        "exposure. Why an exposure fails is told at the end; the others are done.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("inputs", metavar="ASN|FILE", type=Path, nargs="+", help="associations (JSON), or exposures (FITS)")
    add("-o", "--out", type=Path, required=True, help="folder for the products, made if need be")
    add("--product", metavar="NAME", help="only this product of an association (default all)")
    ways = command.add_mutually_exclusive_group()
    ways.add_argument("--bkg", metavar="FILE", nargs="+", help="background exposures (default those of the ASN)")
    ways.add_argument("--reference", metavar="FILE", help="reference background, scaled where there are no sources")
    ways.add_argument("--templates", metavar="FILE", help="templates of the SOSS background")
    ways.add_argument("--image", metavar="FILE", help="a background of your own")
    add("--sigma", type=positive, metavar="N", help="of exposures: values further away are rejected (default 3)")
    add("--maxiters", type=count, metavar="N", help="of exposures: most values rejected in a pixel (default no limit)")
    rules = ("leave_one_out", "sigma_clip", "none")
    add("--reject", choices=rules, help="of exposures: how outliers are found (default leave_one_out)")
    add("--catalog", metavar="FILE", help="sources (ECSV; default the ASN's, or SCATFILE of the header)")
    add("--dispersion", metavar="FILE", help="where each order puts the light of a source (YAML or JSON)")
    add("--mmag-extract", type=number, metavar="MAG", help="magnitude of the faintest source that is masked")
    add("--mask", metavar="FILE", help="1 = background, instead of a catalogue (FITS or ASDF)")
    add("--outlier-percent", type=percent, metavar="P", help="residuals rejected at each end, percent (default 1)")
    add("--rms-stop", type=percent, metavar="P", help="stop when the rms improves by less, percent (default 0: never)")
    add("--maxiter", type=count, metavar="N", help="rounds of rejection (default 5)")
    add("--source-percentile", type=percent, metavar="P", help="of templates: darkest part of the image (default 35)")
    add("--scale", type=number, metavar="X", help="factor of --image (default 1)")
    add("--no-propagate", action="store_true", help="leave ERR as it is")
    add("--save-background", action="store_true", help=f"write the background too, <name>_{COMBINED}.fits")
    add_each(command, Command("background", "exposure", _items, subtract_from_file, "inputs", FILES))
    return command


def check_background(args: argparse.Namespace) -> None:
    """An option of another way to a background is a contradiction."""
    chosen = next((way for way in WAYS if getattr(args, way) is not None), "bkg")
    for way, options in WAYS.items():
        given = [name for name in options if getattr(args, name) is not None]
        if given and way != chosen:
            args.parser.error(f"--{given[0].replace('_', '-')} belongs to --{way}")
    if args.mask and (args.catalog or args.dispersion or args.mmag_extract is not None):
        args.parser.error("--mask stands for a catalogue; leave out --catalog, --dispersion and --mmag-extract")


class Target(NamedTuple):
    """An exposure and what its association says of it."""

    path: Path
    backgrounds: tuple[Path, ...] = ()
    catalog: Path | None = None


def _items(args: argparse.Namespace) -> list[Item]:
    from corontools.products import product_name

    items = []
    for path in map(absolute, args.inputs):
        try:
            targets = _targets(path, args.product)
        except DataError as error:  # of this association alone
            items.append(Item(path.name, error, ()))
        else:
            items += [Item(product_name(one.path.name, "bsub"), one, _files(one)) for one in targets]
    return items


def _files(target: Target) -> tuple[Path, ...]:
    return (target.path, *target.backgrounds, *([] if target.catalog is None else [target.catalog]))


def subtract_from_file(item: Item, shared: Shared) -> Made:
    """Subtract from an exposure, all its products or none; its notes say what isn't as it should be."""
    from corontools.exposure import Exposure

    if isinstance(item.data, DataError):
        raise item.data
    target, args = _with_catalog(item.data, shared.options), shared.options
    names = _names(target.path, args)

    def write(part: Path) -> list[str]:
        exposure = Exposure.read(target.path)
        model = _model(target, exposure, shared)
        model.subtract_from(exposure, propagate=not args.no_propagate).save(part / names[0])
        complete = model.status == "COMPLETE"
        for name in names[1:] if complete else ():
            model.save_background(part / name)
        return [f"{target.path.name}: {note}" for note in model.notes if complete]

    # a fit that failed has no background
    return shared.recipe.make(item.title, _files(target), names, write, optional=names[1:])


def _targets(path: Path, product: str | None) -> list[Target]:
    """The exposures of an association, or the exposure itself."""
    from corontools.association import Members
    from corontools.background.association import BackgroundAssociation

    if path.suffix.lower() != ".json":
        return [Target(path)]
    names = (product,) if product is not None else Members.products(path)
    groups = [BackgroundAssociation.read(path, product=name) for name in names]
    return [Target(one, asn.background_paths, asn.catalog) for asn in groups for one in asn.science_paths]


def _names(path: Path, args: argparse.Namespace) -> list[str]:
    """Products of an exposure."""
    from corontools.exposure import Exposure
    from corontools.products import product_name

    suffix = "bsub" if Exposure.read(path).data.ndim == 2 else "bsubints"
    return [product_name(path.name, each) for each in (suffix, *([COMBINED] if args.save_background else []))]


def _model(target: Target, exposure: Exposure, shared: Shared) -> BackgroundModel:
    """The background for a target."""
    from corontools.background import BackgroundModel

    args = shared.options
    if args.image is not None:
        return BackgroundModel.from_image(args.image, **_given(args, "scale"))
    if args.templates is not None:
        return BackgroundModel.from_templates(args.templates).fit(exposure, **_given(args, "source_percentile"))
    if args.reference is not None:
        reference = _masked(BackgroundModel.from_reference(args.reference), target, args)
        return reference.fit(exposure, **_given(args, "outlier_percent", "rms_stop", "maxiter"))
    paths = tuple(args.bkg or map(str, target.backgrounds))
    if not paths:
        raise DataError(
            f"{target.path.name}: no background exposure is known; name some with --bkg or in an association, or "
            "give --reference, --templates or --image"
        )
    return _mean(shared.recipe.run, paths, **_given(args, *WAYS["bkg"]))


@functools.lru_cache(maxsize=1)
def _mean(run: str, paths: tuple[str, ...], **options: Any) -> BackgroundModel:
    """The mean of exposures, made once for the targets that follow each other."""
    from corontools.background import BackgroundModel

    return BackgroundModel.from_exposures(list(paths), **options)


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _with_catalog(target: Target, args: argparse.Namespace) -> Target:
    """With the sources that its header names, where neither association nor options do."""
    from corontools.background.association import catalog_of

    if args.reference is None or args.mask is not None or args.catalog or target.catalog:
        return target
    return target._replace(catalog=catalog_of(target.path))


def _masked(model: BackgroundModel, target: Target, args: argparse.Namespace) -> BackgroundModel:
    """The reference with the sources that were given."""
    if args.mask is not None:
        return model.mask_sources(args.mask)
    catalog = args.catalog or target.catalog
    if catalog is None:
        raise DataError(
            f"{target.path.name}: a reference is fitted where there are no sources, and none are known; give --catalog "
            "with --dispersion, or --mask"
        )
    magnitude = {} if args.mmag_extract is None else {"mmag_extract": args.mmag_extract}
    return model.mask_sources(str(catalog), dispersion=args.dispersion, **magnitude)
