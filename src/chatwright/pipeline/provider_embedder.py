"""Vectors from a provider's embedding model, as one tenant may have them: its keys, its budgets, its ledger.

A batch of texts goes through `features/routing` like a completion: gates, limits of keys, one budget of attempts, a
ledger row for each call with purpose `embedding`. Made by `pipeline/embedding.py`.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models import Vectors
from chatwright.adapters.providers.base import EmbeddingTask, WireFormat
from chatwright.adapters.providers.embedding_models import EmbeddingModel, embedding_model
from chatwright.domain.chatbot import ProviderLink
from chatwright.domain.errors import BudgetExceeded, ProviderError, RateLimited
from chatwright.domain.providers import Completion, Delta, Finish, Prompt, Route, Usage
from chatwright.domain.scope import Scope
from chatwright.features.routing import ProviderRun
from chatwright.pipeline.books import CallBooks
from chatwright.pipeline.services import Services
from chatwright.pipeline.targets import chain_for

Rows = NDArray[np.float64]
PURPOSE = "embedding"
USUAL_MAX_TOKENS = 512
"""Of a model that nobody knows."""
BATCHES_AT_ONCE = 4
BUDGET_WAIT_S = 900.0
"""A document whose embedding a budget holds back asks again so often: budgets are raised, days and months end."""
FAILURE_WAIT_S = 60.0
LONGEST_WAIT_S = 900.0
_ASK = Prompt(turns=(), max_tokens=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long vectors are waited for. `silent_s` is one call's, `pauses_s` is for retries and gates in all."""

    silent_s: float
    deadline_s: float
    pauses_s: float
    calls: int


QUESTION = Patience(silent_s=4.0, deadline_s=6.0, pauses_s=1.0, calls=2)
"""A visitor waits, and a search can do without vectors."""
CALLER = Patience(silent_s=30.0, deadline_s=55.0, pauses_s=5.0, calls=3)
"""Somebody holds a connection to us, and a place in the limits, while it is answered."""
DOCUMENT = Patience(silent_s=60.0, deadline_s=150.0, pauses_s=20.0, calls=3)


class ProviderEmbedder:
    """Implements Embedder for one tenant. Holds no connection and no state: cheap to make, safe for many calls at once."""

    def __init__(self, app: Services, scope: Scope, link: ProviderLink, dimension: int) -> None:
        """`dimension`: of the vectors that are wanted; others are refused, or asked for where the model can shorten."""
        self._app = app
        self._scope = scope
        self._link = link
        self._facts = embedding_model(link.model)
        self.name = f"{link.provider}/{link.model}"
        self.dimension = dimension
        self.max_tokens = (
            self._facts.max_tokens or app.catalogue.model(link.provider, link.model).context_tokens or USUAL_MAX_TOKENS
        )
        self.languages = frozenset(self._facts.languages) or None

    async def embed(self, texts: Sequence[str], *, bulk: bool = False) -> Vectors:
        """See Embedder.embed. With `bulk`, RateLimited stands for all that may pass: a used-up budget, limits, an outage;
        the job waits, and it costs none of its attempts. Raises ProviderError for what will not mend itself."""
        try:
            return await self._embed(texts, "passage", DOCUMENT)
        except BudgetExceeded as error:
            if bulk:
                raise RateLimited(
                    f"its passages are not embedded yet: {error.message}", retry_after_s=BUDGET_WAIT_S
                ) from error
            raise
        except ProviderError as error:
            if bulk and error.retriable:
                wait_s = min(LONGEST_WAIT_S, max(error.retry_after_s or FAILURE_WAIT_S, 1.0))
                raise RateLimited(
                    f"its passages are not embedded yet: {error.message}", retry_after_s=wait_s
                ) from error
            raise

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """See Embedder.embed_queries. Raises ProviderError, also for a budget that is used up."""
        try:
            return await self._embed(texts, "query", QUESTION)
        except BudgetExceeded as error:
            raise ProviderError(error.message, retriable=False, error_class="budget_exceeded") from error

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`, estimated on the high side for what is not English."""
        return estimate_tokens(text)

    async def _embed(self, texts: Sequence[str], task: EmbeddingTask, patience: Patience) -> Vectors:
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        facts = self._facts
        head = facts.query if task == "query" else facts.passage
        ready = [head + cut(text, self.max_tokens - estimate_tokens(head)) for text in texts]
        shorter = self.dimension if facts.shortens and facts.dimension not in (None, self.dimension) else None
        # A model whose task stands in its text is not told twice.
        told: EmbeddingTask | None = None if facts.query or facts.passage else task
        calls = [
            EmbeddingsCall(
                self._app,
                self._scope,
                self._link,
                ready[start:end],
                task=told,
                dimensions=shorter,
                patience=patience,
            )
            for start, end in batches(ready, facts)
        ]
        return unit_rows(np.concatenate(await run_all(calls)), self.dimension, self.name)


class EmbeddingsCall:
    """One request for vectors: `run` once. Afterwards `usage` is what it used and `model` who answered."""

    def __init__(
        self,
        app: Services,
        scope: Scope,
        link: ProviderLink,
        texts: Sequence[str],
        *,
        task: EmbeddingTask | None,
        dimensions: int | None,
        patience: Patience,
        visitor_id: str | None = None,
    ) -> None:
        self._app = app
        self._scope = scope
        self._link = link
        self._texts = texts
        self._task: EmbeddingTask | None = task
        self._dimensions = dimensions
        self._patience = patience
        self._visitor_id = visitor_id
        self.usage = Usage()
        self.model = link.model

    async def run(self) -> Rows:
        """The vectors as they come, one row a text. Raises ProviderError, BudgetExceeded, Unavailable."""
        chain = await chain_for(self._app, self._scope, [self._link], with_extractive=False)
        if not chain.targets:
            raise chain.skipped[0]
        tokens = sum(map(estimate_tokens, self._texts))
        bound = _bound(self._texts)
        silent_s = self._patience.silent_s
        wires = [_VectorWire(target.wire, self._texts, self._task, self._dimensions, bound) for target in chain.targets]
        targets = [
            replace(
                target,
                wire=wire,
                route=replace(target.route, first_byte_timeout_s=min(silent_s, target.route.first_byte_timeout_s)),
            )
            for target, wire in zip(chain.targets, wires, strict=True)
        ]
        books = CallBooks(
            self._app,
            self._scope,
            prompt_tokens=bound,
            max_output_tokens=0,
            purpose=PURPOSE,
            visitor_id=self._visitor_id,
        )
        run = ProviderRun(
            targets,
            _ASK,
            books,
            gates=self._app.gates,
            max_calls=self._patience.calls,
            deadline=asyncio.get_running_loop().time() + self._patience.deadline_s,
            prompt_tokens=tokens,
            skipped=chain.skipped,
            patience_s=self._patience.pauses_s,
        )
        completion = await run.complete()
        self.usage = books.usage
        self.model = completion.model or self._link.model
        return next(wire.rows for wire in wires if wire.rows is not None)


class _VectorWire:
    """A WireFormat whose completions bring vectors instead of words, in `rows`."""

    def __init__(
        self, wire: WireFormat, texts: Sequence[str], task: EmbeddingTask | None, dimensions: int | None, bound: int
    ) -> None:
        """`bound`: what the texts are booked as where the provider does not say."""
        self._wire = wire
        self._texts = texts
        self._task: EmbeddingTask | None = task
        self._dimensions = dimensions
        self._bound = bound
        self.rows: Rows | None = None
        self.embed = wire.embed

    def stream(self, route: Route, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        raise NotImplementedError("vectors are not streamed")

    async def complete(self, route: Route, prompt: Prompt) -> Completion:
        """Raises ProviderError, also for vectors that are none: then with the usage that is charged all the same."""
        del prompt
        got = await self._wire.embed(route, self._texts, dimensions=self._dimensions, task=self._task)
        usage = got.usage or Usage(input_tokens=self._bound, estimated=True)
        rows = np.asarray(got.vectors)
        try:
            _check(rows, self._dimensions, route.provider)
        except ProviderError as error:
            error.usage = usage
            raise
        self.rows = rows
        return Completion(text="", finish=Finish.STOP, usage=usage, model=got.model)


def _check(rows: Rows, dimension: int | None, who: str) -> None:
    """Raises ProviderError unless all rows are finite, longer than 0 and, if that is given, of `dimension` numbers."""
    if dimension is not None and rows.shape[1] != dimension:
        message = (
            f"{who} sends vectors of {rows.shape[1]} dimensions where {dimension} are wanted; "
            "its model is another one now: choose the embedder of the knowledge base anew"
        )
        raise ProviderError(message, retriable=False, upstream_status=200, error_class="malformed")
    if not np.isfinite(rows).all() or not rows.any(axis=1).all():
        message = f"{who} sent vectors that are none: not finite, or all zeros"
        raise ProviderError(message, retriable=True, upstream_status=200, error_class="malformed")


def unit_rows(rows: Rows, dimension: int, who: str) -> Vectors:
    """The vectors with length 1. Raises ProviderError unless they have `dimension` numbers each."""
    _check(rows, dimension, who)
    # By the largest number first: the squares of huge ones are infinite.
    rows = rows / np.abs(rows).max(axis=1, keepdims=True)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


async def run_all(calls: Sequence[EmbeddingsCall]) -> list[Rows]:
    """The vectors of each call, a few calls at a time. Raises what the first that fails raises; the others end."""
    if len(calls) == 1:
        return [await calls[0].run()]
    slots = asyncio.Semaphore(BATCHES_AT_ONCE)

    async def one(call: EmbeddingsCall) -> Rows:
        async with slots:
            return await call.run()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(call), name="provider-embeddings") for call in calls]
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    return [task.result() for task in tasks]


def batches(texts: Sequence[str], facts: EmbeddingModel) -> Iterator[tuple[int, int]]:
    """[start, end) of each request: as many texts as it may hold, and not too many tokens."""
    start = tokens = 0
    for place, text in enumerate(texts):
        size = estimate_tokens(text)
        if place > start and (place - start >= facts.texts or tokens + size > facts.tokens):
            yield start, place
            start, tokens = place, 0
        tokens += size
    if start < len(texts):
        yield start, len(texts)


def estimate_tokens(text: str) -> int:
    """4 ASCII characters a token, and two tokens for three others: on the high side for most scripts (never 0)."""
    if text.isascii():
        return len(text) // 4 + 1
    others = sum(character > "\x7f" for character in text)
    return (len(text) - others) // 4 + (others * 2 + 2) // 3 + 1


def cut(text: str, max_tokens: int) -> str:
    """The beginning of `text` that is estimated at `max_tokens` at most."""
    while (tokens := estimate_tokens(text)) > max_tokens:
        text = text[: min(len(text) - 1, len(text) * max_tokens // tokens)]
    return text


def _bound(texts: Sequence[str]) -> int:
    """Tokens to be reserved: one for two bytes, which no tokenizer needs for prose in any script."""
    return sum(len(text.encode("utf-8", "replace")) // 2 + 8 for text in texts)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    failure: BaseException = group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
