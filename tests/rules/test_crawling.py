"""Addresses, robots.txt, sitemaps and links: what a stranger's site says, read with bounds."""

import gzip
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.errors import Unprocessable
from chatwright.features.crawling import (
    CLOSED,
    OPEN,
    codec_of,
    is_index_wanted,
    is_same_site,
    links_of,
    may_be_document,
    normalise_address,
    read_robots,
    read_sitemap,
    site_of,
)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("HTTP://Example.COM", "http://example.com/"),
        ("https://example.com:443/a/../b/./c", "https://example.com/b/c"),
        ("http://example.com:8080/a#part", "http://example.com:8080/a"),
        ("https://example.com/a?utm_source=x&id=7&fbclid=1", "https://example.com/a?id=7"),
        ("https://example.com/a?b=1&a=2", "https://example.com/a?b=1&a=2"),
        ("https://example.com/a b/é", "https://example.com/a%20b/%C3%A9"),
        ("https://example.com/a%20b", "https://example.com/a%20b"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("http://[2001:DB8::1]:81/", "http://[2001:db8::1]:81/"),
        ("  https://example.com/x  ", "https://example.com/x"),
        ("https://example.com/../../x", "https://example.com/x"),
    ],
)
def test_one_page_has_one_address(written: str, normal: str) -> None:
    assert normalise_address(written) == normal
    assert normalise_address(normal) == normal


@pytest.mark.parametrize(
    "text",
    ["", "example.com", "ftp://example.com/", "http://", "http:///x", "http://a:b@example.com/", "file:///etc/passwd",
     "http://example.com:99999/", "https://example.com/" + "x" * 2_000, "javascript:alert(1)", "http://[::1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Unprocessable):
        normalise_address(text)


@given(st.text(alphabet="abc/.?&=%#é 0:@[]\\", max_size=60))
def test_normalising_is_done_once(rest: str) -> None:
    try:
        once = normalise_address(f"https://example.com/{rest}")
    except Unprocessable:
        return
    assert normalise_address(once) == once
    assert once.isascii()
    assert once.startswith("https://example.com/")


def test_sites_and_documents() -> None:
    assert is_same_site("https://www.example.com/a", "http://example.com/b")
    assert not is_same_site("https://docs.example.com/a", "https://example.com/")
    assert not is_same_site("http://example.com:81/", "http://example.com/")
    assert site_of("https://www.example.com/x") == "example.com"
    assert may_be_document("https://example.com/a.pdf")
    assert may_be_document("https://example.com/v1.2/page")
    assert not may_be_document("https://example.com/a.PNG")


ROBOTS = """\
# comment
User-agent: *
Disallow: /private
Allow: /private/open
Disallow: /*.pdf$
Disallow: /search?*page=
Crawl-delay: 2

User-agent: Chatwright
User-agent: other
Disallow: /only-us
Sitemap: https://example.com/map.xml

User-agent: noone
Disallow: /
"""


@pytest.mark.parametrize(
    ("agent", "path", "allowed"),
    [
        ("else/1.0", "/", True),
        ("else/1.0", "/private/x", False),
        ("else/1.0", "/private/open/x", True),
        ("else/1.0", "/a.pdf", False),
        ("else/1.0", "/a.pdf?x=1", True),
        ("else/1.0", "/search?q=1&page=2", False),
        ("else/1.0", "/search?q=1", True),
        ("chatwright", "/private/x", True),
        ("chatwright (+https://example.com)", "/only-us/too", False),
        ("Other/2", "/only-us", False),
        ("noone", "/x", False),
        ("noone", "/robots.txt", True),
    ],
)
def test_robots_rules(agent: str, path: str, allowed: bool) -> None:
    assert read_robots(ROBOTS, agent).allows(f"https://example.com{path}") is allowed


def test_robots_delay_sitemaps_and_extremes() -> None:
    everybody = read_robots(ROBOTS, "else")
    assert (everybody.delay_s, everybody.sitemaps) == (2.0, ("https://example.com/map.xml",))
    assert read_robots("User-agent: *\nCrawl-delay: 1e99\n", "x").delay_s == 30.0
    assert read_robots("User-agent: *\nCrawl-delay: soon\n", "x").delay_s == 0.0
    assert OPEN.allows("https://example.com/x")
    assert not CLOSED.allows("https://example.com/x")
    assert read_robots("Disallow: /\n", "x").allows("https://example.com/x"), "a rule of no group is nobody's"
    assert read_robots("User-agent: *\nDisallow:\n", "x").allows("https://example.com/x")
    assert not read_robots("User-agent: *\nDisallow: /caf%C3%A9\n", "x").allows("https://example.com/caf%c3%a9/a")


def test_robots_with_hostile_wildcards_is_read_quickly() -> None:
    robots = read_robots("User-agent: *\n" + f"Disallow: /{'*a' * 500}$\n" * 200, "x")
    started = time.perf_counter()
    assert robots.allows("https://example.com/" + "a" * 400 + "b")
    assert time.perf_counter() - started < 1.0


def sitemap(*addresses: str) -> bytes:
    inside = "".join(f"<url><loc> {address} </loc><lastmod>2026-01-01</lastmod></url>" for address in addresses)
    return (
        f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{inside}</urlset>'.encode()
    )


def test_a_sitemap_lists_pages() -> None:
    found = read_sitemap(sitemap("https://example.com/a?x=1&amp;y=2", "https://example.com/b"), at_most=10)
    assert found.pages == ("https://example.com/a?x=1&y=2", "https://example.com/b")
    assert (found.sitemaps, found.is_cut) == ((), False)
    assert read_sitemap(gzip.compress(sitemap("https://example.com/a")), at_most=10).pages == ("https://example.com/a",)


def test_an_index_lists_sitemaps_and_pictures_are_no_pages() -> None:
    index = b"<sitemapindex><sitemap><loc>https://example.com/1.xml</loc></sitemap></sitemapindex>"
    assert read_sitemap(index, at_most=10).sitemaps == ("https://example.com/1.xml",)
    pictures = (
        b'<urlset xmlns:i="http://www.google.com/schemas/sitemap-image/1.1"><url><loc>https://example.com/a</loc>'
        b"<i:image><i:loc>https://example.com/a.png</i:loc></i:image></url></urlset>"
    )
    assert read_sitemap(pictures, at_most=10).pages == ("https://example.com/a",)


def test_plain_text_is_a_sitemap_too_and_other_things_are_none() -> None:
    text = "\ufeffhttps://example.com/a\r\n\nhttps://example.com/b".encode()
    assert read_sitemap(text, at_most=10).pages == ("https://example.com/a", "https://example.com/b")
    for wrong in (b"", b"hello", b"<html><body>no</body></html>", b"<urlset><url>", b"\x1f\x8bnot gzip", b"{}"):
        with pytest.raises(Unprocessable):
            read_sitemap(wrong, at_most=10)


def test_more_than_wanted_is_cut() -> None:
    found = read_sitemap(sitemap(*(f"https://example.com/{place}" for place in range(50))), at_most=7)
    assert (len(found.pages), found.is_cut) == (7, True)


def test_a_bomb_is_not_unpacked() -> None:
    head = b"<urlset><url><loc>https://example.com/a</loc></url>"
    bomb = gzip.compress(head + b" " * (200 * 1024 * 1024), compresslevel=1)
    twice = gzip.compress(bomb)
    assert len(bomb) < 1_100_000
    started = time.perf_counter()
    with pytest.raises(Unprocessable, match="larger than 50 MiB"):
        read_sitemap(bomb, at_most=10)
    with pytest.raises(Unprocessable):
        read_sitemap(twice, at_most=10)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE u [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>',
        b'<!DOCTYPE u [<!ENTITY x SYSTEM "file:///etc/passwd">]><urlset><url><loc>&x;</loc></url></urlset>',
        b'<!DOCTYPE u [<!ENTITY % p SYSTEM "http://127.0.0.1/x.dtd"> %p;]><urlset></urlset>',
    ],
)
def test_entities_are_refused(document: bytes) -> None:
    with pytest.raises(Unprocessable, match="entities"):
        read_sitemap(document, at_most=10)


def test_nesting_is_bounded() -> None:
    with pytest.raises(Unprocessable):
        read_sitemap(b"<urlset>" + b"<a>" * 100_000, at_most=10)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for given_bytes in (
        content,
        b"<urlset>" + content,
        gzip.compress(content),
        b"\x1f\x8b\x08" + zlib.compress(content),
    ):
        try:
            read_sitemap(given_bytes, at_most=5)
        except Unprocessable:
            continue


PAGE = """<html><head><base href="/docs/"><title>t</title></head><body>
<a href="a.html">a</a> <A HREF='b?x=1&amp;y=2#part'>b</A> <a class=x href=c>c</a> <a href="a.html#twice">again</a>
<a href="mailto:x@example.com">m</a> <a href="javascript:void(0)">j</a> <a href="logo.png">p</a>
<a href="https://other.example/x" rel="nofollow">n</a> <a href="//other.example/y">o</a> <a href="#top">t</a>
<!-- <a href="hidden">h</a> --><script>var s = '<a href="scripted">';</script><a name="only">x</a>
</body></html>"""


def test_links_of_a_page() -> None:
    assert links_of(PAGE, "https://example.com/start?x=1") == [
        "https://example.com/docs/a.html",
        "https://example.com/docs/b?x=1&y=2",
        "https://example.com/docs/c",
        "https://other.example/y",
    ]
    assert links_of('<meta name="robots" content="noindex, nofollow"><a href="/x">x</a>', "https://example.com/") == []
    assert not is_index_wanted('<META NAME="robots" CONTENT="NOINDEX">')
    assert is_index_wanted('<meta name="description" content="noindex">')


@pytest.mark.parametrize(
    "page",
    ["<a " * 300_000, "<a href=" * 200_000, ("<a " + 'x="' * 900) * 300, "<!--" * 200_000, "<script>" * 100_000,
     ("<a " + "b-" * 1_900 + ">") * 200, "<a href='" + "x" * 1_000_000],
)  # fmt: skip
def test_no_page_holds_us(page: str) -> None:
    started = time.perf_counter()
    links_of(page, "https://example.com/")
    is_index_wanted(page)
    assert time.perf_counter() - started < 2.0


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "latin1", "windows-1252", "shift_jis", "gb18030", "koi8-r"])
def test_usual_charsets_are_known(charset: str) -> None:
    assert codec_of(charset) is not None


@pytest.mark.parametrize(
    "charset",
    [
        "punycode",
        "idna",
        "undefined",
        "utf-7",
        "unicode_escape",
        "rot13",
        "zlib",
        "nothing",
        "x" * 999,
        "a\0b",
        "",
        None,
    ],
)
def test_codecs_that_are_no_charsets_are_not_used(charset: str | None) -> None:
    """Some take hours for a large page, some raise errors of their own kind, one makes text of escapes."""
    assert codec_of(charset) is None
