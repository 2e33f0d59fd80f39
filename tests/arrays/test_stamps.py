import numpy as np
import pytest

from corontools.arrays.stamps import Footprints, blank_sources, box_rows, footprint_bits, source_stamps


def field():
    """Two footprints that touch, on a sky whose variance rises along x."""
    labels = np.zeros((40, 60), np.int32)
    labels[10:20, 10:20], labels[10:20, 20:30] = 1, 2
    image = np.arange(2400.0).reshape(40, 60)
    variance = np.broadcast_to(1.0 + np.arange(60), (40, 60)).copy()
    return image, variance, labels


def test_footprints_become_noise_of_the_sky_beside_them():
    labels = np.zeros((200, 200), np.int32)
    labels[20:80, 20:80], labels[120:180, 120:180] = 1, 2
    variance = np.where(np.arange(200) < 100, 4.0, 25.0) * np.ones((200, 200))
    variance[labels > 0] = 1e6
    image, found = blank_sources(np.full((200, 200), 1e4), variance, labels, seed=3)
    for label, sigma in ((1, 2.0), (2, 5.0)):
        noise = image[labels == label]
        assert np.std(noise) == pytest.approx(sigma, rel=0.05)
        assert abs(np.mean(noise)) < 4 * sigma / 60
        np.testing.assert_allclose(found[labels == label], sigma**2)
    np.testing.assert_array_equal(image[labels == 0], 1e4)
    again, _ = blank_sources(np.full((200, 200), 1e4), variance, labels, seed=3)
    other, _ = blank_sources(np.full((200, 200), 1e4), variance, labels, seed=4)
    np.testing.assert_array_equal(image, again)
    assert (other != image).any()


def test_a_stamp_holds_one_source_and_says_where_the_frame_ends():
    image, variance, labels = field()
    blank = (np.full_like(image, -1.0), np.full_like(image, 9.0))
    footprints = Footprints(labels, box_rows(labels, np.array([1, 2])), np.zeros(0, np.float32))
    pixels, variances = source_stamps((image, variance), blank, footprints, np.array([[5, 5], [-3, 15]]), side=25)
    inside = labels[5:30, 5:30] == 1
    np.testing.assert_array_equal(pixels[0], np.where(inside, image[5:30, 5:30], -1.0))
    np.testing.assert_array_equal(variances[0], np.where(inside, variance[5:30, 5:30], 9.0))
    assert np.isnan(pixels[1][:3]).all()
    assert np.isinf(variances[1][:3]).all()
    np.testing.assert_array_equal(pixels[1][3:], np.where(labels[:22, 15:40] == 2, image[:22, 15:40], -1.0))


def test_a_source_has_its_share_of_the_pixels():
    image, variance, labels = field()
    rows = box_rows(labels, np.array([1, 1]))
    rows[:, 1] = 0, 100
    part = np.linspace(0, 1, 100, dtype=np.float32)
    footprints = Footprints(labels, rows, np.concatenate([part, 1 - part]))
    blank = (np.zeros_like(image), np.ones_like(image))
    corners = np.array([[8, 8], [8, 8]])
    pixels, _ = source_stamps((image, variance), blank, footprints, corners, side=15)
    np.testing.assert_allclose(pixels.sum(axis=0)[2:12, 2:12], image[10:20, 10:20], rtol=1e-6)
    whole, _ = source_stamps((image, variance), blank, footprints.whole(), corners, side=15)
    np.testing.assert_array_equal(whole[0][2:12, 2:12], image[10:20, 10:20])


def test_bits_are_those_of_the_footprint_and_of_a_share_that_counts():
    _, _, labels = field()
    mask = np.zeros(labels.shape, np.int32)
    mask[10, 10], mask[15, 25], mask[0, 0] = 4, 8, 16
    footprints = Footprints(labels, box_rows(labels, np.array([1, 2])), np.zeros(0, np.float32))
    bits, area = footprint_bits(mask, footprints)
    assert (bits.tolist(), area.tolist()) == ([4, 8], [100, 100])
    rows = box_rows(labels, np.array([1]))
    rows[:, 1] = 0
    shares = np.ones(100, np.float32)
    shares[0] = 1e-4
    bits, area = footprint_bits(mask, Footprints(labels, rows, shares))
    assert (bits.tolist(), area.tolist()) == ([0], [99])
