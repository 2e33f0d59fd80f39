"""The KL explorer in a real notebook."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser

MADE = """
from corontools import PSFStack
from corontools.simulate import demo
run = demo()
klip = PSFStack.from_exposures(run.references).align_to(run.science[0]).klip(9)
view = klip.explore(companions=run.truth.companions, star_flux=float(run.psf().max() * run.truth.flux))
view
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_drawn(page, open_notebook, shot, theme):
    open_notebook(page, [MADE], theme=theme, until=".ct-pane canvas, canvas")
    page.wait_for_timeout(3000)
    shot(page)
