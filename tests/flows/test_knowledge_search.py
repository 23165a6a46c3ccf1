"""From a question to sources, through the product's own services: explained, after what was said before, without vectors."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from chatwright.domain.errors import NotFound
from chatwright.domain.ids import KnowledgeBaseId, new_id
from chatwright.domain.providers import Turn
from chatwright.features import knowledge
from chatwright.features.knowledge import Hit
from chatwright.pipeline.index import index_document
from chatwright.pipeline.knowledge import explain_search, find_sources
from chatwright.pipeline.services import Services
from tests.flows.conftest import Shop, open_shop

GUIDE = """# Shop guide

## Returns

Shoes can be returned within 30 days of delivery. They must be unworn and in their box.

## The way back

Sending shoes back costs four euros, which are taken off the refund.

## Opening hours

The shop in Springfield opens at nine and closes at six.
"""


async def a_shop(app: Services) -> Shop:
    shop = await open_shop(app, knowledge=True)
    base = shop.chatbot.knowledge_base_id
    assert base is not None
    async with app.db.transaction(shop.scope) as db:
        document = await knowledge.create_document(
            db,
            shop.scope,
            base,
            title="Shop guide",
            text=GUIDE,
            media_type="text/markdown",
            url="https://shop.test/guide",
        )
    await index_document(app, shop.scope, document.id)
    return replace(shop, chatbot=replace(shop.chatbot, has_knowledge=True))


async def test_a_question_finds_its_passage(app: Services) -> None:
    shop = await a_shop(app)
    sources = await find_sources(app, shop.chatbot, "How long can I return shoes?")
    assert sources[0].title == "Shop guide › Returns"
    assert sources[0].url == "https://shop.test/guide#returns"
    assert "30 days" in sources[0].quote
    assert await find_sources(app, shop.chatbot, "Who painted the Mona Lisa?") == ()
    assert await find_sources(app, shop.chatbot, "  ") == ()


async def test_a_chatbot_may_have_a_threshold_of_its_own(app: Services) -> None:
    shop = await a_shop(app)
    question = "What is with shoes?"
    strict, lax = (replace(shop.chatbot, relevance_threshold=bound) for bound in (1.0, 0.0))
    assert await find_sources(app, shop.chatbot, "How long can I return shoes?") != ()
    assert await find_sources(app, strict, "How long can I return shoes?") == ()
    assert len(await find_sources(app, lax, question)) == 3
    base = shop.chatbot.knowledge_base_id
    assert base is not None
    hits = await explain_search(app, shop.scope, base, "How long can I return shoes?", k=3, threshold=1.0)
    assert {hit.why_not for hit in hits} == {"below the threshold of 1"}


async def test_a_word_of_several_languages_is_taken_for_that_of_the_documents(app: Services) -> None:
    shop = await open_shop(app, knowledge=True)
    base = shop.chatbot.knowledge_base_id
    assert base is not None
    async with app.db.transaction(shop.scope) as db:
        text = "Eine Plastide ist ein Organell in den Zellen von Pflanzen, und sie wird von einer Hülle umgeben."
        document = await knowledge.create_document(db, shop.scope, base, title="Plastiden", text=text)
    await index_document(app, shop.scope, document.id)
    hits = await explain_search(app, shop.scope, base, "Was umgibt Plastiden?", k=1)
    # English has no such stem: "was" alone would have made an English question of it.
    assert hits[0].hit.words > 0


async def test_a_follow_up_finds_what_it_leans_on(app: Services) -> None:
    shop = await a_shop(app)
    said = (Turn("user", "How long can I return shoes?"), Turn("assistant", "Within 30 days."))
    alone = await find_sources(app, shop.chatbot, "And what does that cost?")
    after = await find_sources(app, shop.chatbot, "And what does that cost?", said)
    assert "Shop guide › The way back" in [source.title for source in after]
    best = max((source.score for source in alone if source.title.endswith("The way back")), default=0.0)
    assert max(source.score for source in after if source.title.endswith("The way back")) > best


async def test_a_question_that_seems_to_lean_on_nonsense_is_asked_alone(app: Services) -> None:
    shop = await a_shop(app)
    said = (Turn("user", "Recite nineteen verses about glaciers, astronauts and violins"), Turn("assistant", "No."))
    question = "How long can I return these shoes?"
    assert knowledge.earlier_question(question, said, "en")
    sources = await find_sources(app, shop.chatbot, question, said)
    assert [source.title for source in sources][:1] == ["Shop guide › Returns"]


async def test_each_hit_is_explained(app: Services) -> None:
    shop = await a_shop(app)
    base = shop.chatbot.knowledge_base_id
    assert base is not None
    hits = await explain_search(app, shop.scope, base, "When does the shop in Springfield open?", k=3)
    assert hits[0].hit.heading == "Opening hours"
    assert hits[0].why_not is None
    assert hits[-1].why_not == "below the threshold of 0.5"
    for hit in hits:
        assert {"cosine", "keywords", "words", "vector_weight", "score", "heading"} <= hit.explain.keys()
    assert [hit.hit.relevance for hit in hits] == sorted((hit.hit.relevance for hit in hits), reverse=True)


async def test_words_are_searched_while_there_is_no_vector(app: Services) -> None:
    shop = await a_shop(app)
    async with app.db.transaction(shop.scope) as db:
        await db.execute(
            "UPDATE knowledge_bases SET embedder = 'nobody/knows-this' WHERE tenant_id = $1", shop.scope.tenant_id
        )
    sources = await find_sources(app, shop.chatbot, "How long can shoes be returned after delivery?")
    assert [source.title for source in sources][:1] == ["Shop guide › Returns"]


async def test_a_base_that_is_not_there_is_told(app: Services) -> None:
    shop = await open_shop(app)
    with pytest.raises(NotFound):
        await explain_search(app, shop.scope, KnowledgeBaseId(new_id()), "x", k=3)
    with pytest.raises(NotFound):
        await explain_search(app, shop.scope, KnowledgeBaseId("nonsense"), "x", k=3)


async def test_another_reader_may_have_the_last_word(app: Services) -> None:
    shop = await a_shop(app)

    async def by_length(question: str, hits: Sequence[Hit]) -> list[float]:
        return [0.9 if "Springfield" in hit.text else 0.1 for hit in hits]

    sources = await find_sources(app, shop.chatbot, "How long can I return shoes?", rerank=by_length)
    assert [source.title for source in sources] == ["Shop guide › Opening hours"]
