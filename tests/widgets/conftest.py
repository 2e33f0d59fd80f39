"""What the tests of the views share: data that no test changes."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from corontools import Exposure, PSFStack, simulate
from corontools.coron import KlipResult
from corontools.simulate import Simulation


@pytest.fixture(scope="session", autouse=True)
def modules_are_no_garbage() -> Iterator[None]:
    """What was imported for the tests is not looked through again whenever garbage is collected: it takes long."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def scene() -> Simulation:
    """A small coronagraphic sequence."""
    return simulate.tiny()


@pytest.fixture(scope="session")
def frames() -> tuple[Exposure, Exposure]:
    """Three frames of a star without companion, and eight to subtract."""
    return simulate.null(3, 8, shape=48)


@pytest.fixture(scope="session")
def klip(frames) -> KlipResult:
    """Their reduction with all eight modes."""
    science, references = frames
    return PSFStack.from_exposures([references]).align_to(science, to="none").klip(8)
