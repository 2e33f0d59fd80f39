"""A cube of images in the browser: frames, stretch, limits, zoom, read-out and regions without the kernel."""

from __future__ import annotations

import base64
import pathlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anywidget
import numpy as np
import traitlets
from ipywidgets.widgets.widget import CallbackDispatcher
from numpy.typing import ArrayLike, NDArray

from corontools.display.overlay import Sky
from corontools.display.picture import ANCHORS, palette
from corontools.display.scale import CURVES, Scale, scale_values, unknown
from corontools.errors import DataError
from corontools_widgets import codec

__all__ = ["ImagePane", "RadialNoise", "Stroke"]

HERE = pathlib.Path(__file__).parent
TOOLS = ("look", "point", "circle", "annulus", "rectangle", "polygon", "paint")
OVERLAYS = ("rings", "compass", "bar", "star", "marks", "regions", "mask")


@dataclass(frozen=True, eq=False)
class RadialNoise:
    """Noise against the separation from the star, for the read-out.

    Attributes
    ----------
    radius : array_like, shape (n_ring,)
        Separations, px, in order.
    noise : array_like, shape (n_frames, n_ring)
        1-sigma noise in the unit of the images; S/N is the value over it. NaN is not known.
    limit : array_like, shape (n_frames, n_ring), optional
        A detection limit, such as the 5-sigma contrast.
    limit_name : str
        What the read-out calls it.
    """

    radius: ArrayLike
    noise: ArrayLike
    limit: ArrayLike | None = None
    limit_name: str = "5\u03c3 contrast"


@dataclass(frozen=True)
class Stroke:
    """What was painted with the brush between pressing and releasing the button.

    Attributes
    ----------
    frame : int
        Of the cube.
    points : tuple of (float, float)
        0-based (x, y) of the path.
    radius : float
        Of the brush, px.
    erase : bool
        Painted with the eraser.
    """

    frame: int
    points: tuple[tuple[float, float], ...]
    radius: float
    erase: bool

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Pixels (y, x) whose middle is within the radius of the path.

        Examples
        --------
        >>> Stroke(0, ((1.0, 1.0), (3.0, 1.0)), 0.5, False).mask((3, 5))[1]
        array([False,  True,  True,  True, False])
        """
        y, x = np.indices(shape)
        ends = list(zip(self.points, self.points[1:], strict=False)) or [(p, p) for p in self.points]
        painted = np.zeros(shape, bool)
        for (x0, y0), (x1, y1) in ends:
            dx, dy = x1 - x0, y1 - y0
            along = np.clip(((x - x0) * dx + (y - y0) * dy) / ((dx * dx + dy * dy) or 1.0), 0, 1)
            painted |= (x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2 <= self.radius**2
        return painted


class ImagePane(anywidget.AnyWidget):
    """A cube of images with axes on the sky, colour bar and read-out.

    Parameters
    ----------
    cube : array_like, shape (n, y, x)
        Frames; NaN is no data. Large frames are shown as means, and the pane says so.
    names : sequence of str, optional
        One a frame; default "1", "2" ...
    name : str
        What the slider chooses, such as "KL modes".
    sky : Sky, optional
        Star, pixel scale and orientation; default pixels.
    scale : Scale, optional
        Limits, stretch, palette, unit; default those of the first frame shown.
    title : str
        Heading.
    frame : int
        Frame that is shown first.
    noise : RadialNoise, optional
        For S/N and limit in the read-out.

    Attributes
    ----------
    frame, compare : int
        Frame shown, and the one it is compared with; -1 for none.
    shown : list of int
        [] where nothing follows. Set to [frame], it is kept by the browser at the frame that was drawn last, for
        `ipywidgets.jsdlink` with the `curves_subset` of bqplot's lines: they follow without the kernel.
    blink : bool
        The two frames take turns; else they stand side by side.
    stretch, colors : str
        See `Scale`.
    limits : (float, float)
        Values of the first and the last colour.
    automatic : (float, float)
        Limits that Python would choose; where `limits` are these the list of limits says "automatic".
    view : list of float
        Edges [x0, x1, y0, y1] of what is shown, px; [] for all.
    cursor : list of float
        [x, y] of the chosen point, px, or [].
    marks : list of dict
        kind "companion", "star" or "text"; x, y, name, id, and where wanted radius (px) and draggable. While one is
        dragged its done is False, and True when it is released.
    regions : list of dict
        id, name, locked, visible, and kind "point" (x, y), "circle" (x, y, r), "annulus" (x, y, r0, r1, pa0,
        pa1: degrees east of north; a sector where they differ by less than 360), "rectangle" (x0, y0, x1, y1)
        or "polygon" (points); all in px. An annulus that is `fixed` keeps its centre and stays; its radii can be
        dragged.
    rings : list of float
        Radii of circles about the star, arcsec, or px without a pixel scale; [] for round ones.
    overlays : dict of bool
        rings, compass, bar, star, marks, regions, mask.
    group : str
        Panes of the same group share view, cursor and pointer.
    tool : str
        "look", or what the mouse draws: "point", "circle", "annulus", "rectangle", "polygon", "paint".
    tools : list of str
        Those offered to the user.
    status : str
        A few words beside the title, such as "preview".

    Raises
    ------
    DataError
        Names or noise that don't match the cube, a frame that does not exist, limits that are not in order,
        or a name that is not known.

    Examples
    --------
    >>> pane = ImagePane(np.random.default_rng(1).normal(size=(3, 32, 32)), name="KL modes", frame=2)
    >>> pane.stretch = "log"
    >>> pane.close()
    """

    # as text: anywidget would keep every pane for as long as it looks at a file
    _esm = (HERE / "image_pane.js").read_text("utf-8")
    _css = (HERE / "image_pane.css").read_text("utf-8")

    frame = traitlets.Int(0).tag(sync=True)
    compare = traitlets.Int(-1).tag(sync=True)
    shown = traitlets.List(traitlets.Int()).tag(sync=True)
    blink = traitlets.Bool(False).tag(sync=True)
    stretch = traitlets.Unicode("asinh").tag(sync=True)
    limits = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=(0.0, 1.0)).tag(sync=True)
    automatic = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=(0.0, 1.0)).tag(sync=True)
    colors = traitlets.Unicode("inferno").tag(sync=True)
    view = traitlets.List(traitlets.Float()).tag(sync=True)
    cursor = traitlets.List(traitlets.Float()).tag(sync=True)
    marks = traitlets.List(traitlets.Dict()).tag(sync=True)
    regions = traitlets.List(traitlets.Dict()).tag(sync=True)
    rings = traitlets.List(traitlets.Float()).tag(sync=True)
    overlays = traitlets.Dict(default_value=dict.fromkeys(OVERLAYS, True)).tag(sync=True)
    group = traitlets.Unicode("").tag(sync=True)
    tool = traitlets.Unicode("look").tag(sync=True)
    tools = traitlets.List(traitlets.Unicode()).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    name = traitlets.Unicode("").tag(sync=True)
    title = traitlets.Unicode("").tag(sync=True)
    unit = traitlets.Unicode("").tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)
    _cube = traitlets.Dict().tag(sync=True)
    _first = traitlets.Bytes(b"").tag(sync=True)
    _sky = traitlets.Dict().tag(sync=True)
    _palettes = traitlets.Bytes(b"".join(palette(name).tobytes() for name in ANCHORS)).tag(sync=True)
    _palette_names = traitlets.List(traitlets.Unicode(), default_value=list(ANCHORS)).tag(sync=True)
    _noise = traitlets.Bytes(b"").tag(sync=True)
    _noise_of = traitlets.Dict().tag(sync=True)
    _mask = traitlets.Bytes(b"").tag(sync=True)
    _mask_of = traitlets.Dict().tag(sync=True)
    _kernel = traitlets.Bool(True).tag(sync=True)

    def __init__(
        self,
        cube: ArrayLike,
        *,
        names: Sequence[str] | None = None,
        name: str = "frame",
        sky: Sky | None = None,
        scale: Scale | None = None,
        title: str = "",
        frame: int = 0,
        noise: RadialNoise | None = None,
        **traits: Any,
    ) -> None:
        self._images, self._code = codec.plan(cube)
        self._live: dict[int, NDArray[np.float32]] = {}
        self._asked = False
        self._painted = CallbackDispatcher()
        n = len(self._images)
        shape = np.shape(cube)[1:]
        scale = scale or Scale.of(self._images[frame] if 0 <= frame < n else self._images[0])
        super().__init__(
            names=_names(names, n),
            name=name,
            title=title,
            unit=scale.unit,
            limits=scale.limits,
            automatic=scale.limits,
            stretch=scale.kind,
            colors=scale.colors,
            _sky=_sky_state(sky or Sky((shape[0], shape[1]))),
            _cube=_cube_state(self._code, serial=1, first=frame),
            **_noise_state(noise, n),
            **traits,
        )
        self.frame = frame
        self._first = self._absolute(frame)
        self.on_msg(self._answer)

    @property
    def note(self) -> str:
        """How the picture is downsampled ("2048 x 2048 pixels, shown as means of 2 x 2"); "" where it isn't."""
        return self._code.note

    @property
    def cube(self) -> NDArray[np.float32]:
        """The frames as they are shown, (n, y, x), a copy."""
        images = self._images.copy()
        for index, image in self._live.items():
            images[index] = image
        return images

    def set_cube(
        self, cube: ArrayLike, *, noise: RadialNoise | None = None, names: Sequence[str] | None = None
    ) -> None:
        """Show other frames; the visible one is sent at once, the others when the browser asks for them.

        Limits, stretch and view stay. Without names, the names stay where there are as many frames as before.
        """
        self._images, self._code = codec.plan(cube)
        self._live.clear()
        n = len(self._images)
        kept = self.names if len(self.names) == n else None
        index = min(self.frame, n - 1)
        serial = self._cube["serial"] + 1
        with self.hold_sync():
            self._cube = _cube_state(self._code, serial=serial, first=index)
            self._first = self._absolute(index)
            self.names = _names(names or kept, n)
            self.frame = index
            self.compare = min(self.compare, n - 1)
            for key, value in _noise_state(noise, n).items():
                self.set_trait(key, value)

    def set_frame(self, index: int, image: ArrayLike | None) -> None:
        """Show another image in place of one frame, for now; None shows that of the cube again.

        Raises
        ------
        DataError
            The frame does not exist, or the image has not its shape.
        """
        _known_frame(index, len(self._images))
        if image is None:
            self._live.pop(index, None)
        else:
            self._live[index] = codec.reduced_frame(image, self._code)
        self._send_live(index)

    def set_mask(self, mask: ArrayLike | None, *, name: str = "mask") -> None:
        """Tint pixels; None for none.

        Parameters
        ----------
        mask : array_like of bool, shape (y, x) or (n, y, x), optional
            Pixels to tint, in all frames or in each. Where means are shown, a square with one such pixel is tinted.
        name : str
            What the menu calls them.

        Raises
        ------
        DataError
            The mask has not the shape of the images.
        """
        if mask is None:
            self._mask, self._mask_of = b"", {}
            return
        flags = np.asarray(mask, bool)
        rows, columns = self._sky["shape"]
        if flags.shape not in ((rows, columns), (len(self._images), rows, columns)):
            raise DataError(f"a mask should have the shape of the images {(rows, columns)}, found {flags.shape}")
        block = self._code.block
        for axis, size in ((-2, rows), (-1, columns)):
            flags = np.logical_or.reduceat(flags, np.arange(0, size, block), axis=axis) if block > 1 else flags
        bits = np.packbits(flags, bitorder="little")
        with self.hold_sync():
            self._mask = zlib.compress(bits.tobytes(), 6)
            self._mask_of = {"name": name, "each": flags.ndim == 3}

    def on_paint(self, callback: Callable[[Stroke], None], *, remove: bool = False) -> None:
        """Call a function with every `Stroke` of the tool "paint"."""
        self._painted.register_callback(callback, remove=remove)

    def snapshot(self) -> dict[str, Any]:
        """The pane as values that JSON can hold, for a page without a kernel.

        Returns
        -------
        dict
            state: traits by name; buffers: binary traits in base64, by name; frames: the chunk of every frame in
            base64, which answers the message {"type": "need"}.
        """
        cube = self.cube
        encoded = codec.finish(cube, self._code)
        values = {name: getattr(self, name) for name in ImagePane.class_own_traits(sync=True)}
        values["_cube"] = _cube_state(encoded.code, serial=1, first=self.frame)
        values["_first"] = codec.whole_chunk(cube[self.frame], encoded.code)
        values["_kernel"] = False
        buffers = {k: _base64(v) for k, v in values.items() if isinstance(v, bytes)}
        state = {k: v for k, v in values.items() if k not in buffers}
        return {"state": state, "buffers": buffers, "frames": [_base64(c) for c in encoded.chunks]}

    def close(self) -> None:
        """Close the widget in all its places and let go of the frames."""
        self._live.clear()
        self._images = np.empty((0, 1, 1), np.float32)
        self._first = self._mask = self._noise = b""
        if self.comm is not None:
            self.layout.close()
        super().close()

    @traitlets.validate("frame", "compare")
    def _frame_exists(self, proposal: Any) -> int:
        if not (proposal["trait"].name == "compare" and proposal["value"] == -1):
            _known_frame(proposal["value"], len(self._images))
        return proposal["value"]

    @traitlets.validate("stretch", "colors", "tool")
    def _name_known(self, proposal: Any) -> str:
        kind = proposal["trait"].name
        known = {"stretch": tuple(CURVES), "colors": tuple(ANCHORS), "tool": TOOLS}[kind]
        if proposal["value"] not in known:
            raise unknown({"colors": "palette"}.get(kind, kind), proposal["value"], known)
        return proposal["value"]

    @traitlets.validate("limits")
    def _limits_in_order(self, proposal: Any) -> tuple[float, float]:
        scale_values(proposal["value"], "linear", 2)
        return proposal["value"]

    @traitlets.validate("overlays")
    def _overlays_known(self, proposal: Any) -> dict[str, bool]:
        odd = next((name for name in proposal["value"] if name not in OVERLAYS), None)
        if odd is not None:
            raise unknown("overlay", odd, OVERLAYS)
        return {**dict.fromkeys(OVERLAYS, True), **proposal["value"]}

    @traitlets.observe("frame")
    def _prepare_first(self, change: Any) -> None:
        # Until a browser has asked for frames, the one that it will show first is kept ready.
        if not self._asked and self._cube and change["new"] != self._cube["first"]:
            with self.hold_sync():
                self._first = self._absolute(change["new"])
                self._cube = {**self._cube, "first": change["new"]}

    def _absolute(self, index: int) -> bytes:
        return codec.whole_chunk(self._image(index), self._code)

    def _image(self, index: int) -> NDArray[np.float32]:
        return self._live.get(index, self._images[index])

    def _send_live(self, index: int) -> None:
        message = {"type": "frame", "index": index, "serial": self._cube["serial"]}
        self.send(message, [self._absolute(index)] if index in self._live else None)

    def _answer(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        """Answer a message of the browser."""
        kind = message.get("type")
        if kind == "ping":
            self.send({"type": "pong"})
        elif kind == "need":
            self._send_frames(message)
        elif kind == "paint":
            points = tuple((float(x), float(y)) for x, y in message["points"])
            self._painted(Stroke(int(message["frame"]), points, float(message["radius"]), bool(message["erase"])))
            self.send({"type": "painted"})

    def _send_frames(self, message: dict[str, Any]) -> None:
        self._asked = True
        if message["serial"] != self._cube["serial"]:
            return  # the cube has changed meanwhile, and the browser will ask anew
        frames = [i for i in message["frames"] if 0 <= i < len(self._images)]
        chunks = [codec.chunk(self._images, i, self._code) for i in frames]
        self.send({"type": "frames", "serial": message["serial"], "frames": frames}, chunks)
        for index in self._live.keys() & set(frames):
            self._send_live(index)


def _names(names: Sequence[str] | None, n: int) -> list[str]:
    words = [str(i + 1) for i in range(n)] if names is None else [str(name) for name in names]
    if len(words) != n:
        raise DataError(f"{n} frames need {n} names, found {len(words)}")
    return words


def _known_frame(index: int, n: int) -> None:
    if not 0 <= index < n:
        raise DataError(f"frame {index} does not exist; choose one of 0 to {n - 1}")


def _cube_state(code: codec.Code, *, serial: int, first: int) -> dict[str, Any]:
    return {
        "serial": serial,
        "first": first,
        "shape": list(code.shape),
        "step": code.step,
        "relative": code.relative,
        "block": code.block,
        "keyframes": list(code.keyframes),
        "note": code.note,
    }


def _sky_state(sky: Sky) -> dict[str, Any]:
    return {
        "shape": list(sky.shape),
        "pixel_scale": sky.pixel_scale,
        "origin": list(sky.origin),
        "star": sky.center is not None,
        "pa_y": sky.pa_y,
        "parity": sky.parity,
        "north_up": sky.north_up,
    }


def _noise_state(noise: RadialNoise | None, n: int) -> dict[str, Any]:
    """Radius, noise and limit as float32, one after the other, and how many there are."""
    if noise is None:
        return {"_noise": b"", "_noise_of": {}}
    radius, table = np.asarray(noise.radius, np.float32), np.asarray(noise.noise, np.float32)
    limit = np.empty((0, radius.size), np.float32) if noise.limit is None else np.asarray(noise.limit, np.float32)
    if table.shape != (n, radius.size) or limit.shape not in ((0, radius.size), table.shape):
        raise DataError(
            f"noise and limit should have the shape (frames, radii) = {(n, radius.size)}, "
            f"found {table.shape} and {limit.shape}"
        )
    parts = [radius.astype("<f4").tobytes(), table.astype("<f4").tobytes(), limit.astype("<f4").tobytes()]
    names = {"n_ring": radius.size, "limit_name": noise.limit_name if len(limit) else ""}
    return {"_noise": b"".join(parts), "_noise_of": names}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
