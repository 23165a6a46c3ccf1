"""A visitor's thumb down reaches the semantic tier, once for each answer."""

import asyncio
from dataclasses import dataclass

from chatwright.domain.ids import ConversationId, MessageId
from chatwright.features import feedback
from chatwright.features.cache.router_store import list_checks
from chatwright.features.feedback import Rating, Saved
from chatwright.pipeline import semantic
from chatwright.pipeline.feedback import rate
from chatwright.pipeline.services import Services
from tests.flows.conftest import Shop
from tests.flows.test_cache_semantic import ASKED, NO_CHECKS, plan_of, said, taught
from tests.flows.test_chat_pipeline import rows

__all__ = ["taught"]  # a fixture


@dataclass
class Rated:
    """An answer of the semantic tier, and its visitor."""

    app: Services
    shop: Shop
    conversation_id: ConversationId
    message_id: MessageId

    async def say(self, rating: Rating | None) -> Saved:
        return await rate(
            self.app, self.shop.scope, self.conversation_id, self.message_id, visitor_id="v", rating=rating
        )

    async def told(self) -> int:
        """How often the caches have heard of it."""
        async with self.app.db.transaction(self.shop.chatbot.scope) as db:
            return len(await list_checks(db, self.shop.chatbot.scope))


async def rated_answer(app: Services, shop: Shop, question: str, answer: str) -> Rated:
    answer_id = await said(app, shop, question, answer, cached="semantic")
    async with app.db.transaction(shop.chatbot.scope) as db:
        row = await db.fetchrow("SELECT conversation_id, message_id FROM answers WHERE id = $1", answer_id)
    assert row is not None
    return Rated(app, shop, ConversationId(row["conversation_id"]), MessageId(row["message_id"]))


async def test_a_thumb_down_is_told_once(app: Services, taught: Shop) -> None:
    answer, phrasings = next(iter(ASKED.items()))
    plan = plan_of(app, taught, phrasings[0], **NO_CHECKS)
    rated = await rated_answer(app, taught, phrasings[0], answer)
    await rated.say("up")
    assert await semantic.find(app, plan, phrasings[0]) is not None
    before = await rated.told()
    await rated.say("down")
    await semantic.knowledge_of(app, taught.chatbot.scope)
    assert await semantic.find(app, plan, phrasings[0]) is None
    assert await rated.told() == before + 1
    for again in ("down", None, "up", "down"):
        await rated.say(again)
    assert await rated.told() == before + 1


async def test_what_the_caches_could_not_be_told_they_are_told_the_next_time(
    app: Services, taught: Shop, superuser_url: str
) -> None:
    """Whatever was wrong: here a table is missing, which is no error of ours. The rating itself is stored."""
    answer, phrasings = next(iter(ASKED.items()))
    rated = await rated_answer(app, taught, phrasings[0], answer)
    before = await rated.told()
    await rows(superuser_url, "ALTER TABLE cache_phrasings RENAME TO elsewhere")
    assert (await rated.say("down")).rating == "down"
    await rows(superuser_url, "ALTER TABLE elsewhere RENAME TO cache_phrasings")
    assert await rated.told() == before
    await asyncio.gather(*(rated.say("down") for _ in range(5)))
    assert await rated.told() == before + 1


async def test_who_died_while_telling_holds_nobody_up_for_ever(app: Services, taught: Shop, superuser_url: str) -> None:
    answer, phrasings = next(iter(ASKED.items()))
    rated = await rated_answer(app, taught, phrasings[0], answer)
    before = await rated.told()
    saved = await rated.say("up")
    async with app.db.transaction(taught.chatbot.scope) as db:
        assert await feedback.claim_telling(db, taught.chatbot.scope, saved.id, lease_s=60)
    await rated.say("down")
    assert await rated.told() == before, "somebody is at it"
    await rows(superuser_url, "UPDATE feedback SET telling_until = now() - interval '1 second'")
    await rated.say("down")
    assert await rated.told() == before + 1
    # The first one was not dead, only slow, and now it says that it failed.
    async with app.db.transaction(taught.chatbot.scope) as db:
        await feedback.end_telling(db, taught.chatbot.scope, saved.id, noted=False)
    await rated.say("down")
    assert await rated.told() == before + 1
