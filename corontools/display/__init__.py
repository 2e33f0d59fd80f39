"""Text, HTML and pictures of results: small pure functions, no matplotlib, no widgets."""

from corontools.display import card, picture
from corontools.display.card import Picture
from corontools.display.markup import escape
from corontools.display.picture import image_uri

__all__ = ["Picture", "card", "escape", "image_uri", "picture"]
