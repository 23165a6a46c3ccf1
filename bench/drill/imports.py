"""`python -m bench.drill.imports`: a worker killed again and again while it imports a file.

`chatwright up` runs in a process of its own; its worker is killed (SIGKILL) ten times at random moments of the import
and started again by `up`. Afterwards the tables must hold the file's messages, each once, after what the import does to texts
(docs/how-to/import-conversations.md), the counters must be exact, and the same file sent again must add nothing. Exit code 1
if anything of this does not hold.
"""

import argparse
import asyncio
import csv
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from bench.product import Product, start_product

KILLS = 10
_DONE_WITHIN_S = 900.0
_COLUMNS = ("conversation_id", "message_id", "role", "text", "created_at", "visitor")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the file, and what must come of it: (conversation, role, text), None for a row that is not stored."""

    cells: tuple[str, ...]
    stored: tuple[str, str, str] | None


def rows_of(count: int, seed: int) -> list[Row]:
    """Conversations whose rows lie side by side, far apart, or backwards, with what real exports have in them."""
    chance = random.Random(seed)
    rows: list[Row] = []
    while len(rows) < count:
        number = len(rows)
        for turn in range(chance.randint(1, 9)):
            role = "agent" if turn % 2 else "customer"
            text = f"message {turn} of {number}: " + chance.choice(
                (
                    "where is it?",
                    'a "quoted" word',
                    "two\nlines",
                    "nul\x00inside",
                    "Größe 42, Straße 7",
                    "=1+1",
                    "x" * 3_000,
                )
            )
            at = f"2024-{number % 12 + 1:02d}-{number % 28 + 1:02d}T10:00:{turn:02d}Z"
            cells = (f"c{number}", f"{number}-{turn}", role, text, at, f"v{number}@example.com")
            rows.append(Row(cells, (cells[0], role, text.replace("\x00", ""))))
            if chance.random() < 0.02:
                rows.append(Row((cells[0], cells[1], role, "the same id again", at, ""), None))
            if chance.random() < 0.02:
                rows.append(Row((cells[0], f"{cells[1]}-x", "robot", "an unknown role", at, ""), None))
            if chance.random() < 0.02:
                rows.append(Row((cells[0], f"{cells[1]}-y", "customer", "", at, ""), None))
    third = len(rows) // 3
    mixed = rows[third : 2 * third]
    chance.shuffle(mixed)
    return first_come([*rows[:third], *mixed, *reversed(rows[2 * third :])])


def first_come(rows: list[Row]) -> list[Row]:
    """The rows with twins of an id behind it, because the first one counts."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.cells[1], []).append(place)
    for own in places.values():
        twins = sorted((rows[place] for place in own), key=lambda row: row.stored is None)
        for place, row in zip(own, twins, strict=True):
            rows[place] = row
    return rows


def to_csv(rows: Sequence[Row]) -> bytes:
    page = io.StringIO(newline="")
    writer = csv.writer(page)
    writer.writerow(_COLUMNS)
    writer.writerows(row.cells for row in rows)
    return page.getvalue().encode()


def compare(wanted: Counter[tuple[str, str, str]], found: Counter[tuple[str, str, str]]) -> list[str]:
    """What is lost and what is there too often."""
    lost, doubled = wanted - found, found - wanted
    problems = [f"lost {n}×: {key[0]} {key[1]} {key[2][:60]!r}" for key, n in list(lost.items())[:5]]
    problems += [f"doubled {n}×: {key[0]} {key[1]} {key[2][:60]!r}" for key, n in list(doubled.items())[:5]]
    if lost or doubled:
        problems.append(f"{sum(lost.values())} lost, {sum(doubled.values())} doubled")
    return problems


class _Drill:
    def __init__(self, product: Product, session: aiohttp.ClientSession, key: str) -> None:
        self._product = product
        self._session = session
        self._headers = {"authorization": f"Bearer {key}"}

    async def send(self, data: bytes) -> str:
        form = aiohttp.FormData()
        form.add_field("chatbot", "drill")
        form.add_field("enrich", "none")
        form.add_field("source", "drill")
        form.add_field("file", data, filename="chats.csv")
        async with self._session.post(
            f"{self._product.base_url}/api/v1/imports", data=form, headers=self._headers
        ) as reply:
            said = await reply.json()
            if reply.status != 202:
                raise RuntimeError(f"the file was refused: {said}")
            return str(said["id"])

    async def look(self, import_id: str) -> dict[str, Any]:
        address = f"{self._product.base_url}/api/v1/imports/{import_id}"
        async with self._session.get(address, headers=self._headers) as reply:
            return dict(await reply.json())

    async def follow(self, import_id: str, kills: Sequence[float]) -> tuple[dict[str, Any], list[int]]:
        """Wait for the import's end, killing the worker after each of `kills` seconds of progress. Returns the import, and
        how many rows were read at each kill."""
        until = time.monotonic() + _DONE_WITHIN_S
        left, killed, read = list(kills), list[int](), -1
        wait_s, moved = 0.0, 0.0
        while True:
            one = await self.look(import_id)
            if one["state"] not in ("queued", "running"):
                return one, killed
            if time.monotonic() > until:
                raise RuntimeError(f"the import does not end: {json.dumps(one)[:600]}\n{self._product.log_tail()}")
            if one["rows_read"] != read:
                read = one["rows_read"]
                if left and not wait_s and read:
                    wait_s, moved = left.pop(0), time.monotonic()
            if wait_s and time.monotonic() - moved >= wait_s:
                pid = self._product.role_pid("worker")
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(read)
                    wait_s = 0.0
                    print(f"killed at {read:,} rows", flush=True)
            await asyncio.sleep(0.02)

    async def stored(self) -> Counter[tuple[str, str, str]]:
        connection = await asyncpg.connect(self._product.superuser_database_url)
        try:
            rows = await connection.fetch(
                """SELECT c.visitor_id, 'customer' AS role, m.text FROM messages m JOIN conversations c ON c.id = m.conversation_id
                    WHERE m.text <> ''
                   UNION ALL
                   SELECT c.visitor_id, 'agent', a.text FROM answers a JOIN conversations c ON c.id = a.conversation_id"""
            )
        finally:
            await connection.close()
        return Counter((f"c{row['visitor_id'][1:].partition('@')[0]}", row["role"], row["text"]) for row in rows)


async def drill(folder: Path, *, count: int, seed: int) -> list[str]:
    """Run it all; returns what does not hold."""
    rows = rows_of(count, seed)
    data = to_csv(rows)
    wanted = Counter(row.stored for row in rows if row.stored is not None)
    chance = random.Random(seed)
    async with start_product(
        folder / "data",
        log_file=folder / "up.log",
        provider_url="http://127.0.0.1:9/v1",
        options={"CHATWRIGHT_IMPORT_BATCH_ROWS": "20"},
    ) as product, aiohttp.ClientSession() as session:  # fmt: skip
        admin = {"authorization": f"Bearer {product.admin_key}"}
        async with session.post(f"{product.base_url}/api/v1/tenants", json={"name": "Drill"}, headers=admin) as reply:
            key = (await reply.json())["key"]["secret"]
        chatbot = {"name": "Drill", "slug": "drill"}
        headers = {"authorization": f"Bearer {key}"}
        async with session.post(f"{product.base_url}/api/v1/chatbots", json=chatbot, headers=headers) as reply:
            reply.raise_for_status()
        tool = _Drill(product, session, key)
        began = time.monotonic()
        kills = [chance.uniform(0.02, 0.4) for _ in range(KILLS)]
        one, killed = await tool.follow(await tool.send(data), kills)
        print(f"{len(rows):,} rows, {len(killed)} kills, {time.monotonic() - began:.1f} s: {one['state']}", flush=True)
        problems = [] if one["state"] == "done" else [f"the import is {one['state']}: {one['error']}"]
        if len(killed) < KILLS:
            problems.append(f"only {len(killed)} kills came in time: give it more rows")
        problems += compare(wanted, await tool.stored())
        bad = sum(row.cells[2] == "robot" for row in rows)
        sums = (one["rows_read"], one["rows_stored"], one["rows_failed"], one["messages"])
        if sums != (len(rows), sum(wanted.values()), bad, sum(wanted.values())):
            problems.append(
                f"the counters are off: {sums} of {len(rows)} rows, {sum(wanted.values())} to store, {bad} bad"
            )
        again, _ = await tool.follow(await tool.send(data), ())
        if again["rows_stored"] or again["messages"] or again["rows_read"] != len(rows):
            problems.append(f"the same file again stored {again['rows_stored']} rows")
        problems += compare(wanted, await tool.stored())
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.drill.imports", description=__doc__)
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cw-drill-") as folder:
        Path(folder).chmod(0o755)
        problems = asyncio.run(drill(Path(folder), count=arguments.rows, seed=arguments.seed))
    for problem in problems:
        print(problem, file=sys.stderr)
    print("0 lost, 0 doubled" if not problems else "FAILED")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
