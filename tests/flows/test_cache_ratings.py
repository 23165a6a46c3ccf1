"""A visitor's thumb down reaches the semantic tier, once for each answer."""

from chatwright.domain.ids import ConversationId, MessageId
from chatwright.features.cache.router_store import list_checks
from chatwright.pipeline import semantic
from chatwright.pipeline.feedback import rate
from chatwright.pipeline.services import Services
from tests.flows.conftest import Shop
from tests.flows.test_cache_semantic import ASKED, NO_CHECKS, plan_of, said, taught

__all__ = ["taught"]  # a fixture


async def test_a_thumb_down_is_told_once(app: Services, taught: Shop) -> None:
    answer, phrasings = next(iter(ASKED.items()))
    plan = plan_of(app, taught, phrasings[0], **NO_CHECKS)
    answer_id = await said(app, taught, phrasings[0], answer, cached="semantic")
    scope = taught.chatbot.scope
    async with app.db.transaction(scope) as db:
        row = await db.fetchrow("SELECT conversation_id, message_id FROM answers WHERE id = $1", answer_id)
    assert row is not None

    async def say(rating: str | None) -> bool:
        saved = await rate(
            app, taught.scope, ConversationId(row["conversation_id"]), MessageId(row["message_id"]),
            visitor_id="v", rating=rating,  # type: ignore[arg-type]
        )  # fmt: skip
        return saved.noted

    async def told() -> int:
        async with app.db.transaction(scope) as db:
            return len(await list_checks(db, scope))

    await say("up")
    assert await semantic.find(app, plan, phrasings[0]) is not None
    before = await told()
    await say("down")
    await semantic.knowledge_of(app, scope)
    assert await semantic.find(app, plan, phrasings[0]) is None
    assert await told() == before + 1
    for again in ("down", None, "up", "down"):
        await say(again)
    assert await told() == before + 1
