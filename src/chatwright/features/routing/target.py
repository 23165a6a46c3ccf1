"""Where a call may go, and the books that it goes through: what a flow hands to a run."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from chatwright.adapters.providers.base import WireFormat
from chatwright.domain.errors import BudgetExceeded, ProviderError
from chatwright.domain.ids import CallId
from chatwright.domain.providers import Route, Usage
from chatwright.features.routing.limits import KeyLimits
from chatwright.features.routing.unreported import Trace

PassedOver = Literal["breaker_open", "rate_limited", "key_refused", "context_too_small"]
NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call may go.

    `counts` is False for local providers, which cost no attempt. `gate` names what the breaker and the limits that the
    provider states are counted on (provider, key, address and model; empty for a local provider: nothing is counted).
    `limits` are the operator's for the key, counted on `account` over all models; those of 0 are learned from the
    provider's headers. `context_tokens` is the model's context size, None where it is not known.
    """

    route: Route
    wire: WireFormat
    counts: bool = True
    gate: str = ""
    limits: KeyLimits = NO_LIMITS
    context_tokens: int | None = None
    account: str = ""
    open_book: bool = False
    """Whatever the model writes is seen as it is written: what was read tells what it charges for. False where it may
    think unseen, and of models that nothing is known of."""
    thinks: bool = False
    """The model may be silent for long before its first word: it is given the route's own time, whoever waits behind."""


Spare = Callable[[BudgetExceeded], Awaitable[Sequence[Target]]]
"""What may still be called after a budget's refusal, in order; raises the refusal if nothing may."""


class Books(Protocol):
    """The flow's connection to the ledger."""

    async def open(self, route: Route) -> CallId:
        """Commit the call's row before the call is made. Raises BudgetExceeded when it may not be made."""
        ...

    def close(
        self,
        call_id: CallId,
        route: Route,
        state: str,
        usage: Usage | None,
        error: ProviderError | None,
        trace: Trace | None = None,
    ) -> None:
        """Hand over how the call ended. `usage` is what the provider reported; without a `trace` it is the last word,
        with one it was reported before the end, or not at all (None)."""
        ...

    def passed_over(self, route: Route, reason: PassedOver) -> None:
        """Note that a target was not called, at most once a target and run."""
        ...
