"""Addresses that stand in a text, each with the words that it stands under. Pure."""

import re
from urllib.parse import urlsplit

MOST_ADDRESS_CHARS = 500
_MOST_LINKS = 20
_MOST_READ_CHARS = 20_000
_MARKDOWN = re.compile(r"(?<!!)\[([^\[\]\n]{1,200})\]\((https?://[^\s()<>\"']{1,500})\)")
_BARE = re.compile(r"(?<![\w(<\"'/])https?://[^\s<>\"'()\[\]{}|`]{1,500}")
_OWN_PATH = re.compile(r"/(?![/\\])[^\s<>\"'`\\]*")
_TRAILING = ".,;:!?*_~"


def is_web_address(text: str) -> bool:
    """Whether `text` is one http(s) address that a page may open: a host, no name or password before it, no white space."""
    if len(text) > MOST_ADDRESS_CHARS or not text.isprintable() or any(mark in text for mark in " \\<>\"'`"):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False


def is_address(text: str) -> bool:
    """Whether `text` is a web address, or a path on the site that shows the page: what an operator gives a document."""
    return is_web_address(text) or (
        len(text) <= MOST_ADDRESS_CHARS and _OWN_PATH.fullmatch(text) is not None and text.isprintable()
    )


def links_in(text: str) -> list[tuple[str, str]]:
    """(words, address) of the links in a Markdown text, in order, each address once. A bare address stands under its
    host."""
    text = text[:_MOST_READ_CHARS]
    found: dict[str, str] = {}
    named = {match[2]: " ".join(match[1].split()) for match in _MARKDOWN.finditer(text)}
    for address, words in named.items():
        if is_web_address(address):
            found.setdefault(address, words)
    for match in _BARE.finditer(text):
        address = match[0].rstrip(_TRAILING)
        if address not in found and is_web_address(address):
            found[address] = urlsplit(address).hostname or ""
        if len(found) >= _MOST_LINKS:
            break
    return [(words, address) for address, words in found.items()][:_MOST_LINKS]
