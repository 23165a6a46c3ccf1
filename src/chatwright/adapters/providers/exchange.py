"""One exchange with a provider, in no dialect: what every wire format does with the bytes that come back.

Owns the reading of an answer as it arrives (limits of time and size, bodies that are no stream where one was asked for,
cut streams, the connection's end) and the errors that follow. A wire format brings two things: how it asks (`Ask`) and
how its payloads are read (`Reader`). Used by the wire formats of this folder only.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Sequence
from math import inf
from typing import Any, TypeVar

import aiohttp
import msgspec

from chatwright.adapters.providers.base import Reader, Unreadable, join_tool_calls
from chatwright.adapters.providers.failures import Failure, failed, read_failure
from chatwright.adapters.providers.http import MAX_BODY_BYTES, MAX_EVENT_BYTES, BodyTooLarge, read_body
from chatwright.adapters.providers.sse import SseEvent, SseParser, SseTooLarge
from chatwright.adapters.providers.transport import free, read_error, translated
from chatwright.domain.errors import ContentFilterError, CutStream, ProviderError
from chatwright.domain.providers import Completion, Delta, Finish, Prompt, Route

# After the finish reason only usage and the end marker are due. Servers that send neither, and keep the connection
# open, must not hold the answer back for a whole idle time-out.
FINISH_GRACE_S = 2.0
# The end of the chunked body follows the end marker in the same breath; read, it leaves a connection to use again.
DRAIN_S = 0.025
MAX_REMEMBERED = 1024
_NO_QUIRKS: frozenset[str] = frozenset()
_REQUEST_IDS = ("x-request-id", "apim-request-id", "request-id")
_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")
# The decoder gives up on what is nested too deeply with an error that is none of its own.
_UNREADABLE = (Unreadable, RecursionError)
_encode = msgspec.json.Encoder().encode

Ask = Callable[[float], Awaitable[tuple[aiohttp.ClientResponse, Reader]]]
"""Post the request and wait for its status until a deadline (clock of the loop); returns an answer that is no error and
a fresh reader for it. Raises ProviderError."""


async def stream_answer(ask: Ask, route: Route, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask, and yield the answer as it comes; see WireFormat.stream. Raises ProviderError."""
    loop = asyncio.get_running_loop()
    waited_s = route.first_byte_timeout_s
    limit = loop.time() + waited_s
    response, reader = await ask(limit)
    answer = _Answer(response, reader, route, prompt)
    read = reader.read
    content = response.content
    watch = _Watch(content, loop)
    parser = SseParser(MAX_EVENT_BYTES)
    head = b""
    sniffing = True
    began = False
    size = 0
    try:
        while not reader.done:
            try:
                if content.is_eof():
                    # All of it is here: no wait, no timer.
                    data = content.read_nowait()
                else:
                    watch.begin(limit)
                    data = await content.readany()
                    watch.limit = inf
            except (aiohttp.ClientError, OSError) as error:
                if reader.finish is not None:
                    break
                if isinstance(error, TimeoutError):
                    raise answer.with_usage(translated(error, route, waited_s=waited_s)) from error
                raise answer.with_usage(_cut(route)) from error
            if not data:
                break
            size += len(data)
            if size > MAX_BODY_BYTES:
                raise answer.with_usage(translated(BodyTooLarge(), route, waited_s=0))
            if sniffing:
                # A proxy or an error may answer with JSON or HTML where a stream was asked for.
                head += data
                start = head.lstrip()[:1]
                if not start:
                    continue
                if start in (b"{", b"[", b"<"):
                    head += await rest(response, route)
                    for delta in answer.whole(head):
                        yield delta
                    break
                sniffing = False
                data = head
            events = _events(parser, data, route)
            for name, payload in events:
                # As `answer.read`, without a call more for each piece of each answer.
                if reader.done:
                    break
                try:
                    delta = read(payload, name)
                except _UNREADABLE as error:
                    raise answer.unreadable(error) from error
                if reader.failure is not None:
                    raise answer.failed(reader.failure)
                if delta is not None:
                    began = True
                    yield delta
            if events and (began or reader.finish is not None):
                # Bytes that make no event, and events that say nothing, are no sign of life: a server that drips, or
                # greets and falls silent, must not hold the next one's turn.
                waited_s = route.idle_timeout_s if reader.finish is None else FINISH_GRACE_S
                limit = loop.time() + waited_s
        for event in parser.finish():
            delta = answer.read_leftover(event)
            if delta is not None:
                yield delta
        last = answer.last()
        await _drain(response)
        free(response)
        yield last
    finally:
        watch.end()
        free(response)


async def whole_answer(ask: Ask, route: Route, prompt: Prompt) -> Completion:
    """Ask, and read the answer in one piece; see WireFormat.complete. Raises ProviderError.

    The first byte of such an answer comes when it is finished: give the route a time-out to match.
    """
    response, reader = await ask(asyncio.get_running_loop().time() + route.first_byte_timeout_s)
    answer = _Answer(response, reader, route, prompt)
    try:
        body = await rest(response, route)
        request_id = next((response.headers[name] for name in _REQUEST_IDS if name in response.headers), None)
        deltas = answer.whole(body)
        last = answer.last()
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


async def rest(response: aiohttp.ClientResponse, route: Route) -> bytes:
    """What is left of a body that is no stream. Raises ProviderError."""
    try:
        return await read_body(response, idle_timeout_s=route.idle_timeout_s)
    except (aiohttp.ClientError, OSError, BodyTooLarge) as error:
        raise translated(error, route, waited_s=route.idle_timeout_s) from error


async def read_refusal(response: aiohttp.ClientResponse, route: Route) -> Failure:
    """What an answer with an error status says; its connection is free or closed afterwards."""
    return read_failure(await read_error(response, route))


def failed_answer(
    failure: Failure, response: aiohttp.ClientResponse, route: Route, texts: Sequence[str]
) -> ProviderError:
    """The exception for a failure that the answer reported; `texts` is what was sent and must not be quoted."""
    return failed(
        failure,
        provider=route.provider,
        status=response.status,
        headers=response.headers,
        secrets=(route.api_key,) if route.api_key else (),
        prompt=texts,
    )


def malformed(route: Route, what: str) -> ProviderError:
    """An answer that makes no sense; `what` tells how, in words of ours."""
    message = f"{route.provider} sent something that cannot be read: {what}."
    return ProviderError(message, retriable=True, upstream_status=200, error_class="malformed")


def texts_of(prompt: Prompt) -> list[str]:
    """What must not be quoted in an error."""
    return [turn.content for turn in prompt.turns]


def encode(fields: dict[str, Any]) -> bytes:
    """A request as JSON."""
    try:
        return _encode(fields)
    except UnicodeEncodeError:
        # A lone surrogate in someone's text: no UTF-8 can carry it, the rest of the text can be answered.
        return _encode(_encodable(fields))


def keep(cache: dict[_K, _V], key: _K, value: _V) -> _V:
    """Remember `value`, in a bounded way; returns it."""
    if len(cache) >= MAX_REMEMBERED:
        cache.clear()
    cache[key] = value
    return value


class Quirks:
    """What a model behind an endpoint was found to refuse, so that it is asked rightly from then on."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], frozenset[str]] = {}

    def of(self, route: Route) -> frozenset[str]:
        """The quirks of the route's model."""
        return self._known.get((route.base_url, route.model), _NO_QUIRKS)

    def learn(self, route: Route, quirk: str) -> None:
        """Add one, to what is known by now: another call may have learned something meanwhile."""
        keep(self._known, (route.base_url, route.model), self.of(route) | {quirk})


class _Watch:
    """Bounds every wait for bytes of one answer with one timer, where a time-out context a wait would cost a timer each.

    `limit` is the end of the wait that goes on (clock of the loop), or `inf` while the reader is busy elsewhere: a slow
    visitor is no silent provider.
    """

    __slots__ = ("_content", "_due", "_handle", "_loop", "limit")

    def __init__(self, content: aiohttp.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        self._content = content
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._due = inf
        self.limit = inf

    def begin(self, limit: float) -> None:
        """Before a wait: it ends with TimeoutError at `limit`."""
        self.limit = limit
        if limit < self._due:
            self.end()
            self._due = limit
            self._handle = self._loop.call_at(limit, self._ring)

    def end(self) -> None:
        """Take the timer back."""
        if self._handle is not None:
            self._handle.cancel()

    def _ring(self) -> None:
        self._due = inf
        self._handle = None
        limit = self.limit
        if limit == inf:
            return
        # The wait of now began after the timer was set: its end may lie ahead.
        if limit - self._loop.time() > 0.001:
            self.begin(limit)
        else:
            self._content.set_exception(TimeoutError())


class _Answer:
    """A response and its reader: from payloads to deltas, and from whatever is wrong to an exception."""

    __slots__ = ("_prompt", "_reader", "_response", "_route")

    def __init__(self, response: aiohttp.ClientResponse, reader: Reader, route: Route, prompt: Prompt) -> None:
        self._response = response
        self._reader = reader
        self._route = route
        self._prompt = prompt

    def read(self, event: SseEvent) -> Delta | None:
        """One event to a delta. Raises the failure that the event reports."""
        reader = self._reader
        if reader.done:
            return None
        try:
            delta = reader.read(event.data, event.name)
        except _UNREADABLE as error:
            raise self.unreadable(error) from error
        if reader.failure is not None:
            raise self.failed(reader.failure)
        return delta

    def read_leftover(self, event: SseEvent) -> Delta | None:
        """As `read`, for bytes that end without a blank line: half an event is no more than a cut stream."""
        try:
            msgspec.json.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if event.data != b"[DONE]":
                return None
        return self.read(event)

    def whole(self, body: bytes) -> list[Delta]:
        """Deltas of a whole answer: JSON, or a stream that was not asked for. Raises ProviderError."""
        reader, route = self._reader, self._route
        start = body.lstrip()[:1]
        if start in (b"d", b"e", b":"):
            parser = SseParser(MAX_EVENT_BYTES)
            found = [self.read(event) for event in _events(parser, body, route)]
            found += [self.read_leftover(event) for event in parser.finish()]
            return [delta for delta in found if delta is not None]
        if start == b"<":
            raise malformed(route, f"not a completion but {read_failure(body).message[:80]}")
        try:
            deltas = reader.read_whole(body)
        except _UNREADABLE as error:
            failure = read_failure(body)
            if failure.codes:
                raise self.failed(failure) from error
            raise malformed(route, "not a completion") from error
        if reader.failure is not None:
            raise self.failed(reader.failure)
        if reader.finish is None and not reader.shown:
            failure = read_failure(body)
            if failure.message or failure.codes:
                raise self.failed(failure)
            raise self.with_usage(malformed(route, "an answer without content"))
        # A body that is whole has an end, whether or not the server names a reason for it.
        reader.done = True
        return deltas

    def last(self) -> Delta:
        """The closing delta. Raises CutStream without a finish marker, ContentFilterError if all was held back."""
        last = self._reader.last()
        if last is None:
            raise self.with_usage(_cut(self._route))
        if last.finish is Finish.CONTENT_FILTER and not self._reader.shown:
            message = f"{self._route.provider} refused to answer this content."
            raise self.with_usage(ContentFilterError(message, upstream_status=200))
        return last

    def with_usage(self, error: ProviderError) -> ProviderError:
        """Put what was reported so far on the error: a broken answer is charged too."""
        error.usage = self._reader.usage_now()
        return error

    def unreadable(self, error: Unreadable | RecursionError) -> ProviderError:
        """The exception for an event that is none of the dialect's."""
        what = "nested too deeply" if isinstance(error, RecursionError) else error
        return self.with_usage(malformed(self._route, f"in its stream, {what}"))

    def failed(self, failure: Failure) -> ProviderError:
        """The exception for what the provider reported."""
        return self.with_usage(failed_answer(failure, self._response, self._route, texts_of(self._prompt)))


def _cut(route: Route) -> CutStream:
    return CutStream(f"{route.provider}'s stream ended without a finish marker.")


def _events(parser: SseParser, data: bytes, route: Route) -> list[SseEvent]:
    try:
        return parser.feed(data)
    except SseTooLarge as error:
        raise malformed(route, str(error)) from error


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


def _encodable(value: Any) -> Any:
    """The same JSON value with every lone surrogate replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(name): _encodable(item) for name, item in value.items()}
    return value
