"""Views of results in a notebook; a facade of `corontools_widgets`."""

from corontools_widgets import *  # noqa: F403
