"""Carries a schedule out on a running product: signals to the parts' processes, FLUSHALL to Valkey."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence

import redis.asyncio
import redis.exceptions

from bench.drill.schedule import Fault
from bench.machine import tree
from bench.product import Product

_FIND_WITHIN_S = 15.0  # a part that was hit just before needs a moment to be back
_FLUSH_WITHIN_S = 10.0


async def carry_out(
    product: Product, faults: Sequence[Fault], *, began_s: float, tell: Callable[[Fault, bool], None]
) -> int:
    """Inflict the faults one after the other on the clock of `began_s` (time.monotonic). Returns how many hit.

    A fault whose part is not there at its moment waits for it, and the ones after it move along.
    """
    hits = 0
    for fault in faults:
        await asyncio.sleep(max(0.0, began_s + fault.at_s - time.monotonic()))
        hit = await _inflict(product, fault)
        hits += hit
        tell(fault, hit)
    return hits


async def _inflict(product: Product, fault: Fault) -> bool:
    if fault.kind == "flush":
        return await flush(product)
    pid = await find(product, fault.part)
    if pid is None:
        return False
    match fault.kind:
        case "kill":
            return send([pid], signal.SIGKILL)
        case "term":
            return send([pid], signal.SIGTERM)
        case _:
            return await freeze(pid, fault.lasts_s)


async def find(product: Product, part: str) -> int | None:
    """The part's process, waiting for it to be there."""
    give_up_s = time.monotonic() + _FIND_WITHIN_S
    while time.monotonic() < give_up_s:
        pid = product.pid(part)
        if pid is not None:
            return pid
        await asyncio.sleep(0.1)
    return None


async def freeze(pid: int, lasts_s: float) -> bool:
    """Stop a process with all below it (PostgreSQL's backends too), and let them go on again, whatever happens."""
    pids = tree(pid)
    hit = send(pids, signal.SIGSTOP)
    try:
        await asyncio.sleep(lasts_s)
    finally:
        send(pids, signal.SIGCONT)
    return hit


def send(pids: Iterable[int], number: signal.Signals) -> bool:
    """Send a signal to each process. True if one of them was there."""
    hit = False
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            hit = True
    return hit


async def flush(product: Product) -> bool:
    """FLUSHALL, tried again while Valkey is on its way back. False if it never took it."""
    give_up_s = time.monotonic() + _FLUSH_WITHIN_S
    while time.monotonic() < give_up_s:
        client = redis.asyncio.from_url(product.redis_url, socket_timeout=2, socket_connect_timeout=2)
        try:
            await client.flushall()
        except (redis.exceptions.RedisError, OSError, TimeoutError):
            await asyncio.sleep(0.2)
        else:
            return True
        finally:
            await client.aclose()
    return False
