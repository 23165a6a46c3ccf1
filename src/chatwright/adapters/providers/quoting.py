"""Which sentences of the sources answer a question, and how they read together. Pure; used by `extractive`."""

import itertools
import re
from collections.abc import Iterator, Sequence

from chatwright.adapters.providers.extractive_passages import Passage, language_of, passages_of, terms_of
from chatwright.adapters.providers.extractive_worth import ABOUT_THE_PAGE, Judge, last_heading
from chatwright.domain.language import words
from chatwright.domain.providers import Source

MAX_SENTENCES = 4
MAX_WORDS = 80
# A further passage has to be worth this share of the first; one of another source more, because it reads off the point.
ENOUGH_OF_SAME = 0.55
ENOUGH_OF_OTHER = 0.7

# --- which of them answer ------------------------------------------------------------------------------------------------

_REFERS_BACK = re.compile(
    r"(?:it|this|that|these|those|they|them|he|she|its|their|then|so|but|however|also|otherwise|therefore|instead|both|such"
    r"|er|sie|es|dies\w*|jene\w*|ihre?|sein\w*|dann|aber|jedoch|auch|sonst|daher|deshalb|damit|dabei|dadurch|dazu|dort"
    r"|beide|solche\w*|il|elle|ils|elles|cela|ceci|cette|esto|eso|esta|este|ella|ellos|он|она|оно|они|это)\b"
    r"|(?:这|那|它|他|她|此|其|これ|それ|この|その|彼)",
    re.IGNORECASE,
)
_NEGATIONS = frozenset(
    {"no", "not", "never", "without", "cannot", "can't", "doesn't", "don't", "isn't", "ohne", "nicht", "kein"}
)
_VERDICTS = frozenset({"yes", "no", "ja", "nein"})
_QUESTION = re.compile(r"[?？؟]['\"”’»」』)]*\Z")
_ANSWER_SENTENCES = 3  # of a question that stands in the source


def select(question: str, sources: Sequence[Source]) -> list[Passage]:
    """The one to four passages that answer best, in reading order, the best source first; empty when none does.

    Further passages must add something: words of the question not yet covered, or the rest of the thought. A short
    answer under a heading that matches grows by the start of its section.
    """
    language = language_of(sources)
    per_source = [passages_of(source, language) for source in sources]
    judge = Judge(question, sources, per_source, language)
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
        if not chosen:
            first = value
        elif value < (ENOUGH_OF_SAME if judge.at(best) == judge.at(chosen[0]) else ENOUGH_OF_OTHER) * first or not (
            best.terms & judge.asked - covered or _adjoins(best, chosen)
        ):
            break
        candidates.remove(best)
        if any(_alike(best, other) for other in chosen):
            continue
        group = [passage for passage in _whole(best, per_source[judge.at(best)]) if passage not in chosen]
        if chosen and _length([*chosen, *group]) > MAX_WORDS:
            break
        chosen += group
        covered |= {term for passage in group for term in passage.terms & judge.asked}
    if chosen:
        home = per_source[judge.at(chosen[0])]
        chosen = _grown(chosen, home, judge.headings[judge.at(chosen[0])])
        chosen = _with_verdict(question, chosen, home, language)
        chosen = _without_echo(question, chosen, language)
    leaders = list(dict.fromkeys(judge.at(passage) for passage in chosen))
    return sorted(chosen, key=lambda passage: (leaders.index(judge.at(passage)), passage.order))


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
        elif _asks(best):
            group += _answer_below(best, section)
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


def _asks(passage: Passage) -> bool:
    return passage.kind == "prose" and _QUESTION.search(passage.text) is not None


def _answer_below(question: Passage, section: Sequence[Passage]) -> list[Passage]:
    """What follows a question of the source: a question that matches is not yet an answer. As far as it fits, to the next."""
    group: list[Passage] = []
    for passage in section[question.order + 1 :][: _ANSWER_SENTENCES if question.starts_block else 1]:
        if _asks(passage) or (group and _length([question, *group, passage]) > MAX_WORDS):
            break
        group.append(passage)
    return group


def _without_echo(question: str, chosen: list[Passage], language: str | None) -> list[Passage]:
    """Leave out the source's question before its answer when it is what the visitor has just asked."""
    if len(chosen) > 1 and _asks(chosen[0]) and chosen[1].order == chosen[0].order + 1:
        return chosen[1:] if _is_same_question(question, chosen[0].text, language) else chosen
    return chosen


def _is_same_question(one: str, other: str, language: str | None) -> bool:
    """Negations have to agree: "Does it work without a key?" is another question than "Does it need a key?"."""
    said, asked = terms_of(one, language), terms_of(other, language)
    polarity = [not _NEGATIONS.isdisjoint(words(text)) for text in (one, other)]
    return len(said & asked) >= 0.6 * len(said | asked) and polarity[0] == polarity[1]


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
        if passage in chosen or passage.text.rstrip(".!").casefold() in _VERDICTS or ABOUT_THE_PAGE.match(passage.text):
            continue
        group = [other for other in _whole(passage, home) if other not in chosen]
        if _length([*chosen, *group]) <= MAX_WORDS and not any(_alike(passage, other) for other in chosen):
            return [*chosen, *group]
    return chosen


def _with_verdict(question: str, chosen: list[Passage], home: Sequence[Passage], language: str | None) -> list[Passage]:
    """Put the "Yes." or "No." of a section before its quote when its heading asks the very same thing."""
    verdict = home[0]
    if verdict.text.rstrip(".!").casefold() not in _VERDICTS or not any(passage is home[1] for passage in chosen):
        return chosen
    return [verdict, *chosen] if _is_same_question(question, last_heading(verdict.source), language) else chosen


def _adjoins(passage: Passage, chosen: Sequence[Passage]) -> bool:
    """Whether a sentence goes on right after one that is quoted already."""
    return passage.kind == "prose" and any(
        other.kind == "prose" and passage.source is other.source and passage.order - other.order == 1
        for other in chosen
    )


def _alike(one: Passage, other: Passage) -> bool:
    union = one.terms | other.terms
    return one.text == other.text or (bool(union) and len(one.terms & other.terms) >= 0.8 * len(union))


def _length(passages: Sequence[Passage]) -> int:
    return sum(passage.length for passage in passages)


# --- how they read together ----------------------------------------------------------------------------------------------


_WITHOUT_SPACE = re.compile(r"[。！？][”’」』）]*\Z")


def compose(chosen: Sequence[Passage]) -> str:
    """Join passages into one text, each source's run closed by its citation, e.g. ``[1]``. Empty for none."""
    paragraphs: list[str] = []
    for run in _runs(chosen):
        text = run[0].text
        cited = False
        mark = f" [{run[0].source.n}]"
        for before, passage in itertools.pairwise(run):
            if passage.kind == "prose" and before.kind == "prose":
                text += passage.text if _WITHOUT_SPACE.search(text) else f" {passage.text}"
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
