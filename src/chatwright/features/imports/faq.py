"""Questions of imported conversations that agents answered, as a draft of a FAQ: picked, grouped, ranked. Pure.

A draft is for somebody to read: nothing of it answers anybody before it was added to a knowledge base.
"""

import re
from collections.abc import Callable

import msgspec

from chatwright.domain.language import content_words

Personal = Callable[[str], bool]
"""Whether a text has personal data in it."""

QUESTION_CHARS = (12, 300)
ANSWER_CHARS = (40, 2_000)
_WORDS_AT_LEAST = 2
_ASKING = re.compile(
    r"^\W*(?:how|what|where|when|why|which|who|can|could|do|does|is|are|will|would|may|wie|was|wo|wann|warum|kann|gibt|"
    r"comment|où|quand|pourquoi|puis|cómo|qué|dónde|cuándo)\b",
    re.IGNORECASE,
)
_CLOSED = re.compile(
    r"\b(?:order|ticket|case|invoice|parcel)\s{0,8}(?:no\.?|number|#|nr\.?)?\s{0,8}:?\s{0,8}\w*\d{3,}|\d{5,}",
    re.IGNORECASE,
)
"""About one matter of one visitor: its answer is nobody else's. The spaces are bounded: three runs without a bound take
a minute for an answer of two thousand spaces."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An entry to be reviewed. `asked`: how many messages asked it in these words or the like; the answer is the longest of
    theirs. `message_id` and `conversation_id` say where that stands."""

    question: str
    answer: str
    asked: int
    conversation_id: str
    message_id: str


class Drafter:
    """Takes exchanges one after another and keeps the `at_most` most asked questions, or some more meanwhile."""

    def __init__(self, *, is_personal: Personal, at_most: int) -> None:
        self._is_personal = is_personal
        self._at_most = at_most
        self._found: dict[frozenset[str], Draft] = {}

    def add(self, question: str, answer: str, *, conversation_id: str, message_id: str) -> None:
        key = self._key(question, answer)
        if key is None:
            return
        known = self._found.get(key)
        new = Draft(
            question=" ".join(question.split()),
            answer=answer.strip(),
            asked=1,
            conversation_id=conversation_id,
            message_id=message_id,
        )
        if known is None:
            if len(self._found) >= 20 * self._at_most:
                self._found = {kept: one for kept, one in self._found.items() if one.asked > 1}
            self._found[key] = new
        else:
            better = new if len(new.answer) > len(known.answer) else known
            self._found[key] = msgspec.structs.replace(better, asked=known.asked + 1)

    def drafts(self) -> list[Draft]:
        """The most asked first; of equals the one with the longer answer."""
        ranked = sorted(self._found.values(), key=lambda one: (-one.asked, -len(one.answer), one.message_id))
        return ranked[: self._at_most]

    def _key(self, question: str, answer: str) -> frozenset[str] | None:
        """The words that tell a question; None for an exchange that is no FAQ."""
        asked, said = question.strip(), answer.strip()
        if not (
            QUESTION_CHARS[0] <= len(asked) <= QUESTION_CHARS[1] and ANSWER_CHARS[0] <= len(said) <= ANSWER_CHARS[1]
        ):
            return None
        if not (asked.endswith(("?", "？")) or _ASKING.match(asked)) or said.endswith("?"):
            return None
        words = frozenset(content_words(asked))
        if len(words) < _WORDS_AT_LEAST or _CLOSED.search(asked) or _CLOSED.search(said):
            return None
        return None if self._is_personal(asked) or self._is_personal(said) else words


def to_markdown(drafts: list[Draft], *, title: str) -> str:
    """The drafts as a page that can be edited, then added to a knowledge base."""
    entries = [
        f"## {one.question}\n\n{one.answer}\n\n<!-- asked {one.asked}×, conversation {one.conversation_id} -->\n"
        for one in drafts
    ]
    return "\n".join([f"# {title}\n", *entries])
