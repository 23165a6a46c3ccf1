"""A stream of `/v1` ends soon after its key was revoked; until then it is the caller's."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from chatwright.pipeline.services import Services
from tests.flows.knowledge_support import Client, client_of, run_api

CHUNKS = 400


@pytest.fixture
async def client(app: Services) -> AsyncGenerator[Client]:
    async with run_api(app) as (url, session):
        client = await client_of(app, session, url, name="Shop")
        chain = [{"provider": "openai", "model": f"sim:chunks={CHUNKS},interval=50"}]
        body = {"name": "Slow", "slug": "slow", "providers": chain, "knowledge_enabled": False}
        assert (await client.call("POST", "/api/v1/chatbots", json=body)).status == 201
        yield client


async def events(client: Client, key: str) -> AsyncGenerator[dict[str, Any]]:
    asked = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "Go on."}]}
    headers = {"authorization": f"Bearer {key}"}
    async with client.session.post(f"{client.url}/v1/chat/completions", json=asked, headers=headers) as reply:
        assert reply.status == 200
        async for line in reply.content:
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])


@pytest.mark.parametrize("is_revoked", [True, False])
async def test_a_revoked_key_loses_its_stream(client: Client, is_revoked: bool) -> None:
    made = await client.call("POST", "/api/v1/keys", json={"name": "partner"})
    assert made.status == 201, made.body
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(18):
        async for event in events(client, made.body["secret"]):
            seen.append(event)
            if len(seen) == 3 and is_revoked:
                assert (await client.call("DELETE", f"/api/v1/keys/{made.body['id']}")).status == 200
            if len(seen) == 60 and not is_revoked:
                break
    if is_revoked:
        assert seen[-1]["error"]["code"] == "unauthenticated"
        assert len(seen) < CHUNKS // 2
    else:
        assert all("choices" in event for event in seen), "a key that holds is not in its own way"
