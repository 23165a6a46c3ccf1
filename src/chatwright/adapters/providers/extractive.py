"""The provider without a model: it answers by quoting the best sentences of the prompt's sources, with citations.

It invents nothing: every sentence of an answer stands in a source (`quoting` chooses them), but for fixed words of
greeting. Costs nothing, needs no network, never fails.
"""

import re
from collections.abc import AsyncGenerator, Sequence

from chatwright.adapters.providers.base import Embeddings, EmbeddingTask, join
from chatwright.adapters.providers.extractive_passages import WIDE
from chatwright.adapters.providers.quoting import compose, select
from chatwright.domain.errors import ProviderError
from chatwright.domain.language import words
from chatwright.domain.providers import Completion, Delta, Finish, Prompt, Route, Usage

MODEL = "extractive"
WORDS_PER_DELTA = 4
# A word with the space before it, or two characters of a script without spaces.
_PIECE = re.compile(rf"\s*(?:{WIDE}{{1,2}}|(?:(?!{WIDE})\S)+)")

_HELLO = "Hello! I answer from this chatbot's knowledge base and show my sources. What would you like to know?"
_THANKS = "You're welcome! If anything else comes up, just ask."
_BYE = "Goodbye! Come back whenever you have a question."
_ABOUT = (
    "I answer questions by quoting the documents of this chatbot's knowledge base, with a link to each source. "
    "Ask in your own words; when the documents don't say it, I tell you so."
)
_SMALL_TALK: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset(["thank", "thanks", "thx", "cheers", "danke", "merci", "gracias"]), _THANKS),
    (frozenset(["bye", "goodbye", "tschüss", "ciao"]), _BYE),
    (frozenset(["hi", "hello", "hey", "hallo", "moin", "servus", "hola", "greetings", "howdy"]), _HELLO),
)
_SMALL_WORDS = frozenset(
    {"a", "again", "all", "and", "day", "everybody", "everyone", "for", "good", "great", "have", "help", "lot", "much"}
    | {"my", "nice", "ok", "okay", "see", "so", "that", "the", "there", "very", "viel", "vielen", "well", "you", "your"}
)
_SMALL_TALK_WORDS = _SMALL_WORDS.union(*(triggers for triggers, _ in _SMALL_TALK))
_GREETINGS = frozenset({"good morning", "good afternoon", "good evening", "guten tag", "guten morgen", "guten abend"})
_ABOUT_ME = frozenset(
    {"who are you", "what are you", "what can you do", "what can you help with", "what can you help me with", "help"}
    | {
        "how can you help",
        "how can you help me",
        "can you help me",
        "are you a bot",
        "are you human",
        "are you a robot",
        "how are you",
        "how are you doing",
        "how's it going",
        "what's your name",
        "what is your name",
        "wer bist du",
        "was bist du",
        "was kannst du",
        "bist du ein bot",
        "wie geht es dir",
        "wie geht's",
        "wie heißt du",
    }
)


class Extractive:
    """A `WireFormat` that reads the prompt's `question` and `sources` and calls nobody."""

    async def stream(self, route: Route, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """Yield the answer in groups of a few words, without pauses. Never raises."""
        del route
        text = answer(prompt)
        pieces = _PIECE.findall(text)
        finish = Finish.STOP
        if prompt.max_tokens is not None and len(pieces) > max(1, prompt.max_tokens):
            pieces, finish = pieces[: max(1, prompt.max_tokens)], Finish.LENGTH
        for at in range(0, len(pieces), WORDS_PER_DELTA):
            yield Delta(text="".join(pieces[at : at + WORDS_PER_DELTA]), model=MODEL if at == 0 else None)
        asked = sum(len(turn.content.split()) for turn in prompt.turns)
        yield Delta(finish=finish, usage=Usage(input_tokens=asked, output_tokens=len(pieces)), model=MODEL)

    async def complete(self, route: Route, prompt: Prompt) -> Completion:
        return join([delta async for delta in self.stream(route, prompt)])

    async def embed(
        self, route: Route, texts: Sequence[str], *, dimensions: int | None = None, task: EmbeddingTask | None = None
    ) -> Embeddings:
        """Always raises ProviderError: vectors come from the local embedder."""
        del route, texts, dimensions, task
        raise ProviderError("The extractive provider makes no embeddings.", retriable=False)


def answer(prompt: Prompt) -> str:
    """The whole answer: small talk, quotes with citations, or the prompt's `no_answer_text`."""
    if reply := small_talk(prompt.question):
        return reply
    return compose(select(prompt.question, prompt.sources)) or prompt.no_answer_text


def small_talk(text: str) -> str:
    """A reply to a mere greeting, thanks or goodbye, and to "what can you do?"; empty for anything else."""
    said = words(text)[:13]
    phrase = " ".join(said)
    if phrase in _ABOUT_ME:
        return _ABOUT
    if phrase in _GREETINGS:
        return _HELLO
    if not said or len(said) > 6:
        return ""
    for triggers, reply in _SMALL_TALK:
        if not triggers.isdisjoint(said) and all(word in _SMALL_TALK_WORDS for word in said):
            return reply
    return ""
