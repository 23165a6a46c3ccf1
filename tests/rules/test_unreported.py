"""A call whose usage nobody reported is never booked below what it can have cost."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    CutStream,
    ProviderError,
    RateLimitError,
)
from chatwright.features.routing import Reach, Trace, reach_of
from chatwright.features.routing.unreported import IN_FLIGHT_TOKENS

FLAGS = [
    {"whole": whole, "begun": begun, "ended": ended, "open_book": open_book, "drained": drained}
    for whole, begun, ended, open_book, drained in itertools.product((False, True), repeat=5)
]
STREAM = {"whole": False, "begun": False, "ended": False, "open_book": True, "drained": True}


def broken(error_class: str, status: int | None = None, *, sent: bool = True) -> ProviderError:
    error = ProviderError("x", retriable=True, upstream_status=status, error_class=error_class)
    error.sent = sent
    return error


@pytest.mark.parametrize(
    "error",
    [
        broken("server_error", 500),
        broken("server_error", 502),
        broken("transport", sent=False),
        broken("not_configured"),
        broken("address_refused"),
        RateLimitError("x"),
        AuthenticationError("x"),
        ContextLengthError("x"),
        ContentFilterError("x"),
    ],
)
def test_a_refused_call_costs_nothing(error: ProviderError) -> None:
    assert {reach_of(error, **flags) for flags in FLAGS if not flags["begun"]} == {Reach.NOTHING}
    assert Reach.NOTHING not in {reach_of(error, **flags) for flags in FLAGS if flags["begun"]}


@pytest.mark.parametrize(
    "error", [broken("transport"), broken("timeout"), broken("malformed", 200), CutStream("x"), None]
)
def test_what_may_have_been_served_costs_at_least_the_prompt(error: ProviderError | None) -> None:
    assert Reach.NOTHING not in {reach_of(error, **flags) for flags in FLAGS}


@pytest.mark.parametrize(
    "error", [broken("transport"), broken("timeout"), broken("malformed", 200), CutStream("x"), None]
)
def test_an_unseen_answer_in_one_piece_costs_all_of_it(error: ProviderError | None) -> None:
    assert reach_of(error, **(STREAM | {"whole": True})) is Reach.ALL


def test_a_stream_that_breaks() -> None:
    assert reach_of(CutStream("x"), **STREAM) is Reach.ALL, "its headers were there, and nobody saw what followed"
    assert reach_of(CutStream("x"), **(STREAM | {"begun": True})) is Reach.SAID
    assert reach_of(CutStream("x"), **(STREAM | {"begun": True, "open_book": False})) is Reach.ALL
    for begun in (False, True):
        garbled = broken("malformed", 200)
        assert reach_of(garbled, **(STREAM | {"begun": begun})) is Reach.ALL, "it goes on, and nobody reads it"


def test_a_stream_that_was_left() -> None:
    assert reach_of(None, **STREAM) is Reach.PROMPT
    assert reach_of(None, **(STREAM | {"begun": True})) is Reach.SAID
    assert reach_of(None, **(STREAM | {"begun": True, "drained": False})) is Reach.ALL
    assert reach_of(None, **(STREAM | {"open_book": False})) is Reach.ALL
    assert reach_of(broken("timeout"), **STREAM) is Reach.PROMPT
    assert reach_of(broken("timeout"), **(STREAM | {"begun": True})) is Reach.ALL


def test_a_provider_that_says_that_it_gives_up_writes_no_more() -> None:
    assert reach_of(broken("server_error", 200), **STREAM) is Reach.PROMPT
    assert reach_of(broken("server_error", 200), **(STREAM | {"begun": True})) is Reach.SAID
    assert reach_of(broken("server_error", 200), **(STREAM | {"begun": True, "open_book": False})) is Reach.ALL


@given(
    reach=st.sampled_from(Reach),
    texts=st.lists(st.text(min_size=1)),
    said=st.integers(0, 10_000),
    at_most=st.integers(0, 10_000),
    took_s=st.floats(0, 100),
    ended=st.booleans(),
)
def test_the_estimate_lies_between_what_came_and_what_was_allowed(
    reach: Reach, texts: list[str], said: int, at_most: int, took_s: float, ended: bool
) -> None:
    trace = Trace(reach=reach, texts=texts, pieces=len(texts), took_s=took_s, ended=ended)
    tokens = trace.output_tokens(said, at_most=at_most)
    assert 0 <= tokens <= at_most
    match reach:
        case Reach.NOTHING:
            assert tokens == 0
        case Reach.ALL:
            assert tokens == at_most
        case _:
            came = max(said, len(texts))
            assert tokens >= min(at_most, came if ended else came + IN_FLIGHT_TOKENS)


def test_a_fast_provider_has_more_under_way() -> None:
    slow = Trace(reach=Reach.SAID, pieces=100, took_s=10.0)
    fast = Trace(reach=Reach.SAID, pieces=1_000, took_s=1.0)
    assert slow.output_tokens(0, at_most=10_000) == 100 + IN_FLIGHT_TOKENS
    assert fast.output_tokens(0, at_most=10_000) == 1_000 + 2_000
