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
from chatwright.features.guard.output import Hit, OutputFilter, term_mask
from chatwright.features.guard.policy import GuardPolicy
from chatwright.features.prompting import Persona
from chatwright.pipeline.hold_back import PassThrough
from chatwright.pipeline.targets import EXTRACTIVE

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


class Window:
    """The windows of one answer as one: whole characters first, then what they spell, then what of it may be said.

    A `pipeline.hold_back.HoldBack`; `stopped` and `hits` are its filter's.
    """

    def __init__(self, outgoing: grounding.Outgoing | None, filtered: OutputFilter | None) -> None:
        self._characters = PassThrough()
        self._outgoing = outgoing
        self._filter = filtered

    @property
    def stopped(self) -> bool:
        return self._filter is not None and self._filter.stopped

    @property
    def hits(self) -> tuple[Hit, ...]:
        return () if self._filter is None else self._filter.hits

    @property
    def replacement(self) -> str | None:
        """What takes the place of the whole answer, None where what went out stays."""
        found = self._filter
        return found.ending if found is not None and found.stopped and found.replaces else None

    def feed(self, text: str) -> str:
        text = self._characters.feed(text)
        if self._outgoing is not None:
            text = self._outgoing.feed(text)
        return text if self._filter is None else self._filter.feed(text)

    def finish(self) -> str:
        rest = self._characters.finish()
        if self._outgoing is not None:
            rest = self._outgoing.feed(rest) + self._outgoing.finish()
        return rest if self._filter is None else self._filter.feed(rest) + self._filter.finish()


def window(chatbot: Chatbot, sources: Sequence[Source], filtered: OutputFilter | None = None) -> Window | None:
    """The hold-back window for one answer, None where nothing retrieved can have shaped it and nothing is looked for.

    Without sources it stays for chatbots with knowledge: what an earlier answer repeated from a document is still in
    the conversation.
    """
    outgoing = None
    if sources or (chatbot.knowledge_base_id is not None and chatbot.knowledge_enabled):
        outgoing = grounding.Outgoing(sources=len(sources), hosts=_hosts(chatbot, sources))
    return None if outgoing is None and filtered is None else Window(outgoing, filtered)


def shown(chatbot: Chatbot, sources: Sequence[Source], more_terms: Sequence[str] = ()) -> tuple[Source, ...]:
    """Sources as visitors get them: what is quoted of them has no more power than the answer's own text, and holds no
    banned term, the chatbot's or the tenant's (`more_terms`)."""
    hosts = _hosts(chatbot, sources)
    mask = term_mask(GuardPolicy.of(chatbot.guard_policy), more_terms, chatbot.languages)

    def mended(text: str) -> str:
        outgoing = grounding.Outgoing(sources=_ALL_CITATIONS, hosts=hosts)
        text = outgoing.feed(text) + outgoing.finish()
        return text if mask is None else mask(text)

    return tuple(replace(source, title=mended(source.title), quote=mended(source.quote), text="") for source in sources)


def _hosts(chatbot: Chatbot, sources: Sequence[Source]) -> frozenset[str]:
    """The hosts that an answer may link to."""
    return grounding.known_hosts(
        [*(source.url for source in sources), *chatbot.allowed_origins],
        (
            chatbot.system_prompt,
            chatbot.personality,
            chatbot.greeting,
            *Persona.of(chatbot.persona).greetings.values(),
            chatbot.no_answer_text,
            chatbot.apology_text,
        ),
        GuardPolicy.of(chatbot.guard_policy).link_hosts,
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
