"""Personal data in answers: formats with their proofs, and nothing that only looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.checksums import is_iban, is_luhn
from chatwright.features.guard.pii import PersonalData
from chatwright.features.guard.policy import REDACTIONS, Redaction

TOLD = "Write to info@shop.test or call +43 1 234 5678. Our account: AT61 1904 3002 3457 3201."


def found(text: str, *kinds: Redaction) -> list[tuple[str, str]]:
    chosen: list[Redaction] = [kind for kind in REDACTIONS if not kinds or kind in kinds]
    scanned = PersonalData(chosen, lambda: [TOLD]).scan(text, 0, last=True)
    return [(span.rule, text[span.start : span.end]) for span in scanned.spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mail jo.doe+x@mail.example.com.", [("email", "jo.doe+x@mail.example.com")]),
        ("jo@example.com, eva@example.org", [("email", "jo@example.com"), ("email", "eva@example.org")]),
        ("@jo, a@b and 5 @ 3.50 each", []),
        ("Call +49 (0)30 1234567 now", [("phone", "+49 (0)30 1234567")]),
        ("Call 0664 1234567.", [("phone", "0664 1234567")]),
        ("(212) 555-0187 or 212-555-0187", [("phone", "(212) 555-0187"), ("phone", "212-555-0187")]),
        ("4111 1111 1111 1111 until 2027", [("card", "4111 1111 1111 1111")]),
        ("card 5555-5555-5555-4444.", [("card", "5555-5555-5555-4444")]),
        ("4111 1111 1111 1112", []),  # no proof
        ("DE89370400440532013000", [("iban", "DE89370400440532013000")]),
        ("GB82 WEST 1234 5698 7654 33", []),
    ],
)
def test_each_format(text: str, expected: list[tuple[str, str]]) -> None:
    kinds: list[Redaction] = [kind for kind in REDACTIONS if not expected or kind in {rule for rule, _ in expected}]
    assert [one for one in found(text, *kinds) if one[0] in kinds] == expected


@pytest.mark.parametrize(
    "text",
    [
        "On 01/02/2023, from 9:00 to 17:00, in 2019-2023.", "10 000 000 or 1.000.000 people", "Order 4471, room 0123", "version 1.2.3.4 and 127.0.0.1",
        "ISBN 978-3-16-148410-0", "A4 pages, B2B, DE and AT", "It costs 1,234.56 EUR.", "in 2023 45 people",
    ],
)  # fmt: skip
def test_numbers_of_nobody(text: str) -> None:
    assert found(text) == []


def test_what_visitors_are_told_stays() -> None:
    assert found(TOLD) == []
    assert found("call +43 1 2345678") == []
    assert found("INFO@shop.test") == []
    assert found("call +43 1 234 5679") == [("phone", "+43 1 234 5679")]


@given(st.text("0123456789 +-().@aDE.", max_size=60))
def test_any_digits_at_all(text: str) -> None:
    scanned = PersonalData(REDACTIONS, tuple).scan(text, 0, last=True)
    assert all(0 <= span.start < span.end <= len(text) for span in scanned.spans)


def test_checksums() -> None:
    assert is_luhn("4111111111111111")
    assert not is_luhn("4111111111111112")
    assert is_iban("GB82 WEST 1234 5698 7654 32")
    assert not is_iban("GB82 WEST 1234 5698 7654 33")
    assert not is_iban("GB82")
