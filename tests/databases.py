"""Databases for the tests, lent one at a time and emptied in between: copying a template costs a hundred times as much.

A database is lent again only when nothing but rows tells it from a new one: its catalogue is as it was copied, nobody is
connected any more, and no table grew. Else it is dropped.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import asyncpg

_LENT_AT_MOST = 40
"""Deleted rows stay in the files until somebody vacuums them."""
_GREW_PAGES = 32
_LEAVES_WITHIN_S = 0.1
_CALL_AT_MOST_S = 20.0

_CATALOGUE = """
SELECT md5(string_agg(line, ' ' ORDER BY line)) FROM (
    SELECT concat_ws(' ', 'class', oid, xmin, relfilenode, reltuples) AS line FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', 'column', attrelid, attnum, a.xmin) FROM pg_attribute a
                JOIN pg_class c ON c.oid = attrelid AND relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', 'constraint', oid, xmin) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', 'function', oid, xmin) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', 'policy', oid, xmin) FROM pg_policy
    UNION ALL SELECT concat_ws(' ', 'trigger', oid, xmin) FROM pg_trigger
    UNION ALL SELECT concat_ws(' ', 'schema', oid, xmin) FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
    UNION ALL SELECT concat_ws(' ', 'setting', setdatabase, setrole, setconfig) FROM pg_db_role_setting
    UNION ALL SELECT concat_ws(' ', 'migration', to_jsonb(m)) FROM schema_migrations m
) AS lines
"""
_TABLES = """
SELECT oid::regclass::text AS name FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'schema_migrations'
"""
_LARGEST = "SELECT max(pg_relation_size(oid)) / 8192 FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')"
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@dataclass(slots=True)
class _Lent:
    name: str
    connection: asyncpg.Connection
    catalogue: str
    grown_pages: int
    times: int = 1


class Databases:
    """Lends databases that are copies of `template`. Call it from one event loop. `at` gives a superuser's address by name."""

    def __init__(self, admin: asyncpg.Connection, template: str, at: Callable[[str], str]) -> None:
        self._admin = admin
        self._template = template
        self._at = at
        self._numbers = count(1)
        self._empty: list[_Lent] = []
        self._lent: dict[str, _Lent] = {}
        self._tables: list[str] = []

    async def lend(self) -> str:
        """The name of a database as new."""
        one = self._empty.pop() if self._empty else await self._copy()
        self._lent[one.name] = one
        return one.name

    async def take_back(self, name: str) -> None:
        """Empty it, or drop it with whoever is still connected."""
        one = self._lent.pop(name)
        try:
            as_new = one.times < _LENT_AT_MOST and await self._emptied(one)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            as_new = False
        if as_new:
            one.times += 1
            self._empty.append(one)
        else:
            await self._drop(one)

    async def close(self) -> None:
        for one in self._empty:
            await one.connection.close(timeout=5)

    async def _copy(self) -> _Lent:
        name = f"test_{next(self._numbers)}"
        await self._admin.execute(
            f"CREATE DATABASE {name} TEMPLATE {self._template} OWNER chatwright STRATEGY FILE_COPY",
            timeout=_CALL_AT_MOST_S,
        )
        connection: asyncpg.Connection = await asyncpg.connect(
            self._at(name), timeout=10, command_timeout=_CALL_AT_MOST_S
        )
        if not self._tables:
            self._tables = [row["name"] for row in await connection.fetch(_TABLES)]
        return _Lent(name, connection, str(await connection.fetchval(_CATALOGUE)), await _largest_pages(connection))

    async def _emptied(self, one: _Lent) -> bool:
        if not await self._is_left_alone(one):
            return False
        filled = " UNION ALL ".join(
            f"SELECT '{name}' AS name WHERE EXISTS (SELECT 1 FROM {name})" for name in self._tables
        )
        names = [row["name"] for row in await one.connection.fetch(filled)]
        if names:
            deletions = "; ".join(f"DELETE FROM {name}" for name in names)
            await one.connection.execute(
                f"BEGIN; SET LOCAL session_replication_role = replica; {deletions}; COMMIT", timeout=_CALL_AT_MOST_S
            )
        if await _largest_pages(one.connection) > one.grown_pages + _GREW_PAGES:
            return False
        return await one.connection.fetchval(_CATALOGUE) == one.catalogue

    async def _is_left_alone(self, one: _Lent) -> bool:
        """Whether all have gone. The server notices a moment after a client does."""
        clock = asyncio.get_running_loop().time
        until = clock() + _LEAVES_WITHIN_S
        while await one.connection.fetchval(_OTHERS):
            if clock() > until:
                return False
            await asyncio.sleep(0.005)
        return True

    async def _drop(self, one: _Lent) -> None:
        if not one.connection.is_closed():
            one.connection.terminate()
        await self._admin.execute(f"DROP DATABASE {one.name} WITH (FORCE)", timeout=_CALL_AT_MOST_S)


async def _largest_pages(connection: asyncpg.Connection) -> int:
    return int(str(await connection.fetchval(_LARGEST)))
