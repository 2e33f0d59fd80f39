"""Make the picture of the README: python docs/images/demo.py; then print demo.html with a browser, 1290 x 470 px."""

import tempfile
import warnings
from pathlib import Path

from corontools import coron3, simulate
from corontools.coron.report import images, outcome
from corontools.display.figure import frame
from corontools.display.picture import Scale, scaled_uri

sim = simulate.demo()
with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
    warnings.simplefilter("ignore")
    result = coron3(sim.write(folder), klip={"modes": 10})

science = result.klips[0].target
before = images.mean_image(science)
sky = images.sky_of(science)
scale = Scale.of(before, kind="log", unit=science.meta.unit)
left = frame(
    scaled_uri(images.shown(before), scale), sky=sky, scale=scale, rings=[1, 2, 4], title="Before", size=(430, 430)
)

image = result.combined.image
sky = images.north_sky(image)
scale = images.residual_scale(image.data, image.center, image.meta.unit)
middle = images.sky_picture(
    image.data,
    sky,
    scale,
    marks=outcome._marks(sky, sim.truth.companions, image),
    title="After: north up",
    size=(430, 430),
)
peak = sim.truth.flux * sim.psf().max()
right = outcome.contrast(result, sim.truth.companions, peak).figures[0]

page = "".join(f"<div style='width:{width}px'>{svg}</div>" for svg, width in ((left, 400), (middle, 400), (right, 460)))
Path(__file__).with_suffix(".html").write_text(
    f"<body style='margin:0;display:flex;align-items:center;gap:8px;background:white'>{page}</body>", encoding="utf-8"
)
