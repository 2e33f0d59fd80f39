"""The command `corontools coron3`: its options, and what it does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corontools.cli_each import Command, Item, Shared, absolute, add_each
from corontools.errors import DataError
from corontools.manifest import Made
from corontools.options import count, odd, positive

if TYPE_CHECKING:
    from corontools.association import Association
    from corontools.coron import Coron3

__all__ = ["add_coron3", "check_coron3", "headline", "reduce_association", "write_all"]

DEFAULT_MODES = 50
SKIPPABLE = ("reject_outliers", "repair", "align_to", "contrast", "combine")
# option -> step that it belongs to
STEP_OF = {"sigma": "reject_outliers", "box": "repair", "align": "align_to", "mask": "align_to", "width": "contrast"}
EXAMPLES = """examples:
  corontools coron3 jw01184_c1001_asn.json -o out --report
  corontools coron3 jw01184_c1001_asn.json -o out --modes 20 --align first --overwrite
  corontools coron3 jw01184_c1001_asn.json -o out --skip reject_outliers --mask psfmask.fits
  corontools coron3 jw*_coron3_*_asn.json -o out --scheduler tcp://head:8786
"""


def add_coron3(commands: Any, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The command and its options; gives its parser."""
    command = commands.add_parser(
        "coron3",
        parents=[common],
        help="reduce the exposures of associations",
        description="Stack the reference stars, align them, subtract the star, combine the rolls, and write every "
        "product of an association: all of them, or none if something fails.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("asn", metavar="ASN", type=Path, nargs="+", help="association files (JSON), their members beside them")
    add("-o", "--out", type=Path, required=True, help="folder for the products, made if need be")
    add("--product", metavar="NAME", help="product of the association, where it defines several")
    add("--modes", type=count, metavar="K", help=f"KL modes (default {DEFAULT_MODES}, or as many as references)")
    add("--align", choices=("each", "first", "mean", "none"), help="what references are aligned to (default each)")
    add("--zones", choices=("shared", "full"), default="shared", help="pixels to subtract in (default shared)")
    add("--width", type=positive, metavar="PX", help="rings of the contrast curve (default 2)")
    add("--sigma", type=positive, metavar="N", help="outliers beyond this are flagged (default 5)")
    add("--box", type=odd, metavar="PX", help="bad pixels are filled from a box of this side (default 3)")
    add("--mask", type=Path, metavar="FILE", help="weight of the pixels in the alignment (default <science>_psfmask)")
    add("--skip", choices=SKIPPABLE, action="append", default=[], metavar="STEP", help=", ".join(SKIPPABLE))
    add(
        "--level",
        type=positive,
        metavar="PX",
        nargs="?",
        const=True,
        help="bring all images to 0 beyond PX of the star",
    )
    add("--report", action="store_true", help="write <product>_report.html as well")
    add_each(command, Command("coron3", "association", _items, reduce_association, "asn", ("mask",), aloud=True))
    return command


def check_coron3(args: argparse.Namespace) -> None:
    """An option of a step that is skipped is a contradiction."""
    for option, step in STEP_OF.items():
        if step in args.skip and getattr(args, option) is not None:
            args.parser.error(f"--{option} belongs to the step {step}, which --skip leaves out")


def _items(args: argparse.Namespace) -> list[Item]:
    return [_item(path, args.product) for path in map(absolute, args.asn)]


def _item(path: Path, product: str | None) -> Item:
    from corontools.association import Association

    try:
        asn = Association.read(path, product=product)
    except DataError as error:
        return Item(path.name, error, ())
    masks = [mask for one in asn.science_paths if (mask := one.with_name(f"{one.stem}_psfmask.fits")).is_file()]
    return Item(asn.product, asn, (path, *asn.science_paths, *asn.reference_paths, *masks))


def reduce_association(item: Item, shared: Shared) -> Made:
    """Reduce an association, all its products or none; its note is what was subtracted with."""
    from corontools.coron import coron3
    from corontools.coron.pipeline import product_names

    if isinstance(item.data, DataError):
        raise item.data
    asn, args = item.data, shared.options
    options = _options(asn, args)
    report = f"{asn.product}_report.html" if args.report else ""
    skipped = {step: options[step] for step in ("reject_outliers", "contrast", "combine") if step in options}

    def write(part: Path) -> list[str]:
        result = coron3(asn, **options)
        write_all(result, part, report=report)
        return [headline(result)]

    names = [*product_names(asn, **skipped), *([report] if report else [])]
    return shared.recipe.make(item.title, item.files, names, write)


def headline(result: Coron3) -> str:
    """What was subtracted with."""
    return f"{result.klips[0].modes} KL modes from {result.stack.n_ref} references"


def write_all(result: Coron3, part: Path, *, report: str = "", **known: Any) -> None:
    """Write every product, and a report of that name with what is known of the scene."""
    from corontools.progress import progress

    writers: dict[str, Any] = dict(result.products())
    if report:
        writers[report] = lambda path: _write_report(result, path, known)
    with progress(list(writers.items()), "save", "product") as items:  # gone before an error is told
        for name, write in items:
            write(part / name)


def _write_report(result: Coron3, path: Path, known: Any) -> None:
    from corontools.coron.report import report

    path.write_text(report(result, **known), encoding="utf-8")


def _options(asn: Association, args: argparse.Namespace) -> dict[str, Any]:
    """Keywords of `coron3`: what was asked for, so that the recorded chain says no more."""
    keywords = {
        "reject_outliers": {"sigma": args.sigma},
        "repair": {"box": args.box},
        "contrast": {"width": args.width},
    }
    keywords |= {"align_to": {"to": args.align}, "klip": {"modes": args.modes}}
    if args.modes is None:
        n_ref = sum(exposure.n_int for exposure in asn.references)
        keywords["klip"] = {"modes": min(DEFAULT_MODES, n_ref)}
    if args.zones != "shared":
        keywords["klip"]["zones"] = args.zones
    given = {step: {k: v for k, v in words.items() if v is not None} for step, words in keywords.items()}
    options: dict[str, Any] = {step: words for step, words in given.items() if words}
    if args.level is not None:
        options["subtract_level"] = args.level is True or {"beyond": args.level}
    if args.mask is not None:
        from corontools.exposure import Exposure

        options["psfmask"] = Exposure.read(args.mask)
    return options | dict.fromkeys(args.skip, False)
