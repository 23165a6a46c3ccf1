"""How often an extractive answer holds the words that answer, and how long it is.

Two trials: XQuAD's questions with the passage that answers given alone, and the same with the five passages that words
alone find among all 240. Everything in `quoting` was chosen on fold A; the figures are read from fold B.
"""

import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.quality.articles import fold_of, read_rows
from bench.quality.page import put
from chatwright.adapters.providers.quoting import compose, select
from chatwright.domain.language import detect_language, index_terms
from chatwright.domain.providers import Source
from chatwright.domain.terms import question_terms
from chatwright.features.knowledge.keywords import chunk_weights, dimension_of, keyword_text, rarity_of

GIVEN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one set of questions. `held`: share of answers that hold the gold words; `words`: mean length of an
    answer."""

    name: str
    questions: int
    held: float
    words: float


@dataclass(frozen=True, slots=True)
class Held:
    """A passage of a knowledge base: its document, heading path and text."""

    document: str
    title: str
    text: str


class Words:
    """A knowledge base searched by words alone, in memory: BM25 as the product computes it."""

    def __init__(self, passages: Sequence[Held]) -> None:
        self.passages = passages
        self._postings: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for at, passage in enumerate(passages):
            text = keyword_text(title="", heading=passage.title, text=passage.text)
            for dimension, weight in chunk_weights(index_terms(text, detect_language(passage.text))).items():
                self._postings[dimension].append((at, weight))

    def find(self, question: str, language: str) -> list[Source]:
        """The best passages as sources; the score is the share of the best one's."""
        points: dict[int, float] = defaultdict(float)
        for term, weight in question_terms(question, language).items():
            postings = self._postings.get(dimension_of(term), ())
            rare = rarity_of(len(postings), len(self.passages))
            for at, known in postings:
                points[at] += weight * rare * known
        best = sorted(points, key=lambda at: (-points[at], at))[:GIVEN]
        return [
            source_of(number, self.passages[at], 0.9 * points[at] / points[best[0]])
            for number, at in enumerate(best, 1)
        ]


def source_of(number: int, passage: Held, score: float) -> Source:
    return Source(
        n=number, document_id=passage.document, title=passage.title, url=None, score=score, quote=passage.text[:240],
        text=passage.text,
    )  # fmt: skip


def holds(answer: str, gold: str) -> bool:
    """Whether the gold words stand in the answer, case and white space apart."""
    return _plain(gold) in _plain(answer)


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", unicodedata.normalize("NFKC", text).casefold()).split())


def quoted(question: str, sources: Sequence[Source]) -> str:
    return compose(select(question, sources))


def articles(
    folder: Path, language: str, *, fold: str, answer: Callable[[str, Sequence[Source]], str] = quoted
) -> list[Trial]:
    """XQuAD in one language: the passage given, then found."""
    passages = [
        Held(str(row["id"]), "", row["text"]) for row in read_rows(folder, f"xquad_retrieval/corpus.{language}")
    ]
    base = Words(passages)
    asked = [
        row for row in read_rows(folder, f"xquad_retrieval/queries.{language}") if fold in ("", fold_of(row["doc"]))
    ]
    given = [(row, answer(row["query"], [source_of(1, passages[row["doc"]], 0.9)])) for row in asked]
    found = [(row, answer(row["query"], base.find(row["query"], language))) for row in asked]
    return [_trial(f"XQuAD {language}, passage given", given), _trial(f"XQuAD {language}, 5 passages found", found)]


def _trial(name: str, answered: Sequence[tuple[Mapping[str, Any], str]]) -> Trial:
    return Trial(
        name=name,
        questions=len(answered),
        held=_mean(holds(text, row["answer"]) for row, text in answered),
        words=_mean(len(text.split()) for _, text in answered),
    )


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def section(folder: Path) -> str:
    """The figures as Markdown. Raises FileNotFoundError without the data."""
    trials = [trial for language in ("en", "de") for trial in articles(folder, language, fold="B")]
    lines = [
        'Fold B of XQuAD; the passages are found by words alone. "Held": the answer holds the gold words.',
        "",
        "| questions | asked | held | words an answer |",
        "| --- | --- | --- | --- |",
        *(f"| {trial.name} | {trial.questions} | {trial.held:.3f} | {trial.words:.0f} |" for trial in trials),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    put("extractive", section(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")))
