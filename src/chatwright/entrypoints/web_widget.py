"""The widget's built files: `GET /widget.js` and what it loads. Read once at start, served from memory.

The files are made by `widget/build.mjs` and lie in the package, or in the folder that CHATWRIGHT_WIDGET_DIR names. They are
the same for every site and hold nothing of anybody, so every page may load them.
"""

import gzip
import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

import structlog

from chatwright.domain.errors import NotFound
from chatwright.entrypoints.call import Call, Header, Reply, WebSettings
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.web_files import TYPES, etag_of, is_known, read_files

log = structlog.get_logger(__name__)
LAUNCHER = "widget.js"
_FILE_AT_MOST_BYTES = 16 * 1024 * 1024
_ALL_AT_MOST_BYTES = 64 * 1024 * 1024
_SQUEEZED_FROM_BYTES = 1024
_TYPES = {
    **TYPES,
    ".mjs": TYPES[".js"],
    ".map": TYPES[".json"],
    ".glb": b"model/gltf-binary",
    ".vrm": b"model/gltf-binary",
    ".wasm": b"application/wasm",
    ".txt": b"text/plain; charset=utf-8",
}
_CODINGS = {"br": ".br", "gzip": ".gz"}  # in order of preference
_DENSE = (".png", ".jpg", ".webp", ".woff2")
_HASHED = re.compile(r"assets/.*-[A-Za-z0-9_-]{8,}\.[a-z0-9]+")
"""A name with its content's hash in it never means anything else: it is kept for a year."""
_FOREVER = b"public, max-age=31536000, immutable"
_FOR_A_MOMENT = b"public, max-age=300"  # a new release reaches every page within five minutes
_MEND = (
    "the widget's files are not there: install a released package, or build them with `node widget/build.mjs --out DIR` "
    "and set CHATWRIGHT_WIDGET_DIR=DIR"
)


class _Variant:
    """One coding of a file with its validator."""

    __slots__ = ("body", "coding", "etag")

    def __init__(self, body: bytes, coding: str | None) -> None:
        self.body = body
        self.coding = coding
        self.etag = etag_of(body)


class Asset:
    """One file as it is and as it was compressed beforehand."""

    __slots__ = ("caching", "content_type", "plain", "squeezed")

    def __init__(self, name: str, body: bytes, squeezed: Mapping[str, bytes]) -> None:
        self.content_type = _TYPES.get(PurePosixPath(name).suffix.lower(), b"application/octet-stream")
        self.caching = _FOREVER if _HASHED.fullmatch(name) else _FOR_A_MOMENT
        self.plain = _Variant(body, None)
        self.squeezed = tuple(_Variant(squeezed[coding], coding) for coding in _CODINGS if coding in squeezed)

    def variant(self, accepted: str) -> _Variant:
        """The smallest variant that the request's Accept-Encoding takes."""
        if self.squeezed:
            taken = _accepted_codings(accepted)
            for variant in self.squeezed:
                if variant.coding in taken:
                    return variant
        return self.plain


class WidgetFiles:
    """Serves the built widget. Without built files every address answers 404 with the mend; nothing else suffers."""

    def __init__(self, settings: WebSettings) -> None:
        self._assets: dict[str, Asset] = {}
        try:
            self._assets = read_assets(settings.widget_dir)
        except OSError as error:
            log.error("widget.not_read", error=str(error))

    async def launcher(self, call: Call) -> Reply:
        return self._serve(call, LAUNCHER)

    async def asset(self, call: Call) -> Reply:
        return self._serve(call, call.params["path"])

    def _serve(self, call: Call, name: str) -> Reply:
        asset = self._assets.get(name)
        if asset is None:
            raise NotFound("the widget has no such file" if self._assets else _MEND)
        variant = asset.variant(call.header(b"accept-encoding") or "")
        headers: list[Header] = [
            (b"etag", variant.etag),
            (b"cache-control", asset.caching),
            (b"access-control-allow-origin", b"*"),  # module scripts of other origins are read by CORS
            (b"cross-origin-resource-policy", b"cross-origin"),
        ]
        if asset.squeezed:
            headers.append((b"vary", b"accept-encoding"))
        if is_known(call, variant.etag):
            return Reply(304, b"", asset.content_type, tuple(headers))
        if variant.coding is not None:
            headers.append((b"content-encoding", variant.coding.encode()))
        return Reply(200, variant.body, asset.content_type, tuple(headers))

    def endpoints(self) -> tuple[Endpoint, ...]:
        rows = (
            ("/widget.js", self.launcher, "The widget's launcher"),
            ("/widget/{path:path}", self.asset, "What the widget loads when it is opened"),
        )
        return tuple(
            Endpoint(method="GET", path=path, handle=handle, access=Access.NONE, summary=summary, tag="pages",
                     content_type="text/javascript")
            for path, handle, summary in rows
        )  # fmt: skip


def widget_folder(widget_dir: str | None) -> Traversable:
    """Where the built files are looked for: the named folder, or the one inside the package."""
    return Path(widget_dir) if widget_dir else resources.files("chatwright") / "widget"


def read_assets(widget_dir: str | None) -> dict[str, Asset]:
    """Every file of the folder by its path; `x.js.br` and `x.js.gz` are codings of `x.js`, which gets a gzip coding of
    our own where the build made none. Empty if there is no folder. Raises OSError for one that cannot be read."""
    found = read_files(
        widget_folder(widget_dir), file_at_most_bytes=_FILE_AT_MOST_BYTES, all_at_most_bytes=_ALL_AT_MOST_BYTES
    )
    assets: dict[str, Asset] = {}
    for name, body in found.items():
        if name.removesuffix(PurePosixPath(name).suffix) in found and PurePosixPath(name).suffix in _CODINGS.values():
            continue
        squeezed = {coding: found[name + end] for coding, end in _CODINGS.items() if name + end in found}
        if "gzip" not in squeezed and len(body) >= _SQUEEZED_FROM_BYTES and not name.endswith(_DENSE):
            packed = gzip.compress(body, 9, mtime=0)
            squeezed |= {"gzip": packed} if len(packed) < 0.95 * len(body) else {}
        assets[name] = Asset(name, body, squeezed)
    return assets


def _accepted_codings(header: str) -> set[str]:
    """Names in an Accept-Encoding header whose weight is not 0; `*` stands for all of ours."""
    taken: set[str] = set()
    refused: set[str] = set()
    for part in header.lower().split(",")[:20]:
        name, _, weight = part.partition(";")
        is_refused = re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight) is not None
        (refused if is_refused else taken).add(name.strip())
    return (set(_CODINGS) if "*" in taken else taken) - refused
