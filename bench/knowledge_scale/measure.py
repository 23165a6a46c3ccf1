"""How long a search takes and what it finds, of what an exact one would."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.knowledge_scale.corpus import Corpus, Matrix
from bench.knowledge_scale.load import Base, nearest
from bench.machine import percentile
from chatwright.adapters.models import LocalEmbedders
from chatwright.adapters.postgres import Database
from chatwright.domain.scope import Scope
from chatwright.features.knowledge import is_large
from chatwright.features.knowledge.hit import Hit
from chatwright.features.knowledge.search import Retrieved, retrieve

TOP_K = 20
VECTOR_WEIGHT = 1.67  # as the default embedder's in ranking.py
WARM_UP = 10
EXACT_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Searches:
    """One base, or several alike, asked by one caller after another. Times in seconds; shares 0..1, None: not asked.

    `near_5`, `near_20`: of the nearest vectors by brute force, found. `best_5`: of the five that the exact scan puts
    first by both halves, among the five that this search puts first. `foreign`: chunks of somebody else.
    """

    name: str
    way: str
    questions: int
    p50_s: float
    p95_s: float
    near_5: float | None
    near_20: float | None
    best_5: float | None
    foreign: int


@dataclass(frozen=True, slots=True)
class Asked:
    """`wanted`: ids of the nearest chunks, nearest first."""

    base: Base
    vector: Matrix
    terms: dict[str, float]
    wanted: list[bytes]


def questions_of(corpus: Corpus, bases: Sequence[Base], count: int) -> list[Asked]:
    """Questions that chunks of these bases answer, base by base."""
    found: list[Asked] = []
    for number, base in enumerate(bases):
        share = len(range(number, count, len(bases)))
        asked = [corpus.question(base.samples[at % len(base.samples)]) for at in range(share)]
        wanted = nearest(base, [vector for vector, _ in asked], TOP_K) if asked else []
        found += [Asked(base, vector, terms, ids) for (vector, terms), ids in zip(asked, wanted, strict=True)]
    return found


async def search(db: Database, asked: Asked, *, large: bool, top_k: int = TOP_K) -> Retrieved:
    scope = Scope(tenant_id=asked.base.tenant_id)
    async with db.transaction(scope) as connection:
        return await retrieve(
            connection, scope, asked.base.id, asked.vector, terms=asked.terms, top_k=top_k, large=large
        )


async def measure(
    db: Database,
    operator: Any,
    name: str,
    questions: Sequence[Asked],
    *,
    chunks: int,
    large: bool | None = None,
    exact: bool = True,
    embedder: LocalEmbedders | None = None,
) -> Searches:
    """`large` None: as the product chooses for `chunks`. `embedder`: each search begins with embedding a question, a new
    one each time. `operator`: a superuser's connection, which looks whose chunks were found."""
    large = is_large(chunks) if large is None else large
    for asked in questions[:WARM_UP]:
        await search(db, asked, large=large)
    took_s: list[float] = []
    shares: dict[int, list[float]] = {5: [], 20: []}
    foreign = 0
    found_by: list[tuple[Asked, Retrieved]] = []
    until_s = time.monotonic() + EXACT_WITHIN_S
    for number, asked in enumerate(questions):
        if large is False and time.monotonic() > until_s:
            break
        began_s = time.perf_counter()
        if embedder is not None:
            await embedder.embed_queries([f"{' '.join(asked.terms)} {number}?"])
        found = await search(db, asked, large=large)
        took_s.append(time.perf_counter() - began_s)
        found_by.append((asked, found))
    for asked, found in found_by:
        ids = {_raw(hit) for hit in found.hits}
        foreign += await operator.fetchval(
            "SELECT count(*) FROM chunks WHERE id = ANY($1::uuid[]) AND knowledge_base_id <> $2::text::uuid",
            [hit.chunk_id for hit in found.hits],
            asked.base.id,
        )
        if asked.wanted:
            for count, share in shares.items():
                share.append(len(ids.intersection(asked.wanted[:count])) / len(asked.wanted[:count]))
    return Searches(
        name=name,
        way=("both indexes" if large else "exact scan") + (", with the embedding" if embedder else ""),
        questions=len(took_s),
        p50_s=percentile(took_s, 0.5),
        p95_s=percentile(took_s, 0.95),
        near_5=_mean(shares[5]),
        near_20=_mean(shares[20]),
        best_5=await _agreement(db, found_by) if large and exact else None,
        foreign=foreign,
    )


async def _agreement(db: Database, found_by: Sequence[tuple[Asked, Retrieved]]) -> float | None:
    until_s = time.monotonic() + EXACT_WITHIN_S
    shares: list[float] = []
    for asked, found in found_by:
        if time.monotonic() > until_s:
            break
        wanted = _best(await search(db, asked, large=False))
        shares.append(len(set(_best(found)).intersection(wanted)) / max(1, len(wanted)))
    return _mean(shares)


def _best(found: Retrieved) -> list[str]:
    ordered = sorted(found.hits, key=lambda hit: -(VECTOR_WEIGHT * hit.cosine + hit.keyword_score))
    return [hit.chunk_id for hit in ordered[:5]]


def _raw(hit: Hit) -> bytes:
    return bytes.fromhex(hit.chunk_id.replace("-", ""))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


# --- what was not chosen ----------------------------------------------------------------------------------------------

PARTITIONS = 16
COPY_VECTORS = "SELECT id, tenant_id, knowledge_base_id, embedding::halfvec({dimension}) AS embedding FROM chunks"
INDEX = "CREATE INDEX ON {table} USING hnsw (embedding halfvec_ip_ops)"
NEAREST = """
SELECT id FROM {table} WHERE tenant_id = $1::text::uuid AND knowledge_base_id = $2::text::uuid
 ORDER BY embedding <#> $3::real[]::halfvec({dimension}) LIMIT 20
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One strategy for all bases together, asked for the vectors of one of them. Sizes in bytes, times in seconds."""

    strategy: str
    name: str
    build_s: float
    index_bytes: int
    p50_s: float
    p95_s: float
    near_5: float


async def compare(
    connection: Any, targets: Sequence[tuple[str, Sequence[Asked]]], *, dimension: int, tell: Callable[[str], None]
) -> list[Alternative]:
    """One index over all bases, filtered while it is walked; and a table partitioned by tenant. Vectors alone, copied to
    tables of their own, as the superuser: without policies, so these are lower bounds."""
    found: list[Alternative] = []
    await connection.execute(f"CREATE UNLOGGED TABLE global_near AS {COPY_VECTORS.format(dimension=dimension)}")
    found += await _strategy(connection, "global_near", "one index for all", targets, dimension, tell)
    await connection.execute("DROP TABLE global_near")
    await connection.execute(
        f"""CREATE TABLE parted_near (id uuid, tenant_id uuid, knowledge_base_id uuid, embedding halfvec({dimension}))
            PARTITION BY HASH (tenant_id)"""
    )
    for rest in range(PARTITIONS):
        await connection.execute(
            f"""CREATE UNLOGGED TABLE parted_near_{rest} PARTITION OF parted_near
                FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {rest})"""
        )
    await connection.execute(f"INSERT INTO parted_near {COPY_VECTORS.format(dimension=dimension)}")
    name = f"{PARTITIONS} partitions by tenant"
    found += await _strategy(connection, "parted_near", name, targets, dimension, tell)
    await connection.execute("DROP TABLE parted_near")
    return found


async def _strategy(
    connection: Any,
    table: str,
    strategy: str,
    targets: Sequence[tuple[str, Sequence[Asked]]],
    dimension: int,
    tell: Callable[[str], None],
) -> list[Alternative]:
    tell(f"compare: {strategy}")
    began_s = time.perf_counter()
    await connection.execute(INDEX.format(table=table))
    build_s = time.perf_counter() - began_s
    # What chunks have as well: the planner may prefer it.
    await connection.execute(f"CREATE INDEX ON {table} (tenant_id, knowledge_base_id)")
    await connection.execute(f"ANALYZE {table}")
    size = await connection.fetchval(
        """SELECT sum(pg_relation_size(i.indexrelid))::bigint FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'hnsw' AND i.indrelid::regclass::text LIKE $1 || '%'""",
        table,
    )
    found: list[Alternative] = []
    await connection.execute("SET hnsw.ef_search = 100")
    # Walk the index even where the planner would rather compare all chunks of a small base: that is what is asked.
    await connection.execute("SET enable_sort = off")
    for mode in ("off", "relaxed_order", "strict_order"):
        await connection.execute(f"SET hnsw.iterative_scan = {mode}")
        for name, questions in targets:
            took_s: list[float] = []
            shares: list[float] = []
            for number, asked in enumerate(questions):
                began_s = time.perf_counter()
                rows = await connection.fetch(
                    NEAREST.format(table=table, dimension=dimension),
                    asked.base.tenant_id,
                    asked.base.id,
                    asked.vector.tolist(),
                )
                if number >= WARM_UP:
                    took_s.append(time.perf_counter() - began_s)
                wanted = asked.wanted[:5]
                shares.append(len({row["id"].bytes for row in rows}.intersection(wanted)) / len(wanted))
            found.append(
                Alternative(
                    strategy=f"{strategy}, iterative scan {mode}",
                    name=name,
                    build_s=build_s,
                    index_bytes=size,
                    p50_s=percentile(took_s, 0.5),
                    p95_s=percentile(took_s, 0.95),
                    near_5=float(np.mean(shares)),
                )
            )
    await connection.execute("RESET enable_sort")
    return found
