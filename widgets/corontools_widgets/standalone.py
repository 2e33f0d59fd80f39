"""A view as one HTML file that needs no kernel and no network: image, curves, words, code.

The image is drawn by the JavaScript of `ImagePane`, which here talks to a stand-in for the notebook's model.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from corontools.display.markup import escape, visible
from corontools.errors import DataError
from corontools_widgets.panels import CurveFamily, CurveSet, Panel, Quantity, Trend

__all__ = ["CurveFamily", "CurveSet", "Panel", "Quantity", "Trend", "page"]

IMAGE = "image_pane.js"
MODULES = (IMAGE, "ticks.js", "axes.js", "curve_pane.js")
IMPORT = re.compile(r"""^import (?P<names>\w+|\{[^}]*\}) from "\./(?P<file>\w+\.js)";$""", re.M)
EXPORT = re.compile(r"^export ((?:async )?(?:function|const|let|class) )(\w+)", re.M)
DEFAULT = re.compile(r"^export default \{([^}]*)\};?$", re.M)
# Base 85 with none of the characters that end a script element or a string of JSON.
DENSE = bytes.maketrans(b"<>&", b",.:")
# The digests allow the page's own scripts and nothing else, so markup that came in with the data would stay dead.
POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def page(
    title: str,
    *,
    pane: Mapping[str, Any] | None,
    curves: Sequence[Panel] = (),
    text: str | Sequence[str] = "",
    code: str | Sequence[str] = "",
    chain: Sequence[str] = (),
) -> str:
    """One HTML file that shows a view without a kernel and asks nothing of any network.

    Frame slider, stretch, read-out and curves work in it; a content security policy keeps out all scripts but
    its own. Every word is put in as text: a FITS header can't put markup into the page.

    Parameters
    ----------
    title : str
        Heading.
    pane : mapping or None
        `ImagePane.snapshot()`; None for curves alone.
    curves : sequence of CurveFamily, CurveSet or Trend
        Drawn beside the image, the current frame in front or marked.
    text : str or sequence of str
        The picture in words, for those who can't see it: one text (paragraphs are separated by blank lines), or
        one for each frame.
    code : str or sequence of str
        Python that gives what is shown, offered for copying: one for all, or one for each frame.
    chain : sequence of str
        The calls that made the result, first call first.

    Returns
    -------
    str
        A complete HTML document, to be written as UTF-8.

    Raises
    ------
    DataError
        Curves whose parts don't match each other, or that are not as many as the frames.

    Examples
    --------
    >>> curve = CurveFamily([0.5, 1.0], [[1e-4, 2e-5], [8e-5, 1e-5]], names=["1", "2"])
    >>> page("AU Mic", pane=None, curves=[curve], code="klip.at(2)")[:15]
    '<!DOCTYPE html>'
    """
    state: Mapping[str, Any] = {"frame": 0, "names": _names(curves), "name": ""} if pane is None else pane["state"]
    data: dict[str, Any] = {
        "pane": {"state": state} if pane is None else _denser(pane),
        "image": pane is not None,
        "curves": [_spec(curve, None if pane is None else len(pane["frames"])) for curve in curves],
        "code": [code] if isinstance(code, str) else list(code),
        "words": [] if isinstance(text, str) else list(text),
    }
    body = [
        f"<h1>{escape(title)}</h1>",
        _view(pane is not None, bool(curves)),
        '<div class="ct-more">',
        _words(text, state["frame"]),
        _code(_at(data["code"], state["frame"])),
        _folds(data["curves"]),
        _chain(chain),
        "</div>",
    ]
    return _document(title, "\n".join(part for part in body if part), _json(data), image=pane is not None)


def _spec(curve: Panel, n_frames: int | None) -> dict[str, Any]:
    spec = curve.spec()
    found = {"family": len(spec.get("y", ())), "trend": len(spec.get("x", ()))}.get(spec["kind"], n_frames)
    if n_frames is not None and found != n_frames:
        raise DataError(
            f"{curve.title or curve.up.name!r} should hold one entry for each of {n_frames} frames, found {found}"
        )
    return spec


def _names(curves: Sequence[Panel]) -> list[str]:
    """Names of the curves of the first family, which a slider chooses from where there is no image."""
    family = next((curve for curve in curves if isinstance(curve, CurveFamily)), None)
    if family is None:
        return []
    return list(family.names) or [str(i + 1) for i in range(len(np.atleast_2d(family.y)))]


def _at(words: Sequence[str], frame: int) -> str:
    """Those of a frame, or the last."""
    return words[min(frame, len(words) - 1)] if words else ""


def _view(image: bool, curves: bool) -> str:
    kind = "ct-plain" if not image else "ct-both" if curves else ""
    shown = f'<div id="ct-image"{" class=ct-cube" if image else ""}></div>'
    noscript = "<noscript><p>The picture needs JavaScript, which is switched off here.</p></noscript>"
    return f'{noscript}<div class="ct-view {kind}">{shown}<div id="ct-curves"></div></div>'


def _words(text: str | Sequence[str], frame: int) -> str:
    heading = "<h2>In words</h2>"
    if not isinstance(text, str):
        return f'{heading}<p id="ct-words" aria-live="polite">{escape(_at(text, frame))}</p>' if text else ""
    paragraphs = [f"<p>{escape(part.strip())}</p>" for part in re.split(r"\n\s*\n", text) if part.strip()]
    return heading + "".join(paragraphs) if paragraphs else ""


def _code(code: str) -> str:
    if not code:
        return ""
    button = '<button type="button" id="ct-copy" hidden>Copy as code</button>'
    said = '<span id="ct-copied" role="status"></span>'
    return f'<h2>As code</h2><pre id="ct-code-text">{escape(code)}</pre>{button}{said}'


def _folds(specs: Sequence[Mapping[str, Any]]) -> str:
    """Tables of the curves, filled when they are unfolded."""
    folds = [
        f'<details data-curve="{index}"><summary>Values: {escape(spec["title"] or spec["y_label"])}</summary></details>'
        for index, spec in enumerate(specs)
        if spec["kind"] == "family"
    ]
    return "".join(folds)


def _chain(chain: Sequence[str]) -> str:
    if not chain:
        return ""
    calls = escape("\n".join(chain))
    return f"<details><summary>Made by</summary><pre>{calls}</pre></details>"


def _document(title: str, body: str, data: str, *, image: bool) -> str:
    script = _script(image)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = POLICY.format(scripts=f"'sha256-{digest}'")
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title><style>{_style(image)}</style>'
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main>\n'
        f'<script type="application/json" id="ct-data">{data}</script>\n<script>{script}</script></body></html>\n'
    )


def _source(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


@functools.cache
def _style(image: bool) -> str:
    return _source("standalone.css") + (_source("image_pane.css") if image else "")


@functools.cache
def _script(image: bool) -> str:
    """The modules, each in a function of its own, and what joins them."""
    sources = {file: _module(_source(file)) if image or file != IMAGE else "null" for file in MODULES}
    modules = "".join(f"const {_name(file)} = {source};\n" for file, source in sources.items())
    script = f'"use strict";\n{modules}{_unlinked(_source("standalone.js"))}\nstart();\n'
    odd = re.search(r"</script|<!--|^(?:im|ex)port\b.*", script, re.I | re.M)
    if odd:
        raise DataError(f"the page's own JavaScript holds {odd[0]!r}, which a single script can't")
    return script


def _name(file: str) -> str:
    return "_" + file.removesuffix(".js")


def _unlinked(source: str) -> str:
    """Module source whose imports are taken from the functions that stand before it."""
    return IMPORT.sub(lambda m: f"const {m['names'].replace(' as ', ': ')} = {_name(m['file'])};", source)


def _module(source: str) -> str:
    r"""An ES module as an expression, because a file opened from disk may not import others.

    Examples
    --------
    >>> _module("export function render() {}\nexport default { render };")
    '(() => {\nfunction render() {}\n\nreturn { render };\n})()'
    """
    names = EXPORT.findall(source)
    inside = EXPORT.sub(r"\1\2", DEFAULT.sub("", _unlinked(source)))
    default = DEFAULT.search(source)
    given = ", ".join(dict.fromkeys([name for _, name in names] + (re.findall(r"\w+", default[1]) if default else [])))
    return f"(() => {{\n{inside.rstrip()}\n\nreturn {{ {given} }};\n}})()"


def _denser(pane: Mapping[str, Any]) -> dict[str, Any]:
    """Snapshot whose buffers and frames are in base 85, 6 % shorter than base 64."""
    buffers = {name: _base85(text) for name, text in pane["buffers"].items()}
    return {"state": pane["state"], "buffers": buffers, "frames": [_base85(text) for text in pane["frames"]]}


def _base85(text: str) -> str:
    """Base 64 as base 85.

    Examples
    --------
    >>> _base85(base64.b64encode(b"corontools").decode())
    'V{dYAZgg*NY;y'
    """
    return base64.b85encode(base64.b64decode(text)).translate(DENSE).decode("ascii")


def _json(data: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or starts another."""
    text = json.dumps(_plain(data), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: Any) -> Any:
    """The value with its words made visible, arrays as lists, bytes as base64 and None where a number is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return visible(value) if isinstance(value, str) else value
