"""Fit the constants of `features/knowledge/ranking.py` that turn a hit's evidence into a probability.

    python training/fit_relevance.py [folder of xquad_retrieval, clinc150 and banking77] [--cache FOLDER] [--only NAME]

What is fitted is the probability that one hit answers, given its evidence, over the two best hits of each question:

- answerable: XQuAD over its 240 passages, English for both embedders, German too for the multilingual one; the asker had
  read the passage, so the words match well
- passage removed: the same questions with their passage taken out; its neighbours of the same article stay
- documentation: this project's own `docs/`, asked in a newcomer's words (`documentation_questions.jsonl`). The docs were
  written with these questions in view, so they are kind; rows marked `test` were asked after the last change of the docs
  and are reported apart, never fitted
- other domain: out-of-scope and banking questions, asked of both corpora, and XQuAD's asked of the documentation

weighted by KINDS. Articles and rows are dealt to four folds: three fit the slopes, and the intercept, so that relevance 0.7
parts answerable from unanswerable best in the language that does worst (see `operating_point`); on the one held out nothing
was fitted. What a closer look at a passage tells (`told`, `alike`) and the weights of the kinds were chosen on those three; that
cosines, keywords and words count, with all folds in view, so all figures are a little kind. KEYWORDS_ONLY is fitted on German with all
vectors left out.

Prints the constants and how they do. Deterministic, but for what int8 arithmetic does on another CPU. With the vectors in
the cache it runs five minutes, without them twenty.
"""

import argparse
import asyncio
import gzip
import hashlib
import itertools
import json
import math
import pickle
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chatwright.adapters.models import Embedder, open_embedder
from chatwright.domain.detection import likely_languages
from chatwright.domain.ids import ChunkId, DocumentId
from chatwright.domain.language import detect_language, index_terms
from chatwright.domain.terms import question_terms
from chatwright.features.knowledge import language_of, ranking
from chatwright.features.knowledge.chunking import Chunk, chunk_document, document_title
from chatwright.features.knowledge.hit import Hit
from chatwright.features.knowledge.keywords import Weighed, chunk_weights, dimension_of, keyword_text, rarity_of
from chatwright.features.knowledge.ranking import Calibration, rank

HERE = Path(__file__).resolve().parent
ARTICLE = 5  # XQuAD takes five paragraphs of each article
KINDS = {"answerable": 1.0, "documentation": 0.25, "passage removed": 1.0, "other domain": 0.5}
"""What each kind of question counts in the fit. The documentation has 143 questions, all of them about one product."""
FITTED = ("train", "validation")
THRESHOLD = 0.7
FITTED_HITS = 2
ENOUGH = 5
CANDIDATES = 20
FEATURES = ("cosine", "keywords", "words", "told", "alike")
OF_VECTORS = ("cosine", "words", "told")
OF_KEYWORDS = ("keywords", "words", "told", "alike")
KEEP = 0.9  # the share of answerable questions that must keep their passage
ABSTAIN = 0.8  # the share of questions whose passage is gone that must get no source


@dataclass(frozen=True, slots=True)
class Case:
    """One question with its ranked hits. `right` are the chunks that answer it."""

    kind: str
    fold: str
    language: str
    hits: list[Hit]
    right: frozenset[str]


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class Vectors:
    """An embedder that remembers what it embedded, over runs if there is a folder."""

    def __init__(self, embedder: Embedder, folder: Path | None) -> None:
        self.embedder = embedder
        self._file = folder / f"{embedder.name}.pkl" if folder else None
        self._known: dict[str, Any] = {}
        if self._file and self._file.exists():
            self._known = pickle.loads(self._file.read_bytes())

    async def of(self, kind: str, texts: Sequence[str]) -> Any:
        keys = [hashlib.sha256(f"{kind}\0{text}".encode()).hexdigest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if missing:
            if kind == "query":
                found = [row for text in missing.values() for row in await self.embedder.embed_queries([text])]
            else:
                found = list(await self.embedder.embed(list(missing.values()), bulk=True))
            self._known.update(zip(missing, found, strict=True))
            if self._file:
                self._file.write_bytes(pickle.dumps(self._known))
        return np.array([self._known[key] for key in keys])


class Corpus:
    """What a knowledge base would hold, in memory: the scores are those of the SQL of a search."""

    def __init__(self, chunks: list[tuple[str, Chunk]], titles: Mapping[str, str], vectors: Any) -> None:
        self.chunks, self.titles, self.vectors = chunks, titles, vectors
        self.languages = [detect_language(chunk.text) for _, chunk in chunks]
        self.language = Counter(filter(None, self.languages)).most_common(1)[0][0]
        self._postings: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for at, (name, chunk) in enumerate(chunks):
            text = keyword_text(title=titles[name], heading=chunk.heading, text=chunk.text)
            for dimension, weight in chunk_weights(index_terms(text, self.languages[at])).items():
                self._postings[dimension].append((at, weight))

    def language_of(self, question: str) -> str:
        return language_of(likely_languages(question), self.language) or "en"

    def find(
        self, question: str, vector: Any, without: frozenset[str] = frozenset()
    ) -> tuple[list[Hit], Mapping[str, float]]:
        """The hits of both halves, and what each term of the question says here."""
        language = self.language_of(question)
        gone = {int(at) for at in without}
        count = len(self.chunks) - len(gone)
        keywords = np.zeros(len(self.chunks))
        values: dict[str, float] = {}
        said: dict[int, set[str]] = defaultdict(set)
        for term, weight in question_terms(question, language).items():
            postings = [each for each in self._postings.get(dimension_of(term), ()) if each[0] not in gone]
            values[term] = weight * rarity_of(len(postings), count)
            for at, known in postings:
                keywords[at] += values[term] * known
                said[at].add(term)
        weighed = Weighed(values)
        cosines = np.zeros(len(self.chunks)) if vector is None else self.vectors @ vector
        allowed = [at for at in range(len(self.chunks)) if at not in gone]
        near = sorted(allowed, key=lambda at: -cosines[at])[:CANDIDATES] if vector is not None else []
        worded = sorted((at for at in allowed if keywords[at] > 0), key=lambda at: -keywords[at])[:CANDIDATES]
        found = [
            self._hit(at, float(cosines[at]), float(keywords[at] / weighed.total), weighed.share(said[at]))
            for at in dict.fromkeys([*near, *worded])
        ]
        return found, values

    def _hit(self, at: int, cosine: float, keywords: float, words: float) -> Hit:
        name, chunk = self.chunks[at]
        return Hit(
            chunk_id=ChunkId(str(at)),
            document_id=DocumentId(name),
            title=self.titles[name],
            url=None,
            ordinal=chunk.ordinal,
            heading=chunk.heading,
            anchor=None,
            text=chunk.text,
            cosine=cosine,
            keyword_score=keywords,
            words=words,
            language=self.languages[at],
        )

    def chunks_of(self, name: str) -> frozenset[str]:
        return frozenset(str(at) for at, (owner, _) in enumerate(self.chunks) if owner == name)


async def wiki(folder: Path, language: str, vectors: Vectors) -> Corpus:
    """XQuAD's passages, one document each."""
    rows = read(folder / f"xquad_retrieval/corpus.{language}.jsonl.gz")
    count = vectors.embedder.count_tokens
    chunks = [(str(row["id"]), chunk) for row in rows for chunk in chunk_document(row["text"], "text/plain", count)]
    return Corpus(
        chunks,
        {str(row["id"]): "" for row in rows},
        await vectors.of("passage", [chunk.embedding_text for _, chunk in chunks]),
    )


async def documentation(vectors: Vectors) -> Corpus:
    """This project's own pages, without the decisions: what the demo's chatbot knows."""
    chunks: list[tuple[str, Chunk]] = []
    titles: dict[str, str] = {}
    for path in sorted((HERE.parent / "docs").rglob("*.md")):
        if "decisions" in path.parts:
            continue
        page = path.read_text("utf-8")
        name = str(path.relative_to(HERE.parent))
        titles[name] = document_title(page, "text/markdown")
        chunks += [
            (name, chunk)
            for chunk in chunk_document(page, "text/markdown", vectors.embedder.count_tokens, title=titles[name])
        ]
    return Corpus(chunks, titles, await vectors.of("passage", [chunk.embedding_text for _, chunk in chunks]))


def fold_of(number: int) -> str:
    return ("train", "validation", "train", "held out")[number % 4]


def others_of(folder: Path) -> list[str]:
    """Questions of other domains."""
    rng = np.random.default_rng(0)
    others = [row["text"] for name in ("oos_train", "oos_val") for row in read(folder / f"clinc150/{name}.jsonl.gz")]
    for name in ("banking77/train", "clinc150/val"):
        rows = read(folder / f"{name}.jsonl.gz")
        others += [rows[at]["text"] for at in rng.permutation(len(rows))[:300]]
    return others


async def cases(folder: Path, vectors: Vectors, language: str, *, blind: bool = False) -> list[Case]:
    """All questions of one language, with what one embedder finds. `blind`: its vectors are not looked at."""
    embedder = vectors.embedder
    found: list[Case] = []

    def ask(
        kind: str,
        fold: str,
        corpus: Corpus,
        question: str,
        vector: Any,
        right: frozenset[str] = frozenset(),
        gone: frozenset[str] = frozenset(),
    ) -> None:
        hits, terms = corpus.find(question, None if blind else vector, gone)
        ranked = rank(
            question,
            hits,
            language=corpus.language_of(question),
            embedder=embedder.name,
            embedder_languages=frozenset() if blind else embedder.languages,
            terms=terms,
        )
        found.append(Case(kind, fold, language, ranked, right))

    articles = await wiki(folder, language, vectors)
    asked = read(folder / f"xquad_retrieval/queries.{language}.jsonl.gz")
    for row, vector in zip(asked, await vectors.of("query", [row["query"] for row in asked]), strict=True):
        fold = fold_of(row["doc"] // ARTICLE)
        right = articles.chunks_of(str(row["doc"]))
        ask("answerable", fold, articles, row["query"], vector, right)
        ask("passage removed", fold, articles, row["query"], vector, gone=right)

    others = others_of(folder)
    other_vectors = await vectors.of("query", others)
    for number, (text, vector) in enumerate(zip(others, other_vectors, strict=True)):
        ask("other domain", fold_of(number), articles, text, vector)
    if language != "en":
        return found

    docs = await documentation(vectors)
    for number, (text, vector) in enumerate(zip(others, other_vectors, strict=True)):
        ask("other domain", fold_of(number), docs, text, vector)
    own = [json.loads(line) for line in (HERE / "documentation_questions.jsonl").read_text("utf-8").splitlines()]
    for number, (row, vector) in enumerate(
        zip(own, await vectors.of("query", [row["question"] for row in own]), strict=True)
    ):
        pattern = row["answer_under"]
        right = frozenset(
            str(at)
            for at, (name, chunk) in enumerate(docs.chunks)
            if pattern and re.search(pattern, f"{docs.titles[name]} > {chunk.heading}")
        )
        fold = "test" if row.get("test") else fold_of(number)
        ask("documentation" if pattern else "other domain", fold, docs, row["question"], vector, right)
    for number in range(0, len(asked), 4):  # this project's documentation knows nothing of XQuAD's articles
        row = asked[number]
        ask(
            "other domain",
            fold_of(row["doc"] // ARTICLE),
            docs,
            row["query"],
            (await vectors.of("query", [row["query"]]))[0],
        )
    return found


def features(hit: Hit) -> list[float]:
    return [hit.cosine, hit.keyword_score, hit.words, hit.told, hit.alike]


def fit(cases: Sequence[Case], *, using: Sequence[str]) -> Calibration:
    """Logistic regression of "this hit answers"; then the intercept that puts the operating point at THRESHOLD."""
    train = [case for case in cases if case.fold in FITTED]
    counts = Counter(case.kind for case in train)
    rows = [
        (features(hit), hit.chunk_id in case.right, KINDS[case.kind] / counts[case.kind])
        for case in train
        for hit in case.hits[:FITTED_HITS]
    ]
    x = np.array([row for row, _, _ in rows])[:, [FEATURES.index(name) for name in using]]
    y = np.array([float(right) for _, right, _ in rows])
    weight = np.array([weight for *_, weight in rows])
    weight /= weight.sum()
    middle, spread = x.mean(0), x.std(0) + 1e-9
    x = np.c_[np.ones(len(x)), (x - middle) / spread]
    w = np.zeros(x.shape[1])
    ridge = 1e-4 * np.eye(len(w))
    for _ in range(100):
        p = 1 / (1 + np.exp(-x @ w))
        step = np.linalg.solve(
            (x * (weight * p * (1 - p))[:, None]).T @ x + ridge, x.T @ (weight * (p - y)) + ridge @ w
        )
        w -= step
        if np.abs(step).max() < 1e-10:
            break
    slopes = dict.fromkeys(FEATURES, 0.0) | dict(zip(using, (float(value) for value in w[1:] / spread), strict=True))
    fitted = Calibration(intercept=float(w[0] - (w[1:] / spread) @ middle), **slopes)
    wanted = math.log(THRESHOLD / (1 - THRESHOLD))
    at = operating_point([case for case in cases if case.fold in FITTED], fitted)
    return replace(fitted, intercept=fitted.intercept + wanted - at)


def operating_point(chosen: Sequence[Case], calibration: Calibration) -> float:
    """The logit that keeps KEEP of the answerable and abstains on ABSTAIN of those without their passage, with the same
    room to both, in the language that has least of it; where that cannot be, the one that keeps KEEP: a wrong "I don't know" is worse than a weak source."""
    again = [judged(case, calibration) for case in chosen]

    def best_logits(kind: str, language: str) -> list[float]:
        """Ascending; where there is a right answer, only that counts."""
        return sorted(
            max(
                (
                    _logit(hit, calibration)
                    for hit in case.hits[:ENOUGH]
                    if not case.right or hit.chunk_id in case.right
                ),
                default=-99.0,
            )
            for case in again
            if case.kind == kind and case.language == language
        )

    of_languages = [
        (best_logits("answerable", language), best_logits("passage removed", language))
        for language in sorted({case.language for case in chosen})
    ]

    def room(at: float) -> tuple[float, float]:
        return (
            min(1 - float(np.searchsorted(kept, at)) / len(kept) - KEEP for kept, _ in of_languages),
            min(float(np.searchsorted(gone, at)) / len(gone) - ABSTAIN for _, gone in of_languages),
        )

    candidates = np.linspace(-6, 6, 2401)
    best = max(candidates, key=lambda at: min(room(at)))
    return float(best if room(best)[0] >= 0 else max(at for at in candidates if room(at)[0] >= 0))


def judged(case: Case, calibration: Calibration) -> Case:
    """The case as `rank` would order it with this calibration."""
    first = [
        replace(
            hit,
            relevance=max(
                1 / (1 + math.exp(-_logit(hit, calibration))),
                hit.relevance if hit.relevance == ranking.KEYWORD_FLOOR else 0.0,
            ),
        )
        for hit in case.hits
    ]
    first.sort(key=lambda hit: -hit.relevance)
    return replace(case, hits=first)


def _logit(hit: Hit, calibration: Calibration) -> float:
    slopes = [getattr(calibration, name) for name in FEATURES]
    return calibration.intercept + float(np.dot(features(hit), slopes))


def place(case: Case) -> float:
    """The rank of the first right document, from 1; infinite if none is among the candidates."""
    # XQuAD is scored by passage, so that figures compare with other systems'; its chunks share a document.
    by: Callable[[Hit], str] = (
        (lambda hit: hit.document_id) if case.kind == "answerable" else (lambda hit: hit.chunk_id)
    )
    keys = list(dict.fromkeys(by(hit) for hit in case.hits))
    right = {by(hit) for hit in case.hits if hit.chunk_id in case.right}
    return min((keys.index(key) + 1 for key in right), default=math.inf)


def ndcg(found: Sequence[Case]) -> float:
    return float(np.mean([1 / math.log2(1 + at) if (at := place(case)) <= 10 else 0.0 for case in found]))


def is_kept(case: Case, threshold: float) -> bool:
    """A right hit among the five best, above the threshold itself."""
    return any(hit.chunk_id in case.right and hit.relevance >= threshold for hit in case.hits[:ENOUGH])


def report(name: str, chosen: Sequence[Case], thresholds: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9)) -> None:
    print(f" {name}")
    for kind in ("answerable", "documentation"):
        some = [case for case in chosen if case.kind == kind]
        if some:
            recall = [float(np.mean([place(case) <= most for case in some])) for most in (1, 5)]
            print(
                f"  {kind} ({len(some)}): nDCG@10 {ndcg(some):.4f}, recall@1 {recall[0]:.3f}, recall@5 {recall[1]:.3f}"
            )
    for threshold in thresholds:
        parts: list[str] = []
        for kind in KINDS:
            some = [case for case in chosen if case.kind == kind]
            if some and kind in ("answerable", "documentation"):
                answered = np.mean([bool(case.hits) and case.hits[0].relevance >= threshold for case in some])
                parts.append(f"{kind} kept {np.mean([is_kept(case, threshold) for case in some]):.3f}/{answered:.3f}")
            elif some:
                parts.append(
                    f"{kind} abstained {np.mean([not case.hits or case.hits[0].relevance < threshold for case in some]):.3f}"
                )
        print(f"  threshold {threshold}: {', '.join(parts)}")


def reliability(chosen: Sequence[Case]) -> None:
    """Of the first hits with a relevance about x, how many answer? With nine of ten questions answerable."""
    answerable = [case for case in chosen if case.kind in ("answerable", "documentation")]
    others = [case for case in chosen if case.kind in ("passage removed", "other domain")]
    parts: list[str] = []
    edges = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.01)
    for low, high in itertools.pairwise(edges):
        right = total = said = 0.0
        for cases, share in ((answerable, 0.9), (others, 0.1)):
            for case in cases:
                if case.hits and low <= case.hits[0].relevance < high:
                    weight = share / len(cases)
                    total += weight
                    said += weight * case.hits[0].relevance
                    right += weight * (case.hits[0].chunk_id in case.right)
        if total:
            parts.append(f"{said / total:.2f}: {right / total:.2f} ({total:.0%})")
    print(f"  held out, first hit's relevance: share that answers (of all): {', '.join(parts)}")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--only", help="minilm, multilingual-e5 or keywords")
    options = parser.parse_args()
    async with open_embedder(2) as local:
        runs = [
            ("minilm", local.get("minilm-l6-v2-int8"), ("en",), False),
            ("multilingual-e5", local.get("multilingual-e5-small-q4"), ("en", "de"), False),
            ("keywords", local.get("minilm-l6-v2-int8"), ("de",), True),
        ]
        for name, embedder, languages, blind in runs:
            if options.only and options.only != name:
                continue
            assert embedder is not None
            vectors = Vectors(embedder, options.cache)
            by_language = {
                language: await cases(options.folder, vectors, language, blind=blind) for language in languages
            }
            everything = [case for found in by_language.values() for case in found]
            calibration = fit(everything, using=OF_KEYWORDS if blind else OF_VECTORS)
            print(f"{name}: {', '.join(f'{k}={getattr(calibration, k):.2f}' for k in ('intercept', *FEATURES))}")
            for language, found in by_language.items():
                again = [judged(case, calibration) for case in found]
                for fold in ("train", "validation", "held out", "test"):
                    if chosen := [case for case in again if case.fold == fold]:
                        report(f"{language}, {fold}", chosen)
                reliability([case for case in again if case.fold == "held out"])


if __name__ == "__main__":
    asyncio.run(main())
