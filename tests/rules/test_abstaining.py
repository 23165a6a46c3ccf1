"""When a chatbot says that it does not know without asking a model."""

import pytest

from chatwright.domain.chatbot import AnswerPolicy, Chatbot
from chatwright.domain.ids import ChatbotId, KnowledgeBaseId, TenantId
from chatwright.domain.providers import Source
from chatwright.pipeline.grounding import abstains, shown

SOURCE = Source(
    n=1,
    document_id="d",
    title="Delivery ![x](https://evil.test/a.png)",
    url="https://shop.test/a",
    score=0.9,
    quote="See [1], [this](https://evil.test/?d=1) and https://shop.test/b",
    text="all of it",
)


def chatbot(*, policy: AnswerPolicy = "sources_only", base: str | None = "k", has_knowledge: bool = True) -> Chatbot:
    return Chatbot(
        id=ChatbotId("c"),
        tenant_id=TenantId("t"),
        slug="c",
        name="C",
        widget_id="w",
        knowledge_base_id=None if base is None else KnowledgeBaseId(base),
        has_knowledge=has_knowledge,
        answer_policy=policy,
    )


@pytest.mark.parametrize(
    "question", ["Who won the league in 1987?", "tell me who won the league", "What is a refund?", "谁赢得了冠军？"]
)
def test_a_question_without_a_source_is_not_put_to_a_model(question: str) -> None:
    assert abstains(chatbot(), question, ())
    assert not abstains(chatbot(), question, (SOURCE,))
    assert not abstains(chatbot(policy="sources_first"), question, ())
    assert not abstains(chatbot(base=None), question, ())
    assert not abstains(chatbot(has_knowledge=False), question, ())


@pytest.mark.parametrize(
    "talk",
    [
        "Hello there, nice to meet you",
        "Danke!",
        "thank you so much for that",
        "I want to speak to a human",
        "ok",
        "How are you?",
    ],
)
def test_talk_still_reaches_the_model(talk: str) -> None:
    assert not abstains(chatbot(), talk, ())


def test_sources_are_shown_without_power() -> None:
    (source,) = shown(chatbot(), [SOURCE])
    assert source.title == "Delivery [x] (evil.test)"
    assert source.quote == "See [1], [this] (evil.test) and https://shop.test/b"
    assert (source.url, source.text) == ("https://shop.test/a", "")
