"""`python -m bench.readers URL`: the processor time of reading one streamed answer, by different readers. JSON on stdout.

A process of its own, so that nothing else is on its account: wire formats of the product, a bare aiohttp reader of the
same bytes, and the official SDKs, in turns against one simulator (`URL` is its origin). Run by `figures/reading.py`.
"""

# ruff: noqa: PERF401 - the pieces are taken one by one, as whoever shows them takes them

import argparse
import asyncio
import gc
import importlib
import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from chatwright.adapters.providers.base import WireFormat
from chatwright.adapters.providers.http import HttpClients, open_http
from chatwright.adapters.providers.openai_chat import OpenAiChat
from chatwright.domain.providers import Prompt, Route, Turn

DIALECTS = ("openai", "anthropic", "gemini")
_KEY = "sk-simulated"
_SYSTEM = "You are the support assistant of Example Ltd. Answer briefly, politely and concretely."
_QUESTION = "When are you open, and may I book a visit online?"

Read = Callable[[], Awaitable[str]]
"""Reads one whole stream and returns its text."""


def prompt() -> Prompt:
    return Prompt(turns=(Turn("system", _SYSTEM), Turn("user", _QUESTION)), max_tokens=1_000)


def ours(wire: WireFormat, route: Route) -> Read:
    asked = prompt()

    async def read() -> str:
        parts: list[str] = []
        async for delta in wire.stream(route, asked):
            parts.append(delta.text)
        return "".join(parts)

    return read


# The least that has to be read of a chunk. -----------------------------------------------------------------------


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _OpenAi(msgspec.Struct):
    choices: list[_Choice]
    usage: dict[str, Any] | None = None

    def text(self) -> str:
        return (self.choices[0].delta.content or "") if self.choices else ""


class _TextDelta(msgspec.Struct):
    text: str = ""


class _Anthropic(msgspec.Struct):
    type: str
    delta: _TextDelta | None = None
    usage: dict[str, Any] | None = None

    def text(self) -> str:
        return self.delta.text if self.type == "content_block_delta" and self.delta is not None else ""


class _Part(msgspec.Struct):
    text: str = ""


class _Content(msgspec.Struct):
    parts: list[_Part] = []


class _Candidate(msgspec.Struct):
    content: _Content
    finishReason: str | None = None  # noqa: N815 - their word


class _Gemini(msgspec.Struct):
    candidates: list[_Candidate]
    usageMetadata: dict[str, Any] | None = None  # noqa: N815

    def text(self) -> str:
        return self.candidates[0].content.parts[0].text


_SHAPES: dict[str, type[_OpenAi] | type[_Anthropic] | type[_Gemini]] = {
    "openai": _OpenAi,
    "anthropic": _Anthropic,
    "gemini": _Gemini,
}


def bare(session: aiohttp.ClientSession, dialect: str, origin: str) -> Read:
    """Bytes as they come, lines, JSON into the smallest struct: what nobody can leave out. No time-outs, no checks."""
    decode = msgspec.json.Decoder(_SHAPES[dialect]).decode
    url, headers, body = _request(dialect, origin)
    payload = json.dumps(body).encode()

    async def read() -> str:
        parts: list[str] = []
        async with session.post(url, data=payload, headers=headers) as response:
            tail = b""
            async for data in response.content.iter_any():
                *lines, tail = (tail + data).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: {"):
                        parts.append(decode(line[6:]).text())
        return "".join(parts)

    return read


def _request(dialect: str, origin: str) -> tuple[str, dict[str, str], dict[str, Any]]:
    kind = {"content-type": "application/json"}
    body: dict[str, Any]
    turns = [{"role": "user", "content": _QUESTION}]
    match dialect:
        case "openai":
            body = {"model": "m", "messages": [{"role": "system", "content": _SYSTEM}, *turns], "stream": True}
            body |= {"stream_options": {"include_usage": True}}
            return f"{origin}/v1/chat/completions", kind | {"authorization": f"Bearer {_KEY}"}, body
        case "anthropic":
            body = {"model": "m", "system": _SYSTEM, "messages": turns, "max_tokens": 1_000, "stream": True}
            return f"{origin}/v1/messages", kind | {"x-api-key": _KEY, "anthropic-version": "2023-06-01"}, body
        case _:
            body = {"contents": [{"role": "user", "parts": [{"text": _QUESTION}]}]}
            url = f"{origin}/v1beta/models/m:streamGenerateContent?alt=sse"
            return url, kind | {"x-goog-api-key": _KEY}, body


# The official SDKs, with nothing but the address changed. ------------------------------------------------------------


@asynccontextmanager
async def sdk(dialect: str, origin: str) -> AsyncGenerator[Read]:
    """Raises ImportError where the SDK is not installed."""
    _, _, body = _request(dialect, origin)
    match dialect:
        case "openai":
            module: Any = importlib.import_module("openai")
            async with module.AsyncOpenAI(base_url=f"{origin}/v1", api_key=_KEY, max_retries=0) as client:

                async def read_openai() -> str:
                    parts: list[str] = []
                    async for chunk in await client.chat.completions.create(**body):
                        if chunk.choices:
                            parts.append(chunk.choices[0].delta.content or "")
                    return "".join(parts)

                yield read_openai
        case "anthropic":
            module = importlib.import_module("anthropic")
            async with module.AsyncAnthropic(base_url=origin, api_key=_KEY, max_retries=0) as client:

                async def read_anthropic() -> str:
                    parts: list[str] = []
                    async for event in await client.messages.create(**body):
                        if event.type == "content_block_delta":
                            parts.append(event.delta.text)
                    return "".join(parts)

                yield read_anthropic
        case _:
            module = importlib.import_module("google.genai")
            made = module.Client(api_key=_KEY, http_options={"base_url": origin, "api_version": "v1beta"})
            async with made.aio as client:

                async def read_gemini() -> str:
                    parts: list[str] = []
                    async for chunk in await client.models.generate_content_stream(model="m", contents=_QUESTION):
                        parts.append(chunk.text or "")
                    return "".join(parts)

                yield read_gemini


def wire_of(dialect: str, clients: HttpClients, origin: str) -> tuple[WireFormat, Route] | None:
    """The product's wire format of this dialect, or None where it has none."""
    bases = {"openai": f"{origin}/v1", "anthropic": origin, "gemini": f"{origin}/v1beta"}
    route = Route(provider=dialect, model="m", base_url=bases[dialect], api_key=_KEY)
    if dialect == "openai":
        return OpenAiChat(clients), route
    name = dialect.capitalize()
    try:
        module: Any = importlib.import_module(f"chatwright.adapters.providers.{dialect}")
        return getattr(module, name)(clients), route
    except (ImportError, AttributeError, TypeError):
        return None


async def measure(origin: str, *, rounds: int, streams: int, chunks: int) -> dict[str, dict[str, float]]:
    """CPU milliseconds a stream, the median of `rounds` rounds of `streams` each, by dialect and reader."""
    found: dict[str, dict[str, float]] = {}
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(open_http())
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        for dialect in DIALECTS:
            readers: dict[str, Read] = {"bare": bare(session, dialect, origin)}
            made = wire_of(dialect, clients, origin)
            if made is not None:
                readers["ours"] = ours(*made)
            try:
                readers["sdk"] = await stack.enter_async_context(sdk(dialect, origin))
            except ImportError as error:
                print(f"no SDK of {dialect}: {error}", file=sys.stderr)
            found[dialect] = await _rounds(readers, rounds=rounds, streams=streams, chunks=chunks)
    return found


async def _rounds(readers: dict[str, Read], *, rounds: int, streams: int, chunks: int) -> dict[str, float]:
    expected = "".join(f"token{n} " for n in range(1, chunks + 1))
    for name, read in readers.items():
        for _ in range(2):
            if (text := await read()) != expected:
                raise RuntimeError(f"{name} read something else: {text[:80]!r}")
    spent: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, read in readers.items():
            gc.collect()
            began_s = time.process_time()
            for _ in range(streams):
                await read()
            spent[name].append((time.process_time() - began_s) / streams * 1_000)
    return {name: statistics.median(values) if values else math.nan for name, values in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.readers")
    parser.add_argument("origin", help="http://host:port of the simulator")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--streams", type=int, default=10, help="a round's streams, one after the other")
    parser.add_argument("--chunks", type=int, default=200, help="chunks a stream, as the simulator was told")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # of the SDKs
    work = measure(arguments.origin, rounds=arguments.rounds, streams=arguments.streams, chunks=arguments.chunks)
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        found = asyncio.run(work)
    else:
        found = uvloop.run(work)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
