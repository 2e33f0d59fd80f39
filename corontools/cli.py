"""The command line: `corontools demo`, `coron3`, `background`, `calibrate`, `flicker`, `warp`, `coadd` and `lab`.

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
from corontools.cli_background import add_background, check_background
from corontools.cli_calibrate import add_calibrate, check_calibrate
from corontools.cli_coron3 import add_coron3, check_coron3, headline, write_all
from corontools.cli_each import each
from corontools.cli_flicker import add_flicker, check_flicker
from corontools.cli_warp import add_coadd, add_warp, check_warp
from corontools.errors import DataError, ItemsError
from corontools.folder import removed_on_failure, staged
from corontools.options import count

if TYPE_CHECKING:
    from corontools.manifest import Made

__all__ = ["main"]

DEMO_MODES = 10
DEMO_FOLDER = "corontools-demo"
DEMO_REPORT = "report.html"
DEMO_NOTE = "simulated exposures with planted companions, not an observation"
LAB_FOLDER = "corontools-tutorials"
ERRORS = (DataError, OSError, MemoryError)
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; `argv` is `sys.argv[1:]` by default. Gives the exit status."""
    try:
        args = _parser().parse_args(argv)
        if "check" in args:
            args.check(args)
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
        for line in _told(error):
            _tell(f"corontools: error: {line}")
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
    add_coron3(commands, common).set_defaults(run=_each, check=check_coron3)
    add_background(commands, common).set_defaults(run=_each, check=check_background)
    add_calibrate(commands, common).set_defaults(run=_each, check=check_calibrate)
    add_flicker(commands, common).set_defaults(run=_each, check=check_flicker)
    add_warp(commands, common).set_defaults(run=_each, check=check_warp)
    add_coadd(commands, common).set_defaults(run=_each)
    _add_lab(commands, common)
    return parser


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


def _demo(args: argparse.Namespace) -> None:
    from corontools import simulate
    from corontools.association import Association
    from corontools.coron import coron3
    from corontools.coron.pipeline import product_names

    if not args.overwrite and args.out.is_dir() and any(args.out.iterdir()):
        raise FileExistsError(f"{args.out} is not empty; choose another folder with -o, or --overwrite")
    began = time.perf_counter()
    with removed_on_failure(args.out), removed_on_failure(args.out / "exposures"):
        simulation = simulate.demo()
        asn = Association.read(simulation.write(args.out / "exposures", overwrite=args.overwrite))
        peak = simulation.truth.flux * float(simulation.psf().max())
        names = [*product_names(asn), DEMO_REPORT]
        with staged(args.out, names, overwrite=args.overwrite) as part:
            result = coron3(asn, klip={"modes": DEMO_MODES})
            write_all(result, part, report=DEMO_REPORT, truth=simulation.truth, star_flux=peak, note=DEMO_NOTE)
    print(headline(result))
    took = time.perf_counter() - began
    _print_table([(name, (args.out / name).stat().st_size, took / len(names)) for name in names], took)
    print(f"products in {args.out}, report in {args.out / DEMO_REPORT}")


def _each(args: argparse.Namespace) -> None:
    """A command that makes products of each of its items."""
    began = time.perf_counter()
    try:
        _print_made(each(args), args, began)
    except ItemsError as error:
        _print_made([made for made in error.results if made is not None], args, began)
        raise


def _print_made(made: Sequence[Made], args: argparse.Namespace, began: float) -> None:
    for note in (note for one in made for note in one.notes):
        if args.command.aloud:
            print(_one_line(note))
        else:
            _tell(f"note: {_one_line(note)}")
    if kept := sum(one.kept for one in made):
        _tell(f"note: {kept} of {len(made)} {args.command.unit}s were made before, whole, and are kept")
    if made:
        _print_table([row for one in made for row in one.rows], time.perf_counter() - began)
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


def _told(error: BaseException) -> Iterator[str]:
    """What went wrong, a line for each item that failed."""
    if not isinstance(error, ItemsError):
        yield _reason(error)
        return
    for item, reason in error.failed:
        yield f"{item}: {_reason(reason)}"
    yield (
        f"{len(error.failed)} of {len(error.results)} failed, the rest is done; the same command makes what is missing"
    )


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
    width = max((len(name) for name, _, _ in rows), default=len("total, with all steps"))
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
