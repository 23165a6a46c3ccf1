"""A chatbot's own intents end to end: set, trained by a worker's task, named for messages, heard of by other processes."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from chatwright.domain.errors import NotFound, Unprocessable
from chatwright.features.analysis import intent_store as store
from chatwright.features.analysis.intent_store import CustomIntent
from chatwright.pipeline import intents
from chatwright.pipeline.intent_training import train_due_intents, train_intents_forever
from chatwright.pipeline.intents import custom_intent
from chatwright.pipeline.services import Services
from tests.flows.conftest import OpenApp, Shop, open_shop

EXAMPLES = {
    "returns": (
        "I want to send this back",
        "how do I return my order",
        "the shoes don't fit, can I return them",
        "I'd like to give these back",
        "where is the return label",
        "return an item I bought",
    ),
    "delivery": (
        "where is my parcel",
        "when will my order arrive",
        "my package has not come",
        "track my delivery",
        "is my order on its way",
        "how long does shipping take",
    ),
    "invoice": (
        "I need an invoice",
        "send me the bill for my order",
        "where can I download my invoice",
        "the invoice has the wrong address",
        "I need a receipt for tax",
        "can you bill my company",
    ),
}


def wanted(*names: str) -> list[CustomIntent]:
    return [CustomIntent(name=name, examples=EXAMPLES[name]) for name in names]


async def named(app: Services, shop: Shop, text: str) -> str | None:
    found = await custom_intent(app, shop.chatbot, await app.embedder.encode([text]), text)
    return None if found is None else found[0]


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


async def test_a_chatbot_names_its_own_intents_once_trained(app: Services, shop: Shop) -> None:
    assert await named(app, shop, "the jacket is too small, I want to return it") is None
    await intents.set_intents(app, shop.chatbot, wanted("returns", "delivery", "invoice"), actor="test")
    assert (await intents.show_intents(app, shop.chatbot)).state == "training"
    assert await train_due_intents(app) == 1
    assert await train_due_intents(app) == 0
    shown = await intents.show_intents(app, shop.chatbot)
    assert shown.state == "trained"
    assert shown.figures["examples"] == 18
    assert shown.figures["accuracy"] > 0.7
    key = (shop.scope.tenant_id, shop.chatbot.id)
    await until(lambda: app.intents.holds(key) and app.intents.get(key) is not None)
    assert await named(app, shop, "the jacket is too small, I want to return it") == "returns"
    assert await named(app, shop, "my parcel is still not here, when does it arrive") == "delivery"
    assert await named(app, shop, "what a beautiful morning in the mountains") is None


async def test_a_chatbot_without_intents_costs_no_round_trip(app: Services, shop: Shop) -> None:
    assert await named(app, shop, "hello") is None
    encoded = await app.embedder.encode(["hello"])
    async with contextlib.AsyncExitStack() as held:
        # Every connection is taken: a look at the database would wait for one.
        for _ in range(40):
            try:
                async with asyncio.timeout(0.3):
                    await held.enter_async_context(app.db.transaction(shop.scope))
            except TimeoutError:
                break
        async with asyncio.timeout(0.2):
            assert await custom_intent(app, shop.chatbot, encoded, "hello") is None


async def test_another_process_hears_of_a_new_model_and_of_its_end(
    app: Services, open_app: OpenApp, shop: Shop
) -> None:
    async with open_app() as other:
        assert await named(other, shop, "track my parcel") is None
        key = (shop.scope.tenant_id, shop.chatbot.id)
        worker = asyncio.create_task(train_intents_forever(app), name="training")
        try:
            await intents.set_intents(app, shop.chatbot, wanted("returns", "delivery"), actor="test")
            await until(lambda: other.intents.get(key) is not None)
            assert await named(other, shop, "track my delivery please") == "delivery"
            await intents.set_intents(app, shop.chatbot, (), actor="test")
            await until(lambda: other.intents.get(key) is None)
        finally:
            worker.cancel()
            await asyncio.wait({worker})
        assert (await intents.show_intents(app, shop.chatbot)).state == "none"


async def test_one_intent_is_added_and_removed(app: Services, shop: Shop) -> None:
    await intents.set_intents(app, shop.chatbot, wanted("returns"), actor="test")
    await intents.set_intent(app, shop.chatbot, wanted("delivery")[0], actor="test")
    with pytest.raises(Unprocessable, match="example of"):
        await intents.set_intent(
            app, shop.chatbot, CustomIntent(name="other", examples=(EXAMPLES["returns"][0],)), actor="test"
        )
    await intents.remove_intent(app, shop.chatbot, "returns", actor="test")
    for unknown in ("returns", "\0", ""):
        with pytest.raises(NotFound):
            await intents.remove_intent(app, shop.chatbot, unknown, actor="test")
    assert [one.name for one in (await intents.show_intents(app, shop.chatbot)).intents] == ["delivery"]


async def test_a_notice_that_comes_while_a_model_is_read_is_not_lost(
    app: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reads = store.read_model, 0

    async def read_and_hear(*asked: Any, **how: Any) -> store.StoredModel:
        nonlocal reads
        found = await read(*asked, **how)
        reads += 1
        if reads == 2:  # what was read just now is old already
            app.intents.changed(shop.chatbot.id)
        return found

    monkeypatch.setattr(store, "read_model", read_and_hear)
    assert await named(app, shop, "track my parcel") is None
    app.intents.changed(shop.chatbot.id)
    await until(lambda: reads == 3)


async def test_a_model_that_takes_its_time_is_there_for_later_messages(
    app: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await intents.set_intents(app, shop.chatbot, wanted("returns", "delivery"), actor="test")
    await train_due_intents(app)
    monkeypatch.setattr(intents, "LOAD_S", 0.0)
    assert await named(app, shop, "track my delivery please") is None
    key = (shop.scope.tenant_id, shop.chatbot.id)
    await until(lambda: app.intents.holds(key))
    assert await named(app, shop, "track my delivery please") == "delivery"


async def test_a_try_tells_the_likeliest_below_the_threshold_too(app: Services, shop: Shop) -> None:
    with pytest.raises(NotFound, match="no trained"):
        await intents.try_intents(app, shop.chatbot, ["x"])
    await intents.set_intents(app, shop.chatbot, wanted("returns", "delivery"), actor="test")
    await train_due_intents(app)
    near, far = await intents.try_intents(app, shop.chatbot, ["how do I return my order", "the moon is far away"])
    assert (near.name, near.holds) == ("returns", True)
    assert not far.holds
    assert far.name in EXAMPLES


async def test_a_model_of_another_version_is_trained_anew(app: Services, shop: Shop) -> None:
    await intents.set_intents(app, shop.chatbot, wanted("returns", "delivery"), actor="test")
    async with app.db.transaction(shop.chatbot.scope) as db:
        version = await store.take(db, shop.chatbot.scope, lease_s=60)
        assert version is not None
        await store.keep_model(db, shop.chatbot.scope, b"of another time", version=version, figures={})
    assert await named(app, shop, "how do I return my order") is None
    assert await train_due_intents(app) == 1


async def test_other_chatbots_are_not_touched(app: Services, shop: Shop) -> None:
    neighbour = await open_shop(app, name="Neighbour")
    await intents.set_intents(app, shop.chatbot, wanted("returns", "delivery"), actor="test")
    await train_due_intents(app)
    assert await named(app, neighbour, "how do I return my order") is None
