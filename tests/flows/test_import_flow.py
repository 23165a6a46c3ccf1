"""Files of conversations, imported by a running worker: what is stored, what is told, and that nothing is lost or doubled."""

import asyncio
import csv
import io
import json
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from chatwright.adapters.queue import QueueAdmin, QueueName
from chatwright.domain.errors import Conflict, Unprocessable
from chatwright.domain.ids import JobId, new_id
from chatwright.domain.jobs import Job, JobType
from chatwright.domain.messages import Draft
from chatwright.domain.scope import Scope
from chatwright.features import budgets, conversations, imports, memory
from chatwright.features.imports import Import, Options
from chatwright.pipeline import importing
from chatwright.pipeline.accept import accept
from chatwright.pipeline.bulk import run_import
from chatwright.pipeline.import_courtesy import Courtesy
from chatwright.pipeline.import_faq import draft_faq
from chatwright.pipeline.services import Services
from tests.flows.conftest import OpenApp, Shop, open_shop, running_worker

HEADER = ("conv", "id", "role", "body", "created_at", "customer_email")
UNREAD = Options(sentiment=False, intent=False, summary="none")


def table(rows: Sequence[Sequence[Any]], header: Sequence[str] = HEADER) -> bytes:
    page = io.StringIO(newline="")
    writer = csv.writer(page)
    writer.writerow(header)
    writer.writerows(rows)
    return page.getvalue().encode()


def chat(number: int, turns: int = 4) -> list[tuple[Any, ...]]:
    return [
        (
            f"c{number}",
            f"m{number}-{turn}",
            "agent" if turn % 2 else "customer",
            f"message {turn} of {number}, where is my parcel?",
            f"2024-03-{number % 28 + 1:02d}T10:{turn:02d}:00Z",
            f"visitor{number}@example.com",
        )
        for turn in range(turns)
    ]


async def pieces(data: bytes, size: int = 65_536) -> AsyncGenerator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def start(
    app: Services, shop: Shop, data: bytes, options: Options = UNREAD, *, source: str = "test", **mapping: Any
) -> Import:
    received = await importing.receive_file(app, shop.scope, pieces(data), name="chats.csv")
    return await importing.start_import(
        app, shop.scope, shop.chatbot, received, mapping, options, source=source, actor="test"
    )


async def finished(app: Services, scope: Scope, import_id: str, *, within_s: float = 60.0) -> Import:
    """Wait until an import rests."""
    async with asyncio.timeout(within_s):
        while True:
            async with app.db.transaction(scope) as db:
                one = await imports.get_import(db, scope, import_id)
            if one.state not in ("queued", "running"):
                return one
            await asyncio.sleep(0.05)


async def transcripts(app: Services, shop: Shop) -> dict[str, list[tuple[str, str]]]:
    """(role, text) of every conversation's lines, by visitor."""
    found: dict[str, list[tuple[str, str]]] = {}
    async with app.db.transaction(shop.scope) as db:
        for one in await conversations.list_conversations(db, shop.scope, chatbot_id=shop.chatbot.id, limit=10_000):
            items = await conversations.list_transcript(db, shop.scope, one.id, limit=10_000)
            found.setdefault(one.visitor_id, []).extend((item.role, item.text) for item in items)
    return found


async def test_each_row_is_one_line_of_a_transcript(app: Services, shop: Shop, valkey_url: str) -> None:
    rows = [row for number in range(250) for row in chat(number)]
    async with running_worker(app, valkey_url):
        one = await finished(app, shop.scope, (await start(app, shop, table(rows))).id)
    assert (one.state, one.error) == ("done", None)
    assert (one.rows_read, one.rows_stored, one.rows_failed, one.rows_skipped) == (1000, 1000, 0, 0)
    assert (one.conversations, one.messages) == (250, 1000)
    found = await transcripts(app, shop)
    assert len(found) == 250
    assert found["visitor7@example.com"] == [
        ("assistant" if row[2] == "agent" else "visitor", row[3]) for row in chat(7)
    ]


async def test_the_same_file_again_adds_nothing(app: Services, shop: Shop, valkey_url: str) -> None:
    data = table([row for number in range(60) for row in chat(number)])
    more = table([row for number in range(62) for row in chat(number, 5)])
    async with running_worker(app, valkey_url):
        await finished(app, shop.scope, (await start(app, shop, data)).id)
        before = await transcripts(app, shop)
        again = await finished(app, shop.scope, (await start(app, shop, data)).id)
        assert (again.rows_stored, again.rows_skipped, again.messages) == (0, 240, 0)
        assert await transcripts(app, shop) == before
        longer = await finished(app, shop.scope, (await start(app, shop, more)).id)
        elsewhere = await finished(app, shop.scope, (await start(app, shop, data, source="other")).id)
    assert (longer.rows_stored, longer.rows_skipped, longer.conversations) == (60 + 10, 240, 2)
    assert elsewhere.rows_stored == 240
    found = await transcripts(app, shop)
    assert [text for _, text in found["visitor61@example.com"]] == [row[3] for row in chat(61, 5)]
    assert [text for _, text in found["visitor0@example.com"]] == [row[3] for row in [*chat(0, 5), *chat(0)]] or [
        text for _, text in found["visitor0@example.com"]
    ] == [row[3] for row in [*chat(0), *chat(0, 5)]]


async def test_agents_who_speak_first_or_twice_keep_their_lines(app: Services, shop: Shop, valkey_url: str) -> None:
    said = [
        ("agent", "Hello, can I help?"),
        ("agent", "I am here until six."),
        ("customer", "My parcel is late."),
        ("customer", "Order 12345."),
        ("agent", "Let me look."),
        ("agent", "It comes tomorrow."),
        ("note", "customer was polite"),
        ("customer", "Thank you!"),
    ]
    rows = [("x", f"m{at}", role, text, "", "ann") for at, (role, text) in enumerate(said)]
    async with running_worker(app, valkey_url):
        one = await finished(app, shop.scope, (await start(app, shop, table(rows))).id)
    assert (one.rows_stored, one.rows_skipped, one.messages) == (7, 1, 7)
    found = await transcripts(app, shop)
    sides = {"agent": "assistant", "customer": "visitor"}
    assert found["ann"] == [(sides[role], text) for role, text in said if role != "note"]


@pytest.mark.parametrize("order", ["newest first", "interleaved", "newest first and interleaved"])
async def test_conversations_are_in_the_order_of_their_times(
    app: Services, shop: Shop, valkey_url: str, order: str
) -> None:
    """Also where the parts of a conversation lie further apart in the file than a window is wide."""
    app = with_settings(app, import_batch_rows=2)
    chats = [chat(number, 6) for number in range(120)]
    rows = [row for one in chats for row in one]
    if order == "interleaved":
        rows = [one[turn] for turn in range(6) for one in chats]
    elif order == "newest first":
        rows.reverse()
    else:
        rows = [one[turn] for turn in range(6) for one in chats][::-1]
    async with running_worker(app, valkey_url):
        one = await finished(app, shop.scope, (await start(app, shop, table(rows))).id)
    assert (one.state, one.rows_stored) == ("done", 720)
    found = await transcripts(app, shop)
    for number in range(120):
        sides = [("assistant" if row[2] == "agent" else "visitor", row[3]) for row in chats[number]]
        assert found[f"visitor{number}@example.com"] == sides


def with_settings(app: Services, **changes: Any) -> Services:
    return replace(app, settings=replace(app.settings, **changes))


async def test_broken_rows_are_told_and_the_rest_goes_on(app: Services, shop: Shop, valkey_url: str) -> None:
    good = chat(1)
    data = (
        table(good[:2])
        + b"x,1,robot,who am I,,\r\n"  # an unknown role
        + b"x,2,customer,too,many,cells,in,here\r\n"
        + b"x,3\r\n"
        + b"x,4,customer,when?,yesterday-ish,\r\n"
        + b",5,customer,nowhere,,\r\n"
        + b"x,6,customer,,,\r\n"
        + b'x,7,customer,"=HYPERLINK(""http://evil"")",not a time,\r\n'
        + b"x,8,customer,nul\x00led,2024-01-01,v\r\n"
        + b"x,9,customer,caf\xe9,2024-01-01,v\r\n"
        + b"x,9,customer,the same id again,2024-01-01,v\r\n"
        + table([("x", "10", "customer", "long " * 200_000, "2024-01-02", "v")])[len(table([])) :]
        + table(good[2:])[len(table([])) :]
        + b'x,11,customer,"never closed,2024-01-01,v\r\nx,12,customer,after it,2024-01-03,v\r\n'
    )
    async with running_worker(app, valkey_url):
        one = await finished(app, shop.scope, (await start(app, shop, data, time="created_at")).id)
        async with app.db.transaction(shop.scope) as db:
            problems = await imports.list_problems(db, shop.scope, one.id, limit=100)
    assert one.state == "done", one.error
    assert one.rows_read == one.rows_stored + one.rows_failed + one.rows_skipped
    assert {number for number, _, _ in problems} == {3, 4, 5, 6, 7, 9, 16}
    reasons = {number: reason for number, reason, _ in problems}
    assert "robot" in reasons[3]
    assert "8 cells under 6 columns" in reasons[4]
    assert "ends before column" in reasons[5]
    assert "yesterday-ish" in reasons[6]
    assert "no conversation" in reasons[7]
    assert "never closed" in reasons[16]
    assert one.dialect.encoding == "cp1252"
    found = await transcripts(app, shop)
    texts = [text for _, text in found["v"]]
    assert "nulled" in texts
    assert "café" in texts
    assert "after it" in texts
    assert "the same id again" not in texts
    assert "long " * 200_000 in texts
    assert len(found["visitor1@example.com"]) == 4
    file = await app.files.open(f"{one.report_key}/errors.csv")
    rows = list(csv.reader(io.StringIO((await asyncio.to_thread(file.read)).decode(), newline="")))
    await asyncio.to_thread(file.close)
    assert rows[0] == ["row", "reason", "original"]
    assert [int(row[0]) for row in rows[1:]] == [3, 4, 5, 6, 7, 9, 16]


async def test_messages_are_read_and_conversations_summed_up(app: Services, shop: Shop, valkey_url: str) -> None:
    rows = [
        ("a", "1", "customer", "This is terrible, my card was stolen and nobody helps!", "2024-01-01T10:00", "ann"),
        ("a", "2", "agent", "I am sorry to hear that. I have blocked the card.", "2024-01-01T10:01", "ann"),
        ("b", "1", "customer", "Thank you so much, wonderful service!", "2024-01-02T10:00", "bob"),
    ]
    options = Options(summary="local")
    async with running_worker(app, valkey_url):
        one = await finished(app, shop.scope, (await start(app, shop, table(rows), options)).id)
    assert (one.state, one.summaries) == ("done", 2)
    async with app.db.transaction(shop.scope) as db:
        for visitor, sentiment in (("ann", "negative"), ("bob", "positive")):
            (found,) = await conversations.list_conversations(db, shop.scope, visitor_id=visitor)
            items = await conversations.list_transcript(db, shop.scope, found.id)
            assert items[0].details["reading"]["sentiment"] == sentiment
            assert items[0].details["reading"]["intent"]
            if visitor == "ann":
                assert items[1].details["tone"]["label"] in ("positive", "neutral", "negative")
            kept = await memory.load_kept(db, shop.scope, found.id)
            assert kept is not None
            assert kept.summary.made_by == "local"
            assert kept.summary.covers_upto == 1
        counts = await imports.get_counts(db, shop.scope, one.id)
    assert counts["negative"] == {"2024-01-01": 1}
    assert counts["positive"] == {"2024-01-02": 1}
    assert sum(counts["intent"].values()) == 2
    assert counts["summary"] == {"local": 2}


async def test_a_budget_for_half_the_summaries_pauses_the_import_and_a_higher_one_ends_it(
    app: Services, shop: Shop, valkey_url: str
) -> None:
    """Every cent stands in the ledger, no conversation is summed up twice."""
    shop = await open_shop(app, name="Priced", model="gpt-4o-mini")
    data = table([row for number in range(20) for row in chat(number)])
    options = Options(sentiment=False, intent=False, summary="model")
    async with running_worker(app, valkey_url):
        probe = await finished(app, shop.scope, (await start(app, shop, data, options, source="probe")).id)
        spent = await cost_of(app, shop, probe)
        assert probe.state == "done"
        assert spent > 0
        assert probe.quote_nano is not None
        assert probe.quote_nano >= spent
        each = probe.quote_nano // 20
        limit_nano = spent // 2 + each  # the last call's reservation has to fit, too
        capped = msgspec.structs.replace(options, limit_nano=limit_nano)
        one = await start(app, shop, data, capped, source="capped")
        paused = await finished(app, shop.scope, one.id)
        assert (paused.state, paused.reason) == ("paused", "budget")
        assert 0 < paused.summaries < 20
        cost_nano = await cost_of(app, shop, paused)
        assert limit_nano - 2 * each < cost_nano <= limit_nano, "it goes on for as long as another call fits"
        again = await importing.control_import(app, shop.scope, one.id, "resume", actor="test")
        assert again.state == "queued"
        still = await finished(app, shop.scope, one.id)
        assert (still.state, still.summaries) == ("paused", paused.summaries)
        await importing.limit_import(app, shop.scope, one.id, spent * 10, actor="test")
        await importing.control_import(app, shop.scope, one.id, "resume", actor="test")
        done = await finished(app, shop.scope, one.id)
    assert (done.state, done.summaries) == ("done", 20)
    assert done.rows_stored == 80
    async with app.db.transaction(shop.scope) as db:
        calls = await db.fetch(
            "SELECT conversation_id, cost_nano FROM calls WHERE tenant_id = $1 AND import_id = $2 AND state = 'ok'",
            shop.scope.tenant_id,
            one.id,
        )
        by_summary = await imports.get_counts(db, shop.scope, one.id)
    assert len(calls) == len({call["conversation_id"] for call in calls}) == 20
    assert sum(call["cost_nano"] for call in calls) == await cost_of(app, shop, done)
    assert sum(by_summary["summary"].values()) == 20


async def cost_of(app: Services, shop: Shop, one: Import) -> int:
    await app.ledger.flush()
    async with app.db.transaction(shop.scope) as db:
        found = await budgets.import_cost(db, shop.scope, one.id, since=one.created_at)
    assert found.cost_nano is not None
    return found.cost_nano


async def test_an_import_is_paused_resumed_and_cancelled(app: Services, shop: Shop, valkey_url: str) -> None:
    app = with_settings(app, import_batch_rows=1, import_batches_at_once=1)
    data = table([row for number in range(400) for row in chat(number)])
    one = await start(app, shop, data)
    other = await start(app, shop, data, source="other")
    async with running_worker(app, valkey_url):
        await asyncio.sleep(0.3)
        paused = await importing.control_import(app, shop.scope, one.id, "pause", actor="test")
        cancelled = await importing.control_import(app, shop.scope, other.id, "cancel", actor="test")
        assert (paused.state, cancelled.state) == ("paused", "cancelled")
        await asyncio.sleep(0.5)
        async with app.db.transaction(shop.scope) as db:
            before = (await imports.get_import(db, shop.scope, one.id)).rows_read
        await asyncio.sleep(0.5)
        async with app.db.transaction(shop.scope) as db:
            assert (await imports.get_import(db, shop.scope, one.id)).rows_read == before < 1600
        await importing.control_import(app, shop.scope, one.id, "resume", actor="test")
        done = await finished(app, shop.scope, one.id)
    assert (done.state, done.rows_stored, done.rows_skipped) == ("done", 1600, 0)
    with pytest.raises(Conflict):
        await importing.control_import(app, shop.scope, other.id, "resume", actor="test")


async def test_a_file_of_objects_with_messages_in_them(app: Services, shop: Shop, valkey_url: str) -> None:
    lines = [
        {
            "id": f"talk-{number}",
            "user": f"visitor{number}",
            "messages": [
                {"role": "system", "content": "You are helpful."},
                {"role": "user", "content": "How do I reset it?"},
                {"role": "assistant", "content": "Hold the button for ten seconds."},
            ],
        }
        for number in range(30)
    ]
    data = "\n".join(json.dumps(line) for line in lines).encode() + b'\n{"broken": \n[1]\n'
    async with running_worker(app, valkey_url):
        one = await finished(app, shop.scope, (await start(app, shop, data)).id)
    assert (one.rows_read, one.rows_stored, one.rows_failed, one.messages) == (32, 30, 2, 60)
    found = await transcripts(app, shop)
    assert found["visitor3"] == [("visitor", "How do I reset it?"), ("assistant", "Hold the button for ten seconds.")]


@pytest.mark.parametrize("mapping", [{"text": "nothing"}, {"time_zone": "Mars"}, {"roles": {"x": "king"}}])
async def test_a_map_that_cannot_be_is_refused(app: Services, shop: Shop, mapping: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable):
        await start(app, shop, table(chat(1)), **mapping)


async def test_two_workers_and_a_lost_lock_store_each_row_once(open_app: OpenApp, valkey_url: str) -> None:
    """The same leg run twice at once: units are taken by one of the two."""
    async with open_app() as one_process, open_app() as another:
        app, other = (with_settings(each, import_batch_rows=3) for each in (one_process, another))
        shop = await open_shop(app)
        data = table([row for number in range(150) for row in chat(number)])
        one = await start(app, shop, data)
        job = Job(
            id=JobId(new_id()), scope=shop.scope, type=JobType.CSV_IMPORT_BATCH, queue="ai-batch", priority=3,
            attempt=1, payload={"import_id": one.id},
        )  # fmt: skip
        await asyncio.gather(run_import(app, job, one.id), run_import(other, job, one.id))
        while (await finished_or_open(app, shop, one)).state == "running":
            await run_import(app, job, one.id)
        done = await finished(app, shop.scope, one.id)
    assert (done.state, done.rows_stored, done.rows_failed, done.rows_skipped) == ("done", 600, 0, 0)


async def finished_or_open(app: Services, shop: Shop, one: Import) -> Import:
    async with app.db.transaction(shop.scope) as db:
        return await imports.get_import(db, shop.scope, one.id)


async def test_answered_questions_become_a_draft(app: Services, shop: Shop, valkey_url: str) -> None:
    said = [
        ("How do I reset my password?", "Open the settings, choose security, then reset the password there."),
        (
            "how do i reset my password",
            "Settings, then security, then reset. A mail with a link comes within five minutes.",
        ),
        ("Where is my order 48213555?", "Your order 48213555 is on its way and arrives on Tuesday, I am sure of it."),
        ("Can you write to ann@example.com?", "Of course, we will write to this address within the next two days."),
        ("Hello!", "Hello, and welcome to our shop, how can I help you on this fine day?"),
        ("Do you deliver to Norway?", "Yes, we deliver to Norway within eight days, for a flat rate of ten."),
    ]
    rows = [
        (f"c{number}", f"{number}-{turn}", ("customer", "agent")[turn], text, "", "v")
        for number, pair in enumerate(said)
        for turn, text in enumerate(pair)
    ]
    async with running_worker(app, valkey_url):
        one = await finished(app, shop.scope, (await start(app, shop, table(rows))).id)
    drafts = await draft_faq(app, shop.scope, one.id, at_most=10)
    assert [(draft.asked, draft.answer) for draft in drafts] == [(2, said[1][1]), (1, said[5][1])]
    page = imports.to_markdown(drafts, title="Draft")
    assert "## Do you deliver to Norway?" in page
    assert [draft.asked for draft in await draft_faq(app, shop.scope, one.id, at_most=1)] == [2]


async def test_an_import_makes_way_while_visitors_wait(app: Services, shop: Shop, valkey_url: str) -> None:
    """And still goes on."""
    courtesy = Courtesy(app)
    assert not await courtesy.are_visitors_waiting()
    await accept(app, shop.scope, Draft(text="hello", chatbot_id=shop.chatbot.id))  # nobody answers yet
    assert await Courtesy(app).are_visitors_waiting()
    one = await start(app, shop, table([row for number in range(40) for row in chat(number)]))
    job = Job(
        id=JobId(new_id()), scope=shop.scope, type=JobType.CSV_IMPORT_BATCH, queue="ai-batch", priority=3,
        attempt=1, payload={"import_id": one.id},
    )  # fmt: skip
    await run_import(app, job, one.id)
    assert (await finished(app, shop.scope, one.id)).rows_stored == 160


async def test_visitors_are_noticed_once_they_have_been_answered(app: Services, shop: Shop, valkey_url: str) -> None:
    """A chat is over before anybody looks: it is told by what last happened in the queues. Imports alone are no visitors."""
    async with running_worker(app, valkey_url):
        await finished(app, shop.scope, (await start(app, shop, table(chat(1)))).id)
        before = await QueueAdmin(app.valkey).activity()
        assert before[QueueName.BATCH].idle_s < math.inf
        assert [one.idle_s for name, one in before.items() if name is not QueueName.BATCH] == [math.inf, math.inf]
        assert not await Courtesy(app).are_visitors_waiting()
        await accept(app, shop.scope, Draft(text="hello", chatbot_id=shop.chatbot.id))
        async with asyncio.timeout(20):
            while not (now := await QueueAdmin(app.valkey).activity()) or any(
                one.running or one.waiting for one in now.values()
            ):
                await asyncio.sleep(0.02)
    assert await Courtesy(app).are_visitors_waiting()


async def test_steps_come_one_at_a_time_beside_visitors(app: Services, shop: Shop) -> None:
    async def most_at_once(courtesy: Courtesy) -> int:
        inside = most = 0

        async def work() -> None:
            nonlocal inside, most
            async with courtesy.step(0.0):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.01)
                inside -= 1

        await asyncio.gather(*(work() for _ in range(5)))
        return most

    assert await most_at_once(Courtesy(app)) == 5
    await accept(app, shop.scope, Draft(text="hello", chatbot_id=shop.chatbot.id))  # nobody answers yet
    assert await most_at_once(Courtesy(app)) == 1
