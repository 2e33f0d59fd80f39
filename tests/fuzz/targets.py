"""Everything that the package reads: what hostile files are made of, and what is done with them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from corontools.association import Association, Members
from corontools.background.association import BackgroundAssociation, catalog_of
from corontools.background.sources import Sources, orders
from corontools.calibrate.product import read_visit_image
from corontools.calibrate.refcat import RefCat
from corontools.calibrate.steps import Steps
from corontools.coron import replay
from corontools.coron.pipeline import product_names
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.fits import read
from corontools.flicker.references import plane, typical
from corontools.meta import Meta
from corontools.products import product_name
from tests.fuzz import seeds
from tests.fuzz import strategies as hostile

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes
    ----------
    name : str
    files : callable
        Gives the strategy that makes the files of a case, by name.
    work : callable
        Takes the folder of a case; files are in `in`, it may write into `out`.
    weight : float
        Part of the cases in a long run.
    """

    name: str
    files: Callable[[], st.SearchStrategy[Files]]
    work: Callable[[Path], Any]
    weight: float = 1.0


def _same(a: np.ndarray | None, b: np.ndarray | None) -> None:
    assert (a is None) == (b is None)
    if a is not None and b is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            np.testing.assert_array_equal(np.asarray(a, b.dtype), b)


def use(exposure: Exposure, out: Path) -> None:
    """What is done with any exposure: shown, written, read again."""
    repr(exposure)
    _ = exposure.position_angles
    path = exposure.save(out / "x.fits")
    again = Exposure.read(path)
    _same(exposure.data, again.data)
    _same(exposure.err, again.err)
    _same(exposure.flags(), again.flags())
    exposure.save(out / product_name(exposure.meta.filename, "bsub"))


def _fits(base: Path) -> None:
    for extension in read(base / "in" / "a.fits"):
        if extension.data is not None:
            with np.errstate(all="ignore"):
                np.asarray(extension.data).sum()


def _exposure(base: Path) -> None:
    use(Exposure.read(base / "in" / "a.fits"), base / "out")


def _meta(base: Path) -> None:
    from astropy.io import fits

    header = fits.Header.fromstring((base / "in" / "a.txt").read_bytes())
    try:
        for one in header.cards:
            one.value
    except Exception:  # noqa: BLE001 - read() refuses these, see the target fits
        return
    meta = Meta.from_headers(header, header)
    repr(meta)
    assert isinstance(meta.title, str)
    _ = meta.fwhm


def _association(base: Path) -> None:
    inside = base / "in"
    names = Members.products(inside / "asn.json")
    for product in (None, *names[:2]):
        found = Members.read(inside / "asn.json", product=product)
        assert os.path.basename(found.product) == found.product
    with contextlib.suppress(DataError):
        BackgroundAssociation.read(inside / "asn.json")
    asn = Association.read(inside / "asn.json", product=names[0])
    repr(asn), asn._repr_html_()
    for name in product_names(asn):
        (base / "out" / name).touch()


def _history(base: Path) -> None:
    with contextlib.chdir(base / "in"):
        replay((base / "in" / "history.txt").read_text(encoding="utf-8", errors="surrogatepass").split("\n"))


def _product(base: Path) -> None:
    replay(base / "in" / "a.fits", folder=base / "in")


def _visit(base: Path) -> None:
    visit = read_visit_image(base / "in" / "preliminary_visit_image.fits")
    repr(visit)
    visit.psf.images([1.0], [2.0])
    if visit.background is not None and len(visit.background):
        with np.errstate(all="ignore"):
            visit.background.image()


def _refcat(base: Path) -> None:
    (path,) = (base / "in").iterdir()
    refs = RefCat.read(path)
    repr(refs)
    for band in refs.bands:
        refs.magnitudes(band)
    if "epoch" in refs.table.colnames:
        refs.at(60000.0)


def _steps(base: Path) -> None:
    steps = Steps.read(base / "in" / "a.toml")
    steps.changes()
    repr(steps)
    steps.save(base / "out" / "b.toml")


def _orders(base: Path) -> None:
    for path in sorted((base / "in").iterdir()):
        orders(path)


@cache
def _target() -> Exposure:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "target.fits"
        path.write_bytes(seeds.exposures()[0])
        return Exposure.read(path)


def _catalogue(base: Path) -> None:
    (path,) = (base / "in").iterdir()
    Sources.of(path, {1: {"offset": (0, 0), "extent": (2, 2)}}, 20.5).background(_target())


def _mask(base: Path) -> None:
    (path,) = (base / "in").iterdir()
    Sources.of(path, None, None).background(_target())


def _reference(base: Path) -> None:
    path = base / "in" / "a.fits"
    with contextlib.suppress(DataError):
        typical(path)
    with contextlib.suppress(DataError):
        catalog_of(path)
    plane(path)


def _warp(base: Path) -> None:
    from corontools.warp import Warp

    repr(Warp.read(base / "in" / "a.fits"))


def _coadd(base: Path) -> None:
    from corontools.warp import Coadd

    repr(Coadd.read(base / "in" / "a.fits"))


def _skymap(base: Path) -> None:
    from corontools.warp import SkyMap

    skymap = SkyMap.read(base / "in" / "a.json")
    repr(skymap)
    if len(skymap):
        skymap.find_patch(53.1, -27.8)


def _cli(base: Path) -> None:
    from corontools.cli import main

    inside, out = base / "in", str(base / "out" / "made")
    words = (inside / "words.txt").read_text(encoding="utf-8", errors="surrogatepass").split("\n")
    files = [str(path) for path in sorted(inside.iterdir()) if path.suffix != ".txt"]
    with (
        open(os.devnull, "w", errors="backslashreplace") as null,
        contextlib.redirect_stdout(null),
        contextlib.redirect_stderr(null),
    ):
        status = main([words[0], *files, "-o", out, *words[1:]])
    assert status in (0, 1, 2), status
    if status:
        raise DataError("refused")


def _named(name: str, strategy: st.SearchStrategy[bytes]) -> st.SearchStrategy[Files]:
    return st.fixed_dictionaries({name: strategy})


def _any_of(files: Mapping[str, bytes], change: Callable[[str, bytes], st.SearchStrategy[bytes]]) -> Any:
    """A changed file of any of the suffixes."""
    return st.one_of([_named(f"a{suffix}", change(suffix, content)) for suffix, content in files.items()])


def _table_change(suffix: str, content: bytes) -> st.SearchStrategy[bytes]:
    if suffix == ".fits":
        return hostile.fits_files([content])
    if suffix == ".parquet":
        return hostile.changed_bytes(content)
    return hostile.text_files(content.decode("utf-8"), hostile.WORDS)


def _header(draw_cards: list[tuple[str, str]]) -> bytes:
    return b"".join(hostile.card(key, value) for key, value in draw_cards) + b"END".ljust(80)


def _catalogue_files() -> st.SearchStrategy[Files]:
    _target()  # made before a case is watched
    return _any_of(seeds.catalogues(), _table_change)


def _association_files() -> st.SearchStrategy[Files]:
    members = dict.fromkeys(("m0.fits", "m1.fits", "m2.fits", "cat.ecsv"), b"")
    return hostile.json_files(seeds.association()).map(lambda content: {"asn.json": content, **members})


def _visit_files() -> st.SearchStrategy[Files]:
    beside = st.just(seeds.backgrounds()) | hostile.fits_files([seeds.backgrounds()])
    return st.fixed_dictionaries(
        {"preliminary_visit_image.fits": hostile.fits_files(seeds.visits()) | st.sampled_from(seeds.visits())},
        optional={"preliminary_visit_image_background.fits": beside},
    )


def _history_files() -> st.SearchStrategy[Files]:
    lines = hostile.histories(seeds.HISTORY).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))
    return st.fixed_dictionaries({"history.txt": lines, "a.fits": st.just(seeds.exposures()[0])})


def _order_files() -> st.SearchStrategy[Files]:
    yaml = hostile.text_files(seeds.ORDERS.replace("}, ", "},\n"), hostile.WORDS)
    return _named("a.json", hostile.json_files(_json(seeds.ORDERS))) | _named("a.yaml", yaml)


def _json(text: str) -> Any:
    import json

    return json.loads(text)


def _mask_files() -> st.SearchStrategy[Files]:
    _target()
    asdf = st.sampled_from(seeds.asdf_masks()).flatmap(lambda content: _asdf(content))
    return _named("a.asdf", asdf) | _named("a.fits", hostile.fits_files(seeds.exposures()))


def _asdf(content: bytes) -> st.SearchStrategy[bytes]:
    """The text of an ASDF file changed, its blocks kept; or any bytes."""
    end = content.index(b"...\n")
    text = hostile.text_files(content[:end].decode(), hostile.WORDS | ASDF)
    return text.map(lambda begin: begin + content[end:]) | hostile.changed_bytes(content)


ASDF = st.sampled_from(
    ["  source: http://127.0.0.1:9/x.asdf", "  source: file:///etc/passwd", "  source: ../x.asdf", "  source: -1",
     "  source: 10", "  shape: [100000, 100000]", "  strides: [0, 0]", "  shape: [100000, 100000]\n  strides: [0, 0]",
     "  offset: -1", "  offset: 99999999", "  datatype: float64", "  datatype: [ascii, 1000000000]", "  byteorder: x",
     "mask: {$ref: 'http://127.0.0.1:9/x.asdf#/mask'}", "mask: {$ref: '#/mask'}", "mask: !core/ndarray-1.0.0 [1, [2]]",
     "mask: !core/external-array-1.0.0 {fileuri: /etc/passwd, target: 0, shape: [1], datatype: uint8}",
     "data: !fits/fits-1.0.0 []", "mask: !core/complex-1.0.0 1+1j", "x: !unit/unit-1.0.0 furlong", "mask: 3",
     "mask: !transform/generic-1.0.0 {n_inputs: 1, n_outputs: 1}", "mask: !core/integer-1.1.0 {words: 3, sign: '+'}",
     "history: 3", "asdf_library: 3", "extensions: [!core/extension_metadata-1.0.0 {extension_class: os.system}]"]
)  # fmt: skip

COMMANDS = st.sampled_from(["coron3", "flicker", "background", "calibrate", "warp", "x", ""])
OPTIONS = st.sampled_from(
    ["--modes", "3", "--mask", "../x", "--overwrite", "--sigma", "nan", "inf", "1e999", "--box", "10", "--report",
     "--width", "--level", "--product", "../../x", "--image", "--bkg", "--reference", "--options", "--refcat", "--gain",
     "-1", "0", "", "-", "--", "=", "--x", "\ud800", "a\0b", "@x", "é", "--catalog", "--scale", "--version", "-h"]
)  # fmt: skip


def _cli_files() -> st.SearchStrategy[Files]:
    words = st.tuples(COMMANDS, st.lists(OPTIONS, max_size=4)).map(lambda w: "\n".join([w[0], *w[1]]))
    return st.fixed_dictionaries(
        {"words.txt": words.map(lambda text: text.encode("utf-8", "surrogatepass"))},
        optional={"a.fits": hostile.fits_files(seeds.exposures()), "asn.json": hostile.json_files(seeds.association())},
    )


CARDS = st.lists(st.tuples(hostile.KEYS, hostile.VALUES), max_size=8)
LINES = hostile.CODE.filter(lambda line: "\ud800" not in line)

TARGETS = {
    target.name: target
    for target in (
        Target("fits", lambda: _named("a.fits", hostile.fits_files(seeds.exposures())), _fits, 4.0),
        Target("exposure", lambda: _named("a.fits", hostile.fits_files(seeds.exposures())), _exposure, 0.8),
        Target("packed", lambda: _named("a.fits", hostile.packed_files(seeds.exposures())), _fits, 0.4),
        Target("meta", lambda: _named("a.txt", CARDS.map(_header)), _meta, 5.0),
        Target("association", _association_files, _association, 6.0),
        Target("history", _history_files, _history, 4.0),
        Target("product", lambda: _named("a.fits", hostile.fits_files(seeds.exposures()[:1], LINES)), _product, 1.0),
        Target("visit", _visit_files, _visit, 0.8),
        Target("refcat", lambda: _any_of(seeds.references(), _table_change), _refcat, 1.0),
        Target("steps", lambda: _named("a.toml", hostile.text_files(seeds.steps(), hostile.TOMLS)), _steps, 5.0),
        Target("orders", _order_files, _orders, 2.0),
        Target("catalogue", _catalogue_files, _catalogue, 0.5),
        Target("mask", _mask_files, _mask, 0.7),
        Target("reference", lambda: _named("a.fits", hostile.fits_files(seeds.exposures())), _reference, 0.8),
        Target("warp", lambda: _named("a.fits", hostile.fits_files([seeds.warps()["warp"]])), _warp, 0.3),
        Target("coadd", lambda: _named("a.fits", hostile.fits_files([seeds.warps()["coadd"]])), _coadd, 0.3),
        Target(
            "skymap", lambda: _named("a.json", hostile.json_files(_json(seeds.warps()["skymap"].decode()))), _skymap
        ),
        Target("cli", _cli_files, _cli, 0.1),
    )
}
