"""What a reading costs, in a process of its own: `python -m bench.quality.reading_cost [floats] < texts, one JSON list`.

Prints a JSON object. Memory is what the process gained from before the encoder and the heads were loaded until after all texts
were read; time of single messages is on one core, that of the bulk on two. With `floats` the encoder multiplies floats, as
it does on processors without products of bytes. Called by `sentiment.py`.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chatwright.adapters.models import LocalEmbedders, minilm, open_embedder
from chatwright.features.analysis.reader import Reader

_SINGLES, _BULK, _BATCH = 300, 900, 60
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """`message_ms`, `heads_ms`: p50 of one message, encoder and heads, and heads alone; `bulk`: messages/s on two cores;
    `added_mb`: resident memory that encoder and heads add, after reading all; `peak_mb`: of the whole process."""

    message_ms: float
    heads_ms: float
    bulk: float
    added_mb: float
    peak_mb: float


def measure_cost(texts: Sequence[str], *, floats: bool) -> Cost:
    """In a fresh process. Raises CalledProcessError if it fails, TimeoutExpired after five minutes."""
    command = [sys.executable, "-m", "bench.quality.reading_cost", *(["floats"] if floats else [])]
    done = subprocess.run(
        command, input=json.dumps(list(texts[:_BULK])), capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
    )
    return Cost(**json.loads(done.stdout))


def _memory_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"this system does not tell {field}")


async def _measure(texts: Sequence[str]) -> Cost:
    before_mb = _memory_mb("VmRSS")
    reader = Reader.load()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    async with open_embedder(threads=2) as embedder:
        await _read(reader, embedder, texts[:_BATCH])
        _keep_to(cores[:1])
        alone: list[float] = []
        heads: list[float] = []
        for text in texts[:_SINGLES]:
            started_s = time.perf_counter()
            encoded = await embedder.encode([text])
            encoded_s = time.perf_counter()
            reader.read([text], encoded)
            ended_s = time.perf_counter()
            alone.append(ended_s - started_s)
            heads.append(ended_s - encoded_s)
        _keep_to(cores[:2])
        started_s = time.perf_counter()
        batches = [texts[at : at + _BATCH] for at in range(0, len(texts), _BATCH)]
        await asyncio.gather(*[_read(reader, embedder, batch) for batch in batches])
        bulk_s = time.perf_counter() - started_s
        return Cost(
            message_ms=float(np.median(alone) * 1e3),
            heads_ms=float(np.median(heads) * 1e3),
            bulk=len(texts) / bulk_s,
            added_mb=_memory_mb("VmRSS") - before_mb,
            peak_mb=_memory_mb("VmHWM"),
        )


async def _read(reader: Reader, embedder: LocalEmbedders, texts: Sequence[str]) -> None:
    encoded = await embedder.encode(texts)
    await asyncio.to_thread(reader.read, texts, encoded)


def _keep_to(cores: Sequence[int]) -> None:
    """Every thread of this process stays on `cores`: affinity is a thread's own. Nothing where there is none."""
    if cores:
        for task in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), cores)


def main() -> None:
    if "floats" in sys.argv[1:]:
        minilm.multiplies_bytes = lambda: False
    cost = asyncio.run(_measure(json.load(sys.stdin)))
    json.dump({name: getattr(cost, name) for name in Cost.__slots__}, sys.stdout)


if __name__ == "__main__":
    main()
