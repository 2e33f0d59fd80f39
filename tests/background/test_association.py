"""What association files and headers say of backgrounds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from corontools import Exposure
from corontools.background import BackgroundAssociation
from corontools.background.association import catalog_of
from corontools.errors import DataError


@pytest.fixture
def write(tmp_path):
    """Function that writes an association of members (kind, name), whose files are there but empty."""

    def make(*members, missing=()):
        for _, name in members:
            if name not in missing:
                (tmp_path / name).touch()
        listed = [{"exptype": kind, "expname": name} for kind, name in members]
        path = tmp_path / "bkg_sub_asn.json"
        path.write_text(json.dumps({"products": [{"name": "wfss_exp_001", "members": listed}]}))
        return path

    return make


def test_members_are_told_by_their_kind(write, tmp_path):
    path = write(("science", "s.fits"), ("background", "b1.fits"), ("sourcecat", "c.ecsv"), ("background", "b2.fits"))
    asn = BackgroundAssociation.read(path)
    assert asn.product == "wfss_exp_001"
    assert asn.science_paths == (tmp_path / "s.fits",)
    assert asn.background_paths == (tmp_path / "b1.fits", tmp_path / "b2.fits")
    assert asn.catalog == tmp_path / "c.ecsv"
    assert "b1.fits, b2.fits" in repr(asn)
    assert "c.ecsv" in asn._repr_html_()


def test_backgrounds_and_catalogue_may_lack(write):
    asn = BackgroundAssociation.read(write(("science", "s.fits")))
    assert (asn.background_paths, asn.catalog) == ((), None)


def test_wrong_associations_say_why(write):
    with pytest.raises(DataError, match=r"no 'science' member \(found: background x1\)"):
        BackgroundAssociation.read(write(("background", "b.fits")))
    lacking = write(("science", "s.fits"), ("sourcecat", "c.ecsv"), missing=("s.fits", "c.ecsv"))
    with pytest.raises(DataError, match=r"2 member\(s\) missing: .*s.fits, .*c.ecsv"):
        BackgroundAssociation.read(lacking)
    with pytest.raises(DataError, match="2 'sourcecat' members; keep one"):
        BackgroundAssociation.read(write(("science", "s.fits"), ("sourcecat", "c.ecsv"), ("sourcecat", "d.ecsv")))


def test_the_header_may_name_the_catalogue(meta, tmp_path):
    def saved(**cards):
        return Exposure(np.ones((4, 4)), meta=meta(**cards)).save(tmp_path / "s.fits", overwrite=True)

    assert catalog_of(saved()) is None
    assert catalog_of(saved(SCATFILE="N/A")) is None
    (tmp_path / "c.ecsv").touch()
    assert catalog_of(saved(SCATFILE="c.ecsv")) == tmp_path / "c.ecsv"
    with pytest.raises(DataError, match=r"its source catalogue 'd.ecsv' \(SCATFILE\) is not beside it"):
        catalog_of(saved(SCATFILE="d.ecsv"))
    for name in ("../c.ecsv", "/etc/passwd", "a\\b.ecsv", ".."):
        with pytest.raises(DataError, match="name of a file beside it, without folders"):
            catalog_of(saved(SCATFILE=name))
