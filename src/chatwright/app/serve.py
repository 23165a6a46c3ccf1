"""The two roles, each one task group in one process: `api` answers HTTP, `worker` runs jobs. Called by the CLI.

Both stop in order on SIGTERM or SIGINT: nothing new is taken, what runs has `drain_s` to end, and what has not ended
by then is handed back (a job) or cut (a connection); then pools close.
"""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any
from urllib.parse import urlsplit

import structlog
import uvicorn

from chatwright import __version__
from chatwright.adapters.models import LocalEmbedders
from chatwright.adapters.queue import Consumer, QueueAdmin
from chatwright.app.addresses import Addresses
from chatwright.app.listen import listening
from chatwright.app.options import Settings
from chatwright.app.services import open_services, process_name
from chatwright.domain.errors import ChatwrightError
from chatwright.entrypoints.bounded import BoundedHttp, BoundedSocket
from chatwright.entrypoints.call import WebSettings
from chatwright.entrypoints.web import build_app
from chatwright.entrypoints.worker import Worker
from chatwright.pipeline.alerting import deliver_forever
from chatwright.pipeline.cache_training import train_forever
from chatwright.pipeline.demo import SLUG, TENANT_ID, documentation_folder
from chatwright.pipeline.intent_training import train_intents_forever
from chatwright.pipeline.knowledge_indexes import tend_indexes_forever
from chatwright.pipeline.knowledge_upkeep import tend_knowledge
from chatwright.pipeline.presence import leave, readiness, show_presence
from chatwright.pipeline.sweep import sweep_forever

log = structlog.get_logger(__name__)


def run_role(work: Coroutine[Any, Any, None]) -> None:
    """Run one role to its end, on uvloop where it exists. What nobody expected is logged, and ends the process."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            runner.run(work)
        except ChatwrightError:
            raise
        except BaseExceptionGroup as failures:
            known, _ = failures.split(ChatwrightError)
            if known is not None:
                raise _first(known) from failures
            log.critical("role.crashed", exc_info=failures)
            sys.exit(1)
        except Exception:
            log.critical("role.crashed", exc_info=True)
            sys.exit(1)


async def serve_api(settings: Settings, addresses: Addresses, *, fd: int | None = None) -> None:
    """Answer HTTP until a stop signal; `fd` is a listening socket that somebody else holds, else one is made.

    Raises Unavailable when PostgreSQL cannot be reached, OSError when the address is taken.
    """
    stop = _stop_event()
    with _socket(settings, fd) as listener:
        async with open_services(settings, addresses) as app:
            config = uvicorn.Config(
                build_app(app, settings=web_settings(settings), ready=lambda: readiness(app)),
                http=BoundedHttp,
                ws=BoundedSocket,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                backlog=settings.backlog,
                ws_max_size=settings.ws_max_kib * 1024,
                ws_max_queue=16,
                ws_ping_interval=settings.ws_ping_s,
                ws_ping_timeout=settings.ws_ping_s,
                ws_per_message_deflate=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            )
            server = _Server(config)
            _settle_memory()
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(server.serve(sockets=[listener]), name="api.serve")
                group.create_task(_log_start(server, listener), name="api.log_start")
                await stop.wait()
                log.info("api.stopping")
                server.should_exit = True
                # Event streams never end by themselves: after half the time they are told to come back elsewhere, and
                # requests that wait for an answer have had that long to get it.
                await asyncio.wait({serving}, timeout=settings.drain_s / 2)
                app.channel.close()
    log.info("api.stopped")


async def serve_worker(settings: Settings, addresses: Addresses) -> None:
    """Run jobs until a stop signal. Raises Unavailable when PostgreSQL cannot be reached."""
    stop = _stop_event()
    name = process_name(settings)
    async with open_services(settings, addresses) as app:
        consumer = Consumer(
            url=addresses.redis_url,
            concurrency=settings.worker_concurrency,
            high_priority_reserve=min(settings.worker_high_reserve, settings.worker_concurrency - 1),
            tenant_in_flight_cap=settings.tenant_in_flight,
        )
        worker = Worker(app, consumer)
        _settle_memory()
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(
                    show_presence(
                        app,
                        name,
                        consuming=lambda: consumer.health().consuming,
                        in_flight=lambda: consumer.health().in_flight,
                    ),
                    name="worker.presence",
                ),
                group.create_task(sweep_forever(app, QueueAdmin(app.valkey)), name="worker.sweep"),
                group.create_task(deliver_forever(app), name="worker.alerts"),
                group.create_task(tend_knowledge(app), name="worker.knowledge"),
                group.create_task(tend_indexes_forever(app), name="worker.knowledge_indexes"),
                group.create_task(train_forever(app), name="worker.cache_training"),
                group.create_task(train_intents_forever(app), name="worker.intent_training"),
                group.create_task(_warm_up(app.embedder), name="worker.warm_up"),
            ]
            group.create_task(worker.run(), name="worker.consume")
            log.info("worker.started", worker=name, concurrency=settings.worker_concurrency)
            await stop.wait()
            log.info("worker.stopping", in_flight=consumer.health().in_flight)
            presence, *others = helpers
            presence.cancel()
            await leave(app, name)
            await worker.stop(grace_s=settings.drain_s)
            for helper in others:
                helper.cancel()
    log.info("worker.stopped")


async def _warm_up(embedder: LocalEmbedders) -> None:
    """Load the model before the first question needs it; a model that does not load is each job's own error."""
    try:
        await embedder.warm_up()
    except ChatwrightError as error:
        log.error("worker.no_embedder", error=error.message)


def web_settings(settings: Settings) -> WebSettings:
    """The options that the API's edge reads."""
    folder = documentation_folder()
    return WebSettings(
        demo=settings.demo,
        demo_slug=SLUG if settings.demo else None,
        demo_tenant_id=TENANT_ID,
        docs_dir=str(folder / "docs") if folder is not None else None,
        public_origin=_origin(settings.public_url),
        widget_dir=settings.widget_dir or None,
        body_timeout_s=settings.body_timeout_s,
        send_timeout_s=settings.send_timeout_s,
        version=__version__,
    )


def _origin(url: str) -> str | None:
    """scheme://host[:port] of an address, as browsers write it; None where there is none."""
    parts = urlsplit(url.lower())
    default = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.removesuffix(default)}" if default and parts.netloc else None


def _first(group: BaseExceptionGroup[ChatwrightError]) -> ChatwrightError:
    """The first leaf: one cause is enough to mend, the other tasks were cancelled for it."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


class _Server(uvicorn.Server):
    """uvicorn's own signal handling ends the process before our pools are closed: signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@contextlib.contextmanager
def _socket(settings: Settings, fd: int | None) -> Generator[socket.socket]:
    if fd is not None:
        with socket.socket(fileno=fd) as listener:
            yield listener
        return
    with listening(settings) as listener:
        yield listener


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _log_start(server: uvicorn.Server, listener: socket.socket) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn tells it by this flag alone
        await asyncio.sleep(0.01)
    log.info("api.started", host=listener.getsockname()[0], port=listener.getsockname()[1])


def _settle_memory() -> None:
    """Take what was loaded so far out of the collector's sight: modules and tables live as long as we do, and a full
    collection over them is a pause of 30 ms that a visitor would feel."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
