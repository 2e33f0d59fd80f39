"""What commands with many inputs share: `--scheduler`, `--fail-fast`, one run on a folder at a time, no work twice."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from corontools import jobs
from corontools.errors import DataError
from corontools.folder import locked
from corontools.manifest import Made, Recipe

__all__ = ["Command", "Item", "Shared", "add_each", "each"]

# what says where and how a run goes, not what it makes
ELSEWHERE = {"out", "overwrite", "debug", "scheduler", "fail_fast", "run", "command", "check", "parser"}
# of a process with this package loaded, bytes
BASE = 300e6


class Item(NamedTuple):
    """An input of the command, or a few that belong together; `title` is its own in the run."""

    title: str
    data: Any
    files: tuple[Path, ...]

    def __str__(self) -> str:
        return self.title


class Shared(NamedTuple):
    """What the items of a run have in common: how products are recorded, and the options as given."""

    recipe: Recipe
    options: argparse.Namespace


@dataclass(frozen=True)
class Command:
    """A command that makes products of each of its items.

    Attributes
    ----------
    verb : str
    unit : str
        What it calls an item.
    items : callable
        The items that the arguments name; opens nothing that one of them alone needs.
    work : callable
        Products of an item; a function of a module, for workers load it by its name.
    inputs : str
        Option that names the items.
    files : tuple of str
        Options that are files, or lists of them.
    share : float
        Memory that an item takes, in parts of the size of its files.
    aloud : bool
        What items say is the result, not a note beside it.
    """

    verb: str
    unit: str
    items: Callable[[argparse.Namespace], Sequence[Item]]
    work: Callable[[Item, Shared], Made]
    inputs: str
    files: tuple[str, ...] = ()
    share: float = 4.0
    aloud: bool = False


def add_each(parser: argparse.ArgumentParser, command: Command) -> None:
    """Options of every such command."""
    add = parser.add_argument
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="work on the Dask cluster of this scheduler (tcp://host:8786, or its file)",
    )
    add("--fail-fast", action="store_true", help=f"end with the first {command.unit} that fails")
    parser.set_defaults(command=command, parser=parser)


def each(args: argparse.Namespace) -> list[Made]:
    """Make the products of all items; what is there and whole is kept.

    Raises
    ------
    ItemsError
        If some of several items failed; its results are what was made of the others.
    DataError
        If two items would make the same product, or another run has the output folder.
    """
    command: Command = args.command
    items = command.items(args)
    twice = sorted(title for title, n in Counter(item.title for item in items).items() if n > 1)
    if twice:
        raise DataError(f"several {command.unit}s would give {twice[0]}; write them into different folders")
    given = {name: value for name, value in vars(args).items() if name not in ELSEWHERE | {command.inputs}}
    given |= {name: absolute(given[name]) for name in command.files}
    contents = given | {name: _paths(given[name]) for name in command.files}
    out = absolute(args.out)
    with jobs.connected(args.scheduler), locked(out) as run:
        recipe = Recipe.of(command.verb, contents, out, run, overwrite=args.overwrite)
        return jobs.run(
            command.work, items, name=command.verb, unit=command.unit, fail_fast=args.fail_fast,
            shared=Shared(recipe, argparse.Namespace(**given)), memory=_memory(items, command),
        )  # fmt: skip


def absolute(value: Any) -> Any:
    """Names of files as every machine that shares the disk has them; anything else as it is."""
    if isinstance(value, str | Path):
        return type(value)(Path(value).absolute())
    return [absolute(each) for each in value] if isinstance(value, list | tuple) else value


def _paths(value: Any) -> Any:
    """Names of files as such."""
    if isinstance(value, str):
        return Path(value)
    return [_paths(each) for each in value] if isinstance(value, list) else value


def _memory(items: Sequence[Item], command: Command) -> int:
    """Bytes that the largest item takes."""
    sizes = [sum(file.stat().st_size for file in item.files if file.is_file()) for item in items]
    return int(BASE + command.share * max(sizes, default=0))
