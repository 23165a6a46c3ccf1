"""Opens Valkey for the rooms and flows: the pooled redis-py client, and errors in the domain's words.

`open_valkey` serves everything that is not a hot path; `link.py` beside it is the cheap one for hot scripts. Called by
`app/services.py`; `translate` by every store that talks to Valkey.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import redis.exceptions as failures
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as Valkey
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from chatwright.domain.errors import ChatwrightError, Unavailable

__all__ = ["Valkey", "open_valkey", "translate"]

# Refusals that pass by themselves; any other error reply is a mistake of ours and must be loud.
_PASSING = (
    failures.ReadOnlyError,
    failures.OutOfMemoryError,
    failures.TryAgainError,
    failures.ClusterDownError,
    failures.MasterDownError,
)


@asynccontextmanager
async def open_valkey(
    url: str,
    *,
    timeout_s: float = 2.0,
    connect_timeout_s: float = 2.0,
    max_connections: int = 32,
    retries: int = 3,
) -> AsyncGenerator[Valkey]:
    """Yield a client that speaks bytes, over a bounded pool; nothing is connected until the first command.

    A command waits `timeout_s` for a free connection and as long for its reply. A refused or broken connection is
    tried again up to `retries` times with a jittered pause of at most 1 s, so a command may run twice when only its
    reply was lost: scripts that must not run twice carry a token (see `log.py`) or pass `retries=0`.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=connect_timeout_s,
        # No health_check_interval: where a server refuses (wrong password, still loading), redis-py pings inside each
        # connect and retries inside each retry, for minutes. The pool looks at a connection as it hands it out, and
        # a half-open one ends at `socket_timeout`.
        protocol=2,
        # redis-py's own pause grows to 10 s. A time-out is not tried again: the caller's deadline is running.
        retry=Retry(
            ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries, supported_errors=(failures.ConnectionError,)
        ),
    )
    valkey = Valkey(connection_pool=pool)
    try:
        yield valkey
    finally:
        await valkey.aclose()
        await pool.aclose()


@contextmanager
def translate() -> Generator[None]:
    """Raise Unavailable for a Valkey that is away, too slow or refusing for now; ChatwrightError for our mistakes."""
    try:
        yield
    except (failures.ConnectionError, failures.TimeoutError, *_PASSING) as error:
        raise Unavailable(f"Valkey is not available: {error}") from error
    except failures.ResponseError as error:
        raise refusal(str(error)) from error
    except failures.RedisError as error:
        raise Unavailable(f"Valkey is not available: {error}") from error


def refusal(text: str) -> ChatwrightError:
    """Make the error for an error reply such as ``-BUSY …``: Unavailable if it passes by itself, else a defect."""
    word = text.partition(" ")[0]
    if word in {"BUSY", "LOADING", "READONLY", "OOM", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "NOREPLICAS"}:
        return Unavailable(f"Valkey refuses for now: {text}")
    return ChatwrightError(f"Valkey refused a command: {text}")
