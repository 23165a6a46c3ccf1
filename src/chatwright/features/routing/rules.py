"""What follows a provider's failure: whose fault it was, how long to wait, which error to tell. Pure."""

from collections.abc import Iterable
from enum import StrEnum

from chatwright.domain.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    ProviderError,
    RateLimitError,
)

MAX_TRIES = 3
"""Calls of one answer on one target. The answer's attempt budget is usually smaller."""
BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 2.0
FIRST_BYTE_WITH_OTHERS_S = 10.0
"""How long a silent provider is waited for while another has not been asked: a visitor's patience, not a model's."""


class Verdict(StrEnum):
    """What a failed call says about the provider and key it was made with."""

    FAILING = "failing"
    LIMITED = "limited"
    REFUSED = "refused"
    ANSWERED = "answered"
    NOTHING = "nothing"


def judge(error: ProviderError) -> Verdict:
    """Sort a failure. FAILING counts towards the circuit breaker; LIMITED and REFUSED take the key out of use.

    ANSWERED: the provider works and disliked this request (too long, filtered, unknown model, a model that lost its
    way). NOTHING: no request was made. A certificate that is not accepted is not retriable, and still no call will get
    through. A key may be shared by tenants, so one refusal that a request can bring about (403, an account's limit) is
    not yet the end of it: it counts like a fault. Only a key that is unknown to the provider is out of use at once.
    """
    if isinstance(error, RateLimitError):
        return Verdict.LIMITED
    if isinstance(error, AuthenticationError) and error.upstream_status in (400, 401, None):
        return Verdict.REFUSED
    if error.error_class == "broken_answer":
        return Verdict.ANSWERED
    if error.retriable or error.error_class in ("transport", "quota", "authentication"):
        return Verdict.FAILING
    return Verdict.NOTHING if error.upstream_status is None else Verdict.ANSWERED


def backoff_s(error: ProviderError, *, tries: int, jitter: float) -> float:
    """Seconds before the same target again: what the provider asked for, else 0.1 s doubled, 50-150 %, at most 2 s.

    `tries`: calls made there so far, at least 1. `jitter` is a random number in 0..1.
    """
    if error.retry_after_s is not None:
        return error.retry_after_s
    return min(LONGEST_BACKOFF_S, BACKOFF_S * 2 ** (tries - 1) * (0.5 + jitter))


def may_retry(error: ProviderError, *, tries: int, patience_s: float) -> bool:
    """Whether the same target may be asked again: a passing fault, and no longer a wait than a visitor bears."""
    return error.retriable and tries < MAX_TRIES and (error.retry_after_s or 0.0) <= patience_s


def first_byte_s(limit_s: float, *, left_s: float, others: bool, whole: bool) -> float:
    """How long a call may be silent. `limit_s`: the route's own time-out, `left_s`: to the answer's deadline.

    `others`: another counted target has not been asked yet. `whole`: the answer comes in one piece, so its first byte
    comes when it is finished: then the others are left half of the time.
    """
    if others:
        limit_s = min(limit_s, max(FIRST_BYTE_WITH_OTHERS_S, left_s / 2) if whole else FIRST_BYTE_WITH_OTHERS_S)
    return max(0.0, min(limit_s, left_s))


def most_telling(errors: Iterable[ProviderError]) -> ProviderError | None:
    """The error to raise when nobody answered: what the caller can mend by another prompt or by waiting comes first.

    Of several rate limits the one that ends first; else the latest of its kind.
    """
    found: ProviderError | None = None
    for error in errors:
        if found is None or _rank(error) <= _rank(found):
            found = error
    return found


def _rank(error: ProviderError) -> tuple[int, float]:
    match error:
        case ContextLengthError() | ContentFilterError():
            return 0, 0.0
        case RateLimitError():
            return 1, float("inf") if error.retry_after_s is None else error.retry_after_s
        case _ if error.retriable:
            return 2, 0.0
        case AuthenticationError():
            return 3, 0.0
        case _:
            return 4, 0.0


def refused_error(provider: str, reason: str, wait_s: float) -> ProviderError:
    """The error for a target that was not called because its gate refused. `reason`: see gate.Admission."""
    match reason:
        case "rate_limited":
            return RateLimitError(
                f"{provider} has no room left under its limits", upstream_status=None, retry_after_s=wait_s
            )
        case "key_refused":
            return AuthenticationError(f"{provider}'s key was refused lately and is not used", upstream_status=None)
        case _:
            return ProviderError(
                f"{provider} fails at the moment and is left alone",
                retriable=True,
                retry_after_s=wait_s,
                error_class="breaker_open",
            )
