"""Every recorded chat completion, served again in pieces and read by the wire format.

Three readings must agree: ours at any cut, a plain one written here, and the official SDK's where it can read the
recording at all. The recordings are shared data outside the repository (`CHATWRIGHT_SHARED`, default `../shared`).
"""

import asyncio
import json
import os
import random
import warnings
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.simulator.replay import Replay, cut_every, run_replay
from chatwright.adapters.providers.base import join
from chatwright.adapters.providers.http import open_http
from chatwright.adapters.providers.openai_chat import OpenAiChat
from chatwright.adapters.providers.openai_reading import ChatReader
from chatwright.adapters.providers.sse import SseParser
from chatwright.domain.errors import (
    ContextTooLong,
    CutStream,
    ProviderAuthenticationFailed,
    ProviderError,
    ProviderRateLimited,
)
from chatwright.domain.providers import Completion, Delta, Prompt, Route, Turn, Usage

SHARED = Path(os.environ.get("CHATWRIGHT_SHARED", Path(__file__).parents[2].parent / "shared"))
RECORDINGS = SHARED / "fixtures" / "providers"
pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(),
    reason=f"NO PROVIDER RECORDINGS at {RECORDINGS}: the wire format is not checked against them",
)
KEY = "sk-test-0123456789abcdef"
PROMPT = Prompt(turns=[Turn("user", "Say something about the weather over Königsberg.")])


@dataclass(frozen=True)
class Recording:
    id: str
    kind: str
    provider: str
    status: int
    headers: dict[str, str]
    body: str
    api: str

    @property
    def streamed(self) -> bool:
        return self.body.lstrip().startswith(("data:", ":", "event:"))


@cache
def recordings(api: str = "chat.completions") -> tuple[Recording, ...]:
    found: list[Recording] = []
    for path in sorted(RECORDINGS.glob("*/*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["api"] == api:
            answer = data["response"]
            found.append(
                Recording(
                    data["id"], data["kind"], data["provider"], answer["status"], answer["headers"], answer["body"], api
                )
            )
    return tuple(found)


GOOD = [r for r in recordings() if not r.kind.startswith("err")] if RECORDINGS.is_dir() else []
BAD = [r for r in recordings() if r.kind.startswith("err")] if RECORDINGS.is_dir() else []


@dataclass(frozen=True)
class Reading:
    """What an answer says, by any reader."""

    text: str
    finish: str | None
    usage: tuple[int, int, int, int] | None
    calls: tuple[tuple[str, str, str], ...]


def plainly(recording: Recording) -> Reading:
    """The independent reading: whole body, standard json, nothing shared with the wire format."""
    if recording.streamed:
        lines = recording.body.replace("\r\n", "\n").split("\n")
        objects = [json.loads(line[5:]) for line in lines if line.startswith("data:") and "[DONE]" not in line]
    else:
        objects = [json.loads(recording.body)]
    text, finish, usage = "", None, None
    calls: dict[int, list[str]] = {}
    for item in objects:
        usage = item.get("usage") or (item.get("x_groq") or {}).get("usage") or usage
        for choice in item.get("choices") or []:
            if choice.get("index", 0) != 0:
                continue
            finish = choice.get("finish_reason") or finish
            message = (choice.get("delta") if recording.streamed else choice.get("message")) or {}
            content = message.get("content") or ""
            text += (
                content if isinstance(content, str) else "".join(p["text"] for p in content if p.get("type") == "text")
            )
            for position, call in enumerate(message.get("tool_calls") or []):
                held = calls.setdefault(call.get("index", position), ["", "", ""])
                inner = call.get("function") or call.get("custom") or {}
                held[0] = call.get("id") or held[0]
                held[1] = inner.get("name") or held[1]
                held[2] += inner.get("arguments") or inner.get("input") or ""
    counts = None
    if usage:
        details = usage.get("prompt_tokens_details") or {}
        counts = (
            usage["prompt_tokens"],
            details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0,
            usage["completion_tokens"],
            (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
        )
    return Reading(text, finish, counts, tuple((a, b, c) for _, (a, b, c) in sorted(calls.items())))


def ours(completion: Completion) -> Reading:
    usage = completion.usage
    calls: list[tuple[str, str, str]] = []
    for call in completion.tool_calls or []:
        inner = call.get("function") or call.get("custom") or {}
        calls.append((call["id"], inner["name"], inner.get("arguments") or inner.get("input") or ""))
    return Reading(
        completion.text,
        completion.finish.value,
        (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens) if usage else None,
        tuple(calls),
    )


@asynccontextmanager
async def serving() -> AsyncGenerator[tuple[Replay, OpenAiChat, Route]]:
    async with open_http() as clients, run_replay() as replay:
        yield replay, OpenAiChat(clients), Route(provider="openai", model="m", base_url=replay.base_url, api_key=KEY)


async def streamed(wire: OpenAiChat, route: Route) -> list[Delta]:
    async with aclosing(wire.stream(route, PROMPT)) as stream:
        return [delta async for delta in stream]


def load(replay: Replay, recording: Recording, pieces: Sequence[bytes]) -> None:
    replay.status, replay.headers, replay.pieces = recording.status, recording.headers, pieces


def test_there_are_recordings_of_every_sort() -> None:
    assert len(GOOD) >= 100
    assert len(BAD) >= 30
    assert sum(r.streamed for r in GOOD) >= 40
    assert {"openai", "azure-openai", "local", "groq", "mistral", "deepseek", "openrouter"} <= {
        r.provider for r in GOOD
    }


def test_every_good_recording_reads_the_same_at_any_cut() -> None:
    rng = random.Random(7)

    async def check() -> None:
        async with serving() as (replay, wire, route):
            for recording in GOOD:
                body = recording.body.encode()
                expected = plainly(recording)
                ways = [[body], cut_every(body, 1000)]
                if len(body) <= 2000:
                    ways.append(cut_every(body, 1))
                if len(body) <= 8000:
                    ways.append(cut_every(body, 7))
                edges = sorted(rng.sample(range(1, len(body)), min(60, len(body) - 1)))
                ways.append([body[a:b] for a, b in zip([0, *edges], [*edges, len(body)], strict=True)])
                for pieces in ways:
                    load(replay, recording, pieces)
                    deltas = await streamed(wire, route)
                    assert ours(join(deltas)) == expected, recording.id
                    assert [d.finish is not None for d in deltas] == [False] * (len(deltas) - 1) + [True], recording.id
                load(replay, recording, cut_every(body, 1000))
                assert ours(await wire.complete(route, PROMPT)) == expected, recording.id

    asyncio.run(check())


def test_every_streamed_recording_reads_the_same_byte_by_byte() -> None:
    for recording in (r for r in GOOD if r.streamed):
        body = recording.body.encode()
        parser, reader = SseParser(), ChatReader()
        deltas: list[Delta | None] = []
        for i in range(len(body)):
            deltas += [reader.read(event.data, event.name) for event in parser.feed(body[i : i + 1])]
        deltas += [reader.read(event.data, event.name) for event in parser.finish()]
        assert ours(join([d for d in [*deltas, reader.last()] if d])) == plainly(recording), recording.id


def test_every_streamed_recording_is_a_cut_stream_when_it_ends_early() -> None:
    async def check() -> None:
        async with serving() as (replay, wire, route):
            for recording in (r for r in GOOD if r.streamed):
                body = recording.body.encode()
                marker = body.find(b'"finish_reason":"')
                marker = marker if marker >= 0 else body.find(b'"finish_reason": "')
                assert marker > 0, recording.id
                for end in (marker, body.rfind(b"\n\n", 0, marker) + 2):
                    load(replay, recording, [body[:end]])
                    for replay.close_early in (False, True):
                        with pytest.raises(CutStream):
                            await streamed(wire, route)

    asyncio.run(check())


def test_the_official_sdk_reads_the_same() -> None:
    openai = pytest.importorskip("openai")
    compared = 0

    async def check() -> None:
        nonlocal compared
        async with serving() as (replay, wire, route):
            sdk = openai.AsyncOpenAI(base_url=route.base_url, api_key=KEY, max_retries=0)
            async with sdk:
                for recording in GOOD:
                    load(replay, recording, cut_every(recording.body.encode(), 1000))
                    mine = ours(join(await streamed(wire, route)))
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        theirs = await by_sdk(sdk, streamed=recording.streamed)
                    if theirs is None:
                        continue
                    compared += 1
                    text, finish, usage = theirs
                    assert (mine.text, mine.finish) == (text, finish), recording.id
                    if usage is not None:
                        assert mine.usage is not None
                        assert (mine.usage[0], mine.usage[2]) == usage, recording.id

    asyncio.run(check())
    assert compared >= 90


async def by_sdk(sdk: Any, *, streamed: bool) -> tuple[str, str | None, tuple[int, int] | None] | None:
    """Text, finish and usage by the SDK; None where its types do not fit the recording (Mistral's lists of parts)."""
    messages = [{"role": "user", "content": "x"}]
    text, finish, usage = "", None, None
    if not streamed:
        answer = await sdk.chat.completions.create(model="m", messages=messages)
        if not hasattr(answer, "choices"):
            return None  # without a content type the SDK gives the body as text
        content = answer.choices[0].message.content
        finish, usage = answer.choices[0].finish_reason, answer.usage
        if isinstance(content, list):
            return None
        text = content or ""
    else:
        async with await sdk.chat.completions.create(model="m", messages=messages, stream=True) as stream:
            async for chunk in stream:
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    if choice.index == 0 and choice.delta is not None:
                        if isinstance(choice.delta.content, list):
                            return None
                        text += choice.delta.content or ""
                        finish = choice.finish_reason or finish
    return text, finish, (usage.prompt_tokens, usage.completion_tokens) if usage else None


EXPECTED: dict[str, type[ProviderError]] = {
    "err-auth": ProviderAuthenticationFailed,
    "err-context-length": ContextTooLong,
    "err-rate-limit": ProviderRateLimited,
    "err-truncated-stream": CutStream,
}
NOT_RETRIABLE = {"err-quota": "quota", "err-model-not-found": "model_not_found", "err-invalid-request": "refused"}


def test_every_recorded_error_becomes_the_exception_of_the_table() -> None:
    async def check() -> None:
        async with serving() as (replay, wire, route):
            for recording in BAD:
                body = recording.body.encode()
                for pieces in ([body], cut_every(body, 7)):
                    load(replay, recording, pieces)
                    for call in (lambda: streamed(wire, route), lambda: wire.complete(route, PROMPT)):
                        with pytest.raises(ProviderError) as caught:
                            await call()
                        check_error(recording, caught.value)

    asyncio.run(check())


def check_error(recording: Recording, error: ProviderError) -> None:
    where = f"{recording.id}: {type(error).__name__} {error.error_class} {error.message}"
    kind = recording.kind
    assert type(error) is EXPECTED.get(kind, ProviderError), where
    if kind in NOT_RETRIABLE:
        assert not error.retriable, where
        assert error.error_class == NOT_RETRIABLE[kind], where
    if kind == "err-server":
        assert error.retriable, where
        assert error.error_class == "server_error", where
    if kind == "err-midstream":
        # The official error codes inside: 400 of Groq and OpenRouter, a server error of OpenAI.
        assert error.retriable == (recording.provider == "openai"), where
    if kind != "err-truncated-stream":
        assert error.upstream_status == recording.status, where
    assert len(error.message) <= 500
    assert KEY not in error.message


def test_the_wait_that_a_rate_limit_asks_for_is_the_larger_of_its_headers() -> None:
    async def check() -> None:
        waits: dict[str, float | None] = {}
        async with serving() as (replay, wire, route):
            for recording in (r for r in BAD if r.kind == "err-rate-limit"):
                load(replay, recording, [recording.body.encode()])
                with pytest.raises(ProviderRateLimited) as caught:
                    await wire.complete(route, PROMPT)
                waits[recording.provider] = caught.value.retry_after_s
        assert waits == {"azure-openai": 1.0, "openai": 3.0, "openrouter": None}

    asyncio.run(check())


def test_recorded_embeddings_as_numbers_are_read() -> None:
    async def check() -> int:
        read = 0
        async with serving() as (replay, wire, route):
            for recording in recordings("embeddings"):
                data = json.loads(recording.body)
                load(replay, recording, [recording.body.encode()])
                if recording.status != 200 or isinstance(data["data"][0]["embedding"], str):
                    with pytest.raises(ProviderError):
                        await wire.embed(route, ["x"])
                    continue
                texts = ["x"] * len(data["data"])
                got = await wire.embed(route, texts)
                assert got.vectors == [item["embedding"] for item in data["data"]], recording.id
                assert got.usage == Usage(input_tokens=data["usage"]["prompt_tokens"]), recording.id
                read += 1
        return read

    assert asyncio.run(check()) >= 3
