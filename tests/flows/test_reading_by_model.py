"""Reading by the cheap model: booked, bounded in time, and never missing."""

import asyncio
import time
from dataclasses import replace

import pytest

from bench.simulator import Simulator
from chatwright.pipeline.reading import PURPOSE, begin_reading, read_turn
from chatwright.pipeline.services import Services
from tests.flows.conftest import Shop
from tests.flows.test_chat_pipeline import rows

CALLS = "SELECT purpose, state, message_id, input_tokens, output_tokens, model FROM calls"


@pytest.fixture
def by_llm(shop: Shop) -> Shop:
    return Shop(shop.scope, replace(shop.chatbot, reading_policy={"by": "llm"}))


async def test_the_cheap_model_reads_and_is_booked(
    app: Services, by_llm: Shop, simulator: Simulator, superuser_url: str
) -> None:
    reading = await read_turn(app, by_llm.chatbot, "[[sim:read=negative+handoff+anger]] A person, please", None)
    await app.ledger.flush()
    assert (reading.sentiment, reading.intent, reading.emotion, reading.by) == ("negative", "handoff", "anger", "llm")
    calls = await rows(superuser_url, CALLS)
    assert [(call["purpose"], call["state"], call["message_id"]) for call in calls] == [(PURPOSE, "ok", None)]
    assert calls[0]["input_tokens"] > 0
    assert calls[0]["model"] == app.catalogue.cheap_model("openai")
    assert len(simulator.calls()) == 1


async def test_local_policies_call_nobody(app: Services, shop: Shop, simulator: Simulator) -> None:
    reading = await read_turn(app, shop.chatbot, "Thank you!", None)
    assert reading.intent == "thanks"
    assert reading.by != "llm"
    assert simulator.calls() == []


@pytest.mark.parametrize(
    "fault", ["status=500", "reply=I would rather not say.", "read=furious+buy", "cut=0", "refuse", "garble", "reply="]
)
async def test_whatever_the_model_does_there_is_the_local_reading(app: Services, by_llm: Shop, fault: str) -> None:
    reading = await read_turn(app, by_llm.chatbot, f"[[sim:{fault}]] Thank you!", None)
    assert reading.intent == "thanks"
    assert reading.by != "llm"


async def test_a_defect_of_ours_costs_the_models_reading_alone(
    app: Services, by_llm: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> str:
        raise ValueError("a defect")

    monkeypatch.setattr("chatwright.pipeline.reading._ask", broken)
    assert (await read_turn(app, by_llm.chatbot, "Thank you!", None)).intent == "thanks"
    turn = begin_reading(app, by_llm.chatbot, "Thank you!", None)
    await asyncio.sleep(0.05)
    assert turn.latest is turn.local


async def test_a_slow_model_is_left_after_its_time_and_booked(
    app: Services, by_llm: Shop, superuser_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatwright.pipeline.reading.TIMEOUT_S", 0.3)
    began = time.monotonic()
    reading = await read_turn(app, by_llm.chatbot, "[[sim:latency=15000]] Thank you!", None)
    assert time.monotonic() - began < 10
    assert reading.intent == "thanks"
    assert reading.by != "llm"
    await app.ledger.flush()
    calls = await rows(superuser_url, CALLS)
    assert [call["purpose"] for call in calls] == [PURPOSE]
    assert calls[0]["state"] in ("cancelled", "failed")
    assert calls[0]["input_tokens"] > 0  # it had the prompt, and may charge for it


async def test_a_server_without_structured_output_is_asked_without_it(
    app: Services, by_llm: Shop, simulator: Simulator
) -> None:
    reading = await read_turn(app, by_llm.chatbot, "[[sim:no_schema,read=positive+thanks+joy]] Lovely", None)
    assert reading.by == "llm"
    assert [call.status for call in simulator.calls()] == [400, 200]


async def test_a_chatbot_without_a_model_is_read_locally(app: Services, by_llm: Shop, simulator: Simulator) -> None:
    alone = replace(by_llm.chatbot, providers=())
    assert (await read_turn(app, alone, "Thank you!", None)).intent == "thanks"
    assert simulator.calls() == []


async def test_what_is_dropped_stops_its_call(
    app: Services, by_llm: Shop, simulator: Simulator, superuser_url: str
) -> None:
    turn = begin_reading(app, by_llm.chatbot, "[[sim:latency=15000]] Thank you!", None)
    async with asyncio.timeout(5):
        while not simulator.calls():
            await asyncio.sleep(0.01)
    await turn.drop()
    await turn.drop()
    assert (await turn.settled()) is turn.local
    await app.ledger.flush()
    assert [call["state"] for call in await rows(superuser_url, CALLS)] == ["cancelled"]
