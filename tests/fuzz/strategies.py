"""Hostile inputs: valid files with bytes, cards, values and structure changed."""

from __future__ import annotations

import bz2
import functools
import gzip
import json
import lzma
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

BLOCK, CARD = 2880, 80

NAMES = st.sampled_from(
    ["../x", "../../etc/passwd", "/abs", "a/b", "..", ".", "", "a\0b", "a\nb", "x" * 300, "é" * 100, "\ud800",
     "\u202efits.exe", "C:x", "a\\b", "~", "$HOME", "-o", "<img src=x onerror=alert(1)>", "__class__", "%s%n", "{0}",
     "m0.fits", "m1.fits", "in", "../in/m0.fits", "con", "a b", "'; drop", "http://127.0.0.1:9/x", "file:///etc/passwd"]
)  # fmt: skip
NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 3, 999, 2**31 - 1, 2**31, 2**32, 2**63, -(2**63), 10**9, 10**18, 10**30, -(10**400), 10**4200, 0.0,
     -0.0, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), True, False]
)  # fmt: skip
JUNK = st.one_of(st.none(), NUMBERS, NAMES, st.text(max_size=8))

# values as they stand on a card
VALUES = st.sampled_from(
    ["0", "1", "-1", "2", "3", "4", "8", "16", "-32", "64", "7", "999", "1000", "100000", "1000000000", "2147483648",
     "-2147483649", "9223372036854775808", "1" + "0" * 60, "NaN", "nan", "Inf", "-inf", "1E400", "1e-400", "1.0D+300",
     "T", "F", "(1,2)", "'text'", "''", "'", "'unclosed", "", " ", "/ comment", "= 3", "'é'", "'a''b'", "'T'",
     "'../../x'", "'/abs/x'", "'a\0b'", "'RA---TAB'", "'RA---SIN'", "'RA---ZPN'", "'GLON-CAR'", "'FREQ'", "'deg'",
     "'furlong'", "'km/s'", "'TABLE'", "'IMAGE'", "'BINTABLE'", "'SCI'", "'ERR'", "'DQ'", "'GROUPDQ'", "'ASDF'",
     "'1PE(999999999)'", "'1QE(3)'", "'999999999E'", "'0E'", "'8A'", "'(1000000,1000000)'", "'RICE_1'", "'GZIP_1'",
     "'HCOMPRESS_1'", "'PLIO_1'", "'NOCOMPRESS'", "'JWST'", "'pixels'", "'gaussian'", "'chebyshev'", "1.5", "0.063"]
)  # fmt: skip
KEYS = st.sampled_from(
    ["SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "NAXIS999", "PCOUNT", "GCOUNT", "EXTEND",
     "BSCALE", "BZERO", "BLANK", "EXTNAME", "EXTVER", "EXTLEVEL", "GROUPS", "TFIELDS", "TFORM1", "TTYPE1", "TDIM1",
     "TNULL1", "TSCAL1", "TZERO1", "THEAP", "TUNIT1", "TFORM4", "TDIM4", "ZIMAGE", "ZCMPTYPE", "ZBITPIX", "ZNAXIS",
     "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2", "ZNAME1", "ZVAL1", "ZQUANTIZ", "ZBLANK", "ZSCALE", "CTYPE1", "CTYPE2",
     "CUNIT1", "CRPIX1", "CRVAL1", "CRVAL2", "CDELT1", "CD1_1", "PC1_1", "WCSAXES", "LONPOLE", "PV2_1", "PS1_1",
     "A_ORDER", "B_ORDER", "AP_ORDER", "A_2_0", "A_99999", "CPDIS1", "DP1", "D2IMDIS1", "D2IM1", "CQDIS1", "RADESYS",
     "EQUINOX", "MJD-OBS", "DATE-OBS", "EXPMID", "EFFEXPTM", "PIXAR_A2", "STARCENX", "STARCENY", "ROLL_REF",
     "FILENAME", "TARGNAME", "FILTER", "VISIT", "DETECTOR", "BUNIT", "SCATFILE", "HISTORY", "COMMENT", "CONTINUE",
     "END", "", "LONGSTRN", "HIERARCH", "CHECKSUM", "DATASUM", "PSFMODEL", "PSFSIZE", "PSFSTEP", "STRTCH00",
     "IMAGE_NX", "IMAGE_NY", "BIN_SIZE", "BG_STYLE", "BG_ORDER", "BG_WGHT", "SUBSTRT1", "SUBSIZE1", "NPARAM",
     "PATCHNX", "PATCHX", "TRPROJ", "TRSCALE", "TRACTNX", "KERNEL", "STEP", "GROWN", "ZEROPTS", "SKYMAP", "STATISTC",
     "CLIPSIG", "TRCRVAL1", "PATCHBRD", "TOLERANC", "CONSERVE", "LEFTOUT", "WEIGHTS"]
)  # fmt: skip
PLACES = st.integers(0, 2**20)
FEW = st.integers(1, 400)


@st.composite
def changed_bytes(draw: Any, content: bytes, most: int = 4) -> bytes:
    """A few bytes changed, parts cut out, doubled, moved, or the end cut off."""
    made = bytearray(content)
    for _ in range(draw(st.integers(0, most))):
        if not made:
            break
        where, what = draw(PLACES) % len(made), draw(st.integers(0, 7))
        if what <= 2:
            made[where] = draw(st.integers(0, 255))
        elif what == 3:
            made[where : where + 4] = draw(st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80\0\0\0"]))
        elif what == 4:
            del made[where : where + draw(FEW)]
        elif what == 5:
            made[where:where] = made[where : where + draw(FEW)]
        elif what == 6:
            del made[where:]
        else:
            made[where:where] = draw(st.binary(max_size=12))
    return bytes(made)


def hdus(content: bytes) -> list[tuple[list[bytes], bytes]]:
    """Cards and data of each HDU of a valid file."""
    from io import BytesIO

    from astropy.io import fits

    found = []
    with fits.open(BytesIO(content), disable_image_compression=True) as opened:
        for hdu in opened:
            info = hdu.fileinfo()
            header = content[info["hdrLoc"] : info["datLoc"]]
            cards = [header[i : i + CARD] for i in range(0, len(header), CARD)]
            last = next(i for i, card in enumerate(cards) if card.startswith(b"END     "))
            found.append((cards[:last], content[info["datLoc"] : info["datLoc"] + info["datSpan"]]))
    return found


def joined(parts: Sequence[tuple[Sequence[bytes], bytes]]) -> bytes:
    """The file with these HDUs."""
    made = []
    for cards, data in parts:
        header = b"".join([*cards, b"END".ljust(CARD)])
        made += [header.ljust(-(-len(header) // BLOCK) * BLOCK), data]
    return b"".join(made)


def card(key: str, value: str) -> bytes:
    """One card of 80 bytes, whatever is in it."""
    if key in ("HISTORY", "COMMENT", "", "END"):
        text = f"{key:8}{value}"
    elif key == "CONTINUE":
        text = f"CONTINUE  {value}"
    elif key == "HIERARCH":
        text = f"HIERARCH a b = {value}"
    else:
        text = f"{key:8}= {value:>20}"
    return text.encode("utf-8", "surrogatepass")[:CARD].ljust(CARD)


@st.composite
def fits_files(draw: Any, seeds: Sequence[bytes], lines: Any = None) -> bytes:
    """A FITS file with cards replaced, added, doubled or left out, HDUs doubled, moved or cut, and bytes changed."""
    parts = [(list(cards), data) for cards, data in _hdus_of(draw(st.sampled_from(seeds)))]
    for _ in range(draw(st.integers(0, 3))):
        cards, _ = parts[draw(st.integers(0, 9)) % len(parts)]
        where, what = draw(st.integers(0, 60)) % max(1, len(cards)), draw(st.integers(0, 9))
        if what <= 4:
            _replace(cards, draw(KEYS), draw(VALUES), where)
        elif what <= 6 and cards:
            cards[where] = card(cards[where][:8].decode("ascii", "replace").strip(), draw(VALUES))
        elif what == 7:
            cards[where:where] = cards[where : where + 1] * draw(st.sampled_from([1, 2, 40, 1000]))
        elif what == 8:
            del cards[where : where + 1]
        elif lines is not None:
            cards.append(card("HISTORY", draw(lines)))
    if draw(st.integers(0, 4)) == 0:
        first, second = (draw(st.integers(0, 9)) % len(parts) for _ in range(2))
        parts.insert(first, parts[second]) if draw(st.booleans()) else parts.pop(first)
    content = joined(parts)
    return draw(changed_bytes(content, 2)) if draw(st.integers(0, 2)) == 0 else content


CACHE: dict[bytes, list[tuple[list[bytes], bytes]]] = {}


def _hdus_of(content: bytes) -> list[tuple[list[bytes], bytes]]:
    if content not in CACHE:
        CACHE[content] = hdus(content)
    return CACHE[content]


def _replace(cards: list[bytes], key: str, value: str, where: int) -> None:
    """The card of this key, or a new one."""
    begin = f"{key:8}".encode()
    there = [i for i, one in enumerate(cards) if one.startswith(begin)]
    if there and key not in ("HISTORY", "COMMENT"):
        cards[there[0]] = card(key, value)
    else:
        cards.insert(max(where, 3), card(key, value))


@st.composite
def packed_files(draw: Any, seeds: Sequence[bytes]) -> bytes:
    """A packed FITS file, changed before or after; now and then one that unpacks to very much."""
    pack = draw(st.sampled_from([gzip.compress, bz2.compress, lzma.compress]))
    if draw(st.integers(0, 60)) == 0:
        return bomb(pack)
    content = pack(draw(fits_files(seeds)))
    return draw(changed_bytes(content)) if draw(st.booleans()) else content


@functools.cache
def bomb(pack: Callable[[bytes], bytes]) -> bytes:
    """A file of about a MB that unpacks to 1.4 GB: one packed part of zeros after the other."""
    return pack(bytes(16 << 20)) * 90


JSONS = st.recursive(
    JUNK,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inside, max_size=3),
    max_leaves=5,
)  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places in an object of JSON."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        found += _places(one, (*path, key))
    return found


@st.composite
def changed_json(draw: Any, value: Any) -> Any:
    """An object with a value or a key here and there changed."""
    made = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(0, 3))):
        places = _places(made)
        *path, last = places[draw(PLACES) % len(places)] or (None,)
        if last is None:
            return draw(JSONS) if draw(st.integers(0, 9)) == 0 else made
        inside = made
        for key in path:
            inside = inside[key]
        what = draw(st.integers(0, 4))
        if what <= 2:
            inside[last] = draw(JSONS)
        elif what == 3 and isinstance(inside, dict):
            inside[draw(NAMES)] = inside.pop(last)
        elif isinstance(inside, list):
            inside.extend([inside[last]] * draw(st.sampled_from([1, 3, 200])))
        else:
            inside.pop(last)
    return made


DEEP = st.sampled_from(
    ["[" * 100_000, '{"a":' * 50_000, "[" * 900 + "]" * 900, '{"products":' + "[" * 5000, "- " * 5000, "1" * 5000,
     '{"a": 1, "a": 2}', "\ufeff{}", "NaN", "-Infinity", '"\\ud800"', "a: &a [*a]", "{? [a]: b}", "\0", "---\n---\n"]
)  # fmt: skip
# expands by references; never to be printed as a whole
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
TAGS = st.sampled_from(
    ["!!python/object/apply:os.system ['touch x']", "!!python/name:os.system", "!!python/object:object {}",
     "!<tag:yaml.org,2002:python/object/apply:subprocess.Popen> [[id]]", "!!python/module:os", "!!binary AAAA",
     "!!timestamp 2001-99-99", "2001-02-30", "!!set {a, b}", "!!omap [a: 1]", "0x" + "f" * 4000, "1e999", ".nan",
     "!numpy.ndarray {buffer: !!binary AAAA, dtype: object, order: C, shape: !!python/tuple [1]}", "190:20:30",
     "!astropy.units.Unit {unit: deg}", "!astropy.table.Column {a: b}", "*a",
     "&a [*a]", "<<: *a", "!core/ndarray-1.0.0"]
)  # fmt: skip


@st.composite
def json_files(draw: Any, value: Any) -> bytes:
    """JSON with values changed, or text that is none."""
    what = draw(st.integers(0, 19))
    if what == 0:
        return draw(DEEP).encode("utf-8", "surrogatepass")
    content = json.dumps(draw(changed_json(value)), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return draw(changed_bytes(content)) if what < 7 else content


@st.composite
def text_files(draw: Any, content: str, extra: Any) -> bytes:
    """Text (TOML, YAML, ECSV, XML) with lines doubled, left out, and words replaced."""
    what = draw(st.integers(0, 19))
    if what == 0:
        return draw(DEEP).encode("utf-8", "surrogatepass")
    if what == 1:
        return LAUGHS.encode()
    lines = content.split("\n")
    for _ in range(draw(st.integers(0, 3))):
        where = draw(PLACES) % max(1, len(lines))
        how = draw(st.integers(0, 5))
        if how == 0:
            del lines[where : where + draw(st.integers(1, 3))]
        elif how == 1:
            lines[where:where] = lines[where : where + 1] * draw(st.sampled_from([1, 300]))
        elif how == 2:
            lines.insert(where, draw(extra))
        elif lines:
            lines[where] = _word_replaced(lines[where], draw(PLACES), draw(extra))
    made = "\n".join(lines).encode("utf-8", "surrogatepass")
    return draw(changed_bytes(made)) if what < 6 else made


def _word_replaced(line: str, where: int, word: str) -> str:
    for mark in ("=", ": ", ",", ">", " "):
        if mark in line:
            parts = line.split(mark)
            parts[1 + where % (len(parts) - 1)] = f" {word}"
            return mark.join(parts)
    return word


def _number(value: float) -> str:
    return hex(value) if isinstance(value, int) and abs(value) > 10**40 else str(value)


TOMLS = st.one_of(
    NUMBERS.map(lambda n: _number(n).lower()),
    NUMBERS.map(lambda n: f"[{_number(n)}, 'a']".lower()),
    NAMES.map(lambda n: json.dumps(n)),
    st.sampled_from(["[", "{}", "{type = 'SipFitter'}", "{type = 'Mine'}", "{type = []}", "{type = 3}", "[[a]]", "[a]",
                     "type = 'ColorTerm'", "['BAD', 3]", "['NONE']", "[[[[]]]]", "{a = {b = {c = 1}}}", "1" * 5000,
                     "1979-05-27", "07:32:00", "'''", "[" * 3000, "0x" + "f" * 500, "{type = 'ColorTerm', x = 1}",
                     "{type = 'AdaptiveDetector', detector = 3}", "{type = 'NearestMatcher', radius = 'a'}",
                     "order = 3",
                     "a.b.c = 1", "inf", "-nan"]),
)  # fmt: skip
WORDS = st.one_of(
    TAGS, NUMBERS.map(lambda n: _number(n)), NAMES.filter(lambda n: "\ud800" not in n),
    st.sampled_from(["# - {name: x, datatype: object}", "datatype: string, subtype: json", "datatype: float128",
                     "unit: furlong", "unit: !astropy.units.Unit {unit: x}", "# delimiter: ','",
                     "subtype: 'int64[null]'",
                     "# - {name: ra, datatype: float64}", '"', "datatype: complex128",
                     "<STREAM href='file:///etc/passwd'/>",
                     '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>', "&x;", "<TD>&x;</TD>",
                     "arraysize='9999999'",
                     "datatype='unicodeChar'", "<STREAM encoding='base64'>AAAA</STREAM>", "{}", "[1, 2]", "nan", "--"]),
)  # fmt: skip

CODE = st.sampled_from(
    ["__import__('os').system('touch x')", "open('x', 'w')", "Exposure.read('../in/a.fits').save('x.fits')",
     "Exposure.read('/etc/passwd')", "(1).__class__.__bases__", "().__class__", "exec('1')", "eval('1')",
     "[x for x in (1,)]", "lambda: 1", "coron3('a.json').save('x')", "pixels((100000, 100000), [0, 1])",
     "pixels((10**9,), [])", "RefCat.read('/etc')", "Steps.read('a.toml')", "Steps.of({'a': 1})", "slice(1, 2, 3)",
     "Zones.annuli(10**9)", "-" * 5000 + "1", "(" * 150 + ")" * 150, "a" + ".b" * 3000, "f(" * 90 + ")" * 90, "'" * 3,
     "Source.gaussian(1e308)", "combine(*[1])", "combine(**{})", "Exposure.read(b'a')", "Exposure.read(3)",
     "Exposure.read('a\\x00b')", ".select([0])", ".__init__()", "1 if 1 else 2", "f'{1}'", "inf", "nan()", "9" * 5000,
     "(" + "1," * 20000 + ")", "Exposure.read('in/a.fits').crop(10**9)", "BackgroundModel.from_exposures([])",
     "PSFStack.from_exposures(Exposure.read('a.fits'))", "SourceSet.from_templates([])", "Zones.from_labels([[1]])",
     "FlickerCleaner(Exposure.read('a.fits'), flat='b.fits')", "FlickerCleaner(3)", "array('x')", "detection_map(1, 2)",
     "Exposure.read('a.fits').select(-1)", "Exposure.read('a.fits').mask(pixels((6, 7), [0, 3]), bits=2**99)",
     "Exposure.read('a.fits').reject_outliers(sigma=nan)", "Exposure.read('a.fits').repair(box=10**9)",
     "Exposure.read('a.fits').repair(box=-1)", "Exposure.read('a.fits').subtract_level(beyond=inf)",
     "Exposure.read('a.fits').select(slice(0, 10**30))", "Exposure.read('a.fits').crop((3, 3), center=(nan, 1))",
     "Exposure.read('a.fits').crop((3, 3), center=(1e300, 1))", "RefCat.from_table(3)", "Steps.of(3)",
     "Zones.annuli(4, inner=nan)", "Association.read('a.json', product=3)", "Source.from_stamp([[1]])"]
)  # fmt: skip


@st.composite
def histories(draw: Any, lines: Sequence[str]) -> list[str]:
    """Lines of a history with code of others among them."""
    made = list(lines)
    for _ in range(draw(st.integers(0, 3))):
        where, what = draw(PLACES) % (len(made) + 1), draw(st.integers(0, 3))
        if what == 0:
            made.insert(where, draw(CODE))
        elif what == 1 and made:
            made = [draw(CODE), *made[-1:]]
        elif what == 2:
            made = [draw(CODE)]
        elif made:
            text = made[where % len(made)].encode("utf-8", "surrogatepass")
            made[where % len(made)] = draw(changed_bytes(text)).decode("utf-8", "replace")
    return made
