"""Types of options on the command line."""

from __future__ import annotations

import argparse
import math

__all__ = ["count", "number", "odd", "percent", "positive", "sigma"]


def count(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"a whole number, 0 or more, is needed, found {text!r}")
    return int(text)


def odd(text: str) -> int:
    """An odd number, 3 or more."""
    value = count(text)
    if value < 3 or value % 2 == 0:
        raise argparse.ArgumentTypeError(f"an odd number, 3 or more, is needed, found {text!r}")
    return value


def sigma(text: str) -> float:
    """A positive number, or 0."""
    return 0.0 if text.strip() in ("0", "0.0") else positive(text)


def positive(text: str) -> float:
    """A positive number."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a positive number is needed, found {text!r}")
    return value


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"a number is needed, found {text!r}")
    return value


def percent(text: str) -> float:
    """A number from 0 to 100."""
    value = number(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"percent are 0 to 100, found {text!r}")
    return value
