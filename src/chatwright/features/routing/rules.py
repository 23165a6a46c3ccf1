"""What follows a provider's failure. Pure."""

from enum import StrEnum

from chatwright.domain.errors import ProviderError

PATIENCE_S = 2.0
"""Longest wait that a provider may ask for before we rather go to the next one: a visitor is waiting."""


class Step(StrEnum):
    SAME = "same"
    NEXT = "next"
    STOP = "stop"


def next_step(error: ProviderError, *, tries_here: int, calls_left: int, routes_left: int) -> Step:
    """Decide where the next call goes.

    `tries_here`: calls made on this route so far, `calls_left`: what remains of the answer's one attempt budget,
    `routes_left`: routes after this one. A second try on the same route is worth it only for a passing fault, and
    never at the cost of a route that has not been tried.
    """
    passing = error.retriable and (error.retry_after_s or 0.0) <= PATIENCE_S
    if passing and tries_here < 2 and calls_left > routes_left:
        return Step.SAME
    if routes_left:
        return Step.NEXT
    return Step.STOP


def backoff_s(error: ProviderError, *, tries_here: int, jitter: float) -> float:
    """Seconds to wait before the same route again: what the provider asked for, else 0.1 s doubled, 50-150 %.

    `jitter` is a random number in 0..1.
    """
    if error.retry_after_s is not None:
        return min(error.retry_after_s, PATIENCE_S)
    return min(PATIENCE_S, 0.1 * 2 ** (tries_here - 1)) * (0.5 + jitter)
