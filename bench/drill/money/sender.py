"""`python -m bench.drill.money.sender PLAN`: send requests as fast as they are answered, and say what came back.

A process of its own with a clock that it states wrongly, in its `Date` header and its time zone. Started by `burst.py`.
"""

import asyncio
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import msgspec

from bench.drill.money.caller import ANSWERED, LIMITED


class SendPlan(msgspec.Struct, frozen=True, kw_only=True):
    """`pace_per_s` 0: all at once over `clients` connections, else one after the other at that pace."""

    urls: list[str]
    key: str
    model: str
    requests: int
    clients: int = 32
    pace_per_s: float = 0.0
    begin_mono_s: float = 0.0
    """On CLOCK_MONOTONIC, which all processes of a machine share."""
    clock_off_s: float = 0.0


class SendResult(msgspec.Struct, kw_only=True):
    """Times on CLOCK_MONOTONIC."""

    ends: dict[str, int] = {}
    first_mono_s: float = 0.0
    last_mono_s: float = 0.0


async def send(plan: SendPlan) -> SendResult:
    ends: Counter[str] = Counter()
    result = SendResult()
    stated = format_datetime(datetime.now(UTC) + timedelta(seconds=plan.clock_off_s), usegmt=True)
    headers = {"authorization": f"Bearer {plan.key}", "date": stated}
    body = {"model": plan.model, "messages": [{"role": "user", "content": "burst"}]}
    numbers = iter(range(plan.requests))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def one(number: int) -> None:
            try:
                async with session.post(
                    plan.urls[number % len(plan.urls)] + "/v1/chat/completions", json=body
                ) as response:
                    said = await response.text()
                    word = {200: ANSWERED, 429: LIMITED}.get(response.status, f"{response.status} {said[:120]}")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                word = f"broken: {error!r}"[:120]
            ends[word] += 1

        async def client() -> None:
            for number in numbers:
                await one(number)

        await asyncio.sleep(max(0.0, plan.begin_mono_s - time.monotonic()))
        result.first_mono_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            if plan.pace_per_s:
                for number in numbers:
                    await asyncio.sleep(max(0.0, result.first_mono_s + number / plan.pace_per_s - time.monotonic()))
                    group.create_task(one(number), name="sends")
            else:
                for _ in range(plan.clients):
                    group.create_task(client(), name="sends")
        result.last_mono_s = time.monotonic()
    result.ends = dict(ends)
    return result


def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=SendPlan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(send(plan))) + b"\n")


if __name__ == "__main__":
    main()
