"""The wire format of OpenAI's chat completions and embeddings, and of every server that is compatible with it.

Owns the request bytes of this dialect; `openai_reading.py` reads its answers, `exchange.py` drives both. One call is one
attempt: the only thing sent again is a request that the server refused for a field that this model does not take
(`max_tokens`, `temperature`, `stop` ...), or because the model is served by the Responses API only (`responses.py`). What
helped is remembered per endpoint and model. Used by `features/routing`.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any

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
from chatwright.adapters.providers.failures import Failure
from chatwright.adapters.providers.http import HttpClients
from chatwright.adapters.providers.openai_embeddings import read_embeddings
from chatwright.adapters.providers.openai_reading import ChatReader
from chatwright.adapters.providers.responses import PATH, response_fields
from chatwright.adapters.providers.responses_reading import ResponsesReader
from chatwright.adapters.providers.transport import Target, endpoint, post, usable_key
from chatwright.domain.providers import Completion, Delta, Prompt, Route, Turn

MAX_RESENDS = 3
_RESPONSES = "responses"
_DROPPABLE = (
    "temperature",
    "top_p",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "seed",
    "reasoning_effort",
    "reasoning",
    "verbosity",
    "prompt_cache_key",
    "parallel_tool_calls",
    "stream_options",
    "store",
    "user",
)
"""Fields without which the same question is still asked: an answer without them is better than none."""
_NOT_TAKEN = re.compile(r"not support|unsupported|unrecognized|unknown|deprecated|not permitted|not allowed|unexpected")
_WANTS_RESPONSES = re.compile(
    r"v1/responses|responses api|not a chat model|chatcompletion operation does not work", re.IGNORECASE
)
# An error about any other parameter may quote what the caller put there.
_PARAMS_OF_MODEL = ("", "model", "reasoning_effort")
_AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")


class OpenAiChat:
    """Implements WireFormat over the process's HTTP clients. Holds only caches; safe for any number of calls at once."""

    def __init__(self, clients: HttpClients) -> None:
        self._clients = clients
        self._targets: dict[tuple[str, str, str, str | None], Target] = {}
        self._quirks = Quirks()

    def stream(self, route: Route, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """Stream one completion; see WireFormat.stream. Raises ProviderError."""
        return stream_answer(partial(self._ask, route, prompt, stream=True), route, prompt)

    async def complete(self, route: Route, prompt: Prompt) -> Completion:
        """One completion in one piece; see WireFormat.complete. Raises ProviderError."""
        return await whole_answer(partial(self._ask, route, prompt, stream=False), route, prompt)

    async def embed(
        self, route: Route, texts: Sequence[str], *, dimensions: int | None = None, task: EmbeddingTask | None = None
    ) -> Embeddings:
        """One vector a text, in one request; see WireFormat.embed. Raises ProviderError."""
        if not texts:
            return Embeddings(vectors=[], usage=None)
        deadline = asyncio.get_running_loop().time() + route.first_byte_timeout_s
        del task
        # As base64 the answer is a third as long and read ten times as fast; OpenAI's own client asks for it too.
        fields: dict[str, Any] = {"model": route.model, "input": list(texts), "encoding_format": "base64"}
        if dimensions is not None:
            fields["dimensions"] = dimensions
        body = encode(fields)
        response = await post(self._clients, route, self._target(route, "/embeddings"), body, deadline=deadline)
        return await embeddings_of(response, route, texts, read_embeddings)

    async def _ask(
        self, route: Route, prompt: Prompt, deadline: float, *, stream: bool
    ) -> tuple[aiohttp.ClientResponse, Reader]:
        """Post the request; returns an answer that is no error. Resends what was refused for a known quirk.

        A quirk is remembered once the server took the request without it: words in an error are not enough. It holds for
        everybody who asks this model, so one that only a caller's own value brought about is not kept.
        """
        known = self._quirks.of(route)
        quirks = known
        passing: set[str] = set()
        refused = None
        while True:
            target, fields = self._request(route, prompt, quirks, stream=stream)
            response = await post(self._clients, route, target, encode(fields), deadline=deadline)
            if response.status < 400:
                for quirk in quirks - known - passing:
                    self._quirks.learn(route, quirk)
                return response, ResponsesReader() if _RESPONSES in quirks else ChatReader()
            failure = await read_refusal(response, route)
            error = failed_answer(failure, response, route, texts_of(prompt))
            quirk = _quirk(failure, response.status, fields, quirks) if len(quirks - known) < MAX_RESENDS else None
            if quirk is None:
                # A server without that other API says less than what sent us there.
                if refused is not None and error.error_class in ("refused", "model_not_found"):
                    raise refused
                raise error
            if quirk == _RESPONSES:
                refused = error
            if _is_of_value(failure, quirk):
                passing.add(quirk)
            quirks |= {quirk}

    def _request(
        self, route: Route, prompt: Prompt, quirks: frozenset[str], *, stream: bool
    ) -> tuple[Target, dict[str, Any]]:
        """Where and what to post, with all that is known of the model."""
        if _RESPONSES in quirks:
            target = self._target(route, PATH)
            fields = response_fields(route.model, prompt, stream=stream)
        else:
            target = self._target(route, "/chat/completions")
            fields = _fields(route, prompt, quirks, stream=stream)
        if prompt.cache_key and target.url.raw_host == "api.openai.com":
            # Other hosts may refuse what they do not know; the caller's own key parts its prompts more finely.
            fields.setdefault("prompt_cache_key", prompt.cache_key)
        for quirk in quirks:
            if quirk.startswith("no_"):
                fields.pop(quirk[3:], None)
        return target, fields

    def _target(self, route: Route, path: str) -> Target:
        key = (route.provider, route.base_url, path, route.api_key)
        target = self._targets.get(key)
        if target is None:
            url = endpoint(route.base_url, path)
            azure = route.provider.startswith("azure") or (url.host or "").endswith(_AZURE_HOSTS)
            if azure and url.path in (path, f"/openai{path}"):
                # The resource's address as its portal shows it.
                url = url.with_path(f"/openai/v1{path}", keep_query=True)
            headers: CIMultiDict[str] = CIMultiDict({"content-type": "application/json"})
            if route.api_key:
                headers["authorization"] = f"Bearer {usable_key(route.api_key)}"
                if azure:
                    headers["api-key"] = route.api_key
            target = keep(self._targets, key, Target(url, headers))
        return target


def _fields(route: Route, prompt: Prompt, quirks: frozenset[str], *, stream: bool) -> dict[str, Any]:
    """The request as a JSON object. Our own fields win over the caller's options of the same name."""
    fields: dict[str, Any] = dict(prompt.options)
    fields["model"] = route.model
    fields["messages"] = [_message(turn) for turn in prompt.turns]
    if prompt.temperature is not None:
        fields["temperature"] = prompt.temperature
    if prompt.max_tokens is not None:
        fields.pop("max_completion_tokens", None)
        fields["max_tokens"] = prompt.max_tokens
    if "max_completion_tokens" in quirks and "max_tokens" in fields:
        fields["max_completion_tokens"] = fields.pop("max_tokens")
    elif "max_tokens" in quirks and "max_completion_tokens" in fields:
        fields["max_tokens"] = fields.pop("max_completion_tokens")
    if stream:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True}
    else:
        fields.pop("stream", None)
        fields.pop("stream_options", None)
    return fields


def _message(turn: Turn) -> dict[str, Any]:
    """One turn; `extra` adds to it and may replace the content by parts. Words of ours are never overwritten by it."""
    if turn.extra is None:
        return {"role": turn.role, "content": turn.content}
    content: Any = turn.extra.get("content", turn.content)
    if not content and turn.extra.get("tool_calls"):
        content = None
    return {**turn.extra, "role": turn.role, "content": content}


def _is_of_value(failure: Failure, quirk: str) -> bool:
    """Whether the model takes the field but not this value of it. A temperature is the chatbot's, and a model that
    refuses one takes none but its own."""
    said = "unsupported_value" in failure.codes or "unsupported value" in failure.message.lower()
    return said and quirk not in ("no_temperature", "no_top_p")


def _quirk(failure: Failure, status: int, sent: dict[str, Any], known: frozenset[str]) -> str | None:
    """What to change in the request besides what is `known`, so that this model takes it; or None."""
    if status not in (400, 404, 405, 422):
        return None
    words = failure.message.lower()
    if "messages" in sent and failure.param in _PARAMS_OF_MODEL and _WANTS_RESPONSES.search(words):
        return _RESPONSES
    if status in (404, 405) or not _NOT_TAKEN.search(words):
        return None
    if "max_tokens" in sent and ("max_completion_tokens" in words or failure.param == "max_tokens"):
        return "max_completion_tokens"
    other_name = "max_completion_tokens"
    if other_name in sent and other_name not in known and (other_name in words or failure.param == other_name):
        return "max_tokens"
    named = re.split(r"[.\[]", failure.param)[0]
    for name in _DROPPABLE:
        # The words count only where the server does not say which field it means: they may quote the caller.
        if name in sent and (named == name if named in sent else re.search(rf"\b{name}\b", words)):
            return f"no_{name}"
    return None
