"""The one exception of the package."""

__all__ = ["DataError"]


class DataError(ValueError):
    """What was given can't be used; the message names what was found and the way out.

    The command line prints it as one line and ends with status 1.
    """
