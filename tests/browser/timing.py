"""From a key press to changed pixels: what the user of a page waits for, measured from outside the page.

While something is measured, Chromium sends every picture it shows (the screencast of its developer tools), each with
the wall-clock time at which it was taken. A key press has the time stamp of its event, which is made in the browser
process before the page hears of it. The time from one to the other takes in the handling of the key, everything the
page, the link and the kernel do, drawing, composition, the wait for the next frame (up to 16.7 ms) and the cost of
reading the picture back. It leaves out keyboard and monitor. A picture counts as changed when pixels of a given region
differ from those of the last picture before the key press; what happens elsewhere on the page doesn't count.
"""

from __future__ import annotations

import base64
import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from playwright.sync_api import CDPSession, Locator, Page

LEVELS = 10  # of 255; JPEG leaves an unchanged region exactly as it was, so that little is enough
FRACTION = 2e-4  # of the region's pixels

# ms between the time stamps of events and the wall clock, at a tick of the latter
OFFSET = """() => {
    const begin = Date.now();
    let now = begin;
    while (now === begin) now = Date.now();
    return now - performance.now();
}"""
LISTEN = """kinds => {
    window.__pressed = [];
    if (window.__listening) return;
    window.__listening = true;
    const hear = e => e.key === "Shift" || window.__pressed.push(e.timeStamp); // which is held for another key
    for (const kind of kinds) addEventListener(kind, hear, {capture: true});
}"""


COUNT_DRAWN = """() => {
    if (window.__drawn !== undefined) return;
    let fresh = false;
    const { drawImage } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.drawImage = function (...args) {
        fresh = true;
        return drawImage.apply(this, args);
    };
    window.__drawn = 0;
    const tick = () => { window.__drawn += fresh; fresh = false; requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
}"""


@dataclass(frozen=True)
class Region:
    """Part of the page in CSS pixels."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def of(cls, place: Locator, *, margin: float = 0.0) -> Region:
        """Where an element is, less a margin (a fraction of its sides)."""
        box = place.bounding_box()
        assert box is not None, "the element is not on the page"
        dx, dy = margin * box["width"], margin * box["height"]
        return cls(box["x"] + dx, box["y"] + dy, box["width"] - 2 * dx, box["height"] - 2 * dy)


@dataclass(frozen=True)
class Shown:
    """A picture that the browser showed: seconds since 1970, the JPEG, and the width of the page in CSS pixels."""

    time: float
    jpeg: bytes
    width: float

    def pixels(self, region: Region) -> NDArray[np.int16]:
        """The region (y, x, 3)."""
        from PIL import Image

        with Image.open(io.BytesIO(self.jpeg)) as image:
            scale = image.width / self.width
            box = (region.x, region.y, region.x + region.width, region.y + region.height)
            part = image.convert("RGB").crop(tuple(round(v * scale) for v in box))
        return np.asarray(part, np.int16)


@dataclass
class Screen:
    """Every picture that the browser shows of a page, while inside the `with` block."""

    page: Page
    quality: int = 50
    pictures: list[Shown] = field(default_factory=list)
    _session: CDPSession = field(init=False, repr=False)

    def __enter__(self) -> Screen:
        self._session = self.page.context.new_cdp_session(self.page)
        self._session.on("Page.screencastFrame", self._take)
        size = self.page.viewport_size or {"width": 1200, "height": 900}
        options = {"format": "jpeg", "quality": self.quality, "everyNthFrame": 1}
        self._session.send("Page.startScreencast", options | {"maxWidth": size["width"], "maxHeight": size["height"]})
        return self

    def __exit__(self, *_: object) -> None:
        self._session.remove_listener("Page.screencastFrame", self._take)
        self._session.send("Page.stopScreencast")
        self.page.wait_for_timeout(50)  # pictures on their way are still acknowledged
        self._session.detach()

    def _take(self, event: dict[str, Any]) -> None:
        self._session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})
        about = event["metadata"]
        self.pictures.append(Shown(about["timestamp"], base64.b64decode(event["data"]), about["deviceWidth"]))

    def changes(self, region: Region) -> list[float]:
        """Times at which the region changed from one picture to the next."""
        times, last = [], None
        for picture in self.pictures:
            now = picture.pixels(region)
            if last is not None and differ(last, now):
                times.append(picture.time)
            last = now
        return times

    def settled(self, region: Region, *, share: float = 0.02) -> float:
        """Time of the first picture from which on the region looks as in the last: but for a `share` of the pixels."""
        end = self.pictures[-1].pixels(region)
        time = math.nan
        for picture in reversed(self.pictures):
            if differ(picture.pixels(region), end, fraction=share):
                break
            time = picture.time
        return time


@dataclass(frozen=True)
class Waits:
    """Milliseconds from each move to the first changed pixels; NaN where nothing changed before the next move."""

    ms: tuple[float, ...]

    @property
    def missed(self) -> int:
        """Moves that changed nothing."""
        return sum(math.isnan(v) for v in self.ms)

    @property
    def median(self) -> float:
        """Half of the moves were faster; a missed move took forever."""
        return self.percentile(50)

    @property
    def p95(self) -> float:
        """19 of 20 moves were faster; a missed move took forever."""
        return self.percentile(95)

    def every(self, nth: int) -> Waits:
        """Those of the first key press and each nth after it."""
        return Waits(self.ms[::nth])

    def percentile(self, percent: float) -> float:
        """The smallest time that at least `percent` of the moves did not exceed."""
        times = sorted(math.inf if math.isnan(v) else v for v in self.ms)
        return times[max(0, math.ceil(len(times) * percent / 100) - 1)]


def key_waits(
    page: Page, region: Region | Sequence[Region], keys: Sequence[str], *, pause: float = 150.0
) -> tuple[Waits, ...]:
    """Press the keys on what has the focus, one by one; the time until each region changes.

    `pause` ms lie between two key presses, which should be longer than the longest wait; a few ms are added in turn,
    so that the key presses don't stay in step with the frames.
    """
    regions = [region] if isinstance(region, Region) else list(region)
    offset = page.evaluate(OFFSET)
    page.evaluate(LISTEN, ["keydown"])
    with Screen(page) as screen:
        page.wait_for_timeout(200)
        for i, key in enumerate(keys):
            page.keyboard.press(key)
            page.wait_for_timeout(pause + 3.7 * (i % 9))
        page.wait_for_timeout(pause)
    pressed = [(offset + stamp) / 1000 for stamp in page.evaluate("window.__pressed")]
    if len(pressed) != len(keys):
        raise RuntimeError(f"{len(keys)} keys were pressed, the page heard {len(pressed)}")
    return tuple(waits(pressed, screen.changes(region)) for region in regions)


def waits(pressed: Sequence[float], changed: Sequence[float]) -> Waits:
    """Time from each press to the first change before the next press.

    Examples
    --------
    >>> found = waits([0.0, 1.0, 2.0], [0.010, 0.030, 2.020])
    >>> [round(v) if v == v else v for v in found.ms], found.missed
    ([10, nan, 20], 1)
    """
    ends = [*pressed[1:], math.inf]
    first = (
        next((t - begin for t in changed if begin < t <= end), math.nan)
        for begin, end in zip(pressed, ends, strict=True)
    )
    return Waits(tuple(1000 * v for v in first))


def drag_rate(page: Page, handle: Region, *, seconds: float = 3.0, reach: float = 0.9) -> float:
    """Pictures drawn per second while the mouse drags along a slider, to and fro, as fast as it can be moved.

    Counted within the page, as animation frames in which a canvas was drawn: to send what is seen on the whole page
    sixty times a second, as elsewhere in this module, would take longer than to draw it.
    """
    y, middle, half = handle.y + handle.height / 2, handle.x + handle.width / 2, reach * handle.width / 2
    page.evaluate(COUNT_DRAWN)
    page.mouse.move(middle - half, y)
    page.mouse.down()
    before, begin = page.evaluate("window.__drawn"), time.monotonic()
    while (passed := time.monotonic() - begin) < seconds:
        page.mouse.move(middle - half * math.cos(2 * math.pi * passed / 1.5), y)
    drawn = page.evaluate("window.__drawn") - before
    page.mouse.up()
    return float(drawn / passed)


def first_paint(page: Page, key: str, place: Locator, *, quiet: float = 1500.0) -> float:
    """Press a key; milliseconds until an element looks as it will look in the end.

    The element need not be there before. "The end" is `quiet` ms after it appeared.
    """
    offset = page.evaluate(OFFSET)
    page.evaluate(LISTEN, ["keydown"])
    with Screen(page) as screen:
        page.wait_for_timeout(200)
        page.keyboard.press(key)
        place.wait_for()
        page.wait_for_timeout(quiet)
        region = Region.of(place)
    pressed = (offset + page.evaluate("window.__pressed")[-1]) / 1000
    return 1000 * (screen.settled(region) - pressed)


def pixels_of(place: Locator) -> NDArray[np.int16]:
    """An element as it is on the screen (y, x, 3)."""
    from PIL import Image

    with Image.open(io.BytesIO(place.screenshot())) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def differ(a: NDArray[np.int16], b: NDArray[np.int16], *, fraction: float = FRACTION) -> bool:
    """Whether more than a fraction of the pixels of two pictures differ by more than what is hardly seen."""
    if a.shape != b.shape:
        return True
    changed = np.abs(a - b).max(axis=-1) > LEVELS
    return bool(np.count_nonzero(changed) > fraction * changed.size)
