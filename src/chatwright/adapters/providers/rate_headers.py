"""What the headers of an answer say about the limits of the key that was used.

Pure. Reads the families of OpenAI (Azure, Groq, x.ai and many compatible hosts use the same names), Mistral and
Anthropic; `transport.post` calls it once an answer, also for errors. A header that cannot be read counts as not sent.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import inf, isfinite

from multidict import istr

from chatwright.domain.providers import StatedLimits, Window

MAX_RESET_S = 86_400.0
"""A day: the longest window that any known host counts in."""

_Names = tuple[str, str, str]
"""Limit, what remains, and when it is whole again."""


def _openai(what: str) -> _Names:
    return istr(f"x-ratelimit-limit-{what}"), istr(f"x-ratelimit-remaining-{what}"), istr(f"x-ratelimit-reset-{what}")


def _anthropic(what: str) -> _Names:
    start = f"anthropic-ratelimit-{what}"
    return istr(f"{start}-limit"), istr(f"{start}-remaining"), istr(f"{start}-reset")


# A family's first names decide whether its other ones are looked up at all.
_OPENAI = (_openai("requests"), _openai("tokens"))
_OPENAI_MORE = (_openai("project-requests"), _openai("project-tokens"))
_MISTRAL = (_openai("req-minute"), _openai("tokens-minute"))
_ANTHROPIC = (_anthropic("requests"), _anthropic("tokens"))
_ANTHROPIC_MORE = (_anthropic("input-tokens"), _anthropic("output-tokens"))

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,12})?)(d|h|ms|m|s|us|µs|ns)")
_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_LONGEST_VALUE = 40


def stated_limits(headers: Mapping[str, str], *, now_s: float) -> StatedLimits | None:
    """Read the limits, or None if no header states one. Names are looked up as the mapping compares them.

    `now_s` is the wall clock in seconds since 1970, for resets given as a point in time. Where several windows hold
    tokens (a project's beside a key's, input beside output) the one with the smallest share left is given.
    """
    # Answers without such headers are common: four look-ups and they are done with.
    if _OPENAI[0][1] in headers or _OPENAI[1][1] in headers:
        requests, tokens = _OPENAI
        more_requests, more_tokens = _OPENAI_MORE
        return _limits(
            _tightest(headers, (requests, more_requests), now_s), _tightest(headers, (tokens, more_tokens), now_s)
        )
    if _ANTHROPIC[0][1] in headers or _ANTHROPIC_MORE[0][1] in headers:
        requests, tokens = _ANTHROPIC
        return _limits(_window(headers, requests, now_s), _tightest(headers, (tokens, *_ANTHROPIC_MORE), now_s))
    if _MISTRAL[0][1] in headers:
        return _limits(_window(headers, _MISTRAL[0], now_s), _window(headers, _MISTRAL[1], now_s))
    return None


def _limits(requests: Window | None, tokens: Window | None) -> StatedLimits | None:
    return None if requests is None and tokens is None else StatedLimits(requests=requests, tokens=tokens)


def _tightest(headers: Mapping[str, str], families: tuple[_Names, ...], now_s: float) -> Window | None:
    best: Window | None = None
    for names in families:
        window = _window(headers, names, now_s)
        if window is not None and (best is None or _share(window) < _share(best)):
            best = window
    return best


def _share(window: Window) -> float:
    """What is left of a window, 0..1; infinite if that is not known, so that any known one is tighter."""
    if window.remaining is None:
        return inf
    if window.limit is None:
        return 0.0 if window.remaining == 0 else inf
    return window.remaining / window.limit


def _window(headers: Mapping[str, str], names: _Names, now_s: float) -> Window | None:
    """One window; None if neither its limit nor its rest is stated: a reset alone says nothing."""
    limit_name, remaining_name, reset_name = names
    raw_limit, raw_remaining = headers.get(limit_name), headers.get(remaining_name)
    if raw_limit is None and raw_remaining is None:
        return None
    limit, remaining = _count(raw_limit), _count(raw_remaining)
    if limit == 0:
        # Azure's way to say that it does not count here; its rest is 0 or -1 then.
        limit = None
        remaining = remaining or None
    if limit is None and remaining is None:
        return None
    raw_reset = headers.get(reset_name)
    return Window(limit=limit, remaining=remaining, reset_s=None if raw_reset is None else reset_s(raw_reset, now_s))


def _count(raw: str | None) -> int | None:
    """A number of requests or tokens. None for none, for a negative one (Azure's "unknown") and for any other text."""
    if raw is None or len(raw) > _LONGEST_VALUE or not raw.isascii():
        return None
    try:
        value = int(raw)
    except ValueError:
        try:
            found = float(raw)
        except ValueError:
            return None
        if not isfinite(found):
            return None
        value = int(found)
    return value if 0 <= value < 1 << 53 else None


def reset_s(raw: str, now_s: float) -> float | None:
    """Seconds until a window is whole again, 0..MAX_RESET_S; None if the text says nothing.

    A duration (`17ms`, `1m2.5s`), bare seconds, an RFC 3339 time, or seconds or milliseconds since 1970.
    """
    raw = raw.strip()
    if not raw or len(raw) > _LONGEST_VALUE:
        return None
    seconds = _duration_s(raw) if raw[-1] in "smhd" else _bare_s(raw, now_s)
    if seconds is None or not isfinite(seconds):
        return None
    return min(max(0.0, seconds), MAX_RESET_S)


@lru_cache(maxsize=512)
def _duration_s(raw: str) -> float | None:
    """`1h2m3.5s` in seconds. The same few texts come with every answer."""
    total, at = 0.0, 0
    for part in _DURATION.finditer(raw):
        if part.start() != at:
            return None
        total += float(part[1]) * _SECONDS[part[2]]
        at = part.end()
    return total if at == len(raw) else None


def _bare_s(raw: str, now_s: float) -> float | None:
    try:
        value = float(raw) if raw.isascii() else None
    except ValueError:
        try:
            moment = datetime.fromisoformat(raw)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        try:
            return moment.timestamp() - now_s
        except OverflowError:
            return None
    if value is None or value < 0:
        # Azure's -1: not known.
        return None
    if value > 1e12:
        return value / 1000 - now_s
    return value - now_s if value > 1e9 else value
