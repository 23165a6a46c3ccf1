"""The wire format of OpenAI's chat completions and embeddings, and of every server that is compatible with it.

Owns the request bytes, the reading of answers and the table of failures of this dialect. One call is one attempt: the
only thing sent again is a request that the server refused for a parameter that this model does not take (`max_tokens`,
`temperature`, `stream_options`); that is remembered per endpoint and model. Used by `features/routing`.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import aiohttp
import msgspec
from multidict import CIMultiDict

from chatwright.adapters.providers.base import Embeddings, join_tool_calls
from chatwright.adapters.providers.failures import Failure, failed, read_failure
from chatwright.adapters.providers.http import MAX_BODY_BYTES, MAX_EVENT_BYTES, BodyTooLarge, HttpClients, read_body
from chatwright.adapters.providers.openai_reading import ChatReader, Unreadable, normal_usage, read_embeddings
from chatwright.adapters.providers.sse import SseEvent, SseParser, SseTooLarge
from chatwright.adapters.providers.transport import Target, endpoint, free, post, read_error, translated, usable_key
from chatwright.domain.errors import ContentFiltered, CutStream, ProviderError
from chatwright.domain.providers import Completion, Delta, Finish, Prompt, Route, Turn

# After the finish reason only usage and the end marker are due. Servers that send neither, and keep the connection
# open, must not hold the answer back for a whole idle time-out.
FINISH_GRACE_S = 2.0
# The end of the chunked body follows the end marker in the same breath; read, it leaves a connection to use again.
DRAIN_S = 0.025
MAX_REMEMBERED = 1024
_NO_QUIRKS: frozenset[str] = frozenset()
_REQUEST_IDS = ("x-request-id", "apim-request-id", "request-id")


class OpenAiChat:
    """Implements WireFormat over the process's HTTP clients. Holds only caches; safe for any number of calls at once."""

    def __init__(self, clients: HttpClients) -> None:
        self._clients = clients
        self._targets: dict[tuple[str, str, str | None, bool], Target] = {}
        self._quirks: dict[tuple[str, str], frozenset[str]] = {}
        self._encode = msgspec.json.Encoder().encode

    async def stream(self, route: Route, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """Stream one completion; see WireFormat.stream. Raises ProviderError."""
        loop = asyncio.get_running_loop()
        limit = loop.time() + route.first_byte_timeout_s
        response = await self._ask(route, prompt, deadline=limit, stream=True)
        reader = ChatReader()
        parser = SseParser(MAX_EVENT_BYTES)
        content = response.content
        head = b""
        sniffing = True
        size = 0
        waited_s = route.first_byte_timeout_s
        try:
            while not reader.done:
                try:
                    if content.is_eof():
                        # All of it is here: no wait, no timer.
                        data = content.read_nowait()
                    else:
                        async with asyncio.timeout_at(limit):
                            data = await content.readany()
                except (aiohttp.ClientError, OSError) as error:
                    if reader.finish is not None:
                        break
                    if isinstance(error, TimeoutError):
                        raise _with_usage(translated(error, route, waited_s=waited_s), reader) from error
                    raise _with_usage(_cut(route), reader) from error
                if not data:
                    break
                size += len(data)
                if size > MAX_BODY_BYTES:
                    raise translated(BodyTooLarge(), route, waited_s=0)
                if sniffing:
                    # A proxy or an error may answer with JSON or HTML where a stream was asked for.
                    head += data
                    start = head.lstrip()[:1]
                    if not start:
                        continue
                    if start in (b"{", b"[", b"<"):
                        head += await self._rest(response, route)
                        for delta in self._whole(head, reader, route, prompt, response):
                            yield delta
                        break
                    sniffing = False
                    data = head
                for event in self._events(parser, data, route):
                    delta = self._read(reader, event, route, prompt, response)
                    if delta is not None:
                        yield delta
                waited_s = route.idle_timeout_s if reader.finish is None else FINISH_GRACE_S
                limit = loop.time() + waited_s
            for event in parser.finish():
                if not reader.done:
                    delta = self._leftover(reader, event, route, prompt, response)
                    if delta is not None:
                        yield delta
            last = self._last(reader, route, prompt)
            await _drain(response)
            free(response)
            yield last
        finally:
            free(response)

    async def complete(self, route: Route, prompt: Prompt) -> Completion:
        """One completion in one piece; see WireFormat.complete. Raises ProviderError.

        The first byte of such an answer comes when it is finished: give the route a time-out to match.
        """
        deadline = asyncio.get_running_loop().time() + route.first_byte_timeout_s
        response = await self._ask(route, prompt, deadline=deadline, stream=False)
        reader = ChatReader()
        try:
            body = await self._rest(response, route)
            request_id = next((response.headers[name] for name in _REQUEST_IDS if name in response.headers), None)
            deltas = self._whole(body, reader, route, prompt, response)
            last = self._last(reader, route, prompt)
        finally:
            free(response)
        calls = [call for delta in deltas for call in delta.tool_calls or ()]
        return Completion(
            text="".join([delta.text for delta in deltas]),
            finish=last.finish or Finish.OTHER,
            usage=last.usage,
            model=last.model,
            tool_calls=join_tool_calls(calls) if calls else None,
            upstream_request_id=request_id,
        )

    async def embed(self, route: Route, texts: Sequence[str]) -> Embeddings:
        """One vector a text, in one request; see WireFormat.embed. Raises ProviderError."""
        if not texts:
            return Embeddings(vectors=[], usage=None)
        deadline = asyncio.get_running_loop().time() + route.first_byte_timeout_s
        body = self._bytes({"model": route.model, "input": list(texts)})
        response = await post(self._clients, route, self._target(route, "/embeddings"), body, deadline=deadline)
        if response.status >= 400:
            raise self._failed(read_failure(await read_error(response, route)), route, texts, response)
        try:
            data = await self._rest(response, route)
        finally:
            free(response)
        try:
            return read_embeddings(data, len(texts))
        except Unreadable as error:
            failure = read_failure(data)
            if failure.message or failure.codes:
                raise self._failed(failure, route, texts, response) from error
            raise _malformed(route, str(error)) from error

    async def _ask(self, route: Route, prompt: Prompt, *, deadline: float, stream: bool) -> aiohttp.ClientResponse:
        """Post a chat request; returns an answer that is no error. Resends what was refused for a known quirk."""
        target = self._target(route, "/chat/completions")
        key = (route.base_url, route.model)
        while True:
            quirks = self._quirks.get(key, _NO_QUIRKS)
            fields = _fields(route, prompt, quirks, stream=stream)
            response = await post(self._clients, route, target, self._bytes(fields), deadline=deadline)
            if response.status < 400:
                return response
            failure = read_failure(await read_error(response, route))
            quirk = _quirk(failure, fields) if response.status in (400, 422) else None
            if quirk is None or quirk in quirks:
                raise self._failed(failure, route, [turn.content for turn in prompt.turns], response)
            if len(self._quirks) >= MAX_REMEMBERED:
                self._quirks.clear()
            # From what is known now: another call may have learned something meanwhile.
            self._quirks[key] = self._quirks.get(key, _NO_QUIRKS) | {quirk}

    def _target(self, route: Route, path: str) -> Target:
        azure = route.provider.startswith("azure")
        key = (route.base_url, path, route.api_key, azure)
        target = self._targets.get(key)
        if target is None:
            headers: CIMultiDict[str] = CIMultiDict({"content-type": "application/json"})
            if route.api_key:
                headers["authorization"] = f"Bearer {usable_key(route.api_key)}"
                if azure:
                    headers["api-key"] = route.api_key
            target = Target(endpoint(route.base_url, path), headers)
            if len(self._targets) >= MAX_REMEMBERED:
                self._targets.clear()
            self._targets[key] = target
        return target

    def _bytes(self, fields: dict[str, Any]) -> bytes:
        try:
            return self._encode(fields)
        except UnicodeEncodeError:
            # A lone surrogate in someone's text: no UTF-8 can carry it, the rest of the text can be answered.
            return self._encode(_encodable(fields))

    async def _rest(self, response: aiohttp.ClientResponse, route: Route) -> bytes:
        """What is left of a body that is no stream."""
        try:
            return await read_body(response, idle_timeout_s=route.idle_timeout_s)
        except (aiohttp.ClientError, OSError, BodyTooLarge) as error:
            raise translated(error, route, waited_s=route.idle_timeout_s) from error

    def _events(self, parser: SseParser, data: bytes, route: Route) -> list[SseEvent]:
        try:
            return parser.feed(data)
        except SseTooLarge as error:
            raise _malformed(route, str(error)) from error

    def _read(
        self, reader: ChatReader, event: SseEvent, route: Route, prompt: Prompt, response: aiohttp.ClientResponse
    ) -> Delta | None:
        """One event to a delta. Raises the failure that the event reports."""
        if reader.done:
            return None
        try:
            delta = reader.read(event.data, event.name)
        except Unreadable as error:
            raise _with_usage(_malformed(route, "an event of its stream is not JSON"), reader) from error
        if reader.failure is not None:
            turns = [turn.content for turn in prompt.turns]
            raise _with_usage(self._failed(reader.failure, route, turns, response), reader)
        return delta

    def _leftover(
        self, reader: ChatReader, event: SseEvent, route: Route, prompt: Prompt, response: aiohttp.ClientResponse
    ) -> Delta | None:
        """As `_read`, for bytes that end without a blank line: half an event is no more than a cut stream."""
        try:
            msgspec.json.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            if event.data != b"[DONE]":
                return None
        return self._read(reader, event, route, prompt, response)

    def _whole(
        self, body: bytes, reader: ChatReader, route: Route, prompt: Prompt, response: aiohttp.ClientResponse
    ) -> list[Delta]:
        """Deltas of a whole answer: JSON, or a stream that was not asked for. Raises ProviderError."""
        start = body.lstrip()[:1]
        if start in (b"d", b"e", b":"):
            parser = SseParser(MAX_EVENT_BYTES)
            events = self._events(parser, body, route) + parser.finish()
            deltas = [self._read(reader, event, route, prompt, response) for event in events]
            return [delta for delta in deltas if delta is not None]
        if start != b"{":
            failure = read_failure(body)
            if start == b"[" and failure.codes:
                raise self._failed(failure, route, [turn.content for turn in prompt.turns], response)
            raise _malformed(
                route, f"not a completion but {failure.message[:80]}" if start == b"<" else "not a completion"
            )
        reader.whole = True
        delta = self._read(reader, SseEvent(b"", body.strip()), route, prompt, response)
        if reader.finish is None and not reader.shown:
            failure = read_failure(body)
            if failure.message or failure.codes:
                raise self._failed(failure, route, [turn.content for turn in prompt.turns], response)
            raise _malformed(route, "an answer without choices")
        # A body that is whole has an end, whether or not the server names a reason for it.
        reader.done = True
        return [] if delta is None else [delta]

    def _last(self, reader: ChatReader, route: Route, prompt: Prompt) -> Delta:
        """The closing delta. Raises CutStream without a finish marker, ContentFiltered if all was held back."""
        del prompt
        last = reader.last()
        if last is None:
            raise _with_usage(_cut(route), reader)
        if last.finish is Finish.CONTENT_FILTER and not reader.shown:
            message = f"{route.provider} refused to answer this content."
            raise _with_usage(ContentFiltered(message, upstream_status=200), reader)
        return last

    def _failed(
        self, failure: Failure, route: Route, texts: Sequence[str], response: aiohttp.ClientResponse
    ) -> ProviderError:
        secrets = (route.api_key,) if route.api_key else ()
        return failed(
            failure,
            provider=route.provider,
            status=response.status,
            headers=response.headers,
            secrets=secrets,
            prompt=texts,
        )


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read the few bytes after the end marker, so that the connection can be used again."""
    content = response.content
    if content.at_eof():
        return
    try:
        async with asyncio.timeout(DRAIN_S):
            while not content.at_eof():
                await content.readany()
    except (aiohttp.ClientError, OSError):
        # Not worth more waiting: the connection is closed instead.
        return


def _fields(route: Route, prompt: Prompt, quirks: frozenset[str], *, stream: bool) -> dict[str, Any]:
    """The request as a JSON object. Our own fields win over the caller's options of the same name."""
    fields: dict[str, Any] = dict(prompt.options)
    fields["model"] = route.model
    fields["messages"] = [_message(turn) for turn in prompt.turns]
    if prompt.temperature is not None and "no_temperature" not in quirks:
        fields["temperature"] = prompt.temperature
    elif "no_temperature" in quirks:
        fields.pop("temperature", None)
    if prompt.max_tokens is not None:
        fields.pop("max_completion_tokens", None)
        fields["max_tokens"] = prompt.max_tokens
    if "max_completion_tokens" in quirks and "max_tokens" in fields:
        fields["max_completion_tokens"] = fields.pop("max_tokens")
    fields.pop("stream_options", None)
    if stream:
        fields["stream"] = True
        if "no_stream_options" not in quirks:
            fields["stream_options"] = {"include_usage": True}
    else:
        fields.pop("stream", None)
    return fields


def _message(turn: Turn) -> dict[str, Any]:
    """One turn; `extra` adds to it and may replace the content by parts. Words of ours are never overwritten by it."""
    if turn.extra is None:
        return {"role": turn.role, "content": turn.content}
    content: Any = turn.extra.get("content", turn.content)
    if not content and turn.extra.get("tool_calls"):
        content = None
    return {**turn.extra, "role": turn.role, "content": content}


def _quirk(failure: Failure, sent: dict[str, Any]) -> str | None:
    """What to change in the request so that this model takes it, or None."""
    words = failure.message.lower()
    if "max_tokens" in sent and ("max_completion_tokens" in words or failure.param == "max_tokens"):
        return "max_completion_tokens" if "unsupported" in words or "not supported" in words else None
    named = failure.param == "temperature" or "temperature" in words
    if "temperature" in sent and named and ("support" in words or "deprecated" in words):
        return "no_temperature"
    if "stream_options" in sent and "stream_options" in words:
        return "no_stream_options"
    return None


def _encodable(value: Any) -> Any:
    """The same JSON value with every lone surrogate replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(name): _encodable(item) for name, item in value.items()}
    return value


def _with_usage(error: ProviderError, reader: ChatReader) -> ProviderError:
    """Put what was reported so far on the error: a broken answer is charged too."""
    error.usage = normal_usage(reader.usage)
    return error


def _cut(route: Route) -> CutStream:
    return CutStream(f"{route.provider}'s stream ended without a finish marker.")


def _malformed(route: Route, what: str) -> ProviderError:
    message = f"{route.provider} sent something that cannot be read: {what}."
    return ProviderError(message, retriable=True, upstream_status=200, error_class="malformed")
