"""Access tokens for Vertex AI: the platform's own credentials and the service accounts that tenants bring.

Owns one slot a credential: its token is shared by all calls, refreshed by one thread at a time, ahead of its end while
the old one still holds. `google-auth` does the signing and the asking; it is imported in the thread, on first use,
since it costs a quarter of a second. Opened once by the services of the app, used by `gemini.py`.

A tenant's JSON is never handed to `google-auth` as it is: only a service account is accepted, and of it only the name
and the key. Its `token_uri` must be Google's, and kinds that read files, call addresses or run programs are refused.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from chatwright.adapters.providers.failures import scrubbed
from chatwright.domain.errors import AuthenticationError, ProviderError

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
# google-auth's own threshold: Google's metadata servers hand out a cached token until 5 minutes before its end.
AHEAD_S = 225.0
# A token that ends within this is not sent any more: the request has to arrive first.
SPENT_S = 10.0
# After a failed refresh nobody asks again at once: not the next call, and not the background.
PAUSE_S = 5.0
MAX_CREDENTIALS = 256
MAX_KEY_CHARS = 16 * 1024
# 2,048 bits, which is what Google makes. Checking a key keeps the whole interpreter: 30 ms of these, 280 ms of 4,096
# bits, and for a longer one as long as its owner likes.
MAX_PRIVATE_KEY_CHARS = 2400
# A metadata server is on the same machine. Where there is none, some networks answer nothing at all.
_PROBE_S = 1.0
_BUSY = frozenset({408, 429})
_THREADS = 4
_UNKNOWN_LIFE_S = 600.0
_NONE_FOUND = (
    "No Google credentials were found on this machine; set GOOGLE_APPLICATION_CREDENTIALS to the file of a service "
    "account, or give the provider a key."
)
_NO_JSON = "A Google key must be the whole JSON file of a service account."
_LONG_KEY = "The private key of a Google service account has 2,048 bits; longer ones are not accepted."
_OTHER_KIND = "A Google key must be that of a service account; other kinds are not accepted."


class ServiceAccount(msgspec.Struct, frozen=True):
    """What is used of a tenant's key file. `repr` shows no key."""

    client_email: str
    private_key: str
    project_id: str = ""
    private_key_id: str = ""
    type: str = ""
    token_uri: str = TOKEN_URI

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email})"


def read_service_account(text: str) -> ServiceAccount:
    """The service account in a key file's text. Raises AuthenticationError, which says what to give instead."""
    try:
        if len(text) > MAX_KEY_CHARS:
            raise ValueError
        kind: Any = msgspec.json.decode(text)
        if not isinstance(kind, dict) or kind.get("type") != "service_account":
            raise AuthenticationError(_OTHER_KIND, upstream_status=None)
        account = msgspec.convert(kind, ServiceAccount)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # The decoder's words may quote the key.
        raise AuthenticationError(_NO_JSON, upstream_status=None) from error
    if len(account.private_key) > MAX_PRIVATE_KEY_CHARS:
        raise AuthenticationError(_LONG_KEY, upstream_status=None)
    if account.token_uri != TOKEN_URI:
        raise AuthenticationError(f"The token_uri of a Google key must be {TOKEN_URI}.", upstream_status=None)
    return account


class _Refusal(NamedTuple):
    """Why there is no token; an exception is made of it anew for each call that meets it."""

    message: str
    error_class: str = ""
    """Empty: the credentials themselves are refused. Else what kept us from asking; another try may go well."""

    def error(self) -> ProviderError:
        if not self.error_class:
            return AuthenticationError(self.message, upstream_status=None)
        return ProviderError(self.message, retriable=True, error_class=self.error_class)


@dataclass(slots=True)
class _Slot:
    """One credential and its token. `ends_s` is on the wall clock; 0: no token yet."""

    name: str
    load: Callable[[], Any]
    """Make the google-auth credentials, in the thread."""
    credentials: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    ends_s: float = 0.0
    task: "asyncio.Task[_Refusal | None] | None" = None
    refusal: _Refusal | None = None
    quiet_until_s: float = 0.0
    """Not asked again before (clock of the loop)."""


class _NoCredentials(Exception):
    """Raised in the thread: the machine has none."""


class _Busy(Exception):
    """Raised in the thread: Google answers, but not with a token."""


class GoogleTokens:
    """Gives the headers that let a call in. Made by `open_google_tokens`.

    `credentials_file` is the platform's, empty for Application Default Credentials. With `optional`, a machine
    without credentials calls without: for gateways and simulators that bring or need none.
    """

    def __init__(
        self,
        *,
        credentials_file: str = "",
        optional: bool = False,
        timeout_s: float = 10.0,
        tenants_token_uri: str = TOKEN_URI,
    ) -> None:
        self._optional = optional
        self._timeout_s = timeout_s
        self._tenants_token_uri = tenants_token_uri
        self._platform = _Slot("the platform's Google credentials", lambda: _platform(credentials_file))
        self._tenants: OrderedDict[bytes, _Slot] = OrderedDict()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="google-tokens")
        self._tasks: set[asyncio.Task[Any]] = set()
        self.refreshes = 0
        """How often a token was asked for: a figure for tests and metrics."""

    async def headers(self, key: str | None) -> Mapping[str, str]:
        """Headers with a token that holds: `authorization`, for some accounts more. Treat them as read-only.

        `key` is a tenant's service account as JSON text, None the platform's own credentials. Waits only if there is
        no token that still holds, then as long as the time-out. Raises AuthenticationError if Google refuses the
        account or there is none, a retriable ProviderError if Google could not be asked.
        """
        slot = self._platform if key is None else self._tenants_slot(key)
        left_s = slot.ends_s - time.time()
        if left_s > AHEAD_S:
            return slot.headers
        loop = asyncio.get_running_loop()
        if slot.task is None and loop.time() >= slot.quiet_until_s:
            self._begin(slot, loop)
        if left_s > SPENT_S:
            return slot.headers
        refusal = slot.refusal
        if slot.task is not None:
            task = slot.task
            await asyncio.wait({task})
            refusal = _late(slot) if task.cancelled() else task.result()
        if refusal is not None:
            raise refusal.error()
        return slot.headers

    def warm_up(self) -> None:
        """Ask for the platform's token now, so that no visitor waits for the first one."""
        if self._platform.task is None:
            self._begin(self._platform, asyncio.get_running_loop())

    def spoil(self, key: str | None) -> None:
        """The token was refused although it should hold: the next call waits for another one."""
        slot = self._platform if key is None else self._tenants_slot(key)
        if slot.ends_s != inf:
            slot.ends_s = 0.0

    async def close(self) -> None:
        """Let go of what is under way. A thread that waits for Google ends by its own time-out."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _tenants_slot(self, key: str) -> _Slot:
        digest = sha256(key.encode("utf-8", "replace")).digest()
        slot = self._tenants.get(digest)
        if slot is None:
            account = read_service_account(key)
            uri = self._tenants_token_uri
            slot = _Slot("the service account", lambda: _tenants(account, uri))
            self._tenants[digest] = slot
            if len(self._tenants) > MAX_CREDENTIALS:
                self._tenants.popitem(last=False)
        else:
            self._tenants.move_to_end(digest)
        return slot

    def _begin(self, slot: _Slot, loop: asyncio.AbstractEventLoop) -> None:
        # No call's own task: the call that comes first may be cancelled, the others still want the token.
        task = loop.create_task(self._refresh(slot, loop), name="google_tokens.refresh")
        slot.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refresh(self, slot: _Slot, loop: asyncio.AbstractEventLoop) -> _Refusal | None:
        """Fill the slot; returns what kept it from that. Raises nothing but CancelledError."""
        self.refreshes += 1
        credentials = slot.credentials
        refusal: _Refusal | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                if credentials is None:
                    credentials = await loop.run_in_executor(self._threads, slot.load)
                slot.credentials = credentials
                slot.headers, slot.ends_s = await loop.run_in_executor(
                    self._threads, _refreshed, credentials, self._timeout_s / 2
                )
        except TimeoutError:
            # The thread may go on with these; the next try loads its own.
            slot.credentials = None
            refusal = _late(slot)
        except _NoCredentials:
            if self._optional:
                slot.headers, slot.ends_s = {}, inf
            else:
                refusal = _Refusal(_NONE_FOUND)
        except Exception as error:  # noqa: BLE001 - a broken key makes its libraries raise anything
            refusal = _refusal(slot.name, error)
        finally:
            slot.task = None
        slot.refusal = refusal
        # Also after a good one: a metadata server may have given the old token once more.
        slot.quiet_until_s = loop.time() + PAUSE_S
        return refusal


@asynccontextmanager
async def open_google_tokens(
    *, credentials_file: str = "", optional: bool = False, timeout_s: float = 10.0, tenants_token_uri: str = TOKEN_URI
) -> AsyncGenerator[GoogleTokens]:
    """Open the store of tokens; closed on the way out. Nothing is imported, read or asked before the first call.

    `timeout_s` bounds one refresh; `tenants_token_uri` is where tenants' accounts are exchanged, whatever they say.
    """
    tokens = GoogleTokens(
        credentials_file=credentials_file,
        optional=optional,
        timeout_s=timeout_s,
        tenants_token_uri=tenants_token_uri,
    )
    try:
        yield tokens
    finally:
        await tokens.close()


# In the thread. Everything below may block.


def _refreshed(credentials: Any, timeout_s: float) -> tuple[Mapping[str, str], float]:
    """Refresh the credentials; the headers of a call and when they end. Raises google-auth's errors and _Busy."""
    with _transport(timeout_s) as ask:
        credentials.refresh(ask)
    headers: dict[str, str] = {}
    credentials.apply(headers)
    expiry = credentials.expiry
    ends_s = time.time() + _UNKNOWN_LIFE_S if expiry is None else expiry.replace(tzinfo=UTC).timestamp()
    return headers, ends_s


@contextmanager
def _transport(timeout_s: float) -> Generator[Callable[..., Any]]:
    """What google-auth asks through, in place of its own transport, which has no time-out, asks three times, follows
    redirects and logs the signed assertion."""
    import urllib3
    from google.auth.exceptions import TransportError

    with urllib3.PoolManager() as pool:

        def ask(
            url: str, method: str = "GET", body: Any = None, headers: Any = None, timeout: Any = None, **more: Any
        ) -> Any:
            del timeout
            sent: dict[str, Any] = {**more, "body": body, "headers": headers, "timeout": timeout_s, "retries": False}
            try:
                answer = pool.request(method, url, **sent)
            except urllib3.exceptions.HTTPError as error:
                raise TransportError("no answer") from error
            if method == "POST" and (answer.status >= 500 or answer.status in _BUSY):
                # google-auth would sleep and ask twice more, with a visitor waiting.
                raise _Busy
            return answer

        yield ask


def _platform(path: str) -> Any:
    """The operator's credentials, of any kind: whoever sets our environment may also run programs."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError
    from google.oauth2 import service_account

    if path:
        info: Any = msgspec.json.decode(Path(path).read_bytes())
        if isinstance(info, dict) and info.get("type") == "service_account":
            return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])
    with _transport(_PROBE_S) as ask:
        try:
            if path:
                found, _ = google.auth.load_credentials_from_file(path, scopes=[SCOPE], request=ask)
            else:
                found, _ = google.auth.default(scopes=[SCOPE], request=ask)
        except DefaultCredentialsError as error:
            if path:
                raise
            raise _NoCredentials from error
    return found


def _tenants(account: ServiceAccount, token_uri: str) -> Any:
    from google.oauth2 import service_account

    info = {
        "client_email": account.client_email,
        "private_key": account.private_key,
        "private_key_id": account.private_key_id,
        "token_uri": token_uri,
    }
    return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])


def _refusal(name: str, error: Exception) -> _Refusal:
    """What follows from an error of the thread; google-auth knows which of its own are worth another try."""
    kind = type(error).__name__
    if kind == "TransportError":
        return _Refusal(f"Google could not be asked for an access token with {name}.", "transport")
    if isinstance(error, _Busy) or getattr(error, "retryable", False):
        return _Refusal(f"Google gave no access token for {name} just now.", "server_error")
    if kind == "RefreshError":
        said = scrubbed(str(error.args[0]) if error.args else "")[:200]
        return _Refusal(f"Google refuses {name}: {said}")
    if isinstance(error, OSError):
        return _Refusal(f"The file of {name} cannot be read ({error.strerror}).")
    return _Refusal(f"Nothing can be done with {name} ({kind}); enter the key again.")


def _late(slot: _Slot) -> _Refusal:
    return _Refusal(f"Google gave no access token for {slot.name} in time.", "timeout")
