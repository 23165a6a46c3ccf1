"""The client side of our own REST API, for the verbs that administer a running server."""

import functools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import click

from chatwright.app.credentials import read_credentials
from chatwright.app.options import SettingsError
from chatwright.app.settings import load_settings
from chatwright.domain.errors import ChatwrightError, Unavailable

KeyKind = Literal["admin", "tenant"]


class ApiError(ChatwrightError):
    """The server refused the call; `code` and `message` are its own."""

    code = "refused"

    def __init__(self, http_status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({http_status} {code})")
        self.http_status = http_status
        self.error_code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which server a verb speaks to, and how it prints; None: look in credentials.json of the data directory."""

    data_dir: Path | None = None
    url: str | None = None
    key: str | None = field(default=None, repr=False)
    as_json: bool = False


def server_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--url`, `--key`, `--data-dir` and `--json`; the command gets them as one `target`."""

    @functools.wraps(function)
    def with_target(*, data_dir: Path | None, url: str | None, key: str | None, as_json: bool, **arguments: Any) -> Any:
        return function(target=Target(data_dir=data_dir, url=url, key=key, as_json=as_json), **arguments)

    for decorate in (
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        click.option("--key", envvar="CHATWRIGHT_KEY", help="API key. [default: from credentials.json]"),
        click.option("--url", envvar="CHATWRIGHT_URL", help="Address of the server. [default: from credentials.json]"),
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path),
            help="Where to look for credentials.json. [default: .chatwright]",
        ),
    ):
        with_target = decorate(with_target)
    return with_target


class Api:
    """One key's view of one server."""

    def __init__(self, session: Any, base_url: str, key: str) -> None:
        self._session = session
        self.base_url = base_url
        self.key = key

    async def get(self, path: str, **params: Any) -> Any:
        """GET a JSON value; parameters that are None are left out."""
        return await self.call(
            "GET", path, params={name: str(value) for name, value in params.items() if value is not None}
        )

    async def post(self, path: str, body: Mapping[str, Any] | None = None, **params: str) -> Any:
        return await self.call("POST", path, body=body or {}, params=params)

    async def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self.call("PATCH", path, body=body)

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self.call("PUT", path, body=body)

    async def delete(self, path: str, **params: str) -> Any:
        return await self.call("DELETE", path, params=params)

    async def pages(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """Read every page of a list."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = cast("dict[str, Any]", await self.get(path, **params, cursor=cursor, limit=200))
            found.extend(page.get("items", []))
            cursor = page.get("next_cursor")
            if not cursor:
                return found

    async def call(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, params: Mapping[str, str] | None = None
    ) -> Any:
        """Send one request. Raises ApiError for a refusal, Unavailable when no server answers."""
        import aiohttp

        try:
            async with self._session.request(method, self.base_url + path, json=body, params=params) as response:
                raw = await response.read()
                _raise_for(response.status, raw)
                return json.loads(raw) if raw else None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self.base_url, error) from error

    async def upload(self, path: str, file: Path, *, fields: Mapping[str, str], media_type: str) -> Any:
        """POST one file as a form, read from disk as it is sent. Raises OSError for a file that cannot be read, ApiError
        and Unavailable as `call` does."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
        with file.open("rb") as opened:
            form = aiohttp.FormData()
            for name, value in fields.items():
                form.add_field(name, value)
            form.add_field("file", opened, filename="file" + file.suffix, content_type=media_type)
            try:
                async with self._session.post(self.base_url + path, data=form, timeout=timeout) as response:
                    raw = await response.read()
                    _raise_for(response.status, raw)
                    return json.loads(raw)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                raise _unreachable(self.base_url, error) from error

    async def download(self, path: str, take: Callable[[bytes], object], **params: Any) -> int:
        """GET a body of any length, handed to `take` in pieces; returns its bytes. Raises ApiError, and Unavailable
        also when the body broke off."""
        import aiohttp

        given = {name: str(value) for name, value in params.items() if value is not None}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
        size = 0
        try:
            async with self._session.get(self.base_url + path, params=given, timeout=timeout) as response:
                if response.status >= 400:
                    _raise_for(response.status, await response.read())
                async for piece in response.content.iter_chunked(65_536):
                    take(piece)
                    size += len(piece)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(self.base_url, error) from error
        return size

    async def events(self, path: str, *, after: int | None) -> AsyncIterator[dict[str, Any]]:
        """Follow a server-sent event stream; yields each event's data."""
        import aiohttp

        headers = {"accept": "text/event-stream"}
        if after is not None:
            headers["last-event-id"] = str(after)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=90)
        try:
            async with self._session.get(self.base_url + path, headers=headers, timeout=timeout) as response:
                if response.status >= 400:
                    _raise_for(response.status, await response.read())
                data: list[str] = []
                async for raw in response.content:
                    line = raw.decode("utf-8").rstrip("\r\n")
                    if line.startswith("data:"):
                        data.append(line[5:].lstrip(" "))
                    elif not line and data:
                        yield json.loads("\n".join(data))
                        data.clear()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self.base_url, error) from error


@asynccontextmanager
async def open_api(target: Target, *, kind: KeyKind = "tenant", tenant_id: str | None = None) -> AsyncGenerator[Api]:
    """Open a client. Address and key come from the flags, the environment, or credentials.json of the data directory.
    With `tenant_id` the admin key is used, for that tenant.

    Raises SettingsError when neither is known.
    """
    import aiohttp

    url, key = target.url, target.key
    kind = "admin" if tenant_id is not None else kind
    if not (url and key):
        folder = load_settings(flags={"data_dir": target.data_dir}).settings.data_dir
        known = read_credentials(folder)
        if known is None:
            raise SettingsError(
                f"no server is known: there is no {folder / 'credentials.json'}; "
                "run `chatwright up` first, name the folder of a running one with --data-dir, "
                "or give --url and --key (or CHATWRIGHT_URL and CHATWRIGHT_KEY)"
            )
        url = url or known.base_url
        key = key or (known.admin_key if kind == "admin" else known.tenant_key)
        if not (url and key):
            raise SettingsError(f"{folder / 'credentials.json'} names no {kind} key; give --key or CHATWRIGHT_KEY")
    timeout = aiohttp.ClientTimeout(total=120, sock_connect=5)
    headers = {"authorization": f"Bearer {key}", "user-agent": "chatwright-cli"}
    if tenant_id is not None:
        headers["x-chatwright-tenant"] = tenant_id
    async with aiohttp.ClientSession(timeout=timeout, headers=headers, trust_env=False) as session:
        yield Api(session, url.rstrip("/"), key)


_OF_A_SHAPE = ("Expected ", "Invalid ")  # a decoder's words, which do not name the field
_MENDS = {
    "no such chatbot": "; `chatwright chatbot list` shows them",
    "no such document": "; `chatwright kb list` shows them",
    "no such budget": "; `chatwright budget list` shows them",
}


def _raise_for(status: int, raw: bytes) -> None:
    if status < 400:
        return
    try:
        error = json.loads(raw)["error"]
        code, message = str(error["code"]), str(error["message"])
        if error.get("param") and message.startswith(_OF_A_SHAPE):
            message = f"{error['param']}: {message}"
        message += _MENDS.get(message, "")
    except (ValueError, KeyError, TypeError):
        code, message = "unknown", raw[:200].decode("utf-8", "replace") or "the server gave no reason"
    raise ApiError(status, code, message)


def _unreachable(base_url: str, error: BaseException) -> Unavailable:
    reason = str(error) or type(error).__name__
    return Unavailable(f"no server answers at {base_url} ({reason}); is `chatwright up` running? (--url names another)")
