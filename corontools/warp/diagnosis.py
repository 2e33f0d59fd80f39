"""What is wrong with a match, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from corontools.calibrate.psf import PSF
from corontools.display import card

__all__ = ["Diagnosis", "Finding"]


class Finding(NamedTuple):
    """One kind of fault.

    Attributes
    ----------
    name : str
        "boxy", "dipoles", "deconvolution", "high frequency" or "wings".
    value, limit : float
        What was measured, and the most that is fine.
    meaning : str
        What was measured, in words.
    remedy : str
        Options to change, with values; "" where none is needed.
    """

    name: str
    value: float
    limit: float
    meaning: str
    remedy: str = ""

    @property
    def found(self) -> bool:
        """Whether the match has this fault."""
        return not self.value <= self.limit


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    """Faults of a match, and what mends them.

    Attributes
    ----------
    findings : tuple of Finding
    peak, total : float
        Worst residual over the model's peak, and worst sum of absolute residuals, as they are.
    matcher : PSFMatcher or FourierMatcher
        With the remedies; the one that was used where nothing is wrong.
    model : PSF
        With the remedy; the one that was used where it isn't too narrow.
    peak_after, total_after : float
        What these leave, measured by solving again.
    """

    findings: tuple[Finding, ...]
    peak: float
    total: float
    matcher: Any
    model: PSF
    peak_after: float
    total_after: float

    @property
    def faults(self) -> tuple[str, ...]:
        """Names of what is wrong."""
        return tuple(finding.name for finding in self.findings if finding.found)

    def __getitem__(self, name: str) -> Finding:
        return {finding.name: finding for finding in self.findings}[name]

    def __repr__(self) -> str:
        return card.text("Diagnosis", self._rows())

    def _repr_html_(self) -> str:
        return card.html("Diagnosis", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("residual", f"{100 * self.peak:.2f} % of the peak, {100 * self.total:.2f} % in all")]
        for one in self.findings:
            verdict = f"found: {one.remedy}" if one.found else "fine"
            rows.append((one.name, f"{one.meaning} {one.value:.3g} (at most {one.limit:g}): {verdict}"))
        if self.faults:
            rows.append(("with remedies", f"{100 * self.peak_after:.2f} % of the peak, {100 * self.total_after:.2f} %"))
        return rows
