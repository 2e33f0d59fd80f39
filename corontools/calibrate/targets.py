"""Sources to measure: which pixels are theirs, and what they were taken from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from corontools.arrays.stamps import Footprints, box_rows
from corontools.calibrate.detections import Detections

__all__ = ["Sources", "highest_peaks"]


@dataclass(frozen=True, eq=False)
class Sources:
    """Sources of a frame before they are measured.

    Attributes
    ----------
    table : Table
        One row per source: `id` (that of the footprint, children of blends follow), `parent` (id of the blend that
        the source was taken from, 0 for none), `footprint` (label), the pixel `x`, `y` of the peak, its `significance`,
        `sky_source`, `deblend_nChild`, `deblend_nPeaks`, `deblend_parentNPeaks`, and whatever a deblender adds.
    footprints : Footprints
        Pixels of each source, and its part of them.

    Examples
    --------
    >>> labels = np.array([[0, 1, 1], [0, 0, 1]], np.int32)
    >>> footprints = Table({"id": [1], "n_peaks": [1], "sky_source": [False]})
    >>> peaks = Table({"id": [1], "footprint": [1], "x": [2], "y": [0], "significance": [7.0]})
    >>> sources = Sources.of(Detections(labels, footprints, peaks, None))
    >>> len(sources), sources.share(0)
    (1, (0, 1, array([[1., 1.], [0., 1.]])))
    """

    table: Table
    footprints: Footprints

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def of(cls, detections: Detections) -> Sources:
        """One source per footprint, at its highest peak."""
        peaks, first = detections.peaks, highest_peaks(detections)
        label = np.asarray(peaks["footprint"], np.int64)[first]
        n_peaks = np.bincount(np.asarray(peaks["footprint"], np.int64), minlength=label.max(initial=0) + 1)[label]
        sky = dict(zip(detections.footprints["id"], detections.footprints["sky_source"], strict=True))
        table = Table(
            {
                "id": label,
                "parent": np.zeros(len(label), np.int64),
                "footprint": label.astype(np.int32),
                "x": np.asarray(peaks["x"], np.int64)[first],
                "y": np.asarray(peaks["y"], np.int64)[first],
                "significance": np.asarray(peaks["significance"], float)[first],
                "sky_source": np.array([bool(sky[one]) for one in label], bool),
                "deblend_nChild": np.zeros(len(label), np.int32),
                "deblend_nPeaks": n_peaks.astype(np.int32),
                "deblend_parentNPeaks": np.zeros(len(label), np.int32),
            }
        )
        return cls(table, Footprints(detections.labels, box_rows(detections.labels, label), np.zeros(0, np.float32)))

    def share(self, row: int) -> tuple[int, int, np.ndarray]:
        """Part, 0 to 1, that a source has of the pixels of its box: first y, first x and (y, x)."""
        label, start, y0, y1, x0, x1 = (int(value) for value in self.footprints.rows[row])
        inside = self.footprints.labels[y0:y1, x0:x1] == label
        if start < 0:
            return y0, x0, inside.astype(float)
        part = self.footprints.shares[start : start + inside.size].reshape(inside.shape)
        return y0, x0, np.where(inside, part, 0.0)

    def image(self, row: int, pixels: np.ndarray) -> tuple[int, int, np.ndarray]:
        """Pixels of a source without its neighbours: first y, first x and (y, x), NaN where it has none."""
        y0, x0, part = self.share(row)
        cut = np.asarray(pixels[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]], float)
        return y0, x0, np.where(part > 0, part * cut, np.nan)


def highest_peaks(detections: Detections) -> np.ndarray:
    """Rows of the highest peak of each footprint, by footprint."""
    label = np.asarray(detections.peaks["footprint"], np.int64)
    height = np.asarray(detections.peaks["significance"], float)
    order = np.lexsort((-height, label))
    return order[np.unique(label[order], return_index=True)[1]]
