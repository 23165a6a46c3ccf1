"""Chunking: nothing is lost, bounds hold, structure and citations are right, hostile input ends soon."""

import itertools
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.domain.errors import Unprocessable, UnsupportedMediaType
from chatwright.domain.language import content_words, split_sentences, stem
from chatwright.features.knowledge.chunking import Chunk, chunk_document, document_title, slug

MAX_TOKENS, MAX_CHARACTERS = 24, 200


def count(text: str) -> int:
    """A stand-in for the tokenizer: words, the long ones in parts of 6 characters. Additive over white space."""
    return sum(-(-len(word) // 6) for word in text.split())


def chunks_of(text: str, media_type: str = "text/plain", *, title: str = "") -> list[Chunk]:
    return chunk_document(text, media_type, count, title=title, max_tokens=MAX_TOKENS, max_characters=MAX_CHARACTERS)


def squeezed(text: str) -> str:
    return "".join(text.split())


def without_overlap(chunks: list[Chunk]) -> str:
    return squeezed("".join(chunk.text[chunk.overlap :] for chunk in chunks))


def is_subsequence(needles: list[str], text: str) -> bool:
    position = 0
    for needle in needles:
        found = text.find(needle, position)
        if found < 0:
            return False
        position = found + len(needle)
    return True


prose = st.text(alphabet=st.sampled_from("abcdefgh ABC.!? ,;\n()\"'123é知。"), max_size=900)


@given(text=st.one_of(prose, st.text(max_size=300)))
def test_plain_text_loses_nothing_and_repeats_only_the_overlap(text: str) -> None:
    chunks = chunks_of(text)
    controls = "".join(chr(code) for code in [*range(32), 0x7F, 0xFEFF])
    kept = squeezed(text.translate({ord(control): " " for control in controls} | {0xFEFF: "", 0: ""}))
    assert without_overlap(chunks) == kept


@given(
    text=st.one_of(prose, st.text(max_size=600)),
    media_type=st.sampled_from(["text/plain", "text/markdown", "text/html"]),
)
def test_bounds_hold_and_the_result_is_deterministic(text: str, media_type: str) -> None:
    chunks = chunks_of(text, media_type)
    assert chunks == chunks_of(text, media_type)
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert chunk.text.strip()
        assert chunk.tokens == count(chunk.text) <= MAX_TOKENS
        assert len(chunk.text) <= MAX_CHARACTERS
        assert 0 <= chunk.overlap < len(chunk.text)
        assert len(chunk.content_hash) == 32


sentence = st.lists(
    st.sampled_from(["alpha", "bravo", "charlie", "delta", "echo", "foxtrot"]), min_size=2, max_size=9
).map(lambda words: " ".join(words).capitalize() + ".")


@given(paragraphs=st.lists(st.lists(sentence, min_size=1, max_size=6), min_size=1, max_size=6))
def test_sentences_stay_whole_and_the_overlap_is_the_last_sentence(paragraphs: list[list[str]]) -> None:
    chunks = chunks_of("\n\n".join(" ".join(paragraph) for paragraph in paragraphs))
    sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
    found = [
        piece for chunk in chunks for line in chunk.text[chunk.overlap :].split("\n") for piece in split_sentences(line)
    ]
    assert found == sentences
    for before, chunk in itertools.pairwise(chunks):
        assert chunk.text[: chunk.overlap] in {"", split_sentences(before.text.split("\n")[-1])[-1]}


@st.composite
def markdown_documents(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A Markdown text of every kind of block, and its words in reading order."""
    serial = 0
    words: list[str] = []

    def fresh(most: int) -> str:
        nonlocal serial
        new = [f"w{serial + offset}x" for offset in range(draw(st.integers(1, most)))]
        serial += len(new)
        words.extend(new)
        return " ".join(new)

    parts: list[str] = []
    for kind in draw(
        st.lists(st.sampled_from(["heading", "prose", "list", "numbers", "code", "table", "quote"]), max_size=8)
    ):
        match kind:
            case "heading":
                parts.append("#" * draw(st.integers(1, 6)) + " " + fresh(4))
            case "prose":
                parts.append(f"{fresh(30)}. **{fresh(2)}** and `{fresh(2)}`.\n{fresh(9)}.")
            case "list":
                parts.append(
                    "\n".join(f"{'  ' * draw(st.integers(0, 1))}- {fresh(8)}" for _ in range(draw(st.integers(1, 9))))
                )
            case "numbers":
                parts.append("\n".join(f"{number + 3}. {fresh(8)}" for number in range(draw(st.integers(1, 5)))))
            case "code":
                parts.append(
                    "```python\n" + "\n".join(f"    {fresh(5)}" for _ in range(draw(st.integers(1, 9)))) + "\n```"
                )
            case "table":
                rows = [f"| {fresh(1)} | {fresh(2)} |", "| --- | --- |"]
                rows += [f"| {fresh(2)} | {fresh(6)} |" for _ in range(draw(st.integers(0, 6)))]
                parts.append("\n".join(rows))
            case _:
                parts.append("> " + fresh(9))
        parts.append("<!-- between -->")  # keeps a list and the block after it apart
    return "\n\n".join(parts), words


@given(document=markdown_documents())
def test_markdown_keeps_every_word_in_order(document: tuple[str, list[str]]) -> None:
    text, words = document
    seen = " ".join(f"{chunk.heading} {chunk.text[chunk.overlap :]}" for chunk in chunks_of(text, "text/markdown"))
    headings_and_text: list[str] = []
    last_heading = ""
    for chunk in chunks_of(text, "text/markdown"):
        if chunk.heading != last_heading:
            headings_and_text.append(chunk.heading)
            last_heading = chunk.heading
        headings_and_text.append(chunk.text[chunk.overlap :])
    assert is_subsequence(words, " ".join(headings_and_text)), seen


def test_markdown_structure_becomes_headings_anchors_and_readable_parts() -> None:
    text = """---
title: The manual
---
# The manual

Intro with a [link](https://example.org/x) and ![a badge](https://example.org/b.svg).

## Set up

Run it:

```sh
make up

make test
```

## Set up

- one
  - inner
- two

| Name | Age |
| ---- | --- |
| Bob  | 3   |
"""
    title = document_title(text, "text/markdown", "x.md")
    assert title == "The manual"
    chunks = chunk_document(text, "text/markdown", count, title=title)
    assert [(chunk.heading, chunk.anchor) for chunk in chunks] == [
        ("", "the-manual"),
        ("Set up", "set-up"),
        ("Set up", "set-up-1"),
    ]
    assert chunks[0].text == "Intro with a [link](https://example.org/x) and a badge."
    assert chunks[0].embedding_text == "The manual\nIntro with a link and a badge."
    assert chunks[1].text == "Run it:\n\n```sh\nmake up\n\nmake test\n```"
    assert chunks[2].text == "- one\n  - inner\n- two\n\n| Name | Age |\n| --- | --- |\n| Bob | 3 |"


def test_a_long_table_repeats_its_header_and_long_code_its_fence() -> None:
    rows = "\n".join(f"| row{n} | some value {n} |" for n in range(20))
    tables = chunks_of(f"| Name | Value |\n| - | - |\n{rows}", "text/markdown")
    assert len(tables) > 2
    assert all(chunk.text.startswith("| Name | Value |\n| --- | --- |\n| row") for chunk in tables)
    code = chunks_of("```py\n" + "\n".join(f"call_{n}(argument, {n})" for n in range(30)) + "\n```", "text/markdown")
    assert len(code) > 2
    assert all(chunk.text.startswith("```py\ncall_") and chunk.text.endswith(")\n```") for chunk in code)


def test_html_keeps_the_body_and_drops_the_boilerplate() -> None:
    page = """<html><head><title> Docs &amp; more </title><style>p{}</style></head><body>
    <header>Site</header><nav><a href=/>Home</a></nav>
    <main><h1>Docs</h1><p>First <b>bold</b> text.<br>Then <code>make up</code>.</p><script>var hidden = 1</script>
    <h2 id="custom">Steps</h2><ol start="3"><li>third<ul><li>inner</li></ul></li><li>fourth</li></ol>
    <pre><code>def f():
        return 1</code></pre>
    <table><thead><tr><th>Name</th><th>Age</th></tr></thead><tbody><tr><td>Bob</td><td>3</td></tr></tbody></table>
    <aside>Advert</aside><form>Subscribe</form></main><footer>(c) Site</footer></body></html>"""
    assert document_title(page, "text/html; charset=utf-8") == "Docs & more"
    first, steps = chunk_document(page, "text/html", count, title="Docs")
    assert (first.heading, first.anchor, first.text) == ("", "docs", "First bold text. Then `make up`.")
    assert (steps.heading, steps.anchor) == ("Steps", "custom")
    assert steps.text == (
        "3. third\n  - inner\n4. fourth\n\n```\ndef f():\n        return 1\n```\n\n| Name | Age |\n| --- | --- |\n| Bob | 3 |"
    )


@pytest.mark.parametrize(
    ("text", "media_type", "filename", "title"),
    [
        ("# A *fine* `title`\n\ntext", "text/markdown", "a.md", "A fine title"),
        ("text\n\n## Second\n", "text/markdown", "a.md", "Second"),
        (
            "no heading here, only text that goes on.",
            "text/markdown",
            "docs/getting-started_now.md",
            "Getting started now",
        ),
        ("Release notes\n\nFirst.", "text/plain", "", "Release notes"),
        ("A sentence.", "text/plain", "C:\\docs\\about us.txt", "About us"),
        ("", "text/html", "", "Untitled"),
        ("<h1>From the page</h1>", "text/html", "x.html", "From the page"),
    ],
)
def test_titles(text: str, media_type: str, filename: str, title: str) -> None:
    assert document_title(text, media_type, filename) == title


def test_a_document_of_headings_alone_is_not_lost() -> None:
    assert [(c.heading, c.text) for c in chunks_of("# One\n\n## Two\n\n# Three\n", "text/markdown")] == [
        ("One › Two", "Two"),
        ("Three", "Three"),
    ]


def test_unchanged_passages_keep_their_hash_and_a_new_title_changes_it() -> None:
    before = chunks_of("# A\n\nalpha text.\n\n# B\n\nbravo text.", "text/markdown")
    after = chunks_of("# A\n\nalpha text.\n\n# B\n\nother text.", "text/markdown")
    assert before[0].content_hash == after[0].content_hash
    assert before[1].content_hash != after[1].content_hash
    assert chunks_of("# A\n\nalpha text.", "text/markdown", title="T")[0].content_hash != before[0].content_hash


def test_nul_goes_and_lone_surrogates_are_replaced() -> None:
    (chunk,) = chunks_of("a\x00b \ud800 c\x07d\r\ne")
    assert chunk.text == "ab ��� c d\ne"
    chunk.text.encode()


HOSTILE_SIZE = 300_000
HOSTILE = {
    "one character": "a" * HOSTILE_SIZE,
    "dots": "." * HOSTILE_SIZE,
    "brackets": "[" * HOSTILE_SIZE,
    "quotes": ">" * HOSTILE_SIZE,
    "images": "![" * (HOSTILE_SIZE // 2),
    "bars": "|" * HOSTILE_SIZE,
    "new lines": "\n" * HOSTILE_SIZE,
    "surrogates": "\ud800" * HOSTILE_SIZE,
    "months": "3. Januar " * (HOSTILE_SIZE // 10),
    "heading": "# " + "long heading " * (HOSTILE_SIZE // 13),
    "front matter": "---\n" + "a: b\n" * (HOSTILE_SIZE // 5),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("media_type", ["text/plain", "text/markdown"])
def test_hostile_text_ends_soon(name: str, media_type: str) -> None:
    started_s = time.perf_counter()
    chunks = chunk_document(HOSTILE[name], media_type, count)
    document_title(HOSTILE[name], media_type)
    assert time.perf_counter() - started_s < 8
    assert all(len(chunk.text) <= 2_000 and chunk.tokens <= 200 for chunk in chunks)


@pytest.mark.parametrize("page", ["<b>" * 50_000, "<p><li><td>" * 30_000, "&amp;" * 60_000, "<" * HOSTILE_SIZE])
def test_hostile_html_ends_soon(page: str) -> None:
    started_s = time.perf_counter()
    try:
        chunk_document(page, "text/html", count)
    except Unprocessable:
        assert "<b>" in page
    assert time.perf_counter() - started_s < 8


def test_html_nested_too_deep_is_refused_with_a_reason() -> None:
    with pytest.raises(Unprocessable, match="elements deep"):
        chunk_document("<div>" * 100_000, "text/html", count)
    assert chunk_document("<div>" * 1_000 + "fine", "text/html", count)[0].text == "fine"


def test_other_media_types_and_tiny_bounds_are_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="application/pdf"):
        chunks_of("x", "application/pdf")
    with pytest.raises(ValueError, match="at least"):
        chunk_document("x", "text/plain", count, max_tokens=3)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It runs. chatwright starts it.", ["It runs.", "chatwright starts it."]),
        ("See e.g. the docs, v. 1.2 of Node.js. Fine!", ["See e.g. the docs, v. 1.2 of Node.js.", "Fine!"]),
        ('Dr. Smith said "Yes." Then left.', ['Dr. Smith said "Yes."', "Then left."]),
        ("1. Do this. 2. Do that.", ["1. Do this.", "2. Do that."]),
        ("Am 3. Oktober war es. Gut.", ["Am 3. Oktober war es.", "Gut."]),
        (
            'Trade the id (`cw_…`) for a "why?" or not. Yes. it works.',
            ['Trade the id (`cw_…`) for a "why?" or not.', "Yes.", "it works."],
        ),
        ("知识库。很好！", ["知识库。", "很好！"]),
        ("Wait... what? Yes!", ["Wait...", "what?", "Yes!"]),
    ],
)
def test_sentence_ends(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@given(text=st.text(max_size=400))
def test_sentences_hold_every_character_but_space(text: str) -> None:
    assert squeezed("".join(split_sentences(text))) == squeezed(text)


def test_stems_meet() -> None:
    for group in ("limit limits limited limiting", "retry retries retried", "answer answers answered", "query queries"):
        assert len({stem(word) for word in group.split()}) == 1
    assert content_words("How do I configure the OPENAI_API_KEY?") == ["configur", "openai", "api", "key"]


def test_slugs_are_those_of_common_site_generators() -> None:
    assert slug("1. What's `new` in 3.2?") == "1-whats-new-in-32"
    assert slug("Über uns") == "über-uns"


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_shuffled_markdown_marks_never_break_it(seed: int) -> None:
    rng = random.Random(seed)
    marks = [
        "# ",
        "- ",
        "1. ",
        "```\n",
        "|a|b|\n|-|-|\n",
        "\n\n",
        "> ",
        "<div>",
        "</div>",
        "text. ",
        "    ",
        "***",
        "[x](y)",
        "\t",
    ]
    text = "".join(rng.choice(marks) for _ in range(300))
    for media_type in ("text/markdown", "text/html", "text/plain"):
        for chunk in chunks_of(text, media_type):
            assert chunk.tokens <= MAX_TOKENS
            assert len(chunk.text) <= MAX_CHARACTERS
