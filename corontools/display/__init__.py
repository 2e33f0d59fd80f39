"""Text, HTML and pictures of results: small pure functions, no matplotlib, no widgets."""

from corontools.display import card, figure, page, picture
from corontools.display.card import Picture, html, text
from corontools.display.figure import Mark, Points, Series, Sky
from corontools.display.markup import escape
from corontools.display.page import Section, Table
from corontools.display.picture import Scale, image_uri, scaled_uri
from corontools.display.quick import curve_picture, image_picture, shift_picture

__all__ = [
    "Mark",
    "Picture",
    "Points",
    "Scale",
    "Section",
    "Series",
    "Sky",
    "Table",
    "card",
    "curve_picture",
    "escape",
    "figure",
    "html",
    "image_picture",
    "image_uri",
    "page",
    "picture",
    "scaled_uri",
    "shift_picture",
    "text",
]
