"""Options of the calibration: saved, loaded, changed, printed."""

import pytest

from corontools import DataError
from corontools.calibrate import Plane, Steps
from corontools.calibrate.adaptive import AdaptiveDetector
from corontools.calibrate.background import BackgroundFitter
from corontools.calibrate.color import gaia_dr2_to_sdss
from corontools.calibrate.detect import SourceDetector
from corontools.calibrate.psffit import PSFFitter
from corontools.calibrate.select import StarSelector
from corontools.calibrate.wcsfit import SipFitter


def test_what_is_saved_is_read_again(tmp_path):
    steps = Steps(star_selector=StarSelector(min_snr=30.0, bad_flags=("a", "b")), background=BackgroundFitter(order=3))
    path = steps.save(tmp_path / "steps.toml")
    again = Steps.read(path)
    assert again == steps
    assert again.background.ignored == BackgroundFitter().ignored
    assert isinstance(again.defects.planes, Plane)
    assert "min_snr = 30.0" in path.read_text()
    assert str(steps) == path.read_text()


def test_only_what_differs_is_in_the_code():
    assert Steps().changes() == {}
    steps = Steps.of({"psf_fitter": {"order": 1}, "defects": {"planes": ["BAD", "SAT"]}})
    assert steps.changes() == {"psf_fitter": {"order": 1}, "defects": {"planes": ["BAD", "SAT"]}}
    assert Steps.of(steps.changes()) == steps
    assert steps.code == "Steps.of({'defects': {'planes': ['BAD', 'SAT']}, 'psf_fitter': {'order': 1}})"


def test_every_option_has_a_word_on_it():
    """The docstring of each step names all of its options."""
    for name in Steps.__dataclass_fields__:
        step = getattr(Steps(), name)
        for option in type(step).__dataclass_fields__:
            assert option in (type(step).__doc__ or ""), f"{name}.{option}"


def test_objects_of_ones_own_take_the_place_of_a_step():
    class Mine:
        pass

    steps = Steps().with_(psf_fitter=Mine())
    assert isinstance(steps.psf_fitter, Mine)
    with pytest.raises(DataError, match=r"psf_fitter is .*Mine; only steps of corontools can be saved"):
        steps.save("nowhere.toml")
    assert "Mine object" in steps.code
    assert isinstance(Steps().with_(psf_fitter=PSFFitter(order=0)).psf_fitter, PSFFitter)


def test_a_file_that_is_no_toml_is_told(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[star_selector\n")
    with pytest.raises(DataError, match=r"a\.toml can't be read as options"):
        Steps.read(path)
    path.write_text("[star_selector]\nmin = 3\n")
    with pytest.raises(DataError, match=r"a\.toml: steps\.star_selector has no min; it has flux, min_snr"):
        Steps.read(path)
    with pytest.raises(DataError, match="can't be read as options"):
        Steps.read(tmp_path / "none.toml")


def test_whole_numbers_do_for_real_ones():
    assert isinstance(Steps.of({"star_selector": {"min_snr": 30}}).star_selector.min_snr, float)
    with pytest.raises(DataError, match="should be bool"):
        Steps.of({"background": {"weighted": 1}})


def test_steps_that_are_not_the_default_ones_go_by_their_name(tmp_path):
    steps = Steps.of(
        {
            "psf_detection": {"type": "AdaptiveDetector", "detector": {"threshold": 8.0}},
            "astrometry": {"fitter": {"type": "SipFitter", "order": 2}, "matcher": {"type": "NearestMatcher"}},
        }
    ).with_(photometry={"color_term": gaia_dr2_to_sdss("r")})
    assert steps.psf_detection == AdaptiveDetector(SourceDetector(threshold=8.0))
    assert steps.astrometry.fitter == SipFitter(order=2)
    again = Steps.read(steps.save(tmp_path / "a.toml"))
    assert again == steps
    assert Steps.of(steps.changes()) == steps
    with pytest.raises(DataError, match="no step is called 'Mine'"):
        Steps.of({"astrometry": {"fitter": {"type": "Mine"}}})


@pytest.mark.parametrize(
    ("text", "message"),
    [("a = " + "[" * 5000, "can't be read as options"), ("a = " + "1" * 5000, "can't be read as options"),
     ("[star_selector]\nmin_snr = 0x" + "f" * 400, "min_snr should be float"),
     ("[psf_fitter]\norder = true", "order should be int, found True"),
     ("[defects]\nplanes = ['BAD', {}]", "no plane {}"),
     ("[star_selector]\nbad_flags = ['a', 3]", "bad_flags should be str, found 3"),
     ("[psf_fitter]\norder = {type = 'SipFitter'}", "order should be int"),
     ("[astrometry]\nfitter = {type = []}", r"no step is called \[\]"),
     ("[photometry]\ncolor_term = {type = 'ColorTerm', x = 1}", "a ColorTerm needs band, color, coefficients"),
     ("[photometry]\ncolor_term = {type = 'ColorTerm', band = 'r', color = ['g', 'r'], coefficients = ['a']}",
      "coefficients should be float")],
)  # fmt: skip
def test_a_file_of_wrong_values_is_refused_on_a_short_line(tmp_path, text, message):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        Steps.read(path)
    assert len(str(error.value)) < 1200
