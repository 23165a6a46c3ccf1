"""The job queue alone, beside the stock BullMQ worker on the same Valkey: `bench/queue_bench.py` has the runs."""

import tempfile
from pathlib import Path
from typing import Any

from bench.figure import Figure
from bench.stage import Lengths
from chatwright.app.embedded import run_embedded

GROUP = "queue"


async def measure(lengths: Lengths) -> list[Figure]:
    from bench import queue_bench

    with tempfile.TemporaryDirectory(prefix="cw-bench-q-") as folder:
        async with run_embedded(Path(folder), postgres=False) as servers:
            found: dict[str, Any] = await queue_bench.run(servers.redis_url, jobs=lengths.count(20_000, 5_000))
    return [
        Figure(group=GROUP, name=name, unit="", value=float(value))
        for name, value in found.items()
        if isinstance(value, int | float)
    ]
