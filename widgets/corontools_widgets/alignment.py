"""AlignmentExplorer: each reference beside the science image that it was shifted onto."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from traitlets import Float, Int, List, Unicode, validate

from corontools.arrays.register import Quality
from corontools.coron.aligned import AlignedRefs
from corontools.display.scale import Scale, default_limits
from corontools_widgets import controls
from corontools_widgets.explore import explore
from corontools_widgets.film_strip import FilmStrip
from corontools_widgets.image_pane import ImagePane
from corontools_widgets.image_view import ImageState, ImageView, beside, cell
from corontools_widgets.plots import ShiftScatter
from corontools_widgets.references import KeptState, short_names, tie_strip
from corontools_widgets.view import close_widget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astropy.table import Table

__all__ = ["AlignmentExplorer", "AlignmentState"]

SCIENCE, REFERENCE, DIFFERENCE, BEFORE = range(4)
# the reference is scaled to the science image
NAMES = ("science", "aligned reference", "difference", "difference before")
# the two that are worth blinking
PARTNERS = {SCIENCE: REFERENCE, REFERENCE: SCIENCE, DIFFERENCE: BEFORE, BEFORE: DIFFERENCE}
TROUBLE = {
    Quality.NOT_CONVERGED: "the fit did not converge",
    Quality.BEYOND_MAX_SHIFT: "the shift is longer than allowed",
    Quality.POOR_FIT: "the fit explains less than half of the variance",
    Quality.NOT_POSITIVE: "the flux scale is not positive",
    Quality.TOO_FEW_PIXELS: "too few good pixels overlap",
}


class AlignmentState(ImageState, KeptState):
    """Choices of an `AlignmentExplorer`.

    Attributes
    ----------
    integration, reference : int
        The pair that is shown, 0-based.
    difference_limits : [float, float] or []
        Values of the first and the last colour of differences; empty: automatic.
    difference_colors : str
        Palette of differences.
    """

    integration = Int(0, min=0)
    reference = Int(0, min=0)
    difference_limits = List(Float(), maxlen=2)
    difference_colors = Unicode("RdBu")
    n_int: int | None = None

    @validate("integration")
    def _integration_there(self, proposal: dict[str, Any]) -> int:
        return self.below(proposal, self.n_int)

    @validate("reference")
    def _reference_there(self, proposal: dict[str, Any]) -> int:
        return self.below(proposal, self.n_ref)

    @validate("difference_limits")
    def _in_order(self, proposal: dict[str, Any]) -> list[float]:
        return self._pair(proposal)


@dataclass(frozen=True, eq=False)
class Pair:
    """A reference on a science image.

    Attributes
    ----------
    images : ndarray, shape (4, y, x)
        As `NAMES` says; NaN where there is no data.
    """

    images: np.ndarray

    @classmethod
    def of(cls, aligned: AlignedRefs, integration: int, reference: int) -> Pair:
        """Images of a pair."""
        science = aligned.target
        after, before = (_difference(one, integration, reference) for one in (aligned, aligned.unaligned()))
        image = np.where(science.good[integration], science.data[integration], np.nan)
        # what was subtracted is the reference as it was scaled, be the scale fitted or not
        return cls(np.stack([image, image - after, after, before]))

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """Automatic limits of images and of differences."""
        return {
            "limits": default_limits(self.images[SCIENCE]),
            "difference_limits": default_limits(self.images[DIFFERENCE], symmetric=True),
        }


def _difference(aligned: AlignedRefs, integration: int, reference: int) -> np.ndarray:
    """Science less reference; NaN where the fit found no shift."""
    if not np.isfinite(aligned.shifts[integration, reference]).all():
        return np.full(aligned.target.shape[1:], np.nan)
    return np.asarray(aligned.difference(integration, reference).data, np.float64)


class AlignmentExplorer(ImageView):
    """Science against reference: blink, difference before and after, shifts with errors, a tick for each reference.

    Images of a pair are made when it is chosen.

    Parameters
    ----------
    aligned : AlignedRefs
        References and the science images that they were shifted onto.

    Attributes
    ----------
    aligned : AlignedRefs
        As it was given.

    Examples
    --------
    >>> from corontools import PSFStack, simulate
    >>> sim = simulate.tiny()
    >>> aligned = PSFStack.from_exposures(sim.references).align_to(sim.science[0], to="mean")
    >>> view = AlignmentExplorer(aligned)
    >>> view.state.kept = [True, True, False] + 7 * [True]
    >>> view.result.n_ref
    9
    >>> view.close()
    """

    state: AlignmentState

    def __init__(self, aligned: AlignedRefs) -> None:
        super().__init__(AlignmentState(kept=[True] * aligned.n_ref, compare=REFERENCE))
        self.aligned = aligned
        self.state.n_int, self.state.n_ref = aligned.n_int, aligned.n_ref
        self._rms, self._flagged = aligned.rms(), np.asarray(aligned.quality) > 0
        self._pair = Pair.of(aligned, 0, 0)
        meta = aligned.target.meta
        pane = ImagePane(
            self._pair.images,
            names=NAMES,
            name="image",
            sky=self.look_at(aligned.target),
            scale=Scale(self._pair.limits["limits"], unit=meta.unit),
            title=meta.title,
        )
        self.take(pane, self._pair.limits)
        self._make_controls()
        self._lay_out()
        self.state.clear_history()
        self.say()

    def _make_controls(self) -> None:
        aligned = self.aligned
        self._integrations = controls.Stepper("integration", [f"{i} of {aligned.n_int}" for i in range(aligned.n_int)])
        self._references = controls.Stepper("reference", [f"{i} of {aligned.n_ref}" for i in range(aligned.n_ref)])
        self.link("integration", self._integrations, "index")
        self.link("reference", self._references, "index")
        self._scatter = ShiftScatter(*self._shifts(), names=self._names(), flagged=self._doubtful())
        self._scatter.chosen = 0
        self._scatter.on_choose(lambda index: self.state.apply({"reference": index}))
        self.at_end(self._scatter.plot.close)
        self._strip = FilmStrip(aligned.stack.exposure.data, self._captions(), label="references")
        self._strip.flagged = np.flatnonzero(self._flagged.any(axis=0)).tolist()
        tie_strip(self, self._strip, "reference")
        self.watch(self._show_pair, "integration", "reference")
        self.watch(self._show_shifts, "integration", "kept")
        self.watch(self.say, "integration", "reference", "kept")

    def _lay_out(self) -> None:
        stepper = [self._integrations.widget] if self.aligned.n_int > 1 else []
        right = [controls.row(*stepper, self._references.widget), self._scatter.widget]
        self.show_as(
            controls.column(controls.Toolbar(self).widget, beside(self.pane, *right), self._words, self._strip)
        )
        if not stepper:
            self.at_end(lambda: close_widget(self._integrations.widget))

    def held(self, name: str) -> str:
        """Images and differences have limits and colours of their own."""
        return name if self.state.frame in (SCIENCE, REFERENCE) else f"difference_{name}"

    def with_frame(self, index: int) -> dict[str, Any]:
        """A frame is compared with the one that it is worth comparing with, where two are compared."""
        return {"frame": index, **({"compare": PARTNERS[index]} if self.state.compare >= 0 else {})}

    def image(self, index: int) -> np.ndarray:
        """One of the four images of the pair."""
        return self._pair.images[index]

    # -- what is shown ------------------------------------------------------------------------------------------------

    def _shifts(self) -> tuple[np.ndarray, np.ndarray]:
        i = self.state.integration
        return self.aligned.shifts[i], self.aligned.shift_errors[i]

    def _names(self) -> list[str]:
        return [f"{i} {name}" for i, name in enumerate(short_names(self.aligned.stack.members))]

    def _doubtful(self) -> np.ndarray:
        return self._flagged[self.state.integration] | ~np.array(self.state.kept)

    def _captions(self) -> list[list[str]]:
        """Lines under the thumbnails: what holds of all integrations together."""
        length = np.hypot(*np.moveaxis(self.aligned.shifts, -1, 0)).mean(axis=0)
        before, after = (rms.mean(axis=0) for rms in self._rms)
        count = self._flagged.sum(axis=0)
        return [
            [
                name,
                f"Δ {length[r]:.2f} px",
                f"rms {cell(before[r], digits=2)} → {cell(after[r], digits=2)}",
                *([f"{count[r]} of {self.aligned.n_int} fits flagged"] if count[r] else []),
            ]
            for r, name in enumerate(self._names())
        ]

    def _show_pair(self, _: Any = None) -> None:
        self._pair = Pair.of(self.aligned, self.state.integration, self.state.reference)
        self.pane.set_cube(self._pair.images)
        self.limit(self._pair.limits)
        self._scatter.chosen = self.state.reference

    def _show_shifts(self, _: Mapping[str, Any]) -> None:
        self._scatter.set(*self._shifts(), names=self._names(), flagged=self._doubtful())

    # -- results ------------------------------------------------------------------------------------------------------

    @property
    def result(self) -> AlignedRefs:
        """The references that are ticked, aligned as they were."""
        return self.aligned if all(self.state.kept) else self.aligned.select(self.state.indices)

    def table(self) -> Table:
        """One row for each pair: shift, errors, scale, quality, rms before and after, and whether it is used."""
        from astropy.table import Table

        aligned = self.aligned
        i, r = (index.ravel() for index in np.indices((aligned.n_int, aligned.n_ref)))
        return Table(
            {
                "integration": i,
                "reference": r,
                "member": np.array(aligned.stack.members)[r],
                "target": np.array(aligned.stack.targets)[r],
                "dx": aligned.shifts[i, r, 0],
                "dy": aligned.shifts[i, r, 1],
                "dx_err": aligned.shift_errors[i, r, 0],
                "dy_err": aligned.shift_errors[i, r, 1],
                "scale": aligned.scales[i, r],
                "quality": aligned.quality[i, r],
                "rms_before": self._rms.before[i, r],
                "rms_after": self._rms.after[i, r],
                "used": np.array(self.state.kept)[r],
            }
        )

    @property
    def text(self) -> str:
        """The pair that is shown, in words."""
        i, r, aligned = self.state.integration, self.state.reference, self.aligned
        star = f", {aligned.stack.targets[r]}" if aligned.stack.targets[r] else ""
        used = "used" if self.state.kept[r] else "left out"
        words = [
            f"Integration {i} of {aligned.n_int}, reference {r} of {aligned.n_ref} (from 0): "
            f"{aligned.stack.members[r]}{star}, {used}.",
            self._shift_words(i, r),
            self._rms_words(i, r),
            f"{sum(self.state.kept)} of {aligned.n_ref} references are used.",
            f"The picture: {self.note}." if self.note else "",
        ]
        return " ".join(word for word in words if word)

    def _shift_words(self, i: int, r: int) -> str:
        aligned = self.aligned
        if aligned.to == "none":
            return "It was not moved and nothing was fitted."
        (dx, dy), (ex, ey) = aligned.shifts[i, r], aligned.shift_errors[i, r]
        moved = f"Moved by dx {dx:+.3f} ± {ex:.3f}, dy {dy:+.3f} ± {ey:.3f} px, scaled by {cell(aligned.scales[i, r])}"
        bad = [words for bit, words in TROUBLE.items() if int(aligned.quality[i, r]) & bit]
        return f"{moved}; {' and '.join(bad) or 'the fit is good'}."

    def _rms_words(self, i: int, r: int) -> str:
        before, after = (float(rms[i, r]) for rms in self._rms)
        unit = self.aligned.target.meta.unit
        if self.aligned.to == "none":
            return f"Rms of the difference {cell(after)} {unit}".rstrip() + "."
        return (
            f"Rms of the difference {cell(before)} before and {cell(after)} {unit}".rstrip() + " after the alignment."
        )


@explore.register
def _explore_aligned(aligned: AlignedRefs) -> AlignmentExplorer:
    return AlignmentExplorer(aligned)
