"""Question -> sources: one vector, one search under the chatbot's scope."""

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.providers import Source
from chatwright.features import knowledge
from chatwright.pipeline.services import Services


async def find_sources(app: Services, chatbot: Chatbot, question: str) -> tuple[Source, ...]:
    """The passages that probably answer the question, best first; empty when nothing does, or no knowledge is set."""
    if chatbot.knowledge_base_id is None or not chatbot.has_knowledge or not question.strip():
        return ()
    vector = (await app.embedder.embed([question]))[0]
    async with app.db.transaction(chatbot.scope) as db:
        hits = await knowledge.search(db, chatbot.scope, chatbot.knowledge_base_id, vector, top_k=knowledge.CANDIDATES)
    return tuple(
        knowledge.choose_sources(
            question, hits, threshold=app.settings.relevance_threshold, at_most=app.settings.knowledge_top_k
        )
    )
