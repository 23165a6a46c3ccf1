"""What an answer owes its sources: whether one can be given at all, a window on its way out, a score once it is whole.

Used by `answer` and `inline`.
"""

from collections.abc import Sequence
from dataclasses import replace

from chatwright.adapters.providers.extractive import small_talk
from chatwright.adapters.providers.extractive_passages import length_of
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.providers import Source
from chatwright.domain.reading import Intent
from chatwright.features import analysis, grounding
from chatwright.pipeline.stream import HoldBack, PassThrough
from chatwright.pipeline.targets import EXTRACTIVE

LINK_HOSTS = "link_hosts"
"""In a chatbot's `guard_policy`: further hosts that its answers may link to ("pay.example.com", "*.example.com", "*")."""


_TALK: frozenset[Intent] = frozenset(
    ("greeting", "farewell", "thanks", "confirmation", "negation", "small_talk", "handoff", "complaint")
)
_WORDS_OF_TALK = 2
_QUESTION_MARKS = ("?", "\uff1f", "\u061f")  # also as wide characters and in Arabic
_ALL_CITATIONS = 99


def abstains(chatbot: Chatbot, question: str, sources: Sequence[Source]) -> bool:
    """Whether the answer is that the chatbot does not know, so that no model need be asked.

    True where it may answer from its sources only, has none, and was asked something: a model may still return a
    greeting, listen to a complaint, and read what is too short to tell.
    """
    if sources or chatbot.policy != "sources_only":
        return False
    if small_talk(question):
        return False
    intent = analysis.read(question).intent
    if any(mark in question for mark in _QUESTION_MARKS):
        return intent != "handoff"
    return intent not in _TALK and length_of(question) > _WORDS_OF_TALK


class _Windows:
    """Two windows as one: whole characters first, then what they spell."""

    def __init__(self, outgoing: grounding.Outgoing) -> None:
        self._characters = PassThrough()
        self._outgoing = outgoing

    def feed(self, text: str) -> str:
        return self._outgoing.feed(self._characters.feed(text))

    def finish(self) -> str:
        return self._outgoing.feed(self._characters.finish()) + self._outgoing.finish()


def window(chatbot: Chatbot, sources: Sequence[Source]) -> HoldBack | None:
    """The hold-back window for one answer, None where nothing retrieved can have shaped it.

    Without sources it stays for chatbots with knowledge: what an earlier answer repeated from a document is still in
    the conversation.
    """
    if not sources and (chatbot.knowledge_base_id is None or not chatbot.knowledge_enabled):
        return None
    return _Windows(grounding.Outgoing(sources=len(sources), hosts=_hosts(chatbot, sources)))


def shown(chatbot: Chatbot, sources: Sequence[Source]) -> tuple[Source, ...]:
    """Sources as visitors get them: what is quoted of them has no more power than the answer's own text."""
    hosts = _hosts(chatbot, sources)

    def mended(text: str) -> str:
        outgoing = grounding.Outgoing(sources=_ALL_CITATIONS, hosts=hosts)
        return outgoing.feed(text) + outgoing.finish()

    return tuple(replace(source, title=mended(source.title), quote=mended(source.quote), text="") for source in sources)


def _hosts(chatbot: Chatbot, sources: Sequence[Source]) -> frozenset[str]:
    """The hosts that an answer may link to."""
    named = chatbot.guard_policy.get(LINK_HOSTS, [])
    return grounding.known_hosts(
        [*(source.url for source in sources), *chatbot.allowed_origins],
        (chatbot.system_prompt, chatbot.personality, chatbot.greeting, chatbot.no_answer_text, chatbot.apology_text),
        [host for host in named if isinstance(host, str)] if isinstance(named, list) else [],
    )


def measure(text: str, sources: Sequence[Source], provider: str) -> tuple[float | None, float | None]:
    """(grounding, confidence) of an answer; None where words cannot tell.

    `sources` are all that the answer was given. What quotes stands in its source by making; a model is held against it.
    """
    cited = [source for source in sources if source.n in grounding.cited_numbers(text)]
    if provider == EXTRACTIVE:
        return (1.0, max(source.score for source in cited)) if cited else (None, None)
    support = grounding.support(text, sources)
    if support is None:
        return None, None
    return support, min(support, max(source.score for source in cited or sources))
