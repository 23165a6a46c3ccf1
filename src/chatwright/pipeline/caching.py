"""The caches of a flow: what a question's answer hangs on, an answer given again, an answer kept.

`answer.py` and `inline.py` call it in this order: `plan_cache`, `find_exact` before any model runs, `stands_alone` before
anything is looked for by meaning, and then `note_hit`, or `keep`. A plan is None where neither tier may be asked: the
caches are off for this question, or its answer could not be told apart by its key.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.ids import CallId, ConversationId, MessageId, new_id
from chatwright.domain.language import detect_language
from chatwright.domain.messages import MessageState
from chatwright.domain.providers import Finish, Source, Turn, Usage
from chatwright.domain.reading import Reading
from chatwright.features.budgets import CacheHit
from chatwright.features.cache import (
    MODES,
    AnswerScope,
    CachedAnswer,
    CacheMode,
    CachePolicy,
    Flight,
    context_digest,
    digest,
    exact_key,
    narrowed,
    normalise,
    personal,
    standalone,
    time_bound,
)
from chatwright.features.prompting import Persona
from chatwright.pipeline.services import PipelineSettings, Services

Surface = Literal["chat", "v1"]
CacheResult = Literal["exact", "semantic", "miss", "bypass"]

ASKED = "x-chatwright-cache"
"""In a message's metadata: the mode that its sender asked for, by its word on the wire."""
DEGRADED_TTL_S = 60
"""An answer that the first choice did not give (a fallback, a budget's cheap model) is kept no longer."""
_QUESTION_CHARS_AT_MOST = 8_000
_READ_CHARS_AT_MOST = 50_000
"""A context longer than this is not read for personal data, and so not kept."""
_WORDS_A_PIECE = 6
_PIECES_AT_MOST = 24
_PIECE = re.compile(r"\s*\S+")
_SHAPING = frozenset(
    (
        "top_p",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "response_format",
        "reasoning_effort",
    )
)
"""Options of `/v1` that shape an answer's text and nothing else of it: they are part of the key. An answer to any other
one (tools, log probabilities, what is yet to be invented) may be more than a text, and is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """What one question asks of the caches. `scope` is everything its answer hangs on but question and context.

    `history` are the turns before it, `also_said` the rest of what its prompt tells of the visitor; `key` is the exact tier's. `by_meaning`: whether the semantic tier may be asked at
    all. `visitor_id` to `import_id` say for whom, in the books.
    """

    chatbot: Chatbot
    mode: CacheMode
    policy: CachePolicy
    scope: AnswerScope
    question: str
    context_digest: bytes
    history: Sequence[Turn]
    first_turn: bool
    also_said: Sequence[str]
    by_meaning: bool
    key: str
    surface: Surface
    visitor_id: str | None = None
    conversation_id: ConversationId | None = None
    message_id: MessageId | None = None
    import_id: str | None = None
    asked_at_s: float = field(default_factory=time.time)

    @property
    def reads(self) -> bool:
        return self.mode in ("on", "read")

    @property
    def keeps(self) -> bool:
        return self.mode in ("on", "write")

    @property
    def ttl_s(self) -> int:
        """How long an answer is kept in the exact tier."""
        return self.policy.lifetime_s(has_knowledge=self.chatbot.policy is not None)

    @property
    def language(self) -> str | None:
        """The question's language (ISO 639-1). 20 to 200 µs: found anew at each look."""
        return detect_language(self.question)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An answer that a provider has just given, as far as the caches look at it.

    `sources` are those shown, `given` all passages that the model had before it. `degraded`: the first choice did not
    give it. `abstained`: it says that nothing is known, which the next minute may change.
    """

    answer_id: str
    text: str
    finish: Finish | None
    provider: str
    model: str
    usage: Usage
    cost_nano: int | None
    sources: Sequence[Source] = ()
    given: Sequence[Source] = ()
    confidence: float | None = None
    grounding: float | None = None
    degraded: bool = False
    abstained: bool = False
    reading: Reading | None = None
    suggestions: Sequence[dict[str, str]] = ()
    state: MessageState = MessageState.ANSWERED


def plan_cache(
    app: Services,
    chatbot: Chatbot,
    *,
    question: str,
    history: Sequence[Turn] = (),
    more_context: bytes = b"",
    also_said: Sequence[str] = (),
    surface: Surface = "chat",
    asked: CacheMode | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    options: Mapping[str, Any] | None = None,
    visitor_id: str | None = None,
    conversation_id: ConversationId | None = None,
    message_id: MessageId | None = None,
    import_id: str | None = None,
) -> CachePlan | None:
    """The plan of one question; None: the caches have no part in it. Costs no round trip.

    `history`: the turns before the question as they go into its prompt; `more_context` stands for what else does
    (summary, metadata), and `also_said` are its words. `temperature`, `max_tokens`, `options`: what the request itself asks for.
    """
    if not app.cache.is_on:
        return None
    policy = CachePolicy.of(chatbot.cache_policy)
    mode = narrowed(policy.mode, asked)
    if mode == "off" or not question or len(question) > _QUESTION_CHARS_AT_MOST:
        return None
    if options and not _SHAPING.issuperset(options):
        return None
    scope = AnswerScope(
        tenant_id=chatbot.tenant_id,
        chatbot_id=chatbot.id,
        revision=chatbot.revision,
        knowledge_version=chatbot.knowledge_version,
        chain=_chain(app, chatbot),
        options_digest=digest(
            (
                surface,
                *_settings(app.settings),
                *_asked(temperature, max_tokens, options),
                *_rules(chatbot),
                *_instructions(history),
            )
        ),
    )
    # A bare chatbot behind /v1 is a gateway: a vector for each prompt would cost it more than all the rest.
    by_meaning = policy.semantic and (
        surface == "chat" or policy.semantic_named or chatbot.policy is not None or bool(chatbot.system_prompt)
    )
    before = context_digest([(turn.role, turn.content) for turn in history], more_context)
    return CachePlan(
        chatbot=chatbot,
        mode=mode,
        policy=policy,
        scope=scope,
        question=question,
        context_digest=before,
        history=history,
        first_turn=not more_context and not any(turn.role != "system" for turn in history),
        also_said=also_said,
        by_meaning=by_meaning and not options,
        # Its language hangs on the question alone, which is in the key as it stands.
        key=exact_key(scope, None, normalise(question), before),
        surface=surface,
        visitor_id=visitor_id,
        conversation_id=conversation_id,
        message_id=message_id,
        import_id=import_id,
    )


def asked_mode(metadata: Mapping[str, Any]) -> CacheMode | None:
    """The mode that a message's sender asked for; what is no mode asks for none."""
    word = metadata.get(ASKED)
    return MODES.get(word) if isinstance(word, str) else None


async def find_exact(app: Services, plan: CachePlan | None, *, left_s: float) -> CachedAnswer | Flight | None:
    """The answer kept for this very question, or the flight that is to be landed, parted or failed; None where neither is
    to be had. Waits for an equal question's answer at most `cache_wait_s`, and half of the `left_s` that this one has.
    """
    if plan is None:
        return None
    tenant_id, chatbot_id = plan.chatbot.tenant_id, plan.chatbot.id
    if not plan.reads:
        return app.cache.ready(tenant_id, chatbot_id, plan.key, await app.cache.epoch(tenant_id, chatbot_id))
    found = await app.cache.find(
        tenant_id,
        chatbot_id,
        plan.key,
        lead=plan.keeps and app.settings.cache_wait_s > 0,
        wait_s=max(0.0, min(app.settings.cache_wait_s, left_s / 2)),
        token=plan.message_id,
    )
    return found if plan.keeps or isinstance(found, CachedAnswer) else None


def guarded(plan: CachePlan | None, flight: Flight | None) -> CachePlan | None:
    """The plan with what personal data leave of it; whoever waits for the flight goes on alone then.

    None where the question itself may hold such data. Where only what was said before it does, its answer is not kept, for
    it may lean on that; a question that stands alone may still be answered by what others were told.
    """
    if plan is None:
        return None
    if personal(plan.question):
        guarded_plan = None
    else:
        said = [*plan.also_said, *(turn.content for turn in plan.history if turn.role != "system")]
        if sum(map(len, said)) <= _READ_CHARS_AT_MOST and not any(personal(text) for text in said):
            return plan
        guarded_plan = replace(plan, mode="read") if plan.reads else None
    if flight is not None:
        flight.part()
    return guarded_plan


def stands_alone(plan: CachePlan) -> bool:
    """Whether the question may be answered by what was answered to another one of the same meaning."""
    return plan.by_meaning and standalone(plan.question, first_turn=plan.first_turn) and not time_bound(plan.question)


def keep(plan: CachePlan, flight: Flight | None, made: Made) -> CachedAnswer | None:
    """Keep an answer for the next one who asks, and give it to those who wait for it. None: it is not one to be kept; who
    waits goes on alone. Waits for nothing."""
    entry = _entry(plan, made)
    if entry is None or flight is None or flight.ended:
        if flight is not None:
            flight.part()
        return None if made.degraded else entry
    flight.land(entry, min(plan.ttl_s, DEGRADED_TTL_S) if made.degraded else plan.ttl_s)
    return None if made.degraded else entry


def note_hit(app: Services, plan: CachePlan, entry: CachedAnswer, result: CacheResult) -> None:
    """A row in the books with what was saved, and the counts. Waits for nothing."""
    app.ledger.hit(
        CacheHit(
            id=CallId(new_id()),
            tenant_id=plan.chatbot.tenant_id,
            provider=entry.provider,
            model=entry.model,
            saved_nano=entry.cost_nano or 0,
            chatbot_id=plan.chatbot.id,
            conversation_id=plan.conversation_id,
            message_id=plan.message_id,
            visitor_id=plan.visitor_id,
            import_id=plan.import_id,
            price_book=app.catalogue.revision,
        )
    )
    app.metrics.cache_requests.labels(result).inc()
    app.metrics.cache_hits.labels(app.metrics.tenant(plan.chatbot.tenant_id)).inc()


def note_no_hit(app: Services, plan: CachePlan | None) -> CacheResult:
    """Count a question that no cache answered; returns what its answer says of it."""
    result: CacheResult = "bypass" if plan is None or not plan.reads else "miss"
    app.metrics.cache_requests.labels(result).inc()
    return result


def pieces(text: str) -> list[str]:
    """A kept answer in the pieces in which it is streamed: a few words each, and not too many of them. Joined they are
    `text`."""
    words = _PIECE.findall(text)
    size = max(_WORDS_A_PIECE, -(-len(words) // _PIECES_AT_MOST))
    cut = ["".join(words[start : start + size]) for start in range(0, len(words), size)]
    rest = text[sum(map(len, cut)) :]
    if rest:
        cut[-1:] = [*cut[-1:], rest] if not cut else [cut[-1] + rest]
    return cut


def _entry(plan: CachePlan, made: Made) -> CachedAnswer | None:
    if made.finish is not Finish.STOP or not made.text.strip() or made.abstained or not plan.keeps:
        return None
    if _tells_private(plan.chatbot, made):
        return None
    return CachedAnswer(
        text=made.text,
        provider=made.provider,
        model=made.model,
        finish=made.finish,
        usage=made.usage,
        cost_nano=made.cost_nano,
        sources=tuple(made.sources),
        confidence=made.confidence,
        grounding=made.grounding,
        question=plan.question,
        answer_id=made.answer_id,
        # All that the model read, not only what it cites: a poisoned passage shows in answers that do not name it.
        document_ids=tuple(dict.fromkeys(source.document_id for source in (*made.given, *made.sources))),
        revision=plan.scope.revision,
        knowledge_version=plan.scope.knowledge_version,
        created_at=time.time(),
        reading=made.reading,
        suggestions=tuple(made.suggestions),
    )


def _tells_private(chatbot: Chatbot, made: Made) -> bool:
    """Whether the answer holds personal data that does not stand in what every visitor is told: a shop's own address in
    its sources or its prompt is no secret."""
    texts = (source.text or source.quote for source in made.given)
    greetings = Persona.of(chatbot.persona).greetings.values()
    told = (chatbot.system_prompt, chatbot.personality, chatbot.greeting, *greetings, *texts)
    return personal(made.text, known="\n".join(told))


def _chain(app: Services, chatbot: Chatbot) -> tuple[str, ...]:
    """The models that may answer, in order, each with where it is: the platform's own address and default model change
    without the chatbot's revision."""
    links: list[str] = []
    for link in chatbot.providers:
        platform = app.platform_providers.get(link.provider)
        model = link.model or (platform.default_model if platform else "")
        address = link.base_url or (platform.base_url if platform else "")
        links.append(f"{link.provider}/{model} {address} {link.key_id or ''}")
    return tuple(links)


def _rules(chatbot: Chatbot) -> list[bytes]:
    """What the guard holds it to. A tenant's new rules and the revision that they raise reach a process apart from each
    other: an answer given in between must not be taken for one under the new rules."""
    return [msgspec.json.encode(chatbot.guard_policy, order="deterministic")] if chatbot.guard_policy else []


def _instructions(history: Sequence[Turn]) -> list[str]:
    """A caller's own system messages: they shape every answer, also one that is found by its meaning."""
    return [turn.content for turn in history if turn.role not in ("user", "assistant")]


def _settings(settings: PipelineSettings) -> tuple[str, ...]:
    """The platform's settings that shape an answer."""
    return (
        str(settings.room_tokens),
        str(settings.knowledge_top_k),
        str(settings.relevance_threshold),
        str(settings.context_messages),
    )


def _asked(
    temperature: float | None, max_tokens: int | None, options: Mapping[str, Any] | None
) -> tuple[str | bytes, ...]:
    shaped = msgspec.json.encode(options, order="deterministic") if options else b""
    return (repr(temperature), repr(max_tokens), shaped)
