"""Shapes of knowledge in the native API: bases, documents, crawls, searches."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chatwright.entrypoints.wire import JsonObject, MediaType, Name, Request

Address = Annotated[str, Meta(min_length=1, max_length=2_000)]
SourceKey = Annotated[str, Meta(min_length=1, max_length=1_000)]
Pages = Annotated[int, Meta(ge=1, le=1_000_000)]
EmbedderName = Annotated[str, Meta(min_length=1, max_length=200)]
Dimension = Annotated[int, Meta(ge=1, le=16_000)]


class KnowledgeBaseCreate(Request, frozen=True):
    """`embedder` as listed by `GET /api/v1/embedders`; absent: the platform's default."""

    name: Name
    embedder: EmbedderName | None = None
    dimension: Dimension | None = None


class KnowledgeBasePatch(Request, frozen=True):
    """Another `embedder` embeds every passage again; searches use the present one until that is done."""

    name: Name | UnsetType = UNSET
    embedder: EmbedderName | UnsetType = UNSET
    dimension: Dimension | None = None


class KnowledgeBaseReply(msgspec.Struct, frozen=True):
    """`version` rises with every change of content. `next_embedder` is set while passages are embedded again."""

    id: str
    name: str
    version: int
    embedder: str
    dimension: int
    next_embedder: str | None
    chunks: int
    created_at: str


class KnowledgeBaseDetail(KnowledgeBaseReply, frozen=True):
    """`documents` counts them by state, `crawls` those under way. `search`: `scanned` (all passages are compared) or
    `indexed` (the base is large)."""

    documents: dict[str, int]
    crawls: int
    search: str


class DocumentCreate(Request, frozen=True):
    """One of `text`, `url` of a page, and `sitemap`. With `follow` the pages that a page links to are read as well.

    `source_key` is where a text comes from: adding the same key again replaces it.
    """

    title: Annotated[str, Meta(max_length=500)] = ""
    text: Annotated[str, Meta(min_length=1)] | None = None
    media_type: MediaType | None = None
    source_key: SourceKey | None = None
    url: Address | None = None
    follow: bool = False
    sitemap: Address | None = None
    max_pages: Pages | None = None


class DocumentAccepted(msgspec.Struct, frozen=True):
    """`outcome`: added, replaced (one of the same source key), or unchanged (nothing was done)."""

    id: str
    state: str
    title: str
    outcome: Literal["added", "replaced", "unchanged"]
    source_key: str | None


class FilesAccepted(msgspec.Struct, frozen=True):
    """For a form with several files: for each its `name` and what DocumentAccepted says, or an `error`."""

    results: list[JsonObject]


class CrawlAccepted(msgspec.Struct, frozen=True):
    id: str
    state: str
    kind: Literal["sitemap", "site"]
    url: str
    max_pages: int


class DocumentReply(msgspec.Struct, frozen=True):
    """`error` says why it failed, or what it waits for; `warnings` what was left out. `sha256` is of the original."""

    id: str
    knowledge_base_id: str
    title: str
    state: str
    error: str | None
    warnings: list[str]
    source: str
    source_key: str | None
    url: str | None
    media_type: str
    size_bytes: int
    sha256: str
    language: str | None
    pages: int | None
    chunks: int
    chunk_count: int
    progress: JsonObject
    created_at: str
    updated_at: str


class CrawlReply(msgspec.Struct, frozen=True):
    """`pages` counts them by state; `is_cut`: there were more than `max_pages`."""

    id: str
    knowledge_base_id: str
    kind: str
    url: str
    max_pages: int
    state: str
    error: str | None
    is_cut: bool
    pages: dict[str, int]
    created_at: str
    finished_at: str | None


class SearchReply(msgspec.Struct, frozen=True):
    """The best passages by score. `why_not` says why an answer would not get one; null where it would."""

    results: list[JsonObject]
    threshold: float


class EmbeddersReply(msgspec.Struct, frozen=True):
    items: list[dict[str, Any]]
