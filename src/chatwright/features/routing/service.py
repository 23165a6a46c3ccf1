"""Runs one completion over a chain of targets within one attempt budget.

Owns the order of calls and what each one is booked as; knows nothing of tenants or messages. A target whose gate
refuses is passed over; one that fails before its first visible text is left for the next one; after it, the failure
is the answer's. Every call is opened in the books before it is made and closed in every ending, and its gate is told.
Called by the flows of `pipeline/`.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from chatwright.domain.errors import BudgetExceeded, ChatwrightError, ContentFilterError, CutStream, ProviderError
from chatwright.domain.providers import Completion, Delta, Prompt, Route
from chatwright.features.routing.call import Call, Slot
from chatwright.features.routing.chain import Chain
from chatwright.features.routing.gate import Admission
from chatwright.features.routing.gates import Gates
from chatwright.features.routing.rules import FIRST_BYTE_WITH_OTHERS_S, first_byte_s
from chatwright.features.routing.target import Books, Spare, Target
from chatwright.features.routing.unreported import Reach, Trace, reach_of

ANSWER_SHARE = 4
"""An answer rarely takes all the tokens that it may: a quarter is reserved in the key's limit, and corrected after."""
UNBOUNDED_ANSWER_TOKENS = 1024
FAIR_FIRST_BYTE_S = FIRST_BYTE_WITH_OTHERS_S
"""The time-out of a call that was given less, because the answer's time was nearly over, says nothing about the
provider: a tenant's short deadlines must not open a breaker for others."""


class ProviderRun:
    """One completion's way through the chain. Use `deltas()` or `complete()`, once.

    Afterwards `route` is the target that answered, `attempts` the number of calls made, `fallbacks` how often a call
    went to another target than the one before it (the first call: than the preferred one), `errors` what went wrong.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        prompt: Prompt,
        books: Books,
        *,
        gates: Gates,
        max_calls: int,
        deadline: float,
        prompt_tokens: int,
        hedging: bool = False,
        skipped: Sequence[ProviderError] = (),
        patience_s: float = 5.0,
        spare: Spare | None = None,
    ) -> None:
        """`targets` in order of preference; a local one behind a counted one is the last resort, wherever it stands.

        `deadline`: on the loop's clock; no call begins and no pause ends after it, and a silent provider is given up
        at it (a stream in its middle is ended by the caller's own time-out). `max_calls`: attempts left to this
        answer. `skipped`: why links of the chain are no targets. `patience_s`: how long the run waits in all, for
        retries and gates. `spare`: what a budget that holds a call back still allows; None: nothing.
        """
        self.attempts = 0
        self.fallbacks = 0
        self.route: Route | None = None
        self.errors: list[ProviderError] = list(skipped)
        self._prompt = prompt
        self._books = books
        self._gates = gates
        self._deadline = deadline
        self._prompt_tokens = prompt_tokens
        self._hedging = hedging
        self._spare = spare
        self._chain = Chain(
            targets,
            books,
            gates,
            self.errors,
            max_calls=max_calls,
            deadline=deadline,
            patience_s=patience_s,
            prompt_tokens=prompt_tokens,
            tokens=prompt_tokens + (prompt.max_tokens or UNBOUNDED_ANSWER_TOKENS) // ANSWER_SHARE,
        )
        self._last = self._chain.slots[0] if targets else None
        self._clock = asyncio.get_running_loop().time

    async def deltas(self) -> AsyncGenerator[Delta]:
        """Stream the answer. Raises ProviderError when no target gave a first piece, or when one failed after it;
        BudgetExceeded when a budget holds the call back and nothing else may answer."""
        while True:
            call = await self._next(whole=False)
            if self._hedging and (call := await self._race(call)) is None:
                continue
            pieces = call.pieces
            assert pieces is not None
            try:
                call.drained = not call.head
                for delta in call.head:
                    yield delta
                call.asked = call.drained = True
                async for delta in pieces:
                    self._hear(call, delta)
                    call.drained = False  # who leaves here may leave more unread
                    yield delta
                    call.drained = True
                _check_end(call)
                return
            except ProviderError as error:
                self._fail(call, error)
                if call.visible:
                    raise
            finally:
                try:
                    await pieces.aclose()
                finally:
                    self._close(call)

    async def complete(self) -> Completion:
        """The same without streaming: falls back on any failure."""
        while True:
            call = await self._next(whole=True)
            if self._hedging:
                call = await self._race(call)
            else:
                await self._whole(call)
            if call is not None and call.completion is not None:
                return call.completion

    async def _next(self, *, whole: bool) -> Call:
        while True:
            slot, admission = await self._chain.choose()
            moved = self._last is not None and slot is not self._last
            try:
                call = await self._open(slot, admission, whole=whole)
            except BudgetExceeded as error:  # no failure of the provider's: nobody was called
                if self._spare is None:
                    raise
                self._chain.hold_back(error, await self._spare(error))
                self._last = None  # whoever answers now stands in for a budget, not for a provider that failed
            else:
                self._last = slot
                self.fallbacks += moved
                return call

    async def _open(self, slot: Slot, admission: Admission, *, whole: bool) -> Call:
        target = slot.target
        try:
            call_id = await self._books.open(target.route)
        except BaseException:
            self._gates.left(admission, used_tokens=0)
            raise
        self._chain.called(slot)
        self.attempts += target.counts
        route = self.route = target.route
        now = self._clock()
        left_s = max(0.0, self._deadline - now)
        others = self._chain.others_left() and not target.thinks
        silent_s = first_byte_s(route.first_byte_timeout_s, left_s=left_s, others=others, whole=whole)
        gate = admission.gate
        # Field by field: `dataclasses.replace` takes 2 µs longer, and this is every call's way. A test counts the fields.
        sent = Route(
            provider=route.provider,
            model=route.model,
            base_url=route.base_url,
            api_key=route.api_key,
            key_id=route.key_id,
            guarded=route.guarded,
            call_id=call_id,
            connect_timeout_s=route.connect_timeout_s,
            first_byte_timeout_s=silent_s,
            idle_timeout_s=min(route.idle_timeout_s, left_s),
            heard=gate.hear if gate is not None and route.heard is None else route.heard,
        )
        call = Call(slot, admission, call_id, sent, now, whole=whole)
        call.fair = silent_s >= min(FAIR_FIRST_BYTE_S, route.first_byte_timeout_s)
        if not whole:
            call.pieces = target.wire.stream(sent, self._prompt)
        return call

    async def _whole(self, call: Call) -> None:
        """Make a call for an answer in one piece, to its end."""
        call.asked = True
        try:
            call.completion = await call.slot.target.wire.complete(call.route, self._prompt)
            call.usage = call.completion.usage
            self._gates.seen(call.admission, self._clock() - call.started_s, whole=True)
        except ProviderError as error:
            self._fail(call, error)
        finally:
            self._close(call)

    async def _head(self, call: Call) -> None:
        """Read a stream up to its first visible piece; it stays open unless it fails."""
        assert call.pieces is not None
        head = call.head = list[Delta]()
        call.asked = True
        try:
            async for delta in call.pieces:
                head.append(delta)
                self._hear(call, delta)
                if call.visible:
                    call.drained = False
                    return
            _check_end(call)
        except ProviderError as error:
            self._fail(call, error)
            self._close(call)
        except BaseException:
            self._close(call)
            raise

    async def _race(self, first: Call) -> Call | None:
        """Make a call, and another one beside it if the first is slower than 95 % of its like; the first piece wins.

        Returns the winner, its stream open, or None when all failed. The loser is closed at once.
        """
        work = self._whole if first.whole else self._head
        calls = [first]
        winner: Call | None = None
        over = False
        try:
            async with asyncio.TaskGroup() as group:
                running = {group.create_task(work(first), name="provider-call"): first}
                usual_s = self._gates.p95_s(first.slot.target, whole=first.whole)
                if usual_s is not None and self._chain.others_left():
                    done, _ = await asyncio.wait(running, timeout=usual_s)
                    if not done and (second := await self._second(whole=first.whole)) is not None:
                        calls.append(second)
                        running[group.create_task(work(second), name="provider-hedge")] = second
                while running and winner is None:
                    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for task in [task for task in running if task in done]:
                        call = running.pop(task)
                        if winner is None and not call.state:
                            winner = call
                for task, call in running.items():
                    self._gates.overtaken(call.admission, self._clock() - call.started_s, whole=call.whole)
                    task.cancel()
            over = True
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        finally:
            for call in calls:
                if not over or call is not winner:
                    await self._drop(call)
        if winner is not None:
            self._last, self.route = winner.slot, winner.slot.target.route
        return winner

    async def _second(self, *, whole: bool) -> Call | None:
        chosen = await self._chain.beside()
        if chosen is None:
            return None
        try:
            return await self._open(*chosen, whole=whole)
        except ChatwrightError:
            return None  # what the books refuse now must not end the call that is under way

    async def _drop(self, call: Call) -> None:
        """Close a call that nobody needs any more."""
        try:
            if call.pieces is not None:
                await call.pieces.aclose()
        finally:
            self._close(call)

    def _show(self, call: Call) -> None:
        call.visible = True
        self._gates.seen(call.admission, self._clock() - call.started_s)

    def _hear(self, call: Call, delta: Delta) -> None:
        """Take in a delta. Before the first text reasoning is a sign of life, and a tool call is visible."""
        if not call.said:
            call.shown_s = self._clock()
        if delta.text:
            call.said.append(delta.text)
            if not call.visible:
                self._show(call)
        elif not call.visible:
            self._gates.sign(call.admission)
        if delta.reasoning:
            call.said.append(delta.reasoning)
            call.thought = True
        if delta.tool_calls:
            call.said.append(str(delta.tool_calls))
            if not call.visible:
                self._show(call)
        if delta.usage is not None:
            call.usage = delta.usage
        if delta.finish is not None:
            call.finish = delta.finish

    def _fail(self, call: Call, error: ProviderError) -> None:
        call.error = error
        call.state = "cut" if call.visible else "failed"
        if call.usage is None and error.usage is not None:
            call.usage = error.usage
            # What a stream tells on its way is not the last word; a refusal, or an answer in one piece, has none after it.
            call.partial = call.finish is None and not call.whole and not isinstance(error, ContentFilterError)
        self._chain.failed(call.slot, error)

    def _close(self, call: Call) -> None:
        """Close the call's books and tell its gate, once."""
        if call.closed:
            return
        call.closed = True
        usage, state = call.usage, call.state
        if not state:
            state = "cancelled" if call.finish is None and call.completion is None else "ok"
        error = call.error
        trace = self._trace(call) if usage is None or call.partial else None
        self._books.close(call.id, call.route, state, usage, error, trace)
        if usage is not None:
            used_tokens = usage.input_tokens + usage.output_tokens
        else:
            used_tokens = self._prompt_tokens + sum(map(len, call.said)) // 4 if call.said else None
        if state == "ok":
            self._gates.done(call.admission, used_tokens)
        elif error is None or (not call.fair and error.error_class == "timeout"):
            self._gates.left(call.admission, used_tokens)
        else:
            self._gates.failed(call.admission, error, late=call.visible, used_tokens=used_tokens or 0)

    def _trace(self, call: Call) -> Trace:
        """What is known of a call whose usage is not."""
        ended = call.finish is not None or call.completion is not None
        if call.completion is not None:
            call.said = [call.completion.text, str(call.completion.tool_calls or "")]
        reach = Reach.NOTHING
        if call.asked:
            reach = reach_of(
                call.error,
                whole=call.whole,
                begun=bool(call.said),
                ended=ended,
                open_book=call.slot.target.open_book and not call.thought,
                drained=call.drained,
            )
        took_s = self._clock() - call.shown_s if call.said and not call.whole else 0.0
        return Trace(reach=reach, texts=call.said, pieces=len(call.said), took_s=took_s, ended=ended)


def _check_end(call: Call) -> None:
    if call.finish is None:
        raise CutStream(f"{call.route.provider} ended the stream without a finish marker")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure itself: the first to fail ends the others."""
    failure: BaseException = group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
