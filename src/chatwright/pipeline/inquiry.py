"""What the caches come to for one `/v1` request: asked before any model runs, told what was answered.

`InlineRequest` and `InlineAnswer` stand here because both `inline.py` and its caches speak of them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.guard import CLEAN, Verdict
from chatwright.domain.limits import LimitedKey, Standing
from chatwright.domain.providers import Finish, Prompt, Source, Turn, Usage
from chatwright.features.cache import CachedAnswer, CacheMode, Flight
from chatwright.features.cache.store import Vector
from chatwright.features.guard.cleaning import clean
from chatwright.features.routing import ProviderRun
from chatwright.pipeline.books import CallBooks
from chatwright.pipeline.caching import (
    CachePlan,
    CacheResult,
    Made,
    find_exact,
    guarded,
    keep,
    note_hit,
    note_no_hit,
    plan_cache,
    stands_alone,
)
from chatwright.pipeline.grounding import measure
from chatwright.pipeline.guarding import judge_turn, policy_of, refusal
from chatwright.pipeline.meaning import NOT_ASKED, Meaning, ask_by_meaning, teach
from chatwright.pipeline.reading import encode
from chatwright.pipeline.services import Services
from chatwright.pipeline.targets import EXTRACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineRequest:
    """`turns` as the caller sent them, ending with the question; `options` are passed through to the provider.
    `visitor_id`: whom the caller asks for, where it says so; it has budgets and limits of its own."""

    chatbot: Chatbot
    turns: tuple[Turn, ...]
    key: LimitedKey | None = None
    visitor_id: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    cache: CacheMode | None = None
    """What the request asks of the caches, if it says so."""

    @property
    def asked_at(self) -> int:
        """The place of the question: the last turn of the user."""
        return max((at for at, turn in enumerate(self.turns) if turn.role == "user"), default=0)

    @property
    def question(self) -> str:
        turn = self.turns[self.asked_at] if self.turns else None
        return turn.content if turn is not None and turn.role == "user" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineAnswer:
    """`attempts` counts provider calls, `cost_nano` is None when no price is known."""

    id: str
    text: str
    finish: Finish
    usage: Usage
    provider: str
    model: str
    attempts: int
    cost_nano: int | None
    cached: CacheResult = "bypass"
    tool_calls: list[dict[str, Any]] | None = None
    sources: Sequence[Source] = ()
    standing: Standing | None = None


@dataclass(slots=True, kw_only=True)
class Inquiry:
    """What a request's caches came to. `again` is the kept answer if there is one."""

    plan: CachePlan | None = None
    flight: Flight | None = None
    again: CachedAnswer | None = None
    meaning: Meaning = NOT_ASKED
    cached: CacheResult = "bypass"
    verdict: Verdict = CLEAN
    vector: Vector | None = None
    """The question's by the local default embedder, where one was made."""

    def close(self) -> None:
        """The request has ended, well or badly: nobody waits for it any more."""
        if self.flight is not None:
            self.flight.fail()


async def ask_caches(app: Services, request: InlineRequest, inquiry: Inquiry, deadline: float) -> None:
    """Look the answer up, before any model runs. Whatever is found is noted in `inquiry`, for its end to be seen to."""
    asked_at, question = request.asked_at, request.question
    # What follows the question (a tool's result, the beginning of an answer), pictures and names are not in its text.
    if asked_at == len(request.turns) - 1 and all(turn.extra is None for turn in request.turns):
        inquiry.plan = plan_cache(
            app,
            request.chatbot,
            question=question,
            history=request.turns[:asked_at],
            surface="v1",
            asked=request.cache,
            temperature=request.temperature,
            max_tokens=request.max_tokens,
            options=request.options,
            visitor_id=request.visitor_id,
        )
    if inquiry.plan is not None:
        found = await find_exact(app, inquiry.plan, left_s=deadline - asyncio.get_running_loop().time())
        if isinstance(found, CachedAnswer):
            inquiry.again, inquiry.cached = found, "exact"
            return
        inquiry.flight = found
        inquiry.plan = guarded(inquiry.plan, inquiry.flight)
    await _judge(app, request, inquiry)
    inquiry.meaning = await ask_by_meaning(app, inquiry.plan, inquiry.vector)
    if inquiry.meaning.served is not None:
        inquiry.again, inquiry.cached = inquiry.meaning.served, "semantic"
        if inquiry.flight is not None:
            inquiry.flight.part()
        return
    inquiry.cached = note_no_hit(app, inquiry.plan)


async def _judge(app: Services, request: InlineRequest, inquiry: Inquiry) -> None:
    """Note the guard's verdict on the question. Raises ContentBlocked."""
    chatbot, question = request.chatbot, request.question
    by_meaning = inquiry.plan is not None and stands_alone(inquiry.plan)
    if not question or not (by_meaning or _is_guarded(chatbot)):
        return
    if by_meaning or chatbot.policy is not None:
        encoded = await encode(app, [question])
        inquiry.vector = None if encoded is None else encoded.vectors[0]
    else:
        encoded = None  # a pass of the model would cost more than all the rest
    inquiry.verdict = await judge_turn(app, chatbot, question, encoded=encoded, visitor_id=request.visitor_id)
    if inquiry.verdict.action == "block":
        raise refusal(await policy_of(app, chatbot))
    if inquiry.verdict.action == "advise":
        inquiry.plan = None  # what it is told is for nobody else
        if inquiry.flight is not None:
            inquiry.flight.part()


def cleaned(request: InlineRequest) -> InlineRequest:
    """The request without what nobody sees in its users' texts, where there is anything to guard."""
    if not _is_guarded(request.chatbot):
        return request
    turns = tuple(
        turn if turn.role != "user" or turn.content.isascii() else replace(turn, content=clean(turn.content).text)
        for turn in request.turns
    )
    return request if turns == request.turns else replace(request, turns=turns)


def _is_guarded(chatbot: Chatbot) -> bool:
    """Whether there is anything to guard: a bare chatbot behind `/v1` is a gateway, whose callers bring prompts of their
    own, unless somebody asked for a guard."""
    return bool(chatbot.policy or chatbot.system_prompt or chatbot.personality or "input" in chatbot.guard_policy)


def answer_again(
    app: Services, answer_id: str, inquiry: Inquiry, entry: CachedAnswer, standing: Standing | None
) -> InlineAnswer:
    """A kept answer under a new id. It cost nothing; `usage` is what its text once took, as clients of OpenAI expect a
    completion to have tokens. No limit and no budget counts them."""
    assert inquiry.plan is not None
    note_hit(app, inquiry.plan, entry, inquiry.cached)
    return InlineAnswer(
        id=answer_id,
        text=entry.text,
        finish=entry.finish,
        usage=entry.usage,
        provider=entry.provider,
        model=entry.model,
        attempts=0,
        cost_nano=0,
        cached=inquiry.cached,
        sources=entry.sources,
        standing=standing,
    )


async def keep_inline(
    app: Services,
    inquiry: Inquiry,
    answer: InlineAnswer,
    run: ProviderRun,
    books: CallBooks,
    prompt: Prompt,
    *,
    calls: bool,
) -> None:
    """Hand a good answer to the caches; one that calls tools is not for others."""
    plan = inquiry.plan
    if plan is None or not plan.keeps or calls:
        if inquiry.flight is not None:
            inquiry.flight.part()
        return
    support, confidence = measure(answer.text, prompt.sources, answer.provider)
    entry = keep(
        plan,
        inquiry.flight,
        Made(
            answer_id=answer.id,
            text=answer.text,
            finish=answer.finish,
            provider=answer.provider,
            model=answer.model,
            usage=answer.usage,
            cost_nano=answer.cost_nano,
            sources=answer.sources,
            given=prompt.sources,
            confidence=confidence,
            grounding=support,
            degraded=run.fallbacks > 0 or books.cheap,
            abstained=answer.provider == EXTRACTIVE and not support,
        ),
    )
    await teach(app, plan, inquiry.meaning, entry)
