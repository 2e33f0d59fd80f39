"""Text that is safe in HTML and SVG, and data URIs."""

from __future__ import annotations

import base64
import html
import re

__all__ = ["data_uri", "escape", "visible"]

# Neither XML 1.0 nor a terminal wants these: control characters, lone surrogates, non-characters, and the
# marks that reverse the direction of what follows.
HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def visible(text: object) -> str:
    r"""Text with control characters replaced by U+FFFD; tabs and line feeds stay.

    Examples
    --------
    >>> visible("bright\x1b[31m star")
    'bright�[31m star'
    """
    return HIDDEN.sub("\ufffd", str(text).replace("\r\n", "\n").replace("\r", "\n"))


def escape(text: object) -> str:
    """Text as it may stand in HTML or SVG, between tags or inside a quoted attribute.

    Examples
    --------
    >>> escape("<script> & 'AU Mic'")
    '&lt;script&gt; &amp; &#x27;AU Mic&#x27;'
    """
    return html.escape(visible(text), quote=True)


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of media type `kind` as a URI that needs no file.

    Examples
    --------
    >>> data_uri(b"<svg/>", "image/svg+xml")
    'data:image/svg+xml;base64,PHN2Zy8+'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
