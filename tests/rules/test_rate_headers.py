"""Limits out of headers: every spelling of the families, nothing out of the rest, and what it costs to find nothing."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from chatwright.adapters.providers.rate_headers import MAX_RESET_S, reset_s, stated_limits
from chatwright.domain.providers import StatedLimits, Window

NOW_S = 1_800_000_000.0
SHARED = Path(os.environ.get("CHATWRIGHT_SHARED", Path(__file__).parents[2].parent / "shared"))
RECORDINGS = SHARED / "fixtures" / "providers"


def limits(**headers: object) -> StatedLimits | None:
    """Headers as keyword arguments: `x_a` is `X-A`, in the mapping that the HTTP client uses."""
    return stated_limits(
        CIMultiDict({name.replace("_", "-").title(): str(value) for name, value in headers.items()}), now_s=NOW_S
    )


def test_openai_and_groq_state_both_windows() -> None:
    assert limits(
        x_ratelimit_limit_requests=3500,
        x_ratelimit_remaining_requests=3499,
        x_ratelimit_reset_requests="17ms",
        x_ratelimit_limit_tokens=90000,
        x_ratelimit_remaining_tokens=89974,
        x_ratelimit_reset_tokens="1m2.5s",
    ) == StatedLimits(
        requests=Window(limit=3500, remaining=3499, reset_s=0.017),
        tokens=Window(limit=90000, remaining=89974, reset_s=62.5),
    )


def test_the_tighter_of_a_projects_and_a_keys_window_counts() -> None:
    found = limits(
        x_ratelimit_limit_tokens=1000,
        x_ratelimit_remaining_tokens=900,
        x_ratelimit_limit_project_tokens=500,
        x_ratelimit_remaining_project_tokens=10,
        x_ratelimit_reset_project_tokens="6s",
        x_ratelimit_limit_project_requests=10,
        x_ratelimit_remaining_project_requests=9,
    )
    assert found is not None
    assert found.tokens == Window(limit=500, remaining=10, reset_s=6.0)
    assert found.requests == Window(limit=10, remaining=9)


def test_azure_says_nothing_by_zero_and_minus_one() -> None:
    assert limits(x_ratelimit_limit_requests=0, x_ratelimit_remaining_requests=-1, x_ratelimit_reset_requests=0) is None
    assert limits(x_ratelimit_remaining_requests=-1, x_ratelimit_remaining_tokens=-1) is None
    assert limits(
        x_ratelimit_limit_requests=250,
        x_ratelimit_remaining_requests=0,
        x_ratelimit_reset_requests=1,
        x_ratelimit_limit_tokens=-1,
        x_ratelimit_remaining_tokens=-1,
        x_ratelimit_reset_tokens=-1,
    ) == StatedLimits(requests=Window(limit=250, remaining=0, reset_s=1.0))


def test_anthropics_tightest_token_family_counts() -> None:
    at = (datetime.fromtimestamp(NOW_S, UTC) + timedelta(seconds=12)).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = limits(
        anthropic_ratelimit_requests_limit=50,
        anthropic_ratelimit_requests_remaining=49,
        anthropic_ratelimit_requests_reset=at,
        anthropic_ratelimit_tokens_limit=38000,
        anthropic_ratelimit_tokens_remaining=38000,
        anthropic_ratelimit_input_tokens_limit=30000,
        anthropic_ratelimit_input_tokens_remaining=30000,
        anthropic_ratelimit_output_tokens_limit=8000,
        anthropic_ratelimit_output_tokens_remaining=800,
        anthropic_ratelimit_output_tokens_reset=at,
    )
    assert found == StatedLimits(
        requests=Window(limit=50, remaining=49, reset_s=12.0), tokens=Window(limit=8000, remaining=800, reset_s=12.0)
    )
    only_input = limits(anthropic_ratelimit_input_tokens_limit=5, anthropic_ratelimit_input_tokens_remaining=4)
    assert only_input == StatedLimits(tokens=Window(limit=5, remaining=4))


def test_mistral_counts_by_the_minute() -> None:
    assert limits(
        x_ratelimit_limit_req_minute=360,
        x_ratelimit_remaining_req_minute=352,
        x_ratelimit_limit_tokens_minute=100000,
        x_ratelimit_remaining_tokens_minute=99281,
    ) == StatedLimits(requests=Window(limit=360, remaining=352), tokens=Window(limit=100000, remaining=99281))


def test_other_headers_state_nothing() -> None:
    assert limits() is None
    assert limits(retry_after=3, x_ratelimit_key="gpt", x_ratelimit_reset_tokens="1s") is None
    assert limits(x_ratelimit_remaining_requests="many", x_ratelimit_limit_requests="lots") is None


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [("2ms", 0.002), ("6s", 6), ("11.486s", 11.486), ("1m2.5s", 62.5), ("6m0s", 360), ("1h0m3s", 3603), ("1d", 86_400),
     ("350us", 0.00035), ("350µs", 0.00035), ("17ns", 17e-9), ("0", 0), ("1", 1), ("0.5", 0.5), ("-1", None), ("", None),
     ("soon", None), ("1m2", None), ("m", None), ("s5", None), ("5s 5s", None), ("nan", None), ("inf", None),
     ("-3s", None), ("999d", MAX_RESET_S), (str(int(NOW_S) + 30), 30), (str((int(NOW_S) + 30) * 1000), 30),
     (str(int(NOW_S) - 30), 0), ("2027-01-15T08:00:07Z", 7), ("2027-01-15T08:00:07.25+00:00", 7.25),
     ("2027-01-15T08:00:07", 7), ("2020-01-01T00:00:00Z", 0), ("1" * 60, None)],
)  # fmt: skip
def test_every_spelling_of_a_reset_is_read(raw: str, seconds: float | None) -> None:
    found = reset_s(raw, NOW_S)
    assert found == (None if seconds is None else pytest.approx(seconds, rel=1e-6))


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_written_duration_is_read_back(hours: int, minutes: int, seconds: int, ms: int) -> None:
    wanted = hours * 3600 + minutes * 60 + seconds + ms / 1000
    assert reset_s(f"{hours}h{minutes}m{seconds}s{ms}ms", NOW_S) == pytest.approx(wanted)
    assert reset_s(f"{hours}h{minutes}m{seconds + ms / 1000:.3f}s", NOW_S) == pytest.approx(wanted)


_FAMILIES = ["requests", "tokens", "project-tokens", "project-requests", "input-tokens", "output-tokens"]
_NAMES = [f"x-ratelimit-{kind}-{what}" for kind in ("limit", "remaining", "reset") for what in _FAMILIES] + [
    f"anthropic-ratelimit-{what}-{kind}" for kind in ("limit", "remaining", "reset") for what in _FAMILIES
]
_VALUES = st.one_of(
    st.integers(-2, 10**7).map(str),
    st.text(max_size=50),
    st.floats().map(str),
    st.sampled_from(["1m2.5s", "17ms", "0", "-1", "2027-01-15T08:00:07Z", "9" * 30]),
)


@given(st.dictionaries(st.sampled_from(_NAMES), _VALUES))
def test_any_headers_give_sane_windows_or_none(headers: dict[str, str]) -> None:
    found = stated_limits(headers, now_s=NOW_S)
    if found is None:
        return
    assert found.requests is not None or found.tokens is not None
    for window in (found.requests, found.tokens):
        if window is not None:
            assert window.limit is not None or window.remaining is not None
            assert window.limit is None or window.limit > 0
            assert window.remaining is None or window.remaining >= 0
            assert window.reset_s is None or 0 <= window.reset_s <= MAX_RESET_S


@given(
    st.lists(
        st.tuples(st.integers(1, 1000), st.integers(0, 1000)).filter(lambda pair: pair[1] <= pair[0]),
        min_size=3,
        max_size=3,
    )
)
def test_no_family_has_less_left_than_the_one_given(pairs: list[tuple[int, int]]) -> None:
    headers: dict[str, str] = {}
    for what, (limit, remaining) in zip(("tokens", "input-tokens", "output-tokens"), pairs, strict=True):
        headers[f"anthropic-ratelimit-{what}-limit"] = str(limit)
        headers[f"anthropic-ratelimit-{what}-remaining"] = str(remaining)
    found = stated_limits(headers, now_s=NOW_S)
    assert found is not None
    window = found.tokens
    assert window is not None
    assert (window.limit, window.remaining) in pairs
    assert window.remaining is not None
    assert window.limit is not None
    assert window.remaining / window.limit == min(remaining / limit for limit, remaining in pairs)


def _recorded() -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    for path in sorted(RECORDINGS.glob("*/*.json")):
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if "h:ratelimit" in data["tags"]:
            found.append((data["id"], data["response"]["headers"]))
    return found


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"NO PROVIDER RECORDINGS at {RECORDINGS}")
def test_every_recorded_answer_with_limits_states_them() -> None:
    silent: list[str] = []
    for name, headers in _recorded():
        found = stated_limits(CIMultiDict(headers), now_s=NOW_S)
        pair = ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens")
        if found is None:
            silent.append(name)
            # What is left out names no window of requests or tokens.
            assert not any("remaining-requests" in key or "remaining-tokens" in key for key in headers), name
            assert not any(key.startswith("anthropic-ratelimit-") for key in headers), name
            continue
        if "x-ratelimit-remaining-project-tokens" not in headers and all(key in headers for key in pair):
            assert found.tokens is not None, name
            assert (str(found.tokens.limit), str(found.tokens.remaining)) == tuple(headers[key] for key in pair), name
        if "anthropic-ratelimit-requests-limit" in headers:
            assert found.requests is not None, name
            assert str(found.requests.limit) == headers["anthropic-ratelimit-requests-limit"], name
    assert len(_recorded()) >= 60
    assert len(silent) <= 4, silent
