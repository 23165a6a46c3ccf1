"""How well a search finds, and when it should rather find nothing: XQuAD over the product's own tables and SQL.

    python -m bench.quality.retrieval [folder of the data] [--cache FOLDER]

A server of its own is started and filled as an upload would fill it: chunks, vectors, keywords. Each question is asked
once; BM25 and the bare embedder are the two halves of the very same search. "Passage removed" leaves the hits of the
question's own passage out of what was found; its neighbours of the same article stay. Writes its section of
`docs/reference/quality.md`. Figures of the fold that `training/fit_relevance.py` fitted no constant on stand beside
those of all questions.
"""

import argparse
import asyncio
import hashlib
import math
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.quality.articles import ARTICLE, read_rows
from bench.quality.page import put
from chatwright.adapters.models import Embedder, open_embedder
from chatwright.adapters.postgres import Database, open_database
from chatwright.adapters.postgres.migrate import migrate
from chatwright.app.embedded import run_embedded
from chatwright.domain.detection import likely_languages
from chatwright.domain.ids import KnowledgeBaseId, TenantId, new_id
from chatwright.domain.scope import Scope
from chatwright.domain.terms import question_terms
from chatwright.features import knowledge
from chatwright.features.knowledge import Hit

THRESHOLD = 0.7
SOURCES = 5
DEPTH = 10
HELD_OUT = 3
"""Of four folds of articles, the one that no constant was fitted on (see training/fit_relevance.py)."""
LANGUAGES = {"en": "English", "de": "German"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question: the ranks of its passage from 1 (infinite: not among the ten best), and what the threshold did."""

    held_out: bool
    by_words: float
    by_vector: float
    by_both: float
    kept: bool
    abstained: bool
    search_ms: float
    embed_ms: float


class Vectors:
    """An embedder that remembers passages over runs if there is a folder: they take minutes."""

    def __init__(self, embedder: Embedder, folder: Path | None) -> None:
        self.embedder = embedder
        self._file = folder / f"{embedder.name}.pkl" if folder else None
        self._known: dict[str, Any] = {}
        if self._file and self._file.exists():
            self._known = pickle.loads(self._file.read_bytes())

    async def of(self, texts: Sequence[str]) -> list[Any]:
        keys = [hashlib.sha256(f"passage\0{text}".encode()).hexdigest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        self._known.update(zip(missing, await self.embedder.embed(list(missing.values()), bulk=True), strict=True))
        if missing and self._file:
            self._file.write_bytes(pickle.dumps(self._known))
        return [np.asarray(self._known[key]) for key in keys]


async def fill(
    db: Database, scope: Scope, vectors: Vectors, rows: Sequence[dict[str, Any]]
) -> tuple[KnowledgeBaseId, dict[str, int]]:
    """A knowledge base of XQuAD's passages, one document each; and which document is which passage."""
    embedder = vectors.embedder
    async with db.transaction(scope) as connection:
        base = await knowledge.create_knowledge_base(
            connection, scope, embedder.name, embedder=embedder.name, dimension=embedder.dimension
        )
    passages: dict[str, int] = {}
    for row in rows:
        chunks = knowledge.chunk_document(row["text"], "text/plain", embedder.count_tokens)
        found = await vectors.of([chunk.embedding_text for chunk in chunks])
        async with db.transaction(scope) as connection:
            document = await knowledge.create_document(connection, scope, base.id, title="", text=row["text"])
            await knowledge.replace_chunks(connection, scope, document.id, chunks, found)
        passages[document.id] = int(row["id"])
    return base.id, passages


async def ask(
    db: Database,
    scope: Scope,
    base: KnowledgeBaseId,
    passages: dict[str, int],
    embedder: Embedder,
    question: str,
    passage: int,
) -> Asked:
    started = time.perf_counter()
    vector = (await embedder.embed_queries([question]))[0]
    embedded = time.perf_counter()
    async with db.transaction(scope) as connection:
        main = await knowledge.main_language(connection, scope, base)
        language = knowledge.language_of(likely_languages(question), main) or "en"
        found = await knowledge.retrieve(
            connection,
            scope,
            base,
            vector,
            terms=question_terms(question, language),
            top_k=knowledge.CANDIDATES,
            embedder=embedder.name,
        )

    def ranked(hits: Sequence[Hit]) -> list[Hit]:
        return knowledge.rank(
            question,
            hits,
            language=language,
            embedder=embedder.name,
            embedder_languages=embedder.languages,
            cosines=found.cosines,
            terms=found.terms,
        )

    both = ranked(found.hits)
    searched = time.perf_counter()
    sources = knowledge.choose(both, threshold=THRESHOLD, at_most=SOURCES)
    others = ranked([hit for hit in found.hits if passages[hit.document_id] != passage])

    def place(order: Sequence[Hit]) -> float:
        seen = list(dict.fromkeys(passages[hit.document_id] for hit in order))[:DEPTH]
        return seen.index(passage) + 1 if passage in seen else math.inf

    return Asked(
        held_out=passage // ARTICLE % 4 == HELD_OUT,
        by_words=place(sorted(found.hits, key=lambda hit: -hit.keyword_score)),
        by_vector=place(sorted(found.hits, key=lambda hit: -hit.cosine)),
        by_both=place(both),
        kept=any(choice.n is not None and passages[choice.hit.document_id] == passage for choice in sources),
        abstained=not others or others[0].relevance < THRESHOLD,
        search_ms=(searched - embedded) * 1e3,
        embed_ms=(embedded - started) * 1e3,
    )


async def abstained_elsewhere(
    db: Database,
    scope: Scope,
    base: KnowledgeBaseId,
    passages: dict[str, int],
    embedder: Embedder,
    questions: Sequence[str],
) -> float:
    """The share of questions of another domain that get no source."""
    asked = [await ask(db, scope, base, passages, embedder, question, -1) for question in questions]
    return statistics.fmean(one.abstained for one in asked)


def ndcg(asked: Sequence[Asked], place: Callable[[Asked], float]) -> float:
    """nDCG@10 with one right passage a question."""
    return statistics.fmean(1 / math.log2(1 + place(one)) if place(one) < math.inf else 0.0 for one in asked)


async def trial(db: Database, folder: Path, cache: Path | None) -> tuple[list[str], list[str]]:
    """The rows of the two tables."""
    quality: list[str] = []
    silence: list[str] = []
    others = [row["text"] for name in ("oos_train", "oos_val") for row in read_rows(folder, f"clinc150/{name}")]
    others += [row["text"] for row in read_rows(folder, "banking77/train")[:: len(others) // 8]][:200]
    async with open_embedder(2) as local:
        for name in ("minilm-l6-v2-int8", "multilingual-e5-small-q4"):
            embedder = local.get(name)
            assert embedder is not None
            vectors = Vectors(embedder, cache)
            for language, called in LANGUAGES.items():
                scope = Scope(tenant_id=TenantId(new_id()))
                async with db.operator() as connection:
                    await connection.execute("INSERT INTO tenants (id, name) VALUES ($1, 'bench')", scope.tenant_id)
                base, passages = await fill(db, scope, vectors, read_rows(folder, f"xquad_retrieval/corpus.{language}"))
                asked = [
                    await ask(db, scope, base, passages, embedder, row["query"], int(row["doc"]))
                    for row in read_rows(folder, f"xquad_retrieval/queries.{language}")
                ]
                elsewhere = await abstained_elsewhere(db, scope, base, passages, embedder, others)
                for fold, some in (("all", asked), ("held out", [one for one in asked if one.held_out])):
                    quality.append(
                        f"| {called} | {name} | {fold} ({len(some):,}) | {ndcg(some, lambda one: one.by_words):.3f} "
                        f"| {ndcg(some, lambda one: one.by_vector):.3f} | **{ndcg(some, lambda one: one.by_both):.3f}** |"
                    )
                    silence.append(
                        f"| {called} | {name} | {fold} ({len(some):,}) | {statistics.fmean(one.kept for one in some):.1%} "
                        f"| {statistics.fmean(one.abstained for one in some):.1%} "
                        f"| {f'{elsewhere:.1%}' if fold == 'all' else ''} |"
                    )
                took = sorted(one.search_ms for one in asked)
                whole = sorted(one.search_ms + one.embed_ms for one in asked)
                print(
                    f"{called}, {name}: {len(passages)} passages, search p50 {took[len(took) // 2]:.1f} ms, "
                    f"p95 {took[len(took) * 95 // 100]:.1f} ms, with the question's vector p95 {whole[len(whole) * 95 // 100]:.1f} ms"
                )
    return quality, silence


def section(quality: Sequence[str], silence: Sequence[str]) -> str:
    return "\n".join(
        [
            (
                "XQuAD (`xquad_retrieval/corpus` and `queries`): 240 passages and 1,190 questions a language, one document a "
                "passage, nDCG@10 by passage. BM25 is the keyword half alone, with the same stems; the bare embedder is its "
                "cosine alone. The weights of the two halves, and what counts as evidence, were chosen with all of these "
                "questions in view, so every figure here is a little kind. The constants of the relevance were fitted on "
                'three quarters of the articles; "held out" are the questions of the last quarter, which those constants '
                "have not seen."
            ),
            "",
            "| language | embedder | questions | BM25 | bare embedder | hybrid |",
            "| --- | --- | --- | --- | --- | --- |",
            *quality,
            "",
            (
                f"At a relevance of {THRESHOLD}. Kept: the right passage is among the {SOURCES} sources. Passage removed: the share "
                "of questions that get no source once their own passage is gone, while the others of its article stay. Other "
                "domain: questions that fit no assistant and questions to a bank (`clinc150/oos_*`, 200 of `banking77/train`), "
                "asked in English."
            ),
            "",
            "| language | embedder | questions | kept | abstained, passage removed | abstained, other domain |",
            "| --- | --- | --- | --- | --- | --- |",
            *silence,
        ]
    )


async def measure(folder: Path, cache: Path | None) -> str:
    """The section of the page, in Markdown. Prints times."""
    # Sockets need short paths.
    with tempfile.TemporaryDirectory(prefix="cw-quality-", dir="/tmp") as directory:
        async with run_embedded(Path(directory), durable=False) as servers:
            await migrate(servers.database_url)
            async with open_database(servers.database_url, max_connections=4) as db:
                return section(*await trial(db, folder, cache))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    put("retrieval", asyncio.run(measure(options.folder, options.cache)))


if __name__ == "__main__":
    main()
