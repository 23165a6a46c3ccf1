"""Two pools on one database: one under the tenants' role, one under the operators' role.

Owns connections and transactions, not statements. A tenant's transaction names its tenant in its first round trip, so
row-level security holds for every statement in it; outside such a transaction the tenants' role sees no row at all.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol, cast

import asyncpg
import msgspec

from chatwright.domain.errors import NotFound, Unavailable
from chatwright.domain.ids import is_id
from chatwright.domain.scope import Scope

Row = Mapping[str, Any]

InsufficientResources: type[Exception] = asyncpg.InsufficientResourcesError
"""The server lacks memory, disk, shared memory or connections for a statement."""

_UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    # The server said why it ends an idle connection, and the connection is used before it is seen to be closed.
    asyncpg.InternalClientError,
    # What passes by itself when tried again: the statement lost a race or took longer than it may.
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    OSError,
    TimeoutError,
)


class Connection(Protocol):
    """What a store needs of a connection (asyncpg ships no types)."""

    async def execute(self, query: str, *args: object) -> str: ...
    async def fetch(self, query: str, *args: object) -> list[Row]: ...
    async def fetchrow(self, query: str, *args: object) -> Row | None: ...
    async def fetchval(self, query: str, *args: object) -> Any: ...
    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None: ...
    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Sequence[object]], columns: Sequence[str]
    ) -> str: ...


class Database:
    """Hands out connections inside short transactions. Never hold one across a provider call."""

    def __init__(self, app_pool: Any, ops_pool: Any, *, url: str, acquire_timeout_s: float) -> None:
        self._app_pool = app_pool
        self._ops_pool = ops_pool
        self._url = url
        self._acquire_timeout_s = acquire_timeout_s

    @asynccontextmanager
    async def transaction(self, scope: Scope) -> AsyncGenerator[Connection]:
        """One transaction in which only `scope.tenant_id`'s rows exist. Commits at the end, rolls back on any error.

        Raises Unavailable when no connection could be had or the server went away.
        """
        # The id stands in the statement's text, because BEGIN and the setting share one round trip.
        if not is_id(scope.tenant_id):
            raise NotFound("no such tenant")
        begin = f"BEGIN; SELECT set_config('chatwright.tenant_id', '{scope.tenant_id}', true)"
        async with self._begun(self._app_pool, begin) as connection:
            yield connection

    async def call(self, scope: Scope, query: str, *args: object) -> Row | None:
        """Run one function that names its tenant itself, as a transaction of its own: one round trip for a whole flow.

        `query` is ``SELECT * FROM function($1, …)``; $1 is the scope's tenant, `args` follow. Returns the first row.
        """
        if not is_id(scope.tenant_id):
            raise NotFound("no such tenant")
        async with self._lent(self._app_pool) as connection:
            return cast("Row | None", await connection.fetchrow(query, scope.tenant_id, *args))

    @asynccontextmanager
    async def operator(self) -> AsyncGenerator[Connection]:
        """One transaction of the operators' role: key look-up, sweeper, platform administration, grouped call rows."""
        async with self._begun(self._ops_pool, "BEGIN") as connection:
            yield connection

    async def operator_fetch(self, query: str, *args: object) -> list[Row]:
        """Run one statement of the operators' role in a transaction of its own: one round trip."""
        async with self._lent(self._ops_pool) as connection:
            return cast("list[Row]", await connection.fetch(query, *args))

    @asynccontextmanager
    async def maintenance(self) -> AsyncGenerator[Connection]:
        """A connection of its own, outside any transaction, as the address's own user: for statements about whole tables
        that take minutes. It sees no tenant's rows, and nothing but the caller ends a statement.

        Raises Unavailable when the server cannot be reached or goes away.
        """
        try:
            connection: Any = await asyncpg.connect(
                self._url,
                timeout=math.ceil(self._acquire_timeout_s),
                server_settings={"application_name": "chatwright:maintenance"},
            )
            try:
                yield cast("Connection", connection)
            finally:
                await _end(connection)
        except _UNAVAILABLE as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def _begun(self, pool: Any, begin: str) -> AsyncGenerator[Connection]:
        async with self._lent(pool) as connection:
            await connection.execute(begin)
            try:
                yield cast("Connection", connection)
            except BaseException:
                # Shielded by time, not by task: a rollback that cannot be sent closes the connection instead.
                await _roll_back(connection)
                raise
            await connection.execute("COMMIT")

    @asynccontextmanager
    async def _lent(self, pool: Any) -> AsyncGenerator[Any]:
        try:
            async with pool.acquire(timeout=self._acquire_timeout_s) as connection:
                try:
                    yield connection
                except asyncpg.InternalClientError:
                    connection.terminate()  # it would refuse the next borrower as well
                    raise
        except _UNAVAILABLE as error:
            raise _unavailable(error) from error


async def _roll_back(connection: Any) -> None:
    try:
        async with asyncio.timeout(2):
            await connection.execute("ROLLBACK")
    except BaseException:  # noqa: BLE001 - the caller re-raises what brought it here; this connection is done for
        connection.terminate()


async def _end(connection: Any) -> None:
    """Close, or cut: a statement that still runs is cancelled by the server once the connection is gone."""
    try:
        await connection.close(timeout=2)
    except BaseException:
        connection.terminate()
        raise


def _unavailable(error: BaseException) -> Unavailable:
    return Unavailable(f"PostgreSQL cannot be reached ({type(error).__name__}); try again in a moment")


def _encode_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _decode_json(text: str) -> Any:
    return msgspec.json.decode(text)


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=_encode_json, decoder=_decode_json)


async def _keep(connection: Any) -> None:
    """Do nothing when a connection returns: every setting of ours ends with its transaction, so a RESET is a wasted
    round trip."""


@asynccontextmanager
async def open_database(
    url: str,
    *,
    min_connections: int = 2,
    max_connections: int = 12,
    command_timeout_s: float = 10.0,
    acquire_timeout_s: float = 5.0,
) -> AsyncGenerator[Database]:
    """Open both pools on `url`; its user must be a member of both roles (`chatwright migrate` sees to it).

    Raises Unavailable when the server cannot be reached.
    """
    async with AsyncExitStack() as stack:
        pools: list[Any] = []
        for role in ("chatwright_app", "chatwright_ops"):
            pool = asyncpg.create_pool(
                url,
                min_size=min_connections,
                max_size=max_connections,
                command_timeout=command_timeout_s,
                timeout=acquire_timeout_s,
                max_inactive_connection_lifetime=0,
                init=_prepare,
                reset=_keep,
                server_settings={
                    "role": role,
                    "application_name": f"chatwright:{role.removeprefix('chatwright_')}",
                    # Fast disks and a warm cache: with the default of 4 a group of 20 ledger rows is found by reading
                    # the whole ledger.
                    "random_page_cost": "1.1",
                    # Walks over vector indexes (docs/decisions/0022): how wide, and on when what they found is not enough.
                    "hnsw.ef_search": "100",
                    "hnsw.iterative_scan": "relaxed_order",
                    # A plan that was cached while a table was new reads all of it for ever after: closing 30 calls took
                    # 1.2 ms with 3,000 rows there and 5.8 ms with 60,000. Planning anew costs 0.1 ms per group.
                    **({"plan_cache_mode": "force_custom_plan"} if role == "chatwright_ops" else {}),
                },
            )
            try:
                pools.append(await pool)
            except (*_UNAVAILABLE, asyncpg.PostgresError) as error:
                raise Unavailable(
                    f"PostgreSQL cannot be reached or refuses role {role} ({error}); "
                    "check DATABASE_URL, then run `chatwright migrate`"
                ) from error
            stack.push_async_callback(_close, pool)
        yield Database(pools[0], pools[1], url=url, acquire_timeout_s=acquire_timeout_s)


async def _close(pool: Any) -> None:
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()
