"""Errors on their way out: one envelope for every transport, fit for OpenAI's clients too."""

import math

from chatwright.domain import errors
from chatwright.domain.errors import BudgetExceeded, ChatwrightError, ProviderError, RateLimited, Unavailable
from chatwright.domain.limits import Allowance, Standing
from chatwright.entrypoints.call import Header, Reply, json_reply
from chatwright.entrypoints.wire import ErrorDetail, ErrorReply

INTERNAL_MESSAGE = "something went wrong on our side; the request id helps to find it in the log"
_UNAVAILABLE_RETRY_S = 1
_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}


def _codes(kind: type[ChatwrightError]) -> dict[str, int]:
    found = {kind.code: kind.status}
    for child in kind.__subclasses__():
        found = _codes(child) | found
    return found


# A failed message keeps its error's code only; this finds the status again.
_STATUS = {**_codes(errors.ChatwrightError), "refused": 400, "failed": 500, "cancelled": 409, "merged_into": 409}


def error_type(status: int) -> str:
    """The coarse class that OpenAI's clients know."""
    return _TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")


def error_detail(error: ChatwrightError, request_id: str) -> ErrorDetail:
    message = error.message if error.status != 500 else INTERNAL_MESSAGE
    return ErrorDetail(error_type(error.status), error.code, message, error.param, request_id)


def error_reply(error: ChatwrightError, request_id: str, *, headers: tuple[Header, ...] = ()) -> Reply:
    """The reply that says what was wrong, with Retry-After where waiting helps."""
    wait_s = retry_after_s(error)
    if wait_s is not None:
        headers = (*headers, (b"retry-after", str(wait_s).encode()))
    if isinstance(error, RateLimited):
        headers = (*headers, *limit_headers(error.standing))
    if error.status == 401:
        headers = (*headers, (b"www-authenticate", b"Bearer"))
    if error.status == 408:
        # The rest of the body is not waited for: the connection cannot be used for another request. After a 413 it can:
        # closing would take the refusal from a client that is still sending; the rest is dropped for 15 s (bounded.py).
        headers = (*headers, (b"connection", b"close"))
    return json_reply(ErrorReply(error_detail(error, request_id)), status=error.status, headers=headers)


def limit_headers(standing: Standing | None) -> tuple[Header, ...]:
    """How far the rate limits are used, in OpenAI's words; nothing where none applies."""
    if standing is None:
        return ()
    headers: tuple[Header, ...] = ()
    if standing.requests is not None:
        headers = _allowance_headers(b"requests", standing.requests)
    if standing.tokens is not None:
        headers += _allowance_headers(b"tokens", standing.tokens)
    return headers


def _allowance_headers(unit: bytes, allowance: Allowance) -> tuple[Header, ...]:
    return (
        (b"x-ratelimit-limit-" + unit, b"%d" % allowance.limit),
        (b"x-ratelimit-remaining-" + unit, b"%d" % allowance.remaining),
        (b"x-ratelimit-reset-" + unit, duration(allowance.reset_s)),
    )


def duration(seconds: float) -> bytes:
    """A time as OpenAI writes it, rounded up to the millisecond: ``17ms``, ``1.2s``, ``6m0s``."""
    ms = math.ceil(seconds * 1000)
    if ms < 1000:
        return b"%dms" % ms
    minutes, ms = divmod(ms, 60_000)
    rest = f"{ms / 1000:g}s".encode()
    return b"%dm%b" % (minutes, rest) if minutes else rest


def retry_after_s(error: ChatwrightError) -> int | None:
    """Whole seconds to wait, rounded up so that whoever obeys is not refused again."""
    if isinstance(error, RateLimited):
        return max(1, math.ceil(error.retry_after_s))
    if isinstance(error, ProviderError | BudgetExceeded) and error.retry_after_s is not None:
        return max(1, math.ceil(error.retry_after_s))
    return _UNAVAILABLE_RETRY_S if isinstance(error, Unavailable) else None


def failed_reply(code: str, message: str, *, request_id: str, message_id: str, conversation_id: str) -> Reply:
    """The reply for a message that was accepted and then ended without an answer."""
    status = _STATUS.get(code, 500)
    detail = ErrorDetail(error_type(status), code, message, None, request_id)
    return json_reply(ErrorReply(detail, message_id, conversation_id), status=status)
