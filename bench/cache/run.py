"""One stream through the running product: an empty cache, `/v1`, several callers, the simulator as provider."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.cache.streams import Asked
from bench.product import Product, Rest, Tenant
from bench.simulator import Simulator

AT_ONCE = 4
WINDOW = 500
_CHECKS = "chatwright_cache_checks_total"
_SEEDS_AT_ONCE = 10
_TRAINED_WITHIN_S = 90.0
_TIMEOUT = aiohttp.ClientTimeout(total=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one question came to. `cached`: exact, semantic, miss or bypass; `right`: the answer is the one of its class;
    `took_s`: by the caller's clock."""

    asked: Asked
    cached: str
    right: bool
    took_s: float


@dataclass(slots=True, kw_only=True)
class Run:
    """A stream's course. `checks`: hits that a provider answered as well, so far, after each WINDOW of questions."""

    name: str
    told: list[Told] = field(default_factory=list[Told])
    checks: list[int] = field(default_factory=list[int])
    provider_calls: int = 0
    took_s: float = 0.0
    stats: dict[str, Any] = field(default_factory=dict[str, Any])


async def send(
    product: Product,
    rest: Rest,
    tenant: Tenant,
    simulator: Simulator,
    *,
    name: str,
    questions: Sequence[Asked],
    seeds: dict[str, list[Asked]] | None = None,
    pause_s: float = 0.0,
    tell: Callable[[str], None],
) -> Run:
    """Ask all questions of a chatbot made for them; `seeds` are given to its cache first.

    Raises RuntimeError when the product refuses one.
    """
    slug = name.replace("_", "-").replace(" ", "-")
    await rest.make_chatbot(
        tenant,
        slug,
        system_prompt="You answer the questions of a help desk.",
        cache_policy={"semantic": True},
    )
    simulator.book = {asked.text: asked.answer for asked in questions}
    simulator.log.reset()
    if seeds:
        await _give(rest, tenant, slug, seeds)
    run = Run(name=name)
    told: dict[int, Told] = {}
    waiting = iter(enumerate(questions))
    checks_before = await _checks(product, tenant)
    began_s = time.monotonic()
    headers = {"authorization": f"Bearer {tenant.key}"}
    async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as session, asyncio.TaskGroup() as group:

        async def ask() -> None:
            for place, asked in waiting:
                body = {"model": slug, "messages": [{"role": "user", "content": asked.text}]}
                at_s = time.perf_counter()
                async with session.post(product.base_url + "/v1/chat/completions", json=body) as response:
                    text = await response.text()
                    if response.status != 200:
                        raise RuntimeError(f"{response.status}: {text[:300]}")
                    told[place] = Told(
                        asked=asked,
                        cached=response.headers.get("x-chatwright-cache", ""),
                        right=json.loads(text)["choices"][0]["message"]["content"] == asked.answer,
                        took_s=time.perf_counter() - at_s,
                    )
                if place % WINDOW == WINDOW - 1:
                    run.checks.append(await _checks(product, tenant) - checks_before)
                    tell(_so_far(name, [told[at] for at in sorted(told)][-WINDOW:], place + 1))
                if pause_s:
                    await asyncio.sleep(pause_s)

        for number in range(AT_ONCE):
            group.create_task(ask(), name=f"caller-{number}")
    run.took_s = time.monotonic() - began_s
    run.told = [told[at] for at in sorted(told)]
    run.checks.append(await _checks(product, tenant) - checks_before)
    run.provider_calls = len(simulator.calls())
    run.stats = await rest.call("GET", f"/api/v1/chatbots/{slug}/cache", tenant.key)
    return run


async def time_hits(product: Product, tenant: Tenant, slug: str, questions: Sequence[Asked]) -> dict[str, list[float]]:
    """Seconds of whole `/v1` calls by what the cache said, one caller, one call after another; each question twice, so that
    what was a miss is an exact hit then."""
    found: dict[str, list[float]] = {}
    headers = {"authorization": f"Bearer {tenant.key}"}
    async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as session:
        for asked in [*questions, *questions]:
            body = {"model": slug, "messages": [{"role": "user", "content": asked.text}]}
            at_s = time.perf_counter()
            async with session.post(product.base_url + "/v1/chat/completions", json=body) as response:
                await response.read()
                cached = response.headers.get("x-chatwright-cache", "")
            found.setdefault(cached, []).append(time.perf_counter() - at_s)
    return found


async def _give(rest: Rest, tenant: Tenant, slug: str, seeds: dict[str, list[Asked]]) -> None:
    """Hand over reviewed questions, and wait until they are learned."""
    items = [
        {"question": mine[0].text, "answer": mine[0].answer, "phrasings": [one.text for one in mine[1:]]}
        for mine in seeds.values()
    ]
    path = f"/api/v1/chatbots/{slug}/cache"
    for at in range(0, len(items), _SEEDS_AT_ONCE):
        body = {"items": items[at : at + _SEEDS_AT_ONCE]}
        await rest.call("POST", f"{path}/seeds", tenant.key, body, timeout_s=120)
    phrasings = sum(len(mine) for mine in seeds.values())
    until_s = time.monotonic() + _TRAINED_WITHIN_S
    while time.monotonic() < until_s:
        semantic = (await rest.call("GET", path, tenant.key))["semantic"]
        if semantic["examples"] >= 0.95 * min(phrasings, 4_000):
            return
        await asyncio.sleep(0.5)
    raise RuntimeError("the seeds were not learned in time")


async def _checks(product: Product, tenant: Tenant) -> int:
    """How many hits of the tenant's chatbots were checked, by the API's metrics."""
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT) as session,
        session.get(product.base_url + "/metrics") as response,
    ):
        lines = (await response.text()).splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(_CHECKS) and tenant.id in line)


def _so_far(name: str, latest: Sequence[Told], count: int) -> str:
    hits = [one for one in latest if one.cached in ("exact", "semantic")]
    right = sum(one.right for one in hits) / max(1, len(hits))
    return f"{name}: {count:,} asked; of the last {len(latest)} {len(hits) / len(latest):.1%} served, {right:.1%} of them right"
