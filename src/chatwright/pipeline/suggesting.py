"""What a visitor is offered to do next, once an answer is whole. Called by `pipeline/answer.py` before it ends a message.

Follow-up questions and links come from the answer's sources and are kept with the answer by the caches: whoever is given it
again is offered what was found then, without what he asked already. An answer never fails, and hardly waits, for them.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import ChatwrightError
from chatwright.domain.language import content_words
from chatwright.domain.providers import Source, Turn
from chatwright.domain.reading import Reading
from chatwright.features import prompting, suggestions
from chatwright.features.guard.output import term_mask
from chatwright.features.guard.policy import GuardPolicy
from chatwright.features.knowledge.ranking import KEYWORD_FLOOR
from chatwright.features.suggestions import Action, Occasion, SuggestionPolicy
from chatwright.pipeline.grounding import shown
from chatwright.pipeline.knowledge import threshold_of
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
_PATIENCE_S = 0.5
_MOST_KEPT = 6
# Without any of these no construct of Markdown and no address begins.
_MARKED = re.compile(r"[`\[\]<>&/\\:~{}【】!]|www", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """`actions` go out with the answer. `kept` is what the caches keep beside it: all that its sources offered, which hangs
    on no conversation."""

    actions: tuple[dict[str, Any], ...] = ()
    kept: tuple[dict[str, str], ...] = ()


NOTHING = Suggested()


async def suggest(
    app: Services,
    chatbot: Chatbot,
    *,
    question: str,
    history: Sequence[Turn],
    sources: Sequence[Source],
    text: str,
    reading: Reading | None,
    abstained: bool = False,
    more_terms: Sequence[str] = (),
) -> Suggested:
    """What goes with a new answer. `sources` are all that it was given, with their texts; `text` is the answer as it was
    shown; `abstained`: nobody was asked, because nothing is known. `more_terms`: the tenant's own banned terms. One statement
    where there are sources, none without. Raises nothing but CancelledError."""
    policy = SuggestionPolicy.of(chatbot.suggestion_policy)
    if not policy.is_on:
        return NOTHING
    occasion = _occasion(chatbot, question, history, text, reading, abstained=abstained)
    found: list[Action] = []
    if sources and not occasion.abstained:
        cited = [source for source in sources if f"[{source.n}]" in text]
        replies = await _replies(app, chatbot, sources, cited or sources, occasion) if "reply" in policy.kinds else []
        trusted = [source for source in cited if not source.suspicious]
        links = _links(trusted, question, text) if "link" in policy.kinds else []
        found = _harmless(chatbot, sources, [*replies[:_MOST_KEPT], *links[:2]])
    return Suggested(
        actions=_chosen(chatbot, policy, occasion, found, more_terms), kept=tuple(action.shown for action in found)
    )


def suggest_again(
    chatbot: Chatbot,
    *,
    question: str,
    history: Sequence[Turn],
    text: str,
    reading: Reading | None,
    kept: Sequence[dict[str, str]],
    more_terms: Sequence[str] = (),
) -> tuple[dict[str, Any], ...]:
    """What goes with an answer that a cache gave: of what was `kept` with it, what is new in this conversation."""
    policy = SuggestionPolicy.of(chatbot.suggestion_policy)
    if not policy.is_on:
        return ()
    found = [
        Action(label=action["label"], kind="link" if action["kind"] == "link" else "reply", value=action["value"])
        for action in kept
        if action.keys() >= {"label", "kind", "value"}
    ]
    occasion = _occasion(chatbot, question, history, text, reading, abstained=False)
    return _chosen(chatbot, policy, occasion, found, more_terms)


def _occasion(
    chatbot: Chatbot, question: str, history: Sequence[Turn], text: str, reading: Reading | None, *, abstained: bool
) -> Occasion:
    def is_abstention(answer: str) -> bool:
        return prompting.says_no_answer(answer, chatbot.no_answer_text) or suggestions.knows_nothing(answer)

    before = next((turn.content for turn in reversed(history) if turn.role == "assistant"), "")
    return Occasion(
        said=[*(turn.content for turn in history if turn.role == "user"), question],
        language=prompting.Persona.of(chatbot.persona).reply_language(question),
        intent=None if reading is None else reading.intent,
        custom_intent=None if reading is None else reading.custom_intent,
        abstained=abstained or is_abstention(text),
        abstained_before=bool(before) and is_abstention(before),
    )


def _chosen(
    chatbot: Chatbot, policy: SuggestionPolicy, occasion: Occasion, found: Sequence[Action], more_terms: Sequence[str]
) -> tuple[dict[str, Any], ...]:
    mask = term_mask(GuardPolicy.of(chatbot.guard_policy), more_terms, chatbot.languages)
    if mask is not None:
        found = [
            action for action in found if mask(action.label) == action.label and mask(action.value) == action.value
        ]
    chosen = suggestions.choose(
        policy,
        occasion,
        replies=[action for action in found if action.kind == "reply"],
        links=[action for action in found if action.kind == "link"],
        openings=chatbot.suggested_questions,
    )
    return tuple(action.shown for action in chosen)


async def _replies(
    app: Services, chatbot: Chatbot, sources: Sequence[Source], cited: Sequence[Source], occasion: Occasion
) -> list[Action]:
    """Questions that stand beside the cited passages, or over those that were found and not needed."""
    numbers = {source.n for source in cited}
    try:
        async with asyncio.timeout(_PATIENCE_S), app.db.transaction(chatbot.scope) as db:
            topics = await suggestions.find_topics(
                db,
                chatbot.scope,
                document_ids=[source.document_id for source in sources],
                cited=[source.text for source in cited],
                uncited=[source.text for source in sources if source.n not in numbers],
            )
    except (ChatwrightError, TimeoutError) as error:
        _log.warning("suggestions.not_found", error=str(error))
        return []
    headings = threshold_of(app, chatbot) <= KEYWORD_FLOOR
    return suggestions.follow_ups(topics, language=occasion.language, headings=headings)


def _links(cited: Sequence[Source], question: str, text: str) -> list[Action]:
    """Links of the cited sources: first those in a passage that the answer speaks of, then a source's own address, under
    its heading; under its document's title where the heading says what was asked."""
    spoken = frozenset(content_words(text))
    found: list[Action] = []
    for source in cited:
        for words, address in suggestions.links_in(source.text):
            named = frozenset(content_words(words))
            if address in text or (named and named <= spoken):
                found.append(_link(words, address))
    asked = suggestions.stems(question)
    for source in cited:
        if source.url and suggestions.is_address(source.url):
            document, *headings = source.title.split(" › ")
            heading = headings[-1] if headings else document
            found.append(
                _link(document if suggestions.alike(suggestions.stems(heading), asked) else heading, source.url)
            )
    return found


def _link(words: str, address: str) -> Action:
    return Action(label=suggestions.label_of(words) or address[:60], kind="link", value=address)


def _site(url: str | None) -> bool:
    return url is not None and suggestions.is_web_address(url)


def _harmless(chatbot: Chatbot, sources: Sequence[Source], actions: Sequence[Action]) -> list[Action]:
    """The actions that the answer's own window lets out as they are. What a document says may be hostile: its addresses
    lead to known hosts only, and no label is more than words."""
    doubtful = [action for action in actions if _MARKED.search(f"{action.label} {action.value}")]
    if not doubtful:
        return list(actions)
    # One bare source for each site that they name: their hosts are known.
    hosts = [
        replace(sources[0], title="", quote="", url=url) for url in {source.url for source in sources} if _site(url)
    ]
    candidates = [replace(sources[0], title=action.label, quote=action.value, url=None) for action in doubtful]
    mended = shown(chatbot, [*hosts, *candidates])[len(hosts) :]
    hostile = {
        action
        for action, out in zip(doubtful, mended, strict=True)
        if (out.title, out.quote) != (action.label, action.value)
    }
    return [action for action in actions if action not in hostile]
