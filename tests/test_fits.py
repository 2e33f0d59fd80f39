"""Reading and writing of FITS: what is damaged is refused by name, what is written is whole or not there."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits as astrofits
from hypothesis import given
from hypothesis import strategies as st

from corontools import fits
from corontools.errors import DataError
from corontools.exposure import Exposure

PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, write_calints, speckles):
    """A good file."""
    data = speckles(2, (12, 15))
    table = astrofits.BinTableHDU.from_columns([astrofits.Column("a", "J", array=[1, 2])], name="INT_TIMES")
    path = tmp_path_factory.mktemp("whole") / "whole_calints.fits"
    return write_calints(path, data, err=np.ones_like(data), dq=np.zeros(data.shape), extra=(table,))


def places(path: Path) -> list[tuple[str, int, int, int]]:
    """Name, begin of the header, begin and end of the data of each HDU."""
    with astrofits.open(path) as hdus:
        infos = [(hdu.name, hdu.fileinfo()) for hdu in hdus]
    return [(name, i["hdrLoc"], i["datLoc"], i["datLoc"] + i["datSpan"]) for name, i in infos]


def test_read_gives_every_hdu_as_astropy_does(whole):
    mine = fits.read(whole)
    with astrofits.open(whole) as theirs:
        assert [e.name for e in mine] == [hdu.name for hdu in theirs]
        for extension, hdu in zip(mine, theirs, strict=True):
            assert extension.header.tostring() == hdu.header.tostring()
            if hdu.is_image and hdu.data is not None:
                np.testing.assert_array_equal(extension.data, hdu.data)
                assert extension.data.dtype.kind == hdu.data.dtype.kind
            else:
                assert extension.data is None


def test_raw_bytes_put_together_are_the_file(whole):
    assert b"".join(e.raw.tobytes() for e in fits.read(whole)) == whole.read_bytes()


def test_floating_point_images_are_mapped_and_read_only(whole):
    science = fits.read(whole)[1].data
    base = science
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        science[0, 0, 0] = 1


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_file_reads_like_the_plain_one(whole, tmp_path, suffix):
    path = tmp_path / f"x.fits.{suffix}"
    path.write_bytes(PACKERS[suffix](whole.read_bytes()))
    for plain, packed in zip(fits.read(whole), fits.read(path), strict=True):
        assert plain.name == packed.name
        assert plain.raw.tobytes() == packed.raw.tobytes()
        if plain.data is not None:
            np.testing.assert_array_equal(plain.data, packed.data)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_cut_packed_file_is_refused(whole, tmp_path, suffix, keep):
    packed = PACKERS[suffix](whole.read_bytes())
    path = tmp_path / f"x.fits.{suffix}"
    path.write_bytes(packed[: int(keep * len(packed))])
    with pytest.raises(DataError, match=r"x\.fits"):
        fits.read(path)


def test_a_packed_file_with_changed_bytes_is_refused(whole, tmp_path):
    packed = bytearray(gzip.compress(whole.read_bytes()))
    packed[len(packed) // 2] ^= 0xFF
    path = tmp_path / "x.fits.gz"
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r"x\.fits\.gz can't be read"):
        fits.read(path)


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_name_that_says_packed_is_packed(tmp_path, suffix):
    path = tmp_path / f"x.fits.{suffix}"
    exposure = Exposure(np.arange(48.0, dtype=np.float32).reshape(3, 4, 4))
    exposure.save(path)
    assert not path.read_bytes().startswith(b"SIMPLE")
    np.testing.assert_array_equal(Exposure.read(path).data, exposure.data)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_tile_compressed_image_is_unpacked(tmp_path):
    image = np.arange(600, dtype=np.int16).reshape(20, 30)
    hdu = astrofits.CompImageHDU(image, name="SCI")
    astrofits.HDUList([astrofits.PrimaryHDU(), hdu]).writeto(tmp_path / "x.fits.fz")
    np.testing.assert_array_equal(fits.read(tmp_path / "x.fits.fz")[1].data, image)


def test_every_cut_of_a_file_is_refused_or_leaves_whole_hdus(whole, tmp_path):
    content, path = whole.read_bytes(), tmp_path / "cut.fits"
    ends = {end: i + 1 for i, (_, _, _, end) in enumerate(places(whole))}
    cuts = (
        set(range(0, len(content), 720)) | {end - 1 for end in ends} | {begin + 1 for _, begin, _, _ in places(whole)}
    )
    for cut in sorted(cuts):
        path.write_bytes(content[:cut])
        if cut in ends:  # nothing in the file tells that HDUs are missing
            assert len(fits.read(path)) == ends[cut]
            continue
        with pytest.raises(DataError, match=r"cut\.fits") as error:
            fits.read(path)
        if cut > min(ends):
            assert "cut short" in str(error.value) or "END card" in str(error.value)


@pytest.mark.parametrize("name", ["SCI", "ERR", "DQ", "INT_TIMES"])
def test_a_file_cut_in_the_data_of_an_extension_is_refused_by_its_name(whole, tmp_path, name):
    _, _, begin, end = next(place for place in places(whole) if place[0] == name)
    path = tmp_path / "cut.fits"
    path.write_bytes(whole.read_bytes()[: (begin + end) // 2])
    with pytest.raises(DataError, match=f"is cut short: extension {name} needs {end} bytes.*download it again"):
        fits.read(path)


@pytest.mark.parametrize("length", [1, 8, 100, 2879])
def test_a_file_cut_in_the_header_of_an_extension_is_refused(whole, tmp_path, length):
    _, begin, _, _ = next(place for place in places(whole) if place[0] == "DQ")
    path = tmp_path / "cut.fits"
    path.write_bytes(whole.read_bytes()[: begin + length])
    with pytest.raises(DataError, match="cut short: the header of the extension after ERR is not whole"):
        fits.read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"hello, astronomer\n" * 400, "can't be read as FITS"), (b"SIMPLE", "can't be read as FITS"),
     (b"\x1f\x8b", "can't be read as FITS"), (b"\x89PNG\r\n" + bytes(4000), "can't be read as FITS"),
     (bytes(5760), "can't be read as FITS")],
)  # fmt: skip
def test_what_is_no_fits_is_refused(tmp_path, content, message):
    path = tmp_path / "x.fits"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        fits.read(path)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        fits.read(tmp_path)
    with pytest.raises(DataError, match=r"none\.fits does not exist"):
        fits.read(tmp_path / "none.fits")
    with pytest.raises(DataError, match="can't be read"):
        fits.read("a\0b.fits")


def test_padding_after_the_last_hdu_is_nothing(whole, tmp_path):
    path = tmp_path / "x.fits"
    path.write_bytes(whole.read_bytes() + bytes(2880))
    assert len(fits.read(path)) == len(fits.read(whole))


def test_bytes_after_the_last_hdu_are_told(whole, tmp_path):
    path = tmp_path / "x.fits"
    path.write_bytes(whole.read_bytes() + b"junk" * 25)
    with pytest.warns(UserWarning, match="100 bytes after extension INT_TIMES are no FITS"):
        assert len(fits.read(path)) == len(fits.read(whole))


CHANGES = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(b"0123456789'=/ TEA-\x00\xff")), min_size=1, max_size=4
)


@pytest.mark.filterwarnings("ignore")  # astropy's opinion of damaged cards
@given(changes=CHANGES)
def test_a_damaged_header_raises_data_error_or_loses_nothing(whole, tmp_path_factory, changes):
    content = bytearray(whole.read_bytes())
    cards = [i for _, begin, stop, _ in places(whole) for i in range(begin, stop) if content[i] != ord(" ")]
    for place, byte in changes:
        content[cards[place % len(cards)]] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.fits"
    path.write_bytes(content)
    try:
        found = fits.read(path)
    except DataError as error:
        assert "damaged.fits" in str(error)  # noqa: PT017 - to be refused by name is one of two right outcomes
    else:
        kept = b"".join(extension.raw.tobytes() for extension in found)
        assert kept == bytes(content[: len(kept)])


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "x.fits"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"x\.fits exists and is kept"):
        fits.write(path, [astrofits.PrimaryHDU()])
    assert path.read_text() == "precious"
    fits.write(path, [astrofits.PrimaryHDU()], overwrite=True)
    assert fits.read(path)[0].name == "PRIMARY"
    assert os.listdir(tmp_path) == ["x.fits"]


def test_a_product_has_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        path = fits.write(tmp_path / "x.fits", [astrofits.PrimaryHDU()])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), RuntimeError])
@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_write_leaves_nothing_and_keeps_what_was_there(tmp_path, error, there):
    path = tmp_path / "x.fits"
    if there:
        path.write_text("precious")

    def interrupted():
        with fits.atomic(path, overwrite=True) as part:
            part.write_text("half a product")
            raise error

    with pytest.raises(error if isinstance(error, type) else OSError):
        interrupted()
    assert os.listdir(tmp_path) == (["x.fits"] if there else [])
    assert not there or path.read_text() == "precious"


def test_a_file_that_appears_during_the_write_is_kept(tmp_path):
    path = tmp_path / "x.fits"

    def late():
        with fits.atomic(path) as part:
            part.write_text("late")
            path.write_text("early")

    with pytest.raises(FileExistsError, match="exists and is kept"):
        late()
    assert path.read_text() == "early"
    assert os.listdir(tmp_path) == ["x.fits"]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    hdus = [astrofits.PrimaryHDU()]
    with pytest.raises(DataError, match="none does not exist; make it"):
        fits.write(tmp_path / "none" / "x.fits", hdus)
    with pytest.raises(DataError, match="file is a file, not a folder"):
        fits.write(tmp_path / "file" / "x.fits", hdus)
    with pytest.raises(DataError, match="can't be written into folder"):
        fits.write(tmp_path / f"{'x' * 250}.fits", hdus)
    if Path("/proc/self/fdinfo").is_dir():
        with pytest.raises(DataError, match=r"can't be written into folder|does not exist"):
            fits.write("/proc/self/fdinfo/x.fits", hdus)


def test_missing_permission_is_told(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(DataError, match=r"'x.fits' can't be written into folder .*: Permission denied"):
        fits.write(tmp_path / "x.fits", [astrofits.PrimaryHDU()])


FULL_DISK = """
    import resource, signal, sys
    import numpy as np
    from astropy.io import fits as astrofits
    from corontools import fits
    from corontools.exposure import Exposure

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    path = sys.argv[2]
    image = np.zeros((60, 60), np.float32)
    raw = np.zeros(28800, np.uint8)
    big = fits.Extension("BIG", astrofits.Header(), None, raw)
    planes = [fits.Plane(name, (4, 60, 60), "f4", astrofits.Header()) for name in ("SCI", "ERR")]
    computed = []
    def slices(i):
        computed.append(i)
        return {"SCI": image, "ERR": image}
    try:
        if sys.argv[1] == "exposure":
            Exposure(np.zeros((4, 60, 60))).save(path, overwrite=True)
        elif sys.argv[1] == "extension":
            fits.write(path, [astrofits.PrimaryHDU()], extensions=[big], overwrite=True)
        else:
            fits.write_planes(path, astrofits.Header(), planes, slices, overwrite=True)
    except OSError as error:
        assert not computed
        print("OSError", error.errno)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="the system has no limit of file sizes")
@pytest.mark.parametrize("what", ["exposure", "extension", "planes"])
def test_a_full_disk_leaves_no_half_product(tmp_path, what):
    path = tmp_path / "x.fits"
    path.write_text("precious")
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), what, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("OSError")
    assert os.listdir(tmp_path) == ["x.fits"]
    assert path.read_text() == "precious"


def planes_file(path: Path, images: np.ndarray, flags: np.ndarray) -> Path:
    planes = [
        fits.Plane("SCI", images.shape, "f4", astrofits.Header([("BUNIT", "MJy/sr")])),
        fits.Plane("DQ", flags.shape, "u4", astrofits.Header()),
    ]
    table = astrofits.BinTableHDU.from_columns([astrofits.Column("a", "D", array=[1.5])], name="EXTRA")

    def slices(i):
        return {"SCI": images[i], "DQ": flags[i]}

    return fits.write_planes(path, astrofits.Header([("FOO", 1)]), planes, slices, extra=[table])


@pytest.mark.parametrize("reserving", [True, False], ids=["reserved", "zeros"])
def test_planes_written_slice_by_slice_read_back_as_given(tmp_path, monkeypatch, reserving):
    if not reserving:  # as on macOS
        monkeypatch.delattr("os.posix_fallocate", raising=False)
    rng = np.random.default_rng(1)
    images = rng.normal(size=(3, 2, 7, 5)).astype(np.float32)
    images[1, 0, 2, 3] = np.nan
    flags = rng.integers(0, 2**32, (3, 2, 7, 5), dtype=np.uint32)
    flags.flat[:2] = 2**31, 2**32 - 1
    path = planes_file(tmp_path / "x.fits", images, flags)
    with astrofits.open(path) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "SCI", "DQ", "EXTRA"]
        np.testing.assert_array_equal(hdus["SCI"].data, images)
        np.testing.assert_array_equal(hdus["DQ"].data, flags)
        assert hdus["DQ"].data.dtype == np.uint32
        assert hdus["SCI"].header["BUNIT"] == "MJy/sr"
    assert path.stat().st_size % 2880 == 0


def test_an_interrupt_between_slices_leaves_nothing(tmp_path):
    def slices(i):
        if i == 1:
            raise KeyboardInterrupt
        return {"SCI": np.zeros((4, 4))}

    plane = fits.Plane("SCI", (3, 4, 4), "f4", astrofits.Header())
    with pytest.raises(KeyboardInterrupt):
        fits.write_planes(tmp_path / "x.fits", astrofits.Header(), [plane], slices)
    assert os.listdir(tmp_path) == []


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_a_card_that_fits_cannot_hold_is_refused_by_name(tmp_path):
    header = astrofits.Header([astrofits.Card.fromstring("BU`IT   = 'MJy/sr'")])
    with pytest.raises(DataError, match=r"x\.fits can't be written, its header is not valid FITS: .*BU`IT"):
        fits.write(tmp_path / "x.fits", [astrofits.PrimaryHDU(header=header)])
    assert os.listdir(tmp_path) == []


def test_what_begins_otherwise_is_told_by_its_first_bytes(tmp_path):
    path = tmp_path / "x.fits"
    path.write_bytes(b"\x89PNG\r\n" + bytes(4000))
    with pytest.raises(DataError) as error:
        fits.read(path)
    assert "it begins with b'\\x89PNG\\r\\n\\x00\\x00', not SIMPLE; download it again" in str(error.value)
    assert "ignore_missing_simple" not in str(error.value)


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_file_that_unpacks_to_very_much_is_refused(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(fits, "ROOM", 1 << 20)
    path = tmp_path / f"x.fits.{suffix}"
    path.write_bytes(PACKERS[suffix](bytes(1 << 19)) * 90)
    with pytest.raises(DataError, match=r"unpacks to more than [1-9] MB, 100 times its size; unpack it yourself"):
        fits.read(path)


@pytest.mark.parametrize("key", ["NAXIS", "TFIELDS"])
def test_a_header_with_very_many_axes_or_columns_is_refused(whole, tmp_path, key):
    path = tmp_path / "x.fits"
    with_table = whole.read_bytes()
    place = with_table.rindex(f"{key:8}=".encode())
    path.write_bytes(with_table[: place + 10] + b"1" + b"0" * 19 + with_table[place + 30 :])
    with pytest.raises(DataError, match=f"{key} .* is more than the 999 that FITS allows"):
        fits.read(path)


def packed_image(path: Path, **cards: object) -> Path:
    """A tile-compressed image whose table announces something else."""
    image = np.arange(600, dtype=np.int16).reshape(20, 30)
    astrofits.HDUList([astrofits.PrimaryHDU(), astrofits.CompImageHDU(image, name="SCI")]).writeto(path)
    with astrofits.open(path, mode="update", disable_image_compression=True) as hdus:
        hdus[1].header.update(cards)
    return path


@pytest.mark.parametrize(
    ("cards", "message"),
    [({"ZNAXIS1": 10**6, "ZNAXIS2": 10**6}, "announces 2000000000000 bytes"),
     ({"ZCMPTYPE": "HCOMPRESS_1"}, "packed with 'HCOMPRESS_1', not RICE_1.*unpack it by funpack"),
     ({"ZVAL1": 0}, "packed in an unknown way"), ({"ZVAL2": 3}, "packed in an unknown way"),
     ({"ZTILE1": 7}, "can't be unpacked")],
)  # fmt: skip
def test_a_packed_image_that_can_not_be_is_refused(tmp_path, cards, message):
    with pytest.raises(DataError, match=message):
        fits.read(packed_image(tmp_path / "x.fits", **cards))


def test_a_tile_that_unpacks_to_more_than_its_image_is_refused(tmp_path):
    path = tmp_path / "x.fits"
    tile = np.frombuffer(gzip.compress(bytes(1 << 20)), np.uint8)
    column = astrofits.Column("COMPRESSED_DATA", "1PB()", array=np.array([tile, tile], object))
    table = astrofits.BinTableHDU.from_columns([column], name="SCI")
    table.header.update(
        ZIMAGE=True, ZCMPTYPE="GZIP_1", ZBITPIX=16, ZNAXIS=2, ZNAXIS1=30, ZNAXIS2=2, ZTILE1=30, ZTILE2=1
    )
    astrofits.HDUList([astrofits.PrimaryHDU(), table]).writeto(path)
    with pytest.raises(DataError, match="a packed tile holds more than the image of 120 bytes"):
        fits.read(path)


def test_a_message_is_one_line_of_bounded_length():
    assert fits.one_line("a\n  b\x00\ud800") == r"a b\x00\ud800"
    assert len(fits.one_line("x" * 10**6)) < 1100


@pytest.mark.parametrize(("key", "value"), [("GCOUNT", -4), ("PCOUNT", -1800)])
def test_an_extension_of_negative_size_is_refused(whole, tmp_path, key, value):
    path = tmp_path / "x.fits"
    content = whole.read_bytes()
    place = content.index(f"{key:8}=".encode(), content.index(b"XTENSION"))
    path.write_bytes(content[: place + 10] + f"{value:>20}".encode() + content[place + 30 :])
    with pytest.raises(DataError, match="extension SCI announces a negative size"):
        fits.read(path)
