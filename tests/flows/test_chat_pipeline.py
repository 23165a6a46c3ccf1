"""Accept -> queue -> answer -> stream, with everything real but the language model (a simulator on HTTP)."""

import asyncio
from typing import Any

import asyncpg
import pytest

from bench.simulator import Simulator
from chatwright.domain import events
from chatwright.domain.errors import BadRequest, Conflict, NotFound, PayloadTooLarge, Unprocessable
from chatwright.domain.ids import ConversationId, MessageId
from chatwright.domain.jobs import JobType
from chatwright.domain.messages import Accepted, Draft, MessageState
from chatwright.features import conversations, jobs
from chatwright.pipeline import sweep
from chatwright.pipeline.accept import accept, cancel
from chatwright.pipeline.answer import answer
from chatwright.pipeline.perform import settle_failure
from chatwright.pipeline.services import Services
from chatwright.pipeline.submit import replay_dead_letter, submit_job
from chatwright.pipeline.wait import wait_for_answer
from tests.flows.conftest import OpenApp, Shop, open_shop, running_worker


async def rows(superuser_url: str, query: str, *args: object) -> list[Any]:
    connection = await asyncpg.connect(superuser_url)
    try:
        return await connection.fetch(query, *args)
    finally:
        await connection.close()


async def say(app: Services, shop: Shop, text: str, *, to: Accepted | None = None, **more: Any) -> Accepted:
    draft = Draft(
        text=text,
        conversation_id=to.conversation_id if to else None,
        chatbot_id=None if to else shop.chatbot.id,
        **more,
    )
    return await accept(app, shop.scope, draft)


async def frames(app: Services, shop: Shop, accepted: Accepted) -> list[tuple[int, events.StreamEvent]]:
    page = await app.log.read(shop.scope.tenant_id, accepted.conversation_id, after_seq=0)
    return [(seq, events.decode(payload)) for seq, payload in page.events]


async def test_a_message_is_answered_streamed_and_booked(
    app: Services, shop: Shop, simulator: Simulator, valkey_url: str, superuser_url: str
) -> None:
    async with running_worker(app, valkey_url):
        simulator.set(reply="Nine to five.")
        accepted = await say(app, shop, "When are you open?")
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=10)
        await app.ledger.flush()
    assert outcome.state is MessageState.ANSWERED
    assert outcome.answer is not None
    assert outcome.answer.text == "Nine to five."
    assert outcome.reading is not None
    assert outcome.reading.intent == "question"

    told = await frames(app, shop, accepted)
    assert [seq for seq, _ in told] == list(range(1, len(told) + 1))
    kinds = [event.type for _, event in told]
    assert kinds[:2] == ["message_accepted", "stream_start"]
    assert kinds[-1] == "stream_complete"
    text = "".join(event.text for _, event in told if isinstance(event, events.StreamChunk))
    assert text == "Nine to five."

    calls = await rows(superuser_url, "SELECT * FROM calls")
    assert [(call["state"], call["provider"], str(call["message_id"])) for call in calls] == [
        ("ok", "openai", accepted.message_id)
    ]
    assert calls[0]["input_tokens"] > 0
    assert calls[0]["cost_nano"] is None  # nobody knows the price of "mock": unknown, never 0
    assert len(simulator.calls()) == 1


async def test_messages_of_a_conversation_are_answered_in_order(
    app: Services, shop: Shop, simulator: Simulator, valkey_url: str
) -> None:
    async with running_worker(app, valkey_url):
        first = await say(app, shop, "[[sim:latency=200]] one")
        others = [await say(app, shop, f"number {i}", to=first) for i in range(4)]
        for accepted in [first, *others]:
            outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=15)
            assert outcome.state is MessageState.ANSWERED
    async with app.db.transaction(shop.scope) as db:
        items = await conversations.list_transcript(db, shop.scope, first.conversation_id)
    assert [item.role for item in items] == ["visitor", "assistant"] * 5
    answered = [item.created_at for item in items if item.role == "assistant"]
    assert answered == sorted(answered)
    assert len(simulator.calls()) == 5


async def test_fifty_equal_sends_at_once_are_one_message(app: Services, shop: Shop, superuser_url: str) -> None:
    first = await say(app, shop, "hello", client_message_id="start")
    receipts = await asyncio.gather(*(say(app, shop, "again", to=first, client_message_id="once") for _ in range(50)))
    assert len({receipt.message_id for receipt in receipts}) == 1
    assert sum(not receipt.replayed for receipt in receipts) == 1
    assert (await rows(superuser_url, "SELECT count(*) FROM messages"))[0][0] == 2
    with pytest.raises(Conflict):
        await say(app, shop, "another text", to=first, client_message_id="once")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", BadRequest),
        ("   ", BadRequest),
        ("a\x00b", BadRequest),
        ("\ud800", BadRequest),
        ("x" * 1_000_000, PayloadTooLarge),
    ],
)
async def test_bad_texts_are_refused_and_nothing_is_stored(
    app: Services, shop: Shop, superuser_url: str, text: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await say(app, shop, text)
    assert (await rows(superuser_url, "SELECT count(*) FROM conversations"))[0][0] == 0


async def test_another_tenants_conversation_is_unknown(app: Services, shop: Shop) -> None:
    other = await open_shop(app, name="Other")
    mine = await say(app, shop, "hello")
    with pytest.raises(NotFound):
        await say(app, other, "let me in", to=mine)
    with pytest.raises(NotFound):
        await cancel(app, other.scope, mine.message_id, visitor_id=None)
    with pytest.raises(NotFound):
        await cancel(app, shop.scope, MessageId("nonsense"), visitor_id=None)
    with pytest.raises(NotFound):
        await accept(app, shop.scope, Draft(text="x", conversation_id=ConversationId("../../etc")))


async def test_cancel_stops_the_provider_call_and_keeps_the_partial_text(
    app: Services, shop: Shop, simulator: Simulator, valkey_url: str, superuser_url: str
) -> None:
    async with running_worker(app, valkey_url):
        accepted = await say(app, shop, "[[sim:chunks=500,interval=20]] tell me everything")
        async with app.channel.follow(shop.scope.tenant_id, accepted.conversation_id, after_seq=0) as told:
            async for event in told:
                if isinstance(event, tuple) and b"stream_chunk" in event[1]:
                    break
        assert await cancel(app, shop.scope, accepted.message_id, visitor_id=None) is MessageState.ACCEPTED
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=5)
        await app.ledger.flush()
    assert outcome.state is MessageState.CANCELLED
    assert outcome.answer is not None
    assert outcome.answer.partial
    assert outcome.answer.text
    (call,) = await rows(superuser_url, "SELECT * FROM calls")
    assert call["state"] == "cancelled"
    assert call["estimated"]
    assert simulator.calls()[0].ended == "client_closed"


async def test_cancel_of_a_queued_message_ends_it_at_once_and_lets_the_next_go(app: Services, shop: Shop) -> None:
    first = await say(app, shop, "one")
    second = await say(app, shop, "two", to=first)
    assert await cancel(app, shop.scope, first.message_id, visitor_id=None) is MessageState.CANCELLED
    async with app.db.transaction(shop.scope) as db:
        view = await jobs.get_job(db, shop.scope, second.job_id)
    assert view is not None
    assert view.state == "queued"


async def test_an_attempt_that_lost_its_lock_changes_nothing(
    app: Services, shop: Shop, simulator: Simulator, superuser_url: str
) -> None:
    accepted = await say(app, shop, "[[sim:latency=300,reply=late]] hello")
    async with app.db.transaction(shop.scope) as db:
        stale = await jobs.claim(db, shop.scope, accepted.job_id, generation=1, lease_s=5)
    assert stale is not None
    late = asyncio.create_task(answer(app, stale))
    async with asyncio.timeout(10):
        while not simulator.calls():
            await asyncio.sleep(0.02)
    async with app.db.transaction(shop.scope) as db:
        fresh = await jobs.claim(db, shop.scope, accepted.job_id, generation=1, lease_s=5)
    assert fresh is not None
    assert fresh.attempt == stale.attempt + 1
    await answer(app, fresh)
    before = await rows(superuser_url, "SELECT m.xmin, a.xmin, a.attempt FROM messages m, answers a")
    told = await frames(app, shop, accepted)
    results = await asyncio.gather(late, return_exceptions=True)
    assert type(results[0]).__name__ == "LostLock"
    assert await rows(superuser_url, "SELECT m.xmin, a.xmin, a.attempt FROM messages m, answers a") == before
    assert await frames(app, shop, accepted) == told
    assert [event.type for _, event in told].count("stream_complete") == 1
    await app.ledger.flush()
    assert len(await rows(superuser_url, "SELECT 1 FROM calls")) == len(simulator.calls()) == 2


async def test_a_wiped_valkey_loses_nothing_that_was_accepted(app: Services, shop: Shop, valkey_url: str) -> None:
    waiting = [await say(app, shop, f"message {i}") for i in range(20)]
    await app.valkey.flushdb()
    await asyncio.sleep(sweep.DUE_S + 0.1)
    assert await sweep.requeue_lost(app) == 20
    assert await sweep.requeue_lost(app) == 0
    async with running_worker(app, valkey_url):
        for accepted in waiting:
            outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=15)
            assert outcome.state is MessageState.ANSWERED


async def test_a_failing_provider_ends_as_dead_letter_and_is_replayed_once(
    app: Services, shop: Shop, simulator: Simulator, valkey_url: str, superuser_url: str
) -> None:
    accepted = await say(app, shop, "[[sim:status=401]] hello")
    async with running_worker(app, valkey_url):
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=10)
    assert outcome.state is MessageState.FAILED
    assert outcome.error_code == "provider_unavailable"
    async with app.db.transaction(shop.scope) as db:
        (letter,) = await jobs.list_dead_letters(db, shop.scope)
    assert letter.error_class == "authentication"
    assert letter.attempts == 1
    replayed = await asyncio.gather(
        *(replay_dead_letter(app, shop.scope, letter.id) for _ in range(5)), return_exceptions=True
    )
    assert accepted.job_id in replayed
    (job,) = await rows(superuser_url, "SELECT generation, state FROM jobs")
    assert job["generation"] == 2


async def test_at_most_three_provider_calls_for_one_answer(
    app: Services, shop: Shop, simulator: Simulator, superuser_url: str
) -> None:
    accepted = await say(app, shop, "[[sim:status=500]] hello")
    for _ in range(6):
        async with app.db.transaction(shop.scope) as db:
            job = await jobs.claim(db, shop.scope, accepted.job_id, generation=1, lease_s=5)
        if job is None:
            break
        try:
            await answer(app, job)
        except Exception as error:
            await settle_failure(app, job, error)  # type: ignore[arg-type]
    assert len(simulator.calls()) == 3
    await app.ledger.flush()
    assert len(await rows(superuser_url, "SELECT 1 FROM calls WHERE state = 'failed'")) == 3


async def test_a_cut_stream_keeps_the_partial_text_and_says_so(
    app: Services, shop: Shop, valkey_url: str, superuser_url: str
) -> None:
    async with running_worker(app, valkey_url):
        accepted = await say(app, shop, "[[sim:chunks=20,cut=5]] hello")
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=10)
        await app.ledger.flush()
    assert outcome.state is MessageState.FAILED
    assert outcome.answer is not None
    assert outcome.answer.partial
    last = (await frames(app, shop, accepted))[-1][1]
    assert isinstance(last, events.StreamError)
    assert last.retriable
    (call,) = await rows(superuser_url, "SELECT state, estimated, output_tokens FROM calls")
    assert (call["state"], call["estimated"]) == ("cut", True)
    assert call["output_tokens"] > 0


async def test_two_processes_follow_the_same_stream(
    app: Services, shop: Shop, open_app: OpenApp, valkey_url: str
) -> None:
    async with open_app() as other, running_worker(app, valkey_url):
        accepted = await say(app, shop, "[[sim:chunks=30,interval=5]] hello")
        seen: list[bytes] = []
        async with other.channel.follow(shop.scope.tenant_id, accepted.conversation_id, after_seq=0) as told:
            async for event in told:
                assert isinstance(event, tuple)
                seen.append(event[1])
                if b"stream_complete" in event[1]:
                    break
        page = await app.log.read(shop.scope.tenant_id, accepted.conversation_id, after_seq=0)
        assert seen == [payload for _, payload in page.events]


async def test_a_batch_of_rows_is_read_as_one_job(app: Services, shop: Shop, valkey_url: str) -> None:
    rows_of_batch = [{"text": "Thanks, that was great!"}, {"text": "This is broken"}, {"text": "Where is it?"}]
    with pytest.raises(Unprocessable):
        await submit_job(app, shop.scope, job_type=JobType.CSV_IMPORT_BATCH, chatbot=None, payload={"rows": [{}]})
    job_id = await submit_job(
        app, shop.scope, job_type=JobType.CSV_IMPORT_BATCH, chatbot=None, payload={"rows": rows_of_batch}
    )
    view: jobs.JobView | None = None
    async with running_worker(app, valkey_url):
        for _ in range(100):
            async with app.db.transaction(shop.scope) as db:
                view = await jobs.get_job(db, shop.scope, job_id)
            if view is not None and view.state == "done":
                break
            await asyncio.sleep(0.05)
    assert view is not None
    assert view.queue == "ai-batch"
    assert [result["sentiment"]["label"] for result in view.result["results"]] == ["positive", "negative", "neutral"]
