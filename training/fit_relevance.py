"""Fit the constants of `features/knowledge/rules.py` that turn a search hit's evidence into a probability.

    python training/fit_relevance.py [folder of xquad_retrieval, clinc150 and banking77]

What is fitted is the probability that the five best hits hold the answer, given the evidence of the best one: the
question that the threshold decides. Kinds of questions, in equal weight:

- answerable: XQuAD (English) over its 240 passages; the asker had read the passage, so the words match well
- documentation: this project's own `docs/`, asked in a newcomer's words (`documentation_questions.jsonl`). The docs were
  written with these questions in view, so they are kind; rows marked `test` were asked after the last change of the docs
  and are reported apart, never fitted
- other domain: out-of-scope and banking questions, asked of both corpora; nothing answers them

and, reported only, the answerable ones again with their passage taken out. Train: even articles and even rows; held
out: the odd ones; only INTERCEPT and SLOPE are fitted so, the other weights of `rules.py` were chosen by hand with all
questions in view, so the ranking figures are a little kind. Prints the constants and how they do. Deterministic. Runs two minutes on two cores.
"""

import asyncio
import gzip
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chatwright.adapters.models import open_embedder
from chatwright.domain.ids import ChunkId, DocumentId
from chatwright.domain.language import content_words
from chatwright.features.knowledge import rules
from chatwright.features.knowledge.chunking import Chunk, chunk_document, document_title
from chatwright.features.knowledge.rules import Hit, rank, scores

HERE = Path(__file__).resolve().parent
ARTICLE = 5  # XQuAD takes five paragraphs of each article
KINDS = ("answerable", "documentation", "other domain")
ENOUGH = 5


@dataclass(frozen=True, slots=True)
class Case:
    """One question with its candidates. `right` are the chunks that answer it."""

    kind: str
    question: str
    hits: list[Hit]
    right: frozenset[str]
    held_out: bool
    test: bool = False


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Chunks with their vectors, shape (chunks, 384), and the titles of their documents."""

    chunks: list[tuple[str, Chunk]]
    vectors: Any

    def near(self, vector: Any, without: frozenset[str] = frozenset()) -> list[Hit]:
        cosines = self.vectors @ vector
        order = [at for at in np.argsort(-cosines, kind="stable") if str(at) not in without]
        return [self._hit(int(at), float(cosines[at])) for at in order[: rules.CANDIDATES]]

    def _hit(self, at: int, cosine: float) -> Hit:
        title, chunk = self.chunks[at]
        return Hit(
            chunk_id=ChunkId(str(at)),
            document_id=DocumentId(title),
            title=title if " " in title else "",
            url=None,
            ordinal=chunk.ordinal,
            heading=chunk.heading,
            anchor=None,
            text=chunk.text,
            cosine=cosine,
        )


async def cases(folder: Path) -> list[Case]:
    passages = read(folder / "xquad_retrieval/corpus.en.jsonl.gz")
    asked = read(folder / "xquad_retrieval/queries.en.jsonl.gz")
    rng = np.random.default_rng(0)
    others = [row["text"] for name in ("oos_train", "oos_val") for row in read(folder / f"clinc150/{name}.jsonl.gz")]
    for name in ("banking77/train", "clinc150/val"):
        rows = read(folder / f"{name}.jsonl.gz")
        others += [rows[at]["text"] for at in rng.permutation(len(rows))[:300]]
    own = [json.loads(line) for line in (HERE / "documentation_questions.jsonl").read_text("utf-8").splitlines()]

    async with open_embedder(2) as embedder:

        async def corpus(texts: Sequence[tuple[str, str, str]]) -> Corpus:
            chunks = [
                (name, chunk)
                for name, text, media_type in texts
                for chunk in chunk_document(text, media_type, embedder.count_tokens, title=name if " " in name else "")
            ]
            return Corpus(chunks, await embedder.embed([chunk.embedding_text for _, chunk in chunks]))

        wiki = await corpus([(str(row["id"]), row["text"], "text/plain") for row in passages])
        pages = [
            path.read_text("utf-8")
            for path in sorted((HERE.parent / "docs").rglob("*.md"))
            if "decisions" not in path.parts
        ]
        docs = await corpus([(document_title(page, "text/markdown") + " ", page, "text/markdown") for page in pages])
        asked_vectors = await embedder.embed([row["query"] for row in asked])
        own_vectors = await embedder.embed([row["question"] for row in own])
        other_vectors = await embedder.embed(others)

    found: list[Case] = []
    for row, vector in zip(asked, asked_vectors, strict=True):
        right = frozenset(str(at) for at, (name, _) in enumerate(wiki.chunks) if name == str(row["doc"]))
        held_out = row["doc"] // ARTICLE % 2 == 1
        found.append(Case("answerable", row["query"], wiki.near(vector), right, held_out))
        found.append(Case("passage removed", row["query"], wiki.near(vector, right), frozenset(), held_out))
    for number, (row, vector) in enumerate(zip(own, own_vectors, strict=True)):
        pattern = row["answer_under"]
        right = frozenset(
            str(at)
            for at, (name, chunk) in enumerate(docs.chunks)
            if pattern and re.search(pattern, f"{name.strip()} > {chunk.heading}")
        )
        kind = "documentation" if pattern else "other domain"
        is_test = bool(row.get("test"))
        found.append(Case(kind, row["question"], docs.near(vector), right, number % 2 == 1 or is_test, is_test))
    for number, (text, vector) in enumerate(zip(others, other_vectors, strict=True)):
        found.extend(
            Case("other domain", text, near.near(vector), frozenset(), number % 2 == 1) for near in (wiki, docs)
        )
    return found


def place(case: Case) -> float:
    """The rank of the first right hit, from 1; infinite if none is among the candidates."""
    order: list[str] = [hit.chunk_id for hit in rank(case.question, case.hits)]
    return min((order.index(chunk) + 1 for chunk in case.right if chunk in order), default=math.inf)


def evidence(case: Case) -> float:
    return max(score for score, _ in scores(set(content_words(case.question)), case.hits))


def fit(train: Sequence[Case]) -> tuple[float, float]:
    """Logistic regression of "the best five hold the answer" on the evidence, each kind of question in equal weight."""
    rows = [(evidence(case), place(case) <= ENOUGH, case.kind) for case in train]
    counts = {kind: sum(1 for *_, other in rows if other == kind) for kind in KINDS}
    x = np.array([[1.0, score] for score, _, _ in rows])
    y = np.array([float(right) for _, right, _ in rows])
    weight = np.array([1 / len(KINDS) / counts[kind] for *_, kind in rows])
    w = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ w))
        step = np.linalg.solve((x * (weight * p * (1 - p))[:, None]).T @ x, x.T @ (weight * (p - y)))
        w -= step
        if np.abs(step).max() < 1e-10:
            break
    return float(w[0]), float(w[1])


def report(name: str, chosen: Sequence[Case]) -> None:
    print(name)
    for kind in ("answerable", "documentation"):
        some = [case for case in chosen if case.kind == kind]
        if not some:
            continue
        for how in ("cosine", "relevance"):
            places: list[float] = []
            for case in some:
                hits = rank(case.question, case.hits) if how == "relevance" else case.hits
                # XQuAD is scored by passage, so that figures compare with other systems'; its chunks share a document.
                keys = list(dict.fromkeys(hit.document_id if kind == "answerable" else hit.chunk_id for hit in hits))
                right = {
                    hit.document_id if kind == "answerable" else hit.chunk_id
                    for hit in hits
                    if hit.chunk_id in case.right
                }
                places.append(min((keys.index(key) + 1 for key in right), default=math.inf))
            ndcg = np.mean([1 / math.log2(1 + at) if at <= 10 else 0.0 for at in places])
            recall = [float(np.mean([at <= most for at in places])) for most in (1, 5)]
            print(
                f"  {kind} ({len(some)}) by {how}: nDCG@10 {ndcg:.3f}, recall@1 {recall[0]:.3f}, recall@5 {recall[1]:.3f}"
            )
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        parts: list[str] = []
        for kind in (*KINDS, "passage removed"):
            tops = [rank(case.question, case.hits)[0].relevance for case in chosen if case.kind == kind]
            if tops:
                parts.append(f"{kind} {np.mean([top >= threshold for top in tops]):.3f}")
        print(f"  threshold {threshold}: answered {', '.join(parts)}")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
    found = asyncio.run(cases(folder))
    intercept, slope = fit([case for case in found if not case.held_out and case.kind in KINDS])
    print(f"fitted: INTERCEPT = {intercept:.2f}, SLOPE = {slope:.2f}  (rules.py has {rules.INTERCEPT}, {rules.SLOPE})")
    for threshold in (0.5, 0.7, 0.9):
        print(f"  relevance {threshold} is evidence {(math.log(threshold / (1 - threshold)) - intercept) / slope:.3f}")
    report("train", [case for case in found if not case.held_out])
    report("held out", [case for case in found if case.held_out and not case.test])
    report("test: asked of the finished docs", [case for case in found if case.test])


if __name__ == "__main__":
    main()
