"""How much of an answer stands in its sources."""

import pytest

from chatwright.domain.ids import DocumentId
from chatwright.domain.messages import LOW_GROUNDING as LOW
from chatwright.domain.providers import Source
from chatwright.features.grounding import cited_numbers, support

DELIVERY = "Parcels leave our warehouse within two working days. Delivery to Austria takes 4 days and costs 6.90 euros."
RETURNS = "Unused goods may be returned within 30 days. The refund is paid to the card that was used for the order."


def source(number: int, text: str) -> Source:
    return Source(n=number, document_id=DocumentId("d"), title="Shop", url=None, score=0.9, quote=text[:20], text=text)


SOURCES = (source(1, DELIVERY), source(2, RETURNS))


@pytest.mark.parametrize(
    "answer",
    [
        "Delivery to Austria takes 4 days and costs 6.90 euros [1].",
        "You may return unused goods within 30 days [2]. The refund goes to the card used for the order [2].",
        "- Parcels leave the warehouse within two working days [1]\n- **Refunds** are paid to the card [2]",
    ],
)
def test_what_stands_in_the_sources_is_supported(answer: str) -> None:
    value = support(answer, SOURCES)
    assert value is not None
    assert value > 0.75


@pytest.mark.parametrize(
    "answer",
    [
        "Our founder Maria Gonzales opened the first shop in Lisbon in 1987.",
        "Gift vouchers never expire and can be combined with seasonal promotions [1].",
    ],
)
def test_what_is_invented_is_not(answer: str) -> None:
    value = support(answer, SOURCES)
    assert value is not None
    assert value < LOW


def test_a_number_that_no_source_holds_weighs_most() -> None:
    right = support("Delivery to Austria takes 4 days and costs 6.90 euros [1].", SOURCES)
    wrong = support("Delivery to Austria takes 9 days and costs 3.50 euros [1].", SOURCES)
    assert right is not None
    assert wrong is not None
    assert wrong < right - 0.25


def test_a_citation_of_the_wrong_source_counts() -> None:
    right = support("The refund is paid to the card [2].", SOURCES)
    wrong = support("The refund is paid to the card [1].", SOURCES)
    assert right is not None
    assert wrong is not None
    assert wrong < right


@pytest.mark.parametrize("answer", ["", "Yes.", "```\ncode\n```", "[1]"])
def test_nothing_said_nothing_measured(answer: str) -> None:
    assert support(answer, SOURCES) is None


def test_no_sources_nothing_measured() -> None:
    assert support("Delivery to Austria takes 4 days.", ()) is None


def test_another_language_cannot_be_held_against_the_words() -> None:
    german = "Die Lieferung nach Österreich dauert vier Tage und kostet sechs Euro neunzig, sagt die Versandseite [1]."
    assert support(german, SOURCES) is None


def test_cited_numbers() -> None:
    assert cited_numbers("As [1] and [2][3], not [x] nor [2024].") == {1, 2, 3}
