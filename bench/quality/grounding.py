"""How well the support of an answer tells what stands in its sources from what does not.

XQuAD's English passages, each the only source of what is said. Supported: its own sentences, whole, with every third word
left out, and with their halves turned round; and its questions with their answers, which say the same in an asker's words.
Not supported: sentences of the other passages of the same article, and their questions with their answers (same topic,
same names, other content); its own sentences with every number changed; its own questions with the answer of a question
of another passage. The threshold is chosen on half of the articles and judged on the other half.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.quality.articles import ARTICLE, fold_of, read_rows
from bench.quality.page import put
from chatwright.domain.language import split_sentences
from chatwright.domain.messages import LOW_GROUNDING as LOW
from chatwright.domain.providers import Source
from chatwright.features.grounding import support

ALARMS_AT_MOST = 0.05
"""The share of answers in an asker's words that a threshold may mark though their source holds them."""
HELD = ("word for word", "shortened", "turned round", "asker's words")
_FEWEST_WORDS = 6
_ASKED, _ASKED_ELSEWHERE = "asker's words", "asker's words, other passage"


@dataclass(frozen=True, slots=True)
class Said:
    """One answer: how it was made, whether its source holds it, its support."""

    kind: str
    supported: bool
    support: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`low`: the threshold that fold A asks for. The rest is of fold B, with the product's threshold: `auc` of all kinds,
    `auc_asked` of answers in an asker's words alone, `marked` the share of each kind that is marked as not grounded."""

    low: float
    auc: float
    auc_asked: float
    marked: dict[str, float]
    counts: dict[str, int]


def measure(folder: Path) -> Verdict:
    """Raises FileNotFoundError without the data."""
    texts = [str(row["text"]) for row in read_rows(folder, "xquad_retrieval/corpus.en")]
    asked: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for row in read_rows(folder, "xquad_retrieval/queries.en"):
        asked[row["doc"]].append((row["query"], row["answer"]))
    a, b = (
        [said for at in range(len(texts)) if fold_of(at) == fold for said in _of(texts, asked, at)] for fold in "AB"
    )
    kinds = list(dict.fromkeys((said.supported, said.kind) for said in b))
    by_kind = {kind: [said.support for said in b if said.kind == kind] for _, kind in sorted(kinds, reverse=True)}
    held = sorted(said.support for said in a if said.kind == _ASKED)
    return Verdict(
        low=held[int(len(held) * ALARMS_AT_MOST)],
        auc=auc([said.support for said in b if said.supported], [said.support for said in b if not said.supported]),
        auc_asked=auc(by_kind[_ASKED], by_kind[_ASKED_ELSEWHERE]),
        marked={kind: sum(value < LOW for value in found) / len(found) for kind, found in by_kind.items()},
        counts={kind: len(found) for kind, found in by_kind.items()},
    )


def _of(texts: Sequence[str], asked: Mapping[int, Sequence[tuple[str, str]]], at: int) -> Iterator[Said]:
    source = Source(n=1, document_id="d", title="", url=None, score=0.9, quote="", text=texts[at])
    first = at - at % ARTICLE
    for kind, supported, text in _all(texts, asked, at, [o for o in range(first, first + ARTICLE) if o != at]):
        value = support(text, [source])
        if value is not None:
            yield Said(kind, supported, value)


def _all(
    texts: Sequence[str], asked: Mapping[int, Sequence[tuple[str, str]]], at: int, others: Sequence[int]
) -> Iterator[tuple[str, bool, str]]:
    for sentence in _sentences(texts[at]):
        words = sentence.split()
        half = len(words) // 2
        yield "word for word", True, sentence
        yield "shortened", True, " ".join(word for place, word in enumerate(words, 1) if place % 3)
        yield "turned round", True, " ".join(("So,", *words[half:], "and", *words[:half]))
        if re.search(r"\d", sentence):
            yield "numbers changed", False, re.sub(r"\d+", lambda found: str(int(found[0]) * 3 + 7), sentence)
    foreign = [answer for other in others for _, answer in asked[other] if answer not in texts[at]]
    for number, (question, answer) in enumerate(asked[at]):
        yield _ASKED, True, _stated(question, answer)
        if foreign:
            yield "asker's words, other answer", False, _stated(question, foreign[number % len(foreign)])
    for other in others:
        for sentence in _sentences(texts[other]):
            yield "other passage", False, sentence
        for question, answer in asked[other]:
            if answer not in texts[at]:
                yield _ASKED_ELSEWHERE, False, _stated(question, answer)


def _stated(question: str, answer: str) -> str:
    return f"{question.strip().rstrip('?')}: {answer}."


def _sentences(passage: str) -> list[str]:
    return [sentence for sentence in split_sentences(passage) if len(sentence.split()) >= _FEWEST_WORDS]


def auc(above: Sequence[float], below: Sequence[float]) -> float:
    """The probability that one of `above` is larger than one of `below`; ties count half."""
    ranked = sorted([(value, 1) for value in above] + [(value, 0) for value in below])
    total = seen = 0.0
    place = 0
    while place < len(ranked):
        end = place
        while end < len(ranked) and ranked[end][0] == ranked[place][0]:
            end += 1
        ups = sum(side for _, side in ranked[place:end])
        downs = end - place - ups
        total += ups * (seen + downs / 2)
        seen += downs
        place = end
    return total / (len(above) * len(below))


def section(folder: Path) -> str:
    """The figures as Markdown. Raises FileNotFoundError without the data."""
    verdict = measure(folder)
    about = (
        f"XQuAD, English, half of the articles (fold B); the threshold was chosen on the other half, which asks for "
        f"{verdict.low:.2f}. An answer is marked as not grounded below {LOW}. Area under the curve: {verdict.auc:.3f} over "
        f"all kinds, {verdict.auc_asked:.3f} in an asker's words alone."
    )
    lines = [
        about,
        "",
        "| what the answer says | does its source hold it? | answers | marked |",
        "| --- | --- | --- | --- |",
    ]
    for kind, share in verdict.marked.items():
        held = "yes" if kind in HELD else "no"
        lines.append(f"| {kind} | {held} | {verdict.counts[kind]} | {share:.1%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    put("grounding", section(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")))
