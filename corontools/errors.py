"""What is raised: one exception, and one that tells which items of a run it met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["DataError", "ItemsError"]


class DataError(ValueError):
    """What was given can't be used; the message names what was found and the way out.

    The command line prints it as one line and ends with status 1.
    """


class ItemsError(DataError):
    """Some items of a run failed; the rest was completed.

    Attributes
    ----------
    results : list
        Of all items, in their order; None where one failed.
    failed : tuple of (item, exception)
        In their order.
    """

    def __init__(self, results: Sequence[Any], failed: Sequence[tuple[Any, BaseException]], unit: str = "item") -> None:
        (item, error), *more = failed
        also = f", and {len(more)} more" if more else ""
        super().__init__(f"{len(failed)} of {len(results)} {unit}s failed: {item}: {error}{also}; the rest is done")
        self.results, self.failed = list(results), tuple(failed)
