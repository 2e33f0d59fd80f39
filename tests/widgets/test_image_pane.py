"""The image pane's side in Python: traits, what it answers the browser, what it refuses."""

from __future__ import annotations

import base64
import gc
import json
import weakref
import zlib
from typing import Any

import numpy as np
import pytest
import traitlets

from corontools.display.overlay import Sky
from corontools.display.picture import palette
from corontools.display.scale import Scale
from corontools.errors import DataError
from corontools_widgets import codec
from corontools_widgets.image_pane import ImagePane, RadialNoise, Stroke

N, SIDE = 12, 24


@pytest.fixture
def cube() -> np.ndarray:
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(SIDE, SIDE)) + 0.1 * rng.normal(size=(N, SIDE, SIDE))
    frames[:, :2, :2] = np.nan
    return frames


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], list[bytes]]]:
    """Messages to the browser, with their buffers."""
    messages: list[tuple[dict[str, Any], list[bytes]]] = []
    monkeypatch.setattr(ImagePane, "send", lambda _, content, buffers=None: messages.append((content, buffers or [])))
    return messages


def tell(pane: ImagePane, **message: Any) -> None:
    """Let the pane receive a message of the browser."""
    pane._handle_custom_msg(message, [])


def picture(pane: ImagePane, chunk: bytes) -> np.ndarray:
    """Image of a chunk that is no difference."""
    code = codec.Code((1, *pane._code.shape[1:]), pane._code.step)
    return codec.decode(codec.Encoded(code, (chunk,)))[0]


def test_the_first_frame_shown_comes_with_the_widget(cube):
    pane = ImagePane(cube, frame=5)
    assert pane._cube["first"] == 5
    np.testing.assert_allclose(picture(pane, pane._first), cube[5], atol=pane._code.step)


def test_it_follows_the_frame_until_the_browser_has_asked(cube, sent):
    pane = ImagePane(cube)
    pane.frame = 3
    assert pane._cube["first"] == 3
    np.testing.assert_allclose(picture(pane, pane._first), cube[3], atol=pane._code.step)
    tell(pane, type="need", frames=[4], serial=1)
    pane.frame = 7
    assert pane._cube["first"] == 3


def test_the_browser_gets_the_chunks_it_asks_for(cube, sent):
    pane = ImagePane(cube)
    tell(pane, type="need", frames=list(range(N)), serial=1)
    (message, chunks), = sent  # fmt: skip
    assert message == {"type": "frames", "serial": 1, "frames": list(range(N))}
    np.testing.assert_allclose(codec.decode(codec.Encoded(pane._code, tuple(chunks))), cube, atol=pane._code.step)


def test_questions_about_an_earlier_cube_are_not_answered(cube, sent):
    pane = ImagePane(cube)
    pane.set_cube(cube + 1)
    tell(pane, type="need", frames=[1], serial=1)
    assert sent == []
    tell(pane, type="need", frames=[1], serial=2)
    assert sent[0][0]["serial"] == 2


def test_it_answers_that_it_is_there(cube, sent):
    tell(ImagePane(cube), type="ping")
    assert sent == [({"type": "pong"}, [])]


def test_another_cube_keeps_limits_and_view_and_shows_a_frame_that_exists(cube):
    pane = ImagePane(cube, frame=10)
    pane.limits, pane.view, pane.compare = (-3.0, 8.0), [2.0, 6.0, 2.0, 6.0], 11
    pane.set_cube(cube[:4])
    assert (pane.frame, pane.compare, pane.names) == (3, 3, ["1", "2", "3", "4"])
    assert (pane.limits, pane.view) == ((-3.0, 8.0), [2.0, 6.0, 2.0, 6.0])
    assert pane._cube["serial"] == 2


def test_a_live_frame_is_sent_and_taken_back(cube, sent):
    pane = ImagePane(cube)
    pane.set_frame(2, cube[2] + 5)
    message, chunks = sent.pop()
    assert message == {"type": "frame", "index": 2, "serial": 1}
    np.testing.assert_allclose(picture(pane, chunks[0]), cube[2] + 5, rtol=1e-3, atol=pane._code.step)
    np.testing.assert_allclose(pane.cube[2], cube[2] + 5, rtol=1e-6)
    pane.set_frame(2, None)
    assert sent.pop() == (message, [])
    np.testing.assert_allclose(pane.cube, cube, rtol=1e-6)


def test_a_second_view_gets_the_live_frame_too(cube, sent):
    pane = ImagePane(cube)
    pane.set_frame(2, cube[2] + 5)
    tell(pane, type="need", frames=[1, 2], serial=1)
    assert [message["type"] for message, _ in sent] == ["frame", "frames", "frame"]


def test_scale_sky_and_palettes_reach_the_browser(cube):
    sky = Sky((SIDE, SIDE), 0.063, (10.0, 12.0), pa_y=0.0)
    pane = ImagePane(cube, sky=sky, scale=Scale((-1.0, 5.0), "log", "magma", "MJy/sr"))
    assert (pane.limits, pane.stretch, pane.colors, pane.unit) == ((-1.0, 5.0), "log", "magma", "MJy/sr")
    assert pane._sky["origin"] == [10.0, 12.0]
    assert pane._sky["north_up"] is True
    index = pane._palette_names.index("magma")
    assert pane._palettes[768 * index : 768 * (index + 1)] == palette("magma").tobytes()


def test_noise_is_sent_as_radius_noise_and_limit(cube):
    radius = np.arange(5.0)
    noise = RadialNoise(radius, np.full((N, 5), 2.0), np.full((N, 5), 3.0))
    numbers = np.frombuffer(ImagePane(cube, noise=noise)._noise, "<f4")
    np.testing.assert_array_equal(numbers, np.concatenate([radius, np.full(5 * N, 2.0), np.full(5 * N, 3.0)]))


@pytest.mark.parametrize("each", [False, True])
def test_a_mask_is_sent_as_bits(cube, each):
    mask = np.random.default_rng(2).random((N, SIDE, SIDE)) < 0.1
    mask = mask if each else mask[0]
    pane = ImagePane(cube)
    pane.set_mask(mask, name="outliers")
    bits = np.frombuffer(zlib.decompress(pane._mask), np.uint8)
    np.testing.assert_array_equal(np.unpackbits(bits, bitorder="little")[: mask.size], mask.ravel())
    assert pane._mask_of == {"name": "outliers", "each": each}
    pane.set_mask(None)
    assert pane._mask == b""


def test_strokes_of_the_brush_are_passed_on(cube):
    pane, strokes = ImagePane(cube), []
    pane.on_paint(strokes.append)
    tell(pane, type="paint", frame=2, points=[[3, 4], [6, 4]], radius=1, erase=True)
    assert strokes == [Stroke(2, ((3.0, 4.0), (6.0, 4.0)), 1.0, True)]
    rows, columns = np.nonzero(strokes[0].mask((SIDE, SIDE)))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 5, 2, 7)


def test_a_dot_of_the_brush_is_a_disc():
    assert Stroke(0, ((3.0, 3.0),), 1.0, False).mask((7, 7)).sum() == 5


def test_a_snapshot_is_json_and_holds_every_frame(cube):
    pane = ImagePane(cube, frame=4, title="</script>")
    pane.set_frame(2, cube[2] + 5)
    shot = json.loads(json.dumps(pane.snapshot()))
    code = codec.Code(
        tuple(shot["state"]["_cube"]["shape"]),
        shot["state"]["_cube"]["step"],
        keyframes=tuple(shot["state"]["_cube"]["keyframes"]),
    )
    chunks = tuple(base64.b64decode(text) for text in shot["frames"])
    np.testing.assert_allclose(codec.decode(codec.Encoded(code, chunks)), pane.cube, rtol=1e-3, atol=code.step)
    first = base64.b64decode(shot["buffers"]["_first"])
    assert first == codec.encode_frame(cube[4], code)
    assert shot["state"]["_kernel"] is False
    assert shot["state"]["title"] == "</script>"
    assert not {"_esm", "_css", "layout", "_model_name"} & shot["state"].keys()


def test_closing_frees_the_frames(cube):
    pane = ImagePane(cube)
    held = weakref.ref(pane._images)
    pane.close()
    assert held() is None
    assert pane._first == b""


def test_a_pane_that_was_closed_is_let_go(cube):
    pane = ImagePane(cube)
    gone = weakref.ref(pane)
    pane.close()
    del pane
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": ["1"]}, "12 names, found 1"),
        ({"frame": 12}, "frame 12 does not exist; choose one of 0 to 11"),
        ({"noise": RadialNoise(np.arange(3.0), np.zeros((2, 3)))}, r"\(12, 3\), found \(2, 3\)"),
        ({"scale": Scale((2.0, 1.0))}, "the lower first"),
        ({"scale": Scale((0.0, 1.0), kind="cubic")}, "stretch 'cubic'"),
        ({"scale": Scale((0.0, 1.0), colors="jet")}, "palette 'jet'"),
        ({"overlays": {"moons": True}}, "overlay 'moons'"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(cube, options, words):
    with pytest.raises(DataError, match=words):
        ImagePane(cube, **options)


def test_traits_refuse_what_does_not_exist(cube):
    pane = ImagePane(cube)
    for name, value in (("frame", 12), ("compare", -2), ("tool", "laser"), ("limits", (1.0, 1.0))):
        with pytest.raises(DataError):
            setattr(pane, name, value)
    with pytest.raises(traitlets.TraitError):
        pane.cursor = "here"
    assert (pane.frame, pane.compare, pane.tool) == (0, -1, "look")


def test_a_mask_or_a_frame_of_another_shape_is_refused(cube):
    pane = ImagePane(cube)
    with pytest.raises(DataError, match=r"\(24, 24\), found \(3, 3\)"):
        pane.set_mask(np.zeros((3, 3)))
    with pytest.raises(DataError, match=r"\(3, 3\)"):
        pane.set_frame(0, np.zeros((3, 3)))
    with pytest.raises(DataError, match="frame 99"):
        pane.set_frame(99, cube[0])


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_empty_and_constant_frames_are_shown(value):
    pane = ImagePane(np.full((1, 8, 8), value))
    assert pane.limits[0] < pane.limits[1]
    np.testing.assert_array_equal(picture(pane, pane._first), np.full((8, 8), value))


def test_large_frames_are_averaged_and_positions_stay_those_of_the_whole_image():
    image = np.random.default_rng(1).normal(size=(1, 30, 2100)).astype(np.float32)
    pane = ImagePane(image)
    assert pane._cube["block"] == 3
    assert pane.note == "2100 x 30 pixels, shown as means of 3 x 3"
    assert pane._sky["shape"] == [30, 2100]
    mask = np.zeros((30, 2100), bool)
    mask[29, 2099] = True
    pane.set_mask(mask)
    bits = np.unpackbits(np.frombuffer(zlib.decompress(pane._mask), np.uint8), bitorder="little")
    assert np.flatnonzero(bits).tolist() == [10 * 700 - 1]


def test_the_javascript_sets_no_markup_and_loads_nothing():
    source = (ImagePane._esm, ImagePane._css)
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "http://", "https://", "import "):
        found = [text.replace("http://www.w3.org/2000/svg", "").count(word) for text in source]
        assert found == [0, 0], word
