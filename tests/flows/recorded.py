"""HTTP exchanges with providers as test data, and the ways to serve them again in pieces.

Two collections in one JSON form (`id, provider, api, kind, tags, provenance, source, notes, request, response`):
`tests/exchanges/*.json`, small ones written here from the documented shapes, and recorded traffic, which is shared data
outside the repository (`CHATWRIGHT_SHARED`, default `../shared`). Tests of the wire formats read both; those that make
no sense without the recordings are marked `needs_recordings`.
"""

import json
import os
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bench.simulator.replay import Replay, cut, cut_every, run_replay
from chatwright.adapters.providers.base import Reader, WireFormat
from chatwright.adapters.providers.http import HttpClients, open_http
from chatwright.adapters.providers.sse import SseParser
from chatwright.domain.providers import Completion, Delta, Prompt, Route, Turn

SHARED = Path(os.environ.get("CHATWRIGHT_SHARED", Path(__file__).parents[2].parent / "shared"))
RECORDINGS = SHARED / "fixtures" / "providers"
WRITTEN_HERE = Path(__file__).parents[1] / "exchanges"
needs_recordings = pytest.mark.skipif(
    not RECORDINGS.is_dir(),
    reason=f"NO PROVIDER RECORDINGS at {RECORDINGS}: the wire format is checked against tests/exchanges only",
)
KEY = "sk-test-0123456789abcdef"
PROMPT = Prompt(turns=[Turn("user", "Say something about the weather over Königsberg.")])
W = TypeVar("W", bound=WireFormat)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One exchange. `request` is the parsed body that was sent, or None."""

    id: str
    kind: str
    provider: str
    api: str
    tags: tuple[str, ...]
    provenance: str
    request: Any
    status: int
    headers: dict[str, str]
    body: str

    @property
    def streamed(self) -> bool:
        """The body is an event stream."""
        return self.body.lstrip().startswith(("data:", ":", "event:"))

    @property
    def good(self) -> bool:
        """An answer, no failure of any sort."""
        return not self.kind.startswith("err")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON payloads of the body: of each event of a stream, else of the one object. Read independently."""
        if not self.streamed:
            return [json.loads(self.body)]
        lines = self.body.replace("\r\n", "\n").split("\n")
        return [json.loads(line[5:]) for line in lines if line.startswith("data:") and "[DONE]" not in line]


@cache
def _all() -> tuple[Recording, ...]:
    found: list[Recording] = []
    for path in [*sorted(WRITTEN_HERE.glob("*.json")), *sorted(RECORDINGS.glob("*/*.json"))]:
        data = json.loads(path.read_text(encoding="utf-8"))
        answer = data["response"]
        found.append(
            Recording(
                id=data["id"],
                kind=data["kind"],
                provider=data["provider"],
                api=data["api"],
                tags=tuple(data["tags"]),
                provenance=data["provenance"],
                request=data["request"]["body"],
                status=answer["status"],
                headers=answer["headers"],
                body=answer["body"],
            )
        )
    return tuple(found)


def recordings(*apis: str, providers: Sequence[str] = ()) -> tuple[Recording, ...]:
    """The exchanges of these APIs, of these providers or of all; those written here first."""
    return tuple(r for r in _all() if r.api in apis and (not providers or r.provider in providers))


@dataclass(frozen=True)
class Reading:
    """What an answer says, by any reader. `usage` is input, cached, output and reasoning tokens."""

    text: str
    finish: str | None
    usage: tuple[int, int, int, int] | None
    calls: tuple[tuple[str, str, str], ...]
    """Id, name and arguments of each tool call."""


def ours(completion: Completion) -> Reading:
    """A completion of ours as a Reading."""
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


def ways_to_cut(body: bytes, seed: int = 7) -> list[list[bytes]]:
    """The body whole and in pieces: of 1 (short ones), 7 and 1000 bytes, at random, and inside each UTF-8 sequence and
    each CRLF."""
    ways = [[body], cut_every(body, 1000)]
    if len(body) <= 2000:
        ways.append(cut_every(body, 1))
    if len(body) <= 8000:
        ways.append(cut_every(body, 7))
    if len(body) > 1:
        rng = random.Random(seed)
        ways.append(cut(body, sorted(rng.sample(range(1, len(body)), min(60, len(body) - 1)))))
    inside = [i for i in range(1, len(body)) if body[i] & 0xC0 == 0x80 or body[i - 1 : i + 1] == b"\r\n"]
    if inside:
        ways.append(cut(body, inside[:400]))
    return ways


def byte_by_byte(body: bytes, reader: Reader) -> list[Delta]:
    """The deltas of a stream fed a byte at a time, the closing one included if there is one. No connection."""
    parser = SseParser()
    deltas: list[Delta | None] = []
    for i in range(len(body)):
        deltas += [reader.read(event.data, event.name) for event in parser.feed(body[i : i + 1])]
    deltas += [reader.read(event.data, event.name) for event in parser.finish()]
    return [delta for delta in [*deltas, reader.last()] if delta]


def load(replay: Replay, recording: Recording, pieces: Sequence[bytes] = ()) -> None:
    """Let the server give this answer from now on, in these pieces (whole without)."""
    replay.status, replay.headers = recording.status, recording.headers
    replay.pieces = pieces or [recording.body.encode()]


@asynccontextmanager
async def serving(kind: Callable[[HttpClients], W], provider: str) -> AsyncGenerator[tuple[Replay, W, Route]]:
    """A server for recordings, a wire format made by `kind`, and the route there."""
    async with open_http() as clients, run_replay() as replay:
        yield replay, kind(clients), Route(provider=provider, model="m", base_url=replay.base_url, api_key=KEY)


async def streamed(wire: WireFormat, route: Route, prompt: Prompt = PROMPT) -> list[Delta]:
    """All deltas of one stream."""
    async with aclosing(wire.stream(route, prompt)) as stream:
        return [delta async for delta in stream]
