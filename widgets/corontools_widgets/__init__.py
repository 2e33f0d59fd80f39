"""Views of corontools results; users import them from `corontools.widgets`."""
