"""What a source is made of, for one that quotes it: sentences, list items, table rows, code. Pure; used by `quoting`."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from chatwright.domain.detection import common_words
from chatwright.domain.language import STOP_WORDS, detect_language, index_terms, split_sentences
from chatwright.domain.providers import Source
from chatwright.domain.terms import is_run, question_terms, word_terms

WIDE = r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af]"
"""A character of a script without spaces, as a pattern."""
_WIDE = re.compile(WIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A sentence, list item, table row or code block of a source, in its place.

    `lead`: index of the sentence that introduces a list, code block or table ("… the following:"), or None. `terms` are
    those that carry meaning, `words` how many of them are words; `length` counts words, a pair of CJK characters as one.
    """

    source: Source
    order: int
    kind: str  # prose | item | code | row
    text: str
    starts_block: bool = True
    lead: int | None = None
    terms: frozenset[str] = field(default=frozenset())
    words: int = 0
    length: int = 0


_ITEM = re.compile(r"\s*(?:[-*+•–]|\d{1,4}[.)])\s+(?=\S)")
_RELATIVE_LINK = re.compile(r"\[([^\[\]\n]{1,400})\]\((?!https?://)[^()\s]{0,1000}\)")
_RULE = re.compile(r"\|?[\s:|-]*-{2,}[\s:|-]*")


def language_of(sources: Sequence[Source]) -> str | None:
    """The language that most of the sources are in: question and sources are cut into terms by its rules."""
    found = Counter(filter(None, (detect_language(source.text or source.quote) for source in sources)))
    return found.most_common(1)[0][0] if found else None


def terms_of(text: str, language: str | None) -> frozenset[str]:
    """The terms of a text that carry meaning: stop words left out."""
    return frozenset(index_terms(text, language)) - _stop_terms(language)


def asked_terms(question: str, language: str | None) -> dict[str, float]:
    """The terms of a question that carry meaning, and how much each counts."""
    stop = _stop_terms(language)
    return {term: weight for term, weight in question_terms(question, language).items() if term not in stop}


@lru_cache(maxsize=32)
def _stop_terms(language: str | None) -> frozenset[str]:
    words = STOP_WORDS | common_words(language) if language not in (None, "en") else STOP_WORDS
    return frozenset(term for word in words for term in word_terms(word, language))


def length_of(text: str) -> int:
    """The length of a text in words; scripts without spaces count two characters as one."""
    return len(text.split()) + (0 if text.isascii() else len(_WIDE.findall(text)) // 2)


def passages_of(source: Source, language: str | None = None) -> list[Passage]:
    """The passages of one source in reading order; headings and rules of tables fall."""
    found: list[Passage] = []
    lead: int | None = None
    header: list[str] = []
    code: list[str] | None = None
    starts = True

    def add(kind: str, text: str, *, starts_block: bool = True) -> None:
        terms = terms_of(text, language)
        found.append(
            Passage(
                source=source,
                order=len(found),
                kind=kind,
                text=text,
                starts_block=starts_block,
                lead=lead if kind != "prose" else None,
                terms=terms,
                words=_count_words(terms),
                length=length_of(text),
            )
        )

    for line in (source.text or source.quote).split("\n"):
        stripped = line.strip()
        if code is not None:
            code.append(line)
            if stripped.startswith("```"):
                add("code", "\n".join(code))
                code = None
        elif stripped.startswith("```"):
            code = [stripped]
        elif not stripped:
            starts, header = True, []
        elif stripped.startswith("|"):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", stripped.strip("|"))]
            if _RULE.fullmatch(stripped):
                continue
            if not header:
                header = cells
            else:
                add("row", _row(header, cells))
        elif match := _ITEM.match(line):
            add(
                "item",
                "- " + _tidy(line[match.end() :])
                if line[match.start() :].strip()[0] not in "0123456789"
                else _tidy(stripped),
            )
            starts = False
        elif stripped.startswith("#"):
            starts = True
        else:
            if found and found[-1].kind == "item" and not starts:  # an item that goes on in the next line
                last = found.pop()
                add("item", f"{last.text} {_tidy(stripped)}")
                continue
            for number, sentence in enumerate(split_sentences(_tidy(stripped))):
                add("prose", sentence, starts_block=starts and number == 0)
            starts = False
            lead = len(found) - 1 if found and found[-1].text.endswith((":", "：")) else None
    if code:
        add("code", "\n".join(code) + "\n```")
    return found


def _count_words(terms: Iterable[str]) -> int:
    return sum(not is_run(term) for term in terms)


def _tidy(text: str) -> str:
    return _RELATIVE_LINK.sub(r"\1", " ".join(text.split()))


def _row(header: Sequence[str], cells: Sequence[str]) -> str:
    """A table's row as a line that can be read alone: "- first: second", or with the columns' names if there are more."""
    named = [
        cell if len(header) < 3 or not name else f"{name}: {cell}"
        for name, cell in zip(header[1:], cells[1:], strict=False)
        if cell
    ]
    return f"- {_tidy(cells[0])}: {_tidy('; '.join(named))}" if named else f"- {_tidy(cells[0])}"
