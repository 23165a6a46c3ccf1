"""How well a knowledge base is searched: questions with the documents that should be found, and what that comes to.

The figures are the usual ones, so that they can be compared: recall@k, nDCG@10 with one point per expected document, mean
reciprocal rank. The search is an argument: `kb eval` asks a server over REST, the bench calls the flow. Called by both.
"""

import asyncio
import csv
import math
import re
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from chatwright.domain.errors import Unprocessable

DEPTH = 10
"""Hits looked at per question."""
QUESTIONS_AT_MOST = 100_000
_NDCG_AT = 10
_RECALL_AT = (1, 3, 5, 10)
_QUESTION = frozenset({"question", "query", "q"})
_EXPECTED = frozenset({"expected", "document", "documents", "document_id", "title", "source", "source_key", "url"})
_ANSWER = frozenset({"answer", "answers", "answer_text", "passage"})
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`expected` names documents, each by id, title, source key or address; `answer` is text that a passage must hold.
    Neither: nothing in the knowledge base answers it."""

    text: str
    expected: tuple[str, ...] = ()
    answer: str = ""

    @property
    def is_answerable(self) -> bool:
        return bool(self.expected or self.answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One hit of a search, best first; `score` is the relevance in 0..1."""

    document_id: str
    title: str
    text: str
    score: float
    source_key: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`ranks`: the places, from 1, at which what was expected was found first; `best` is the score of the first hit."""

    question: Question
    ranks: tuple[int, ...]
    best: float
    hits: tuple[Found, ...]

    @property
    def wanted(self) -> int:
        return len(self.question.expected) + bool(self.question.answer and not self.question.expected)

    def recall(self, k: int) -> float:
        return sum(rank <= k for rank in self.ranks) / self.wanted

    @property
    def reciprocal_rank(self) -> float:
        return 1 / min(self.ranks) if self.ranks else 0.0

    @property
    def ndcg(self) -> float:
        gained = sum(1 / math.log2(rank + 1) for rank in self.ranks if rank <= _NDCG_AT)
        return gained / sum(1 / math.log2(place + 1) for place in range(1, min(self.wanted, _NDCG_AT) + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Means over the answerable questions, shares in 0..1; None where there are none of the kind.

    `kept` is the share of answerable questions with an expected document in the top 5 above the threshold, `abstained`
    the share of the others for which nothing passes it.
    """

    questions: int
    unanswerable: int
    recall: dict[int, float] | None
    ndcg: float | None
    mrr: float | None
    kept: float | None
    abstained: float | None
    threshold: float
    misses: tuple[Verdict, ...]


Search = Callable[[str], Awaitable[Sequence[Found]]]


async def evaluate(
    search: Search,
    questions: Sequence[Question],
    *,
    threshold: float,
    at_once: int = 4,
    tell: Callable[[int], None] | None = None,
) -> Report:
    """Ask every question, `at_once` at a time; `tell` hears of each that is done. Raises what the search raises."""
    slots = asyncio.Semaphore(at_once)

    async def one(question: Question) -> Verdict:
        async with slots:
            hits = await search(question.text)
        if tell is not None:
            tell(1)
        return judge(question, hits)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(question), name="evaluate") for question in questions]
    return summarise([task.result() for task in tasks], threshold=threshold)


def judge(question: Question, hits: Sequence[Found]) -> Verdict:
    """At which places what was expected was found. A document that was found twice counts once."""
    hits = tuple(hits[:DEPTH])
    ranks = [
        rank
        for name in question.expected
        if (rank := next((place for place, hit in enumerate(hits, 1) if _is(hit, name)), None)) is not None
    ]
    if question.answer and not question.expected:
        answer = _plain(question.answer)
        place = next((place for place, hit in enumerate(hits, 1) if answer in _plain(hit.text)), None)
        ranks = [] if place is None else [place]
    return Verdict(question=question, ranks=tuple(sorted(ranks)), best=hits[0].score if hits else 0.0, hits=hits)


def summarise(verdicts: Sequence[Verdict], *, threshold: float) -> Report:
    """The means of it. A miss is an answerable question of which nothing was found in the top 5."""
    asked = [verdict for verdict in verdicts if verdict.question.is_answerable]
    others = [verdict for verdict in verdicts if not verdict.question.is_answerable]
    return Report(
        questions=len(verdicts),
        unanswerable=len(others),
        recall={k: _mean(verdict.recall(k) for verdict in asked) for k in _RECALL_AT} if asked else None,
        ndcg=_mean(verdict.ndcg for verdict in asked) if asked else None,
        mrr=_mean(verdict.reciprocal_rank for verdict in asked) if asked else None,
        kept=_mean(float(_is_kept(verdict, threshold)) for verdict in asked) if asked else None,
        abstained=_mean(float(verdict.best < threshold) for verdict in others) if others else None,
        threshold=threshold,
        misses=tuple(verdict for verdict in asked if not verdict.ranks or min(verdict.ranks) > 5),
    )


def read_questions(lines: Iterable[str]) -> list[Question]:
    """Questions out of a CSV file with a heading: `question`, and `expected` (several with `|` between them) or `answer`.

    Raises Unprocessable if it has no such columns, or a row has no question.
    """
    rows = csv.reader(lines)
    try:
        head = [name.strip().lower().lstrip("\ufeff") for name in next(rows, [])]
        question_at = [place for place, name in enumerate(head) if name in _QUESTION]
        expected_at = [place for place, name in enumerate(head) if name in _EXPECTED]
        answer_at = [place for place, name in enumerate(head) if name in _ANSWER]
        if not question_at or not (expected_at or answer_at):
            raise Unprocessable("the first line must name the columns: question, and expected or answer")
        questions: list[Question] = []
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            text = _cell(row, question_at[0])
            if not text:
                raise Unprocessable(f"line {rows.line_num} has no question")
            names = tuple(
                dict.fromkeys(
                    name.strip() for place in expected_at for name in _cell(row, place).split("|") if name.strip()
                )
            )
            answer = next((found for place in answer_at if (found := _cell(row, place))), "")
            questions.append(Question(text=text, expected=names, answer=answer))
            if len(questions) > QUESTIONS_AT_MOST:
                raise Unprocessable(f"at most {QUESTIONS_AT_MOST:,} questions")
    except csv.Error as error:
        raise Unprocessable(f"line {rows.line_num} is no CSV: {error}") from error
    if not questions:
        raise Unprocessable("the file has no questions")
    return questions


def _cell(row: Sequence[str], place: int) -> str:
    return row[place].strip() if place < len(row) else ""


def _is(hit: Found, name: str) -> bool:
    wanted = name.casefold()
    return any(
        one is not None and one.casefold() == wanted for one in (hit.document_id, hit.title, hit.source_key, hit.url)
    )


def _is_kept(verdict: Verdict, threshold: float) -> bool:
    return any(rank <= 5 and verdict.hits[rank - 1].score >= threshold for rank in verdict.ranks)


def _plain(text: str) -> str:
    """Words only, so that an answer is found across line breaks and marks."""
    return " ".join(_WORDS.findall(unicodedata.normalize("NFKC", text).casefold()))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
