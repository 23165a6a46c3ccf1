"""Addresses of pages: one spelling for each, which belong to a site, and which a page links to. Pure.

Called by `pipeline/documents.py` (an address is a document's key) and `pipeline/crawl.py` (what to visit next).
"""

import re
from html import unescape
from posixpath import splitext
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

from chatwright.domain.errors import Unprocessable

ADDRESS_AT_MOST_CHARS = 2_000
LINKS_AT_MOST = 2_000

_PORTS = {"http": 80, "https": 443}
# Say who sent the reader, not what is shown.
_TRACKING = re.compile(r"utm_\w+|gclid|fbclid|msclkid|mc_[ce]id|igshid|_ga", re.IGNORECASE)
# Never a document that could be read: no request is spent on them.
_NOT_DOCUMENTS = re.compile(
    r"\.(?:7z|apk|avi|avif|bin|bmp|bz2|css|dmg|eot|exe|gif|gz|ico|iso|jar|jpeg|jpg|js|json|m4a|m4v|map|mkv|mov|"
    r"mp3|mp4|mpeg|msi|ogg|ogv|otf|png|rar|rss|svg|tar|tgz|tif|tiff|ttf|wasm|wav|webm|webp|woff|woff2|xml|xz|zip)",
    re.IGNORECASE,
)
# "<" ends an attempt as well as ">": on a page full of unclosed tags each character is then looked at twice at most.
_TAG = re.compile(r"<(a|area|base|meta)\s([^<>]{1,4000})>", re.IGNORECASE)
_HIDDEN = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1|\Z)", re.IGNORECASE | re.DOTALL)
# One pass, each character taken once: attributes are put together from these words.
_WORD = re.compile(r"\"[^\"]*\"|'[^']*'|=|[^\s\"'=]+|[\"']")


def normalise_address(text: str) -> str:
    """One spelling for one page: lower-case scheme and host, no default port, no fragment, no tracking parameters, no
    dot segments. Raises Unprocessable if it is no http(s) address, or too long."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _unreadable() from None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not host or len(text) > ADDRESS_AT_MOST_CHARS:
        raise _unreadable()
    if parts.username is not None or parts.password is not None:
        raise Unprocessable("the address must not hold a user name or password", param="url")
    try:
        host = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        raise _unreadable() from None
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != _PORTS[scheme]:
        place = f"{place}:{port}"
    path = quote(_without_dots(parts.path), safe="/%:@!$&'()*+,;=~-._")
    return urlunsplit(SplitResult(scheme, place, path, _clean_query(parts.query), ""))


def is_same_site(address: str, home: str) -> bool:
    """Whether two addresses are of one host and port; `www.` and the scheme make no difference."""
    return site_of(address) == site_of(home)


def site_of(address: str) -> str:
    """Host, and port if it is not the usual one, without `www.`: what counts as one site."""
    return urlsplit(address).netloc.removeprefix("www.")


def may_be_document(address: str) -> bool:
    """False for addresses whose ending says that they are pictures, scripts and other things nobody can read."""
    return _NOT_DOCUMENTS.fullmatch(splitext(urlsplit(address).path)[1]) is None


def links_of(html: str, address: str) -> list[str]:
    """The pages that an HTML page links to: normalised, each once, in order, at most LINKS_AT_MOST.

    Links marked `nofollow`, of a page that asks not to be followed, to other schemes and to what is no document are
    left out.
    """
    base, found = address, dict[str, None]()
    for match in _TAG.finditer(_HIDDEN.sub(" ", html)):
        tag = match[1].lower()
        attributes = _attributes(match[2])
        if tag == "meta":
            if attributes.get("name", "").lower() == "robots" and _asks(attributes.get("content", ""), "nofollow"):
                return []
            continue
        target = _joined(base, attributes.get("href", "").strip())
        if target is None:
            continue
        if tag == "base":
            base = target
        elif "nofollow" not in attributes.get("rel", "").lower().split() and may_be_document(target):
            found[target] = None
            if len(found) == LINKS_AT_MOST:
                break
    return list(found)


def is_index_wanted(html: str) -> bool:
    """False for a page that asks search engines and the like not to keep it (`<meta name="robots" content="noindex">`)."""
    for match in _TAG.finditer(_HIDDEN.sub(" ", html[:200_000])):
        if match[1].lower() == "meta":
            attributes = _attributes(match[2])
            if attributes.get("name", "").lower() == "robots" and _asks(attributes.get("content", ""), "noindex"):
                return False
    return True


def _attributes(inside: str) -> dict[str, str]:
    words = _WORD.findall(inside)
    return {
        name.lower(): unescape(value.strip("\"'"))
        for name, equals, value in zip(words, words[1:], words[2:], strict=False)
        if equals == "=" and name != "="
    }


def _asks(content: str, wish: str) -> bool:
    wishes = {word.strip() for word in content.lower().split(",")}
    return wish in wishes or "none" in wishes


def _joined(base: str, href: str) -> str | None:
    if not href or href.startswith("#") or len(href) > ADDRESS_AT_MOST_CHARS:
        return None
    try:
        return normalise_address(urljoin(base, href))
    except (Unprocessable, ValueError):
        return None


def _without_dots(path: str) -> str:
    """The path with `.` and `..` resolved, from the root."""
    kept: list[str] = []
    segments = path.split("/")[1:] or [""]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _clean_query(query: str) -> str:
    if not query or not _TRACKING.search(query):
        return quote(query, safe="=&;%/?:@!$'()*+,~-._[]")  # as it was written: servers may mind the order
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return quote(query, safe="=&;%/?:@!$'()*+,~-._[]")
    return urlencode([(name, value) for name, value in fields if not _TRACKING.fullmatch(name)])


def _unreadable() -> Unprocessable:
    return Unprocessable(
        f"give the address of a page: http:// or https://, at most {ADDRESS_AT_MOST_CHARS:,} characters", param="url"
    )
