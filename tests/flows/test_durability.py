"""What must hold when things break in the middle: nothing lost, nothing told twice, no loop without an end.

Faults are real where they can be (locks held in PostgreSQL, connections cut to Valkey); where a moment must be hit
exactly, `Fault` runs something of the test right after a job's ending was committed.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import asyncpg
import pytest

from bench.simulator import Simulator
from chatwright.adapters.queue import QUEUES, QueueAdmin, QueuedJob, QueueName
from chatwright.app.addresses import Addresses
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain import events
from chatwright.domain.chatbot import ProviderLink
from chatwright.domain.errors import ChatwrightError, DeadlineExceeded, LostLock, Unavailable
from chatwright.domain.ids import CallId, JobId, KnowledgeBaseId, MessageId, new_id
from chatwright.domain.jobs import Job, JobType
from chatwright.domain.messages import Accepted, MessageState
from chatwright.domain.providers import Turn, Usage
from chatwright.features import conversations, jobs
from chatwright.features.budgets import CallEnd, CallStart
from chatwright.pipeline import inline, manage, sweep
from chatwright.pipeline.accept import cancel
from chatwright.pipeline.answer import answer
from chatwright.pipeline.documents import submit_text
from chatwright.pipeline.ending import announce_again
from chatwright.pipeline.enqueue import enqueue, queue_id
from chatwright.pipeline.perform import perform, settle_failure
from chatwright.pipeline.services import Services
from chatwright.pipeline.submit import replay_dead_letter, submit_job
from chatwright.pipeline.wait import wait_for_answer
from tests.flows.conftest import OpenApp, Shop, running_worker
from tests.flows.test_chat_pipeline import rows, say


class Fault:
    """A database that does `then` right after the transaction of a statement with `mark` in it was committed, once."""

    def __init__(self, db: Any, then: Callable[[], Awaitable[None]], *, mark: str = "WITH held") -> None:
        self._db, self._then, self._mark, self._struck = db, then, mark, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def call(self, scope: Any, query: str, *args: object) -> Any:
        row = await self._db.call(scope, query, *args)
        await self._strike([query])
        return row

    async def _strike(self, queries: list[str]) -> None:
        if not self._struck and any(self._mark in query for query in queries):
            self._struck = True
            await self._then()

    @asynccontextmanager
    async def transaction(self, scope: Any) -> AsyncGenerator[Any]:
        seen: list[str] = []

        class Spy:
            def __getattr__(self, name: str) -> Any:
                def call(query: str, *args: object) -> Any:
                    seen.append(query)
                    return getattr(db, name)(query, *args)

                return call

        async with self._db.transaction(scope) as db:
            yield Spy()
        await self._strike(seen)


class Gate:
    """Stands before Valkey's socket; `shut` breaks every connection and lets nobody in until `open` is called."""

    def __init__(self, url: str, folder: Path) -> None:
        parts, self._path = urlsplit(url), folder / "gate.sock"
        self._upstream = parts.path
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.url = f"unix://{parts.netloc}{self._path}?{urlencode(query)}"
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._pass, str(self._path))

    def shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """Shut, and wait until every connection has gone."""
        self.shut()
        while self._passing:
            await asyncio.wait(self._passing)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        self._passing.add(current)
        self._writers.add(writer)
        try:
            other_reader, other = await asyncio.open_unix_connection(self._upstream)
            self._writers.add(other)
            if self._server is None:
                self.shut()
            await asyncio.gather(self._pump(reader, other), self._pump(other_reader, writer))
            self._writers -= {writer, other}
        finally:
            self._passing.discard(current)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.transport.abort()
        with suppress(OSError):
            await target.wait_closed()


@asynccontextmanager
async def gated(database_url: str, valkey_url: str, simulator: Simulator) -> AsyncGenerator[tuple[Services, Gate]]:
    """Services that reach Valkey through a gate."""
    with tempfile.TemporaryDirectory(prefix="cw-") as folder:
        gate = Gate(valkey_url, Path(folder))
        await gate.open()
        settings = Settings(openai_base_url=simulator.base_url, openai_api_key="sk-test", unknown_prices="flag")
        try:
            async with open_services(settings, Addresses(database_url=database_url, redis_url=gate.url)) as app:

                async def connected() -> bool:
                    return app.log.link.connected and app.channel.quiet_s < 1

                # asyncio forgets a connection that it accepts while the server is closed: let them stand first
                assert await until(connected, timeout_s=5)

                yield app, gate
        finally:
            await gate.close()


@asynccontextmanager
async def locked(superuser_url: str, statement: str, *args: object) -> AsyncGenerator[None]:
    """Holds what `statement` locks."""
    connection = await asyncpg.connect(superuser_url)
    try:
        async with connection.transaction():
            await connection.execute(statement, *args)
            yield
    finally:
        await connection.close()


async def claim(app: Services, shop: Shop, accepted: Accepted) -> Job:
    async with app.db.transaction(shop.scope) as db:
        job = await jobs.claim(db, shop.scope, accepted.job_id, generation=1, lease_s=5)
    assert job is not None
    return job


async def kinds(app: Services, shop: Shop, accepted: Accepted) -> list[str]:
    """Kinds of the message's events, in order."""
    page = await app.log.read(shop.scope.tenant_id, accepted.conversation_id, after_seq=0)
    mine = [payload for _, payload in page.events if accepted.message_id.encode() in payload]
    return [events.decode(payload).type for payload in mine]


async def until(condition: Callable[[], Awaitable[bool]], *, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if await condition():
            return True
        await asyncio.sleep(0.05)
    return False


async def job_row(superuser_url: str, job_id: str) -> Any:
    (row,) = await rows(superuser_url, "SELECT * FROM jobs WHERE id = $1::text::uuid", job_id)
    return row


async def has_ended(superuser_url: str, job_id: str) -> bool:
    return (await job_row(superuser_url, job_id))["state"] in ("done", "failed", "cancelled")


# --- the books


@pytest.mark.parametrize(
    "nonsense",
    [
        Usage(input_tokens=5, cached_tokens=10, output_tokens=1),
        Usage(input_tokens=10**30, output_tokens=10**30),
        Usage(input_tokens=-5, output_tokens=1),
    ],
)
async def test_nonsense_from_a_provider_does_not_stop_the_books(
    app: Services, shop: Shop, superuser_url: str, nonsense: Usage
) -> None:
    for usage in (nonsense, Usage(input_tokens=1)):
        call = CallStart(id=CallId(new_id()), tenant_id=shop.scope.tenant_id, provider="openai", model="gpt-4.1-mini")
        async with asyncio.timeout(3):
            await app.ledger.open(call)
        app.ledger.close(CallEnd(id=call.id, state="ok", provider="openai", model="gpt-4.1-mini", usage=usage))
        assert await app.ledger.flush(timeout_s=3)
    assert [row["state"] for row in await rows(superuser_url, "SELECT state FROM calls")] == ["ok", "ok"]


async def test_an_answer_with_nonsense_usage_is_an_answer(app: Services, shop: Shop, simulator: Simulator) -> None:
    bot = await manage.patch_chatbot(
        app,
        shop.scope,
        shop.chatbot.slug,
        {"providers": (ProviderLink(provider="openai", model="gpt-4.1-mini"),)},
        actor="test",
    )
    shop = replace(shop, chatbot=bot)
    accepted = await say(app, shop, "[[sim:input_tokens=5,cached_tokens=50]] hello")
    await answer(app, await claim(app, shop, accepted))
    outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=1)
    assert outcome.state is MessageState.ANSWERED


async def test_a_call_that_was_given_up_before_it_was_made_costs_nothing(
    app: Services, shop: Shop, superuser_url: str
) -> None:
    start = CallStart(
        id=CallId(new_id()), tenant_id=shop.scope.tenant_id, provider="openai", model="gpt-4.1", reserved_nano=10**9
    )
    async with locked(superuser_url, "LOCK TABLE calls IN ACCESS EXCLUSIVE MODE"):
        opening = asyncio.create_task(app.ledger.open(start))
        await asyncio.sleep(0.1)
        opening.cancel()
        await asyncio.wait({opening})

    async def settled() -> bool:
        found = await rows(superuser_url, "SELECT state, cost_nano FROM calls")
        return all(row["state"] != "open" and not row["cost_nano"] for row in found)

    await asyncio.sleep(0.2)
    assert await until(settled, timeout_s=2)


async def test_a_stale_attempt_makes_no_further_provider_call(
    app: Services, shop: Shop, simulator: Simulator, superuser_url: str
) -> None:
    accepted = await say(app, shop, "[[sim:status=500,latency=300]] hello")
    stale = await claim(app, shop, accepted)
    late = asyncio.create_task(answer(app, stale))
    async with asyncio.timeout(10):
        while not simulator.calls():
            await asyncio.sleep(0.02)
    await claim(app, shop, accepted)
    with pytest.raises(LostLock):
        await late
    await app.ledger.flush()
    assert len(simulator.calls()) == 1
    assert len(await rows(superuser_url, "SELECT 1 FROM calls")) == 1


# --- endings


async def test_a_commit_whose_reply_was_lost_is_still_told_once(app: Services, shop: Shop) -> None:
    accepted = await say(app, shop, "[[sim:reply=yes]] hello")

    async def lose_reply() -> None:
        raise Unavailable("the reply was lost")

    await answer(replace(app, db=Fault(app.db, lose_reply)), await claim(app, shop, accepted))  # type: ignore[arg-type]
    assert (await kinds(app, shop, accepted)).count("stream_complete") == 1


async def test_a_cancellation_between_store_and_tell_cuts_nothing(app: Services, shop: Shop) -> None:
    accepted = await say(app, shop, "[[sim:reply=yes]] hello")
    following = await say(app, shop, "next", to=accepted)

    async def strike() -> None:
        await cancel(app, shop.scope, accepted.message_id, visitor_id=None)
        task.cancel()
        task.cancel()

    hurt = replace(app, db=Fault(app.db, strike))  # type: ignore[arg-type]
    task = asyncio.create_task(answer(hurt, await claim(app, shop, accepted)))
    await asyncio.wait({task})
    assert task.cancelled()
    assert (await kinds(app, shop, accepted))[-1] == "stream_complete"
    assert await app.producer.exists([queue_id("chat_response", following.job_id, 1)])


async def test_a_finished_answer_is_stored_although_the_deadline_passes_meanwhile(
    app: Services, shop: Shop, superuser_url: str
) -> None:
    accepted = await say(app, shop, "[[sim:reply=yes]] hello")
    hasty = replace(app, settings=replace(app.settings, answer_deadline_s=1.0))
    job = await claim(app, shop, accepted)
    async with locked(
        superuser_url, "SELECT FROM conversations WHERE id = $1::text::uuid FOR UPDATE", accepted.conversation_id
    ):
        task = asyncio.create_task(answer(hasty, job))
        await asyncio.sleep(1.5)
    await task
    outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=1)
    assert outcome.state is MessageState.ANSWERED
    assert (await kinds(app, shop, accepted))[-1] == "stream_complete"


@pytest.mark.parametrize("conversation_goes_on", [False, True])
async def test_a_worker_that_wakes_late_does_not_tell_the_ending_again(
    app: Services, shop: Shop, conversation_goes_on: bool
) -> None:
    accepted = await say(app, shop, "[[sim:reply=yes]] hello")
    job = await claim(app, shop, accepted)

    async def others_go_on() -> None:  # while this worker stands still between its commit and its telling
        await announce_again(app, shop.scope, accepted.job_id)
        if conversation_goes_on:
            later = await say(app, shop, "[[sim:reply=later]] more", to=accepted)
            await answer(app, await claim(app, shop, later))

    with suppress(LostLock):
        await answer(replace(app, db=Fault(app.db, others_go_on)), job)  # type: ignore[arg-type]
    assert (await kinds(app, shop, accepted)).count("stream_complete") == 1


async def test_an_ending_while_valkey_is_away_is_told_when_it_is_back(
    database_url: str, valkey_url: str, simulator: Simulator, app: Services, shop: Shop
) -> None:
    async with gated(database_url, valkey_url, simulator) as (far, gate), running_worker(far, gate.url):
        accepted = await say(app, shop, "[[sim:chunks=10,interval=100]] hello")
        assert await until(lambda: _started(app, shop, accepted), timeout_s=5)
        gate.shut()
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=15)
        assert outcome.state is MessageState.ANSWERED
        await asyncio.sleep(5)  # longer than any single command waits
        assert "stream_complete" not in await kinds(app, shop, accepted)
        await gate.open()

        async def told() -> bool:
            return "stream_complete" in await kinds(app, shop, accepted)

        assert await until(told, timeout_s=15)
    assert (await kinds(app, shop, accepted)).count("stream_complete") == 1


async def _started(app: Services, shop: Shop, accepted: Accepted) -> bool:
    return "stream_chunk" in await kinds(app, shop, accepted)


async def test_a_cancellation_while_valkey_is_away_is_told_when_it_is_back(
    database_url: str, valkey_url: str, simulator: Simulator, app: Services, shop: Shop
) -> None:
    accepted = await say(app, shop, "hello")
    async with gated(database_url, valkey_url, simulator) as (far, gate):
        gate.shut()
        state = await cancel(far, shop.scope, accepted.message_id, visitor_id=None)
    assert state is MessageState.CANCELLED
    async with running_worker(app, valkey_url):

        async def told() -> bool:
            return "stream_error" in await kinds(app, shop, accepted)

        assert await until(told, timeout_s=5)


async def test_a_cancellation_is_told_although_the_log_was_wiped(app: Services, shop: Shop) -> None:
    accepted = await say(app, shop, "hello")
    await app.valkey.flushdb()
    assert await cancel(app, shop.scope, accepted.message_id, visitor_id=None) is MessageState.CANCELLED
    assert await kinds(app, shop, accepted) == ["stream_error"]


async def test_a_cancellation_that_was_asked_for_outlives_the_worker(
    app: Services, shop: Shop, simulator: Simulator
) -> None:
    accepted = await say(app, shop, "hello")
    await claim(app, shop, accepted)  # its worker dies at once
    assert await cancel(app, shop.scope, accepted.message_id, visitor_id=None) is MessageState.ACCEPTED
    await answer(app, await claim(app, shop, accepted))
    outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=1)
    assert outcome.state is MessageState.CANCELLED
    assert not simulator.calls()


async def test_a_cancellation_reaches_a_job_that_this_worker_has_twice(
    app: Services, shop: Shop, valkey_url: str
) -> None:
    async with running_worker(app, valkey_url) as worker:
        accepted = await say(app, shop, "[[sim:chunks=500,interval=20]] hello")
        assert await until(lambda: _started(app, shop, accepted), timeout_s=5)
        again = QueuedJob(
            id=queue_id("chat_response", accepted.job_id, 1),
            type="chat_response",
            queue="ai-standard",
            data={"job_id": accepted.job_id, "generation": 1, "tenant_id": shop.scope.tenant_id},
            priority=5,
            enqueued_at_s=time.time(),
            started=2,
        )
        second = asyncio.create_task(worker.handle(again))
        await asyncio.sleep(0.7)  # the first run has found out and left
        await cancel(app, shop.scope, accepted.message_id, visitor_id=None)
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=3)
        assert outcome.state is MessageState.CANCELLED
        await second


async def test_a_cancellation_that_comes_right_after_the_claim_is_heard(
    app: Services, shop: Shop, valkey_url: str
) -> None:
    accepted = await say(app, shop, "[[sim:chunks=500,interval=20]] hello")

    async def strike() -> None:
        await cancel(app, shop.scope, accepted.message_id, visitor_id=None)
        await asyncio.sleep(0.2)  # the notice is here before the reply of the claim

    hurt = replace(app, db=Fault(app.db, strike, mark="claim_job"))  # type: ignore[arg-type]
    async with running_worker(hurt, valkey_url):
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=3)
    assert outcome.state is MessageState.CANCELLED


async def test_a_stopped_worker_hands_its_answer_to_the_next_one(
    app: Services, shop: Shop, simulator: Simulator, valkey_url: str, superuser_url: str
) -> None:
    accepted = await say(app, shop, "[[sim:chunks=200,interval=20]] hello")
    async with running_worker(app, valkey_url):
        assert await until(lambda: _started(app, shop, accepted), timeout_s=5)
    simulator.set(chunks=2, interval=0)
    async with running_worker(app, valkey_url):
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=10)
    assert outcome.state is MessageState.ANSWERED
    told = await kinds(app, shop, accepted)
    assert told.count("stream_reset") == 1
    assert told.count("stream_complete") == 1
    await app.ledger.flush()
    calls = await rows(superuser_url, "SELECT state FROM calls ORDER BY opened_at")
    assert [call["state"] for call in calls] == ["cancelled", "ok"]


async def test_an_old_cancellation_does_not_stop_a_replay(app: Services, shop: Shop, valkey_url: str) -> None:
    async with running_worker(app, valkey_url):
        accepted = await say(app, shop, "[[sim:status=400,latency=300]] hello")
        await app.channel.publish_cancel(accepted.message_id)  # heard by the worker, asked for by nobody
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=10)
        assert outcome.state is MessageState.FAILED
        async with app.db.transaction(shop.scope) as db:
            (letter,) = await jobs.list_dead_letters(db, shop.scope)
        await replay_dead_letter(app, shop.scope, letter.id, payload={"text": "hello"})
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=10)
    assert outcome.state is MessageState.ANSWERED


async def test_a_nul_in_an_answer_is_left_out(app: Services, shop: Shop, simulator: Simulator, valkey_url: str) -> None:
    simulator.set(reply="a\x00b")
    accepted = await say(app, shop, "hello")
    async with running_worker(app, valkey_url):
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=5)
    assert outcome.state is MessageState.ANSWERED
    assert outcome.answer is not None
    assert outcome.answer.text == "ab"


@pytest.mark.parametrize("words", ["a\x00b", "a\ud800b"])
async def test_a_failure_is_stored_whatever_its_words(
    app: Services, shop: Shop, superuser_url: str, words: str
) -> None:
    accepted = await say(app, shop, "hello")
    job = await claim(app, shop, accepted)
    assert await settle_failure(app, job, ChatwrightError(words)) is None
    assert (await job_row(superuser_url, job.id))["state"] == "failed"


# --- order and replays


async def test_waiting_messages_go_in_the_order_of_the_conversation(app: Services, shop: Shop) -> None:
    first = await say(app, shop, "one")
    ids = sorted((JobId(new_id()) for _ in range(2)), reverse=True)  # made in one order, committed in the other
    for text, job_id in zip(("two", "three"), ids, strict=True):
        await conversations.accept_message(
            app.db,
            shop.scope,
            conversation_id=first.conversation_id,
            is_new=False,
            chatbot_id=None,
            visitor_id=None,
            message_id=MessageId(new_id()),
            text=text,
            metadata={},
            job_id=job_id,
            job_type=JobType.CHAT_RESPONSE,
            queue="ai-standard",
            priority=5,
            key=None,
            body_hash=b"",
            receipt={},
        )
    await answer(app, await claim(app, shop, first))
    async with app.db.transaction(shop.scope) as db:
        second, third = [await jobs.get_job(db, shop.scope, job_id) for job_id in ids]
    assert second is not None
    assert third is not None
    assert (second.state, third.state) == ("queued", "waiting")


async def test_a_replay_gets_a_fresh_attempt_budget(
    app: Services, shop: Shop, simulator: Simulator, valkey_url: str
) -> None:
    simulator.set(status=500)
    accepted = await say(app, shop, "hello", priority=8)
    for _ in range(4):
        async with app.db.transaction(shop.scope) as db:
            job = await jobs.claim(db, shop.scope, accepted.job_id, generation=1, lease_s=5)
        if job is not None:
            with suppress(LostLock):
                try:
                    await answer(app, job)
                except ChatwrightError as error:
                    await settle_failure(app, job, error)
    assert len(simulator.calls()) == 3
    async with app.db.transaction(shop.scope) as db:
        (letter,) = await jobs.list_dead_letters(db, shop.scope)
    simulator.set(status=200)
    await replay_dead_letter(app, shop.scope, letter.id)
    async with running_worker(app, valkey_url):
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=5)
    assert outcome.state is MessageState.ANSWERED


async def test_a_replay_waits_for_what_is_under_way_in_its_conversation(app: Services, shop: Shop) -> None:
    first = await say(app, shop, "one")
    await settle_failure(app, await claim(app, shop, first), ChatwrightError("broken"))
    second = await say(app, shop, "two", to=first)
    running = await claim(app, shop, second)
    async with app.db.transaction(shop.scope) as db:
        (letter,) = await jobs.list_dead_letters(db, shop.scope)
    await replay_dead_letter(app, shop.scope, letter.id)
    assert not await app.producer.exists([queue_id("chat_response", first.job_id, 2)])
    await answer(app, running)
    assert await app.producer.exists([queue_id("chat_response", first.job_id, 2)])


# --- jobs that are no chat


async def test_a_document_job_with_a_nonsense_id_comes_to_an_end(
    app: Services, shop: Shop, valkey_url: str, superuser_url: str
) -> None:
    job_id = JobId(new_id())
    async with app.db.transaction(shop.scope) as db:
        await jobs.insert_job(
            db,
            shop.scope,
            job_id=job_id,
            job_type=JobType.DOCUMENT_INDEX,
            queue="ai-batch",
            priority=5,
            payload={"document_id": "nonsense"},
        )
    await enqueue(
        app, shop.scope, job_id=job_id, job_type=JobType.DOCUMENT_INDEX, queue="ai-batch", priority=5, generation=1
    )
    async with running_worker(app, valkey_url):
        assert await until(lambda: has_ended(superuser_url, job_id), timeout_s=5)
    assert (await job_row(superuser_url, job_id))["state"] == "failed"


async def test_a_foreign_document_job_without_an_id_comes_to_an_end(
    app: Services, shop: Shop, superuser_url: str
) -> None:
    job_id = JobId(new_id())
    async with app.db.transaction(shop.scope) as db:
        await jobs.insert_job(
            db, shop.scope, job_id=job_id, job_type=JobType.DOCUMENT_INDEX, queue="ai-batch", priority=5, payload={}
        )
        job = await jobs.claim(db, shop.scope, job_id, generation=1, lease_s=5)
    assert job is not None
    assert await settle_failure(app, job, ChatwrightError("broken")) is None
    assert await has_ended(superuser_url, job_id)


async def test_a_job_that_takes_longer_than_its_queue_allows_comes_to_an_end(
    app: Services, shop: Shop, valkey_url: str, superuser_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(QUEUES, QueueName.BATCH, replace(QUEUES[QueueName.BATCH], timeout_s=1.0, attempts=1))
    assert shop.chatbot.knowledge_base_id is not None
    await submit_text(
        app,
        shop.scope,
        KnowledgeBaseId(shop.chatbot.knowledge_base_id),
        title="Slow",
        text="Something to read.",
        url=None,
        media_type="text/plain",
    )
    (job,) = await rows(superuser_url, "SELECT id FROM jobs")
    async with running_worker(app, valkey_url):
        async with locked(superuser_url, "LOCK TABLE documents IN ACCESS EXCLUSIVE MODE"):
            await asyncio.sleep(1.5)
        assert await until(lambda: has_ended(superuser_url, str(job["id"])), timeout_s=3)
    (letter,) = await rows(superuser_url, "SELECT * FROM dead_letters")
    assert letter["error_class"] == "deadline_exceeded"


async def test_every_job_type_keeps_its_deadline(app: Services, shop: Shop, superuser_url: str) -> None:
    job_id = await submit_job(
        app,
        shop.scope,
        job_type=JobType.SENTIMENT_ANALYSIS,
        chatbot=None,
        payload={"text": "fine"},
        deadline=datetime.now(UTC) - timedelta(seconds=1),
    )
    async with app.db.transaction(shop.scope) as db:
        job = await jobs.claim(db, shop.scope, job_id, generation=1, lease_s=5)
    assert job is not None
    with pytest.raises(DeadlineExceeded):
        await perform(app, job)


async def test_what_stays_away_is_asked_for_less_and_less_often(app: Services, shop: Shop) -> None:
    job_id = await submit_job(
        app, shop.scope, job_type=JobType.SENTIMENT_ANALYSIS, chatbot=None, payload={"text": "fine"}
    )
    delays: list[float | None] = []
    for _ in range(12):
        async with app.db.transaction(shop.scope) as db:
            job = await jobs.claim(db, shop.scope, job_id, generation=1, lease_s=5)
        assert job is not None
        delays.append(await settle_failure(app, job, Unavailable("the model does not load")))
    assert delays[0] == 1.0
    assert delays[-1] == 60.0


# --- waiting, sweeping, inline


async def test_waiting_does_not_hammer_when_the_channel_closes(app: Services, shop: Shop) -> None:
    accepted = await say(app, shop, "hello")
    looks = 0

    class Counting:
        def transaction(self, scope: Any) -> Any:
            nonlocal looks
            looks += 1
            return app.db.transaction(scope)

    app.channel.close()
    outcome = await wait_for_answer(replace(app, db=Counting()), shop.scope, accepted, timeout_s=1)  # type: ignore[arg-type]
    assert outcome.state is MessageState.ACCEPTED
    assert looks < 10


async def test_waiting_bears_a_postgres_that_is_away(
    app: Services, shop: Shop, open_app: OpenApp, database_url: str, superuser_url: str, valkey_url: str
) -> None:
    accepted = await say(app, shop, "hello")
    name = urlsplit(database_url).path[1:]
    waiting = asyncio.create_task(wait_for_answer(app, shop.scope, accepted, timeout_s=10))
    await asyncio.sleep(0.2)
    await rows(superuser_url, f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    await rows(
        superuser_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'chatw%' AND datname = current_database()",
    )
    await asyncio.sleep(3)
    await rows(superuser_url, f"ALTER DATABASE {name} CONNECTION LIMIT -1")
    async with running_worker(app, valkey_url):
        assert (await waiting).state is MessageState.ANSWERED


async def test_the_sweeper_outlives_an_error_it_does_not_know(app: Services, shop: Shop, superuser_url: str) -> None:
    await rows(superuser_url, "ALTER TABLE dead_letters RENAME TO gone")
    sweeping = asyncio.create_task(sweep.sweep_forever(app, QueueAdmin(app.valkey), period_s=0.05))
    await asyncio.sleep(0.3)
    assert not sweeping.done()
    sweeping.cancel()
    await asyncio.wait({sweeping})


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_inline_answer_keeps_the_deadline(app: Services, shop: Shop, streamed: bool) -> None:
    hasty = replace(app, settings=replace(app.settings, answer_deadline_s=0.5))
    request = inline.InlineRequest(
        chatbot=shop.chatbot,
        turns=(Turn("user", "[[sim:chunks=500,interval=50]] hello" if streamed else "[[sim:latency=5000]] hello"),),
    )
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await (_drain(inline.stream(hasty, request)) if streamed else inline.complete(hasty, request))
    assert time.monotonic() - began < 2


async def _drain(stream: inline.InlineStream) -> None:
    async for _ in stream.deltas():
        pass
