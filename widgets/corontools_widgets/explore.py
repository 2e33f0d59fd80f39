"""explore: the view that belongs to a result."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from corontools.errors import DataError
from corontools_widgets.view import View

__all__ = ["explore"]


@singledispatch
def explore(result: Any, **options: Any) -> View:
    """Open the view of a result; the options are those of its class of view.

    Raises
    ------
    DataError
        If there is no view for such a result.
    """
    known = ", ".join(sorted(cls.__name__ for cls in explore.registry if cls is not object))
    raise DataError(f"there is no view for a {type(result).__name__}; there is one for {known or 'no class yet'}")
