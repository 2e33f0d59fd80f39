"""Private memory in which a ramp is cleaned from file to file.

    python benchmarks/ramp_memory.py NOISE BACKGROUND RAMP

cleans one ramp into a file beside it and prints MiB with the file open, MiB at the peak, and seconds; `flicker.py`
makes the table. Pages of mapped files (input and output) aren't counted: the system takes them back as it needs. Linux
only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import peak_memory

from corontools import Exposure, FlickerCleaner
from corontools.simulate.flicker import ramp

os.environ.setdefault("TQDM_DISABLE", "1")


def write_ramp(path: Path, n_int: int, n_group: int, size: int) -> None:
    """A ramp with flags, all integrations alike."""
    exposure, _ = ramp((1, n_group, size, size), channels=4)
    shape = (n_int, *exposure.shape[1:])
    flags = {"dq": np.zeros(shape, np.uint8), "pixel_dq": np.zeros(shape[-2:], np.uint32)}
    Exposure(np.broadcast_to(exposure.data, shape), meta=exposure.meta, **flags).save(path)


def memory_rows(n_int: int, n_group: int, size: int) -> list[tuple[str, ...]]:
    """Frames (float32 images) of private memory beyond what is there when the file is open, and seconds."""
    rows, frame = [], 4 * size**2 / (1 << 20)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in_ramp.fits"
        write_ramp(path, n_int, n_group, size)
        for noise in ("median", "fft", "stream"):
            for background in ("median", "model", "median_image"):
                opened, peak, seconds = peak_memory(__file__, [noise, background, str(path)])
                name = f"{n_int}x{n_group}x{size}x{size}, {noise}, background {background}"
                rows.append((name, f"{(peak - opened) / frame:.1f}", f"{seconds:.1f} s", "<= 6"))
    return rows


def one(noise: str, background: Any, path: str) -> None:
    """Clean one file in this process: print private memory with the file open, the highest, and the time."""

    def cleaner(exposure: Exposure) -> FlickerCleaner:
        return FlickerCleaner(exposure).fit_background(background).fit_noise(noise)  # type: ignore[arg-type]

    folder = Path(path).parent
    small, _ = ramp((2, 2, 512, 1024), channels=4)
    cleaner(small).save(folder / "small.fits", overwrite=True)  # imports and compiled code aren't working space
    exposure = Exposure.read(path)
    with contextlib.suppress(OSError, AttributeError):  # what was freed and not given back would hide what is needed
        ctypes.CDLL(None).malloc_trim(0)
    opened, begin = private_memory(), time.perf_counter()
    with Watch() as watch:
        cleaner(exposure).save(folder / "out.fits", overwrite=True)
    print(opened, watch.peak, time.perf_counter() - begin)


def private_memory() -> float:
    """Memory that is this process's own, mapped files not counted; MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class Watch(threading.Thread):
    """Looks at the private memory every millisecond while a block runs; `peak` is the highest, MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.done = 0.0, threading.Event()

    def run(self) -> None:
        """Until the block ends."""
        while not self.done.wait(1e-3):
            self.peak = max(self.peak, private_memory())

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join()


if __name__ == "__main__":
    one(*sys.argv[1:])
