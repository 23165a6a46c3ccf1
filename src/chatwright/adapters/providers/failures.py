"""From a provider's failure to the exception of our tree: the table of statuses, codes and texts, in one place.

Pure. Used by the wire formats; nothing here knows a connection. Messages are made fit for logs and visitors: no key, no
prompt, at most MAX_MESSAGE_CHARS.
"""

import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import msgspec

from chatwright.domain.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    ProviderError,
    RateLimitError,
)

MAX_MESSAGE_CHARS = 500
MAX_RETRY_AFTER_S = 86_400.0

_KEY = re.compile(
    r"(?i:bearer\s+)[^\s\"']{4,}|\b(?:sk|pk|rk|gsk|xai|pplx|hf|nvapi|csk|tgp|r8|cw|fw)[-_][A-Za-z0-9_\-*.]{3,}"
    r"|\bAIza[A-Za-z0-9_\-]{10,}|\b(?:org|proj)[-_][A-Za-z0-9]{12,}|\bya29\.[A-Za-z0-9_\-.]+|[A-Za-z0-9_\-]*\*{3,}[A-Za-z0-9_\-*]*|\b[A-Za-z0-9_]{36,}\b"
)
_CONTEXT = re.compile(
    r"maximum context length|max(?:imum)? (?:context|prompt|input) (?:length|size|tokens)|context[ _](?:length|window|size)"
    r"|prompt (?:is )?too long|too many (?:prompt |input )?tokens|input token count .{0,40}exceeds"
    r"|reduce the length of|length of all messages is too long|longer than the model'?s context|exceed context limit",
    re.IGNORECASE,
)
_CONTEXT_CODES = frozenset(
    {
        "context_length_exceeded",
        "too_many_prompt_tokens",
        "exceed_context_size_error",
        "model_context_window_exceeded",
        "request_too_large",
    }
)
_QUOTA_CODES = frozenset(
    {"insufficient_quota", "billing_error", "insufficient_credits", "billing_hard_limit_reached", "billing_not_active"}
)
_QUOTA = re.compile(
    r"exceeded your current quota|insufficient (?:balance|credits|quota|funds)|billing details"
    r"|credit balance is too low|reached your specified .{0,20}usage limit",
    re.IGNORECASE,
)
_AUTH_CODES = frozenset(
    {
        "invalid_api_key",
        "authentication_error",
        "permission_error",
        "permission_denied",
        "unauthorized",
        "API_KEY_INVALID",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
    }
)
_AUTH = re.compile(r"(?:incorrect|invalid) api[ _]key|api key not valid|api_key_invalid", re.IGNORECASE)
_FILTER_CODES = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "invalid_prompt",
        "ResponsibleAIPolicyViolation",
        "moderation_blocked",
    }
)
_RATE_CODES = frozenset(
    {"rate_limit_exceeded", "rate_limit_error", "RateLimitReached", "RESOURCE_EXHAUSTED", "too_many_requests"}
)
_REFUSED_CODES = frozenset({"invalid_request_error", "not_found_error", "unsupported_parameter", "INVALID_ARGUMENT"})
_MODEL_CODES = frozenset({"model_not_found", "DeploymentNotFound", "not_found_error"})
_TRANSIENT = frozenset({408, 409, 425})
# Of 403s and 429s those that are about this one request, whoever's key it was made with: hosts that moderate say 403, a
# file or bucket that the key may not read is one, and a prompt above the whole minute's tokens never fits.
_MODERATED = re.compile(r"\bmoderation\b|input was flagged|safety[ _]check|violates usage guidelines", re.IGNORECASE)
_OF_A_FILE = re.compile(r"access the file\b|storage\.objects\.|\bgs://|\bbucket\b", re.IGNORECASE)
_NEVER_FITS = re.compile(r"request too large for|must be reduced in order to run|\blimit: 0\b", re.IGNORECASE)
# Bounded everywhere: the page is a stranger's, and one quantifier beside another would let it hold us for minutes.
_TITLE = re.compile(rb"<title[^<>]{0,200}>([^<]{1,200})", re.IGNORECASE)


class Failure(msgspec.Struct, frozen=True):
    """What a provider's error body says: its words, and every code or type it gives, as text."""

    message: str = ""
    codes: tuple[str, ...] = ()
    status: int | None = None
    """An HTTP status that the body itself names (errors inside a stream)."""
    param: str = ""
    wait_s: float | None = None
    """How long the body asks us to wait (Google sends no header for it)."""
    spent: bool | None = None
    """Whether a quota of a day is used up, not one of a minute; None if the body names no quota."""


def read_failure(body: bytes) -> Failure:
    """Read an error body of any known shape: OpenAI, Ollama, vLLM, Mistral, x.ai, Azure, Google's array, HTML, text."""
    try:
        return failure_of(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Failure(_words(body))


def failure_of(value: object) -> Failure:
    """The same for a decoded value; `value` may also be the inside of `error`."""
    if isinstance(value, list):
        return failure_of(value[0]) if value else Failure()
    if isinstance(value, str):
        return Failure(value)
    if not isinstance(value, dict):
        return Failure()
    inner: object = value.get("error")
    if isinstance(inner, dict):
        found = failure_of(inner)
        return msgspec.structs.replace(found, codes=(*found.codes, *_codes(value)))
    message = inner if isinstance(inner, str) else value.get("message")
    if not isinstance(message, str):
        detail: object = value.get("detail")
        message = detail if isinstance(detail, str) else "" if detail is None else msgspec.json.encode(detail).decode()
    codes = _codes(value)
    param: object = value.get("param")
    found = Failure(message, codes, _status(value), param if isinstance(param, str) else "")
    details: object = value.get("details")
    return _with_details(found, details) if isinstance(details, list) else found


def _with_details(failure: Failure, details: list[Any]) -> Failure:
    """Add what Google's `details` say: a reason, a quota, a wait. Each names its kind in `@type`."""
    reasons: list[str] = []
    wait_s: float | None = None
    spent: bool | None = None
    for detail in details:
        match detail:
            case {"reason": str(reason)}:
                reasons.append(reason)
            case {"retryDelay": str(delay)}:
                wait_s = _number(delay.removesuffix("s"))
            case {"violations": list(violations)}:
                ids = [str(quota.get("quotaId", "")) for quota in violations if isinstance(quota, dict)]
                # Several may be listed: while a day's is used up, waiting for a minute's is no use.
                spent = any("PerDay" in quota for quota in ids) if any(ids) else None
            case _:
                continue
    return msgspec.structs.replace(failure, codes=(*failure.codes, *reasons), wait_s=wait_s, spent=spent)


def _codes(value: Mapping[str, object]) -> tuple[str, ...]:
    found: list[object] = [value.get(name) for name in ("code", "type", "status")]
    nested: object = value.get("innererror") or value.get("inner_error")
    if isinstance(nested, dict):
        found.append(nested.get("code"))
    return tuple(str(code) for code in found if isinstance(code, str | int) and not isinstance(code, bool))


def _status(value: Mapping[str, object]) -> int | None:
    for name in ("status_code", "code", "status"):
        code: object = value.get(name)
        if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdigit():
            code = int(code)
        if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599:
            return code
    return None


def _words(body: bytes) -> str:
    """The gist of a body that is not JSON."""
    if body.lstrip()[:1] == b"<":
        title = _TITLE.search(body)
        words = " ".join(title[1].decode("utf-8", "replace").split())[:120] if title else ""
        return f"an HTML page ({words})" if words else "an HTML page"
    return body[:2000].decode("utf-8", "replace").strip()


def failed(
    failure: Failure,
    *,
    provider: str,
    status: int,
    headers: Mapping[str, str],
    secrets: Iterable[str] = (),
    prompt: Iterable[str] = (),
) -> ProviderError:
    """The exception for a failure; returned, not raised.

    `status` is the answer's HTTP status; 200 if the error came inside a good answer or a stream. `secrets` and
    `prompt` are taken out of the provider's words.
    """
    codes = set(failure.codes)
    message = _message(failure.message, provider, status, secrets, prompt)
    wait_s = retry_after_s(headers) if status >= 400 else None
    if wait_s is None and failure.wait_s is not None:
        wait_s = min(failure.wait_s, MAX_RETRY_AFTER_S)
    judged = status if status >= 400 else failure.status or _status_of(codes)
    if codes & _FILTER_CODES and judged < 500:
        return ContentFilterError(message, upstream_status=status)
    if judged == 403 and _MODERATED.search(failure.message):
        return ContentFilterError(message, upstream_status=status)
    # Such a refusal must not take the key out of use: whoever chose the model or wrote the prompt would choose for all.
    if (judged == 403 and (codes & _MODEL_CODES or _OF_A_FILE.search(failure.message))) or (
        judged == 429 and _NEVER_FITS.search(failure.message)
    ):
        error_class = "model_not_found" if codes & _MODEL_CODES else "refused"
        return ProviderError(message, retriable=False, upstream_status=status, error_class=error_class)
    quota = failure.spent
    if quota is None:
        # Google says "exceeded your current quota" of a minute's quota too: its text decides nothing.
        told = "RESOURCE_EXHAUSTED" not in codes and _QUOTA.search(failure.message) is not None
        quota = told or bool(codes & _QUOTA_CODES)
    if judged == 402 or (judged in (400, 403, 429) and quota):
        return ProviderError(
            message, retriable=False, upstream_status=status, retry_after_s=wait_s, error_class="quota"
        )
    if judged == 413 or (judged in (400, 422, 500) and (codes & _CONTEXT_CODES or _CONTEXT.search(failure.message))):
        return ContextLengthError(message, upstream_status=status)
    if judged in (401, 403) or (judged == 400 and (codes & _AUTH_CODES or _AUTH.search(failure.message))):
        return AuthenticationError(message, upstream_status=status)
    if judged == 429:
        return RateLimitError(message, upstream_status=status, retry_after_s=wait_s)
    if judged >= 500 or judged in _TRANSIENT:
        retriable, error_class = True, "broken_answer" if "broken_answer" in codes else "server_error"
    elif judged == 404 or codes & _MODEL_CODES:
        retriable, error_class = False, "model_not_found" if codes & _MODEL_CODES or judged == 404 else "refused"
    else:
        retriable, error_class = False, "refused"
    # The provider's own word on it, where it gives one, counts more than our table.
    said = headers.get("x-should-retry", "").lower()
    if said in ("true", "false"):
        retriable = said == "true"
    return ProviderError(
        message, retriable=retriable, upstream_status=status, retry_after_s=wait_s, error_class=error_class
    )


def _status_of(codes: set[str]) -> int:
    """The status that an error inside a 200 would have had: by its code; unknown ones count as the server's fault."""
    for status, known in (
        (429, _RATE_CODES | _QUOTA_CODES),
        (401, _AUTH_CODES),
        (404, _MODEL_CODES),
        (400, _REFUSED_CODES | _CONTEXT_CODES | _FILTER_CODES),
    ):
        if codes & known:
            return status
    return 500


def _message(words: str, provider: str, status: int, secrets: Iterable[str], prompt: Iterable[str]) -> str:
    said = scrubbed(words, secrets=secrets, prompt=prompt)
    where = f"{provider} answered {status}" if status >= 400 else f"{provider} reported an error inside its answer"
    return f"{where}: {said}"[:MAX_MESSAGE_CHARS] if said else f"{where}."


def scrubbed(words: str, *, secrets: Iterable[str] = (), prompt: Iterable[str] = ()) -> str:
    """A provider's words without keys (ours, and whatever looks like one) and without pieces of the prompt."""
    words = words[:1000]
    for secret in secrets:
        if len(secret) >= 4:
            words = words.replace(secret, "[key]")
    words = _KEY.sub("[key]", words)
    for text in prompt:
        words = _without_quotes(words, text)
    return " ".join(words.split())[:MAX_MESSAGE_CHARS]


def _without_quotes(words: str, text: str, size: int = 16) -> str:
    """`words` with every run of `size` or more characters that also stands in `text` replaced.

    A short prompt is looked for as a whole, but not below 5 characters: "hi" stands in half of all messages.
    """
    size = min(size, len(text))
    if size < 5:
        return words
    if size == 16:
        # A shared run of 16 holds one of the text's aligned eights: most errors quote nothing and end here, so that a
        # long prompt is not searched once a character.
        eights = {text[i : i + 8] for i in range(0, len(text) - 7, 8)}
        if not any(words[i : i + 8] in eights for i in range(len(words) - 7)):
            return words
    kept: list[str] = []
    at = 0
    while at < len(words):
        end = at + size
        if end <= len(words) and words[at:end] in text:
            while end < len(words) and words[at : end + 1] in text:
                end += 1
            kept.append("[prompt]")
            at = end
        else:
            kept.append(words[at])
            at += 1
    return "".join(kept)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What the provider asks us to wait, in seconds: the larger of `retry-after` and `retry-after-ms`, or None.

    `retry-after` may be seconds, a fraction or an HTTP date. Header names are looked up in lower case.
    """
    waits: list[float] = []
    raw_ms = headers.get("retry-after-ms")
    if raw_ms is not None and (ms := _number(raw_ms)) is not None:
        waits.append(ms / 1000)
    raw = headers.get("retry-after")
    if raw is not None:
        seconds = _number(raw)
        if seconds is None:
            try:
                seconds = parsedate_to_datetime(raw).timestamp() - time()
            except (TypeError, ValueError, OverflowError):
                seconds = None
        if seconds is not None:
            waits.append(seconds)
    return min(max(0.0, *waits), MAX_RETRY_AFTER_S) if waits else None


def _number(raw: str) -> float | None:
    try:
        value = float(raw.strip())
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
