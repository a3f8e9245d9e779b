"""Values of GRIB messages, against ecCodes."""

from pathlib import Path

import eccodes
import numpy as np
import pytest

from weatherpeft.sources.formats import grib
from weatherpeft.sources.formats.fields import canonical_layout
from weatherpeft.sources.formats.grib_header import inventory

LAYOUT = canonical_layout(np.linspace(90, -90, 37), np.arange(0, 360, 5.0))
SHAPE = (37, 72)


def write(path: Path, values: np.ndarray, **settings: int | str) -> bytes:
    """A message, and what stands before it in the file."""
    edition = settings.pop("edition", 1)
    handle = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
    rows, columns = SHAPE
    steps = {"iDirectionIncrementInDegrees": 5, "jDirectionIncrementInDegrees": 5}
    sizes = {"Ni": columns, "Nj": rows, **steps}
    for key, value in (sizes | settings).items():
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set_values(handle, values.astype(np.float64).ravel())
    message: bytes = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    path.write_bytes(b"\0" * 120 + message)
    return message


def of_eccodes(message: bytes) -> np.ndarray:
    handle = eccodes.codes_new_from_message(message)
    values: np.ndarray = eccodes.codes_get_values(handle).reshape(SHAPE).astype(np.float32)
    eccodes.codes_release(handle)
    return values


def read(path: Path, simple: bool) -> np.ndarray:
    """The message behind the padding, which is or is not of the kind that NumPy unpacks."""
    (message,) = inventory(path)
    assert message.offset == 120 and bool(message.simple) is simple
    return grib._read_message(path, message, LAYOUT)


@pytest.mark.parametrize("bounds", [(-3e4, 6e5), (180.0, 330.0), (-1e-9, 3e-2), (-4e-6, 2e-6)])
def test_sixteen_bits_are_ecCodes_bit_for_bit(tmp_path: Path, bounds: tuple[float, float]) -> None:
    values = np.random.default_rng(1).uniform(*bounds, SHAPE)
    expected = of_eccodes(write(tmp_path / "a.grib", values, bitsPerValue=16))
    np.testing.assert_array_equal(read(tmp_path / "a.grib", simple=True), expected)
    assert np.unique(expected).size > 1000


@pytest.mark.parametrize("decimal", [-2, 1, 2, 5])
def test_decimal_scales_are_ecCodes_bit_for_bit(tmp_path: Path, decimal: int) -> None:
    values = np.random.default_rng(2).uniform(-1e4, 4e4, SHAPE) / 10.0**decimal  # needs 16 bits
    expected = of_eccodes(write(tmp_path / "a.grib", values, decimalScaleFactor=decimal))
    np.testing.assert_allclose(expected, values, atol=0.51 / 10.0**decimal, rtol=1e-6)
    np.testing.assert_array_equal(read(tmp_path / "a.grib", simple=True), expected)


@pytest.mark.parametrize(
    "settings", [{"bitsPerValue": 12}, {"bitsPerValue": 24}, {"edition": 2, "bitsPerValue": 16}]
)
def test_other_packings_are_left_to_ecCodes(tmp_path: Path, settings: dict[str, int]) -> None:
    values = np.random.default_rng(0).uniform(180, 330, SHAPE)
    message = write(tmp_path / "a.grib", values, **settings)
    found = read(tmp_path / "a.grib", simple=False)
    np.testing.assert_array_equal(found, of_eccodes(message))
    np.testing.assert_allclose(found, values, atol=0.1)


def test_missing_values_are_nan(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(180, 330, SHAPE)
    values[3, 4] = 9999
    write(tmp_path / "a.grib", values, bitsPerValue=16, bitmapPresent=1, missingValue=9999)
    found = read(tmp_path / "a.grib", simple=False)
    assert np.argwhere(np.isnan(found)).tolist() == [[3, 4]]


def test_a_constant_field_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.grib", np.full(SHAPE, 7.5), bitsPerValue=16)
    found = read(tmp_path / "a.grib", simple=False)
    np.testing.assert_array_equal(found, np.full(SHAPE, 7.5, np.float32))
