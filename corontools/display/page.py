"""A report as one self-contained HTML page: no script, no request to any network, light and dark."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from corontools.display.card import Picture
from corontools.display.markup import escape
from corontools.errors import DataError

__all__ = ["Section", "Table", "page"]

# Even where a page holds foreign markup, a browser runs and loads nothing but what is inside the file.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
NUMERIC = re.compile("[-+\u2212]?[0-9.,]+([eE][-+]?[0-9]+)?( ?(\u00b1|\\+/-) ?[0-9.eE+-]+)?|nan|inf|\u2014|")
CONTENTS = 4  # sections from which a list of contents helps


@dataclass(frozen=True)
class Table:
    """A table; columns that hold only numbers are aligned to the right.

    Attributes
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequences of str
        Cells, as many a row as there are columns.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of a report, shown in the order of the attributes.

    Attributes
    ----------
    heading : str
        Its title.
    text : str
        Paragraphs, separated by blank lines.
    figures : sequence of str or Picture
        SVG texts made by `figure`, and pictures.
    table : Table, optional
        Numbers.
    code : str
        Shown as it is, such as the calls that made the result.
    note : str
        Small print.
    """

    heading: str
    text: str = ""
    figures: Sequence[str | Picture] = ()
    table: Table | None = None
    code: str = ""
    note: str = ""


def page(title: str, sections: Sequence[Section], *, summary_rows: Sequence[tuple[str, str]] = ()) -> str:
    """One HTML file that can be mailed, archived and printed.

    All words are escaped: a FITS header can't put markup into the page.

    Parameters
    ----------
    title : str
        Heading of the page.
    sections : sequence of Section
        Its parts; four or more get a list of contents.
    summary_rows : sequence of (str, str)
        Names and values shown first.

    Returns
    -------
    str
        A complete HTML document, to be written as UTF-8.

    Raises
    ------
    DataError
        A figure is not an SVG text, or a row of a table has not as many cells as the header.

    Examples
    --------
    >>> page("AU Mic", [Section("Contrast", "5 sigma, corrected for throughput.")])[:15]
    '<!DOCTYPE html>'
    """
    summary = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in summary_rows)
    body = [
        f"<header><h1>{escape(title)}</h1>",
        f'<table class="summary"><tbody>{summary}</tbody></table>' if summary else "",
        "</header>",
        _contents(sections) if len(sections) >= CONTENTS else "",
        *(_section(section, index) for index, section in enumerate(sections, 1)),
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title><style>{_style()}</style>'
    )
    main = "\n".join(part for part in body if part)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{main}\n</main></body></html>\n'


@functools.cache
def _style() -> str:
    return resources.files("corontools.display").joinpath("style.css").read_text("utf-8")


def _contents(sections: Sequence[Section]) -> str:
    items = [f'<li><a href="#s{i}">{escape(s.heading)}</a></li>' for i, s in enumerate(sections, 1)]
    return f'<nav aria-label="Contents"><ol>{"".join(items)}</ol></nav>'


def _section(section: Section, index: int) -> str:
    paragraphs = [f"<p>{escape(text.strip())}</p>" for text in re.split(r"\n\s*\n", section.text) if text.strip()]
    figures = "".join(map(_figure, section.figures))
    parts = [
        f'<section id="s{index}"><h2>{escape(section.heading)}</h2>',
        *paragraphs,
        f'<div class="figures">{figures}</div>' if figures else "",
        _table(section.table) if section.table is not None else "",
        f"<pre>{escape(section.code)}</pre>" if section.code else "",
        f'<p class="note">{escape(section.note)}</p>' if section.note else "",
    ]
    return "".join(parts) + "</section>"


def _figure(figure: str | Picture) -> str:
    if isinstance(figure, Picture):
        alt = escape(figure.alt or figure.caption)
        caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
        return f'<figure><img src="{escape(figure.uri)}" alt="{alt}" width="{int(figure.width)}">{caption}</figure>'
    if not figure.startswith("<svg"):
        raise DataError(
            f"a figure should be SVG text or a Picture, found {figure[:20]!r}...; see corontools.display.figure"
        )
    return f"<figure>{figure}</figure>"


def _table(table: Table) -> str:
    width = len(table.header)
    odd = next((row for row in table.rows if len(row) != width), None)
    if odd is not None:
        raise DataError(f"a row of the table has {len(odd)} cells, the header has {width}")
    columns = range(width)
    numeric = [bool(table.rows) and all(NUMERIC.fullmatch(str(row[i])) for row in table.rows) for i in columns]
    kinds = [' class="number"' if is_number else "" for is_number in numeric]
    head = "".join(f'<th scope="col"{k}>{escape(c)}</th>' for c, k in zip(table.header, kinds, strict=True))
    rows = [
        "<tr>" + "".join(f"<td{k}>{escape(c)}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>"
        for row in table.rows
    ]
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
