"""Pages of other people's sites that embed the widget: served from an origin of their own, plain, hostile or strict.

Used by the browser tests of the widget. `localhost` and `127.0.0.1` are two origins, so the widget is cross-origin here
as it is in the wild.
"""

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOSTILE_CSS = """
* { all: unset !important; position: static !important; font: 48px/3 fantasy !important; color: red !important;
    background: yellow !important; letter-spacing: 9px !important; text-transform: uppercase !important;
    direction: ltr !important; z-index: 1 !important; box-sizing: content-box !important; }
div, button, textarea, p, a, svg, canvas, section { display: none !important; visibility: hidden !important; }
chatwright-chat { display: none !important; width: 3px !important; visibility: hidden !important; float: left !important;
    pointer-events: none !important; filter: blur(9px) !important; inset: auto !important; opacity: .1 !important;
    transform: rotate(7deg) scale(.2) !important; zoom: .3 !important; clip-path: circle(1px) !important; }
chatwright-chat * { display: none !important; }
html { font-size: 40px !important; }
"""


def document(body: str = "", *, head: str = "", lang: str = "en", direction: str = "ltr") -> str:
    """A small page with one heading and a landmark, so that an audit of it finds the widget's faults only."""
    return (
        f'<!doctype html><html lang="{lang}" dir="{direction}"><head><meta charset="utf-8"><title>Shop</title>'
        f'<meta name="viewport" content="width=device-width">{head}</head>'
        f"<body><main><h1>Shop</h1><p>We sell things.</p></main>{body}</body></html>"
    )


def snippet(base: str, widget_id: str, **attributes: str) -> str:
    """The one line that a site owner pastes."""
    more = "".join(f' data-{name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<script async src="{base}/widget.js" data-chatbot="{widget_id}"{more}></script>'


def strict_policy(base: str) -> str:
    """What a careful site allows: the widget's host and nothing else, no style attribute, nothing inline."""
    socket = base.replace("http", "ws", 1)
    return (
        f"default-src 'none'; script-src {base}; style-src 'none'; connect-src {base} {socket}; img-src 'none'; "
        "base-uri 'none'; form-action 'none'"
    )


@dataclass(slots=True)
class Hosts:
    """Pages by path."""

    port: int = 0
    pages: dict[str, tuple[bytes, Mapping[str, str]]] = field(
        default_factory=dict[str, tuple[bytes, Mapping[str, str]]]
    )

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    def put(self, path: str, html: str | bytes, headers: Mapping[str, str] | None = None) -> str:
        """Serve this at `path`; returns its address."""
        body = html if isinstance(html, bytes) else html.encode()
        self.pages[path] = (body, {"content-type": "text/html; charset=utf-8", **(headers or {})})
        return self.origin + path


@contextmanager
def run_hosts() -> Generator[Hosts]:
    """Serve host pages until the block ends."""
    hosts = Hosts()
    hosts.put("/favicon.ico", b"", {"content-type": "image/x-icon"})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body, headers = hosts.pages.get(urlsplit(self.path).path, (b"", None))
            self.send_response(404 if headers is None else 200)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            del format, args

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Browsers leave in the middle of things; that is no fault of a test."""
            del request, client_address

    server = Server(("127.0.0.1", 0), Handler)
    hosts.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, name="host-pages", daemon=True)
    thread.start()
    try:
        yield hosts
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
