"""A turn becomes a prompt: judged by the guard, then framed with what the chatbot is, remembers and has found.

Called by `answer.py`; `inline.py`, whose callers bring their own turns, frames them itself.
"""

from collections.abc import Sequence

from chatwright.adapters.models.encoded import Encoded
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.guard import Verdict
from chatwright.domain.jobs import Job
from chatwright.domain.providers import Prompt, Source
from chatwright.features import prompting
from chatwright.features.conversations import LoadedTurn
from chatwright.features.guard.leaks import canary_of
from chatwright.features.guard.policy import GuardPolicy
from chatwright.pipeline.guarding import advice_for, judge_turn, scan_metadata
from chatwright.pipeline.limits import room_tokens
from chatwright.pipeline.memory import Memory
from chatwright.pipeline.services import Services


async def judge(app: Services, job: Job, chatbot: Chatbot, turn: LoadedTurn, encoded: Encoded | None) -> Verdict:
    """The guard's verdict on a visitor's turn. `encoded` is its text's one row, None where the model cannot be had."""
    return await judge_turn(
        app,
        chatbot,
        turn.text,
        encoded=encoded,
        conversation_id=job.conversation_id,
        visitor_id=turn.visitor_id,
        message_id=job.message_id,
    )


async def frame(
    app: Services,
    job: Job,
    chatbot: Chatbot,
    turn: LoadedTurn,
    memory: Memory,
    sources: Sequence[Source],
    verdict: Verdict,
) -> Prompt:
    """The prompt of one turn; its sources are those that found room."""
    page = await scan_metadata(app, chatbot, memory.metadata, message_id=job.message_id)
    suspicious = [source.n for source in sources if source.suspicious]
    return prompting.build(
        question=turn.text,
        history=memory.history,
        sources=sources,
        name=chatbot.name,
        system_prompt=chatbot.system_prompt,
        personality=chatbot.personality,
        persona=prompting.Persona.of(chatbot.persona),
        canary=await canary_for(app, chatbot),
        advice=advice_for(verdict, suspicious=suspicious, metadata=page.action == "advise"),
        policy=chatbot.policy,
        temperature=chatbot.temperature,
        max_tokens=chatbot.max_tokens,
        room_tokens=room_tokens(app, chatbot),
        no_answer_text=chatbot.no_answer_text,
        history_whole=memory.history_whole,
        summary=memory.summary,
        metadata="" if page.action == "block" else memory.metadata,
        cache_key=chatbot.id,
        count=app.tokens.count,
    )


async def canary_for(app: Services, chatbot: Chatbot) -> str:
    """The mark that stands in the chatbot's system prompt and may stand in no answer; "" where nothing could leak, or
    nobody looks."""
    policy = GuardPolicy.of(chatbot.guard_policy)
    if policy.output == "off" or not policy.leaks or not (chatbot.system_prompt or chatbot.personality):
        return ""
    tokens = await app.keys.visitor_tokens()
    return canary_of(tokens.derived_key(b"canary"), chatbot.id)
