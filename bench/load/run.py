"""Runs a load plan in a process of its own and reads its result. Called by the figures."""

import asyncio
import sys

import msgspec

from bench.load.plan import Plan, Result
from bench.processes import die_with_parent, quiet_environment, stop_process

_SPARE_S = 150.0  # streams have no duration of their own


class LoadFailed(RuntimeError):
    """The load process ended without a result; its own words stand on stderr."""


async def run_load(plan: Plan) -> Result:
    """Run `plan` to its end. Raises LoadFailed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.load",
        msgspec.json.encode(plan).decode(),
        env=quiet_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        async with asyncio.timeout(plan.warm_s + plan.duration_s + _SPARE_S):
            out, _ = await process.communicate()
    except TimeoutError:
        raise LoadFailed(f"the load {plan.mode} did not end in time") from None
    finally:
        await stop_process(process, within_s=5)
    if process.returncode != 0:
        raise LoadFailed(f"the load {plan.mode} ended with {process.returncode}; its own words stand above")
    return msgspec.json.decode(out, type=Result)
