"""The command line: `corontools demo`, `coron3`, `background`, `calibrate`, `flicker` and `lab`.

Exit status: 0 done, 1 the data or the disk don't allow it, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

# What computes is imported by the commands: `--help` answers at once.
from corontools.cli_background import add_background, check_background, subtract_files
from corontools.cli_calibrate import add_calibrate, calibrate_file, check_calibrate
from corontools.cli_flicker import add_flicker, check_flicker, clean_files
from corontools.errors import DataError
from corontools.folder import removed_on_failure, staged
from corontools.options import count, odd, positive

if TYPE_CHECKING:
    from corontools.association import Association
    from corontools.coron import Coron3

__all__ = ["main"]

DEFAULT_MODES = 50
DEMO_MODES = 10
DEMO_FOLDER = "corontools-demo"
LAB_FOLDER = "corontools-tutorials"
DEMO_NOTE = "simulated exposures with planted companions, not an observation"
SKIPPABLE = ("reject_outliers", "repair", "align_to", "contrast", "combine")
# option -> step that it belongs to
STEP_OF = {"sigma": "reject_outliers", "box": "repair", "align": "align_to", "mask": "align_to", "width": "contrast"}
ERRORS = (DataError, OSError, MemoryError)
INTERRUPTED = 130

EXAMPLES = """examples:
  corontools coron3 jw01184_c1001_asn.json -o out --report
  corontools coron3 jw01184_c1001_asn.json -o out --modes 20 --align first --overwrite
  corontools coron3 jw01184_c1001_asn.json -o out --skip reject_outliers --mask psfmask.fits
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; `argv` is `sys.argv[1:]` by default. Gives the exit status."""
    try:
        args = _parser().parse_args(argv)
        _check_usage(args)
    except SystemExit as stop:  # argparse has printed help or what is wrong
        return int(stop.code or 0)
    try:
        with _notes():
            args.run(args)
    except KeyboardInterrupt:
        _tell("corontools: interrupted; nothing was left half-done")
        return INTERRUPTED
    except ERRORS as error:
        if args.debug:
            raise
        _tell(f"corontools: error: {_reason(error)}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    from corontools import __version__

    parser = argparse.ArgumentParser(prog="corontools", description="Coronagraphic exposures to contrast curves.")
    parser.add_argument("--version", action="version", version=f"corontools {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--overwrite", action="store_true", help="replace what is there already")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    demo = commands.add_parser(
        "demo",
        parents=[common],
        help="simulate exposures, reduce them and write a report",
        description="Simulate two rolls of a star with three companions and its reference star, reduce them, and "
        "write the exposures, the products and a report.",
    )
    demo.add_argument("-o", "--out", type=Path, default=Path(DEMO_FOLDER), help=f"folder (default {DEMO_FOLDER})")
    demo.set_defaults(run=_demo, parser=demo)
    _add_coron3(commands, common)
    add_background(commands, common).set_defaults(run=_each_file, work=subtract_files, check=check_background)
    add_calibrate(commands, common).set_defaults(run=_each_file, work=calibrate_file, check=check_calibrate)
    add_flicker(commands, common).set_defaults(run=_each_file, work=clean_files, check=check_flicker)
    _add_lab(commands, common)
    return parser


def _add_coron3(commands: Any, common: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "coron3",
        parents=[common],
        help="reduce the exposures of an association",
        description="Stack the reference stars, align them, subtract the star, combine the rolls, and write every "
        "product: all of them, or none if something fails.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("asn", metavar="ASN", type=Path, help="association file (JSON), its members beside it")
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
    command.set_defaults(run=_coron3, parser=command)


def _add_lab(commands: Any, common: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "lab",
        help="open the tutorials in JupyterLab",
        description="Copy the tutorials into a folder and open them in JupyterLab, on this machine only. A copy that "
        "is there already is yours and is kept.",
    )
    add = command.add_argument
    add("-o", "--out", type=Path, default=Path(LAB_FOLDER), help=f"folder (default {LAB_FOLDER})")
    add("--no-browser", action="store_true", help="print the address instead of opening it")
    add("--port", type=count, metavar="N", help="port to listen on (default 8888 or the next free one)")
    add("--allow-root", action="store_true", help="let JupyterLab run as root, as in a container")
    add("--debug", action="store_true", help="show the traceback of an error")
    command.set_defaults(run=_lab, parser=command)


def _check_usage(args: argparse.Namespace) -> None:
    """An option of a step that is skipped, or of another choice, is a contradiction."""
    if "check" in args:
        args.check(args)
    for option, step in STEP_OF.items():
        if step in getattr(args, "skip", ()) and getattr(args, option) is not None:
            args.parser.error(f"--{option} belongs to the step {step}, which --skip leaves out")


def _demo(args: argparse.Namespace) -> None:
    from corontools import simulate
    from corontools.association import Association

    if not args.overwrite and args.out.is_dir() and any(args.out.iterdir()):
        raise FileExistsError(f"{args.out} is not empty; choose another folder with -o, or --overwrite")
    began = time.perf_counter()
    with removed_on_failure(args.out), removed_on_failure(args.out / "exposures"):
        simulation = simulate.demo()
        asn = Association.read(simulation.write(args.out / "exposures", overwrite=args.overwrite))
        peak = simulation.truth.flux * float(simulation.psf().max())
        known = {"truth": simulation.truth, "star_flux": peak, "note": DEMO_NOTE}
        _reduce(asn, args, {"klip": {"modes": DEMO_MODES}}, began=began, report="report.html", known=known)


def _coron3(args: argparse.Namespace) -> None:
    from corontools.association import Association

    began = time.perf_counter()
    asn = Association.read(args.asn, product=args.product)
    report = f"{asn.product}_report.html" if args.report else ""
    _reduce(asn, args, _options(asn, args), began=began, report=report, known={})


def _each_file(args: argparse.Namespace) -> None:
    """A command that makes products of each file."""
    began = time.perf_counter()
    rows, notes = args.work(args)
    for note in notes:
        _tell(f"note: {_one_line(note)}")
    _print_table(rows, time.perf_counter() - began)
    print(f"products in {args.out}")


def _lab(args: argparse.Namespace) -> None:
    import importlib.util

    if importlib.util.find_spec("jupyterlab") is None:
        raise DataError("JupyterLab isn't installed; get it with: pip install 'corontools[lab]'")
    tutorials = _tutorials()
    args.out.mkdir(parents=True, exist_ok=True)
    kept = [tutorial.name for tutorial in tutorials if not _copied(tutorial, args.out / tutorial.name)]
    if kept:
        _tell(f"note: kept as you changed them: {', '.join(kept)}")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={args.out.resolve()}"]
    command += ["--ServerApp.ip=127.0.0.1", f"--LabApp.default_url=/lab/tree/{tutorials[0].name}"]
    command += [] if args.port is None else [f"--ServerApp.port={args.port}"]
    command += [f"--{flag}" for flag in ("no-browser", "allow-root") if getattr(args, flag.replace("-", "_"))]
    _become(command)


def _tutorials() -> list[Path]:
    """The notebooks: inside the installed package, or beside it where it runs from its repository."""
    package = Path(__file__).resolve().parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if found := sorted(folder.glob("*.ipynb")):
            return found
    raise DataError(f"no tutorials beside {package}; install corontools again")


def _copied(tutorial: Path, copy: Path) -> bool:
    """Copy a tutorial, never over what is there; False where that is something else."""
    text = tutorial.read_bytes()
    try:
        with copy.open("xb") as file:
            file.write(text)
    except FileExistsError:
        return copy.is_file() and copy.read_bytes() == text
    return True


def _become(command: Sequence[str]) -> None:
    """Turn into another program, so that ^C and signals are its own to answer."""
    if sys.platform == "win32":  # which would give the prompt back while the program runs
        import subprocess

        sys.exit(subprocess.call(command))
    os.execv(command[0], list(command))


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


def _reduce(
    asn: Association, args: argparse.Namespace, options: dict[str, Any], *, began: float, report: str, known: Any
) -> None:
    """Compute, write everything or nothing, and print what was written."""
    from corontools.coron import coron3
    from corontools.coron.pipeline import product_names

    skipped = {step: options[step] for step in ("reject_outliers", "contrast", "combine") if step in options}
    names = [*product_names(asn, **skipped), *([report] if report else [])]
    with staged(args.out, names, overwrite=args.overwrite) as part:
        result = coron3(asn, **options)
        print(f"{result.klips[0].modes} KL modes from {result.stack.n_ref} references")
        rows = _written(result, part, report, known)
    _print_table(rows, time.perf_counter() - began)
    print(f"products in {args.out}" + (f", report in {args.out / report}" if report else ""))


def _written(result: Coron3, part: Path, report: str, known: Any) -> list[tuple[str, int, float]]:
    """Name, bytes and seconds of each file written."""
    from corontools.progress import progress

    writers: dict[str, Any] = dict(result.products())
    if report:
        writers[report] = lambda path: _write_report(result, path, known)
    rows = []
    with progress(list(writers.items()), "save", "product") as items:  # gone before an error is told
        for name, write in items:
            start = time.perf_counter()
            write(part / name)
            rows.append((name, (part / name).stat().st_size, time.perf_counter() - start))
    return rows


def _write_report(result: Coron3, path: Path, known: Any) -> None:
    from corontools.coron.report import report

    path.write_text(report(result, **known), encoding="utf-8")


@contextmanager
def _notes() -> Iterator[None]:
    """Warnings as one line each, every one once, on the error stream."""
    import astropy  # noqa: F401 - it replaces showwarning when first imported

    told: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        note = f"note: {_one_line(message)}"
        if note not in told:
            _tell(note)
        told.add(note)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


def _tell(line: str) -> None:
    """Write a line on the error stream, in place of the progress bar that may stand there."""
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(clear + line, file=sys.stderr)


def _reason(error: BaseException) -> str:
    """Why, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return _one_line(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return _one_line(error) or type(error).__name__


def _one_line(text: object) -> str:
    """Without line feeds, and without what a terminal would obey: the words may come from a file."""
    from corontools.display.markup import visible

    return " ".join(visible(text).split())


def _print_table(rows: Sequence[tuple[str, int, float]], seconds: float) -> None:
    width = max(len(name) for name, _, _ in rows)
    total = sum(size for _, size, _ in rows)
    print(f"{'product':<{width}}  {'size':>9}  {'time':>7}")
    for name, size, took in [*rows, ("total, with all steps", total, seconds)]:
        print(f"{_one_line(name):<{width}}  {_bytes(size):>9}  {took:>5.2f} s")


def _bytes(size: float) -> str:
    """Size with three digits: 812 B, 4.31 MB.

    Examples
    --------
    >>> _bytes(812), _bytes(4_312_000), _bytes(56_000), _bytes(999_900)
    ('812 B', '4.31 MB', '56 kB', '1 MB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"


if __name__ == "__main__":
    sys.exit(main())
