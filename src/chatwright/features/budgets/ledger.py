"""The ledger's writer: a row is opened before each provider call and closed after it, in grouped commits.

Callers of one moment share one statement and one commit: while a group is on its way, the next one gathers. `open`
returns when the row is committed; `close` returns at once and is retried until PostgreSQL took it, so a provider
answer never waits for the books. What a killed process could not close, the sweeper settles.

A call's reservation in its budgets is part of the same transaction as its row, the settlement of the one that closes it.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog

from chatwright.adapters.postgres import Database
from chatwright.adapters.postgres.pool import Row
from chatwright.domain.errors import BudgetExceeded, ChatwrightError, LostLock, Unavailable
from chatwright.domain.ids import CallId, ChatbotId, ConversationId, MessageId, TenantId
from chatwright.domain.providers import Usage
from chatwright.features.budgets.headroom import Headroom
from chatwright.features.budgets.pricing import sane
from chatwright.features.budgets.refusals import describe
from chatwright.features.budgets.store import CLOSE_CALLS, NOTE_HITS, NOTE_SAVED, OPEN_CALLS
from chatwright.features.budgets.turning import begin_periods

_log = structlog.get_logger(__name__)
_GROUP = 256
_MAX_WAITING = 20_000
_MOST_ROUNDS = 3
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStart:
    """A provider call about to be made. `reserved_nano` is its worst case, None when no price is known."""

    id: CallId
    tenant_id: TenantId
    provider: str
    model: str
    chatbot_id: ChatbotId | None = None
    conversation_id: ConversationId | None = None
    message_id: MessageId | None = None
    kind: str = "call"
    purpose: str = "chat"
    key_id: str | None = None
    reserved_nano: int | None = None
    attempt: int = 0
    """Of the job that answers `message_id`: the call is made only while no later attempt took over."""
    visitor_id: str | None = None
    import_id: str | None = None
    cheap: bool = False
    """By the cheap model, because a budget asked for it: the limits of such budgets do not hold it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnd:
    """How a call ended: `ok`, `failed`, `cut` or `cancelled`, what it used, and what that costs.

    `cost_nano` is None when no price is known; `price_book` names the prices that it was computed with.
    """

    id: CallId
    state: str
    provider: str
    model: str
    usage: Usage = field(default_factory=Usage)
    error_class: str | None = None
    upstream_status: int | None = None
    cost_nano: int | None = None
    price_book: str | None = None
    saved_nano: int = 0
    """What it would have cost more, had the provider not read part of the prompt from its own cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheHit:
    """An answer, or a vector, that a cache gave instead of a provider. It cost nothing; `saved_nano` is what the call
    that it stands for had cost. Its row has no tokens: none were used."""

    id: CallId
    tenant_id: TenantId
    provider: str
    model: str
    saved_nano: int
    chatbot_id: ChatbotId | None = None
    conversation_id: ConversationId | None = None
    message_id: MessageId | None = None
    purpose: str = "chat"
    visitor_id: str | None = None
    import_id: str | None = None
    price_book: str | None = None


class Ledger:
    """One per process. Its three writers run inside `open_ledger`'s task group."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.headroom = Headroom(db)
        self._opens = _Group(self._write_opens, keep=False, unwanted=self._not_made)
        # Nobody waits for a close: gathering for a moment makes one commit of what would be twenty.
        self._closes = _Group(self._write_closes, keep=True, linger_s=0.02)
        self._hits = _Group(self._write_hits, keep=True, linger_s=0.02)

    async def open(self, call: CallStart) -> None:
        """Commit the call's row and its reservation. Raises BudgetExceeded when a budget holds it back, Unavailable when
        PostgreSQL cannot take it, LostLock when a later attempt owns the message: then the call must not be made. The
        row of a caller that gave up meanwhile is closed at no cost."""
        await self._opens.put(call)

    def close(self, end: CallEnd) -> None:
        """Hand over the call's end; it is written soon, and retried until written."""
        usage = sane(end.usage)
        self._closes.put_nowait(end if usage is end.usage else replace(end, usage=usage))

    def hit(self, hit: CacheHit) -> None:
        """Hand over a cache hit; its row is written soon. No budget is asked: it costs nothing."""
        self._hits.put_nowait(hit)

    def _not_made(self, call: CallStart) -> None:
        """Close a row, should there be one, whose call nobody will make."""
        self.close(
            CallEnd(
                id=call.id,
                state="failed",
                provider=call.provider,
                model=call.model,
                error_class="not_made",
                cost_nano=0,
            )
        )

    async def flush(self, *, timeout_s: float = 5.0) -> bool:
        """Wait until everything handed over is written. Returns False if time ran out."""
        closed, hit = await asyncio.gather(self._closes.drained(timeout_s), self._hits.drained(timeout_s))
        return closed and hit

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._opens.run(), name="ledger-opens")
            tasks.create_task(self._closes.run(), name="ledger-closes")
            tasks.create_task(self._hits.run(), name="ledger-hits")

    async def _write_opens(self, calls: list[CallStart]) -> list[ChatwrightError | None]:
        refusals: dict[str, ChatwrightError] = {}
        held_back: list[Row] = []
        waiting = calls
        for _ in range(_MOST_ROUNDS):
            missing: dict[str, Row] = {}
            for row in await self._db.operator_fetch(OPEN_CALLS, *_columns(waiting)):
                if row["verdict"] == "missing":
                    missing[row["call_id"]] = row
                elif row["verdict"] == "lost":
                    refusals[row["call_id"]] = LostLock(
                        "a later attempt owns this message: no further call is made for it"
                    )
                else:
                    held_back.append(row)
            if not missing:
                break
            # The first calls of a new period: its counter is begun by whoever finds it missing.
            at = next(iter(missing.values()))["at"]
            await begin_periods(self._db, {row["budget_id"] for row in missing.values()}, at)
            waiting = [call for call in waiting if call.id in missing]
        else:
            refusals |= {call.id: Unavailable("a budget's period could not be begun; try again") for call in waiting}
        if held_back:
            refusals |= await self._words_of(held_back, calls)
        return [refusals.get(call.id) for call in calls] if refusals else [None] * len(calls)

    async def _words_of(self, held_back: list[Row], calls: list[CallStart]) -> dict[str, ChatwrightError]:
        """What each call that a budget held back is refused with, by call."""
        refusers = await describe(self._db, list({row["budget_id"] for row in held_back}))
        needs = {call.id: call.reserved_nano for call in calls}
        words: dict[str, ChatwrightError] = {}
        for row in held_back:
            refuser = refusers.get(row["budget_id"])
            if refuser is None:  # removed this moment, or not to be read
                words[row["call_id"]] = BudgetExceeded(
                    f"the {row['budget_scope']}'s budget {row['budget_id']} holds the call back",
                    action=row["budget_action"],
                    budget_id=row["budget_id"],
                    scope=row["budget_scope"],
                )
            elif row["verdict"] == "unpriced":
                words[row["call_id"]] = refuser.unpriced()
            else:
                words[row["call_id"]] = refuser.too_little(needs[row["call_id"]])
        return words

    async def _write_closes(self, ends: list[CallEnd]) -> list[ChatwrightError | None]:
        await self._db.operator_fetch(
            CLOSE_CALLS,
            [end.id for end in ends],
            [end.state for end in ends],
            [end.error_class for end in ends],
            [end.upstream_status for end in ends],
            [end.model for end in ends],
            [end.usage.input_tokens for end in ends],
            [end.usage.cached_tokens for end in ends],
            [end.usage.cache_write_tokens for end in ends],
            [end.usage.output_tokens for end in ends],
            [end.usage.reasoning_tokens for end in ends],
            [end.cost_nano for end in ends],
            [end.usage.estimated for end in ends],
            [None if end.cost_nano is None else end.price_book for end in ends],
        )
        if saved := [end for end in ends if end.saved_nano]:
            await self._db.operator_fetch(NOTE_SAVED, [end.id for end in saved], [end.saved_nano for end in saved])
        return [None] * len(ends)

    async def _write_hits(self, hits: list[CacheHit]) -> list[ChatwrightError | None]:
        await self._db.operator_fetch(
            NOTE_HITS,
            [hit.id for hit in hits],
            [hit.tenant_id for hit in hits],
            [hit.chatbot_id for hit in hits],
            [hit.conversation_id for hit in hits],
            [hit.message_id for hit in hits],
            [hit.visitor_id for hit in hits],
            [hit.import_id for hit in hits],
            [hit.purpose for hit in hits],
            [hit.provider for hit in hits],
            [hit.model for hit in hits],
            [max(0, hit.saved_nano) for hit in hits],
            [hit.price_book for hit in hits],
        )
        return [None] * len(hits)


@asynccontextmanager
async def open_ledger(db: Database) -> AsyncGenerator[Ledger]:
    """Run a ledger's writers; on leaving, what was handed over is written first (at most 5 s)."""
    ledger = Ledger(db)
    writers = asyncio.create_task(ledger.run(), name="ledger")
    try:
        yield ledger
    finally:
        await ledger.flush()
        writers.cancel()
        await asyncio.wait({writers})


class _Group:
    """Gathers items while a write is on its way. `write` tells of each item why it was not taken, None if it was.

    `keep`: a failed group is retried, not reported. `linger_s`: how long to gather before each write. `unwanted` gets
    what was, or may have been, written although its caller gave up or was told that it failed.
    """

    def __init__(
        self,
        write: Callable[[list[Any]], Awaitable[list[ChatwrightError | None]]],
        *,
        keep: bool,
        unwanted: Callable[[Any], None] | None = None,
        linger_s: float = 0.0,
    ) -> None:
        self._write = write
        self._keep = keep
        self._unwanted = unwanted
        self._linger_s = linger_s
        self._items: list[tuple[Any, asyncio.Future[None] | None]] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def put(self, item: Any) -> None:
        if len(self._items) >= _MAX_WAITING:
            raise Unavailable("the ledger is behind; try again in a moment")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._items.append((item, done))
        self._wake.set()
        await done

    def put_nowait(self, item: Any) -> None:
        # Beyond the bound the row stays open and the sweeper settles it: memory stays bounded, the books too.
        if len(self._items) < _MAX_WAITING:
            self._items.append((item, None))
            self._idle.clear()
            self._wake.set()

    async def drained(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            if self._linger_s:
                await asyncio.sleep(self._linger_s)
            self._wake.clear()
            while self._items:
                group, self._items = self._items[:_GROUP], self._items[_GROUP:]
                group = [one for one in group if one[1] is None or not one[1].cancelled()]
                if group:
                    await self._write_group(group)
            self._idle.set()

    async def _write_group(self, group: list[tuple[Any, asyncio.Future[None] | None]]) -> None:
        pause_s = 0.05
        while True:
            try:
                taken = await self._write([item for item, _ in group])
            except (ChatwrightError, TimeoutError) as error:
                if self._keep:
                    await asyncio.sleep(pause_s)
                    pause_s = min(1.0, pause_s * 2)
                    continue
                for item, done in group:
                    if done is not None and not done.done():
                        done.set_exception(error if isinstance(error, ChatwrightError) else _slow())
                    self._forsake(item)  # the commit may have come through although its reply did not
                return
            except Exception as error:  # noqa: BLE001 - a writer that ends would hold up every call of this process
                # One row that is refused (its tenant was just deleted) must not cost the others theirs.
                if len(group) > 1:
                    for one in group:
                        await self._write_group([one])
                    return
                _log.error("ledger.row_refused", error=str(error))
                done = group[0][1]
                if done is not None and not done.done():
                    done.set_exception(Unavailable("the ledger refused the call's row"))
                return
            for (item, done), refusal in zip(group, taken, strict=True):
                if done is None:
                    continue
                if done.done():
                    if refusal is None:
                        self._forsake(item)
                elif refusal is None:
                    done.set_result(None)
                else:
                    done.set_exception(refusal)
            return

    def _forsake(self, item: Any) -> None:
        if self._unwanted is not None:
            self._unwanted(item)


def _slow() -> Unavailable:
    return Unavailable("PostgreSQL did not answer in time; try again in a moment")


def _columns(calls: list[CallStart]) -> list[object]:
    """The arguments of OPEN_CALLS: the group's tenants, in order, then a column for each field."""
    return [
        sorted({call.tenant_id for call in calls}),
        [call.id for call in calls],
        [call.tenant_id for call in calls],
        [call.chatbot_id for call in calls],
        [call.conversation_id for call in calls],
        [call.message_id for call in calls],
        _or_none([call.visitor_id for call in calls]),
        _or_none([call.import_id for call in calls]),
        [call.kind for call in calls],
        [call.purpose for call in calls],
        [call.provider for call in calls],
        [call.model for call in calls],
        [call.key_id for call in calls],
        [call.reserved_nano for call in calls],
        [call.attempt for call in calls],
        _or_none([call.cheap or None for call in calls]),
    ]


def _or_none(column: list[_Value]) -> list[_Value] | None:
    """Most columns of rare things are empty: nothing is sent for them."""
    return column if any(value is not None for value in column) else None
