"""Runs one completion over a chain of targets within one attempt budget.

Owns the order of calls and what each one is booked as; knows nothing of tenants or messages. A target that fails
before its first visible text is left for the next one; after it, the failure is the answer's. Every call is opened in
the books before it is made and closed in every ending.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from chatwright.adapters.providers.base import WireFormat
from chatwright.domain.errors import CutStream, ProviderError
from chatwright.domain.ids import CallId
from chatwright.domain.providers import Completion, Delta, Prompt, Route, Usage
from chatwright.features.routing.rules import Step, backoff_s, next_step


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call may go. `counts` is False for local providers, which cost no attempt."""

    route: Route
    wire: WireFormat
    counts: bool = True


class Books(Protocol):
    """The flow's connection to the ledger."""

    async def open(self, route: Route) -> CallId:
        """Commit the call's row before the call is made."""
        ...

    def close(
        self, call_id: CallId, route: Route, state: str, usage: Usage | None, error: ProviderError | None
    ) -> None:
        """Hand over how the call ended; `usage` None means the provider reported nothing."""
        ...


class ProviderRun:
    """One completion's way through the chain. Use `deltas()` or `complete()`, once.

    Afterwards `route` is the target that answered, `attempts` the number of calls made, `errors` what went wrong on
    the way.
    """

    def __init__(self, targets: Sequence[Target], prompt: Prompt, books: Books, *, max_calls: int) -> None:
        self._targets = targets
        self._prompt = prompt
        self._books = books
        self._calls_left = max_calls
        self.attempts = 0
        self.route: Route | None = None
        self.errors: list[ProviderError] = []

    async def deltas(self) -> AsyncGenerator[Delta]:
        """Stream the answer. Raises ProviderError when no target gave a first piece, or when one failed after it."""
        index, tries_here = 0, 0
        while True:
            index = self._skip_spent(index)
            target = self._targets[index]
            tries_here += 1
            try:
                async with aclosing(self._stream(target)) as pieces:
                    async for delta in pieces:
                        yield delta
                return
            except _BeforeText as failure:
                index, tries_here = await self._after(failure.error, index, tries_here)

    async def complete(self) -> Completion:
        """The same without streaming: falls back on any failure."""
        index, tries_here = 0, 0
        while True:
            index = self._skip_spent(index)
            target = self._targets[index]
            tries_here += 1
            call_id, route = await self._open(target)
            try:
                completion = await target.wire.complete(route, self._prompt)
            except ProviderError as error:
                self._books.close(call_id, route, "failed", error.usage, error)
                index, tries_here = await self._after(error, index, tries_here)
                continue
            except BaseException:
                self._books.close(call_id, route, "cancelled", None, None)
                raise
            self._books.close(call_id, route, "ok", completion.usage, None)
            return completion

    async def _stream(self, target: Target) -> AsyncGenerator[Delta]:
        call_id, route = await self._open(target)
        state, usage, visible, finish, failed = "cancelled", None, False, None, None
        said = 0
        try:
            async for delta in target.wire.stream(route, self._prompt):
                if delta.usage is not None:
                    usage = delta.usage
                finish = delta.finish or finish
                said += len(delta.text) + len(delta.reasoning)
                visible = visible or bool(delta.text or delta.tool_calls)
                yield delta
            if finish is None:
                raise CutStream(f"{route.provider} ended the stream without a finish marker")
            state = "ok"
        except ProviderError as error:
            failed, usage = error, usage or error.usage
            state = "cut" if visible else "failed"
            if visible:
                raise
            raise _BeforeText(error) from error
        finally:
            if usage is None and state in ("cut", "cancelled") and said:
                # Nothing was reported for what was said: an estimate, marked as one, keeps the books near the bill.
                usage = Usage(input_tokens=self._prompt_tokens(), output_tokens=max(1, said // 4), estimated=True)
            self._books.close(call_id, route, state, usage, failed)

    async def _open(self, target: Target) -> tuple[CallId, Route]:
        if target.counts:
            self._calls_left -= 1
            self.attempts += 1
        self.route = target.route
        call_id = await self._books.open(target.route)
        return call_id, replace(target.route, call_id=call_id)

    def _skip_spent(self, index: int) -> int:
        """The next target that may still be called: with the budget spent, only local ones."""
        for position in range(index, len(self._targets)):
            if not self._targets[position].counts or self._calls_left > 0:
                return position
        raise self._exhausted()

    async def _after(self, error: ProviderError, index: int, tries_here: int) -> tuple[int, int]:
        self.errors.append(error)
        routes_left = len(self._targets) - index - 1
        match next_step(error, tries_here=tries_here, calls_left=self._calls_left, routes_left=routes_left):
            case Step.SAME:
                await asyncio.sleep(backoff_s(error, tries_here=tries_here, jitter=random.random()))  # noqa: S311
                return index, tries_here
            case Step.NEXT:
                return index + 1, 0
            case Step.STOP:
                raise error

    def _exhausted(self) -> ProviderError:
        if self.errors:
            return self.errors[-1]
        return ProviderError(
            "no provider may be called: the answer's attempts are spent", retriable=False, error_class="attempts_spent"
        )

    def _prompt_tokens(self) -> int:
        return sum(len(turn.content) for turn in self._prompt.turns) // 4 + 1


class _BeforeText(Exception):
    """A target failed before its first visible text."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.message)
        self.error = error
