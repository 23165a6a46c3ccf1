"""Pages that strangers write: a provider's error page, a document by URL. Reading one takes no longer than it should."""

import time

import pytest

from chatwright.adapters.providers.failures import read_failure
from chatwright.domain.errors import Unprocessable
from chatwright.entrypoints import admin_knowledge


def seconds(work: object, *arguments: object) -> float:
    started = time.perf_counter()
    work(*arguments)  # type: ignore[operator]
    return time.perf_counter() - started


@pytest.mark.parametrize(
    "page",
    [
        b"<title>" + b" " * 65_000,
        b"<title>" * 9_000,
        b"<title" * 10_000,
        (b"<title>" + b" " * 200) * 300,
        b"<title>" * 4_000 + b" " * 30_000 + b"</title",
    ],
)
def test_no_error_page_holds_us(page: bytes) -> None:
    """One search used to take ten minutes of the whole process, for a tenant's own endpoint to cause at will."""
    assert seconds(read_failure, page) < 0.2
    assert seconds(admin_knowledge.page_title, page.decode() * 2) < 0.2


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (b"<html><head><title>502 Bad Gateway</title></head></html>", "an HTML page (502 Bad Gateway)"),
        (b"<HTML><TITLE lang='en'>\n  Just a\n moment...\n</TITLE>", "an HTML page (Just a moment...)"),
        (b"<title></title>", "an HTML page"),
        (b"<p>no title</p>", "an HTML page"),
        (b"<title>" + b"x" * 500 + b"</title>", f"an HTML page ({'x' * 120})"),
    ],
)
def test_an_error_page_is_told_by_its_title(page: bytes, words: str) -> None:
    assert read_failure(page).message == words


def test_a_documents_title_is_read() -> None:
    assert admin_knowledge.page_title("<html><title>\n Our &amp; your\n plans </title>") == "Our & your plans"
    assert admin_knowledge.page_title("<p>none</p>") == ""


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "latin1", "windows-1252", "shift_jis", "gb18030", "koi8-r", None])
def test_usual_charsets_are_read(charset: str | None) -> None:
    assert admin_knowledge.decode_text("plain".encode(charset or "utf-8"), charset, param="url") == "plain"


@pytest.mark.parametrize(
    "charset",
    ["punycode", "idna", "undefined", "utf-7", "unicode_escape", "rot13", "zlib", "nothing", "x" * 999, "a\0b"],
)
def test_codecs_that_are_no_charsets_are_refused(charset: str) -> None:
    """Some take hours for a large page, some raise errors of their own kind, one makes text of escapes."""
    content = b"a" * 100_000 + b"-" + b"b" * 100_000
    started = time.perf_counter()
    with pytest.raises(Unprocessable) as refused:
        admin_knowledge.decode_text(content, charset, param="url")
    assert time.perf_counter() - started < 0.2
    assert len(refused.value.message) < 80
