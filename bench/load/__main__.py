"""`python -m bench.load PLAN`: run one plan (JSON) and print its result as JSON. Started by `bench/load/run.py`."""

import asyncio
import gc
import os
import sys
from typing import Any

import msgspec

from bench.load import loops, talk
from bench.load.plan import Plan, Result


async def perform(plan: Plan) -> Result:
    match plan.mode:
        case "closed":
            return await loops.closed(plan)
        case "open":
            return await loops.open_loop(plan)
        case "streams":
            return await loops.streams(plan)
        case "talk_closed":
            return await talk.closed(plan)
        case "talk_open":
            return await talk.open_loop(plan)
        case "talk_streams":
            return await talk.streams(plan)


def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    if plan.cores:
        os.sched_setaffinity(0, plan.cores)
    # A collection in the generator would look like a pause of the server.
    gc.disable()
    loop_factory: Any = None
    if sys.platform != "win32":
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        result = runner.run(perform(plan))
    sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")


if __name__ == "__main__":
    main()
