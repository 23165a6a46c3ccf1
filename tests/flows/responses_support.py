"""A server whose model takes no chat completions: it sends the wire format to the Responses API, as OpenAI does."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bench.simulator.replay import Replay, run_replay
from chatwright.adapters.providers.http import open_http
from chatwright.adapters.providers.openai_chat import OpenAiChat
from chatwright.domain.providers import Route
from tests.flows.recorded import KEY, Recording

ONLY_RESPONSES = (
    "This model is only supported in v1/responses and not in v1/chat/completions."  # the words of OpenAI's 404
)


class _Requests(list[tuple[bytes, bytes]]):
    """Requests as the replay notes them; each one chooses the answer that it gets."""

    def __init__(self, server: "ResponsesServer") -> None:
        super().__init__()
        self._server = server

    def append(self, item: tuple[bytes, bytes], /) -> None:
        super().append(item)
        self._server.choose(item[0])


class ResponsesServer:
    """Refuses chat completions with `refusal` and answers everything else as told by `load` or `say`."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.refusal: tuple[int, dict[str, Any]] = (404, {"error": {"message": ONLY_RESPONSES, "param": "model"}})
        self.status = 200
        self.headers: dict[str, str] = {"content-type": "application/json"}
        self.pieces: Sequence[bytes] = ()
        replay.requests = _Requests(self)

    @property
    def paths(self) -> list[str]:
        """Where the requests went."""
        return [head.split(b" ", 2)[1].decode() for head, _ in self.replay.requests]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What the requests said."""
        return [json.loads(body) for _, body in self.replay.requests]

    def choose(self, head: bytes) -> None:
        """Set the replay's answer to the request that came."""
        if b"/chat/completions" in head.split(b"\r\n", 1)[0]:
            status, body = self.refusal
            self.replay.status, self.replay.headers = status, {"content-type": "application/json"}
            self.replay.pieces = [json.dumps(body).encode()]
        else:
            self.replay.status, self.replay.headers, self.replay.pieces = self.status, self.headers, self.pieces

    def load(self, recording: Recording, pieces: Sequence[bytes] = ()) -> None:
        """Give this recorded answer from now on."""
        self.status, self.headers = recording.status, recording.headers
        self.pieces = pieces or [recording.body.encode()]

    def say(self, *events: dict[str, Any], end: str = "", status: int = 200) -> None:
        """Give a stream of these events from now on, `end` after them."""
        lines = [f"event: {event.get('type', '')}\ndata: {json.dumps(event)}\n\n" for event in events]
        self.status, self.headers = status, {"content-type": "text/event-stream"}
        self.pieces = ["".join([*lines, end]).encode()]

    def give(self, body: dict[str, Any], *, status: int = 200) -> None:
        """Give this object from now on."""
        self.status, self.headers = status, {"content-type": "application/json"}
        self.pieces = [json.dumps(body).encode()]


@asynccontextmanager
async def responses_server(provider: str = "openai") -> AsyncGenerator[tuple[ResponsesServer, OpenAiChat, Route]]:
    """The server, a fresh wire format and the route there."""
    async with open_http() as clients, run_replay() as replay:
        route = Route(provider=provider, model="m", base_url=replay.base_url, api_key=KEY)
        yield ResponsesServer(replay), OpenAiChat(clients), route
