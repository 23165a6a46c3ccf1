"""Pages that strangers write: a provider's error page. Reading one takes no longer than it should."""

import time

import pytest

from chatwright.adapters.providers.failures import read_failure


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
