"""The local embedders of one process: the English default, always there, and those that an extra brings.

Opened by `app/services.py`; `pipeline/embedding.py` asks for a model by the name that a knowledge base holds. Models
load when first used, at most once a process, and share one set of threads.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from chatwright.adapters.models.embedder import Embedder, ModelUnavailable, Vectors
from chatwright.adapters.models.encoded import Encoded
from chatwright.adapters.models.lanes import Lanes
from chatwright.adapters.models.minilm import MiniLm
from chatwright.adapters.models.multilingual import MultilingualEmbedder, why_not_installed


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A local embedder as it is listed. `why_not` is empty if it can be used here, else it says the mend.

    `languages` are ISO 639-1 codes; None: many.
    """

    name: str
    dimension: int
    max_tokens: int
    languages: frozenset[str] | None
    why_not: str


class LocalEmbedders:
    """Implements Embedder as the English model, which reads every message; `get` opens another one by name."""

    name = MiniLm.name
    dimension = MiniLm.dimension
    max_tokens = MiniLm.max_tokens
    languages = MiniLm.languages

    def __init__(self, threads: int, *, default: str, close_timeout_s: float) -> None:
        self.default = default
        """Name of the embedder of new knowledge bases; it may be a provider's."""
        self._lanes = Lanes(threads, close_timeout_s=close_timeout_s)
        self._english = MiniLm(self._lanes)
        self._multilingual: MultilingualEmbedder | None = None

    @property
    def load_s(self) -> float | None:
        """Seconds the English model took to load; None until then."""
        return self._english.load_s

    def get(self, name: str) -> Embedder | None:
        """The local embedder of that name, None if there is none. Opening costs nothing: models load when used.

        Raises ModelUnavailable for one that is not installed.
        """
        if name == MiniLm.name:
            return self._english
        if name != MultilingualEmbedder.name:
            return None
        if self._multilingual is None:
            if reason := why_not_installed():
                raise ModelUnavailable(reason)
            self._multilingual = MultilingualEmbedder(self._lanes)
        return self._multilingual

    def known(self) -> list[LocalModel]:
        """All local embedders, those that are not installed here too."""
        return [
            LocalModel(
                name=model.name,
                dimension=model.dimension,
                max_tokens=model.max_tokens,
                languages=model.languages,
                why_not=why_not,
            )
            for model, why_not in ((MiniLm, ""), (MultilingualEmbedder, why_not_installed()))
        ]

    async def warm_up(self) -> None:
        """Load the English model, and the local default where that is another. Raises ModelUnavailable."""
        await self._english.warm_up()
        if self.default != self.name and (chosen := self.get(self.default)) is not None:
            await chosen.embed_queries(["ready"])

    async def embed(self, texts: Sequence[str], *, bulk: bool = False) -> Vectors:
        """See Embedder.embed. Raises ModelUnavailable."""
        return await self._english.embed(texts, bulk=bulk)

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """See Embedder.embed_queries. Raises ModelUnavailable."""
        return await self._english.embed_queries(texts)

    async def encode(self, texts: Sequence[str], *, bulk: bool = False) -> Encoded:
        """One pass of the English model: vectors as of `embed`, and what the heads read. Raises ModelUnavailable."""
        return await self._english.encode(texts, bulk=bulk)

    def count_tokens(self, text: str) -> int:
        """See Embedder.count_tokens."""
        return self._english.count_tokens(text)

    async def close(self) -> None:
        """Stop the threads: batches that run end, what waits fails; then let go of the models."""
        await self._lanes.close()
        if self._multilingual is not None:
            self._multilingual.close()


@asynccontextmanager
async def open_embedder(
    threads: int = 2, *, default: str = MiniLm.name, close_timeout_s: float = 5.0
) -> AsyncGenerator[LocalEmbedders]:
    """Yield the local embedders over `threads` query lanes (capped at the CPUs this process may use) and as many bulk lanes.

    Models load at their first text, or at `warm_up()`. Raises ModelUnavailable if the default's vocabulary is missing.
    """
    embedders = LocalEmbedders(threads, default=default, close_timeout_s=close_timeout_s)
    try:
        yield embedders
    finally:
        await embedders.close()
