"""Valkey connections as a worker needs them: short time-outs, no hidden retries, so that our own loop decides."""

import asyncio
import random
from contextlib import suppress

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

TRANSIENT: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
"""What a server that is away, loading, full or restarting raises. asyncio's and redis-py's time-outs included."""

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


def connect(url: str, *, timeout_s: float, name: str) -> Redis:
    """A client for `url` whose every command ends within `timeout_s`. Replies are bytes. Connects on first use.

    redis-py's own retry would block a caller for up to 20 s after an outage; here each command is tried once.
    """
    return Redis.from_url(  # pyright: ignore[reportUnknownMemberType]  # redis-py leaves **kwargs untyped
        url,
        protocol=2,
        decode_responses=False,
        socket_timeout=timeout_s,
        socket_connect_timeout=min(1.0, timeout_s),
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        client_name=name,
    )


async def pause_after(failures: int) -> None:
    """Wait before try number `failures` + 1: 50 ms doubling to 1 s, with jitter so that workers do not march in step."""
    await asyncio.sleep(pause_s(failures) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret


def pause_s(failures: int) -> float:
    """Longest wait after this many failures in a row, in seconds."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(failures, 10))


def raise_if_cancelled() -> None:
    """Raise the CancelledError that redis-py swallowed, if it did.

    A cancellation that meets redis-py while it connects is lost, or comes out as its TimeoutError: a loop that retries
    would then never end (seen with redis-py 8.1 when a worker is stopped within milliseconds of its start).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def disconnect(client: Redis) -> None:
    """Close the client, or leave it after a second: closing must not keep a worker from ending."""
    with suppress(*TRANSIENT):
        async with asyncio.timeout(1.0):
            await client.aclose()
