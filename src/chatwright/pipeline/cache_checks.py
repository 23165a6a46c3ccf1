"""Do two answers say the same, and what do checks say of a chatbot's semantic cache?

Called by `cache_learning.py` with each lesson, and by `cache_feedback.py`. Compares texts first, vectors next, and asks the chatbot's cheap model last, as far as checks may cost.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import structlog

from chatwright.adapters.postgres import Connection
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import BudgetExceeded, ChatwrightError, Unavailable
from chatwright.domain.providers import Prompt, Turn
from chatwright.domain.scope import Scope
from chatwright.features import alerts
from chatwright.features.cache.agreement import (
    Agreement,
    agreement,
    answer_digest,
    judge_question,
    judge_rules,
    read_verdict,
)
from chatwright.features.cache.checks import OFF, Check, Figures, figures, next_strictness
from chatwright.features.cache.router_store import add_check, list_checks, read_strictness, set_strictness
from chatwright.features.cache.store import Candidate, Vector
from chatwright.features.routing import ProviderRun
from chatwright.pipeline.books import CallBooks
from chatwright.pipeline.services import Services
from chatwright.pipeline.targets import chain_for, cheap_links

_log = structlog.get_logger(__name__)
PURPOSE = "cache_check"
_VERDICT_TOKENS = 30
_VERDICT_S = 20.0
WORTH_ASKING = 0.6
"""Cosine of two questions below which nobody pays for comparing their answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A candidate and whether its answer says the same as the new one; `judge`: by what (text, local, model)."""

    candidate: Candidate
    verdict: Agreement
    judge: str


def compare(candidate: Candidate, text: str, vector: Vector | None) -> Compared:
    """A candidate's answer against a new answer's text and (where it is known) vector. No call is made."""
    assert candidate.entry is not None
    if candidate.text_digest == answer_digest(text):
        return Compared(candidate=candidate, verdict="same", judge="text")
    cosine = None
    if vector is not None and candidate.answer_vector is not None:
        cosine = float(np.dot(vector, candidate.answer_vector))
    verdict = agreement(candidate.entry.text, text, cosine=cosine)
    return Compared(candidate=candidate, verdict=verdict, judge="local")


async def judge(
    app: Services, chatbot: Chatbot, *, question_a: str, answer_a: str, question_b: str, answer_b: str
) -> Agreement:
    """Ask the chatbot's cheap model. "unknown" where it has none, where no budget has room, or where it does not say.

    Never raises but CancelledError. The call is booked with purpose `cache_check`.
    """
    try:
        async with asyncio.timeout(_VERDICT_S):
            return await _by_model(app, chatbot, judge_question(question_a, answer_a, question_b, answer_b))
    except BudgetExceeded:
        return "unknown"
    except (ChatwrightError, TimeoutError) as error:
        _log.info("cache.not_judged", reason=str(error) or type(error).__name__)
        return "unknown"


async def _by_model(app: Services, chatbot: Chatbot, question: str) -> Agreement:
    prompt = Prompt(
        turns=(Turn("system", judge_rules()), Turn("user", question)),
        question=question,
        max_tokens=_VERDICT_TOKENS,
        temperature=0.0,
        stable_turns=1,
    )
    prompt_tokens = await app.tokens.prompt(prompt)
    chain = await chain_for(
        app, chatbot.scope, cheap_links(app, chatbot), prompt_tokens=prompt_tokens, with_extractive=False
    )
    if not chain.targets:
        return "unknown"
    books = CallBooks(
        app, chatbot.scope, prompt_tokens=prompt_tokens, max_output_tokens=_VERDICT_TOKENS, purpose=PURPOSE
    )
    run = ProviderRun(
        chain.targets,
        prompt,
        books,
        gates=app.gates,
        max_calls=1,
        deadline=asyncio.get_running_loop().time() + _VERDICT_S,
        prompt_tokens=prompt_tokens.tokens,
        patience_s=app.settings.provider_patience_s,
    )
    return read_verdict((await run.complete()).text)


async def record_check(
    db: Connection, scope: Scope, class_id: str, check: Check, *, judge: str, confidence: float, max_error: float
) -> tuple[Figures, int, bool]:
    """Keep a check and draw its consequences: (figures, strictness, whether that changed). Under `lock`."""
    await add_check(db, scope, class_id, check, judge=judge, confidence=confidence)
    found = await list_checks(db, scope)
    now = figures(found)
    strictness, since_s = await read_strictness(db, scope)
    wanted = next_strictness(strictness, found, strict_for_s=since_s, max_error=max_error)
    if wanted == strictness:
        return now, strictness, False
    await set_strictness(db, scope, wanted)
    _log.warning(
        "cache.strictness_changed",
        chatbot_id=scope.chatbot_id,
        before=strictness,
        now=wanted,
        rate=now.rate,
        low=now.low,
    )
    if wanted > strictness:
        await alerts.raise_alert(
            db,
            scope.tenant_id,
            kind="cache.false_hits",
            level="critical" if wanted >= OFF else "warning",
            subject=str(scope.chatbot_id),
            period=f"{datetime.now(UTC):%Y-%m-%dT%H}-{wanted}",
            message=_told(now, wanted, max_error),
            detail=_detail(scope, now, wanted, max_error),
        )
    return now, wanted, True


def measure(app: Services, scope: Scope, outcome: Agreement, found: Figures) -> None:
    """Say it to the metrics."""
    metrics = app.metrics
    tenant, chatbot = metrics.tenant(scope.tenant_id), metrics.chatbot(str(scope.chatbot_id))
    metrics.cache_checks.labels(tenant, outcome).inc()
    if found.rate is not None:
        for bound, value in (("estimate", found.rate), ("low", found.low), ("high", found.high)):
            metrics.cache_false_hit_rate.labels(tenant, chatbot, bound).set(value)


async def tell_changed(app: Services, scope: Scope) -> None:
    """Have every process read this chatbot's classes again; one that does not hear it looks by itself within seconds."""
    assert scope.chatbot_id is not None
    app.semantic.changed(scope.chatbot_id)
    with suppress(Unavailable):
        await app.channel.publish_learned(scope.chatbot_id)


def _told(now: Figures, strictness: int, max_error: float) -> str:
    does = "It gives no answers until checks are good again." if strictness >= OFF else "It became stricter."
    return (
        f"The semantic cache gave wrong answers to about {now.rate or 0:.1%} of the questions that it answered "
        f"({now.low:.1%} to {now.high:.1%}, {now.checks} checks); the bound is {max_error:.1%}. {does}"
    )


def _detail(scope: Scope, now: Figures, strictness: int, max_error: float) -> Mapping[str, Any]:
    return {
        "chatbot_id": scope.chatbot_id,
        "rate": round(now.rate or 0.0, 4),
        "low": round(now.low, 4),
        "high": round(now.high, 4),
        "checks": now.checks,
        "max_error": max_error,
        "strictness": strictness,
    }
