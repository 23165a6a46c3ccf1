"""Who is called next: the chain of targets in order of preference, one attempt budget, and the waits that help.

Asks the gates, notes in the books who was passed over, and says in the end why nobody may be called. One a run;
`service.py` makes the calls and tells how they went.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import cast

from chatwright.domain.errors import BudgetExceeded, ContextLengthError, ProviderError
from chatwright.features.routing.call import Slot
from chatwright.features.routing.gate import Admission
from chatwright.features.routing.gates import Gates
from chatwright.features.routing.rules import MAX_TRIES, backoff_s, may_retry, most_telling, refused_error
from chatwright.features.routing.target import Books, PassedOver, Target

LEAST_CALL_S = 0.05
"""With less time left than this no call is begun."""
LEAST_WAIT_S = 0.005


class Chain:
    """The targets of one run. `errors` grows by what went wrong, `calls_left` is what remains of the budget."""

    def __init__(
        self,
        targets: Sequence[Target],
        books: Books,
        gates: Gates,
        errors: list[ProviderError],
        *,
        max_calls: int,
        deadline: float,
        patience_s: float,
        prompt_tokens: int,
        tokens: int,
    ) -> None:
        """`tokens`: what a call is expected to use, prompt and answer together. `deadline`: on the loop's clock."""
        self.slots = [Slot(target) for target in targets]
        self.calls_left = max_calls
        self._books = books
        self._gates = gates
        self._errors = errors
        self._deadline = deadline
        self._patience_s = patience_s
        self._patience_left_s = patience_s
        self._prompt_tokens = prompt_tokens
        self._tokens = tokens
        self._too_long_for = 0  # a context of so many tokens is known to be too small
        self._refusals = False
        self._over_budget: BudgetExceeded | None = None
        self._clock = asyncio.get_running_loop().time

    async def choose(self) -> tuple[Slot, Admission]:
        """The next target, admitted; waits where that helps. Raises the most telling error if there is none.

        Those that were not asked yet come first, in order; then one that failed in passing; then the last resort.
        """
        gates = self._gates
        while True:
            now = self._clock()
            nearest: Slot | None = None
            nearest_s = float("inf")
            last_resort: Slot | None = None
            stalled: Slot | None = None
            counted = False
            for slot in self.slots:
                if not slot.target.counts:
                    if not slot.spent and not counted:
                        return slot, await gates.admit(slot.target, 0)
                    last_resort = last_resort or (None if slot.spent else slot)
                    continue
                counted = True
                if slot.tries or not self._may_call(slot, now):
                    continue
                admission = await gates.admit(slot.target, self._tokens)
                if admission.ok:
                    return slot, admission
                self._refused(slot, admission)
                if not admission.wait_s:
                    stalled = stalled or slot
                elif admission.wait_s < nearest_s:
                    nearest, nearest_s = slot, admission.wait_s
            if stalled is not None:
                admission = await gates.admit(stalled.target, self._tokens, alone=True)
                if admission.ok:
                    return stalled, admission
            for slot in self.slots:
                if not slot.tries or not slot.target.counts or not self._may_call(slot, now):
                    continue
                wait_s = max(slot.ready_s - now, gates.wait_s(slot.target))
                if wait_s <= 0:
                    admission = await gates.admit(slot.target, self._tokens, alone=True)
                    if admission.ok:
                        return slot, admission
                    self._refused(slot, admission)
                    wait_s = admission.wait_s
                if wait_s < nearest_s:
                    nearest, nearest_s = slot, wait_s
            nearest_s = max(nearest_s, LEAST_WAIT_S)
            now = self._clock()
            if nearest is None or nearest_s > self._patience_left_s or now + nearest_s > self._deadline - LEAST_CALL_S:
                if last_resort is not None:
                    return last_resort, await gates.admit(last_resort.target, 0)
                raise self._over_budget or self._exhausted()
            await gates.wait(nearest.target, nearest_s)
            self._patience_left_s -= self._clock() - now

    async def beside(self) -> tuple[Slot, Admission] | None:
        """A target for a second call at the same time: not asked yet, and takes it at once. None if there is none."""
        for slot in self.slots:
            if slot.target.counts and not slot.tries and self._may_call(slot, self._clock()):
                admission = await self._gates.admit(slot.target, self._tokens)
                if admission.ok:
                    return slot, admission
                self._refused(slot, admission)
        return None

    def called(self, slot: Slot) -> None:
        """A call to the target is made."""
        slot.tries += 1
        slot.refusal = None
        if slot.target.counts:
            self.calls_left -= 1
        if self._refusals:
            self._book_refusals()

    def failed(self, slot: Slot, error: ProviderError) -> None:
        """The call failed: decide whether the target may be asked again, and when."""
        self._errors.append(error)
        if isinstance(error, ContextLengthError):
            self._too_long_for = max(self._too_long_for, slot.target.context_tokens or self._prompt_tokens)
        if slot.target.counts and may_retry(error, tries=slot.tries, patience_s=self._patience_s):
            slot.ready_s = self._clock() + backoff_s(error, tries=slot.tries, jitter=random.random())  # noqa: S311
        else:
            slot.spent = True

    def hold_back(self, error: BudgetExceeded, spare: Sequence[Target]) -> None:
        """A budget held a call back: of those that were to be called only local ones still are, and the `spare` targets.

        The first refusal stays the reason if these cannot answer either.
        """
        self._over_budget = self._over_budget or error
        for slot in self.slots:
            slot.spent = slot.spent or slot.target.counts
        self.slots += [Slot(target) for target in spare]

    def others_left(self) -> bool:
        """Whether a counted target that was not asked yet could take a call now."""
        return (
            self.calls_left > 0
            and len(self.slots) > 1
            and any(
                slot.target.counts and not slot.tries and not slot.spent and not self._gates.wait_s(slot.target)
                for slot in self.slots
            )
        )

    def _may_call(self, slot: Slot, now: float) -> bool:
        if slot.spent or self.calls_left <= 0 or slot.tries >= MAX_TRIES or now > self._deadline - LEAST_CALL_S:
            return False
        context_tokens = slot.target.context_tokens
        if self._too_long_for and context_tokens is not None and context_tokens <= self._too_long_for:
            slot.spent = True
            self._books.passed_over(slot.target.route, "context_too_small")
            return False
        return True

    def _refused(self, slot: Slot, admission: Admission) -> None:
        slot.refusal = admission
        self._refusals = True

    def _book_refusals(self) -> None:
        """Note whom the choice has passed over, now that it is made."""
        for slot in self.slots:
            if slot.refusal is not None and not slot.passed_over:
                slot.passed_over = True
                self._books.passed_over(slot.target.route, cast("PassedOver", slot.refusal.reason))

    def _exhausted(self) -> ProviderError:
        """Why nobody may be called."""
        self._book_refusals()
        refusals = [
            refused_error(slot.target.route.provider, slot.refusal.reason, slot.refusal.wait_s)
            for slot in self.slots
            if slot.refusal is not None and not slot.spent
        ]
        error = most_telling([*self._errors, *refusals])
        if error is not None:
            return error
        if self.calls_left <= 0:
            message, error_class = "no provider may be called: the answer's attempts are spent", "attempts_spent"
        else:
            message, error_class = "no provider may be called: the answer's time is over", "deadline"
        return ProviderError(message, retriable=False, error_class=error_class)
