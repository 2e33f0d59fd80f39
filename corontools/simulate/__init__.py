"""Simulated exposures with a known truth, coronagraphic ones in the form of JWST/NIRCam files; needs no data.

`coronagraph` makes a whole data set, `demo` and `tiny` are ready ones, `null` makes many frames of a lone
star quickly. `simulate.optics`, `.wavefront` and `.detector` tell the physics and what it leaves out. `star_field`
makes a field of stars and galaxies to calibrate, `star_visits` calibrated frames of one field to combine.

Examples
--------
>>> sim = tiny()
>>> [e.n_int for e in sim.science], len(sim.references)
([2, 2], 5)
"""

from corontools.simulate.detector import CLEAN, Noise
from corontools.simulate.field import StarField, star_field
from corontools.simulate.optics import Optics, mask_transmission
from corontools.simulate.presets import demo, null, tiny
from corontools.simulate.scene import Companion, Disk, Star
from corontools.simulate.simulation import Simulation, Truth, coronagraph
from corontools.simulate.visits import StarVisits, star_visits
from corontools.simulate.wavefront import Wavefront

__all__ = [
    "CLEAN",
    "Companion",
    "Disk",
    "Noise",
    "Optics",
    "Simulation",
    "Star",
    "StarField",
    "StarVisits",
    "Truth",
    "Wavefront",
    "coronagraph",
    "demo",
    "mask_transmission",
    "null",
    "star_field",
    "star_visits",
    "tiny",
]
