"""What is at hand gives what the whole chain gives."""

import numpy as np
import pytest

from corontools import DataError, Exposure, Live, PSFStack, Zones, replay
from corontools.simulate import null, tiny


def holes(exposure, share, seed):
    bad = np.random.default_rng(seed).random(exposure.shape) < share
    return exposure.with_(data=np.where(bad, np.nan, exposure.data).astype(float))


def clean():
    science, reference = null(3, 9, shape=48)
    return PSFStack.from_exposures([reference]).align_to(science, to="none")


def with_holes():
    science, reference = null(3, 9, shape=48)
    return PSFStack.from_exposures([holes(reference, 0.02, 3)]).align_to(holes(science, 0.02, 4), to="none")


def mostly_holes():
    """Hardly a pixel that all references have."""
    science, reference = null(2, 9, shape=48)
    return PSFStack.from_exposures([holes(reference, 0.5, 3)]).align_to(science, to="none")


def dead_corner():
    science, reference = null(3, 9, shape=48)
    data = np.array(reference.data, float)
    data[:5, :14, :14] = np.nan
    return PSFStack.from_exposures([reference.with_(data=data)]).align_to(science, to="none")


def each():
    sim = tiny()
    return PSFStack.from_exposures(sim.references).align_to(sim.science[0], mask=sim.psfmask)


CASES = {"clean": clean, "holes": with_holes, "mostly holes": mostly_holes, "corner": dead_corner, "each": each}
ZONES = {"shared": "shared", "full": "full", "annuli": Zones.annuli([2, 9, 22], sectors=2)}
KEEP = {"all": None, "some": [0, 2, 3, 5, 6, 8], "mask": np.arange(9) > 2, "slice": slice(1, 8), "one": [4]}


@pytest.fixture(scope="module", params=CASES)
def live(request):
    return Live(CASES[request.param]())


def same(live, modes, zones, keep):
    aligned = live.aligned if keep is None else live.aligned.select(keep)
    expected, made = aligned.klip(modes, zones=zones), live.klip(modes, zones=zones, keep=keep)
    scale = np.nanmax(np.abs(live.aligned.target.data))
    np.testing.assert_array_equal(made.zones, expected.zones)
    assert made.history == expected.history
    assert made.aligned.n_ref == expected.aligned.n_ref
    for k in {0, 1, made.max_modes}:
        np.testing.assert_allclose(made.at(k).frames, expected.at(k).frames, rtol=0, atol=1e-9 * scale)
    return made, expected


@pytest.mark.parametrize("keep", KEEP)
@pytest.mark.parametrize("zones", ZONES)
def test_any_zones_and_references_give_what_the_chain_gives(live, zones, keep):
    chosen = KEEP[keep]
    chosen = np.arange(live.aligned.n_ref) > 2 if keep == "mask" else chosen
    same(live, 1 if keep == "one" else 5, ZONES[zones], chosen)


def test_asking_again_and_in_another_order_changes_nothing(live):
    first = live.klip(4, zones=Zones.annuli([2, 20])).frames
    live.klip(4, zones=Zones.annuli([3, 20]))
    live.klip(4, keep=[1, 2, 3, 4, 5])
    np.testing.assert_array_equal(live.klip(4, zones=Zones.annuli([2, 20])).frames, first)


def test_errors_and_modes_are_those_of_the_chain(live):
    made, expected = same(live, 4, "shared", [0, 1, 2, 4, 5, 7])
    np.testing.assert_allclose(made.err, expected.err, rtol=1e-6)
    np.testing.assert_allclose(made.subspaces[0].eigenvalues, expected.subspaces[0].eigenvalues, rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(made.variance_explained, expected.variance_explained, atol=1e-9)


def test_the_chain_of_a_live_result_is_replayed(tiny_asn):
    from corontools import Association

    asn = Association.read(tiny_asn)
    live = Live(PSFStack.from_asn(asn).align_to(asn.science[0]))
    made = live.klip(3, zones=Zones.annuli([2, 12]), keep=[0, 1, 2, 4, 5])
    assert made.history[-3:] == (
        ".averaged()",
        ".select([0, 1, 2, 4, 5])",
        ".klip(3, zones=Zones.annuli([2.0, 12.0], sectors=1))",
    )
    again = replay(made)
    np.testing.assert_allclose(again.frames, made.frames, atol=1e-9 * np.nanmax(asn.science[0].data))


def test_a_reference_without_a_shift_is_refused_unless_it_is_left_out():
    aligned = clean()
    shift = np.array(aligned.fit.shift)
    shift[:, 3] = np.nan
    live = Live(aligned.with_(fit=aligned.fit._replace(shift=shift)))
    with pytest.raises(DataError, match=r"reference\(s\) \[3\] have no shift"):
        live.klip(4)
    same(live, 4, "shared", [0, 1, 2, 4, 7, 8])
    with pytest.raises(DataError, match="no reference has a shift"):
        Live(aligned.with_(fit=aligned.fit._replace(shift=np.full_like(shift, np.nan))))


def test_impossible_wishes_are_refused_as_in_the_chain(live):
    with pytest.raises(DataError, match="can't choose"):
        live.klip(3, keep=[0, 99])
    with pytest.raises(DataError, match="no reference left"):
        live.klip(3, keep=[])
    with pytest.raises(DataError, match="0 or more, found -1"):
        live.klip(-1)
    with pytest.raises(DataError, match="holds no pixel"):
        live.klip(3, zones=Zones.annuli([400, 500]))
    with pytest.warns(UserWarning, match="99 modes asked for") as caught:
        live.klip(99)
    assert caught[0].filename == __file__


def test_a_zone_that_a_reference_never_saw_names_the_reference():
    science, reference = null(2, 4, shape=48)
    data = np.array(reference.data, float)
    data[2, :20, :20] = np.nan
    labels = np.zeros((48, 48), int)
    labels[2:18, 2:18] = 1
    live = Live(PSFStack.from_exposures([reference.with_(data=data)]).align_to(science, to="none"))
    for run in (live.klip, live.aligned.klip):
        with pytest.raises(DataError, match=r"no good pixel in image\(s\) \[2\]"):
            run(2, zones=Zones.from_labels(labels))


def test_nothing_of_the_input_is_changed():
    science, reference = Exposure(np.ones((1, 8, 8))), Exposure(np.random.default_rng(1).normal(size=(3, 8, 8)))
    before = np.array(reference.data)
    Live(PSFStack.from_exposures([reference]).align_to(science, to="none")).klip(2)
    np.testing.assert_array_equal(reference.data, before)
