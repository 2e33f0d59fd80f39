"""What tests share: the real exposures where they are at hand, and small synthetic data made with astropy alone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, settings

from corontools.association import Association
from corontools.coron import Coron3, coron3

settings.register_profile(
    "corontools",
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("corontools")

# a shell starts what runs in the background deaf to interrupts, which tests send to themselves and to commands
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]
PIXEL_SCALE = 0.063
PRODUCT = "jw09999-c1001_t001_nircam_f444w-maskrnd"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of the real data, else skip."""
    folder = Path(os.environ.get("CORONTOOLS_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: folder {folder} does not exist; set CORONTOOLS_DATA to where they are")
    return folder


@pytest.fixture
def aumic(data_folder: Path) -> Association:
    """The association of the exposures of AU Mic and its reference stars."""
    path = data_folder / "aumic_f444w" / "aumic_f444w_c1001_asn.json"
    if not path.is_file():
        pytest.skip(f"no real data: {path} does not exist")
    return Association.read(path)


def speckle_images(
    n: int, shape: tuple[int, int] = (32, 32), *, seed: int = 1, change: float = 0.1, reach: float = 0.3
) -> np.ndarray:
    """n images (n, y, x) of a star: Gaussian speckles at fixed places that vary by `change`; `reach` px of jitter."""
    places, rng = np.random.default_rng(54), np.random.default_rng(seed)
    count, sigma = 30, 1.6
    radius, angle = min(shape) / 3 * np.sqrt(places.random(count)), 2 * np.pi * places.random(count)
    x0 = shape[1] // 2 + radius * np.cos(angle)
    y0 = shape[0] // 2 + radius * np.sin(angle)
    mean = places.exponential(100.0, count)
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])[:, None]
    images = []
    for _ in range(n):
        dx, dy = rng.uniform(-reach, reach, 2)
        amplitude = mean * (1 + change * rng.standard_normal(count))
        along_x = np.exp(-0.5 * ((x - x0 - dx) / sigma) ** 2)
        along_y = np.exp(-0.5 * ((y - y0 - dy) / sigma) ** 2)
        images.append((along_y * amplitude) @ along_x.T + 0.5 * rng.standard_normal(shape))
    return np.array(images)


def write_calints_file(
    path: Path,
    data: np.ndarray,
    *,
    err: np.ndarray | None = None,
    dq: np.ndarray | None = None,
    target: str = "AU Mic",
    roll: float = 0.0,
    unit: str = "MJy/sr",
    primary: dict[str, Any] | None = None,
    science: dict[str, Any] | None = None,
    extra: tuple[Any, ...] = (),
) -> Path:
    """Write a small `calints` file: SCI with its WCS, ERR and DQ where given, AREA, and what is `extra`."""
    ny, nx = data.shape[-2:]
    head = fits.Header(
        {
            "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DETECTOR": "NRCALONG", "FILTER": "F444W", "PUPIL": "MASKRND",
            "CORONMSK": "MASKA335R", "SUBARRAY": "SUB320A335R", "EXP_TYPE": "NRC_CORON", "TARGNAME": target,
            "DATAMODL": "CubeModel", "FILENAME": path.name, "EXPMID": 59855.25, "EFFEXPTM": 100.0,
            "DATE-OBS": "2022-10-03", "TIME-OBS": "06:00:00.000",
        }
    )  # fmt: skip
    for key, value in (primary or {}).items():
        head[key] = value
    turn, step = np.deg2rad(roll), PIXEL_SCALE / 3600
    sci = fits.Header(
        {
            "BUNIT": unit, "ROLL_REF": roll, "PIXAR_A2": PIXEL_SCALE**2, "WCSAXES": 2, "RADESYS": "ICRS",
            "CRPIX1": nx // 2 + 1.0, "CRPIX2": ny // 2 + 1.0, "CRVAL1": 311.29, "CRVAL2": -31.34,
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg",
            "CD1_1": -step * np.cos(turn), "CD1_2": step * np.sin(turn),
            "CD2_1": step * np.sin(turn), "CD2_2": step * np.cos(turn), **(science or {}),
        }
    )  # fmt: skip
    hdus = [fits.PrimaryHDU(header=head), fits.ImageHDU(np.asarray(data, np.float32), header=sci, name="SCI")]
    if err is not None:
        hdus.append(fits.ImageHDU(np.asarray(err, np.float32), name="ERR"))
    if dq is not None:
        hdus.append(fits.ImageHDU(np.asarray(dq, np.uint32), name="DQ"))
    hdus.append(fits.ImageHDU(np.ones((ny, nx), np.float32), name="AREA"))
    fits.HDUList([*hdus, *extra]).writeto(path)
    return path


def _int_times() -> fits.BinTableHDU:
    """Times of two integrations, with the columns of JWST's files."""
    moments = [f"int_{moment}_{scale}" for scale in ("MJD_UTC", "BJD_TDB") for moment in ("start", "mid", "end")]
    columns = [fits.Column(name, "D", array=[59855.25, 59855.26]) for name in moments]
    number = fits.Column("integration_number", "J", array=[1, 2])
    return fits.BinTableHDU.from_columns([number, *columns], name="INT_TIMES")


def write_association(path: Path, science: list[str], references: list[str], *, product: str = PRODUCT) -> Path:
    members = [{"expname": n, "exptype": "science"} for n in science]
    members += [{"expname": n, "exptype": "psf"} for n in references]
    table = {
        "asn_type": "coron3",
        "asn_rule": "Asn_Lv3NRCCoron",
        "asn_id": "c1001",
        "asn_pool": "jw09999_pool",
        "products": [{"name": product, "members": members}],
    }
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def speckles() -> Callable[..., np.ndarray]:
    """Function that makes images of a star, see `speckle_images`."""
    return speckle_images


@pytest.fixture(scope="session")
def write_calints() -> Callable[..., Path]:
    """Function that writes a small `calints` file, see `write_calints_file`."""
    return write_calints_file


@pytest.fixture(scope="session")
def write_asn() -> Callable[..., Path]:
    """Function that writes an association file, see `write_association`."""
    return write_association


@pytest.fixture(scope="session")
def tiny_asn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Association of two science (rolls) and three reference exposures, each (2, 32, 32); never written to."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(7)
    names = []
    for i, roll in enumerate((10.0, 40.0, 0.0, 0.0, 0.0)):
        data = speckle_images(2, seed=i) * (1.0 if i < 2 else 0.4)
        err = np.full(data.shape, 0.5)
        dq = np.where(rng.random(data.shape) < 0.01, 1, 0).astype(np.uint32)
        data[0, 3, 4 + i], err[0, 3, 4 + i], dq[0, 3, 4 + i] = np.nan, np.nan, 1
        dq[1, 5, 6] = 2**31
        name = f"jw09999{i + 1:03d}001_03106_00001_nrcalong_calints.fits"
        star = "AU Mic" if i < 2 else f"reference {i % 2}"
        write_calints_file(folder / name, data, err=err, dq=dq, target=star, roll=roll, extra=(_int_times(),))
        names.append(name)
    return write_association(folder / "jw09999-c1001_coron3_asn.json", names[:2], names[2:])


@pytest.fixture(scope="session")
def tiny_run(tiny_asn: Path) -> Coron3:
    """What `coron3` makes of the small association, four modes."""
    return coron3(tiny_asn, klip={"modes": 4})


@pytest.fixture(scope="session")
def tiny_products(tiny_run: Coron3, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The products of the first science exposure, its crfints, and those of the association, by suffix."""
    paths = tiny_run.save(tmp_path_factory.mktemp("products"))
    return {path.stem.rsplit("_", 1)[1]: path for path in reversed(paths)}
