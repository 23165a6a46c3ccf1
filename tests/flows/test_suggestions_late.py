"""What goes with an answer gives way to it: a deadline that passes while follow-ups are looked for costs no answer."""

import asyncio
from dataclasses import replace

import pytest

from chatwright.domain.messages import MessageState
from chatwright.pipeline import suggesting
from chatwright.pipeline.answer import answer
from chatwright.pipeline.services import Services
from chatwright.pipeline.wait import wait_for_answer
from tests.flows.conftest import open_shop
from tests.flows.test_chat_pipeline import say
from tests.flows.test_durability import claim, kinds, locked, until
from tests.flows.test_guard_flows import index

HELP = """# Delivery

## How long does delivery to Austria take?

Delivery to Austria takes four days by parcel.

## How much does delivery cost?

Delivery costs four euros, and nothing from fifty euros on.
"""
DEADLINE_S = 4.0


@pytest.mark.parametrize("patience_s", [30.0, 0.2])
async def test_a_whole_answer_outlives_the_deadline(
    app: Services, superuser_url: str, monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    monkeypatch.setattr(suggesting, "_PATIENCE_S", patience_s)
    shop = await open_shop(app, knowledge=True, model="sim:chunks=8,interval=100")
    await index(app, shop, HELP)
    accepted = await say(app, shop, "How long does delivery to Austria take?")
    job = await claim(app, shop, accepted)
    hasty = replace(app, settings=replace(app.settings, answer_deadline_s=DEADLINE_S))
    began = asyncio.get_running_loop().time()

    async def is_told() -> bool:
        return "stream_chunk" in await kinds(app, shop, accepted)

    task = asyncio.create_task(answer(hasty, job))
    assert await until(is_told, timeout_s=DEADLINE_S)
    async with locked(superuser_url, "LOCK TABLE chunks IN ACCESS EXCLUSIVE MODE"):
        while asyncio.get_running_loop().time() - began < DEADLINE_S + 0.5:
            await asyncio.sleep(0.05)
        assert task.done() == (patience_s < 1), "nobody waits longer than that for what goes with an answer"
    await task
    outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=2)
    assert outcome.state is MessageState.ANSWERED
    assert outcome.answer is not None
    assert bool(outcome.answer.suggested_actions) == (patience_s > 1)
    assert (await kinds(app, shop, accepted))[-1] == "stream_complete"
