"""The wire format of Gemini's `generateContent` and embeddings: Google's API for keys, and Vertex AI.

Both speak the same words to different addresses; on Vertex AI a call is let in by an access token (`google_tokens.py`)
instead of a key. One call is one attempt: the only thing sent again is a request that the server refused for something
this model does not take, remembered per endpoint and model. Used by `features/routing`.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDict

from chatwright.adapters.providers.base import Embeddings, EmbeddingTask, Reader
from chatwright.adapters.providers.embeddings import embeddings_of
from chatwright.adapters.providers.exchange import (
    Quirks,
    encode,
    failed_answer,
    keep,
    read_refusal,
    stream_answer,
    texts_of,
    whole_answer,
)
from chatwright.adapters.providers.gemini_embeddings import embedding_calls
from chatwright.adapters.providers.gemini_reading import GeminiReader, read_embeddings
from chatwright.adapters.providers.gemini_request import NO_THINKING, chat_fields, quirk_of
from chatwright.adapters.providers.google_tokens import GoogleTokens
from chatwright.adapters.providers.http import HttpClients
from chatwright.adapters.providers.transport import Target, endpoint, post, translated, usable_key
from chatwright.domain.errors import BadRequest, ProviderError
from chatwright.domain.providers import Completion, Delta, Prompt, Route, Usage

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
STREAM = "streamGenerateContent"
_AT_ONCE = 4
# Steps that would lead out of the path they stand in.
_NO_NAMES = frozenset({"", ".", ".."})
_NO_HEADERS: Mapping[str, str] = {}
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]{0,98}[a-z0-9]|\d{1,20}")
_LOCATION = re.compile(r"[a-z][a-z0-9-]{0,38}")
_VERSIONED = re.compile(r"/v\d+[a-z0-9]*$")
_MULTI_REGIONS = frozenset({"eu", "us"})


def vertex_base_url(project: str, location: str, gateway: str = "") -> str:
    """The prefix of Vertex AI's addresses for a project and location, up to `publishers/google`.

    `gateway` stands in for Google's host (with or without a version); one that holds `/projects/` is kept as it is.
    Raises BadRequest for names that could lead to another address: they may come from a tenant.
    """
    gateway = gateway.rstrip("/")
    if "/projects/" in gateway:
        return gateway
    if not _PROJECT.fullmatch(project):
        raise BadRequest("The Google project must be a project id or number, such as my-project-123.")
    if not _LOCATION.fullmatch(location):
        raise BadRequest("The Google location must be a region such as europe-west4, or `global`.")
    if gateway:
        base = gateway if _VERSIONED.search(gateway) else f"{gateway}/v1"
    elif location == "global":
        base = "https://aiplatform.googleapis.com/v1"
    elif location in _MULTI_REGIONS:
        base = f"https://aiplatform.{location}.rep.googleapis.com/v1"
    else:
        base = f"https://{location}-aiplatform.googleapis.com/v1"
    return f"{base}/projects/{project}/locations/{location}/publishers/google"


class Gemini:
    """Implements WireFormat over the process's HTTP clients; with `tokens` it speaks to Vertex AI.

    Holds only caches; safe for any number of calls at once. On Vertex AI `Route.api_key` is a tenant's service account
    (JSON text), or None for the platform's own credentials, which are never sent to an address that a tenant chose.
    """

    def __init__(self, clients: HttpClients, *, tokens: GoogleTokens | None = None) -> None:
        self._clients = clients
        self._tokens = tokens
        self._targets: dict[tuple[str, str, str | None], Target] = {}
        self._quirks = Quirks()

    def stream(self, route: Route, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """Stream one completion; see WireFormat.stream. Raises ProviderError."""
        return stream_answer(partial(self._ask, route, prompt, STREAM), route, prompt)

    async def complete(self, route: Route, prompt: Prompt) -> Completion:
        """One completion in one piece; see WireFormat.complete. Raises ProviderError."""
        return await whole_answer(partial(self._ask, route, prompt, "generateContent"), route, prompt)

    async def embed(
        self, route: Route, texts: Sequence[str], *, dimensions: int | None = None, task: EmbeddingTask | None = None
    ) -> Embeddings:
        """One vector a text, in as many requests as the model needs; see WireFormat.embed. Raises ProviderError."""
        deadline = asyncio.get_running_loop().time() + route.first_byte_timeout_s
        calls = embedding_calls(route.model, texts, vertex=self._tokens is not None, dimensions=dimensions, task=task)
        parts: list[Embeddings] = []
        tasks: list[asyncio.Task[Embeddings]] = []
        for start in range(0, len(calls), _AT_ONCE):
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self._embed(route, *call, deadline=deadline), name="gemini.embed")
                        for call in calls[start : start + _AT_ONCE]
                    ]
            except ExceptionGroup as failures:
                error = failures.exceptions[0]
                if isinstance(error, ProviderError) and error.usage is None:
                    # What was embedded before the failure is charged all the same.
                    done = [task.result() for task in tasks if not task.cancelled() and task.exception() is None]
                    error.usage = _sum([part.usage for part in (*parts, *done)])
                raise error from failures
            parts += [task.result() for task in tasks]
        return Embeddings(
            vectors=[vector for part in parts for vector in part.vectors],
            usage=_sum([part.usage for part in parts]),
            model=route.model,
        )

    async def _embed(
        self, route: Route, method: str, fields: dict[str, Any], texts: Sequence[str], *, deadline: float
    ) -> Embeddings:
        response = await self._post(route, method, fields, deadline)
        return await embeddings_of(response, route, texts, read_embeddings)

    async def _ask(
        self, route: Route, prompt: Prompt, method: str, deadline: float
    ) -> tuple[aiohttp.ClientResponse, Reader]:
        """Post a chat request; returns an answer that is no error. Resends what was refused for a known quirk.

        A quirk is remembered once the model took the request without it: the words of an error may quote the caller,
        and what is remembered holds for everybody who asks this model.
        """
        known = self._quirks.of(route)
        quirks = known
        passing: set[str] = set()
        while True:
            fields = chat_fields(prompt, quirks)
            response = await self._post(route, method, fields, deadline)
            if response.status < 400:
                for quirk in quirks - known - passing:
                    self._quirks.learn(route, quirk)
                return response, GeminiReader()
            failure = await read_refusal(response, route)
            quirk = quirk_of(failure, fields) if response.status == 400 else None
            if quirk is None or quirk in quirks:
                raise failed_answer(failure, response, route, texts_of(prompt))
            quirks |= {quirk}
            if quirk == NO_THINKING and _names_budget(failure.message, fields):
                passing.add(quirk)  # this budget is refused; another caller's may be taken

    async def _post(self, route: Route, method: str, fields: dict[str, Any], deadline: float) -> aiohttp.ClientResponse:
        """Send one request to a method of the route's model. Raises ProviderError."""
        if self._tokens is None:
            key, extra = route.api_key, _NO_HEADERS
        else:
            extra = await self._access(route, self._tokens, deadline)
            key = extra.get("authorization")
        path = f"{_model_path(route)}:{method}"
        target = self._targets.get((route.base_url, path, key))
        if target is None:
            headers: CIMultiDict[str] = CIMultiDict({"content-type": "application/json"}, **extra)
            if self._tokens is None and key:
                headers["x-goog-api-key"] = usable_key(key)
            base = route.base_url or DEFAULT_BASE_URL
            if method == STREAM:
                # Without it the answer is one JSON array, which is read only when it ends.
                base += "&alt=sse" if "?" in base else "?alt=sse"
            target = keep(self._targets, (route.base_url, path, key), Target(endpoint(base, path), headers))
        response = await post(self._clients, route, target, encode(fields), deadline=deadline)
        if response.status == 401 and self._tokens is not None and key is not None:
            self._tokens.spoil(route.api_key or None)
        return response

    async def _access(self, route: Route, tokens: GoogleTokens, deadline: float) -> Mapping[str, str]:
        if not route.api_key and route.guarded:
            # The address is a tenant's: it would learn the platform's token.
            return _NO_HEADERS
        try:
            async with asyncio.timeout_at(deadline):
                return await tokens.headers(route.api_key or None)
        except TimeoutError as error:
            raise translated(error, route, waited_s=route.first_byte_timeout_s) from error


def _model_path(route: Route) -> str:
    """`/models/NAME`, or the name of another collection as it is given (`tunedModels/NAME`). Raises ProviderError."""
    model = route.model
    steps = (model if model.startswith(("models/", "tunedModels/")) else f"models/{model}").split("/")
    if any(step in _NO_NAMES for step in steps):
        message = f"{route.provider} has no model of the name {model[:80]!r}."
        raise ProviderError(message, retriable=False, error_class="model_not_found")
    return "/" + "/".join([quote(step, safe="@:") for step in steps])


def _names_budget(words: str, sent: dict[str, Any]) -> bool:
    """Whether an error speaks of the very thinking budget that was asked for, not of thinking as such."""
    budget = sent["generationConfig"]["thinkingConfig"]["thinkingBudget"]
    return re.search(rf"\b{budget}\b", words) is not None


def _sum(usages: Sequence[Usage | None]) -> Usage | None:
    counted = [usage.input_tokens for usage in usages if usage is not None]
    return Usage(input_tokens=sum(counted)) if counted else None
