"""Bursts while workers are killed (kill -9) in the middle of them: processes of the product, on real servers."""

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.simulator import Simulator
from chatwright.domain import events
from chatwright.domain.messages import Accepted
from chatwright.pipeline import sweep
from chatwright.pipeline.services import Services
from tests.e2e.conftest import clean_environment
from tests.flows.conftest import Shop
from tests.flows.test_bursts import open_burst_shop, outcome_of, terminals
from tests.flows.test_chat_pipeline import frames, rows, say

KILLS = 5
CONVERSATIONS = 8
PARTS = 4


class Workers:
    """Two worker processes; `kill_one` ends one without a word and starts another in its place."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment, self._log = environment, log
        self.running: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        with self._log.open("ab") as out:
            self.running.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "chatwright", "worker", env=self._environment, stdout=out, stderr=out
                )
            )

    async def kill_one(self) -> None:
        process = self.running.pop(0)
        process.kill()
        await process.wait()
        await self.start()

    async def stop(self) -> None:
        for process in self.running:
            process.kill()
        for process in self.running:
            await process.wait()


@pytest.mark.timeout(150)
async def test_killed_workers_leave_every_message_of_a_burst_with_one_end(
    app: Services, simulator: Simulator, database_url: str, valkey_url: str, superuser_url: str, tmp_path: Path
) -> None:
    shop = await open_burst_shop(app, window_ms=150, model="sim:ttft=250,chunks=6,interval=40")
    environment = clean_environment(
        DATABASE_URL=database_url,
        REDIS_URL=valkey_url,
        CHATWRIGHT_DATA_DIR=str(tmp_path),
        OPENAI_BASE_URL=simulator.base_url,
        OPENAI_API_KEY="sk-test",
        CHATWRIGHT_UNKNOWN_PRICES="flag",
        CHATWRIGHT_LOG_FORMAT="json",
    )
    workers = Workers(environment, tmp_path / "workers.log")
    chance = random.Random(7)
    try:
        await workers.start()
        await workers.start()
        accepted: list[Accepted] = []

        async def talk(number: int) -> None:
            start = await say(app, shop, f"start {number}")
            accepted.append(start)
            for part in range(PARTS - 1):
                await asyncio.sleep(chance.choice((0.01, 0.05, 0.2, 0.5, 1.2)))
                accepted.append(await say(app, shop, f"part {part} of {number}", to=start))

        async def kill() -> None:
            for _ in range(KILLS):
                await asyncio.sleep(0.9 + chance.random())
                await workers.kill_one()

        await sweep.requeue_lost(app)
        await asyncio.gather(kill(), *(talk(number) for number in range(CONVERSATIONS)))
        outcomes = await asyncio.gather(*(outcome_of(app, shop, one, timeout_s=90) for one in accepted))
    finally:
        await workers.stop()
    assert Counter(outcome.state.value for outcome in outcomes) == {"answered": len(accepted)}
    await check(app, shop, accepted, superuser_url)


async def check(app: Services, shop: Shop, accepted: list[Accepted], superuser_url: str) -> None:
    found = await rows(
        superuser_url,
        "SELECT m.id::text, m.state, m.merged_into::text, m.ordinal, m.conversation_id::text, count(a.id) AS answers"
        " FROM messages m LEFT JOIN answers a ON a.message_id = m.id GROUP BY m.id",
    )
    by_id = {row["id"]: row for row in found}
    assert len(by_id) == len(accepted)
    for row in found:
        if row["state"] == "answered":
            assert (row["answers"], row["merged_into"]) == (1, None)
            continue
        carrier = by_id[row["merged_into"]]
        assert (row["state"], row["answers"]) == ("merged_into", 0)
        assert (carrier["state"], carrier["conversation_id"]) == ("answered", row["conversation_id"])
        assert carrier["ordinal"] > row["ordinal"]
    assert {row["state"] for row in found} == {"answered", "merged_into"}  # else this tested nothing
    for conversation in {one.conversation_id for one in accepted}:
        first = next(one for one in accepted if one.conversation_id == conversation)
        told = await terminals(app, shop, first)
        assert {message: [end.state for end in ends] for message, ends in told.items()} == {
            message: [by_id[message]["state"]] for message in told
        }
        numbered = await frames(app, shop, first)
        assert [seq for seq, _ in numbered] == list(range(1, len(numbered) + 1))
        assert any(isinstance(event, events.StreamComplete) for _, event in numbered)
