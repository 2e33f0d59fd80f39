import numpy as np
import pytest

from corontools import DataError, Zones
from corontools.arrays.radial import radii


def test_annuli_hold_their_radii_and_nothing_else():
    labels = Zones.annuli([3, 8, 15]).labels((41, 37), (17.0, 21.0))
    distance = radii((41, 37), (17.0, 21.0))
    assert ((labels == 1) == ((distance >= 3) & (distance < 8))).all()
    assert ((labels == 2) == ((distance >= 8) & (distance < 15))).all()
    assert set(np.unique(labels)) == {0, 1, 2}


def test_sectors_run_anticlockwise_from_the_top():
    labels = Zones.annuli([1, 9], sectors=4).labels((21, 21), (10.0, 10.0))
    # just left of +y, left of -y, right of -y, right of +y
    assert [labels[15, 8], labels[5, 8], labels[5, 12], labels[15, 12]] == [1, 2, 3, 4]


def test_labels_of_ones_own():
    own = np.zeros((5, 5), int)
    own[2:, 2:] = 3
    assert (Zones.from_labels(own).labels((5, 5), (2, 2)) == own).all()
    with pytest.raises(DataError, match=r"shape \(5, 5\), the images have \(6, 5\)"):
        Zones.from_labels(own).labels((6, 5), (2, 2))


@pytest.mark.parametrize("edges", [[3], [5, 5], [8, 3], [-1, 4]])
def test_edges_must_increase(edges):
    with pytest.raises(DataError, match="should increase"):
        Zones.annuli(edges)


def test_empty_labels_and_sectors_are_refused():
    with pytest.raises(DataError, match="not all 0"):
        Zones.from_labels(np.zeros((4, 4), int))
    with pytest.raises(DataError, match="at least one, found 0"):
        Zones.annuli([0, 4], sectors=0)


def test_code_makes_the_same_zones_again():
    zones = Zones.annuli([0, 4.5, 8], sectors=3)
    again = eval(zones.code)  # our own text
    assert (again.labels((20, 20), (9, 9)) == zones.labels((20, 20), (9, 9))).all()


def test_sectors_begin_where_they_are_told():
    labels = Zones.annuli([0, 20], sectors=2, start=90).labels((21, 21), (10.0, 10.0))
    # anticlockwise from +y by 90 degrees is -x: the first sector is the lower half
    assert labels[3, 10] == 1
    assert labels[17, 10] == 2
    assert Zones.annuli([0, 20], sectors=2, start=90).code == "Zones.annuli([0.0, 20.0], sectors=2, start=90)"
    with pytest.raises(DataError, match="degrees, found nan"):
        Zones.annuli([0, 20], start=float("nan"))
