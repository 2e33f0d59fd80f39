"""The page: a summary, the sections in the order of the reduction, the chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from corontools.coron.pipeline import Coron3
from corontools.coron.recovery import Planted
from corontools.coron.report import outcome, steps
from corontools.display.page import Section, page

__all__ = ["report"]


def report(result: Coron3, *, truth: Any = (), star_flux: float | None = None, note: str = "") -> str:
    """One HTML page about a reduction: every step with its pictures and numbers, to be written as UTF-8.

    It holds all it shows, loads nothing and runs no script.

    Parameters
    ----------
    result : Coron3
    truth : sequence of companions, or an object with `companions`
        Known companions (`sep` in arcsec, `pa` in degrees, `contrast`), such as `Simulation.truth`: circled, looked for
        in the combined image, and left out of its noise.
    star_flux : float, optional
        Peak of the star's PSF off the mask, in the unit of the images; with it, limits are contrasts.
    note : str
        First line of the summary, such as that the exposures are simulated.

    Raises
    ------
    DataError
        Companions are given, but the image has no pixel scale or no known width of the PSF.

    Examples
    --------
    >>> from corontools import coron3, simulate
    >>> import tempfile
    >>> sim = simulate.tiny()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     html = report(coron3(sim.write(folder), klip={"modes": 5}), truth=sim.truth)
    >>> html[:15], "http-equiv" in html
    ('<!DOCTYPE html>', True)
    """
    known: Sequence[Planted] = tuple(getattr(truth, "companions", truth))
    sections = [steps.references(result), steps.alignment(result), steps.subtraction(result)]
    if result.combined is not None:
        sections.append(outcome.final_image(result.combined, known))
        if known:
            sections.append(outcome.companions(result.combined, known))
    sections += [outcome.contrast(result, known, star_flux), outcome.products(result), _chain(result)]
    return page(
        result.klips[0].target.meta.title,
        sections,
        summary_rows=[*([("note", note)] if note else []), *_summary(result)],
    )


def _summary(result: Coron3) -> list[tuple[str, str]]:
    meta, stack, klip = result.klips[0].target.meta, result.stack, result.klips[0]
    stars = {star or "unnamed star": stack.targets.count(star) for star in dict.fromkeys(stack.targets)}
    integrations = sum(one.target.n_int for one in result.klips)
    rolls = [f"{one.target.meta.roll:.2f}\u00b0" for one in result.klips if one.target.meta.roll is not None]
    times = [exposure.meta.exposure_time or 0.0 for exposure in result.science]
    instrument = " ".join(word for word in (meta.telescope, meta.instrument, meta.filter, meta.coronagraph) if word)
    rows = [
        ("target", meta.target),
        ("instrument", instrument),
        ("product", result.asn.product),
        ("science", f"{len(result.klips)} exposures, {integrations} integrations"),
        ("roll", ", ".join(rolls)),
        ("exposure time", f"{sum(times):.0f} s" if all(times) else ""),
        ("references", f"{stack.n_ref} images: " + ", ".join(f"{star} \u00d7{n}" for star, n in stars.items())),
        ("modes", str(klip.modes)),
        ("explained", f"{klip.variance_explained[klip.modes]:.3%} of the variance of the first science exposure"),
        ("pixel scale", f"{meta.pixel_scale:.4f}\u2033" if meta.pixel_scale else ""),
        ("FWHM", f"{meta.fwhm:.2f} px (\u03bb/D)" if meta.fwhm else ""),
    ]
    return [(name, value) for name, value in rows if value]


def _chain(result: Coron3) -> Section:
    parts = [result.code]
    parts += [f"# science exposure {n}\n" + "\n".join(klip.history) for n, klip in enumerate(result.klips, 1)]
    return Section(
        "How it was made",
        "The call, and the chain of steps that it stands for. Every product carries its chain as HISTORY, and"
        " corontools.replay runs it again.",
        code="\n\n".join(parts),
    )
