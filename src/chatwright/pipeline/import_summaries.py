"""What follows once an import's rows are stored: conversations are put in order, then summed up, each of them once.

By the chatbot's cheap model where the import asks for that, else of sentences that were said. A budget that has no room
pauses the import: nothing is lost, and resuming it goes on with the next conversation. Called by `bulk.py`.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog

from chatwright.adapters.postgres import Connection
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import BudgetExceeded, LostLock, ProviderError, RateLimited
from chatwright.domain.ids import ConversationId
from chatwright.domain.providers import Usage
from chatwright.domain.scope import Scope
from chatwright.features import imports, memory
from chatwright.features.guard.judging import is_order
from chatwright.features.imports import Exchanged, Import, SummaryRow
from chatwright.features.memory import Exchange, Summary
from chatwright.pipeline.embedding_batches import Unfinished
from chatwright.pipeline.import_courtesy import LOOK_S, READING_REST, WRITING_REST, Courtesy
from chatwright.pipeline.services import Services
from chatwright.pipeline.summary import write_gist
from chatwright.pipeline.targets import cheap_links

MESSAGES_AT_MOST = 2_000
"""Of one conversation that its summary is made of, the first ones."""
_STEP = 200
_PAGE = 100
_PROMPT_TOKENS = 200
"""Of the rules around the messages."""
_CHARS_PER_TOKEN = 3

log = structlog.get_logger(__name__)


async def order_conversations(app: Services, scope: Scope, one: Import, until: float, courtesy: Courtesy) -> Import:
    """Write conversations anew whose messages came in another order than they were said. Raises Unfinished, LostLock."""
    while True:
        async with app.db.transaction(scope) as db:
            page = await imports.list_unordered(db, scope, one.id, limit=_PAGE)
        for conversation_id in page:
            if time.monotonic() > until:
                break
            async with courtesy.step(WRITING_REST), app.db.transaction(scope) as db:
                await imports.hold(db, scope, one)
                await imports.order_conversation(db, scope, one, conversation_id)
        if not page:
            async with app.db.transaction(scope) as db:
                return await imports.set_stage(
                    db, scope, one, "reporting" if one.options.summary == "none" else "summarising"
                )
        if time.monotonic() > until:
            raise Unfinished("the import goes on")


async def summarise_conversations(app: Services, scope: Scope, one: Import, until: float, courtesy: Courtesy) -> Import:
    """Sum up every conversation that waits for it. Raises Unfinished, and LostLock also when the import was paused because
    a budget has no room."""
    chatbot = await app.chatbots.get(Scope(tenant_id=scope.tenant_id, chatbot_id=one.chatbot_id), one.chatbot_id)
    by_model = one.options.summary == "model" and bool(cheap_links(app, chatbot))
    while True:
        async with app.db.transaction(scope) as db:
            await imports.hold(db, scope, one)
            page = await imports.list_to_summarise(db, scope, one.id, limit=_PAGE)
            waiting = await imports.load_exchanges(db, scope, page, at_most=MESSAGES_AT_MOST)
        if not page:
            async with app.db.transaction(scope) as db:
                return await imports.set_stage(db, scope, one, "reporting")
        if by_model:
            await _by_model(app, scope, one, chatbot, waiting, until, courtesy)
        else:
            await _locally(app, scope, one, waiting, courtesy)
        if time.monotonic() > until:
            raise Unfinished("the import goes on")


def quote_nano(app: Services, chatbot: Chatbot, *, conversations: int, characters: int) -> int | None:
    """What summaries of so many conversations with so many characters may cost at most; None where no price is known, 0
    where no model is asked."""
    links = cheap_links(app, chatbot)
    if not links:
        return 0
    platform = app.platform_providers.get(links[0].provider)
    model = links[0].model or (platform.default_model if platform else "")
    each = Usage(
        input_tokens=_PROMPT_TOKENS + characters // max(1, conversations) // _CHARS_PER_TOKEN,
        output_tokens=_gist_tokens(app),
        estimated=True,
    )
    cost_nano = app.catalogue.worst_case(links[0].provider, model, each)
    return None if cost_nano is None else cost_nano * conversations


async def _by_model(
    app: Services,
    scope: Scope,
    one: Import,
    chatbot: Chatbot,
    waiting: dict[ConversationId, list[Exchanged]],
    until: float,
    courtesy: Courtesy,
) -> None:
    """A few conversations at a time; each summary is stored as it comes, because it is paid for. No call is begun after
    `until`, nor once the import is paused, given up or another worker's; those under way are waited for.

    A call reserves the most that it may cost, several times what it comes to. When a budget has no room beside what others have
    reserved, the first lane goes on alone; the import is paused when there is none once all that has ended is settled.
    """
    left = list(waiting.items())[::-1]
    refusals: list[BudgetExceeded] = []
    losses: list[LostLock] = []
    calling, calm = 0, asyncio.Event()

    async def lane(place: int) -> None:
        nonlocal calling
        is_settled = False
        while left and not refusals and not losses and time.monotonic() <= until:
            if await courtesy.are_visitors_waiting():
                await asyncio.sleep(LOOK_S)
                if place:
                    continue  # the first lane alone goes on, slowly
            conversation_id, exchanges = left.pop()
            began = time.monotonic()
            try:
                async with app.db.transaction(scope) as db:
                    await imports.hold(db, scope, one)
            except LostLock as error:
                losses.append(error)
                return
            calling += 1
            calm.clear()
            try:
                summary = await _modelled(app, one, chatbot, conversation_id, exchanges)
            except BudgetExceeded as error:
                summary = error
            except (ProviderError, RateLimited) as error:
                log.info("import.summary_by_rules", import_id=one.id, reason=error.message)
                summary = _local(app, exchanges)
            finally:
                calling -= 1
                if not calling:
                    calm.set()
            if isinstance(summary, BudgetExceeded) and summary.action == "block":
                left.append((conversation_id, exchanges))
                if place:
                    return
                if is_settled and not calling:
                    refusals.append(summary)
                    return
                await calm.wait()
                await app.ledger.flush()
                is_settled = True
                continue
            is_settled = False
            if isinstance(summary, BudgetExceeded):
                summary = _local(app, exchanges)
            await _keep(app, scope, one, [_row(app, conversation_id, summary)], took_s=time.monotonic() - began)

    try:
        async with asyncio.TaskGroup() as lanes:
            for place in range(max(1, app.settings.import_batches_at_once)):
                lanes.create_task(lane(place), name=f"import-summary-{place}")
    except BaseExceptionGroup as failures:
        raise _first(failures) from failures
    if losses:
        raise losses[0]
    if refusals:
        async with app.db.transaction(scope) as db:
            await imports.pause(db, scope, one.id, "budget", error=refusals[0].message, leg=one.leg)
        log.info("import.paused", import_id=one.id, reason=refusals[0].message)
        raise LostLock("a budget has no room: the import is paused")


async def _modelled(
    app: Services, one: Import, chatbot: Chatbot, conversation_id: ConversationId, exchanges: Sequence[Exchanged]
) -> Summary:
    summary = Summary()
    for part in _parts(exchanges):
        gist, made_by = await write_gist(
            app,
            chatbot,
            summary.gist,
            part,
            summary_tokens=_gist_tokens(app),
            conversation_id=conversation_id,
            import_id=one.id,
        )
        summary = _folded(app, summary, part, gist, made_by)
    return summary


async def _locally(
    app: Services, scope: Scope, one: Import, waiting: dict[ConversationId, list[Exchanged]], courtesy: Courtesy
) -> None:
    """In a thread that holds the interpreter: beside visitors one conversation at a time. Stored together."""
    began = time.monotonic()
    left, rows = list(waiting.items()), list[SummaryRow]()
    while left:
        at_once = 1 if await courtesy.are_visitors_waiting() else len(left)
        part, left = left[:at_once], left[at_once:]
        async with courtesy.step(READING_REST):
            rows += await asyncio.to_thread(_local_rows, app, dict(part))
    async with courtesy.step(WRITING_REST):
        await _keep(app, scope, one, rows, took_s=time.monotonic() - began)


def _local_rows(app: Services, waiting: dict[ConversationId, list[Exchanged]]) -> list[SummaryRow]:
    return [_row(app, conversation_id, _local(app, exchanges)) for conversation_id, exchanges in waiting.items()]


def _local(app: Services, exchanges: Sequence[Exchanged]) -> Summary:
    summary = Summary()
    for part in _parts(exchanges):
        summary = _folded(app, summary, part, None, "local")
    return summary


def _folded(app: Services, before: Summary, part: Sequence[Exchange], gist: str | None, made_by: str) -> Summary:
    return memory.fold(
        before,
        part,
        room_tokens=_room(app),
        count=app.tokens.count,
        suspect=is_order,
        gist=gist,
        made_by=made_by,
    )


def _parts(exchanges: Sequence[Exchanged]) -> list[list[Exchange]]:
    whole = [Exchange(one.ordinal, one.said, one.answered) for one in exchanges]
    return [whole[at : at + _STEP] for at in range(0, len(whole), _STEP)]


def _row(app: Services, conversation_id: ConversationId, summary: Summary) -> SummaryRow:
    text = memory.render(summary)
    return SummaryRow(
        conversation_id=conversation_id,
        upto=summary.covers_upto,
        text=text,
        facts=[[fact.ordinal, fact.score, fact.said, fact.text] for fact in summary.facts],
        gist=summary.gist,
        made_by=summary.made_by,
        tokens=app.tokens.count(text),
    )


async def _keep(app: Services, scope: Scope, one: Import, rows: Sequence[SummaryRow], *, took_s: float) -> None:
    """Stored whoever holds the import by now: a summary that is there needs not be made again."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        counts["summary", row.made_by] = counts.get(("summary", row.made_by), 0) + 1
    async with app.db.transaction(scope) as db:
        if await imports.keep_summaries(db, scope, one.id, rows, took_s=took_s):
            await _count(db, scope, one, counts)


async def _count(db: Connection, scope: Scope, one: Import, counts: dict[tuple[str, str], int]) -> None:
    await imports.add_counts(db, scope, one.id, counts)


def _room(app: Services) -> int:
    return max(200, app.settings.summary_tokens)


def _gist_tokens(app: Services) -> int:
    return max(60, _room(app) // 3)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
