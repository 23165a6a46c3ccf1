"""What stands beside an answer's sources -> questions that the knowledge base can answer. Pure.

A question of an FAQ is asked as it stands there. A heading is asked for in words that no search counts, so that what is
searched for is the heading alone: the passages under it are then found by their own words.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from chatwright.domain.detection import detect_language
from chatwright.domain.language import content_words
from chatwright.features.suggestions.policy import MOST_LABEL_CHARS, MOST_REPLY_CHARS, Action

SAME = 0.6
"""Shared content words over all content words of two questions, from which on the second asks nothing new."""
LEAST_LIKENESS = 0.15
_QUESTION_BONUS = 0.1
_FOLLOWING_BONUS = 0.02
_MOST_HEADING_WORDS = 8
_SEPARATOR = " › "
_ASK_FOR = {"en": "Tell me more about {}.", "de": "Wie ist das mit {}?"}
"""Every word of them is a stop word. In other languages the heading itself is asked."""
_NUMBERING = re.compile(
    r"\W*(?:(?:step|schritt|chapter|section|part|kapitel|teil)\s+\d+[.):]?|\d+(?:\.\d+)*[.)]|\d+(?:\.\d+)+|[ivx]+[.)])(?:\s+|\Z)",
    re.IGNORECASE,
)
_UNSPOKEN = re.compile(r"[{}<>=\\|`$#@_~^]|/[\w{]|\w\(|::|https?:|www\.")
_MARKS = re.compile(r"[*`]+")
_HOLLOW = frozenset(
    content_words(
        "introduction overview contents content faq faqs general summary conclusion appendix notes note example examples "
        "table page home index references reference misc miscellaneous other others more questions question answers "
        "answer frequently asked details information about help welcome getting started changelog license contact "
        "einleitung überblick übersicht inhalt allgemein allgemeines zusammenfassung fazit anhang hinweise hinweis "
        "beispiel beispiele tabelle seite sonstiges fragen frage antworten antwort häufige introducción resumen índice "
        "introduction sommaire résumé conclusion annexe"
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A heading, or a question of an FAQ, near a source. `heading` is the whole path. `likeness` to the source is in
    -1..1, `follows` says that it stands behind it."""

    heading: str
    question: str | None
    language: str | None
    likeness: float
    follows: bool


def follow_ups(topics: Iterable[Topic], *, language: str | None, headings: bool = True) -> list[Action]:
    """Replies that ask for the topics, the likeliest first, none twice.

    `language`: that of the visitor's question; a topic that is known to be in another one is left out. `headings`: whether
    a heading that is asked for word by word is found (`KEYWORD_FLOOR` reaches the threshold).
    """
    ranked = sorted(topics, key=lambda topic: -_worth(topic))
    found: list[Action] = []
    said: list[frozenset[str]] = []
    for topic in ranked:
        action = _asked(topic, language, headings=headings)
        if action is None or topic.likeness < LEAST_LIKENESS:
            continue
        words = stems(action.value)
        if not any(alike(words, other) for other in said):
            said.append(words)
            found.append(action)
    return found


def unasked(actions: Iterable[Action], said: Sequence[str]) -> list[Action]:
    """The actions but for replies that ask what was said already. `said`: visitors' texts."""
    heard = [stems(text) for text in said]
    return [
        action
        for action in actions
        if action.kind != "reply" or not any(alike(stems(action.value), words) for words in heard)
    ]


def stems(text: str) -> frozenset[str]:
    return frozenset(content_words(text)) or frozenset(text.casefold().split())


def alike(one: Collection[str], other: Collection[str]) -> bool:
    """Whether two questions, as sets of stems, ask the same."""
    mine, theirs = frozenset(one), frozenset(other)
    return len(mine & theirs) >= SAME * len(mine | theirs)


def label_of(text: str) -> str:
    """`text` on one line of at most 60 characters, cut at a word."""
    line = " ".join(_MARKS.sub("", text).split())
    if len(line) <= MOST_LABEL_CHARS:
        return line
    cut = line[: MOST_LABEL_CHARS - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[MOST_LABEL_CHARS // 2 :] else cut).rstrip(" ,;:-") + "…"


def _worth(topic: Topic) -> float:
    bonus = _QUESTION_BONUS if topic.question or topic.heading.rstrip().endswith("?") else 0.0
    return topic.likeness + bonus + (_FOLLOWING_BONUS if topic.follows else 0.0)


def _asked(topic: Topic, language: str | None, *, headings: bool) -> Action | None:
    if topic.language is not None and language is not None and topic.language != language:
        return None
    if topic.question:
        question = " ".join(topic.question.split())
        if not _is_sayable(question, MOST_REPLY_CHARS) or not content_words(question):
            return None
        return Action(label=label_of(question), kind="reply", value=question)
    heading = _NUMBERING.sub("", topic.heading.rsplit(_SEPARATOR, 1)[-1].strip()).strip()
    words = frozenset(content_words(heading))
    if not headings or not words or words <= _HOLLOW or not _is_sayable(heading, MOST_LABEL_CHARS):
        return None
    if len(heading.split()) > _MOST_HEADING_WORDS or not any(letter.isalpha() for letter in heading):
        return None
    if heading.endswith("?"):
        return Action(label=heading, kind="reply", value=heading)
    template = _ASK_FOR.get(topic.language or language or detect_language(heading) or "", "{}")
    return Action(label=heading, kind="reply", value=template.format(heading))


def _is_sayable(text: str, at_most: int) -> bool:
    """Whether a visitor could say it: one printable line of words, no code, no address."""
    return 0 < len(text) <= at_most and text.isprintable() and _UNSPOKEN.search(text) is None
