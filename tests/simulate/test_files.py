"""Files of a simulation: the form of real `calints` and `psfmask` files."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from corontools import simulate
from corontools.association import Association
from corontools.exposure import Exposure

DATA = Path(os.environ.get("CORONTOOLS_DATA", Path(__file__).parents[3] / "shared" / "data")) / "aumic_f444w"
REAL = DATA / "jw01184001001_03106_00001_nrcalong_calints.fits"
needs_real = pytest.mark.skipif(not REAL.exists(), reason="the real exposures are not here (CORONTOOLS_DATA)")
ORDER = ["PRIMARY", "SCI", "ERR", "DQ", "AREA", "INT_TIMES", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"]


@pytest.fixture(scope="module")
def sim():
    return simulate.tiny()


@pytest.fixture(scope="module")
def path(sim, tmp_path_factory):
    return sim.write(tmp_path_factory.mktemp("simulated") / "new")


def test_the_association_leads_to_all_exposures(sim, path):
    asn = Association.read(path)
    assert [p.name for p in asn.science_paths] == [
        "jw09999001001_03106_00001_nrcalong_calints.fits",
        "jw09999002001_03106_00001_nrcalong_calints.fits",
    ]
    assert len(asn.reference_paths) == 5
    assert json.loads(path.read_text())["asn_type"] == "coron3"
    np.testing.assert_array_equal(asn.psfmask.data, sim.psfmask.data)


def test_what_is_read_is_what_was_simulated(sim, path):
    asn = Association.read(path)
    made = (*sim.science, *sim.references)
    for exposure, expected in zip((*asn.science, *asn.references), made, strict=True):
        np.testing.assert_array_equal(exposure.data, expected.data)
        np.testing.assert_array_equal(exposure.err, expected.err)
        np.testing.assert_array_equal(exposure.dq, expected.dq)
        for name, variance in expected.variances.items():
            np.testing.assert_array_equal(exposure.variances[name], variance)
        assert exposure.meta == expected.meta
        assert exposure.center == expected.center
        np.testing.assert_allclose(exposure.wcs.wcs.cd, expected.wcs.wcs.cd)


def test_extensions_have_the_order_and_types_of_the_pipeline(path):
    with fits.open(Association.read(path).science_paths[0]) as hdus:
        assert [h.name for h in hdus] == ORDER
        assert hdus["DQ"].data.dtype == np.uint32
        for name in set(ORDER) - {"PRIMARY", "DQ", "INT_TIMES"}:
            assert hdus[name].header["BITPIX"] == -32
        times = hdus["INT_TIMES"].data
        assert list(times["integration_number"]) == [1, 2]
        assert times["int_start_MJD_UTC"][0] == hdus[0].header["EXPSTART"]
        assert times["int_end_MJD_UTC"][-1] == pytest.approx(hdus[0].header["EXPEND"], abs=1e-9)


def test_files_are_valid_data_models(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the import only
        datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    asn = Association.read(path)
    for file in (asn.science_paths[0], asn.reference_paths[3]):
        with datamodels.open(file) as model:
            assert type(model).__name__ == "CubeModel"
            model.validate()
            assert model.shape == (2, 64, 64)
            assert len(model.int_times) == 2
            assert model.meta.exposure.psf_reference == (file in asn.reference_paths)


@pytest.mark.real
@needs_real
def test_keywords_and_extensions_are_among_the_real_ones(path):
    ours = fits.open(Association.read(path).science_paths[0])
    real = fits.open(REAL)
    with ours, real:
        made_up = {"DATE-AVG", "SMGRDPAT"}  # in other NIRCam files
        assert set(ours[0].header) - set(real[0].header) <= made_up
        assert set(ours["SCI"].header) <= set(real["SCI"].header) | {"EXTVER"}
        assert {h.name for h in ours} <= {h.name for h in real}
        assert ours["INT_TIMES"].columns.names == real["INT_TIMES"].columns.names
        assert ours["INT_TIMES"].columns.formats == real["INT_TIMES"].columns.formats
        for key in ("INSTRUME", "DETECTOR", "CHANNEL", "MODULE", "FILTER", "PUPIL", "CORONMSK", "EXP_TYPE", "APERNAME"):
            assert ours[0].header[key] == real[0].header[key]
        for key in ("BUNIT", "PHOTMJSR", "PIXAR_SR", "PIXAR_A2", "VPARITY", "V3I_YANG"):
            assert ours["SCI"].header[key] == pytest.approx(real["SCI"].header[key]) or key == "BUNIT"


@pytest.mark.real
@needs_real
def test_the_matrix_of_the_sky_is_that_of_a_real_exposure():
    real = Exposure.read(REAL)
    ours = simulate.coronagraph(n_int=1, n_dither=1, rolls=(real.meta.roll,), wavefront=simulate.Wavefront(n_wave=1))
    cd = ours.science[0].wcs.wcs.cd
    assert ours.science[0].center == real.center
    np.testing.assert_allclose(cd, real.wcs.wcs.cd, atol=0.02 * np.abs(cd).max())  # real pixels are 1 % oblong


def test_existing_files_are_kept_unless_overwriting(sim, path):
    before = path.stat().st_mtime_ns
    with pytest.raises(FileExistsError):
        sim.write(path.parent)
    assert path.stat().st_mtime_ns == before
    assert sim.write(path.parent, overwrite=True) == path
