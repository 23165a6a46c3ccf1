"""What the caches come to for one `/v1` request: asked before any model runs, told what was answered.

`InlineRequest` and `InlineAnswer` stand here because both `inline.py` and its caches speak of them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.limits import LimitedKey, Standing
from chatwright.domain.providers import Finish, Prompt, Source, Turn, Usage
from chatwright.features.cache import CachedAnswer, CacheMode, Flight
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
)
from chatwright.pipeline.grounding import measure
from chatwright.pipeline.meaning import NOT_ASKED, Meaning, ask_by_meaning, teach
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
        inquiry.meaning = await ask_by_meaning(app, inquiry.plan)
        if inquiry.meaning.served is not None:
            inquiry.again, inquiry.cached = inquiry.meaning.served, "semantic"
            if inquiry.flight is not None:
                inquiry.flight.part()
            return
    inquiry.cached = note_no_hit(app, inquiry.plan)


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
