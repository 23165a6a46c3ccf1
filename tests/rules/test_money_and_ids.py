"""Money is whole nanodollars; identifiers sort by time."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.ids import is_id, new_id
from chatwright.domain.money import NANO_PER_USD, format_usd, nano_from_usd, parse_usd


@given(st.integers(0, 10**18))
def test_writing_and_reading_money_is_exact(amount: int) -> None:
    assert parse_usd(format_usd(amount)) == amount


@given(st.decimals(min_value=0, max_value=10**6, allow_nan=False, places=12))
def test_a_fraction_of_a_nanodollar_is_never_lost_to_us(amount: Decimal) -> None:
    nano = nano_from_usd(amount)
    assert 0 <= nano - amount * NANO_PER_USD < 1


@pytest.mark.parametrize("text", ["", "-1", "NaN", "inf", "1,5", "one"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_usd(text)


def test_ids_are_uuid_7_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(200)]
    assert len(set(ids)) == 200
    assert all(is_id(one) and one[14] == "7" and one[19] in "89ab" for one in ids)
    stamps = [one[:13] for one in ids]
    assert stamps == sorted(stamps)


@given(st.text(max_size=40))
def test_nothing_else_is_an_id(text: str) -> None:
    assert not is_id(text) or len(text) == 36
