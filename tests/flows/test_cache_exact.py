"""An answer given again: the whole tail of a hit, one call for many equal questions, and what is never given again."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from bench.simulator import Simulator
from chatwright.domain import events
from chatwright.domain.chatbot import ProviderLink
from chatwright.domain.errors import BudgetExceeded, Unprocessable
from chatwright.domain.ids import ApiKeyId
from chatwright.domain.limits import LimitedKey, Limits
from chatwright.domain.messages import Accepted, Draft, MessageState
from chatwright.domain.providers import Turn
from chatwright.features import budgets
from chatwright.pipeline import inline, manage
from chatwright.pipeline.accept import accept
from chatwright.pipeline.budgeting import set_budget
from chatwright.pipeline.documents import delete_document, submit_text
from chatwright.pipeline.inquiry import InlineAnswer
from chatwright.pipeline.services import Services
from chatwright.pipeline.wait import Outcome, wait_for_answer
from tests.flows.conftest import OpenApp, Shop, open_shop, running_worker

QUESTION = "When are you open?"


async def rows(superuser_url: str, query: str, *args: object) -> list[Any]:
    connection = await asyncpg.connect(superuser_url)
    try:
        return await connection.fetch(query, *args)
    finally:
        await connection.close()


@asynccontextmanager
async def opened(open_app: OpenApp) -> AsyncGenerator[Services]:
    """One more process, connected: without Valkey it would go on without the cache."""
    async with open_app() as app:
        await app.log.link.execute("PING")
        yield app


def request(shop: Shop, text: str = QUESTION, *, before: tuple[Turn, ...] = (), **more: Any) -> inline.InlineRequest:
    return inline.InlineRequest(chatbot=shop.chatbot, turns=(*before, Turn("user", text)), **more)


async def complete(app: Services, shop: Shop, text: str = QUESTION, **more: Any) -> InlineAnswer:
    """An answer, and what it leaves behind written."""
    answer = await inline.complete(app, request(shop, text, **more))
    await app.cache.settled()
    return answer


async def stream(app: Services, asked: inline.InlineRequest) -> tuple[list[str], inline.InlineStream]:
    run = inline.stream(app, asked)
    async with aclosing(run.deltas()) as deltas:
        heard = [delta.text async for delta in deltas if delta.text]
    await app.cache.settled()
    return heard, run


async def say(app: Services, shop: Shop, text: str = QUESTION, *, to: Accepted | None = None, **more: Any) -> Outcome:
    """A message of a running worker's, answered."""
    draft = Draft(
        text=text,
        conversation_id=to.conversation_id if to else None,
        chatbot_id=None if to else shop.chatbot.id,
        **more,
    )
    accepted = await accept(app, shop.scope, draft)
    outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=20)
    await app.cache.settled()
    return outcome


async def patched(app: Services, shop: Shop, **changes: Any) -> Shop:
    chatbot = await manage.patch_chatbot(app, shop.scope, shop.chatbot.id, changes, actor="test")
    return replace(shop, chatbot=chatbot)


def counts(app: Services) -> Mapping[str, float]:
    return {
        sample.labels["result"]: sample.value
        for metric in app.metrics.cache_requests.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


async def test_a_completion_is_given_again_with_its_books(
    app: Services, simulator: Simulator, superuser_url: str
) -> None:
    simulator.set(reply="Nine to five.", input_tokens=1000, output_tokens=100)
    shop = await open_shop(app, model="gpt-4.1")
    first = await complete(app, shop)
    again = await complete(app, shop, "when are you  open")
    heard, streamed = await stream(app, request(shop))
    assert (first.cached, again.cached, streamed.cached) == ("miss", "exact", "exact")
    assert again.text == first.text == "".join(heard) == "Nine to five."
    assert streamed.answer is not None
    assert len({first.id, again.id, streamed.answer.id}) == 3
    assert first.cost_nano
    assert (again.cost_nano, again.attempts, again.usage) == (0, 0, first.usage)
    assert (again.provider, again.model, again.finish) == ("openai", "gpt-4.1", first.finish)
    assert len(simulator.calls()) == 1
    await app.ledger.flush()
    books = await rows(superuser_url, "SELECT kind, provider, cost_nano, saved_nano FROM calls ORDER BY opened_at")
    assert [row["kind"] for row in books] == ["call", "cache_hit", "cache_hit"]
    assert [row["saved_nano"] or 0 for row in books] == [0, first.cost_nano, first.cost_nano]
    assert sum(row["cost_nano"] or 0 for row in books) == first.cost_nano
    assert counts(app) == {"miss": 1, "exact": 2}


async def test_a_message_is_given_an_answer_again_by_the_whole_pipeline(
    app: Services, shop: Shop, simulator: Simulator, valkey_url: str, superuser_url: str
) -> None:
    text = " ".join(f"word{place}" for place in range(60)) + ". That is all!"
    simulator.set(reply=text)
    async with running_worker(app, valkey_url):
        first = await say(app, shop)
        again = await say(app, shop)
        await app.ledger.flush()
    assert first.answer is not None
    assert again.answer is not None
    assert again.state is MessageState.ANSWERED
    assert (first.answer.cached, again.answer.cached) == ("miss", "exact")
    assert again.answer.text == first.answer.text == text
    assert again.answer.id != first.answer.id
    assert again.answer.conversation_id != first.answer.conversation_id
    assert again.reading == first.reading
    assert again.answer.cost_nano == 0
    assert len(simulator.calls()) == 1

    page = await app.log.read(shop.scope.tenant_id, again.answer.conversation_id, after_seq=0)
    told = [events.decode(payload) for _, payload in page.events]
    assert [seq for seq, _ in page.events] == list(range(1, len(told) + 1))
    chunks = [event for event in told if isinstance(event, events.StreamChunk)]
    assert "".join(chunk.text for chunk in chunks) == text
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert len(chunks) > 5
    # All of it goes out at once, and a cue plays for a while.
    assert {chunk.animation for chunk in chunks} == {"talk_calm"}
    assert all(len(chunk.text.split()) <= 8 for chunk in chunks)
    last = told[-1]
    assert isinstance(last, events.StreamComplete)
    assert last.cached == "exact"
    answers = await rows(superuser_url, "SELECT cached, chunk_count FROM answers ORDER BY created_at")
    assert [tuple(row) for row in answers][1] == ("exact", len(chunks))
    hits = await rows(superuser_url, "SELECT message_id, chatbot_id FROM calls WHERE kind = 'cache_hit'")
    assert [(str(row["message_id"]), str(row["chatbot_id"])) for row in hits] == [
        (again.answer.message_id, shop.chatbot.id)
    ]
    async with app.db.transaction(shop.scope) as db:
        now = datetime.now(UTC)
        report = await budgets.usage_rows(
            db, shop.scope, group_by=("chatbot",), since=now - timedelta(days=1), until=now + timedelta(days=1)
        )
    assert [(row["calls"], row["cache_hits"]) for row in report] == [(1, 1)]


async def test_a_hundred_equal_questions_at_once_are_one_call(
    app: Services, open_app: OpenApp, shop: Shop, simulator: Simulator, valkey_url: str
) -> None:
    simulator.set(latency=400)
    async with opened(open_app) as other, running_worker(other, valkey_url, concurrency=8):
        asked = [inline.complete(one, request(shop)) for one in (app, other) for _ in range(50)]
        got = await asyncio.gather(*asked)
        assert len(simulator.calls()) == 1
        assert sorted(one.cached for one in got) == ["exact"] * 99 + ["miss"]
        assert len({one.text for one in got}) == 1
        # The same over the queue, with fewer slots than questions.
        simulator.reset()
        simulator.set(latency=400)
        outcomes = await asyncio.gather(*[say(app, shop, "Where are you?") for _ in range(30)])
    assert len(simulator.calls()) == 1
    cached = sorted(outcome.answer.cached for outcome in outcomes if outcome.answer is not None)
    assert cached == ["exact"] * 29 + ["miss"]


async def test_when_the_first_gives_up_the_next_one_asks(app: Services, shop: Shop, simulator: Simulator) -> None:
    simulator.set(latency=300)
    leaving = asyncio.create_task(inline.complete(app, request(shop)))
    while not simulator.calls():
        await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(inline.complete(app, request(shop))) for _ in range(10)]
    await asyncio.sleep(0.05)
    leaving.cancel()
    got = await asyncio.gather(*waiting)
    assert sorted(one.cached for one in got) == ["exact"] * 9 + ["miss"]
    assert len(simulator.calls()) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"system_prompt": "Be brief."},
        {"temperature": 0.1},
        {"providers": (ProviderLink(provider="openai", model="another"),)},
    ],
)
async def test_another_configuration_is_another_answer(
    app: Services, shop: Shop, simulator: Simulator, changes: dict[str, Any]
) -> None:
    await complete(app, shop)
    changed = await patched(app, shop, **changes)
    assert (await complete(app, changed)).cached == "miss"
    assert (await complete(app, changed)).cached == "exact"
    assert len(simulator.calls()) == 2


async def test_other_tenants_and_chatbots_are_other_answers(app: Services, shop: Shop, simulator: Simulator) -> None:
    other = await open_shop(app, name="Other")
    await complete(app, shop)
    assert (await complete(app, other)).cached == "miss"
    assert len(simulator.calls()) == 2


async def test_another_knowledge_version_is_another_answer_within_a_second(
    app: Services, open_app: OpenApp, superuser_url: str
) -> None:
    shop = await open_shop(app, knowledge=True)
    base = shop.chatbot.knowledge_base_id
    async with opened(open_app) as other:
        before = await other.chatbots.get(shop.scope, shop.chatbot.id)
        await complete(other, replace(shop, chatbot=before))
        assert (await complete(other, replace(shop, chatbot=before))).cached == "exact"
        await rows(superuser_url, "UPDATE knowledge_bases SET version = version + 1 WHERE id = $1", base)
        await asyncio.sleep(1.0)
        after = await other.chatbots.get(shop.scope, shop.chatbot.id)
        assert after.knowledge_version == before.knowledge_version + 1
        assert (await complete(other, replace(shop, chatbot=after))).cached == "miss"


async def test_what_is_taken_out_of_the_knowledge_is_not_told_again(
    app: Services, simulator: Simulator, valkey_url: str
) -> None:
    shop = await open_shop(app, knowledge=True)
    base = shop.chatbot.knowledge_base_id
    assert base is not None
    simulator.set(reply="Nine to five [1].")
    async with running_worker(app, valkey_url):
        text = "Opening hours. We are open from nine to five on weekdays. Please ring the bell at the door."
        added = await submit_text(app, shop.scope, base, title="Hours", text=text, media_type="text/plain")
        async with asyncio.timeout(20):
            while not (await _now(app, shop)).chatbot.has_knowledge:
                await asyncio.sleep(0.1)
        question = "What are your opening hours?"
        first, again = await say(app, shop, question), await say(app, shop, question)
        assert first.answer is not None
        assert again.answer is not None
        assert again.answer.cached == "exact"
        assert [source.document_id for source in again.answer.sources] == [added.document.id]
        assert again.answer.sources == first.answer.sources
        assert (again.answer.grounding, again.answer.confidence) == (first.answer.grounding, first.answer.confidence)
        await delete_document(app, shop.scope, added.document.id)
        await asyncio.sleep(1.0)
        last = await say(app, shop, question)
    assert last.answer is not None
    assert last.answer.cached != "exact"
    assert last.answer.sources == ()


async def _now(app: Services, shop: Shop) -> Shop:
    return replace(shop, chatbot=await app.chatbots.get(shop.scope, shop.chatbot.id))


async def test_options_are_part_of_the_question(app: Services, shop: Shop) -> None:
    for options in (
        {},
        {"top_p": 0.5},
        {"seed": 1},
        {"seed": 2},
        {"stop": ["."]},
        {"response_format": {"type": "text"}},
    ):
        assert (await complete(app, shop, options=options)).cached == "miss"
        assert (await complete(app, shop, options=options)).cached == "exact"
    more: dict[str, Any]
    for more in ({"temperature": 0.0}, {"temperature": 1.0}, {"max_tokens": 7}):
        assert (await complete(app, shop, **more)).cached == "miss"
        assert (await complete(app, shop, **more)).cached == "exact"


@pytest.mark.parametrize(
    "more",
    [
        {"options": {"tools": [{"type": "function", "function": {"name": "f"}}]}},
        {"options": {"logprobs": True}},
        {"options": {"what_is_yet_to_come": 1}},
        {"cache": "off"},
    ],
)
async def test_what_may_be_more_than_a_text_goes_past_the_cache(
    app: Services, shop: Shop, simulator: Simulator, more: dict[str, Any]
) -> None:
    await complete(app, shop)
    assert (await complete(app, shop, **more)).cached == "bypass"
    assert (await complete(app, shop, **more)).cached == "bypass"
    assert len(simulator.calls()) == 3


async def test_pictures_and_what_follows_a_question_go_past_the_cache(app: Services, shop: Shop) -> None:
    picture = Turn("user", QUESTION, {"content": [{"type": "text", "text": QUESTION}]})
    begun = (Turn("user", QUESTION), Turn("assistant", "Nine"))
    for turns in ((picture,), begun):
        for _ in range(2):
            answer = await inline.complete(app, inline.InlineRequest(chatbot=shop.chatbot, turns=turns))
            await app.cache.settled()
            assert answer.cached == "bypass"


async def test_the_context_is_part_of_the_question(app: Services, shop: Shop, simulator: Simulator) -> None:
    long = tuple(Turn("user" if place % 2 == 0 else "assistant", f"{place} " + "words " * 300) for place in range(10))
    late = (*long[:9], Turn("assistant", long[9].content + "."))
    for before in ((), long, late, (Turn("system", "Be kind."),), (Turn("system", "Be rude."),)):
        assert (await complete(app, shop, before=before)).cached == "miss"
        assert (await complete(app, shop, before=before)).cached == "exact"
    assert len(simulator.calls()) == 5


@pytest.mark.parametrize(
    ("text", "verbs"),
    [
        ("My order 4711-22 is late, where is it?", {}),
        ("I am Anna Schmidt, when do you open?", {}),
        (QUESTION, {"finish": "length"}),
        (QUESTION, {"finish": "content_filter"}),
        (QUESTION, {"reply": "Of course, Ms Huber: your card 4111 1111 1111 1111 is on its way."}),
    ],
)
async def test_what_is_not_for_others_is_not_kept(
    app: Services, shop: Shop, simulator: Simulator, text: str, verbs: dict[str, Any]
) -> None:
    simulator.set(**verbs)
    await complete(app, shop, text)
    assert (await complete(app, shop, text)).cached in ("miss", "bypass")
    assert len(simulator.calls()) == 2
    assert (await app.cache.stats(shop.scope.tenant_id, shop.chatbot.id)).entries == 0


async def test_an_answer_after_personal_words_is_not_kept(app: Services, shop: Shop) -> None:
    before = (Turn("user", "My name is Anna Schmidt."), Turn("assistant", "Hello Anna."))
    await complete(app, shop, before=before)
    assert (await complete(app, shop, before=before)).cached == "miss"


async def test_a_cut_answer_is_not_kept(app: Services, shop: Shop, simulator: Simulator) -> None:
    simulator.set(cut=1)
    with pytest.raises(Exception, match=r".+"):
        await stream(app, request(shop))
    await app.cache.settled()
    assert (await app.cache.stats(shop.scope.tenant_id, shop.chatbot.id)).entries == 0


async def test_modes_of_a_request(app: Services, shop: Shop, simulator: Simulator) -> None:
    assert (await complete(app, shop, cache="read")).cached == "miss"
    assert (await complete(app, shop)).cached == "miss"  # reading alone kept nothing
    assert (await complete(app, shop, cache="read")).cached == "exact"
    simulator.set(reply="Ten to six.")
    assert (await complete(app, shop, cache="write")).cached == "bypass"
    refreshed = await complete(app, shop)
    assert (refreshed.cached, refreshed.text) == ("exact", "Ten to six.")
    assert (await complete(app, shop, cache="off")).cached == "bypass"


async def test_modes_of_a_chatbot_and_of_a_message(
    app: Services, shop: Shop, simulator: Simulator, valkey_url: str
) -> None:
    async def cached(shop: Shop, **more: Any) -> str:
        outcome = await say(app, shop, **more)
        assert outcome.answer is not None
        return outcome.answer.cached

    off = {"x-chatwright-cache": "off"}
    async with running_worker(app, valkey_url):
        assert await cached(shop) == "miss"
        assert await cached(shop, metadata=off) == "bypass"
        assert await cached(shop, metadata={"x-chatwright-cache": "nonsense"}) == "exact"
        shop = await patched(app, shop, cache_policy={"mode": "off"})
        assert await cached(shop, metadata={"x-chatwright-cache": "on"}) == "bypass"
    assert len(simulator.calls()) == 3


async def test_a_policy_that_cannot_be_meant_is_refused(app: Services, shop: Shop) -> None:
    with pytest.raises(Unprocessable) as refusal:
        await patched(app, shop, cache_policy={"mode": "sometimes"})
    assert refusal.value.param == "cache_policy.mode"


async def test_a_hit_needs_no_budget_but_counts_as_a_request(app: Services) -> None:
    shop = await open_shop(app, model="gpt-4.1")
    key = LimitedKey(id=ApiKeyId("key-1"), limits=Limits(requests_per_minute=5))
    await complete(app, shop, key=key)
    await app.ledger.flush()
    await set_budget(
        app, shop.scope, scope_kind="tenant", scope_id=None, period="day", limit_nano=0, action="block", actor="test"
    )
    again = await complete(app, shop, key=key)
    assert again.cached == "exact"
    assert again.standing is not None
    assert again.standing.requests is not None
    assert again.standing.requests.remaining == 3
    with pytest.raises(BudgetExceeded):
        await complete(app, shop, "Anything else?", key=key)


async def test_the_cache_survives_without_valkey_as_no_cache(app: Services, shop: Shop, simulator: Simulator) -> None:
    await complete(app, shop)
    app.cache._sour_until_s = asyncio.get_running_loop().time() + 60  # pyright: ignore[reportPrivateUsage]
    assert (await complete(app, shop)).cached == "miss"
    assert len(simulator.calls()) == 2


async def test_a_purge_is_felt_by_every_process_at_once(app: Services, open_app: OpenApp, shop: Shop) -> None:
    await complete(app, shop)
    async with opened(open_app) as other:
        assert (await complete(other, shop)).cached == "exact"
        kept = await other.cache.entries(shop.scope.tenant_id, shop.chatbot.id)
        assert [(one.entry.question, one.entry.revision) for one in kept] == [(QUESTION, shop.chatbot.revision)]
        assert await other.cache.purge(shop.scope.tenant_id, shop.chatbot.id, answer_id=kept[0].entry.answer_id) == 1
    assert (await complete(app, shop)).cached == "miss"
