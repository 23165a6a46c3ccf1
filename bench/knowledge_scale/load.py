"""Bases of a given size into PostgreSQL by COPY, as indexing would have left them. Past the product: indexing a million
chunks takes hours of embedding.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.knowledge_scale.corpus import (
    CHUNKS_PER_DOCUMENT,
    LANGUAGE,
    Corpus,
    Keys,
    Made,
    Matrix,
    halfvec,
    integers,
    sparsevec,
    weigh,
)
from chatwright.domain.ids import KnowledgeBaseId, TenantId, new_id
from chatwright.features.knowledge.index_form import INDEX_FORM
from chatwright.features.knowledge.keywords import DIMENSIONS

EMBEDDER = "minilm-l6-v2-int8"
_HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TAIL = struct.pack("!h", -1)
_COLUMNS = (
    *("id", "tenant_id", "knowledge_base_id", "document_id", "ordinal", "text", "tokens", "content_hash", "language"),
    *("term_count", "keywords", "term_keys", "embedding"),
)
_BATCH = 2_000
_BLOCK = 50_000
SECONDARY = """
SELECT c.relname AS name, pg_get_indexdef(c.oid) AS definition
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = 'chunks'::regclass AND NOT i.indisprimary AND NOT i.indisunique
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A loaded base. `vectors`: (chunks, d), half precision, by `ids`; `samples`: some of its chunks, to ask for."""

    id: KnowledgeBaseId
    tenant_id: TenantId
    ids: NDArray[np.void]
    vectors: NDArray[np.float16]
    samples: tuple[Made, ...]


class Loader:
    """Writes as the superuser, who is above policies; foreign keys are not looked at meanwhile."""

    def __init__(self, connection: Any, corpus: Corpus) -> None:
        self._db = connection
        self._corpus = corpus

    async def begin(self) -> None:
        await self._db.execute("SET session_replication_role = replica")
        await self._db.execute("SET synchronous_commit = off")
        self._secondary = {row["name"]: row["definition"] for row in await self._db.fetch(SECONDARY)}
        for name in self._secondary:
            await self._db.execute(f"DROP INDEX {name}")

    async def end(self, *, memory_mib: int) -> dict[str, float]:
        """Make the table's own indexes again, and the counts. Returns seconds by index."""
        took_s: dict[str, float] = {}
        clock = asyncio.get_running_loop().time
        await self._db.execute(f"SET maintenance_work_mem = '{memory_mib}MB'")
        for name, definition in self._secondary.items():
            began_s = clock()
            await self._db.execute(definition)
            took_s[name] = clock() - began_s
        for table in ("chunks", "knowledge_terms", "knowledge_bases", "documents"):
            await self._db.execute(f"VACUUM (ANALYZE) {table}")
        return took_s

    async def load(self, chunks: int, *, samples: int, keep: bool) -> Base:
        """A tenant with one base of `chunks` chunks. `keep`: its vectors too, for exact answers."""
        tenant_id, base_id = new_id(), new_id()
        keys, kept = Keys(base_id), _Kept(chunks, min(chunks, samples), keep=keep)
        documents: list[bytes] = []
        await self._db.execute("INSERT INTO tenants (id, name) VALUES ($1::text::uuid, 'Scale')", tenant_id)
        rows = self._rows(chunks, _uuid(tenant_id), _uuid(base_id), keys, kept, documents)
        await self._db.copy_to_table("chunks", source=_stream(rows), columns=_COLUMNS, format="binary")
        await self._db.execute(
            """INSERT INTO documents (id, tenant_id, knowledge_base_id, title, media_type, text, content_hash, state,
                                      chunk_count, index_form)
               SELECT id, $1::text::uuid, $2::text::uuid, 'Scale', 'text/plain', '', '', 'indexed', $4, $5
                 FROM unnest($3::bytea[]) AS raw, LATERAL (SELECT encode(raw, 'hex')::uuid AS id) AS made""",
            tenant_id,
            base_id,
            documents,
            CHUNKS_PER_DOCUMENT,
            INDEX_FORM,
        )
        await self._db.execute(
            """INSERT INTO knowledge_terms (tenant_id, knowledge_base_id, term_key, documents)
               SELECT $1::text::uuid, $2::text::uuid, key, documents FROM unnest($3::integer[], $4::bigint[]) AS t (key, documents)""",
            tenant_id,
            base_id,
            list(keys.documents),
            list(keys.documents.values()),
        )
        await self._db.execute(
            """INSERT INTO knowledge_bases (id, tenant_id, name, embedder, dimension, chunk_count)
               VALUES ($2::text::uuid, $1::text::uuid, 'Scale', $3, $4, $5)""",
            tenant_id,
            base_id,
            EMBEDDER,
            kept.dimension,
            chunks,
        )
        return Base(
            id=KnowledgeBaseId(base_id),
            tenant_id=TenantId(tenant_id),
            ids=np.array(kept.ids, dtype="V16"),
            vectors=np.concatenate(kept.vectors) if kept.vectors else np.empty((0, 0), np.float16),
            samples=tuple(kept.samples),
        )

    def _rows(
        self, chunks: int, tenant_id: bytes, base_id: bytes, keys: Keys, kept: "_Kept", documents: list[bytes]
    ) -> Iterator[bytes]:
        made = self._corpus.chunks(chunks)
        document_id = b""
        ordinal = 0
        while batch := list(islice(made, _BATCH)):
            encoded: list[bytes] = []
            vectors = np.stack([each.vector for each in batch]).astype(np.float16)
            for each, vector in zip(batch, vectors, strict=True):
                if ordinal % CHUNKS_PER_DOCUMENT == 0:
                    document_id = _uuid(new_id())
                    documents.append(document_id)
                chunk_id = _uuid(new_id())
                kept.note(chunk_id, each)
                encoded.append(_row(each, vector, chunk_id, tenant_id, base_id, document_id, ordinal, keys))
                ordinal += 1
            kept.note_vectors(vectors)
            yield b"".join(encoded)


class _Kept:
    """What the measurement needs of a base's chunks."""

    def __init__(self, chunks: int, samples: int, *, keep: bool) -> None:
        self._every = max(1, chunks // samples)
        self._keep = keep
        self._seen = 0
        self.ids: list[bytes] = []
        self.vectors: list[NDArray[np.float16]] = []
        self.samples: list[Made] = []
        self.dimension = 0

    def note(self, chunk_id: bytes, made: Made) -> None:
        if self._seen % self._every == 0:
            self.samples.append(made)
        if self._keep:
            self.ids.append(chunk_id)
        self._seen += 1

    def note_vectors(self, vectors: NDArray[np.float16]) -> None:
        self.dimension = vectors.shape[1]
        if self._keep:
            self.vectors.append(vectors)


def _row(
    made: Made,
    vector: NDArray[np.float16],
    chunk_id: bytes,
    tenant_id: bytes,
    base_id: bytes,
    document_id: bytes,
    ordinal: int,
    keys: Keys,
) -> bytes:
    at, weights = weigh(made.counts)
    text = made.text.encode()
    fields = (
        *(chunk_id, tenant_id, base_id, document_id, ordinal.to_bytes(4), text, (len(text) // 4).to_bytes(4)),
        *(chunk_id * 2, LANGUAGE.encode(), made.counts.total().to_bytes(4), sparsevec(at, weights, DIMENSIONS)),
        *(integers(keys.of(made.counts)), halfvec(vector)),
    )
    return len(fields).to_bytes(2) + b"".join([len(field).to_bytes(4) + field for field in fields])


async def _stream(rows: Iterator[bytes]) -> AsyncIterator[bytes]:
    yield _HEAD
    for part in rows:
        yield part
        await asyncio.sleep(0)
    yield _TAIL


def nearest(base: Base, questions: Sequence[Matrix], count: int) -> list[list[bytes]]:
    """For each question the ids of the `count` nearest chunks, nearest first, by brute force over the vectors as they are
    stored. Empty for a base whose vectors were not kept."""
    if not len(base.vectors):
        return [[] for _ in questions]
    asked = np.stack(questions).astype(np.float16).astype(np.float32).T
    best: list[list[tuple[float, int]]] = [[] for _ in questions]
    for start in range(0, len(base.vectors), _BLOCK):
        scores = base.vectors[start : start + _BLOCK].astype(np.float32) @ asked
        kept = min(count, len(scores))
        top = np.argpartition(-scores, kept - 1, axis=0)[:kept]
        for at, found in enumerate(best):
            found += [(float(scores[row, at]), start + int(row)) for row in top[:, at]]
            found.sort(reverse=True)
            del found[count:]
    return [[base.ids[row].tobytes() for _, row in found] for found in best]


def _uuid(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))
