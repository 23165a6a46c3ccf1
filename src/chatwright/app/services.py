"""Opens pools and clients in order and yields one frozen `Services`; closes them in reverse. Called by every role."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from chatwright.adapters.alerts import SmtpServer, open_couriers, read_smtp_url
from chatwright.adapters.catalogue import Catalogue, ModelsFileError, open_catalogue
from chatwright.adapters.files import open_files
from chatwright.adapters.models import open_embedder
from chatwright.adapters.postgres import open_database
from chatwright.adapters.providers.google_tokens import open_google_tokens
from chatwright.adapters.providers.http import open_http
from chatwright.adapters.queue import Producer
from chatwright.adapters.tokens import open_token_counts
from chatwright.adapters.valkey import StreamLog, open_channel, open_link, open_valkey
from chatwright.app.addresses import Addresses
from chatwright.app.keyfile import open_keks
from chatwright.app.options import Settings, SettingsError
from chatwright.app.providers import platform_providers, provider_limits, wire_formats
from chatwright.features.analysis.intent_memory import IntentMemory
from chatwright.features.analysis.reader import Reader
from chatwright.features.budgets import open_ledger
from chatwright.features.cache import open_exact_tier
from chatwright.features.cache.memory import SemanticMemory
from chatwright.features.credentials import KeyDirectory
from chatwright.features.guard.desk import open_desk
from chatwright.features.limits import open_limiter
from chatwright.features.provider_keys import KeyRing
from chatwright.features.routing import Gates
from chatwright.features.tenancy import ChatbotDirectory
from chatwright.pipeline.cache_learning import learning
from chatwright.pipeline.guard_log import logging_guard
from chatwright.pipeline.intents import watching_intents
from chatwright.pipeline.services import PipelineSettings, Services
from chatwright.telemetry.metrics import Metrics


@asynccontextmanager
async def open_services(settings: Settings, addresses: Addresses) -> AsyncGenerator[Services]:
    """Open everything one process works with. The embedder loads its model only when the first text comes.

    Raises Unavailable when PostgreSQL cannot be reached; Valkey may be away, its clients come back by themselves.
    """
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(
            open_database(
                addresses.database_url,
                min_connections=settings.postgres_min_connections,
                max_connections=settings.postgres_max_connections,
                command_timeout_s=settings.postgres_command_timeout_s,
                acquire_timeout_s=settings.postgres_acquire_timeout_s,
            )
        )
        valkey = await stack.enter_async_context(open_valkey(addresses.redis_url))
        link = await stack.enter_async_context(open_link(addresses.redis_url))
        log = StreamLog(link, cap=settings.stream_cap, lifetime_s=settings.stream_lifetime_s)
        channel = await stack.enter_async_context(open_channel(addresses.redis_url, log))
        try:
            http = await stack.enter_async_context(open_http(allowed=settings.allowed_addresses))
        except ValueError as error:
            raise SettingsError(f"CHATWRIGHT_ALLOWED_ADDRESSES: {error}") from error
        embedder = await stack.enter_async_context(
            open_embedder(settings.embedder_threads or 2, default=settings.embedder)
        )
        try:
            files = await stack.enter_async_context(open_files(settings.s3_url, folder=settings.data_dir / "files"))
        except ValueError as error:
            raise SettingsError(f"S3_URL: {error}") from error
        token_counts = await stack.enter_async_context(open_token_counts())
        ledger = await stack.enter_async_context(open_ledger(db))
        keys = KeyDirectory(db)
        provider_keys = KeyRing(db, open_keks(settings))
        for name, work in (
            ("keys.watch", keys.watch()),
            ("keys.listen", keys.listen(channel.revoked())),
            ("provider_keys.watch", provider_keys.watch()),
            ("provider_keys.listen", provider_keys.listen(channel.revoked())),
        ):
            stack.push_async_callback(_end, asyncio.create_task(work, name=name))
        catalogue = await stack.enter_async_context(_open_models(settings))
        tokens = await stack.enter_async_context(
            open_google_tokens(
                credentials_file=settings.google_application_credentials, optional=bool(settings.vertex_base_url)
            )
        )
        if settings.google_cloud_project:
            tokens.warm_up()
        limiter = await stack.enter_async_context(open_limiter(link, log.prefix))
        cache = await stack.enter_async_context(
            open_exact_tier(link, prefix=log.prefix, memory_mib=settings.cache_memory_mib)
        )
        metrics = Metrics()
        metrics.limits_local.set_function(lambda: float(limiter.is_local))
        gates = Gates(link, channel)
        stack.push_async_callback(_end, asyncio.create_task(gates.run(), name="gates"))
        couriers = await stack.enter_async_context(
            open_couriers(plain=http.plain, guarded=http.guarded, smtp=_smtp_server(settings))
        )
        services = Services(
            settings=pipeline_settings(settings),
            metrics=metrics,
            db=db,
            valkey=valkey,
            log=log,
            channel=channel,
            producer=Producer(valkey),
            http=http,
            wires=wire_formats(http, tokens),
            platform_providers=platform_providers(settings, catalogue),
            embedder=embedder,
            tokens=token_counts,
            files=files,
            ledger=ledger,
            chatbots=ChatbotDirectory(db),
            keys=keys,
            provider_keys=provider_keys,
            catalogue=catalogue,
            gates=gates,
            limiter=limiter,
            cache=cache,
            semantic=SemanticMemory(),
            intents=IntentMemory(),
            guard=open_desk(db, link, prefix=log.prefix),
            reader=await asyncio.to_thread(Reader.load),
            couriers=couriers,
        )
        await stack.enter_async_context(learning(services))
        await stack.enter_async_context(watching_intents(services))
        await stack.enter_async_context(logging_guard(services))
        yield services


def pipeline_settings(settings: Settings) -> PipelineSettings:
    """The options that flows read."""
    return PipelineSettings(
        answer_deadline_s=settings.answer_deadline_s,
        max_provider_calls=settings.max_provider_calls,
        max_text_chars=settings.max_text_chars,
        coalesce_s=settings.coalesce_ms / 1000,
        context_messages=settings.context_messages,
        summary_every=settings.summary_every,
        summary_tokens=settings.summary_tokens,
        cache_wait_s=settings.cache_wait_s,
        knowledge_top_k=settings.knowledge_top_k,
        relevance_threshold=settings.relevance_threshold,
        wait_timeout_s=settings.wait_timeout_s,
        lease_s=settings.lease_s,
        idempotency_hours=settings.idempotency_hours,
        room_tokens=settings.room_tokens,
        provider_connect_timeout_s=settings.provider_connect_timeout_s,
        provider_first_byte_timeout_s=settings.provider_first_byte_timeout_s,
        provider_idle_timeout_s=settings.provider_idle_timeout_s,
        provider_patience_s=settings.provider_patience_s,
        call_unpriced=settings.unknown_prices == "flag",
        hedging=settings.hedging,
        cheap_model=settings.cheap_model,
        provider_limits=provider_limits(settings),
        index_memory_mib=settings.index_memory_mib,
        document_max_bytes=settings.document_max_mib * 1024 * 1024,
        page_timeout_s=settings.page_timeout_s,
        web_user_agent=settings.web_user_agent,
        robots_txt=settings.robots_txt,
        crawl_max_pages=settings.crawl_max_pages,
        crawl_delay_s=settings.crawl_delay_s,
        import_max_bytes=settings.import_max_mib * 1024 * 1024,
        import_batch_rows=settings.import_batch_rows,
        import_batches_at_once=settings.import_batches_at_once,
        vertex_location=settings.google_cloud_location,
        vertex_gateway=settings.vertex_base_url,
        guard_log_days=settings.guard_log_days,
    )


def process_name(settings: Settings) -> str:
    """What this process is called in health and metrics."""
    return settings.worker_name or f"{os.uname().nodename}-{os.getpid()}"


def _smtp_server(settings: Settings) -> SmtpServer | None:
    """The mail server, if one is set. Raises SettingsError."""
    try:
        return read_smtp_url(settings.smtp_url, sender=settings.smtp_from) if settings.smtp_url else None
    except ValueError as error:
        raise SettingsError(f"CHATWRIGHT_SMTP_URL, CHATWRIGHT_SMTP_FROM: {error}") from error


@asynccontextmanager
async def _open_models(settings: Settings) -> AsyncGenerator[Catalogue]:
    """The catalogue over the operator's models.toml. Raises SettingsError when the file is wrong."""
    file = Path(settings.models_file) if settings.models_file else settings.data_dir / "models.toml"
    try:
        async with open_catalogue(file, must_exist=bool(settings.models_file)) as catalogue:
            yield catalogue
    except ModelsFileError as error:
        raise SettingsError(str(error)) from error


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
