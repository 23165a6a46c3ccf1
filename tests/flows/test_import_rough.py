"""Imports that are cut short, sent again in another way, or stopped half-way: what is stored, told and paid then."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chatwright.domain.errors import NotFound, Unprocessable
from chatwright.domain.ids import JobId, new_id
from chatwright.domain.jobs import Job, JobType
from chatwright.features import imports
from chatwright.features.imports import Import, Options
from chatwright.pipeline import bulk, import_summaries, importing
from chatwright.pipeline.embedding_batches import Unfinished
from chatwright.pipeline.services import Services
from tests.flows.conftest import Shop, open_shop
from tests.flows.test_import_flow import UNREAD, chat, finished_or_open, pieces, start, table, with_settings


def job_of(shop: Shop, import_id: str) -> Job:
    return Job(
        id=JobId(new_id()), scope=shop.scope, type=JobType.CSV_IMPORT_BATCH, queue="ai-batch", priority=3, attempt=1,
        payload={"import_id": import_id},
    )  # fmt: skip


async def leg(app: Services, shop: Shop, one: Import) -> Import:
    """One job's work on an import; how it stands then."""
    await bulk.run_import(app, job_of(shop, one.id), one.id)
    return await finished_or_open(app, shop, one)


async def test_nul_in_a_broken_row_costs_that_row_alone(app: Services, shop: Shop) -> None:
    data = table(chat(1)) + b"x,1,customer,too\x00,many,cells,in,here\r\n" + b"x\x00,2\r\n"
    one = await leg(app, shop, await start(app, shop, data))
    assert (one.state, one.rows_stored, one.rows_failed) == ("done", 4, 2)


async def test_lanes_that_forget_what_they_read_disturb_no_other(
    app: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "_REMEMBERED_TEXTS", 5)
    app = with_settings(app, import_batch_rows=4, import_batches_at_once=5)
    rows = [row for number in range(60) for row in chat(number)]
    one = await leg(app, shop, await start(app, shop, table(rows), Options(summary="none")))
    assert (one.state, one.rows_stored) == ("done", 240)
    async with app.db.transaction(shop.scope) as db:
        counts = await imports.get_counts(db, shop.scope, one.id)
    assert sum(counts["intent"].values()) == sum(counts["agent_sentiment"].values()) == 120


async def test_the_same_messages_under_other_roles_are_duplicates(app: Services, shop: Shop) -> None:
    data = table([row for number in range(5) for row in chat(number)])
    await leg(app, shop, await start(app, shop, data))
    turned = {"agent": "visitor", "customer": "agent"}
    again = await leg(app, shop, await start(app, shop, data, roles=turned))
    assert (again.rows_stored, again.rows_skipped, again.messages) == (0, 20, 0)


async def test_an_import_that_was_given_up_tells_all_that_it_stored(
    app: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = with_settings(app, import_batch_rows=1, import_batches_at_once=1)
    one = await start(app, shop, table([row for number in range(9) for row in chat(number)]))
    write_unit, written = imports.write_unit, 0

    async def fourth_is_too_late(*arguments: Any, **named: Any) -> Any:
        nonlocal written
        if written == 3:
            await importing.control_import(app, shop.scope, one.id, "cancel", actor="test")
        written += 1
        return await write_unit(*arguments, **named)

    monkeypatch.setattr(imports, "write_unit", fourth_is_too_late)
    over = await leg(app, shop, one)
    async with app.db.transaction(shop.scope) as db:
        stored = await db.fetchval(
            "SELECT (SELECT count(*) FROM messages m WHERE m.tenant_id = $1) + (SELECT count(*) FROM answers a"
            " WHERE a.tenant_id = $1)",
            shop.scope.tenant_id,
        )
    assert over.state == "cancelled"
    assert over.rows_stored == over.messages == stored > 0


@pytest.mark.parametrize("summary", ["local", "model"])
async def test_an_import_that_is_paused_pays_for_no_further_summary(
    app: Services, monkeypatch: pytest.MonkeyPatch, summary: Any
) -> None:
    """Between pages as between the conversations of one."""
    app = with_settings(app, import_batches_at_once=1)
    shop = await open_shop(app, name="Priced", model="gpt-4o-mini")
    monkeypatch.setattr(import_summaries, "_PAGE", 1 if summary == "local" else 100)
    data = table([row for number in range(6) for row in chat(number)])
    one = await start(app, shop, data, Options(sentiment=False, intent=False, summary=summary))
    keep: Callable[..., Awaitable[None]] = getattr(import_summaries, "_keep")  # noqa: B009 - not public

    async def then_pause(*arguments: Any, **named: Any) -> None:
        await keep(*arguments, **named)
        await importing.control_import(app, shop.scope, one.id, "pause", actor="test")

    monkeypatch.setattr(import_summaries, "_keep", then_pause)
    paused = await leg(app, shop, one)
    assert (paused.state, paused.stage, paused.summaries) == ("paused", "summarising", 1)
    monkeypatch.setattr(import_summaries, "_keep", keep)
    await importing.control_import(app, shop.scope, one.id, "resume", actor="test")
    done = await leg(app, shop, one)
    assert (done.state, done.summaries) == ("done", 6)


async def test_a_leg_that_is_over_begins_no_call(app: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow model must not hold a job past its queue's time: that would count as a failed attempt."""
    shop = await open_shop(app, name="Priced", model="gpt-4o-mini")
    data = table([row for number in range(6) for row in chat(number)])
    one = await start(app, shop, data, Options(sentiment=False, intent=False, summary="model"))
    monkeypatch.setattr(bulk, "LEG_S", 0.0)
    with pytest.raises(Unfinished):
        await leg(app, shop, one)
    assert (await finished_or_open(app, shop, one)).summaries == 0
    monkeypatch.setattr(bulk, "LEG_S", 60.0)
    assert (await leg(app, shop, one)).summaries == 6


async def test_what_the_reader_is_waited_for_is_work(
    app: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the rate that is shown is one that no import has."""
    import time

    reading = getattr(bulk, "_Reading")  # noqa: B009 - not public
    window = reading._window

    def slow(*arguments: Any) -> Any:
        time.sleep(0.4)
        return window(*arguments)

    monkeypatch.setattr(reading, "_window", slow)
    assert (await leg(app, shop, await start(app, shop, table(chat(1))))).worked_s >= 0.4


async def test_a_dead_job_that_names_no_import_is_left_at_that(app: Services, shop: Shop) -> None:
    await bulk.fail_import(app, job_of(shop, "no id"), Unprocessable("the payload's `import_id` is no id of ours"))


async def test_a_resumed_import_is_not_finished_and_shows_its_new_limit(app: Services, shop: Shop) -> None:
    one = await start(app, shop, table(chat(1)), Options(limit_nano=5))
    await bulk.fail_import(app, job_of(shop, one.id), Unprocessable("given up"))
    assert (await finished_or_open(app, shop, one)).finished_at is not None
    changed = await importing.limit_import(app, shop.scope, one.id, 7_000_000_000, actor="test")
    assert changed.options == Options(limit_nano=7_000_000_000)
    again = await importing.control_import(app, shop.scope, one.id, "resume", actor="test")
    assert (again.state, again.finished_at) == ("queued", None)


async def test_a_file_is_discarded_only_while_no_import_has_it(app: Services, shop: Shop) -> None:
    """An import may be stored although its caller was told of a failure, or of nothing."""
    received = await importing.receive_file(app, shop.scope, pieces(table(chat(1))), name="chats.csv")
    one = await importing.start_import(app, shop.scope, shop.chatbot, received, {}, UNREAD, source="s", actor="test")
    await importing.discard_file(app, shop.scope, received)
    assert (await leg(app, shop, one)).rows_stored == 4
    lost = await importing.receive_file(app, shop.scope, pieces(table(chat(2))), name="chats.csv")
    await importing.discard_file(app, shop.scope, lost)
    with pytest.raises(NotFound):
        await app.files.open(lost.key)


async def test_what_is_redacted_is_in_no_reason_either(app: Services, shop: Shop) -> None:
    data = table([*chat(1), ("c9", "m9", "ann@example.com", "hello", "", ""), ("c9", "m8", "customer", "a", "", "v")])
    one = await leg(app, shop, await start(app, shop, data, Options(summary="none", redact=("email",))))
    async with app.db.transaction(shop.scope) as db:
        ((number, reason, raw),) = await imports.list_problems(db, shop.scope, one.id, limit=9)
    assert number == 5
    assert "ann@" not in reason + raw


async def test_what_agents_rows_say_of_a_conversation_is_kept(app: Services, shop: Shop) -> None:
    data = table([("c1", "m1", "agent", "We are closed today.", "", "north")])
    one = await leg(app, shop, await start(app, shop, data, metadata=["customer_email"], visitor=None))
    assert one.rows_stored == 1
    async with app.db.transaction(shop.scope) as db:
        kept = await db.fetchval("SELECT metadata FROM conversations WHERE tenant_id = $1", shop.scope.tenant_id)
    assert kept == {"customer_email": "north", "import_source": "test"}


async def test_a_mapping_of_columns_is_looked_at_beside_the_loop(app: Services, shop: Shop) -> None:
    """Thousands of times in an odd form take a second, in which others are to be answered."""
    rows = [f'{number},user,hi,"Jan {number % 28 + 1}, 2024 10:30"' for number in range(6_000)]
    head = "\n".join(["conv,role,text,time", *rows]).encode()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick(), name="tick")
    planned = await importing.plan_file(app, shop.scope, shop.chatbot, head, {}, UNREAD, source="s", is_all=True)
    ticking.cancel()
    assert planned.plan.messages == 6_000
    assert ticks > 3
