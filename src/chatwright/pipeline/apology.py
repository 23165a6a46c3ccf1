"""The last link of every chain: the chatbot's own words of apology, when nobody could answer a message.

The message still ends as failed, with its dead letter: it was not answered. What the visitor reads is kept as a partial
answer of the provider `apology`, so the transcript shows it and a replay replaces it.
"""

from dataclasses import replace

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import ChatwrightError
from chatwright.domain.ids import AnswerId, new_id
from chatwright.domain.jobs import Job
from chatwright.domain.messages import Answer, MessageState
from chatwright.features import animation, budgets
from chatwright.pipeline.ending import Ending
from chatwright.pipeline.services import Services
from chatwright.pipeline.turns import open_sink

APOLOGY = "apology"


async def with_apology(app: Services, job: Job, ending: Ending) -> Ending:
    """`ending` with the chatbot's apology as its text, told to whoever follows; unchanged if the message ends in any
    other way than failed without a word, or the chatbot has no `apology_text`. Raises LostLock."""
    if ending.state is not MessageState.FAILED or ending.answer is not None:
        return ending
    chatbot = await _chatbot_of(app, job)
    if chatbot is None or not chatbot.apology_text:
        return ending
    assert job.message_id is not None
    assert job.conversation_id is not None
    chosen = animation.choose(job.message_id, intent=None, sentiment="negative", animation_set=chatbot.animation_set)
    # The first and only text of this attempt. A Valkey that is away stops nothing: PostgreSQL has the words.
    await open_sink(app, job, animate=lambda _: chosen).chunk(chatbot.apology_text)
    async with app.db.transaction(job.scope) as db:
        spent = await budgets.message_cost(db, job.scope, job.message_id)
    answer = Answer(
        id=AnswerId(new_id()),
        message_id=job.message_id,
        conversation_id=job.conversation_id,
        text=chatbot.apology_text,
        provider=APOLOGY,
        model=APOLOGY,
        sources=(),
        animation=chosen,
        usage=spent.usage,
        cost_nano=spent.cost_nano,
        cached="bypass",
        partial=True,
        chunk_count=1,
        processing_ms=0,
    )
    return replace(ending, answer=answer)


async def _chatbot_of(app: Services, job: Job) -> Chatbot | None:
    if job.scope.chatbot_id is None:
        return None
    try:
        return await app.chatbots.get(job.scope, job.scope.chatbot_id)
    except ChatwrightError:
        return None
