"""The HTTP and WebSocket application: routing, who may call, errors to status, health, metrics.

`build_app` is called once per API process. A request passes: request id, route, credential, endpoint, reply; nothing
else stands in between (no middleware), because the hot routes come through here too.
"""

import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from starlette.routing import compile_path

from chatwright.domain.errors import ChatwrightError, MethodNotAllowed, NotFound, Unavailable
from chatwright.domain.ids import new_id
from chatwright.entrypoints import (
    admin_alerts,
    admin_budgets,
    admin_cache,
    admin_chatbots,
    admin_guard,
    admin_imports,
    admin_intents,
    admin_jobs,
    admin_keys,
    admin_knowledge,
    admin_models,
    admin_provider_keys,
    admin_providers,
    admin_tenants,
    admin_usage,
    admin_webhooks,
    auth,
    chat_memory,
    chat_rest,
    feedback,
    openai_compat,
    web_frame,
    widget_api,
)
from chatwright.entrypoints.call import Call, ClientGone, Header, Receive, Reply, Send, WebSettings, to_json
from chatwright.entrypoints.chat_socket import serve_socket
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.failures import error_reply
from chatwright.entrypoints.openapi import openapi
from chatwright.entrypoints.web_pages import Pages
from chatwright.entrypoints.web_widget import WidgetFiles
from chatwright.pipeline.presence import metrics_page
from chatwright.pipeline.providers import health as provider_health
from chatwright.pipeline.services import Services

Ready = Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]
"""Whether this process may be sent requests, and why: {"postgres": "ok", …}."""
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

API_ENDPOINTS: tuple[Endpoint, ...] = (
    *admin_tenants.ENDPOINTS,
    *admin_keys.ENDPOINTS,
    *admin_provider_keys.ENDPOINTS,
    *admin_alerts.ENDPOINTS,
    *admin_webhooks.ENDPOINTS,
    *admin_chatbots.ENDPOINTS,
    *widget_api.ENDPOINTS,
    *chat_rest.ENDPOINTS,
    *chat_memory.ENDPOINTS,
    *feedback.ENDPOINTS,
    *admin_knowledge.ENDPOINTS,
    *admin_jobs.ENDPOINTS,
    *admin_imports.ENDPOINTS,
    *admin_intents.ENDPOINTS,
    *admin_models.ENDPOINTS,
    *admin_budgets.ENDPOINTS,
    *admin_usage.ENDPOINTS,
    *admin_cache.ENDPOINTS,
    *admin_guard.ENDPOINTS,
    *admin_providers.ENDPOINTS,
    *openai_compat.ENDPOINTS,
)

_SOCKET_PATH = "/api/v1/ws"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_SECURITY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"x-frame-options", b"DENY"),
)
_CORS_HEADERS = b"authorization, content-type, idempotency-key, last-event-id, x-request-id"
_CORS_EXPOSED = (
    b"x-request-id, retry-after, x-chatwright-cache, x-chatwright-cost, x-ratelimit-limit-requests, "
    b"x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, "
    b"x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
_METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

log = structlog.get_logger(__name__)


def build_app(app: Services, *, settings: WebSettings, ready: Ready) -> ASGIApp:
    """The ASGI application over opened services."""
    return _Web(app, settings, ready)


class _Routes:
    """All methods of one path."""

    __slots__ = ("allow", "by_method", "path", "widget")

    def __init__(self, path: str) -> None:
        self.path = path
        self.by_method: dict[str, Endpoint] = {}
        self.allow = b""
        self.widget = False

    def add(self, endpoint: Endpoint) -> None:
        if endpoint.method in self.by_method:
            raise ValueError(f"{endpoint.method} {endpoint.path} is there twice")
        self.by_method[endpoint.method] = endpoint
        if endpoint.method == "GET":
            self.by_method["HEAD"] = endpoint
        self.widget = self.widget or endpoint.widget
        self.allow = ", ".join(sorted({*self.by_method, "OPTIONS"})).encode()


class _Web:
    def __init__(self, app: Services, settings: WebSettings, ready: Ready) -> None:
        self._app = app
        self._settings = settings
        self._ready = ready
        endpoints = (
            *API_ENDPOINTS,
            *self._own_endpoints(),
            *Pages(settings).endpoints(),
            *web_frame.ENDPOINTS,
            *WidgetFiles(settings).endpoints(),
        )
        self._description = to_json(openapi(endpoints, version=settings.version))
        self._exact: dict[str, _Routes] = {}
        self._patterns: list[tuple[re.Pattern[str], _Routes]] = []
        by_path: dict[str, _Routes] = {}
        for endpoint in endpoints:
            if endpoint.path not in by_path:
                routes = by_path[endpoint.path] = _Routes(endpoint.path)
                if "{" in endpoint.path:
                    self._patterns.append((compile_path(endpoint.path)[0], routes))
                else:
                    self._exact[endpoint.path] = routes
            by_path[endpoint.path].add(endpoint)
        # The one hot route with a parameter is looked at first.
        hot = "/api/v1/conversations/{conversation_id}/messages"
        self._patterns.sort(key=lambda pair: pair[1].path != hot)
        self._observers: dict[tuple[str, str, int], Any] = {}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "websocket":
            if scope["path"] == _SOCKET_PATH:
                await serve_socket(self._app, self._settings, scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": 4404, "reason": "no such address"})
        elif kind == "lifespan":
            await _lifespan(receive, send)

    async def _http(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request_id = _request_id(scope)
        call = Call(self._app, self._settings, scope, receive, send, request_id)
        call.common_headers = [(b"x-request-id", request_id.encode()), *_SECURITY]
        route, allow = "unmatched", b""
        try:
            try:
                routes = self._find(call)
                route, allow = routes.path, routes.allow
                reply = await self._run(call, routes)
            except ChatwrightError as error:
                if error.status >= 500:
                    log.log(_LEVELS[error.level], "request.failed", request_id=request_id, route=route, code=error.code,
                            error=error.message)  # fmt: skip
                headers = ((b"allow", allow),) if isinstance(error, MethodNotAllowed) else ()
                reply = error_reply(error, request_id, headers=headers)
            if reply is not None and not call.started:
                await call.answer(reply)
        except ClientGone:
            call.status = call.status or 499
        except Exception as error:
            log.exception("request.crashed", request_id=request_id, route=route)
            if call.started:
                raise  # the server cuts the connection: a reply that breaks off must not look whole
            await call.answer(error_reply(ChatwrightError(str(error)), request_id))
        finally:
            self._observe(route, call, time.perf_counter() - started)

    def _find(self, call: Call) -> _Routes:
        """The routes of the path; sets `params`. Raises NotFound."""
        path = call.path
        routes = self._exact.get(path)
        if routes is not None:
            return routes
        for pattern, routes in self._patterns:
            match = pattern.match(path)
            if match is not None:
                call.params = match.groupdict()
                return routes
        raise NotFound("no such address; see /docs")

    async def _run(self, call: Call, routes: _Routes) -> Reply | None:
        method = call.method
        if routes.widget:
            await self._allow_origin(call)
        endpoint = routes.by_method.get(method)
        if endpoint is None:
            if method == "OPTIONS":
                return Reply(204, headers=((b"allow", routes.allow), *_preflight(call, routes)))
            raise MethodNotAllowed(f"{method} is not possible here")
        if endpoint.access is not Access.NONE:
            call.identity = await auth.authorize(call, endpoint.access)
        return await endpoint.handle(call)

    async def _allow_origin(self, call: Call) -> None:
        """Let pages of chatbots' allowed origins read the reply. What they may do is the token's matter, not this."""
        origin = call.header(b"origin")
        if origin is None or len(origin) > 300:
            return
        call.common_headers.append((b"vary", b"origin"))
        try:
            known = await self._app.chatbots.origin_known(origin.lower())
        except Unavailable:
            known = False
        if known:
            call.common_headers.append((b"access-control-allow-origin", origin.encode("latin-1")))
            call.common_headers.append((b"access-control-expose-headers", _CORS_EXPOSED))

    def _observe(self, route: str, call: Call, seconds: float) -> None:
        method = call.method if route != "unmatched" else "any"  # a method is the caller's text: bound the label
        key = (route, method, call.status)
        observer = self._observers.get(key)
        if observer is None:
            if method not in _METHODS:
                key = (route, "other", call.status)
            observer = self._app.metrics.requests_seconds.labels(key[0], key[1], str(key[2]))
            self._observers[key] = observer
        observer.observe(seconds)

    # Endpoints of the process itself -----------------------------------------------------------------------------------

    def _own_endpoints(self) -> tuple[Endpoint, ...]:
        def row(path: str, handle: Any, summary: str, content_type: str = "application/json") -> Endpoint:
            return Endpoint(method="GET", path=path, handle=handle, access=Access.NONE, summary=summary, tag="process",
                            content_type=content_type)  # fmt: skip

        return (
            row("/health/live", self._live, "The process runs"),
            row("/health/ready", self._is_ready, "Messages are accepted and answered (503: not now)"),
            row("/health/providers", self._providers, "The platform's providers: breaker states and delays"),
            row("/metrics", self._metrics, "Metrics in Prometheus text format", "text/plain"),
            row("/openapi.json", self._openapi, "This description"),
        )

    async def _live(self, call: Call) -> Reply:
        del call
        return Reply(200, b'{"status":"ok"}')

    async def _is_ready(self, call: Call) -> Reply:
        del call
        ok, detail = await self._ready()
        body = to_json({"status": "ready" if ok else "not_ready", **detail})
        return Reply(200 if ok else 503, body, headers=((b"cache-control", b"no-store"),))

    async def _providers(self, call: Call) -> Reply:
        del call
        return Reply(200, to_json(await provider_health(self._app)), headers=((b"cache-control", b"no-store"),))

    async def _metrics(self, call: Call) -> Reply:
        del call
        return Reply(200, await metrics_page(self._app), _METRICS_TYPE)

    async def _openapi(self, call: Call) -> Reply:
        del call
        return Reply(200, self._description, headers=((b"cache-control", b"no-cache"),))


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "any"})


def _request_id(scope: MutableMapping[str, Any]) -> str:
    """The caller's own id if it is a sane one, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            if _REQUEST_ID.fullmatch(value):
                return value.decode()
            break
    return new_id()


def _preflight(call: Call, routes: _Routes) -> tuple[Header, ...]:
    if not any(name == b"access-control-allow-origin" for name, _ in call.common_headers):
        return ()
    return (
        (b"access-control-allow-methods", routes.allow),
        (b"access-control-allow-headers", _CORS_HEADERS),
        (b"access-control-max-age", b"600"),
    )


async def _lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's start and stop; what this application uses is opened and closed by `app/`."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
