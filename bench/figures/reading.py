"""Reading a streamed answer of 200 chunks: processor time beside a bare aiohttp reader and the official SDKs."""

import asyncio
import json
import sys

from bench.figure import Figure, at_most
from bench.processes import die_with_parent, quiet_environment, stop_process
from bench.provider import start_provider
from bench.stage import Lengths

GROUP = "reading"
CHUNKS = 200
_AT_MOST_S = 150.0
_NAMES = {"openai": "OpenAI", "anthropic": "Anthropic", "gemini": "Gemini"}
# Piece by piece is how a model speaks: every chunk wakes its reader. In one go shows the reading alone.
_WAYS = (("piece by piece", "interval=0.2", 8, 7), ("in one go", "", 40, 9))


async def measure(lengths: Lengths) -> list[Figure]:
    """Raises RuntimeError if the readers did not end or read something else than was said."""
    figures: list[Figure] = []
    for way, verbs, streams, most_rounds in _WAYS:
        rounds = lengths.count(most_rounds, 3)
        async with start_provider(verbs=f"chunks={CHUNKS},{verbs}") as provider:
            found = await _run(provider.origin, rounds=rounds, streams=streams)
        for dialect, spent in found.items():
            mine = spent.get("ours")
            if mine is None:
                continue
            name = f"{_NAMES[dialect]} stream of {CHUNKS} chunks, {way}: CPU"
            figures.append(
                Figure(
                    group=GROUP, name=name, unit="ms", value=mine, goal=at_most(round(1.5 * spent["bare"], 3)),
                    baseline=spent["bare"], baseline_of="a bare aiohttp reader", samples=rounds * streams, detail=dict(spent),
                )
            )  # fmt: skip
            if "sdk" in spent:
                # The goal is for OpenAI's SDK: the other two are shown for comparison.
                goal = at_most(round(spent["sdk"] / 3, 3)) if dialect == "openai" else None
                figures.append(
                    Figure(
                        group=GROUP, name=f"{name}, beside the SDK's", unit="ms", value=mine, goal=goal,
                        baseline=spent["sdk"], baseline_of="the provider's official SDK", samples=rounds * streams,
                    )
                )  # fmt: skip
    return figures


async def _run(origin: str, *, rounds: int, streams: int) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "bench.readers", origin, f"--rounds={rounds}", f"--streams={streams}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        f"--chunks={CHUNKS}",
        env=quiet_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_AT_MOST_S):
            said = await process.stdout.read()
            await process.wait()
    finally:
        await stop_process(process, within_s=5)
    if process.returncode:
        raise RuntimeError(f"the readers ended with {process.returncode}; their words stand above")
    return json.loads(said)
