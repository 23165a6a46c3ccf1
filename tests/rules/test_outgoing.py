"""The window over outgoing text: no address leads outside, no citation points at nothing, however the text is cut."""

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from chatwright.features.grounding import Outgoing, known_hosts

HOSTS = frozenset({"docs.example.com", "*.shop.example"})


def passed(text: str, *, sources: int = 2, pieces: int = 0) -> str:
    window = Outgoing(sources=sources, hosts=HOSTS)
    if not pieces:
        return window.feed(text) + window.finish()
    parts = [window.feed(text[at : at + pieces]) for at in range(0, len(text), pieces)]
    return "".join(parts) + window.finish()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It takes two days [1].", "It takes two days [1]."),
        ("It takes two days [3].", "It takes two days."),
        ("Both say so [1, 4][2].", "Both say so [1][2]."),
        ("As noted【2】 and [^7].", "As noted[2] and."),
        ("In [2024] the array[0] was full.", "In [2024] the array[0] was full."),
        ("See [the guide](https://docs.example.com/a?b=1).", "See [the guide](https://docs.example.com/a?b=1)."),
        ("See [the guide](/a/b#c).", "See [the guide](/a/b#c)."),
        ("See [it](https://evil.test/?q=secret).", "See [it] (evil.test)."),
        ("![pixel](https://evil.test/p.png?d=secret) done", "[pixel] (evil.test) done"),
        ("Go to https://evil.test/x?y=secret, now.", "Go to evil.test, now."),
        ("Go to https://eu.shop.example/cart now.", "Go to https://eu.shop.example/cart now."),
        ("<https://evil.test/secret>", "evil.test"),
        ('<img src="https://evil.test/secret">', '< img src="evil.test">'),
        ("[x]: https://evil.test/secret", "[x] : evil.test"),
        ("[x](//evil.test/secret)", "[x] (evil.test)"),
        ("[x](javascript:alert(1))", "[x] (address removed)"),
        ("[x](&#104;ttps://evil.test/secret)", "[x] (evil.test)"),
        ("[mail](mailto:help@example.com)", "[mail](mailto:help@example.com)"),
        ("Run `curl https://any.test/x` first.", "Run `curl https://any.test/x` first."),
        ("```sh\ncurl https://any.test/x\n```\n", "```sh\ncurl https://any.test/x\n```\n"),
        ("a < b and 1 <2", "a < b and 1 <2"),
        ("Half a tick ` and ![x](https://evil.test/s) ` more", "Half a tick ` and ![x](https://evil.test/s) ` more"),
        ("| ` | ![x](https://evil.test/s) | ` |", "| ` | [x] (evil.test) | ` |"),
        ("1. so\n   ```\n![x](https://evil.test/s)", "1. so\n   ```\n[x] (evil.test)"),
        # Backslashes go before a renderer looks at an address.
        ("[x](http\\:\\/\\/evil.test/?q=secret)", "[x] (evil.test)"),
        ("[x](http\\:evil.test)", "[x] (address removed)"),
        ("[x](javascript\\:alert(1))", "[x] (address removed)"),
        ("[x]: <\\/\\/evil.test>", "[x] : evil.test"),
        ("http:\\/\\/evil.test/?q=secret", "evil.test"),
        # As do character references, for renderers that make links of text.
        ("http&#58;&sol;&#x2f;evil.test", "http&amp;#58;&amp;sol;&amp;#x2f;evil.test"),
        ("fish &amp; chips &lt; &nbsp;2 &copy;", "fish &amp; chips &lt; &nbsp;2 &copy;"),
        ("WWW.evil.test/secret", "evil.test"),
        # A definition goes on behind a quotation's mark, and is read before code is.
        ("> [x]:\n> &#47;&#47;evil.test\n\n[x]", "> [x] : evil.test\n\n[x]"),
        ("[`]: http://evil.test '`'\n\n[`]", "[`] : evil.test '`'\n\n[`]"),
        # Lines end in three ways, and some renderers let other marks end code.
        ("```\na\n```\r\n![x](http://evil.test)", "```\na\n```\n[x] (evil.test)"),
        ("```\na\r```\r![x](http://evil.test)", "```\na\n```\n[x] (evil.test)"),
        ("```\na\n```~\n![x](http://evil.test)", "```\na\n```~\n[x] (evil.test)"),
        ("```\na\n```\t\n```\n![x](http://evil.test)", "```\na\n```\t\n```\n[x] (evil.test)"),
        ("one\r\n\r\ntwo", "one\n\ntwo"),
    ],
)
def test_each_construct(text: str, expected: str) -> None:
    assert passed(text) == expected
    for pieces in (1, 2, 3, 5, 7):
        assert passed(text, pieces=pieces) == expected, pieces


def test_prose_is_not_held() -> None:
    """A word waits for what may follow it, nothing waits longer."""
    window = Outgoing(sources=2, hosts=HOSTS)
    shown = ""
    for word in ("Delivery ", "takes ", "two ", "days, ", "and `code` ", "is ", "kept ", "as it ", "is. "):
        shown += window.feed(word)
    assert shown == "Delivery takes two days, and `code` is kept as it is."
    assert window.finish() == " "


def test_what_never_closes_is_let_go_without_its_power() -> None:
    window = Outgoing(sources=0, hosts=frozenset())
    shown = window.feed("[x](https://evil.test/" + "a" * 5_000)
    assert len(shown) > 0
    assert "https://" not in shown + window.finish()


@pytest.mark.parametrize("begun", ["[x](", "[x]:", "[x]:\n"])
def test_what_is_held_is_read_in_few_steps(begun: str) -> None:
    """White space behind half a link cost a minute for each piece of text, on the loop that all tenants share."""
    window = Outgoing(sources=0, hosts=frozenset())
    window.feed(begun + " " * 2_000)
    assert "evil.test/s" not in window.feed("http\\:evil.test/s)") + window.finish()


def test_a_definition_that_is_let_go_has_no_power() -> None:
    window = Outgoing(sources=0, hosts=frozenset())
    shown = window.feed("[x]:" + " " * 3_000) + window.feed("http\\:evil.test/s") + window.finish()
    assert "]:" not in shown


_NASTY = st.sampled_from(
    [
        "`",
        "``",
        "\r",
        "\r\n",
        "```~",
        "]:\n> ",
        "http\\:\\/\\/evil.test/s",
        "http\\:evil.test/s",
        "\\/\\/evil.test",
        "```",
        "```sh",
        "~~~",
        "\n",
        "\n\n",
        "\n```\n",
        "\n~~~\n",
        "\n> ```\n",
        "\n- ",
        "\n1. ",
        "    ",
        "   ",
        " ",
        "\t",
        "\\",
        "|",
        "!",
        "[",
        "]",
        "(",
        ")",
        "](",
        "]: ",
        "![",
        "[x]",
        "[1]",
        "[9]",
        "[2, 7]",
        "<",
        ">",
        "</",
        "<!--",
        "<img src=",
        '"',
        "&",
        "&#47;",
        "&#104;",
        "https://evil.test/s",
        "http://evil.test",
        "//evil.test/s",
        "www.evil.test",
        "/\\evil.test",
        "javascript:x",
        "data:text/html,x",
        "ftp://evil.test",
        "https://docs.example.com/ok",
        "/page",
        "#a",
        "a",
        "word",
        ".",
        ":",
        "*",
        "_",
        "[x](https://evil.test/s)",
        "![x](//evil.test/s)",
        "[x]: //evil.test",
    ]
)
_TEXTS = st.lists(_NASTY, max_size=24).map("".join)


_TAME = st.sampled_from(
    [
        "word",
        " ",
        "\n",
        "\n\n",
        ". ",
        "[1]",
        " [9].",
        "[2, 7]",
        "`a b`",
        "\n```\ncode https://evil.test\n```\n",
        "a < b",
        "!",
        "(so)",
        "[x](https://evil.test/s)",
        "![x](//evil.test/s)",
        "https://evil.test/s ",
        "https://docs.example.com/ok ",
        "[x](/page)",
        "- ",
        "*b*",
    ]
)


@given(st.lists(_TAME, max_size=24).map("".join), st.integers(1, 9))
def test_pieces_do_not_matter(text: str, pieces: int) -> None:
    assert passed(text, pieces=pieces) == passed(text)


@given(_TEXTS, st.integers(0, 9))
@example("``![x](https://evil.test/s)`b`", 0)
@example("`a\nb` ![x](https://evil.test/s) `", 0)
@example("\\`![x](https://evil.test/s)`", 0)
@example("~~~\n```\n~~~\n![x](https://evil.test/s)", 0)
@example("  ```\n```\n![x](https://evil.test/s)", 0)
@example("> ```\n![x](https://evil.test/s)", 0)
@example("````\n```\n![x](https://evil.test/s)\n````\n![x](https://evil.test/s)", 0)
def test_nothing_leads_outside_once_rendered(text: str, pieces: int) -> None:
    """The oracle is a real Markdown renderer that lets raw HTML through and makes links of bare addresses."""
    out = passed(text, pieces=pieces)
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(out)
    for attribute, address in re.findall(r"<(?:a|img)\b[^>]*?(href|src)=\"([^\"]*)\"", rendered):
        plain = address.replace("\\", "/")
        host = urlsplit(plain).hostname or ""
        assert host in {"", "docs.example.com"}, (attribute, address, out)
        assert not plain.casefold().startswith(("javascript:", "data:", "ftp:")), (attribute, address, out)
    without_code = re.sub(r"<code.*?</code>", "", rendered, flags=re.DOTALL)
    for address in re.findall(r"(?:https?|ftp)://[^\s<>\"]+", without_code):
        assert urlsplit(address).hostname == "docs.example.com", (address, out)


@given(_TEXTS, st.integers(0, 9))
def test_every_citation_left_names_a_source(text: str, sources: int) -> None:
    prose = text.replace("`", "").replace("~", "")
    shown = passed(prose, sources=sources)
    for match in re.finditer(r"\[(\d{1,2})\](?! ?[(:])", shown):
        assert int(match[1]) <= sources or int(match[1]) == 0, shown


def test_known_hosts() -> None:
    hosts = known_hosts(
        ["https://www.Docs.example.com/a", None, "not an address"],
        ["Write to https://pay.test/x)."],
        [" *.Shop.example "],
    )
    assert hosts == {"docs.example.com", "pay.test", "*.shop.example"}
