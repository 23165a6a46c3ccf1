"""Originals of documents on their way into the object store: hashed, counted, and cleared away again when nobody needs
them. Called by `pipeline/documents.py` and `pipeline/pages.py`.
"""

import asyncio
import codecs
import hashlib
from collections.abc import AsyncIterator

import structlog

from chatwright.domain.errors import Unavailable
from chatwright.domain.ids import KnowledgeBaseId
from chatwright.domain.scope import Scope
from chatwright.features import knowledge
from chatwright.pipeline.services import Services

HEAD_BYTES = 64 * 1024

log = structlog.get_logger(__name__)


class Stream:
    """Bytes on their way to the store: hashed, the beginning kept, and written anew in UTF-8 where `codec` says that
    they are text in another charset (with a mark in front, which every reader believes before the page's own words)."""

    def __init__(self, chunks: AsyncIterator[bytes], *, codec: str | None = None, head_bytes: int = HEAD_BYTES) -> None:
        self.digest = hashlib.sha256()
        self.head = bytearray()
        self.error: BaseException | None = None
        self._chunks = chunks
        self._head_bytes = head_bytes
        is_foreign = codec is not None and codec not in ("utf-8", "utf-8-sig", "ascii")
        self._decoder = codecs.getincrementaldecoder(codec)("replace") if codec and is_foreign else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            if self._decoder is not None:
                yield self._taken(codecs.BOM_UTF8)
            async for chunk in self._chunks:
                if self._decoder is not None:
                    yield self._taken(self._decoder.decode(chunk).encode())
                else:
                    yield self._taken(chunk)
        except BaseException as error:
            self.error = error  # a store may wrap it into an error of its own
            raise

    def _taken(self, chunk: bytes) -> bytes:
        self.digest.update(chunk)
        if len(self.head) < self._head_bytes:
            self.head += chunk[: self._head_bytes - len(self.head)]
        return chunk


async def keep(app: Services, scope: Scope, knowledge_base_id: KnowledgeBaseId, stream: Stream) -> tuple[str, int]:
    """Stream into the object store under a key of its own; (key, size in bytes)."""
    key = knowledge.original_key(scope, knowledge_base_id)
    try:
        return key, await app.files.put(key, aiter(stream), limit_bytes=app.settings.document_max_bytes)
    except Exception:
        if stream.error is not None and not isinstance(stream.error, (GeneratorExit, asyncio.CancelledError)):
            raise stream.error from None
        raise


async def discard(app: Services, key: str | None) -> None:
    """Delete an original, if there is one. A store that is away costs room, nothing else: the sweep for orphans comes
    by."""
    if key is None:
        return
    try:
        await app.files.delete(key)
    except Unavailable as error:
        log.warning("original.not_deleted", key=key, error=error.message)
