"""Chunks of extracts: pages, anchors, languages, questions with their answers, scripts without spaces."""

import itertools
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.documents import Block, Extract
from chatwright.features.knowledge.chunking import Chunk, chunk_document, chunk_extract, extract_title

MAX_TOKENS, MAX_CHARACTERS = 24, 200


def count(text: str) -> int:
    """A stand-in for the tokenizer: a token for each Thai or Chinese character, words in parts of 6 characters."""
    return sum(
        len(run) if is_wide else -(-len(run) // 6)
        for word in text.split()
        for is_wide, letters in itertools.groupby(word, lambda letter: letter >= "\u0e00")
        for run in ["".join(letters)]
    )


def chunks_of(*blocks: Block, language: str | None = None, title: str = "") -> list[Chunk]:
    extract = Extract(title="", blocks=blocks, language=language)
    return chunk_extract(extract, count, title=title, max_tokens=MAX_TOKENS, max_characters=MAX_CHARACTERS)


def prose(text: str, *, page: int | None = None, question: str | None = None) -> Block:
    return Block(kind="prose", text=text, page=page, question=question)


def heading(text: str, level: int = 2, *, anchor: str | None = None, page: int | None = None) -> Block:
    return Block(kind="heading", text=text, level=level, anchor=anchor, page=page)


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_a_chunk_knows_the_page_where_it_begins() -> None:
    long = "One two three four five six seven eight. " * 4
    chunks = chunks_of(
        heading("Start", page=1, anchor=""), prose(long, page=1), prose(long, page=2), prose("End.", page=3)
    )
    assert [chunk.page for chunk in chunks] == [1, 1, 2]
    assert {chunk.anchor for chunk in chunks} == {None}


def test_anchors_are_made_of_headings_only_where_the_format_has_some() -> None:
    made, none, own = (
        chunks_of(heading("A heading", anchor=anchor), prose("Text."))[0].anchor for anchor in (None, "", "x")
    )
    assert (made, none, own) == ("a-heading", None, "x")


def test_one_chunk_for_each_question_led_by_it() -> None:
    chunks = chunks_of(
        heading("Payment"),
        prose("Yes.", question="Can I pay by card?"),
        Block(kind="item", text="Visa", mark="-", question="Can I pay by card?"),
        prose("No.", question="In cash?"),
        prose("Afterwards."),
        title="FAQ",
    )
    assert [(chunk.question, chunk.text, chunk.heading) for chunk in chunks] == [
        ("Can I pay by card?", "Can I pay by card?\nYes.\n- Visa", "Payment"),
        ("In cash?", "In cash?\nNo.", "Payment"),
        (None, "Afterwards.", "Payment"),
    ]
    assert chunks[0].embedding_text == "FAQ › Payment\nCan I pay by card?\nYes.\n- Visa"


def test_a_long_answer_repeats_its_question() -> None:
    answer = " ".join(f"Sentence number {number} of it." for number in range(12))
    chunks = chunks_of(prose(answer, question="Why is it so?"))
    assert len(chunks) > 2
    assert all(chunk.text.startswith("Why is it so?\n") and chunk.question == "Why is it so?" for chunk in chunks)
    assert squeezed("".join(chunk.text[chunk.overlap :] for chunk in chunks)) == squeezed("Why is it so?" + answer)


def test_a_question_too_long_to_repeat_is_text() -> None:
    question = "word " * 20 + "?"
    chunks = chunks_of(prose("Yes.", question=question))
    assert squeezed("".join(chunk.text[chunk.overlap :] for chunk in chunks)) == squeezed(question + "Yes.")
    assert {chunk.question for chunk in chunks} == {None}


def test_a_heading_that_asks_is_a_question_whose_text_is_the_answer() -> None:
    text = "# Help\n\n## Can I return it?\n\nYes.\n\n### How?\n\nBy post.\n\n## Notes\n\nNone.\n"
    chunks = chunk_document(text, "text/markdown", count, title="Help", max_tokens=MAX_TOKENS)
    assert [(chunk.question, chunk.heading, chunk.text) for chunk in chunks] == [
        ("Can I return it?", "Can I return it?", "Yes."),
        (None, "Can I return it? › How?", "By post."),
        (None, "Notes", "None."),
    ]
    assert chunks[0].embedding_text == "Help › Can I return it?\nYes."


def test_a_chunks_language_is_its_own_or_the_documents() -> None:
    german = "Die Rückgabe ist innerhalb von dreißig Tagen möglich, wenn die Ware nicht benutzt wurde."
    chunks = chunks_of(heading("A"), prose(german), heading("B"), prose("XK-400"), language="fr")
    assert {chunk.language for chunk in chunks if chunk.heading == "A"} == {"de"}
    assert [chunk.language for chunk in chunks if chunk.heading == "B"] == ["fr"]


def test_chinese_sentences_stay_whole_and_get_no_spaces() -> None:
    text = "商品可以在三十天内退货。退货时请出示发票。运费由买方承担，除非商品有缺陷。退款会在七天内到账。"
    chunks = chunks_of(prose(text))
    assert len(chunks) > 1
    assert all(chunk.tokens <= MAX_TOKENS and chunk.text.endswith("。") and " " not in chunk.text for chunk in chunks)


def test_a_sentence_without_spaces_is_cut_at_its_pauses() -> None:
    text = "第一部分说明产品的安装方法，" * 4 + "到此为止。"
    chunks = chunks_of(prose(text))
    assert all(chunk.text[-1] in "，。" for chunk in chunks)
    assert "".join(chunk.text[chunk.overlap :] for chunk in chunks) == text


def test_thai_is_never_cut_between_a_letter_and_its_marks() -> None:
    text = "สินค้าสามารถคืนได้ภายในสามสิบวันนับจากวันที่ซื้อหากยังไม่ได้ใช้งานและมีใบเสร็จรับเงิน" * 4
    chunks = chunks_of(prose(text))
    assert "".join(chunk.text[chunk.overlap :] for chunk in chunks) == text
    assert len(chunks) > 3
    for chunk in chunks:
        assert chunk.tokens <= MAX_TOKENS
        assert not unicodedata.category(chunk.text[0]).startswith("M")
        assert chunk.text[-1] not in "เแโใไ"


alphabet = st.sampled_from("abc ABC.!?, \n12é知道。，？ทเดี้한글ا")
texts = st.text(alphabet, min_size=1, max_size=120).filter(lambda text: bool(text.strip()))
blocks = st.builds(
    Block,
    kind=st.sampled_from(["prose", "item", "code", "table"]),
    text=texts,
    mark=st.sampled_from(["", "-"]),
    page=st.integers(1, 9),
    question=st.one_of(st.none(), st.sampled_from(["Why?", "What is it, and where?", "w " * 40 + "?"])),
)


@given(content=st.lists(blocks, max_size=12))
def test_no_character_is_lost_and_bounds_hold(content: list[Block]) -> None:
    chunks = chunks_of(*content)
    for chunk in chunks:
        assert chunk.tokens == count(chunk.text) <= MAX_TOKENS
        assert len(chunk.text) <= MAX_CHARACTERS
        assert 0 <= chunk.overlap < len(chunk.text)
    found = squeezed("".join(chunk.text[chunk.overlap :] for chunk in chunks))
    position = 0
    for block in content:
        for letter in squeezed(block.text):
            position = found.find(letter, position) + 1
            assert position > 0, (letter, block, found)


def test_a_title_is_the_documents_own_or_its_first_heading_or_its_name() -> None:
    blocks = (prose("Text."), heading("Second"), heading("First", 1))
    assert extract_title(Extract(title=" Own  title ", blocks=blocks)) == "Own title"
    assert extract_title(Extract(title="", blocks=blocks), "a.pdf") == "First"
    assert extract_title(Extract(title="", blocks=blocks[:1]), "our_price-list.pdf") == "Our price list"
    assert extract_title(Extract(title="", blocks=())) == "Untitled"
