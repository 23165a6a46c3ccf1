"""Which embedder a knowledge base has, which there are, and `/v1/embeddings`.

A base is pinned to an embedder by name: a local model's (`minilm-l6-v2-int8`), or `provider/model`. Vectors of two
embedders never meet. Asked by the flows that index and search, and by the entrypoints that let one be chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from chatwright.adapters.models import Embedder, LocalEmbedders, ModelUnavailable
from chatwright.adapters.providers.embedding_models import EmbeddingModel, embedding_model, listed_embedding_models
from chatwright.domain.chatbot import ProviderLink
from chatwright.domain.errors import BadRequest, NotFound, ProviderError, Unprocessable
from chatwright.domain.limits import LimitedKey, Standing
from chatwright.domain.providers import Usage
from chatwright.domain.scope import Scope
from chatwright.pipeline.limits import admit_embedding, release
from chatwright.pipeline.provider_embedder import (
    CALLER,
    USUAL_MAX_TOKENS,
    EmbeddingsCall,
    ProviderEmbedder,
    batches,
    estimate_tokens,
    run_all,
)
from chatwright.pipeline.services import Services

LOCAL_EMBEDDER = "chatwright-embed"
LOCAL_MULTILINGUAL = "chatwright-embed-multilingual"
_SERVED = {LOCAL_EMBEDDER: "minilm-l6-v2-int8", LOCAL_MULTILINGUAL: "multilingual-e5-small-q4"}
"""Names in `/v1`, and the local models behind them."""
_FEW = 8
"""More texts than these yield to visitors' questions, as documents do."""
MOST_DIMENSIONS = 4_000
"""What an index over half-precision vectors can hold."""
_PROBE = "Which dimension has this vector?"


class PinnedBase(Protocol):
    """What is asked of a knowledge base."""

    @property
    def embedder(self) -> str: ...

    @property
    def dimension(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderChoice:
    """What a knowledge base is pinned to."""

    name: str
    dimension: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderView:
    """An embedder as it is listed. `usable` is False with `why_not` saying the mend.

    `dimension` None: known after the first call. `languages` are ISO 639-1 codes, None: many. `default`: new knowledge
    bases get it.
    """

    name: str
    kind: Literal["local", "provider"]
    dimension: int | None
    max_tokens: int
    languages: list[str] | None
    usable: bool
    why_not: str = ""
    default: bool = False


async def embedder_for(app: Services, base: PinnedBase, scope: Scope) -> Embedder:
    """The embedder of a knowledge base of `scope`'s tenant; cheap, no call is made.

    Raises ModelUnavailable where its model is not installed in this process, or is not known to it any more.
    """
    return _named(app, scope, base.embedder, base.dimension)


async def choose_embedder(
    app: Services, scope: Scope, name: str | None = None, *, dimension: int | None = None
) -> EmbedderChoice:
    """Check the embedder that a knowledge base shall have, None: the default one. A provider's is called once, with a
    few words, so that a wrong name or key is told now and not by the first document; the call is booked.

    Raises BadRequest for a name or dimension that cannot be had, Unprocessable for what is not set up here, and
    ProviderError where the provider does not answer now.
    """
    name = (name or _local(app).default).strip()
    local = _find_local(app, name)
    if local is not None:
        if dimension not in (None, local.dimension):
            raise BadRequest(f"vectors of {name} have {local.dimension} dimensions", param="dimension")
        return EmbedderChoice(name=name, dimension=local.dimension)
    link = _link(app, name)
    facts = embedding_model(link.model)
    if dimension is not None and not 1 <= dimension <= MOST_DIMENSIONS:
        raise BadRequest(f"a dimension is a number from 1 to {MOST_DIMENSIONS:,}", param="dimension")
    if dimension is not None and facts.dimension is not None and dimension != facts.dimension and not facts.shortens:
        raise BadRequest(f"vectors of {name} have {facts.dimension} dimensions", param="dimension")
    found = await _probe(app, scope, link, facts, dimension)
    if dimension is not None and found != dimension:
        raise BadRequest(f"vectors of {name} have {found} dimensions", param="dimension")
    if found > MOST_DIMENSIONS:
        raise BadRequest(
            f"vectors of {name} have {found:,} dimensions, at most {MOST_DIMENSIONS:,} can be searched; "
            "choose a smaller model, or a smaller `dimension` if the model can shorten its vectors",
            param="embedder",
        )
    return EmbedderChoice(name=name, dimension=found)


async def list_embedders(app: Services, scope: Scope | None = None) -> list[EmbedderView]:
    """What a knowledge base of the tenant can be given (scope None: of any), what cannot be used here too.

    Others can be named as well: any embedding model of a provider, as `provider/model`.
    """
    default = _local(app).default
    views = [
        EmbedderView(
            name=model.name,
            kind="local",
            dimension=model.dimension,
            max_tokens=model.max_tokens,
            languages=sorted(model.languages) if model.languages else None,
            usable=not model.why_not,
            why_not=model.why_not,
            default=model.name == default,
        )
        for model in _local(app).known()
    ]
    held = {*app.platform_providers, *await app.provider_keys.providers_of(None)}
    if scope is not None:
        held |= {*await app.provider_keys.providers_of(scope)}
    for provider, model, facts in listed_embedding_models():
        name = f"{provider}/{model}"
        usable = provider in held
        views.append(
            EmbedderView(
                name=name,
                kind="provider",
                dimension=facts.dimension,
                max_tokens=facts.max_tokens or USUAL_MAX_TOKENS,
                languages=facts.languages or None,
                usable=usable,
                why_not="" if usable else f"no key for {provider}: add one with `provider-key add`",
                default=name == default,
            )
        )
    return views


def served_embedders(app: Services) -> list[str]:
    """The local models that `/v1` serves in this process, by their names there."""
    usable = {model.name for model in _local(app).known() if not model.why_not}
    return [served for served, name in _SERVED.items() if name in usable]


async def embed_texts(
    app: Services,
    scope: Scope,
    texts: Sequence[str],
    model: str,
    *,
    key: LimitedKey | None = None,
    visitor_id: str | None = None,
    dimensions: int | None = None,
    queries: bool = False,
) -> tuple[list[list[float]], Usage, str, Standing | None]:
    """One vector per text for `/v1/embeddings`, by a local model (see `served_embedders`) or by `provider/model`.

    `queries`: the texts are questions; local models alone care. A provider's vectors are handed on as they come.
    Returns vectors, usage, the model's name and where the caller stands in its limits. Raises NotFound for a model that
    is not configured, BadRequest, RateLimited before anything is done, ModelUnavailable, ProviderError.
    """
    ticket = await admit_embedding(app, scope, key, tokens=sum(map(estimate_tokens, texts)))
    spent: Usage | None = None
    try:
        if model in _SERVED:
            vectors, usage = await _embed_here(app, texts, model, dimensions=dimensions, queries=queries)
            named = model
        else:
            vectors, usage, named = await _embed_there(app, scope, texts, model, dimensions, visitor_id)
        spent = usage
    finally:
        release(app, ticket, spent)
    return vectors, usage, named, ticket.standing if ticket else None


async def _embed_here(
    app: Services, texts: Sequence[str], model: str, *, dimensions: int | None, queries: bool
) -> tuple[list[list[float]], Usage]:
    try:
        embedder = _local(app).get(_SERVED[model])
    except ModelUnavailable as error:
        raise NotFound(error.message, param="model") from error
    assert embedder is not None
    if dimensions not in (None, embedder.dimension):
        raise BadRequest(f"this model's vectors have {embedder.dimension} dimensions", param="dimensions")
    vectors = await (embedder.embed_queries(texts) if queries else embedder.embed(texts, bulk=len(texts) > _FEW))
    return vectors.tolist(), Usage(input_tokens=sum(map(estimate_tokens, texts)), estimated=True)


async def _embed_there(
    app: Services, scope: Scope, texts: Sequence[str], model: str, dimensions: int | None, visitor_id: str | None
) -> tuple[list[list[float]], Usage, str]:
    provider, _, name = model.partition("/")
    if not name:
        served = ", ".join(served_embedders(app))
        raise NotFound(f"no embedding model {model!r}; use {served} or provider/model", param="model")
    link = ProviderLink(provider=provider, model=name)
    calls = [
        EmbeddingsCall(
            app,
            scope,
            link,
            texts[start:end],
            task=None,
            dimensions=dimensions,
            patience=CALLER,
            visitor_id=visitor_id,
        )
        for start, end in batches(texts, embedding_model(name))
    ]
    try:
        parts = await run_all(calls)
    except ProviderError as error:
        if error.error_class == "not_configured":
            raise NotFound(error.message, param="model") from error
        raise
    usage = Usage(
        input_tokens=sum(call.usage.input_tokens for call in calls),
        estimated=any(call.usage.estimated for call in calls),
    )
    return [vector for part in parts for vector in part.tolist()], usage, calls[0].model


async def _probe(app: Services, scope: Scope, link: ProviderLink, facts: EmbeddingModel, dimension: int | None) -> int:
    """How many dimensions the model's vectors have, asked for `dimension`."""
    wanted = dimension if facts.shortens and dimension != facts.dimension else None
    call = EmbeddingsCall(app, scope, link, [_PROBE], task=None, dimensions=wanted, patience=CALLER)
    try:
        rows = await call.run()
    except ProviderError as error:
        if error.retriable:
            raise
        raise Unprocessable(error.message, param="embedder") from error
    return rows.shape[1]


def _named(app: Services, scope: Scope, name: str, dimension: int) -> Embedder:
    local = _local(app).get(name)
    if local is not None:
        return local
    provider, _, model = name.partition("/")
    if not model:
        raise ModelUnavailable(f"this version of chatwright has no embedder {name!r}; choose another one for the base")
    return ProviderEmbedder(app, scope, ProviderLink(provider=provider, model=model), dimension)


def _find_local(app: Services, name: str) -> Embedder | None:
    try:
        return _local(app).get(name)
    except ModelUnavailable as error:
        raise Unprocessable(error.message, param="embedder") from error


def _link(app: Services, name: str) -> ProviderLink:
    provider, _, model = name.partition("/")
    if not provider or not model:
        known = ", ".join(model.name for model in _local(app).known())
        raise BadRequest(f"no embedder {name[:80]!r}; there is {known}, or provider/model", param="embedder")
    return ProviderLink(provider=provider, model=model)


def _local(app: Services) -> LocalEmbedders:
    assert isinstance(app.embedder, LocalEmbedders)
    return app.embedder
