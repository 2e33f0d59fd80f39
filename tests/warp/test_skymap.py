"""Tracts and patches on the sky."""

import json

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from corontools import DataError
from corontools.warp import Patch, SkyMap, Tiling, Tract
from corontools.warp.box import Box

TILING = Tiling(0.333, (400, 300), 50, rotation=12.0)


@pytest.fixture(scope="module")
def tract():
    return SkyMap.discrete([(53.1, -27.8, 0.06)], tiling=TILING)[0]


def test_inner_boxes_tile_the_tract(tract):
    count = np.zeros(tract.shape, int)
    for patch in tract:
        count[patch.inner.slices(tract.box)] += 1
    assert (count == 1).all()
    assert len(list(tract)) == len(tract) == np.prod(tract.n_patches)


def test_outer_boxes_are_grown_by_the_border_within_the_tract(tract):
    nx, ny = tract.n_patches
    assert tract[0, 0].outer == Box(0, 0, 450, 350)
    assert tract[1, 1].outer == Box(350, 250, 850, 650)
    assert tract[nx - 1, ny - 1].outer == Box(400 * (nx - 1) - 50, 300 * (ny - 1) - 50, 400 * nx, 300 * ny)


def test_patches_are_counted_row_by_row(tract):
    nx = tract.n_patches[0]
    assert [tract[k].number for k in range(len(tract))] == list(range(len(tract)))
    assert (tract[nx + 1].index, tract[nx + 1].name) == ((1, 1), "1,1")
    with pytest.raises(IndexError, match="patches"):
        tract[nx, 0]


def test_a_place_is_found_in_the_patch_whose_inner_box_holds_it(tract):
    for patch in tract:
        box = patch.inner
        x, y = np.array([box.x0, box.x1 - 1]), np.array([box.y0, box.y1 - 1])
        for ra, dec in np.transpose(tract.wcs.all_pix2world(x, y, 0)):
            assert tract.find_patch(float(ra), float(dec)).index == patch.index


def test_a_place_outside_is_told(tract):
    with pytest.raises(DataError, match="outside of tract 0"):
        tract.find_patch(54.0, -27.8)
    with pytest.raises(DataError, match="outside of tract 0"):
        tract.find_patch(233.1, 27.8)


@pytest.mark.parametrize("projection", ["TAN", "STG"])
def test_a_discrete_tract_holds_its_circle(projection):
    tiling = Tiling(10.0, (100, 100), 10, projection=projection)
    tract = SkyMap.discrete([(10.0, 88.0, 5.0)], tiling=tiling)[0]
    edge = SkyCoord(10.0, 88.0, unit="deg").directional_offset_by(np.arange(0, 360, 5) * u_deg(), 4.999 * u_deg())
    x, y = tract.wcs.all_world2pix(edge.ra.deg, edge.dec.deg, 0)
    assert min(x.min(), y.min()) > -0.5
    assert x.max() < tract.shape[1] - 0.5
    assert y.max() < tract.shape[0] - 0.5
    assert tract.shape[0] % 100 == tract.shape[1] % 100 == 0
    # no more than a patch too large
    assert tract.shape[1] < x.max() - x.min() + 101


def u_deg():
    from astropy.units import deg

    return deg


def test_overlap_makes_tracts_larger_on_all_sides():
    small, large = (
        SkyMap.discrete([(53.1, -27.8, 0.1)], tiling=Tiling(1.0, (1, 1), 0, overlap=o))[0] for o in (0, 0.02)
    )
    assert np.subtract(large.shape, small.shape).tolist() == [72, 72]
    assert np.subtract(large.crpix, small.crpix).tolist() == [36.0, 36.0]


def test_the_scale_and_the_angle_are_those_asked_for(tract):
    x, y = tract.crpix
    ra, dec = tract.wcs.all_pix2world([x, x, x - 1], [y, y + 1, y], 0)
    middle, up, left = SkyCoord(ra, dec, unit="deg")
    assert middle.separation(up).arcsec == pytest.approx(0.333, rel=1e-6)
    assert middle.position_angle(up).deg == pytest.approx(12.0, abs=1e-4)
    assert middle.position_angle(left).deg == pytest.approx(102.0, abs=1e-4)


def test_the_wcs_of_a_patch_is_that_of_the_tract_from_its_first_pixel(tract):
    patch = tract[1, 1]
    x, y = np.array([0.0, 77.3]), np.array([0.0, 12.8])
    np.testing.assert_allclose(
        patch.wcs.all_pix2world(x, y, 0),
        tract.wcs.all_pix2world(x + patch.outer.x0, y + patch.outer.y0, 0), rtol=0, atol=1e-12,
    )  # fmt: skip


def test_a_sky_map_comes_back_from_json_exactly(tmp_path):
    skymap = SkyMap.discrete([(53.1, -27.8, 0.1), (1 / 3, 1 / 7, 0.03)], tiling=TILING)
    assert SkyMap.from_json(skymap.to_json()) == skymap
    path = skymap.save(tmp_path / "map.json")
    assert SkyMap.read(path) == skymap
    with pytest.raises(FileExistsError):
        skymap.save(path)
    made = eval(skymap[1][0, 1].code, {"Patch": Patch})
    with pytest.raises(DataError, match="no patch in JSON"):
        Patch.from_json('{"index": [0, 0]}')
    assert (made.tract, made.index) == (skymap[1], (0, 1))


@pytest.mark.parametrize("text", ["", "{}", '{"tracts": [{"number": 1}]}', '{"tracts": 5}'])
def test_what_is_no_sky_map_is_told(text, tmp_path):
    with pytest.raises(DataError, match="no sky map"):
        SkyMap.from_json(text)
    with pytest.raises(DataError, match="can't be read"):
        SkyMap.read(tmp_path / "none.json")


def test_one_tract_holds_all_images(tools):
    images = [tools.visit_image(angle, wcs=tools.rotated(angle, at)) for angle, at in ((0, (0, 0)), (40, (99, 150)))]
    patch = SkyMap.around(images)[0][0, 0]
    assert patch.tract.tiling.pixel_scale == pytest.approx(0.2)
    for image in images:
        ny, nx = image.shape
        sky = image.wcs.all_pix2world([-0.5, nx - 0.5, -0.5, nx - 0.5], [-0.5, -0.5, ny - 0.5, ny - 0.5], 0)
        x, y = patch.wcs.all_world2pix(*sky, 0)
        assert min(x.min(), y.min()) >= -0.5 - 1e-6
        assert x.max() <= patch.shape[1] - 0.5 + 1e-6
        assert y.max() <= patch.shape[0] - 0.5 + 1e-6
    assert SkyMap.around(images, tiling=TILING)[0].shape == (300, 400)


def test_a_tract_across_the_meridian_of_zero_is_small(tools):
    images = [tools.visit_image(wcs=tools.rotated(center=(ra, -10.0))) for ra in (359.999, 0.001)]
    tract = SkyMap.around(images)[0]
    assert max(tract.shape) < 250
    assert min(tract.center[0], 360 - tract.center[0]) < 0.01


def test_images_on_opposite_sides_do_not_fit_into_one_gnomonic_tract(tools):
    images = [tools.visit_image(wcs=tools.rotated(center=(ra, 0.0))) for ra in (0.0, 100.0, 200.0)]
    with pytest.raises(DataError, match="more than 90 deg"):
        SkyMap.around(images)


def test_the_nearest_tract_is_found():
    skymap = SkyMap.discrete([(359.0, 10.0, 1.0), (2.0, 10.0, 1.0), (0.0, 80.0, 1.0)])
    assert skymap.find_tract(0.3, 10.0).number == 0
    assert skymap.find_tract(0.7, 10.0).number == 1
    assert skymap.find_tract(180.0, 85.0).number == 2
    assert skymap.find_patch(359.0, 10.0).tract.number == 0
    assert [tract.number for tract in skymap] == [0, 1, 2]


def test_an_image_without_distortion_is_a_tract(tools):
    wcs = tools.rotated(33.0)
    patch = Tract.of_wcs(wcs, (120, 128))[0, 0]
    assert patch.shape == (120, 128)
    x, y = np.array([3.0, 100.0]), np.array([50.0, 7.0])
    np.testing.assert_allclose(patch.wcs.all_pix2world(x, y, 0), wcs.all_pix2world(x, y, 0), atol=1e-12)
    assert SkyMap.from_json(SkyMap((patch.tract,)).to_json())[0] == patch.tract


def test_what_can_not_be_a_tract_is_told(tools):
    galactic = WCS(naxis=2)
    galactic.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
    with pytest.raises(DataError, match="no distortion"):
        Tract.of_wcs(galactic, (5, 5))
    with pytest.raises(DataError, match="TAN or STG"):
        Tiling(projection="SIN")
    with pytest.raises(DataError, match="positive"):
        Tiling(-1.0)
    with pytest.raises(DataError, match="one at least"):
        SkyMap.around([])
    with pytest.raises(DataError, match="no WCS"):
        SkyMap.around([tools.visit_image().with_(wcs=None)])
    with pytest.raises(DataError, match="between 0 and 90"):
        SkyMap.discrete([(0.0, 0.0, 0.0)])


@pytest.mark.parametrize(
    "change",
    [
        {"center": [53.1, "north"]}, {"center": [53.1, -127.8]}, {"crpix": None}, {"shape": [1e3, 9]},
        {"shape": [0, 5]}, {"shape": [[1], [2, 3]]}, {"number": 10**400}, {"given_cd": [[1, 1], [1, 1]]},
        {"tiling": 7}, {"more": 1},
    ],
)  # fmt: skip
def test_a_sky_map_of_strange_values_is_told(change):
    values = json.loads(SkyMap.discrete([(53.1, -27.8, 0.06)]).to_json())
    values["tracts"][0] |= change
    with pytest.raises(DataError, match=r"no sky map in JSON|of a tract|declinations|CD matrix"):
        SkyMap.from_json(json.dumps(values))


def test_what_is_no_text_of_a_sky_map_is_told(tmp_path):
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="no text in UTF-8"):
        SkyMap.read(tmp_path / "bytes.json")
    with pytest.raises(DataError, match="no sky map in JSON"):
        SkyMap.from_json('{"tracts": ' + "[" * 100_000)
