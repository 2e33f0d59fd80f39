"""Zones as regions on the image that are dragged, and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from corontools.display.frame import Sky
from corontools_widgets.klip_state import KlipState

__all__ = ["dragged", "zone_regions"]

ZONE = "zone "
LEAST = 0.05  # px: a radius that moved less did not move


def zone_regions(state: KlipState, sky: Sky) -> list[dict[str, Any]]:
    """One region of an ImagePane for each sector of each annulus; none where the zones of the result are kept."""
    (x, y), wide = sky.origin, 360 / state.sectors
    regions = []
    for ring, (r0, r1) in enumerate(pairwise(state.edges)):
        for sector in range(state.sectors):
            begin = _begin(state, sky, sector)
            place = {"x": x, "y": y, "r0": r0, "r1": r1, "pa0": begin, "pa1": begin + wide}
            look = {"name": "", "locked": False, "visible": True, "fixed": True}
            regions.append({"id": f"{ZONE}{ring}.{sector}", "kind": "annulus", **place, **look})
    return regions


def dragged(regions: Sequence[dict[str, Any]], state: KlipState, sky: Sky) -> dict[str, Any]:
    """Choices after a drag: a radius moves the neighbouring zones with it, and one side turns all sectors."""
    edges, turns = list(state.edges), [0.0]
    for region in regions:
        if not str(region.get("id", "")).startswith(ZONE):
            continue
        ring, sector = map(int, region["id"].removeprefix(ZONE).split("."))
        for at, key in ((ring, "r0"), (ring + 1, "r1")):
            if abs(region[key] - state.edges[at]) > LEAST:
                edges[at] = round(region[key], 1)
        turns.append(_turned(region["pa0"] - _begin(state, sky, sector)))
    turn = max(turns, key=abs) if state.sectors > 1 else 0.0
    return {"edges": edges, "start": round(_turned(state.start - sky.parity * turn), 1)}


def _begin(state: KlipState, sky: Sky, sector: int) -> float:
    """Position angle at which a sector begins; 0 where there is one only."""
    if state.sectors == 1:
        return 0.0
    # sectors count anticlockwise, and so do position angles where east is to the left of north
    along = sector if sky.parity < 0 else -sector - 1
    return ((sky.pa_y or 0.0) - sky.parity * state.start + along * 360 / state.sectors) % 360


def _turned(angle: float) -> float:
    """The angle from -180 to 180 degrees."""
    return (angle + 180) % 360 - 180
