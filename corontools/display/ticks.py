"""Axis ticks as a person would choose them: steps of 1, 2 or 5, and decades on logarithmic axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ticks", "linear_ticks", "log_ticks", "number", "tick_step"]

MINUS = "\u2212"
STRIDES = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)  # decades between ticks
PLAIN = (1e-3, 1e5)  # numbers between these are written without a power of ten


@dataclass(frozen=True)
class Ticks:
    """Ticks of an axis.

    Attributes
    ----------
    major : tuple of float
        Values that carry labels.
    labels : tuple of str
        One a value; "10^-5" stands for a superscript.
    minor : tuple of float
        Values that carry a short mark only.
    factor : str
        Power of ten taken out of all labels, written at the end of the axis; "" for none.
    """

    major: tuple[float, ...]
    labels: tuple[str, ...]
    minor: tuple[float, ...] = ()
    factor: str = ""


def tick_step(low: float, high: float, count: int) -> tuple[int, int]:
    """Step of at most `count` intervals from low to high, as mantissa (1, 2 or 5) and power of ten.

    Examples
    --------
    >>> tick_step(0, 33, 5)
    (1, 1)
    """
    raw = (high - low) / count
    power = math.floor(math.log10(raw))
    ratio = raw / 10.0**power
    mantissa = next((m for m in (1, 2, 5) if m >= ratio * (1 - 1e-9)), 10)
    return (1, power + 1) if mantissa == 10 else (mantissa, power)


def linear_ticks(low: float, high: float, count: int = 6) -> Ticks:
    """Multiples of 1, 2 or 5 times a power of ten from low to high (low < high, both finite).

    Parameters
    ----------
    low, high : float
        Ends of the axis.
    count : int
        Greatest number of intervals between ticks.

    Examples
    --------
    >>> ticks = linear_ticks(-0.05, 1.0)
    >>> ticks.major, ticks.labels
    ((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), ('0', '0.2', '0.4', '0.6', '0.8', '1.0'))
    """
    mantissa, power = tick_step(low, high, count)
    major = _multiples(low, high, mantissa, power)
    # 2 splits into 4 parts of 0.5; 1 and 5 into 5 parts of 0.2 and 1
    minor_step = {1: (2, power - 1), 2: (5, power - 1), 5: (1, power)}[mantissa]
    minor = np.setdiff1d(_multiples(low, high, *minor_step), major)
    labels, factor = _linear_labels(major, power)
    return Ticks(tuple(major.tolist()), labels, tuple(minor.tolist()), factor)


def log_ticks(low: float, high: float, count: int = 6) -> Ticks:
    """Ticks of a logarithmic axis (0 < low < high).

    Every decade, or every second, third ... where there are more than `count`; on a short axis also 2 and 5
    times the decades, on a very short one the ticks of a linear axis.

    Examples
    --------
    >>> log_ticks(2e-7, 3e-3, 6).labels
    ('10^−6', '10^−5', '10^−4', '10^−3')
    >>> log_ticks(1, 20).labels
    ('1', '2', '5', '10', '20')
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    fine = _in_decades(low, high, tuple(range(1, 10)), 1)
    if last - first >= 2 or (last - first == 1 and count < 4):
        stride = _stride(low, high, max(count, 2))
        major = _in_decades(low, high, (1,), stride)
        minor = fine if stride == 1 else _in_decades(low, high, (1,), max(1, stride // 10))
    else:
        major, minor = _in_decades(low, high, (1, 2, 5), 1), fine
        if major.size < 2:
            return linear_ticks(low, high, count)
    minor = np.setdiff1d(minor, major)
    return Ticks(tuple(major.tolist()), _log_labels(major), tuple(minor.tolist()))


def _stride(low: float, high: float, count: int) -> int:
    """Decades from tick to tick: the fewest that give at most `count` ticks, as long as two are left."""
    shown = [(s, _in_decades(low, high, (1,), s).size) for s in STRIDES]
    possible = [(s, n) for s, n in shown if n >= 2]
    return next((s for s, n in possible if n <= count), possible[-1][0])


def number(value: float) -> str:
    """A number by itself, in at most four digits; "10^-5" stands for a superscript.

    Examples
    --------
    >>> number(0.25), number(-2e-6), number(1e7), number(0)
    ('0.25', '−2×10^−6', '10^7', '0')
    """
    if value == 0 or PLAIN[0] <= abs(value) < PLAIN[1]:
        return f"{value:.4g}".replace("-", MINUS) if abs(value) < 1e4 else f"{value:.0f}".replace("-", MINUS)
    digits, power = f"{abs(value):.3e}".split("e")
    mantissa = digits.rstrip("0").rstrip(".")
    sign = MINUS if value < 0 else ""
    return sign + ("" if mantissa == "1" else f"{mantissa}×") + _power(int(power))


def _power(exponent: int) -> str:
    return f"10^{exponent}".replace("-", MINUS)


def _multiples(low: float, high: float, mantissa: int, power: int) -> NDArray[np.float64]:
    """Multiples of mantissa x 10^power in the range, each the float nearest to its decimal."""
    # 10.0**-power is exact for the usual steps, so that 3 x 0.1 comes out as 0.3
    whole = np.arange(
        math.ceil(low / (mantissa * 10.0**power) - 1e-9),
        math.floor(high / (mantissa * 10.0**power) + 1e-9) + 1,
    )
    scaled = whole.astype(float) * mantissa
    return scaled * 10.0**power if power >= 0 else scaled / 10.0**-power


def _in_decades(low: float, high: float, digits: tuple[int, ...], stride: int) -> NDArray[np.float64]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = range(first - first % stride, last + 1, stride)
    values = np.array([float(f"{digit}e{power}") for power in powers for digit in digits])
    return values[(values >= low * (1 - 1e-9)) & (values <= high * (1 + 1e-9))]


def _linear_labels(values: NDArray[np.float64], power: int) -> tuple[tuple[str, ...], str]:
    """Labels with the same number of decimals, and the factor taken out of them."""
    largest = float(np.abs(values).max(initial=0.0))
    plain = largest == 0 or PLAIN[0] * 10 <= largest < PLAIN[1]
    taken = 0 if plain else math.floor(math.log10(largest) + 1e-9)
    decimals = max(0, taken - power)
    scaled = values / 10.0**taken if taken >= 0 else values * 10.0**-taken
    labels = tuple("0" if v == 0 else f"{v:.{decimals}f}".replace("-", MINUS) for v in scaled)
    return labels, f"×{_power(taken)}" if taken else ""


def _log_labels(values: NDArray[np.float64]) -> tuple[str, ...]:
    if values.min() >= 0.01 and values.max() <= 1e4:
        return tuple(f"{v:g}" for v in values)
    return tuple(_decade_label(v) for v in values)


def _decade_label(value: float) -> str:
    digit, power = f"{value:.0e}".split("e")
    return ("" if digit == "1" else f"{digit}×") + _power(int(power))
