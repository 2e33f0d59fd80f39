"""Simulated full frames with stripes, and what each method leaves of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from others import peer

from corontools.arrays.clip import background_pixels
from corontools.arrays.nsclean import fourier_stripes
from corontools.arrays.stream import stream_stripes
from corontools.arrays.stripes import Stripes, median_stripes
from corontools.flicker.level import background_level
from corontools.simulate.flicker import flicker_noise

# of a pixel, beside stripes of 5 rms; peaks of sources and of extended light
WHITE, SOURCE, NEBULA = 8.0, 1e3, 20.0
# of the image less its background, as in the step
N_SIGMA = 2.0
ALPHAS = (0.7, 1.0, 1.3, 1.6, None)


class Scene(NamedTuple):
    """Stripes, image (float32) and background mask."""

    stripes: np.ndarray
    image: np.ndarray
    good: np.ndarray


def scene(
    shape: tuple[int, int],
    *,
    alpha: float = 1.0,
    rms: float = 5.0,
    axis: int = 1,
    channels: int = 4,
    nebula: float = 0.0,
    seed: int = 1,
) -> Scene:
    """White noise, stripes and light; round sources are masked, with a tenth of the other pixels, a nebula isn't."""
    rng = np.random.default_rng(seed)
    stripes = np.zeros(shape)
    if rms:
        options: dict[str, Any] = {"offsets": 3.0, "alternating": 1.0} if channels > 1 else {}
        stripes = flicker_noise(shape, alpha=alpha, rms=rms, channels=channels, axis=axis, seed=seed, **options)
    image, good = stripes + rng.normal(0, WHITE, shape), rng.random(shape) < 0.9
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(max(1, shape[0] * shape[1] // 100_000)):
        distance = np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1]))
        radius = rng.uniform(5, 60)
        image += SOURCE * np.exp(-0.5 * (distance / radius * 4) ** 2)
        good &= distance > radius
    for _ in range(3 if nebula else 0):
        distance = np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1]))
        image += nebula * np.exp(-0.5 * (distance / rng.uniform(0.1, 0.2) / shape[0]) ** 2)
    return Scene(stripes, image.astype(np.float32), good)


Clean = Callable[[np.ndarray, np.ndarray], np.ndarray]


def cleaners() -> dict[str, Clean | None]:
    """What each method takes for stripes in a full frame with horizontal ones."""
    jwst = peer("jwst.clean_flicker_noise.clean_flicker_noise")

    def ours(fit: Callable[..., Stripes], **options: Any) -> Clean:
        return lambda image, good: fit(image, good, axis=1, **options).model

    def median(by_channel: bool) -> Clean:
        return lambda image, good: image - jwst.median_clean(image, good, 2, fit_by_channel=by_channel)

    def nsclean(image: np.ndarray, good: np.ndarray) -> np.ndarray:
        return image - jwst.fft_clean_full_frame(image.T.copy(), good.T.copy(), "NRS1").T

    return {
        "none": lambda image, good: np.zeros_like(image),
        "jwst median": median(False) if jwst else None,
        "jwst by channel": median(True) if jwst else None,
        "jwst fft": nsclean if jwst else None,
        "median": ours(median_stripes),
        "by channel": ours(median_stripes, channels=4),
        "fft": ours(fourier_stripes),
        "stream": ours(stream_stripes),
    }


def tables(size: int, seeds: int) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Titles, and rows for each slope: rms of what is left, with its scatter over the seeds, for each cleaner."""
    found = {extended: [_left(size, seeds, alpha, extended) for alpha in ALPHAS] for extended in (False, True)}
    made = []
    for extended, light in ((False, "sources"), (True, "sources and extended light")):
        for i, where in enumerate(("whole array", "under the sources")):
            rows = [
                (f"alpha {alpha}" if alpha else "no stripes", *(_told(values[i]) for values in row))
                for alpha, row in zip(ALPHAS, found[extended], strict=True)
            ]
            made.append((f"{light}, {where}", rows))
    return made


def _left(size: int, seeds: int, alpha: float | None, extended: bool) -> list[np.ndarray]:
    """Of each cleaner the rms left in all pixels and in those that are masked, (2, seeds); empty without jwst."""
    made = cleaners()
    rms: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
    for seed in range(seeds):
        options = {"alpha": alpha or 1.0, "rms": 5.0 if alpha else 0.0, "nebula": NEBULA if extended else 0.0}
        stripes, image, good = scene((size, size), seed=seed, **options)
        lit = ~good
        image, good = _flattened(image, good) if extended else (image - np.median(image[good]), good)
        for name, clean in made.items():
            if clean is not None:
                rest = clean(image, good) - stripes
                rms[name].append((float(rest.std()), float(rest[lit].std())))
    return [np.array(values).T.reshape(2, -1) for values in rms.values()]


def _flattened(image: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image less a map of its background, and what both clips leave of the mask: the step's, the same for all."""
    level, good = background_level(image, good, method="model")
    flat = (image - level).astype(np.float32)
    return flat, background_pixels(flat, good, lower=N_SIGMA, upper=N_SIGMA, lower_half=True)[0]


def _told(values: np.ndarray) -> str:
    if values.size == 0:
        return "-"
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if values.size > 1 else "")
