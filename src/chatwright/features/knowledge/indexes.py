"""HNSW indexes of large knowledge bases, one for each: which there are, which there should be, and their statements.

Called by `pipeline/knowledge_indexes.py`, which makes and drops them; `large_search.py` profits. The indexes are partial:
each holds the vectors of one base, so a search is never filtered, and small bases pay for none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import KnowledgeBaseId, is_id
from chatwright.features.knowledge.large_search import LARGE_FROM, is_large
from chatwright.features.knowledge.store import KnowledgeBase

DROP_BELOW = 0.5
"""An index goes when its base has shrunk below this share of the bound: a base about the bound must not flicker."""
MOST = 64
"""Indexes at a time, of the largest bases. Each costs every insert and the planning of every search a little: with 200 of
them searches in all bases took twice as long and more. Other bases are scanned."""
_SPARE = 1.25  # an index stays while its base is among so many times MOST of the largest
_PREFIX = "chunks_near_"
_LINKS_BYTES = 720  # what the graph takes in memory for one chunk, beside its vector: measured

LIST_BASES = """
-- operators: bases that have an index or should have one. $1 the bound in chunks, $2 bases that have one. Over all tenant_id.
SELECT id, dimension, chunk_count, next_embedder IS NOT NULL AS changes FROM knowledge_bases
 WHERE deleted_at IS NULL AND (chunk_count >= $1 OR id = ANY($2::uuid[]))
 ORDER BY chunk_count DESC, id
"""

LIST_INDEXES = """
-- Of the table that our statements find. An index that is being made, or whose making was cut short, is not valid.
SELECT c.relname AS name, i.indisvalid AND i.indisready AS valid
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = to_regclass('chunks') AND c.relname LIKE 'chunks\\_near\\_%'
 ORDER BY c.relname
"""

MAY_INDEX = """
-- Whether this user owns the table.
SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('chunks')
"""

CREATE_NEAR = """
CREATE INDEX CONCURRENTLY {name} ON chunks USING hnsw ((embedding::halfvec({dimension})) halfvec_ip_ops)
 WHERE knowledge_base_id = '{base}' AND vector_dims(embedding) = {dimension}
"""

DROP_NEAR = "DROP INDEX CONCURRENTLY IF EXISTS {name}"

SearchState = Literal["scanned", "indexed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A base as far as its index is concerned. `changes`: it is about to get other vectors."""

    id: KnowledgeBaseId
    dimension: int
    chunk_count: int
    changes: bool = False

    @property
    def index_name(self) -> str:
        return f"{_PREFIX}{self.dimension}_{self.id.replace('-', '')}"

    @property
    def graph_bytes(self) -> int:
        """What making the index takes in memory, so that it is not made on disk, which takes many times as long."""
        return math.ceil(self.chunk_count * (2 * self.dimension + _LINKS_BYTES) * 1.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    name: str
    valid: bool

    @property
    def base_id(self) -> KnowledgeBaseId:
        digits = self.name.rpartition("_")[2]
        return KnowledgeBaseId("-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`drop`: names of indexes. `make`: bases, the largest first."""

    drop: tuple[str, ...]
    make: tuple[Size, ...]


def plan(sizes: Sequence[Size], indexes: Sequence[Index], *, bound: int = LARGE_FROM, most: int = MOST) -> Plan:
    """What to drop (not valid, of no base, of a base that shrank or has vectors of another dimension) and what to make.

    None is made for a base that changes: its vectors would be written into it one by one.
    """
    ordered = sorted(sizes, key=lambda size: (-size.chunk_count, size.id))
    wanted = [size for size in ordered[:most] if size.chunk_count >= bound and not size.changes]
    kept = {size.index_name for size in ordered[: int(most * _SPARE)] if size.chunk_count >= bound * DROP_BELOW}
    valid = {index.name for index in indexes if index.valid and index.name in kept}
    return Plan(
        drop=tuple(index.name for index in indexes if index.name not in valid),
        make=tuple(size for size in wanted if size.index_name not in valid),
    )


async def list_sizes(db: Connection, indexes: Sequence[Index], *, bound: int = LARGE_FROM) -> list[Size]:
    """Bases of at least `bound` chunks and those that have one of `indexes`. The operators' role."""
    rows = await db.fetch(LIST_BASES, bound, [index.base_id for index in indexes])
    return [
        Size(
            id=KnowledgeBaseId(str(row["id"])),
            dimension=row["dimension"],
            chunk_count=row["chunk_count"],
            changes=row["changes"],
        )
        for row in rows
    ]


async def list_indexes(db: Connection) -> list[Index]:
    """All there are, of every base, by name. Any role."""
    return [
        index
        for row in await db.fetch(LIST_INDEXES)
        for index in (Index(name=row["name"], valid=row["valid"]),)
        if is_id(index.base_id)
    ]


async def may_index(db: Connection) -> bool:
    """Whether the connection's user may make and drop indexes."""
    return bool(await db.fetchval(MAY_INDEX))


async def make_index(db: Connection, size: Size) -> None:
    """Make a base's index while the base is in use. Outside a transaction; takes minutes for a million chunks."""
    if not is_id(size.id):
        raise ValueError(f"not an id: {size.id!r}")
    await db.execute(CREATE_NEAR.format(name=size.index_name, base=size.id, dimension=int(size.dimension)))


async def drop_index(db: Connection, name: str) -> None:
    """Drop an index of `list_indexes`. Outside a transaction."""
    if not (name.startswith(_PREFIX) and name.isascii() and name.replace("_", "").isalnum()):
        raise ValueError(f"not one of our indexes: {name!r}")
    await db.execute(DROP_NEAR.format(name=name))


async def search_state(db: Connection, base: KnowledgeBase) -> SearchState:
    """How a base is searched: all its chunks compared, or by indexes. Any role."""
    if not is_large(base.chunk_count):
        return "scanned"
    name = Size(id=base.id, dimension=base.dimension, chunk_count=base.chunk_count).index_name
    return "indexed" if any(index.name == name and index.valid for index in await list_indexes(db)) else "scanned"
