"""The commands `corontools warp` and `corontools coadd`: their options, and what they do."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corontools.cli_each import Command, Item, Shared, absolute, add_each
from corontools.errors import DataError
from corontools.manifest import Made
from corontools.options import count, number, odd, positive

if TYPE_CHECKING:
    from corontools.warp import Patch, PSFMatcher, SkyMap, WarpTypes

__all__ = ["add_coadd", "add_warp", "check_warp", "coadd_patch", "warp_visit"]

SKYMAP = "skymap.json"
KERNELS = ("lanczos3", "lanczos4", "lanczos5", "bilinear")
WORST = "worst"

WARP_EXAMPLES = """examples:
  corontools warp visits/*/preliminary_visit_image.fits -o warps
  corontools warp visits/*/preliminary_visit_image.fits --skymap skymap.json --patch 5,4 -o warps --reuse
  corontools warp visits/*/preliminary_visit_image.fits --matched worst --kernel-size 27 --sigmas 1.5,3,6 -o warps
"""
COADD_EXAMPLES = """examples:
  corontools coadd warps/*_directWarp-*.fits -o coadds
  corontools coadd warps/*_directWarp-*.fits --statistic clipped -o coadds
  corontools coadd warps/*_directWarp-*.fits --reject -o coadds
"""


def add_warp(commands: Any, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The command that warps, and its options; gives its parser."""
    command = commands.add_parser(
        "warp",
        parents=[common],
        help="put calibrated frames on a common projection, matched to one PSF if asked",
        description="Warp the detectors of each visit onto patches of a sky map, with variance, mask and PSF. Without "
        f"--skymap one tract is laid around all frames and written as {SKYMAP}.",
        epilog=WARP_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("files", metavar="FILE", type=Path, nargs="+", help="preliminary_visit_image files of any visits")
    add("-o", "--out", type=Path, required=True, help="folder for the warps, made if need be")
    add("--skymap", metavar="FILE", type=Path, help="sky map (JSON)")
    add("--tract", metavar="N", type=count, help="of the sky map (default all)")
    add("--patch", metavar="X,Y", type=_index, action="append", help="may be repeated (default all with data)")
    add("--pixel-scale", metavar="ARCSEC", type=positive, help="of the new tract (default that of the first frame)")
    add("--rotation", metavar="DEG", type=number, help="position angle of +y of the new tract (default 0)")
    add("--patch-size", metavar="PX", type=count, help="inner side of its patches (default one patch)")
    add("--border", metavar="PX", type=count, help="by which patches overlap (default 100 with --patch-size)")
    add("--kernel", choices=KERNELS, default="lanczos3", help="that pixels are interpolated with (default lanczos3)")
    add("--add-background", action="store_true", help="add the background that was subtracted")
    add("--matched", metavar="FWHM", type=_fwhm, help="match PSFs to this, px; 'worst': the worst seeing of all")
    add("--kernel-size", metavar="PX", type=odd, default=21, help="of the matching kernel (default 21)")
    add("--sigmas", metavar="PX,PX,PX", type=_widths, default=(0.7, 1.5, 3.0), help="of its Gaussians")
    add("--cell", metavar="PX", type=count, default=128, help="between places at which PSFs are matched (default 128)")
    add("--order", metavar="N", type=count, default=2, help="by which the kernel varies (default 2)")
    add("--likelihood", action="store_true", help="correlate with their own PSF, too")
    add("--no-direct", action="store_true", help="write no direct warps")
    add("--coadd", metavar="NAME", default="deep", help="first part of the names (default deep)")
    add("--reuse", action="store_true", help="make again, with a note, what was made of other data or options")
    add_each(command, Command("warp", "warp", _warps, warp_visit, "files", ("skymap",)))
    return command


def add_coadd(commands: Any, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The command that combines warps, and its options; gives its parser."""
    command = commands.add_parser(
        "coadd",
        parents=[common],
        help="combine warps of many visits into one image",
        description="Combine the warps of each patch and filter, with variance, mask, depth, weight and PSF.",
        epilog=COADD_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("files", metavar="FILE", type=Path, nargs="+", help="warps, all direct or all psfMatched")
    add("-o", "--out", type=Path, required=True, help="folder for the coadds, made if need be")
    add("--statistic", choices=("mean", "clipped", "median"), default="mean", help="default mean")
    add("--weights", choices=("variance", "sky", "uniform"), default="variance", help="of a warp (default variance)")
    add("--reject", action="store_true", help="leave out what few epochs show; needs the psfMatchedWarp files beside")
    add("--coadd", metavar="NAME", default="deep", help="first part of the names (default deep)")
    add_each(command, Command("coadd", "patch", _patches, coadd_patch, "files"))
    return command


def check_warp(args: argparse.Namespace) -> None:
    """What contradicts itself."""
    if args.skymap is None and args.tract is not None:
        args.parser.error("--tract belongs to --skymap")
    given = [name for name in ("pixel_scale", "rotation", "patch_size", "border") if getattr(args, name) is not None]
    if args.skymap is not None and given:
        args.parser.error(f"--{given[0].replace('_', '-')} is of a new tract; the sky map has its own")
    if args.no_direct and args.matched is None and not args.likelihood:
        args.parser.error("--no-direct leaves nothing to make; add --matched or --likelihood")


def warp_visit(item: Item, shared: Shared) -> Made:
    """Warps of a visit on a patch, all of them or none."""
    from corontools.warp import Corrections, Patch, Warp
    from corontools.warp.product import warp_name
    from corontools.warp.select import outline_of

    args, patch = shared.options, Patch.from_json(item.data)
    first, types = outline_of(item.files[0]), _types(args)
    names = {
        kind: warp_name(kind, coadd=args.coadd, filter_name=first.filter, patch=patch, visit=first.visit)
        for kind in types.kinds
    }

    def write(part: Path) -> list[str]:
        direct = Warp.from_exposures(
            item.files, patch, kernel=args.kernel, corrections=Corrections(background=args.add_background), empty=True
        )
        assert direct is not None
        if direct.reason:
            return [direct.reason]
        for kind in names:
            types.make(kind, direct).save(part, coadd=args.coadd)
        return []

    products = list(names.values())
    try:
        return shared.recipe.make(item.title, item.files, products, write, optional=products)
    except FileExistsError as error:
        if not args.reuse:
            raise
        made = replace(shared.recipe, overwrite=True).make(item.title, item.files, products, write, optional=products)
        return made._replace(notes=[*made.notes, f"{item.title}: made again: {error}"])


def coadd_patch(item: Item, shared: Shared) -> Made:
    """The coadd of a patch."""
    from corontools.warp import ArtifactRejection, Coadd
    from corontools.warp.combine import matched_beside

    args, name = shared.options, item.data

    def write(part: Path) -> list[str]:
        reject = ArtifactRejection() if args.reject else None
        made = Coadd.from_warps(item.files, statistic=args.statistic, weights=args.weights, reject=reject)
        made.save(part, name=args.coadd)
        return [f"{name}: {row[0]}: {row[1]}" for row in made._rows()]

    matched = [path for path in map(matched_beside, item.files) if path is not None] if args.reject else []
    return shared.recipe.make(item.title, [*item.files, *matched], [name], write)


def _warps(args: argparse.Namespace) -> list[Item]:
    """A warp of each visit and patch."""
    files = [absolute(path) for path in args.files]
    skymap = _skymap(args, files)
    patches = list(_chosen(skymap, args))
    if args.matched == WORST:  # one model for all patches, which belongs to the options that are recorded
        from corontools.warp import worst_seeing

        args.matched = max(worst_seeing(files, tract).fwhm for tract in dict.fromkeys(p.tract for p in patches))
    items = [item for patch in patches for item in _visits(patch, files)]
    if not items:
        raise DataError("no frame is on the patches; see the sky map, or leave --patch out")
    return items


def _visits(patch: Patch, files: list[Path]) -> Iterator[Item]:
    """The visits that have frames on a patch."""
    from corontools.warp import select_exposures
    from corontools.warp.select import outline_of

    groups: dict[tuple[str, Any], list[Path]] = {}
    for path in select_exposures(files, patch):
        outline = outline_of(path)
        groups.setdefault((outline.filter, outline.visit), []).append(Path(path))  # type: ignore[arg-type]
    for (band, visit), group in groups.items():
        yield Item(f"warp-{band}-{patch.tract.number}-{patch.name}-{visit}", patch.to_json(), tuple(group))


def _chosen(skymap: SkyMap, args: argparse.Namespace) -> Iterator[Patch]:
    """Patches that were asked for."""
    tracts = [tract for tract in skymap if args.tract is None or tract.number == args.tract]
    if not tracts:
        raise DataError(f"the sky map has no tract {args.tract}; it has {', '.join(str(t.number) for t in skymap)}")
    for tract in tracts:
        try:
            yield from tract if args.patch is None else [tract[index] for index in args.patch]
        except IndexError as error:
            raise DataError(f"{error}; choose another --patch") from error


def _skymap(args: argparse.Namespace, files: list[Path]) -> SkyMap:
    """That of the file, or a tract around all frames, written so that the next run can use it."""
    from corontools.warp import SkyMap, Tiling
    from corontools.warp.select import outline_of

    if args.skymap is not None:
        return SkyMap.read(args.skymap)
    outlines = [outline_of(path) for path in files]
    skymap = SkyMap.around(outlines)
    own = skymap[0].tiling
    if (args.pixel_scale, args.rotation, args.patch_size, args.border) != (None, None, None, None):
        tiling = Tiling(args.pixel_scale or own.pixel_scale, rotation=args.rotation or 0.0)
        whole = SkyMap.around(outlines, tiling=replace(tiling, patch=(1, 1), border=0))[0]
        border = (100 if args.patch_size else 0) if args.border is None else args.border
        side = (args.patch_size, args.patch_size) if args.patch_size else whole.shape[::-1]
        skymap = SkyMap.around(outlines, tiling=replace(tiling, patch=side, border=border))
    args.skymap = args.out / SKYMAP
    if not (args.skymap.exists() and SkyMap.read(args.skymap) == skymap):
        args.out.mkdir(parents=True, exist_ok=True)
        skymap.save(args.skymap, overwrite=args.overwrite)
    return skymap


def _patches(args: argparse.Namespace) -> list[Item]:
    """The warps of each patch, filter and kind."""
    from corontools.warp.coadd_product import coadd_name
    from corontools.warp.product import glance

    groups: dict[str, list[Path]] = {}
    for path in map(absolute, args.files):
        found = glance(path)
        name = coadd_name(args.coadd, filter_name=found.filter, patch=found.patch, kind=found.kind)
        groups.setdefault(name, []).append(path)
    return [Item(name.removesuffix(".fits"), name, tuple(paths)) for name, paths in groups.items()]


def _types(args: argparse.Namespace) -> WarpTypes:
    from corontools.warp import WarpTypes

    return WarpTypes(not args.no_direct, args.matched, args.likelihood, _matcher(args))


def _matcher(args: argparse.Namespace) -> PSFMatcher:
    from corontools.warp import PSFMatcher

    matcher = PSFMatcher(args.kernel_size, cell=args.cell, order=args.order)
    degrees = matcher.degrees[:1] + matcher.degrees[1:2] * (len(args.sigmas) - 1)
    return matcher.with_(sigmas=tuple(args.sigmas), degrees=degrees)


def _index(text: str) -> tuple[int, int]:
    """Of a patch."""
    try:
        x, y = (count(part) for part in text.split(","))
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"a patch is X,Y, such as 5,4; found {text!r}") from None
    return x, y


def _fwhm(text: str) -> float | str:
    return WORST if text == WORST else positive(text)


def _widths(text: str) -> tuple[float, ...]:
    return tuple(positive(part) for part in text.split(","))
