"""Arrays as compiled functions take them: of few types, since each combination of types is compiled by itself."""

from __future__ import annotations

import numpy as np

__all__ = ["argument"]


def argument(array: np.ndarray, kind: type) -> np.ndarray:
    """Contiguous values of a type that can't be written to, without a copy where they are so already.

    The data of exposures can't be changed and new arrays can, which a compiled function takes for two types.

    Examples
    --------
    >>> one = np.zeros(3)
    >>> argument(one, float).flags.writeable, one.flags.writeable
    (False, True)
    """
    view: np.ndarray = np.ascontiguousarray(array, kind).view()
    view.flags.writeable = False
    return view
