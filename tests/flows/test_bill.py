"""The ledger against the provider's own bill, for every way in which a call can end.

A row that the provider's report stands behind equals the bill to the nanodollar; any other is marked as estimated, and is
not below it.
"""

import asyncio
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, NamedTuple

import asyncpg
import pytest

from bench.simulator import Simulator
from bench.simulator.log import Call
from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.errors import ChatwrightError
from chatwright.domain.providers import Turn, Usage
from chatwright.features.credentials import new_widget_id
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import inline, manage
from chatwright.pipeline.embedding import embed_texts
from chatwright.pipeline.services import Services
from tests.flows.conftest import OpenApp, Shop, open_shop

PLAIN, THINKER = "gpt-4.1", "gpt-5"
QUESTION = "Which of your plans has telephone support at weekends? 電話サポートはありますか。"


class Booked(NamedTuple):
    """A ledger row beside the simulator's record of the same call."""

    state: str
    estimated: bool
    cost_nano: int
    reserved_nano: int
    bill_nano: int
    call: Call


@pytest.fixture
def simulated(simulator: Simulator) -> Simulator:
    simulator.set(tokenized=True, chunks=40, interval=4)
    return simulator


async def chatbot_of(app: Services, *models: str, provider: str = "openai", max_tokens: int = 300) -> Chatbot:
    shop: Shop = await open_shop(app)
    return await manage.create_chatbot(
        app,
        shop.scope,
        NewChatbot(
            name="Priced",
            slug="priced",
            widget_id=new_widget_id(),
            providers=tuple(ProviderLink(provider=provider, model=model) for model in models),
            knowledge_enabled=False,
            max_tokens=max_tokens,
            system_prompt="You are kind. " * 30,
        ),
        actor="test",
    )


def ask(chatbot: Chatbot, verbs: str = "", **more: Any) -> inline.InlineRequest:
    directive = f" [[sim:{verbs}]]" if verbs else ""
    return inline.InlineRequest(chatbot=chatbot, turns=(Turn("user", QUESTION + directive),), **more)


async def streamed(app: Services, request: inline.InlineRequest, *, leave_after: int = -1) -> None:
    """Listen to an answer to its end, or leave after so many pieces."""
    async with aclosing(inline.stream(app, request).deltas()) as deltas:
        heard = 0
        async for delta in deltas:
            heard += bool(delta.text)
            if heard == leave_after:
                return


async def books(app: Services, simulator: Simulator, superuser_url: str) -> list[Booked]:
    """All rows of provider calls, each beside its record; every record has one, in order of arrival."""
    assert await app.ledger.flush()
    for _ in range(200):
        if all(call.ended for call in simulator.calls()):
            break
        await asyncio.sleep(0.02)
    connection = await asyncpg.connect(superuser_url)
    try:
        rows = await connection.fetch("SELECT * FROM calls WHERE provider <> 'extractive'")
    finally:
        await connection.close()
    by_id = {str(row["id"]): row for row in rows}
    found: list[Booked] = []
    for call in simulator.calls():
        row = by_id.pop(call.call_id or "")
        used = Usage(
            input_tokens=call.billed_input_tokens,
            output_tokens=call.billed_output_tokens,
            cached_tokens=call.cached_tokens,
            cache_write_tokens=call.cache_write_tokens,
        )
        bill = app.catalogue.price(row["provider"], row["model"], used) if call.billed_input_tokens else 0
        assert bill is not None
        found.append(Booked(row["state"], row["estimated"], row["cost_nano"], row["reserved_nano"], bill, call))
    assert not by_id, "a row without a call"
    return found


def check(found: list[Booked]) -> None:
    assert found
    for one in found:
        if one.estimated:
            assert one.cost_nano >= one.bill_nano, one
        else:
            assert one.cost_nano == one.bill_nano, one
        assert one.bill_nano <= one.reserved_nano, one
        assert one.cost_nano <= one.reserved_nano, one


@pytest.mark.parametrize("model", [PLAIN, THINKER, "gpt-4-turbo"])
async def test_a_good_answer_is_its_bill(app: Services, simulated: Simulator, superuser_url: str, model: str) -> None:
    chatbot = await chatbot_of(app, model)
    await streamed(app, ask(chatbot))
    await inline.complete(app, ask(chatbot))
    await inline.complete(app, ask(chatbot, "cached_tokens=30"))
    found = await books(app, simulated, superuser_url)
    check(found)
    assert [(one.state, one.estimated) for one in found] == [("ok", False)] * 3


async def test_an_answer_that_fills_its_limit_fits_the_reservation(
    app: Services, simulated: Simulator, superuser_url: str
) -> None:
    chatbot = await chatbot_of(app, PLAIN, max_tokens=200)
    await inline.complete(app, ask(chatbot, "output_tokens=200"))
    await inline.complete(app, ask(chatbot, "output_tokens=50", max_tokens=50))
    found = await books(app, simulated, superuser_url)
    check(found)
    assert found[0].reserved_nano > found[1].reserved_nano
    assert found[0].reserved_nano - found[0].bill_nano < found[0].bill_nano // 4, (
        "the reservation is near the worst case"
    )


ENDINGS = {
    "status=500": ("failed", False),
    "status=429": ("failed", False),
    "status=400,code=context_length_exceeded": ("failed", False),
    "html_error": ("failed", False),
    "refuse": ("failed", True),
    "reset": ("failed", True),
    "error_in_200": ("failed", True),
    "error_in_stream=0": ("failed", True),
    "error_in_stream=3": ("cut", True),
    "cut=0": ("failed", True),
    "cut=3": ("cut", True),
    "garble=0": ("failed", True),
    "garble=3": ("cut", True),
    "reset=3": ("cut", True),
    "no_usage": ("ok", True),
    "cut=3,reasoning_tokens=100": ("cut", True),
}


@pytest.mark.parametrize("model", [PLAIN, THINKER])
@pytest.mark.parametrize("verbs", ENDINGS)
async def test_a_stream_that_ends_badly(
    app: Services, simulated: Simulator, superuser_url: str, verbs: str, model: str
) -> None:
    chatbot = await chatbot_of(app, model)
    with suppress(ChatwrightError):
        await streamed(app, ask(chatbot, verbs))
    found = await books(app, simulated, superuser_url)
    check(found)
    assert {(one.state, one.estimated) for one in found} == {ENDINGS[verbs]}


@pytest.mark.parametrize(
    "verbs", ["no_usage", "refuse", "reset", "reset=3", "cut", "garble", "error_in_200", "status=503"]
)
async def test_an_answer_in_one_piece_that_ends_badly(
    app: Services, simulated: Simulator, superuser_url: str, verbs: str
) -> None:
    chatbot = await chatbot_of(app, PLAIN)
    with suppress(ChatwrightError):
        await inline.complete(app, ask(chatbot, verbs))
    found = await books(app, simulated, superuser_url)
    check(found)
    assert {one.estimated for one in found} == {not verbs.startswith("status")}


@pytest.mark.parametrize("model", [PLAIN, THINKER])
@pytest.mark.parametrize("verbs", ["stall=0", "stall=3"])
async def test_a_silent_provider_is_booked(
    open_app: OpenApp, simulated: Simulator, superuser_url: str, verbs: str, model: str
) -> None:
    async with open_app() as opened:
        app = with_short_times(opened)
        chatbot = await chatbot_of(app, model)
        with suppress(ChatwrightError):
            await streamed(app, ask(chatbot, verbs))
        with suppress(ChatwrightError):
            await inline.complete(app, ask(chatbot, "stall"))
        found = await books(app, simulated, superuser_url)
    check(found)
    assert {one.estimated for one in found} == {True}


def with_short_times(app: Services) -> Services:
    return replace(app, settings=replace(app.settings, provider_first_byte_timeout_s=0.2, provider_idle_timeout_s=0.2))


@pytest.mark.parametrize("model", [PLAIN, THINKER])
@pytest.mark.parametrize("leave_after", [1, 5, 20])
async def test_a_visitor_who_leaves_is_booked(
    app: Services, simulated: Simulator, superuser_url: str, leave_after: int, model: str
) -> None:
    chatbot = await chatbot_of(app, model)
    await streamed(app, ask(chatbot), leave_after=leave_after)
    check(found := await books(app, simulated, superuser_url))
    assert [(one.state, one.estimated) for one in found] == [("cancelled", True)]


@pytest.mark.parametrize("verbs", ["ttft=5000", "latency=5000", "interval=20", "interval=0,chunks=200"])
@pytest.mark.parametrize("model", [PLAIN, THINKER])
async def test_a_call_that_is_cancelled_while_it_waits_is_booked(
    app: Services, simulated: Simulator, superuser_url: str, verbs: str, model: str
) -> None:
    chatbot = await chatbot_of(app, model, max_tokens=1_000)
    for work in (streamed(app, ask(chatbot, verbs)), inline.complete(app, ask(chatbot, verbs))):
        asking = asyncio.create_task(work, name="asking")  # pyright: ignore[reportArgumentType] - either answers
        before = len(simulated.calls())
        while len(simulated.calls()) == before:
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait({asking})
    found = await books(app, simulated, superuser_url)
    check(found)
    assert all(one.estimated for one in found if one.state == "cancelled")


async def test_what_was_heard_bounds_what_a_talker_wrote(
    app: Services, simulated: Simulator, superuser_url: str
) -> None:
    """Who leaves a model that hides nothing pays for what was said and a little more, not for the whole reservation."""
    chatbot = await chatbot_of(app, PLAIN, THINKER, max_tokens=4_000)
    asking = asyncio.create_task(streamed(app, ask(chatbot, "interval=20,chunks=400")), name="asking")
    while not simulated.calls() or simulated.calls()[0].chunks_sent < 5:
        await asyncio.sleep(0.005)
    asking.cancel()
    await asyncio.wait({asking})
    (found,) = await books(app, simulated, superuser_url)
    check([found])
    assert found.cost_nano < found.reserved_nano // 5


@pytest.mark.parametrize(
    "verbs", ["", "cut=3", "error_in_stream=3", "garble=2", "no_usage", "cached_tokens=20,cache_write_tokens=9"]
)
async def test_another_dialect(app: Services, simulated: Simulator, superuser_url: str, verbs: str) -> None:
    """Anthropic says what it was given before it answers: that much of a broken call is known."""
    chatbot = await chatbot_of(app, "claude-sonnet-4-5", provider="anthropic")
    with suppress(ChatwrightError):
        await streamed(app, ask(chatbot, verbs))
    found = await books(app, simulated, superuser_url)
    check(found)
    assert all(one.estimated != (one.state == "ok") for one in found) or verbs == "no_usage"


@pytest.mark.alone
async def test_the_loser_of_a_race_is_booked(app: Services, simulated: Simulator, superuser_url: str) -> None:
    app = replace(app, settings=replace(app.settings, hedging=True))
    chatbot = await chatbot_of(app, PLAIN, "gpt-4o")
    for _ in range(25):
        await streamed(app, ask(chatbot, "chunks=2,interval=0"))
    # The first calls of a process are slow ones: a hedge waits longer than they took.
    await streamed(app, ask(chatbot, "ttft=2500,chunks=5"))
    found = await books(app, simulated, superuser_url)
    check(found)
    assert [one.state for one in found].count("cancelled") == 1


async def test_an_embedding_is_booked(app: Services, simulated: Simulator, superuser_url: str) -> None:
    shop = await open_shop(app)
    simulated.set(tokenized=False)  # it would frame each text like a message
    texts = [QUESTION, "Hello", "数据库的备份频率是多少？" * 30]
    await embed_texts(app, shop.scope, texts, "openai/text-embedding-3-small")
    with suppress(ChatwrightError):
        await embed_texts(app, shop.scope, [*texts, "[[sim:no_usage]]"], "openai/text-embedding-3-small")
    with suppress(ChatwrightError):
        await embed_texts(app, shop.scope, [*texts, "[[sim:garble]]"], "openai/text-embedding-3-small")
    with suppress(ChatwrightError):
        await embed_texts(app, shop.scope, [*texts, "[[sim:status=500]]"], "openai/text-embedding-3-small")
    found = await books(app, simulated, superuser_url)
    check(found)
    assert [one.estimated for one in found][:2] == [False, True]


async def test_what_a_providers_own_cache_saved_stands_in_the_ledger(
    app: Services, simulated: Simulator, superuser_url: str
) -> None:
    chatbot = await chatbot_of(app, PLAIN)
    simulated.set(input_tokens=1_000, cached_tokens=800, output_tokens=10)
    await inline.complete(app, ask(chatbot))
    await streamed(app, ask(chatbot))
    simulated.set(cached_tokens=0)
    await inline.complete(app, ask(chatbot))
    await app.ledger.flush()
    connection = await asyncpg.connect(superuser_url)
    try:
        found = await connection.fetch("SELECT cost_nano, saved_nano FROM calls ORDER BY opened_at")
    finally:
        await connection.close()
    fresh = found[2]["cost_nano"]
    assert [row["cost_nano"] + row["saved_nano"] for row in found] == [fresh] * 3
    assert [row["saved_nano"] > 0 for row in found] == [True, True, False]
