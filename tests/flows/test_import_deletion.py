"""Imports that are deleted: what goes, what stays, who may, and that a deletion that is cut short goes on."""

import asyncio
from itertools import pairwise

import pytest

from chatwright.domain.errors import Conflict, NotFound
from chatwright.domain.ids import JobId, new_id
from chatwright.domain.jobs import Job, JobType
from chatwright.features import budgets, imports, tenancy
from chatwright.features.imports import Import, Options
from chatwright.pipeline import bulk, import_deletion, importing
from chatwright.pipeline.embedding_batches import Unfinished
from chatwright.pipeline.import_deletion import delete_import
from chatwright.pipeline.services import Services
from tests.flows.conftest import Shop, open_shop, running_worker
from tests.flows.test_import_files import keys
from tests.flows.test_import_flow import chat, finished, start, table, transcripts

LEFT_BEHIND = """
SELECT (SELECT count(*) FROM messages m WHERE m.tenant_id = $1) + (SELECT count(*) FROM answers a WHERE a.tenant_id = $1)
     + (SELECT count(*) FROM conversation_summaries s WHERE s.tenant_id = $1)
     + (SELECT count(*) FROM import_conversations k WHERE k.tenant_id = $1)
     + (SELECT count(*) FROM conversations c WHERE c.tenant_id = $1)
"""
ROWS_OF_IMPORT = """
SELECT (SELECT count(*) FROM imports i WHERE i.tenant_id = $1 AND i.id = $2)
     + (SELECT count(*) FROM import_units u WHERE u.tenant_id = $1 AND u.import_id = $2)
     + (SELECT count(*) FROM import_counts n WHERE n.tenant_id = $1 AND n.import_id = $2)
     + (SELECT count(*) FROM import_problems p WHERE p.tenant_id = $1 AND p.import_id = $2)
"""


def chats(*numbers: int) -> bytes:
    return table([row for number in numbers for row in chat(number)])


async def run_leg(app: Services, shop: Shop, one: Import) -> object:
    """One job's work on an import."""
    job = Job(
        id=JobId(new_id()), scope=shop.scope, type=JobType.CSV_IMPORT_BATCH, queue="ai-batch", priority=3, attempt=1,
        payload={"import_id": one.id},
    )  # fmt: skip
    return await bulk.run_import(app, job, one.id)


async def count(app: Services, shop: Shop, sql: str, *arguments: object) -> int:
    async with app.db.transaction(shop.scope) as db:
        return int(await db.fetchval(sql, shop.scope.tenant_id, *arguments))


async def is_there(app: Services, shop: Shop, import_id: str) -> bool:
    try:
        async with app.db.transaction(shop.scope) as db:
            await imports.get_import(db, shop.scope, import_id)
    except NotFound:
        return False
    return True


async def test_an_import_goes_with_its_files_and_rows_and_its_conversations_stay(app: Services, shop: Shop) -> None:
    broken = table(chat(1)) + b"x,1,robot,who am I,,\r\n"
    one, other = await start(app, shop, broken), await start(app, shop, chats(2))
    await run_leg(app, shop, one)
    await run_leg(app, shop, other)
    before, lines = await keys(app), await transcripts(app, shop)
    assert await count(app, shop, ROWS_OF_IMPORT, one.id) > 2

    assert await delete_import(app, shop.scope, one.id, with_conversations=False, actor="key:test") is None
    assert not await is_there(app, shop, one.id)
    assert await count(app, shop, ROWS_OF_IMPORT, one.id) == 0
    assert await keys(app) == [key for key in before if one.id not in key]
    assert len(await keys(app)) == 3, "the other one's report"
    assert await transcripts(app, shop) == lines
    async with app.db.transaction(shop.scope) as db:
        entries = await tenancy.list_audit(db, shop.scope, after=None, limit=10)
    told = next(entry for entry in entries if entry.action == "import.deleted")
    assert (told.actor, told.target, told.detail["with_conversations"]) == ("key:test", one.id, False)
    with pytest.raises(NotFound):
        await delete_import(app, shop.scope, one.id, with_conversations=True, actor="test")

    again = await start(app, shop, chats(1))
    await run_leg(app, shop, again)
    now = await finished(app, shop.scope, again.id)
    assert (now.rows_stored, now.rows_skipped) == (0, 4), "what is there is known, whoever brought it"


async def test_its_conversations_go_too_where_that_is_asked(app: Services, shop: Shop, valkey_url: str) -> None:
    data = chats(*range(60))
    options = Options(sentiment=False, intent=False, summary="local")
    async with running_worker(app, valkey_url):
        one = await finished(app, shop.scope, (await start(app, shop, data, options)).id)
        other = await finished(app, shop.scope, (await start(app, shop, chats(70, 71))).id)
        assert (one.state, one.summaries) == ("done", 60)

        now = await delete_import(app, shop.scope, one.id, with_conversations=True, actor="test")
        assert now is not None
        assert (now.state, now.conversations, now.report_key) == ("deleting", 60, None)
        async with asyncio.timeout(30):
            while await is_there(app, shop, one.id):
                await asyncio.sleep(0.05)
        assert sorted(await transcripts(app, shop)) == ["visitor70@example.com", "visitor71@example.com"]
        assert await count(app, shop, LEFT_BEHIND) == 2 * (4 + 1 + 1), (
            "lines, conversations, and that they were imported"
        )
        assert not [key for key in await keys(app) if one.id in key]
        assert await is_there(app, shop, other.id)

        again = await finished(app, shop.scope, (await start(app, shop, data, options)).id)
    assert (again.rows_stored, again.rows_skipped, again.summaries) == (240, 0, 60)


async def test_an_import_that_may_go_on_is_not_deleted(app: Services, shop: Shop) -> None:
    one = await start(app, shop, chats(1))
    for state in ("queued", "paused"):
        with pytest.raises(Conflict, match=f"is {state}; cancel it first"):
            await delete_import(app, shop.scope, one.id, with_conversations=True, actor="test")
        if state == "queued":
            await importing.control_import(app, shop.scope, one.id, "pause", actor="test")
    assert await keys(app) == [str(one.file_key)]
    await importing.control_import(app, shop.scope, one.id, "cancel", actor="test")
    assert await delete_import(app, shop.scope, one.id, with_conversations=False, actor="test") is None
    assert (await keys(app), await count(app, shop, ROWS_OF_IMPORT, one.id)) == ([], 0)


async def test_another_tenants_import_is_not_found(app: Services, shop: Shop) -> None:
    one = await start(app, shop, chats(1))
    await run_leg(app, shop, one)
    before, files = await count(app, shop, LEFT_BEHIND), await keys(app)
    stranger = await open_shop(app, name="Stranger")
    for with_conversations in (False, True):
        with pytest.raises(NotFound):
            await delete_import(app, stranger.scope, one.id, with_conversations=with_conversations, actor="test")
    assert await run_leg(app, stranger, one) == {"import_id": one.id, "state": "over"}
    assert (await count(app, shop, LEFT_BEHIND), await keys(app)) == (before, files)
    with pytest.raises(NotFound):
        await delete_import(app, shop.scope, "no id at all", with_conversations=False, actor="test")


async def test_a_deletion_goes_on_leg_after_leg_in_small_steps(
    app: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also through one conversation that is longer than a step."""
    long = [(*chat(0)[0][:1], f"m{turn}", "customer", f"line {turn}", "", "ann") for turn in range(150)]
    one = await start(app, shop, table(long) + chats(*range(1, 6))[len(table([])) :])
    await run_leg(app, shop, one)
    await delete_import(app, shop.scope, one.id, with_conversations=True, actor="test")

    monkeypatch.setattr(import_deletion, "LEG_S", 0.0)
    monkeypatch.setattr(import_deletion, "FEWEST_CONVERSATIONS", 2)
    left = [await count(app, shop, "SELECT count(*) FROM messages WHERE tenant_id = $1")]
    while await is_there(app, shop, one.id):
        try:
            await run_leg(app, shop, one)
        except Unfinished:
            with pytest.raises(Conflict, match="deleting"):
                await importing.control_import(app, shop.scope, one.id, "resume", actor="test")
        left.append(await count(app, shop, "SELECT count(*) FROM messages WHERE tenant_id = $1"))
    gone = [before - after for before, after in pairwise(left)]
    assert max(gone) <= 2 * import_deletion.MESSAGES_EACH
    assert len(gone) > 8
    assert await count(app, shop, LEFT_BEHIND) == 0


async def test_asking_again_goes_on_with_a_deletion_whose_job_was_lost(
    app: Services, shop: Shop, valkey_url: str
) -> None:
    one = await start(app, shop, chats(1, 2))
    await run_leg(app, shop, one)
    await delete_import(app, shop.scope, one.id, with_conversations=True, actor="test")
    async with app.db.transaction(shop.scope) as db:
        await db.execute("UPDATE jobs SET state = 'failed' WHERE tenant_id = $1", shop.scope.tenant_id)
    async with running_worker(app, valkey_url):
        now = await delete_import(app, shop.scope, one.id, with_conversations=False, actor="test")
        assert now is not None, "half of its conversations are gone maybe: the rest goes too"
        async with asyncio.timeout(30):
            while await is_there(app, shop, one.id):
                await asyncio.sleep(0.05)
    assert await count(app, shop, LEFT_BEHIND) == 0


async def test_conversations_that_a_later_import_made_longer_are_its_own(app: Services, shop: Shop) -> None:
    one = await start(app, shop, chats(1, 2))
    await run_leg(app, shop, one)
    later = await start(app, shop, table(chat(2, turns=6)))
    await run_leg(app, shop, later)
    await delete_import(app, shop.scope, one.id, with_conversations=True, actor="test")
    await run_leg(app, shop, one)
    found = await transcripts(app, shop)
    assert {visitor: len(lines) for visitor, lines in found.items()} == {"visitor2@example.com": 6}


async def test_a_unit_that_is_being_written_when_its_import_is_given_up_goes_too(app: Services, shop: Shop) -> None:
    one = await start(app, shop, chats(1, 2))
    async with app.db.transaction(shop.scope) as writing:
        await writing.execute(
            "UPDATE imports SET state = 'running', leg = 1 WHERE tenant_id = $1 AND id = $2",
            shop.scope.tenant_id,
            one.id,
        )
    async with app.db.transaction(shop.scope) as db:
        held = await imports.get_import(db, shop.scope, one.id)
    async with asyncio.TaskGroup() as tasks, app.db.transaction(shop.scope) as writing:
        unit = imports.Unit(number=0, items=imports.in_order(_items(shop, one)), rows=2)
        written = await imports.write_unit(
            writing,
            shop.scope,
            held,
            unit,
            visitor_texts={},
            agent_texts={},
            labels={},
            attacks=set(),
            now=one.created_at,
        )
        assert written.is_new
        await importing.control_import(app, shop.scope, one.id, "cancel", actor="test")
        asking = tasks.create_task(
            delete_import(app, shop.scope, one.id, with_conversations=True, actor="test"), name="deletion"
        )
        await asyncio.sleep(0.3)
        assert not asking.done(), "it waits for the unit"
    now = asking.result()
    assert now is not None
    assert now.conversations == 1
    await run_leg(app, shop, one)
    assert await count(app, shop, LEFT_BEHIND) == 0


def _items(shop: Shop, one: Import) -> list[imports.Item]:
    maker = imports.ItemMaker(
        tenant_id=shop.scope.tenant_id, chatbot_id=one.chatbot_id, source="test", columns=one.columns,
        dialect=one.dialect, redact=None,
    )  # fmt: skip
    records = [imports.Record(number=number, cells=list(row)) for number, row in enumerate(chat(9, 2), 1)]
    return list(maker.make(records).items)


async def test_the_ledger_keeps_what_a_deleted_import_cost(app: Services) -> None:
    shop = await open_shop(app, name="Priced", model="gpt-4o-mini")
    options = Options(sentiment=False, intent=False, summary="model", limit_nano=10**9)
    one = await start(app, shop, chats(1, 2, 3), options)
    await run_leg(app, shop, one)
    await app.ledger.flush()
    async with app.db.transaction(shop.scope) as db:
        spent = await budgets.import_cost(db, shop.scope, one.id, since=one.created_at)
        assert [found.budget.scope_id for found in await budgets.list_budgets(db, shop.scope)] == [one.id]
    assert spent.calls == 3
    await delete_import(app, shop.scope, one.id, with_conversations=True, actor="test")
    await run_leg(app, shop, one)
    assert not await is_there(app, shop, one.id)
    async with app.db.transaction(shop.scope) as db:
        assert await budgets.import_cost(db, shop.scope, one.id, since=one.created_at) == spent
        assert await budgets.list_budgets(db, shop.scope) == [], "its cap is needed no more"
        assert await budgets.reconcile(db, shop.scope) == []
