"""Alerts by e-mail, through the operator's SMTP server: smtplib in few threads of its own, each try bounded.

``smtps://`` is TLS from the first byte; ``smtp://`` goes over to TLS when the server offers it, and a password is never
sent without TLS but to this machine.
"""

import asyncio
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime
from urllib.parse import unquote, urlsplit

from chatwright.adapters.alerts.base import Letter, Outcome, Place, shortened

TIMEOUT_S = 25.0
"""One e-mail in all, waiting for a free thread included."""
_STEP_TIMEOUT_S = 8.0
_THREADS = 4
_SUBJECT_AT_MOST = 150
_PORTS = {"smtp": 587, "smtps": 465}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where mail is handed in. `tls_first`: TLS from the first byte. `sender`: the address that mails come from."""

    host: str
    port: int
    tls_first: bool
    user: str = ""
    password: str = field(default="", repr=False)
    sender: str


def read_smtp_url(url: str, *, sender: str = "") -> SmtpServer:
    """``smtp[s]://[user:password@]host[:port]``. Raises ValueError without the password in its words."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not an address such as smtp://user:password@mail.example.com:587") from None
    if parts.scheme not in _PORTS or not host:
        raise ValueError("an address starts with smtp:// or smtps:// and names a host")
    user = unquote(parts.username or "")
    if not sender:
        sender = user if "@" in user else f"chatwright@{host}"
    if not sender.isascii() or not sender.isprintable() or "@" not in sender:
        raise ValueError("the sender is no mail address")
    return SmtpServer(
        host=host,
        port=port or _PORTS[parts.scheme],
        tls_first=parts.scheme == "smtps",
        user=user,
        password=unquote(parts.password or ""),
        sender=sender,
    )


class EmailCourier:
    """Sends plain-text mails. `close` lets go of the threads; what one of them is at is cut off."""

    def __init__(self, server: SmtpServer, *, timeout_s: float = TIMEOUT_S, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._tls = tls
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="smtp")
        self._open: set[_Attempt] = set()

    async def send(self, letter: Letter, place: Place) -> Outcome:
        attempt = _Attempt(self._server, self._tls)
        self._open.add(attempt)
        try:
            mail = mail_of(letter, sender=self._server.sender, to=place.target)
            async with asyncio.timeout(self._timeout_s):
                await asyncio.get_running_loop().run_in_executor(self._threads, attempt.run, mail, place.target)
        except TimeoutError:
            return Outcome(ok=False, error=f"the mail server did not take it within {self._timeout_s:g} s")
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
            return Outcome(ok=False, status=error.smtp_code, error=shortened(f"the mail server said: {text}"))
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()), (None, b""))
            return Outcome(
                ok=False, status=code, error=shortened(f"the mail server refused: {said.decode('utf-8', 'replace')}")
            )
        except (smtplib.SMTPException, OSError, ValueError, RuntimeError) as error:
            return Outcome(ok=False, error=shortened(f"the mail was not sent: {type(error).__name__}: {error}"))
        finally:
            attempt.cut()
            self._open.discard(attempt)
        return Outcome(ok=True, status=250)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for attempt in tuple(self._open):
            attempt.cut()


class _Attempt:
    """One mail in one thread, which `cut` ends from outside: a thread cannot be cancelled, its socket can be shut."""

    def __init__(self, server: SmtpServer, tls: ssl.SSLContext | None) -> None:
        self._server = server
        self._tls = tls
        self._lock = threading.Lock()
        self._over = False
        self._socket: socket.socket | None = None

    def run(self, mail: EmailMessage, to: str) -> None:
        """Hand the mail in. Raises smtplib.SMTPException, OSError."""
        server = self._server
        context = self._tls or ssl.create_default_context()
        client = _Client(server.host, server.port, lambda: self._connect(context))
        try:
            client.ehlo_or_helo_if_needed()
            if not server.tls_first and client.has_extn("starttls"):
                client.starttls(context=context)
                self._hold(client.sock)
                client.ehlo_or_helo_if_needed()
            if server.user:
                if not isinstance(client.sock, ssl.SSLSocket) and server.host not in _LOOPBACK:
                    raise smtplib.SMTPNotSupportedError("the server offers no TLS, so the password was not sent")
                client.login(server.user, server.password)
            client.send_message(mail, from_addr=server.sender, to_addrs=[to])
            with suppress(smtplib.SMTPException, OSError):
                client.quit()  # it is sent already
        finally:
            client.close()

    def _connect(self, context: ssl.SSLContext) -> socket.socket:
        if self._over:
            raise OSError("given up before it began")
        connected = socket.create_connection((self._server.host, self._server.port), timeout=_STEP_TIMEOUT_S)
        self._hold(connected)
        if self._server.tls_first:
            connected = context.wrap_socket(connected, server_hostname=self._server.host)
            self._hold(connected)
        return connected

    def cut(self) -> None:
        with self._lock:
            self._over = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _hold(self, connected: socket.socket | None) -> None:
        """Keep the socket for `cut`; one that comes too late is shut at once."""
        with self._lock:
            self._socket = connected
        if self._over:
            self.cut()


class _Client(smtplib.SMTP):
    """smtplib over a socket that we open, so that it can be cut while the greeting is still awaited."""

    def __init__(self, host: str, port: int, connect: Callable[[], socket.socket]) -> None:
        self._connect_now = connect
        super().__init__(host, port, timeout=_STEP_TIMEOUT_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        del host, port, timeout
        return self._connect_now()


def mail_of(letter: Letter, *, sender: str, to: str) -> EmailMessage:
    """The alert as a mail. Every attempt has the same Message-ID, so that a mailbox may drop the second one."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = to
    subject = shortened(f"[chatwright] {letter.level}: {letter.message}")
    mail["Subject"] = subject if len(subject) <= _SUBJECT_AT_MOST else subject[: _SUBJECT_AT_MOST - 1] + "…"
    mail["Date"] = format_datetime(localtime())
    mail["Message-ID"] = f"<{letter.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    lines = [letter.message, "", f"kind: {letter.type}", f"level: {letter.level}", f"about: {letter.subject}"]
    lines += [
        f"period: {letter.period}",
        f"raised: {letter.created_at}",
        f"tenant: {letter.tenant_id or 'the platform'}",
    ]
    lines += [f"{name}: {value}" for name, value in letter.detail.items()]
    mail.set_content("\n".join(lines) + "\n")
    return mail
