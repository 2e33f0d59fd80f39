"""Progress bars, in a terminal as in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["progress"]


def progress(items: Sequence[Any], name: str, unit: str) -> Any:
    """The items, with a bar that appears when they take longer than a second and goes when they are done."""
    from tqdm.auto import tqdm

    return tqdm(items, desc=name, unit=unit, delay=1.0, leave=False)
