"""Which sentences of the sources answer a question, and how they read together. Pure; used by `extractive`."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chatwright.domain.language import content_words, split_sentences, words
from chatwright.domain.providers import Source

MAX_SENTENCES = 4
MAX_WORDS = 80

# --- what a source is made of ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A sentence, list item, table row or code block of a source, in its place.

    `lead`: index of the sentence that introduces a list, code block or table ("… the following:"), or None.
    """

    source: Source
    order: int
    kind: str  # prose | item | code | row
    text: str
    starts_block: bool = True
    lead: int | None = None
    stems: frozenset[str] = field(default=frozenset())


_ITEM = re.compile(r"\s*(?:[-*+•–]|\d{1,4}[.)])\s+(?=\S)")
_RELATIVE_LINK = re.compile(r"\[([^\[\]\n]{1,400})\]\((?!https?://)[^()\s]{0,1000}\)")
_RULE = re.compile(r"\|?[\s:|-]*-{2,}[\s:|-]*")


def passages_of(source: Source) -> list[Passage]:
    """The passages of one source in reading order; headings and rules of tables fall."""
    found: list[Passage] = []
    lead: int | None = None
    header: list[str] = []
    code: list[str] | None = None
    starts = True

    def add(kind: str, text: str, *, starts_block: bool = True) -> None:
        found.append(
            Passage(
                source=source,
                order=len(found),
                kind=kind,
                text=text,
                starts_block=starts_block,
                lead=lead if kind != "prose" else None,
                stems=frozenset(content_words(text)),
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
            lead = len(found) - 1 if found and found[-1].text.endswith(":") else None
    if code:
        add("code", "\n".join(code) + "\n```")
    return found


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


# --- which of them answer ------------------------------------------------------------------------------------------------

_REFERS_BACK = re.compile(
    r"(?:it|this|that|these|those|they|them|he|she|its|their|then|so|but|however|also|otherwise|therefore|instead|both|such)\b",
    re.IGNORECASE,
)
_ASKS_AMOUNT = re.compile(
    r"\bhow (?:many|much|long|fast|often|big|old|large)\b|\b(?:which|what) (?:port|version|year)\b|^when\b",
    re.IGNORECASE,
)
_ASKS_HOW_TO = re.compile(r"\bhow (?:do|can|to|should|would)\b|\b(?:command|set up|install)\b", re.IGNORECASE)
_ASKS_WHAT_IS = re.compile(
    r"\s*(?:what(?:'s|’s| is| are| does)|who (?:is|are)|define|explain)\s+(?:a |an |the )?(.{2,60}?)(?: mean)?[?.!\s]*",
    re.IGNORECASE,
)
_ABOUT_THE_PAGE = re.compile(r"this (?:page|document|guide|section|tutorial|chapter|article)\b", re.IGNORECASE)
_NEGATIONS = frozenset(
    {"no", "not", "never", "without", "cannot", "can't", "doesn't", "don't", "isn't", "ohne", "nicht", "kein"}
)
_VERDICTS = frozenset({"yes", "no", "ja", "nein"})


def select(question: str, sources: Sequence[Source]) -> list[Passage]:
    """The one to four passages that answer best, in reading order, the best source first; empty when none does.

    Further passages must add something: words of the question not yet covered, or the rest of the thought. A short
    answer under a heading that matches grows by the start of its section.
    """
    per_source = [passages_of(source) for source in sources]
    judge = _Judge(question, sources, per_source)
    candidates = [
        passage
        for passages in per_source
        for passage in passages
        if passage.text.rstrip(".!").casefold() not in _VERDICTS
    ]
    if not judge.asked:
        return _opening(per_source)
    chosen: list[Passage] = []
    covered: set[str] = set()
    first = 0.0
    while candidates and len(chosen) < MAX_SENTENCES:
        best = max(candidates, key=lambda passage: (judge.worth(passage, covered), -passage.order))
        value = judge.worth(best, covered)
        # A second source has to answer nearly as well as the first: a weaker quote reads off the point.
        if not chosen:
            first = value
        elif value < (0.6 if judge.at(best) == judge.at(chosen[0]) else 0.85) * first or not (
            best.stems & judge.asked - covered or _adjoins(best, chosen)
        ):
            break
        candidates.remove(best)
        if any(_alike(best, other) for other in chosen):
            continue
        group = [passage for passage in _whole(best, per_source[judge.at(best)]) if passage not in chosen]
        if chosen and _length([*chosen, *group]) > MAX_WORDS:
            break
        chosen += group
        covered |= {stem for passage in group for stem in passage.stems & judge.asked}
    if chosen:
        home = per_source[judge.at(chosen[0])]
        chosen = _grown(chosen, home, judge.headings[judge.at(chosen[0])])
        chosen = _with_verdict(question, chosen, home)
    leaders = list(dict.fromkeys(judge.at(passage) for passage in chosen))
    return sorted(chosen, key=lambda passage: (leaders.index(judge.at(passage)), passage.order))


class _Judge:
    """What a passage is worth for one question: words shared (rare ones count more), heading, relevance, place."""

    def __init__(self, question: str, sources: Sequence[Source], per_source: Sequence[Sequence[Passage]]) -> None:
        everything = [passage for passages in per_source for passage in passages]
        self.asked = frozenset(content_words(question))
        frequency = Counter(stem for passage in everything for stem in passage.stems & self.asked)
        self._weight = {stem: math.log(1 + len(everything) / (0.5 + frequency[stem])) for stem in self.asked}
        self._total = sum(self._weight.values()) or 1.0
        self._places = {id(source): at for at, source in enumerate(sources)}
        self.headings = [self._share(frozenset(content_words(_last_heading(source)))) for source in sources]
        # A source that goes on in the section of the one before has no start of its own.
        self._continues = [False] + [
            one.title == other.title and one.document_id == other.document_id
            for one, other in itertools.pairwise(sources)
        ]
        self._asks_amount = _ASKS_AMOUNT.search(question) is not None
        self._asks_how_to = _ASKS_HOW_TO.search(question) is not None
        subject = _ASKS_WHAT_IS.fullmatch(question)
        self._definition = (
            re.compile(
                rf"(?:(?:a|an|the)\s+)?\W?{re.escape(subject[1])}s?\W?\s+(?:is|are|means)\b(\s+(?:a|an|the|one)\b)?",
                re.IGNORECASE,
            )
            if subject
            else None
        )

    def at(self, passage: Passage) -> int:
        return self._places[id(passage.source)]

    def _share(self, stems: frozenset[str]) -> float:
        return sum(self._weight[stem] for stem in stems & self.asked) / self._total

    def worth(self, passage: Passage, covered: set[str]) -> float:
        at = self.at(passage)
        early = 0.0 if self._continues[at] else max(0.0, 1 - passage.order / 5)
        value = self._share(passage.stems - covered) + 0.3 * self._share(passage.stems & covered)
        # Squared: a heading that says half of it says little, one that says it all is the question itself.
        value += 1.1 * self.headings[at] ** 2 * early + 0.6 * passage.source.score * (1 - 0.15 * at)
        if self._definition and (found := self._definition.match(passage.text)):
            value += 0.8 if found[1] else 0.4
        if self._asks_amount and re.search(r"\d", passage.text):
            value += 0.15
        if self._asks_how_to:
            value += (
                0.25 if passage.kind == "code" else 0.15 if "`" in passage.text or passage.text.endswith(":") else 0
            )
        if passage.kind == "code":
            value -= 0.15 + (0.4 if len(passage.text.split()) > MAX_WORDS // 2 else 0)
        elif len(passage.stems) < 3:
            value -= 0.15
        if _ABOUT_THE_PAGE.match(passage.text):
            value -= 0.3
        return value


def _last_heading(source: Source) -> str:
    return source.title.rpartition("›")[2]


def _opening(per_source: Sequence[Sequence[Passage]]) -> list[Passage]:
    """For a question without a word of its own ("what is it?"): the start of the best source."""
    if not per_source:
        return []
    return [passage for passage in per_source[0][:2] if passage.kind == "prose"] or list(per_source[0][:1])


def _whole(best: Passage, section: Sequence[Passage]) -> list[Passage]:
    """`best` with what it cannot be read without: the sentence it refers to, the lead of its list, the list itself."""
    group = [best]
    if best.kind == "prose":
        if _REFERS_BACK.match(best.text) and not best.starts_block and best.order > 0:
            group.insert(0, section[best.order - 1])
        if best.text.endswith(":"):
            group += _following(best, section)
    elif best.lead is not None and best.lead < best.order:
        group.insert(0, section[best.lead])
        if best.kind == "item":
            group = [section[best.lead], *_following(section[best.lead], section)]
            if best not in group:
                group = [section[best.lead], best]
    return group


def _following(lead: Passage, section: Sequence[Passage]) -> list[Passage]:
    """The list, code or rows that `lead` introduces, as far as they fit."""
    group: list[Passage] = []
    for passage in section[lead.order + 1 :]:
        if passage.kind == "prose" or _length([lead, *group, passage]) > MAX_WORDS:
            break
        group.append(passage)
        if passage.kind == "code":
            break
    return group


def _grown(chosen: list[Passage], home: Sequence[Passage], heading: float) -> list[Passage]:
    """A thin answer whose heading matches the question, with the start of that section, or with the rest of its list."""
    if heading < 0.4 or _length(chosen) >= MAX_WORDS // 4:
        return chosen
    if chosen[0].kind == "item":
        first = last = chosen[0].order
        while first > 0 and home[first - 1].kind == "item":
            first -= 1
        while last + 1 < len(home) and home[last + 1].kind == "item":
            last += 1
        run = [passage for passage in home[first : last + 1] if passage not in chosen]
        return [*chosen, *run] if _length([*chosen, *run]) <= MAX_WORDS else chosen
    if any(passage.kind != "prose" for passage in chosen):
        return chosen
    for passage in home[:3]:
        if (
            passage in chosen
            or passage.text.rstrip(".!").casefold() in _VERDICTS
            or _ABOUT_THE_PAGE.match(passage.text)
        ):
            continue
        group = [other for other in _whole(passage, home) if other not in chosen]
        if _length([*chosen, *group]) <= MAX_WORDS and not any(_alike(passage, other) for other in chosen):
            return [*chosen, *group]
    return chosen


def _with_verdict(question: str, chosen: list[Passage], home: Sequence[Passage]) -> list[Passage]:
    """Put the "Yes." or "No." of a section before its quote when its heading asks the very same thing.

    "Does it work without a key?" must not lend its "Yes." to "Does it need a key?": negations have to agree.
    """
    verdict = home[0]
    if verdict.text.rstrip(".!").casefold() not in _VERDICTS or not any(passage is home[1] for passage in chosen):
        return chosen
    heading = _last_heading(verdict.source)
    asked, said = set(content_words(question)), set(content_words(heading))
    same = len(asked & said) >= 0.6 * len(asked | said)
    polarity = [not _NEGATIONS.isdisjoint(words(text)) for text in (question, heading)]
    return [verdict, *chosen] if same and polarity[0] == polarity[1] else chosen


def _adjoins(passage: Passage, chosen: Sequence[Passage]) -> bool:
    """Whether a sentence goes on right after one that is quoted already."""
    return passage.kind == "prose" and any(
        other.kind == "prose" and passage.source is other.source and passage.order - other.order == 1
        for other in chosen
    )


def _alike(one: Passage, other: Passage) -> bool:
    union = one.stems | other.stems
    return one.text == other.text or (bool(union) and len(one.stems & other.stems) >= 0.8 * len(union))


def _length(passages: Sequence[Passage]) -> int:
    return sum(len(passage.text.split()) for passage in passages)


# --- how they read together ----------------------------------------------------------------------------------------------


def compose(chosen: Sequence[Passage]) -> str:
    """Join passages into one text, each source's run closed by its citation, e.g. ``[1]``. Empty for none."""
    paragraphs: list[str] = []
    for run in _runs(chosen):
        text = run[0].text
        cited = False
        mark = f" [{run[0].source.n}]"
        for before, passage in itertools.pairwise(run):
            if passage.kind == "prose" and before.kind == "prose":
                text += f" {passage.text}"
                continue
            if not cited and before.kind == "prose":
                text, cited = text + mark, True
            text += (
                "\n\n" if "code" in {passage.kind, before.kind} or passage.kind == "prose" else "\n"
            ) + passage.text
        if not cited:
            text += mark if run[-1].kind != "code" else "\n" + mark.strip()
        paragraphs.append(text)
    return "\n\n".join(paragraphs)


def _runs(chosen: Sequence[Passage]) -> Iterator[list[Passage]]:
    run: list[Passage] = []
    for passage in chosen:
        if run and run[-1].source is not passage.source:
            yield run
            run = []
        run.append(passage)
    if run:
        yield run
