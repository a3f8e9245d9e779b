"""Indices as gaps of few bytes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weatherpeft.peft.sfas.gaps import coded, decoded


def by_hand(index: list[int]) -> list[int]:
    """LEB128, one number after the other."""
    found, last = [], 0
    for entry in index:
        gap, last = entry - last, entry
        while gap > 127:
            found.append(gap % 128 + 128)
            gap //= 128
        found.append(gap)
    return found


@given(st.sets(st.integers(0, 2**62) | st.integers(0, 1000)))
def test_bytes_are_leb128_and_come_back(index: set[int]) -> None:
    ascending = torch.tensor(sorted(index), dtype=torch.int64)
    codes = coded(ascending)
    assert codes.dtype == torch.uint8 and codes.tolist() == by_hand(sorted(index))
    assert torch.equal(decoded(codes), ascending)


def test_five_percent_of_the_entries_take_little_more_than_a_byte_each() -> None:
    torch.manual_seed(0)
    index = (torch.rand(1_000_000) < 0.05).nonzero().squeeze(1)
    assert len(coded(index)) < 1.01 * len(index)


@pytest.mark.parametrize("index", [[2, 2], [3, 1], [-1, 4]])
def test_what_is_no_set_is_refused(index: list[int]) -> None:
    with pytest.raises(ValueError, match="ascending without repeats"):
        coded(torch.tensor(index))


@pytest.mark.parametrize("codes", [[128], [1, 200], [255] * 9 + [1], [255] * 200 + [1]])
def test_other_bytes_are_refused(codes: list[int]) -> None:
    with pytest.raises(ValueError, match="found other bytes"):
        decoded(torch.tensor(codes, dtype=torch.uint8))
    with pytest.raises(ValueError, match="expected bytes, found torch.int64"):
        decoded(torch.tensor(codes))
