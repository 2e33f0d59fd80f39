"""The card of a result: as plain text for a terminal, as HTML for a notebook.

The HTML holds no script, no style sheet and no inline SVG, which notebooks remove as long as they are not
trusted. It names no colours, so it reads well on light and dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corontools.display.markup import escape, visible

__all__ = ["Picture", "html", "text"]

# Only properties that the sanitizer of notebooks lets pass. Notebooks stripe tables and align them to the
# right; the style of a cell undoes that in any theme.
IMAGE = "display:block;max-width:100%;height:auto"
NO_DATA = ";background-color:#d4d4d4"  # seen through the transparent pixels, on dark pages as well
CAPTION = "font-size:90%;padding:2px 0"
CELL = "border:0;padding:1px 18px 1px 0;text-align:left;vertical-align:top;font-weight:normal"
# characters of a call in a card of plain text
LONGEST = 400
CODE = "font-family:monospace;font-size:90%;white-space:pre-wrap;margin:4px 0 0 0;padding:0"


@dataclass(frozen=True)
class Picture:
    """A picture on a card.

    Attributes
    ----------
    uri : str
        Data URI of the image (`picture.image_uri`, `figure.uri`).
    caption : str
        One line below the picture.
    alt : str
        What the picture shows, for those who can't see it; the caption when empty.
    width : int
        CSS pixels.
    """

    uri: str
    caption: str = ""
    alt: str = ""
    width: int = 240


def text(title: str, rows: Sequence[tuple[str, str]], chain: Sequence[str] = ()) -> str:
    """Card as plain text: the title, aligned rows and the calls that made the result.

    Parameters
    ----------
    title : str
        First line.
    rows : sequence of (str, str)
        Name and value; a value of several lines is kept aligned.
    chain : sequence of str
        One Python call an entry, first call first; very long ones are shortened.

    Examples
    --------
    >>> rows = [("modes", "20"), ("residual", "3.01 MJy/sr")]
    >>> print(text("KlipResult  AU Mic F444W", rows, ["stack.klip(modes=20)"]))
    KlipResult  AU Mic F444W
      modes     20
      residual  3.01 MJy/sr
      made by
        stack.klip(modes=20)
    """
    names = [_one_line(name) for name, _ in rows]
    width = max(map(len, names), default=0)
    gap = "\n" + " " * (width + 4)
    lines = [_one_line(title)]
    for name, (_, value) in zip(names, rows, strict=True):
        lines.append(f"  {name:<{width}}  {gap.join(visible(value).splitlines())}".rstrip())
    if chain:
        lines.append("  made by")
        lines += ["    " + "\n      ".join(visible(_shortened(call)).splitlines()) for call in chain]
    return "\n".join(lines)


def html(
    title: str,
    rows: Sequence[tuple[str, str]],
    *,
    pictures: Sequence[Picture] = (),
    chain: Sequence[str] = (),
) -> str:
    """Card as HTML: title, pictures side by side, the rows, and the calls behind a fold.

    All text is escaped, so a FITS header can't put markup into the page.

    Parameters
    ----------
    title : str
        Heading.
    rows : sequence of (str, str)
        Name and value.
    pictures : sequence of Picture
        Drawn side by side, wrapped where the page is narrow.
    chain : sequence of str
        One Python call an entry, first call first.

    Returns
    -------
    str
        One `<div>`.

    Examples
    --------
    >>> html("Exposure", [("target", "<AU Mic>")])
    '<div ...Exposure...<table...&lt;AU Mic&gt;...</table></div>'
    """
    heading = f'<div style="font-weight:bold;margin:0 0 6px 0">{escape(title)}</div>'
    shown = "".join(_figure(picture) for picture in pictures)
    parts = [heading, f"<div>{shown}</div>" if shown else "", _table(rows), _fold(chain)]
    return f'<div style="margin:4px 0;line-height:1.4">{"".join(parts)}</div>'


def _shortened(call: str) -> str:
    """A call that names much that is in memory is told by its begin and end; the result's `code` has all of it."""
    return call if len(call) <= LONGEST else f"{call[: LONGEST // 2]} ... {call[-LONGEST // 4 :]}"


def _one_line(value: str) -> str:
    return " ".join(visible(value).split("\n"))


def _figure(picture: Picture) -> str:
    width = int(picture.width)
    alt = escape(picture.alt or picture.caption)
    style = f"display:inline-block;vertical-align:top;margin:0 12px 8px 0;width:{width}px;max-width:100%"
    ground = NO_DATA if picture.uri.startswith("data:image/png") else ""
    image = f'<img src="{escape(picture.uri)}" alt="{alt}" width="{width}" style="{IMAGE}{ground}">'
    caption = f'<figcaption style="{CAPTION}">{escape(picture.caption)}</figcaption>' if picture.caption else ""
    return f'<figure style="{style}">{image}{caption}</figure>'


def _table(rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    body = "".join(
        f'<tr style="background:transparent"><th style="{CELL};white-space:nowrap">{escape(name)}</th>'
        f'<td style="{CELL};white-space:pre-wrap">{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f'<table style="border-collapse:collapse;border:0;margin:0"><tbody>{body}</tbody></table>'


def _fold(chain: Sequence[str]) -> str:
    if not chain:
        return ""
    calls = escape("\n".join(chain))
    summary = '<summary style="cursor:pointer">made by</summary>'
    return f'<details style="margin:4px 0 0 0">{summary}<pre style="{CODE}">{calls}</pre></details>'
