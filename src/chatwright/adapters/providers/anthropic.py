"""The wire format of Anthropic's Messages API: `POST {base}/v1/messages`.

Owns the request: from a prompt, and from the options of an OpenAI-compatible caller, to Anthropic's fields and cache
marks. `anthropic_reading.py` reads the answers, `exchange.py` drives both. One call is one attempt; only a request that
was refused for a parameter which this model does not take is sent again without it, and that is remembered per endpoint
and model. Used by `features/routing`.
"""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any

import aiohttp
from multidict import CIMultiDict

from chatwright.adapters.providers.anthropic_blocks import messages_of
from chatwright.adapters.providers.anthropic_reading import MessageReader
from chatwright.adapters.providers.base import Embeddings, EmbeddingTask, Reader
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
from chatwright.adapters.providers.transport import Target, endpoint, post, usable_key
from chatwright.domain.errors import ProviderError
from chatwright.domain.providers import Completion, Delta, Prompt, Route

BASE_URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
# The field is required. Every model that is still served writes at least this much.
DEFAULT_MAX_TOKENS = 4_096
# One for each parameter that can be refused, and one for a limit.
_MAX_SENDS = 6
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_TOO_MANY_TOKENS = re.compile(r"max_tokens: \d+ > (\d+)")
_UNTAKEN = re.compile(
    r"support|deprecated|no longer|not (?:permitted|allowed|available)|cannot both|unexpected|unrecogni[sz]ed"
)


class Anthropic:
    """Implements WireFormat over the process's HTTP clients. Holds only caches; safe for any number of calls at once."""

    def __init__(self, clients: HttpClients) -> None:
        self._clients = clients
        self._targets: dict[tuple[str, str | None], Target] = {}
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
        """Raises ProviderError, not retriable: this API has no embeddings."""
        del texts, dimensions, task
        message = f"{route.provider} offers no embeddings; choose another provider for them."
        raise ProviderError(message, retriable=False, error_class="refused")

    async def _ask(
        self, route: Route, prompt: Prompt, deadline: float, *, stream: bool
    ) -> tuple[aiohttp.ClientResponse, Reader]:
        """Post the request; returns an answer that is no error. Resends what was refused for a known quirk.

        A quirk is remembered once the model took the request without it: the words of an error may quote the caller,
        and what is remembered holds for everybody who asks this model.
        """
        target = self._target(route)
        known = self._quirks.of(route)
        quirks = known
        passing: set[str] = set()
        sends = 0
        while True:
            fields = request_fields(route, prompt, quirks, stream=stream)
            response = await post(self._clients, route, target, encode(fields), deadline=deadline)
            if response.status < 400:
                for quirk in quirks - known - passing:
                    self._quirks.learn(route, quirk)
                return response, MessageReader()
            failure = await read_refusal(response, route)
            quirk = _quirk(failure, fields) if response.status == 400 else None
            sends += 1
            if quirk is None or quirk in quirks or sends == _MAX_SENDS:
                raise failed_answer(failure, response, route, texts_of(prompt))
            quirks |= {quirk}
            if _is_of_value(failure, quirk, fields):
                passing.add(quirk)

    def _target(self, route: Route) -> Target:
        key = (route.base_url, route.api_key)
        target = self._targets.get(key)
        if target is None:
            headers: CIMultiDict[str] = CIMultiDict({"content-type": "application/json", "anthropic-version": VERSION})
            if route.api_key:
                headers["x-api-key"] = usable_key(route.api_key)
            base = route.base_url or BASE_URL
            versioned = base.partition("?")[0].rstrip("/").endswith("/v1")
            target = keep(
                self._targets, key, Target(endpoint(base, "/messages" if versioned else "/v1/messages"), headers)
            )
        return target


def request_fields(
    route: Route, prompt: Prompt, quirks: frozenset[str] = frozenset(), *, stream: bool
) -> dict[str, Any]:
    """The request as a JSON object. Options without a counterpart here (seed, penalties, logprobs …) are left out.

    Raises ProviderError, not retriable, for content that this API cannot take.
    """
    options = prompt.options
    system, messages = messages_of(route.provider, prompt)
    fields: dict[str, Any] = {
        "model": route.model,
        "max_tokens": _max_tokens(prompt, quirks),
        "messages": messages,
    }
    if system:
        fields["system"] = system
    if stream:
        fields["stream"] = True
    temperature = prompt.temperature if prompt.temperature is not None else options.get("temperature")
    if isinstance(temperature, int | float) and "no_temperature" not in quirks:
        # OpenAI's scale ends at 2, this one at 1.
        fields["temperature"] = min(1.0, max(0.0, float(temperature)))
    if not options:
        return fields
    top_p = options.get("top_p")
    if top_p is not None and "no_top_p" not in quirks:
        fields["top_p"] = top_p
    stop: object = options.get("stop")
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    # Blank ones are refused.
    if kept := [text for text in stops if isinstance(text, str) and text.strip()]:
        fields["stop_sequences"] = kept
    _add_tools(fields, options)
    config = _output_config(options, quirks)
    if config:
        fields["output_config"] = config
    return fields


def _max_tokens(prompt: Prompt, quirks: frozenset[str]) -> int:
    """What is asked for, or as much of it as the model was found to allow."""
    wanted = prompt.max_tokens or DEFAULT_MAX_TOKENS
    for quirk in quirks:
        if quirk.startswith("max_tokens="):
            wanted = min(wanted, int(quirk[11:]))
    return wanted


def _add_tools(fields: dict[str, Any], options: Mapping[str, Any]) -> None:
    tools: list[dict[str, Any]] = []
    for tool in options.get("tools") or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            continue
        schema = function.get("parameters")
        schema = schema if isinstance(schema, dict) else {}
        made: dict[str, Any] = {"name": function["name"], "input_schema": {"type": "object", **schema}}
        if function.get("description"):
            made["description"] = function["description"]
        if function.get("strict") is True:
            made["strict"] = True
        tools.append(made)
    if not tools:
        return
    fields["tools"] = tools
    choice = _tool_choice(options.get("tool_choice"))
    if options.get("parallel_tool_calls") is False and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        fields["tool_choice"] = choice


def _tool_choice(choice: Any) -> dict[str, Any] | None:
    match choice:
        case "auto" | "none":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case {"function": {"name": str(name)}}:
            return {"type": "tool", "name": name}
        case _:
            return None


def _output_config(options: Mapping[str, Any], quirks: frozenset[str]) -> dict[str, Any]:
    """Schema and effort. A bare `json_object` has no counterpart: the caller's own words have to ask for JSON."""
    config: dict[str, Any] = {}
    match options.get("response_format"):
        case {"type": "json_schema", "json_schema": {"schema": dict() as schema}}:
            config["format"] = {"type": "json_schema", "schema": schema}
        case _:
            pass
    effort = _EFFORTS.get(str(options.get("reasoning_effort")))
    if effort is not None and "no_effort" not in quirks:
        config["effort"] = effort
    return config


def _is_of_value(failure: Failure, quirk: str, sent: Mapping[str, Any]) -> bool:
    """Whether only these values are refused, so that another caller's may be taken."""
    if quirk == "no_effort":
        return sent["output_config"]["effort"] in failure.message
    return quirk == "no_top_p" and "both" in failure.message


def _quirk(failure: Failure, sent: Mapping[str, Any]) -> str | None:
    """What to change in the request so that this model takes it, or None.

    A refused schema is no quirk: an answer in another form than the caller's would be worse than none.
    """
    words = failure.message.lower()
    limit = _TOO_MANY_TOKENS.match(words)
    if limit is not None and int(limit[1]) < sent["max_tokens"]:
        return f"max_tokens={int(limit[1])}"
    if not _UNTAKEN.search(words):
        return None
    if "top_p" in sent and "top_p" in words:
        return "no_top_p"
    if "temperature" in sent and "temperature" in words:
        return "no_temperature"
    if "effort" in sent.get("output_config", ()) and "effort" in words:
        return "no_effort"
    return None
