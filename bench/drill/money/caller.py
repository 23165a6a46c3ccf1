"""Asks one chatbot over `/v1` and as queued messages, and says in one word how each went. Called by the scenarios."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import aiohttp

ANSWERED, REFUSED, LIMITED = "answered", "refused", "limited"
"""An answer by a provider; held back by a budget; by a rate limit."""
_FAULTS = (aiohttp.ClientError, OSError, TimeoutError, ValueError)


@dataclass(frozen=True, slots=True)
class Caller:
    """One tenant's chatbot."""

    session: aiohttp.ClientSession
    key: str
    chatbot: str

    async def complete(self, base_url: str, text: str, *, stream: bool = False, max_tokens: int | None = None) -> str:
        """One completion to its end: a word, or else what came instead. Raises CancelledError only."""
        body: dict[str, Any] = {
            "model": self.chatbot,
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
        }
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        try:
            async with self._post(base_url, "/v1/chat/completions", body) as response:
                said = await response.text()
        except _FAULTS as error:
            return f"broken: {error!r}"[:200]
        if response.status == 200 and (not stream or ("data: [DONE]" in said and '"error"' not in said)):
            return ANSWERED
        return _word(response.status, said)

    async def leave(self, base_url: str, text: str, *, stream: bool, after_s: float, pieces: int = 0) -> str:
        """Ask, and close the connection: after so many visible pieces, or after so long, whichever comes first."""
        body = {"model": self.chatbot, "messages": [{"role": "user", "content": text}], "stream": stream}
        try:
            async with asyncio.timeout(after_s), self._post(base_url, "/v1/chat/completions", body) as response:
                async for line in response.content:
                    pieces -= b'"content":"' in line
                    if pieces <= 0 and stream and b'"content":"' in line:
                        response.close()
                        return "left"
        except TimeoutError:
            return "left"
        except _FAULTS as error:
            return f"broken: {error!r}"[:200]
        return "stayed"

    async def open(self, base_url: str) -> str:
        """A conversation of its own; returns its id. Raises one of the usual faults."""
        async with self._post(base_url, "/api/v1/conversations", {"chatbot": self.chatbot}) as response:
            return json.loads(await response.text())["id"]

    async def say(self, base_url: str, conversation_id: str, text: str) -> str:
        """One message to its end: a word, or else what came instead. Raises CancelledError only."""
        path = f"/api/v1/conversations/{conversation_id}/messages?wait=true"
        try:
            async with self._post(base_url, path, {"text": text}) as response:
                said = await response.text()
        except _FAULTS as error:
            return f"broken: {error!r}"[:200]
        if response.status == 200 and json.loads(said).get("state") == "answered":
            return ANSWERED
        return _word(response.status, said)

    async def say_and_cancel(self, base_url: str, conversation_id: str, text: str, *, after_s: float) -> str:
        """A message, and its cancellation a moment later."""
        path = f"/api/v1/conversations/{conversation_id}/messages"
        try:
            async with self._post(base_url, path, {"text": text}) as response:
                said = json.loads(await response.text())
            if response.status != 202:
                return _word(response.status, json.dumps(said))
            await asyncio.sleep(after_s)
            async with self._post(base_url, f"{path}/{said['message_id']}/cancel", {}) as response:
                await response.read()
        except (*_FAULTS, KeyError) as error:
            return f"broken: {error!r}"[:200]
        return "cancelled"

    def _post(self, base_url: str, path: str, body: Any) -> Any:
        return self.session.post(base_url + path, json=body, headers={"authorization": f"Bearer {self.key}"})


def _word(status: int, said: str) -> str:
    if '"budget_exceeded"' in said:
        return REFUSED
    if status == 429 and '"rate_limit_exceeded"' in said:
        return LIMITED
    return f"{status} {said[:160]}"
