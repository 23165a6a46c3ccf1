"""Passages looked at while a document is indexed: which of them speak to a model instead of to readers.

Every passage is read by the rules and by the model's head that needs no encoder; only what either suspects is encoded and
scored, because encoding all of a document twice would double what indexing costs. Called by `index.py`, and for rows of
imports.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from chatwright.adapters.models import ModelUnavailable
from chatwright.domain.guard import CLEAN, Verdict
from chatwright.domain.ids import DocumentId
from chatwright.domain.scope import Scope
from chatwright.features.guard.allow import is_text_allowed, without_allowed
from chatwright.features.guard.events import MODEL_RULE
from chatwright.features.guard.injection import InjectionModel
from chatwright.features.guard.judging import judge, suspect
from chatwright.features.guard.looking import Inspected, look
from chatwright.features.guard.policy import GuardPolicy
from chatwright.features.guard.windows import windows
from chatwright.pipeline.guarding import note, rules_of
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
WORTH_ENCODING = 0.1
"""Of the head without encoder, or of the rules: below it a passage is not looked at more closely."""
EVENTS_AT_MOST = 20
"""Of one document: its passages are marked all the same."""
_AT_ONCE = 200
_NAMED_AT_MOST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One text as it was looked at, with what was found in it: places of findings are places in `looked`. `suspicion` in 0..1,
    None for one that is not suspicious."""

    looked: str
    verdict: Verdict = CLEAN
    suspicion: float | None = None


@dataclass(frozen=True, slots=True)
class _Looked:
    """One text after the cheap look, and those of its windows that are worth a closer one."""

    inspected: Inspected
    doubtful: list[str]


async def scan_passages(app: Services, scope: Scope, texts: Sequence[str]) -> list[Passage]:
    """What the guard says of texts that come from elsewhere, in their order. Some 1 ms each on a thread, and an encoder's
    pass for the windows of the few that are doubtful. Raises nothing that the caller could mend."""
    rules = await rules_of(app, scope)
    policy = replace(GuardPolicy.of(rules.policy), input="flag")
    model = await app.guard.model()
    passages: list[Passage] = []
    for start in range(0, len(texts), _AT_ONCE):
        part = texts[start : start + _AT_ONCE]
        looked = await asyncio.to_thread(_look, model, part)
        scores = await _score(app, model, looked)
        for seen, score in zip(looked, scores, strict=True):
            text = seen.inspected.looked
            if is_text_allowed(rules.allowed, text):
                passages.append(Passage(looked=text))
                continue
            findings = without_allowed(rules.allowed, text, seen.inspected.findings)
            verdict = judge(findings, score, policy)
            suspicion = None if verdict.action == "allow" else round(suspect(findings, score), 2)
            passages.append(Passage(looked=text, verdict=verdict, suspicion=suspicion))
    return passages


def warnings_about(passages: Sequence[Passage]) -> list[str]:
    """What a document's owner is told: nothing, or one sentence."""
    found = _suspicious(passages)
    if not found:
        return []
    rules = list(dict.fromkeys(rule for passage in found for rule in passage.verdict.signals)) or [MODEL_RULE]
    first = " ".join(found[0].looked.split())[:100]
    several = "1 passage speaks" if len(found) == 1 else f"{len(found)} passages speak"
    named = ", ".join(rules[:_NAMED_AT_MOST])
    return [f"{several} to the model instead of to readers ({named}); the most suspicious begins “{first}”"]


def note_passages(app: Services, scope: Scope, document_id: DocumentId, passages: Sequence[Passage]) -> None:
    """Hand what was found in a document over to the log, and count it."""
    found = _suspicious(passages)
    for passage in found[:EVENTS_AT_MOST]:
        note(app, scope, passage.looked, passage.verdict, direction="document", document_id=document_id)
    for passage in found:
        for rule in passage.verdict.signals:
            app.metrics.guard_findings.labels("document", rule).inc()


def _suspicious(passages: Sequence[Passage]) -> list[Passage]:
    """The most suspicious first."""
    found = [passage for passage in passages if passage.suspicion is not None]
    return sorted(found, key=lambda passage: -(passage.suspicion or 0.0))


def _look(model: InjectionModel | None, texts: Sequence[str]) -> list[_Looked]:
    looked: list[_Looked] = []
    for text in texts:
        inspected = look(text)
        doubtful: list[str] = []
        if model is not None:
            parts = windows(inspected.text)
            odds = model.score(parts, None)
            sure = suspect(inspected.findings, None) >= WORTH_ENCODING
            doubtful = [part for part, value in zip(parts, odds, strict=True) if sure or value >= WORTH_ENCODING]
        looked.append(_Looked(inspected, doubtful))
    return looked


async def _score(app: Services, model: InjectionModel | None, looked: Sequence[_Looked]) -> list[float | None]:
    """The model's score of each text: 0.0 where nothing was doubtful, None for all where it cannot be had."""
    if model is None:
        return [None] * len(looked)
    parts = [part for seen in looked for part in seen.doubtful]
    if not parts:
        return [0.0] * len(looked)
    try:
        encoded = await app.embedder.encode(parts, bulk=True)
    except ModelUnavailable as error:
        _log.warning("guard.without_encoder", error=error.message)
        return [None] * len(looked)

    def score() -> list[float]:
        return model.score(parts, encoded, document=True)

    values = iter(await asyncio.to_thread(score))
    return [max((next(values) for _ in seen.doubtful), default=0.0) for seen in looked]
