"""What one cached answer is the answer to. Pure.

A key is a digest over everything that shapes an answer, written so that no two different lists of parts can run
together. Made by `pipeline/caching.py`, which says what the parts are.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

_DIGEST_BYTES = 16
_SPACES = re.compile(r"\s+")
_PRONOUN = re.compile(r"(?<![\w'.&-])I(?=$| |'(?:m|ve|d|ll)\b)")
"""Many never write it as a capital."""
_VERBATIM = re.compile(r"[\n\r\t`\"“”„«»<>{}=\\|]| '|' | ‘|’ ")
"""What quotes, markup or code can stand in: there every character counts."""


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ASKS = _listed(
    "what what's whats who who's whose whom which where where's when why how how's is are am was were do does did can could "
    "will would shall should may might must has have had isn't aren't don't doesn't didn't can't couldn't won't "
    "was wer wie wo wann warum wieso weshalb welche welcher welches wieviel kann kannst können könnt darf muss gibt ist "
    "sind hat habt haben qué quién cómo dónde cuándo cuánto cuál comment combien pourquoi quand où quel quelle est-ce "
    "come dove quando quanto perché chi cosa quale onde quem qual quais hoe waar wanneer waarom welke"
)
_SENTENCE_ENDS = (". ", "? ", "! ")


def digest(parts: Iterable[str | bytes]) -> bytes:
    """16 bytes over a list of parts; each is preceded by its length, so that ("ab", "c") is not ("a", "bc")."""
    taken = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        taken.update(len(raw).to_bytes(4, "big"))
        taken.update(raw)
    return taken.digest()


def normalise(question: str) -> str:
    """The question without what no answer can depend on: runs of spaces, a capital at its beginning, that of "I", the mark behind it
    where its first word asks already. Other capitals stay ("US" is not "us"), and so does all of a text with quotes,
    markup, code or several lines in it.
    """
    text = unicodedata.normalize("NFC", question.strip())
    if _VERBATIM.search(text):
        return text
    text = _SPACES.sub(" ", text).replace("’", "'")
    if not text:
        return text
    first, space, rest = text.partition(" ")
    # "How" and "Hallo" are the same without their capital; "IBAN", "iPhone" and "A" are not.
    if first[0].isupper() and first[1:2].islower() and first[1:] == first[1:].lower():
        first = first.lower()
    text = _PRONOUN.sub("i", first + space + rest)
    if first.rstrip("?,!.").lower() in _ASKS and not any(end in text for end in _SENTENCE_ENDS):
        text = text.rstrip("?. ")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerScope:
    """Everything but question and context that an answer depends on: whose it is, and how it was made.

    `chain` names the providers and models in order, with their addresses; `options_digest` stands for what the request
    itself asked for (temperature, length, format) and for the platform's own settings.
    """

    tenant_id: str
    chatbot_id: str
    revision: int
    knowledge_version: int
    chain: tuple[str, ...]
    options_digest: bytes
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        made = digest(
            (
                self.tenant_id,
                self.chatbot_id,
                str(self.revision),
                str(self.knowledge_version),
                str(len(self.chain)),
                *self.chain,
                self.options_digest,
            )
        )
        object.__setattr__(self, "digest", made)


def exact_key(scope: AnswerScope, language: str | None, question: str, context_digest: bytes) -> str:
    """The exact tier's key (32 hex digits) of a normalised question asked after a context."""
    return digest((scope.digest, language or "", question, context_digest)).hex()


def context_digest(turns: Iterable[tuple[str, str]], *more: bytes) -> bytes:
    """A digest over (role, text) of the turns before a question, whole; `more` for what else goes into its prompt."""
    return digest([*(part for turn in turns for part in turn), b"", *more])
