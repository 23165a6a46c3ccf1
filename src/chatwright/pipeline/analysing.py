"""Texts that are read by themselves: `POST /api/v1/analyze`, the job types of reading and animation, batches of rows.

Called by `submit.py` (is this payload one?), `perform.py` and the endpoint. A payload holds one `text`, or up to 256 `texts`
that are read in one pass of the local model.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, cast

import structlog

from chatwright.adapters.models.encoded import Encoded
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import PayloadTooLarge, Unprocessable
from chatwright.domain.guard import CLEAN, Verdict
from chatwright.domain.jobs import Job, JobType
from chatwright.domain.reading import Reading
from chatwright.domain.scope import Scope
from chatwright.features.guard.allow import is_text_allowed, without_allowed
from chatwright.features.guard.injection import InjectionModel
from chatwright.features.guard.judging import judge
from chatwright.features.guard.looking import Inspected, look
from chatwright.features.guard.policy import GuardPolicy
from chatwright.features.guard.store import TenantRules
from chatwright.features.guard.windows import windows
from chatwright.pipeline.accept import inspect
from chatwright.pipeline.animating import SELECTORS, select
from chatwright.pipeline.guarding import policy_of, rules_of
from chatwright.pipeline.reading import encode, read_texts
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
TEXTS_AT_MOST = 256
CHARS_AT_MOST = 256_000
"""Of all texts of a batch together: a few seconds of one core."""
_BULK_FROM = 2
"""More texts than one are somebody's batch: visitors' messages go before them, and the heads read them on a thread."""
_ON_LOOP_CHARS = 4_000
TEXT_JOBS = frozenset({JobType.SENTIMENT_ANALYSIS, JobType.INTENT_CLASSIFICATION, JobType.ANIMATION_SELECTION})


async def analyze(
    app: Services, scope: Scope, texts: Sequence[str], chatbot: Chatbot | None = None
) -> list[dict[str, Any]]:
    """Sentiment, emotion, intent and what the guard says of each text, with `chatbot` by its policy, and which of its own
    intents it has. Nothing is noted.

    A probability is None where the local model cannot be had. Raises BadRequest or PayloadTooLarge for a text that cannot
    be taken.
    """
    taken = [inspect(text, max_chars=app.settings.max_text_chars) for text in texts]
    is_large = len(taken) >= _BULK_FROM or sum(map(len, taken)) > _ON_LOOP_CHARS
    guard = await _guard_of(app, scope, chatbot)
    looked = await asyncio.to_thread(_look, taken) if is_large else _look(taken)
    # One pass for the guard, which reads windows of a long text, and for the reader, who is content with the first of them.
    encoded = await encode(app, [window for one in looked for window in one.windows], bulk=len(taken) >= _BULK_FROM)
    starts = list(accumulate((len(one.windows) for one in looked), initial=0))
    first = None
    if encoded is not None:
        first = Encoded(vectors=encoded.vectors[starts[:-1]], features=encoded.features[starts[:-1]])
    readings = await read_texts(app, [one.inspected.text for one in looked], first, chatbot)
    verdicts = await asyncio.to_thread(guard.judge, looked, encoded) if is_large else guard.judge(looked, encoded)
    return [
        {
            "sentiment": {"label": reading.sentiment, "score": reading.sentiment_score},
            "emotion": _emotion(reading),
            "intent": {"label": reading.intent, "confidence": reading.intent_confidence},
            **({} if chatbot is None else {"custom_intent": _custom_intent(reading)}),
            "injection": {
                "score": verdict.score,
                "flagged": verdict.action != "allow",
                "signals": list(verdict.signals),
            },
        }
        for reading, verdict in zip(readings, verdicts, strict=True)
    ]


async def run_text_job(app: Services, job: Job, chatbot: Chatbot | None) -> dict[str, Any]:
    """The result of a job of one of `TEXT_JOBS`: of its `text` as it is, of its `texts` as `results`. Raises Unprocessable
    for a payload that a foreign producer made and nobody can read."""
    texts = texts_of(app, job.type, job.payload)
    # Animations may be chosen by a chatbot's own intents, sentiment has no use for them.
    readings = await _read(app, texts, None if job.type is JobType.SENTIMENT_ANALYSIS else chatbot)
    if "texts" in job.payload:
        key = _key(job)
        return {"results": [_result(job, f"{key}:{n}", one, chatbot) for n, one in enumerate(readings)]}
    return _result(job, _key(job), readings[0] if readings else None, chatbot)


def texts_of(app: Services, job_type: JobType, payload: Mapping[str, Any]) -> list[str]:
    """The texts of a text job's payload, none where labels stand for them. Raises Unprocessable for one that the type cannot
    work with, and what `inspect` raises."""
    single, several = payload.get("text"), payload.get("texts")
    if single is not None and several is not None:
        raise Unprocessable("a payload has `text` or `texts`, not both", param="payload.texts")
    if several is not None:
        texts: list[Any] = cast("list[Any]", several) if isinstance(several, list) else []
        if not 1 <= len(texts) <= TEXTS_AT_MOST or not all(isinstance(text, str) for text in texts):
            raise Unprocessable(f"`texts` is a list of 1 to {TEXTS_AT_MOST} texts", param="payload.texts")
        check_length(texts, param="payload.texts")
        return [inspect(text, max_chars=app.settings.max_text_chars) for text in texts]
    if isinstance(single, str):
        return [inspect(single, max_chars=app.settings.max_text_chars)]
    if single is None and job_type is JobType.ANIMATION_SELECTION:
        if any(payload.get(name) is not None for name in SELECTORS):
            return []
        raise Unprocessable(
            f"animation_selection needs `text`, `texts` or one of {', '.join(f'`{name}`' for name in SELECTORS)}",
            param="payload",
        )
    raise Unprocessable(f"{job_type} needs `text` (str) or `texts` (list) in its payload", param="payload.text")


def check_length(texts: Sequence[str], *, param: str) -> None:
    """Raise PayloadTooLarge for texts that are too long together."""
    if sum(map(len, texts)) > CHARS_AT_MOST:
        raise PayloadTooLarge(f"the texts together have more than {CHARS_AT_MOST:,} characters", param=param)


async def _read(app: Services, texts: Sequence[str], chatbot: Chatbot | None) -> list[Reading]:
    if not texts:
        return []
    return await read_texts(app, texts, await encode(app, texts, bulk=len(texts) >= _BULK_FROM), chatbot)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """A text as the guard looks at it, and the pieces of it that the guard's model reads."""

    inspected: Inspected
    windows: list[str]


def _look(texts: Sequence[str]) -> list[_Looked]:
    seen = [look(text) for text in texts]
    return [_Looked(inspected=one, windows=windows(one.text)) for one in seen]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guard:
    """What a tenant's texts are judged by. `model` is None where it cannot be had: then by rules alone."""

    model: InjectionModel | None
    rules: TenantRules
    policy: GuardPolicy

    def judge(self, looked: Sequence[_Looked], encoded: Encoded | None) -> list[Verdict]:
        """A verdict a text; `encoded` has a row for each of their windows, in order."""
        scores: list[float | None] = [None] * len(looked)
        if self.model is not None:
            every = self.model.score([window for one in looked for window in one.windows], encoded)
            at = 0
            for n, one in enumerate(looked):
                scores[n] = max(every[at : at + len(one.windows)])
                at += len(one.windows)
        return [self._one(one, score) for one, score in zip(looked, scores, strict=True)]

    def _one(self, one: _Looked, score: float | None) -> Verdict:
        allowed = self.rules.allowed
        seen = one.inspected
        if is_text_allowed(allowed, seen.looked):
            return replace(CLEAN, score=score)
        return judge(without_allowed(allowed, seen.looked, seen.findings), score, self.policy)


async def _guard_of(app: Services, scope: Scope, chatbot: Chatbot | None) -> _Guard:
    rules = await rules_of(app, scope)
    policy = GuardPolicy.of(rules.policy) if chatbot is None else await policy_of(app, chatbot)
    try:
        model = await app.guard.model()
    except (OSError, ValueError, KeyError) as error:
        _log.warning("analyze.without_model", error=str(error))
        model = None
    # Whoever asks wants to know: a guard that is switched off still says what it would have seen.
    return _Guard(model=model, rules=rules, policy=policy if policy.input != "off" else replace(policy, input="flag"))


def _key(job: Job) -> str:
    """What the choice of an animation hangs on, so that the same message always plays the same."""
    return str(job.payload.get("message_id", job.id))


def _result(job: Job, key: str, reading: Reading | None, chatbot: Chatbot | None) -> dict[str, Any]:
    if job.type is JobType.ANIMATION_SELECTION:
        return {"animation": select(key, job.payload, reading, chatbot)}
    assert reading is not None
    if job.type is JobType.SENTIMENT_ANALYSIS:
        return {"label": reading.sentiment, "score": reading.sentiment_score, "emotion": _emotion(reading)}
    own = {} if chatbot is None else {"custom_intent": _custom_intent(reading)}
    return {"label": reading.intent, "confidence": reading.intent_confidence, **own}


def _emotion(reading: Reading) -> dict[str, Any] | None:
    return None if reading.emotion is None else {"label": reading.emotion, "score": reading.emotion_score}


def _custom_intent(reading: Reading) -> dict[str, Any] | None:
    if reading.custom_intent is None:
        return None
    return {"label": reading.custom_intent, "confidence": reading.custom_intent_confidence}
