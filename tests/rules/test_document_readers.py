"""Readers of every format: headings, lists, tables and pages come out in order; what belongs to no text does not."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.adapters.documents.limits import ExtractLimits, Notes
from chatwright.adapters.documents.reading import read_blocks
from chatwright.adapters.documents.sniff import Kind, sniff
from chatwright.domain.documents import Block
from chatwright.domain.errors import BadRequest, PayloadTooLarge, Unprocessable, UnsupportedMediaType
from tests.documents import writers
from tests.documents.writers import docx, epub, lines, paragraph, pdf, pptx, shape, slide_table, table, xlsx


def read(
    folder: Path, data: bytes | str, name: str = "", *, media_type: str = "", limits: ExtractLimits | None = None
) -> tuple[list[Block], Notes]:
    path = folder / "document"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    notes = Notes()
    blocks = read_blocks(path, media_type=media_type, name=name, limits=limits or ExtractLimits(), notes=notes)
    return list(blocks), notes


def shown(blocks: Sequence[Block]) -> list[str]:
    """Blocks in a short form: # for headings, their marks for items, | for tables, code as it is."""
    return [
        {"heading": "#" * block.level + " ", "item": "  " * block.level + block.mark + " "}.get(block.kind, "")
        + block.text
        for block in blocks
    ]


# --- PDF --------------------------------------------------------------------------------------------------------------

LOREM = "The warranty covers all parts of the machine for two years from the day of sale, wherever it was bought"


def test_a_pdf_becomes_headings_paragraphs_and_items_with_their_pages(tmp_path: Path) -> None:
    first = [
        (72, 720, 20, "F1", "Handbook"),
        *[(72, 690 - 14 * at, 11, "F1", text) for at, text in enumerate([LOREM, "and by whom. It ends early if"])],
        (72, 640, 11, "F2", "What to do"),
        (72, 612, 11, "F1", "• Keep the bill."),
        (72, 598, 11, "F1", "• Call us."),
    ]
    second = lines([LOREM + ".", "Second line of the second page."])
    blocks, notes = read(tmp_path, pdf([first, second], title="Handbook of the machine"))
    assert shown(blocks) == [
        "# Handbook",
        f"{LOREM} and by whom. It ends early if",
        "#### What to do",
        "- Keep the bill.",
        "- Call us.",
        f"{LOREM}. Second line of the second page.",
    ]
    assert [block.page for block in blocks] == [1, 1, 1, 1, 1, 2]
    assert all(block.anchor == "" for block in blocks if block.kind == "heading")
    assert (notes.title, notes.pages, notes.language) == ("Handbook of the machine", 2, "en")


def test_a_paragraph_goes_on_over_a_pages_end_and_a_broken_word_is_joined(tmp_path: Path) -> None:
    pages = [
        lines([LOREM, "and it is not trans-"]),
        lines(["ferable to others, unless we agree to it in a letter of our own that says so in full."]),
    ]
    blocks, _ = read(tmp_path, pdf(pages))
    assert len(blocks) == 1
    assert "not transferable to others" in blocks[0].text


def test_running_headers_footers_and_page_numbers_fall(tmp_path: Path) -> None:
    pages = [
        [
            (72, 760, 9, "F1", "ACME confidential"),
            (72, 700, 11, "F1", f"Chapter text number {number} says something of its own."),
            (72, 40, 9, "F1", f"Page {number} of 20"),
        ]
        for number in range(1, 21)
    ]
    blocks, _ = read(tmp_path, pdf(pages))
    assert shown(blocks) == [f"Chapter text number {number} says something of its own." for number in range(1, 21)]


def test_what_stands_on_two_pages_only_is_no_header(tmp_path: Path) -> None:
    pages = [lines(["Appendix", f"Text {number}, which differs."]) for number in range(2)]
    blocks, _ = read(tmp_path, pdf(pages))
    assert " ".join(shown(blocks)).count("Appendix") == 2


def test_a_pdf_with_nuls_gives_text_without(tmp_path: Path) -> None:
    content = "BT /F1 11 Tf 1 0 0 1 72 700 Tm (Good\\000 words\\000 here, and enough of them.) Tj ET"
    blocks, _ = read(tmp_path, writers.pdf_of([content], title="A\0B"))
    assert "Good" in blocks[0].text
    assert all("\0" not in block.text for block in blocks)


def test_a_pdf_of_pictures_says_so(tmp_path: Path) -> None:
    picture = "q 100 0 0 100 72 600 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x00 EI Q"
    with pytest.raises(Unprocessable, match="text recognition"):
        read(tmp_path, writers.pdf_of([picture, picture]))
    _, notes = read(tmp_path, writers.pdf_of([picture, "BT /F1 11 Tf 72 700 Td (Some words of text.) Tj ET", picture]))
    assert notes.warnings == ["no text on pages 1, 3; pictures of text need text recognition (OCR) first"]


def test_too_many_pages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PayloadTooLarge, match="4 pages, at most 3"):
        read(tmp_path, pdf([lines(["x"])] * 4), limits=ExtractLimits(max_pages=3))


def test_a_protected_pdf_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unprocessable, match="password"):
        read(tmp_path, (Path(__file__).parents[1] / "documents" / "protected.pdf").read_bytes())


# --- Word -------------------------------------------------------------------------------------------------------------


def test_a_word_document_keeps_its_structure(tmp_path: Path) -> None:
    body = (
        paragraph("Returns", style="Heading1")
        + paragraph("Contents ........ 3", style="Toc")
        + paragraph("Goods can be returned.")
        + paragraph("Within 30 days", style="Own")
        + paragraph("Pack it", numbering=(7, 0))
        + paragraph("well", numbering=(7, 1))
        + paragraph("Send it", numbering=(7, 0))
        + table([["Country", "Price"], ["Chile", "4 | 5"]])
        + paragraph("a = 1", style="Code")
        + paragraph("b = 2", style="Code")
        + paragraph("The end.")
    )
    blocks, notes = read(tmp_path, docx(body, title="Our rules"))
    assert shown(blocks) == [
        "# Returns",
        "Goods can be returned.",
        "## Within 30 days",
        "1. Pack it",
        "  - well",
        "2. Send it",
        "| Country | Price |\n| --- | --- |\n| Chile | 4 \\| 5 |",
        "a = 1\nb = 2",
        "The end.",
    ]
    assert notes.title == "Our rules"


def test_deleted_hidden_and_doubled_text_of_word_falls_and_boxes_and_links_stay(tmp_path: Path) -> None:
    body = (
        "<w:p><w:r><w:t>Kept </w:t></w:r><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>inserted </w:t></w:r></w:ins>"
        "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>"
        "<w:hyperlink><w:r><w:t>linked</w:t></w:r></w:hyperlink>"
        "<w:r><w:footnoteReference w:id='2'/></w:r>"
        "<w:r><w:pict><w:txbxContent><w:p><w:r><w:t>In a box.</w:t></w:r></w:p></w:txbxContent></w:pict></w:r></w:p>"
        "<w:sdt><w:sdtContent>" + paragraph("In a control.") + "</w:sdtContent></w:sdt>"
        "<w:tbl><w:tr><w:tc>" + paragraph("Framed.") + "</w:tc></w:tr></w:tbl>"
    )
    notes_part = (
        f'{writers.HEAD}<w:footnotes xmlns:w="{writers.WORD}"><w:footnote w:id="2">{paragraph("A note.")}</w:footnote>'
        "</w:footnotes>"
    )
    blocks, _ = read(tmp_path, docx(body, parts={"word/footnotes.xml": notes_part}))
    assert shown(blocks) == ["Kept inserted linked", "A note.", "In a box.", "In a control.", "Framed."]


def test_a_merged_cell_stands_in_each_of_its_rows(tmp_path: Path) -> None:
    def cell(text: str, merge: str = "") -> str:
        return f"<w:tc><w:tcPr>{merge}</w:tcPr>{paragraph(text)}</w:tc>"

    body = (
        "<w:tbl><w:tr>" + cell("Zone") + cell("Price") + "</w:tr>"
        "<w:tr>" + cell("EU", '<w:vMerge w:val="restart"/>') + cell("4") + "</w:tr>"
        "<w:tr>" + cell("", "<w:vMerge/>") + cell("5") + "</w:tr></w:tbl>"
    )
    blocks, _ = read(tmp_path, docx(body))
    assert blocks[0].text.split("\n")[2:] == ["| EU | 4 |", "| EU | 5 |"]


@given(words=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), max_size=30))
@settings(max_examples=40)
def test_no_word_of_a_word_document_is_lost(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    body = "".join(paragraph(word) for word in words)
    blocks, _ = read(tmp_path_factory.mktemp("docx"), docx(body))
    assert [block.text for block in blocks] == [word for word in words if word.strip("\ufeff")]


# --- slides, workbooks, books, mail -----------------------------------------------------------------------------------


def test_slides_are_sections_with_their_titles(tmp_path: Path) -> None:
    deck = pptx(
        [
            shape(["Free text"], kind="")
            + shape(["Prices"], kind="title")
            + shape(["One", "Two"])
            + shape(["7"], kind="sldNum"),
            slide_table([["Plan", "Price"], ["Basic", "9"]]),
            "HIDDEN" + shape(["Secret"]),
        ],
        title="Deck",
    )
    blocks, notes = read(tmp_path, deck)
    assert shown(blocks) == [
        "## Prices",
        "Free text",
        "- One",
        "- Two",
        "| Plan | Price |\n| --- | --- |\n| Basic | 9 |",
    ]
    assert [block.page for block in blocks] == [1, 1, 1, 1, 2]
    assert (notes.title, notes.pages, notes.warnings) == ("Deck", 3, ["slide 3 is hidden and was left out"])


def test_sheets_are_sections_of_tables(tmp_path: Path) -> None:
    data = xlsx(
        {
            "Prices": [["Price list"], [], ["Plan", "Monthly", "Since"], ["Basic", 9.0, 2024], ["Pro", 19.5, 2025]],
            "Empty": [],
            "Hidden": [["secret"]],
        },
        hidden=["Hidden"],
    )
    blocks, notes = read(tmp_path, data)
    assert shown(blocks) == [
        "## Prices",
        "Price list",
        "| Plan | Monthly | Since |\n| --- | --- | --- |\n| Basic | 9 | 2024 |\n| Pro | 19.5 | 2025 |",
    ]
    assert {block.page for block in blocks} == {1}
    assert (notes.pages, notes.warnings) == (3, ["the sheet Hidden is hidden and was left out"])


def test_two_tables_side_by_side_are_two(tmp_path: Path) -> None:
    rows = [
        ["Plan", "Price", None, "City", "Shop"],
        ["Basic", 9, None, "Rome", "Via 1"],
        ["Pro", 19, None, "Oslo", "Gate 2"],
    ]
    blocks, _ = read(tmp_path, xlsx({"Sheet": rows}))
    assert [block.text.split("\n")[0] for block in blocks[1:]] == ["| Plan | Price |", "| City | Shop |"]


def test_wide_rows_are_records(tmp_path: Path) -> None:
    header = [f"Field {number}" for number in range(12)]
    blocks, _ = read(tmp_path, ",".join(header) + "\n" + ",".join(["", "b", *"cdefghijkl"]) + "\n", "a.csv")
    assert blocks[0].kind == "prose"
    assert blocks[0].text.split("\n")[:2] == ["Field 1: b", "Field 2: c"]


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("Question,Answer", ","),
        ("Frage;Antwort", ";"),
        ("Pregunta\tRespuesta", "\t"),
        ("问题,答案", ","),
        ("سؤال,جواب", ","),
    ],
)
def test_a_csv_of_questions_is_pairs(header: str, delimiter: str, tmp_path: Path) -> None:
    text = f'{header}{delimiter}Topic\nHow long?{delimiter}"30 days.\nNo more."{delimiter}Returns\nWhy?{delimiter}{delimiter}\n'
    blocks, _ = read(tmp_path, text, "faq.csv")
    assert [(block.question, block.text) for block in blocks] == [
        ("How long?", "30 days.\nNo more."),
        ("How long?", "Topic: Returns"),
        (None, "Why?"),
    ]


def test_questions_in_a_workbook_are_pairs(tmp_path: Path) -> None:
    blocks, _ = read(
        tmp_path, xlsx({"FAQ": [["Question", "Answer"], ["Open on Sunday?", "No."], ["Parking?", "Yes."]]})
    )
    assert [(block.question, block.text) for block in blocks[1:]] == [("Open on Sunday?", "No."), ("Parking?", "Yes.")]


def test_a_book_is_read_in_the_order_of_its_spine(tmp_path: Path) -> None:
    pages = {
        "b.xhtml": "<html><body><h1>One</h1><p>First.</p></body></html>",
        "a.xhtml": "<html><body><h1>Two</h1><p>Second.</p></body></html>",
    }
    blocks, notes = read(tmp_path, epub(pages, title="The Book", language="fr-CA"))
    assert shown(blocks) == ["# One", "First.", "# Two", "Second."]
    assert (notes.title, notes.language) == ("The Book", "fr")


def test_a_protected_book_says_so_and_protected_fonts_do_not_matter(tmp_path: Path) -> None:
    pages = {"a.xhtml": "<html><body><p>Text.</p></body></html>"}
    with pytest.raises(Unprocessable, match="copy protection"):
        read(tmp_path, epub(pages, encryption="http://www.w3.org/2001/04/xmlenc#aes256-cbc"))
    blocks, _ = read(tmp_path, epub(pages, encryption="http://www.idpf.org/2008/embedding"))
    assert shown(blocks) == ["Text."]


def test_a_mail_is_its_own_text(tmp_path: Path) -> None:
    mail = (
        "From: a@example.com\nTo: b@example.com\nSubject: =?utf-8?q?R=C3=BCckgabe?=\nMIME-Version: 1.0\n"
        "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain; charset=iso-8859-1\n"
        "Content-Transfer-Encoding: quoted-printable\n\nDas geht 30 Tage f=FCr alle.\n\n> quoted before\n\n"
        "-- \nAnna\nACME\n--x\n"
        "Content-Type: application/pdf\nContent-Disposition: attachment; filename=terms.pdf\n\nJVBERi0=\n--x--\n"
    )
    blocks, notes = read(tmp_path, mail)
    assert shown(blocks) == ["Das geht 30 Tage für alle."]
    assert notes.title == "Rückgabe"
    assert notes.warnings == ["the attachment terms.pdf was left out; add it as a document of its own"]


def test_the_formatted_part_of_a_mail_is_preferred(tmp_path: Path) -> None:
    mail = (
        "From: a@example.com\nSubject: Hi\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=x\n\n"
        "--x\nContent-Type: text/plain\n\nplain\n--x\nContent-Type: text/html\n\n<h2>Title</h2><p>Rich.</p>\n--x--\n"
    )
    assert shown(read(tmp_path, mail, "a.eml")[0]) == ["## Title", "Rich."]


# --- pages ------------------------------------------------------------------------------------------------------------

PROSE = "This paragraph says something that is worth reading, in words of its own, and it goes on for a while. " * 3


def test_boilerplate_of_a_page_falls(tmp_path: Path) -> None:
    page = f"""<html lang="de-AT"><head><title>Fees</title></head><body>
      <div id="cookie-banner"><p>We use cookies. Accept all?</p></div>
      <nav><a href="/">Home</a></nav><div class="breadcrumb">Home / Fees</div>
      <div class="content"><h1>Fees</h1><p>{PROSE}</p><p>{PROSE}</p>
        <ul><li><a href="/a">Other page</a></li><li><a href="/b">Another page</a></li><li><a href="/c">Third</a></li></ul>
      </div><div class="sidebar"><p>Latest news</p></div><footer>Imprint</footer></body></html>"""
    blocks, notes = read(tmp_path, page)
    assert shown(blocks) == ["# Fees", PROSE.strip(), PROSE.strip()]
    assert (notes.title, notes.language) == ("Fees", "de")


def test_a_page_that_is_all_in_one_form_or_footer_is_kept(tmp_path: Path) -> None:
    for tag in ("form", "footer", "div class='sidebar'"):
        page = f"<html><body><{tag}><h2>Rules</h2><p>{PROSE}</p></{tag.split()[0]}></body></html>"
        assert shown(read(tmp_path, page)[0]) == ["## Rules", PROSE.strip()]


def test_a_page_of_nothing_but_boilerplate_is_read_as_it_is(tmp_path: Path) -> None:
    page = "<html><body><div class='nav-header'><h2>Opening hours</h2></div></body></html>"
    assert shown(read(tmp_path, page)[0]) == ["## Opening hours"]


def test_a_short_page_of_links_is_kept(tmp_path: Path) -> None:
    page = (
        "<html><body><ul><li><a href='/a'>Prices</a></li><li><a>Terms</a></li><li><a>Shops</a></li></ul></body></html>"
    )
    assert shown(read(tmp_path, page)[0]) == ["- Prices", "- Terms", "- Shops"]


def test_cells_that_reach_over_rows_and_columns(tmp_path: Path) -> None:
    page = """<html><body><table><tr><th>Zone</th><th colspan=2>Price</th></tr>
      <tr><td rowspan=2>EU</td><td>4</td><td>5</td></tr><tr><td>6</td><td>7</td></tr></table></body></html>"""
    assert read(tmp_path, page)[0][0].text.split("\n") == [
        "| Zone | Price | Price |",
        "| --- | --- | --- |",
        "| EU | 4 | 5 |",
        "| EU | 6 | 7 |",
    ]


def pairs(blocks: Sequence[Block]) -> list[tuple[str | None, str]]:
    return [(block.question, block.text) for block in blocks]


def test_questions_of_a_page(tmp_path: Path) -> None:
    page = """<html><body><p>Before.</p>
      <details><summary>Can I pay by card?</summary><p>Yes.</p><ul><li>Visa</li></ul></details>
      <details><summary>Is it open on Sunday?</summary></details>
      <details><summary>More about us</summary><p>We are old.</p></details>
      <dl><dt>What about returns?</dt><dd>30 days.</dd><dt>Colour</dt><dd>Blue.</dd></dl>
      <script type="application/ld+json">{"@graph": [{"@type": "FAQPage", "mainEntity": [
        {"@type": "Question", "name": "Can I pay by card?", "acceptedAnswer": {"@type": "Answer", "text": "Yes."}},
        {"@type": "Question", "name": "Do you ship?", "acceptedAnswer": {"text": "<p>To <b>Chile</b>.</p>"}}]}]}</script>
      <script type="application/ld+json">{broken</script></body></html>"""
    assert pairs(read(tmp_path, page)[0]) == [
        (None, "Before."),
        ("Can I pay by card?", "Yes."),
        ("Can I pay by card?", "Visa"),
        (None, "Is it open on Sunday?"),
        (None, "More about us"),
        (None, "We are old."),
        ("What about returns?", "30 days."),
        (None, "Colour"),
        (None, "Blue."),
        ("Do you ship?", "To Chile."),
    ]


def test_questions_of_a_markdown_page(tmp_path: Path) -> None:
    text = (
        "# FAQ\n\n<details>\n<summary>Can I <b>pay</b> by card?</summary>\n\nYes, *all* cards.\n\n- Visa\n\n</details>\n\n"
        "<details><summary>Really?</summary>\n\n</details>\n\nAfter.\n\n| Question | Answer |\n|---|---|\n| Parking? | Yes. |\n"
    )
    assert pairs(read(tmp_path, text, "faq.md")[0]) == [
        (None, "FAQ"),
        ("Can I pay by card?", "Yes, *all* cards."),
        ("Can I pay by card?", "Visa"),
        (None, "Really?"),
        (None, "After."),
        ("Parking?", "Yes."),
    ]


# --- what a file is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "name", "media_type", "kind"),
    [
        (pdf([]), "a.docx", "text/plain", "pdf"),
        (docx(""), "a.pdf", "application/pdf", "docx"),
        (pptx([]), "", "", "pptx"),
        (xlsx({}), "a.csv", "text/csv", "workbook"),
        (epub({}), "", "", "epub"),
        (b"<!DOCTYPE html><p>x", "a.txt", "text/plain", "html"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x --><html>", "", "", "html"),
        (b"plain", "a.html", "", "html"),
        (b"# x", "README.md", "application/octet-stream", "markdown"),
        (b"a;b", "a.CSV", "", "csv"),
        (b"From: a\nTo: b\nSubject: c\n\nx", "", "", "mail"),
        (b"From: here on it is text.\n\nTo: x", "", "", "text"),
        (b"hello", "noname", "", "text"),
    ],
)
def test_a_file_is_what_its_bytes_say(data: bytes, name: str, media_type: str, kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert sniff(path, media_type=media_type, name=name) == kind


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", Unprocessable, "empty"),
        (b" \n ", Unprocessable, "empty"),
        (b"\x89PNG\r\n\x1a\n....", UnsupportedMediaType, "OCR"),
        (b"{\\rtf1 x}", UnsupportedMediaType, "DOCX"),
        (b"\x1f\x8b\x08 ....", UnsupportedMediaType, "unpack"),
        (writers.archive({"a.txt": "x"}), UnsupportedMediaType, "unpack"),
        (b"PK\x03\x04 broken", Unprocessable, "damaged"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), Unprocessable, "password"),
        (OLE + "WordDocument".encode("utf-16-le"), UnsupportedMediaType, "DOCX"),
        (bytes(range(256)) * 8, Unprocessable, "no text"),
        (b"%PDF-1.7 broken", Unprocessable, "damaged"),
        (docx("<w:p>")[:-60], Unprocessable, "damaged"),
        (docx("</w:wrong>"), Unprocessable, "damaged"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(data: bytes, error: type[BadRequest], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        read(tmp_path, data)


def test_entities_in_office_documents_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><w:document/>'
    with pytest.raises(Unprocessable, match="entities"):
        read(tmp_path, docx("", parts={"word/document.xml": bomb}))


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    big = docx("", parts={"word/media/x.bin": "0" * 30_000_000})
    with pytest.raises(PayloadTooLarge, match="times its size"):
        read(tmp_path, big)
    with pytest.raises(PayloadTooLarge, match="MiB"):
        read(tmp_path, big, limits=ExtractLimits(max_unpacked_bytes=1_000_000))
    many = docx("", parts={f"x{number}": "" for number in range(50)})
    with pytest.raises(PayloadTooLarge, match="archive of 5"):
        read(tmp_path, many, limits=ExtractLimits(max_members=40))
    with pytest.raises(PayloadTooLarge, match="at most 0"):
        read(tmp_path, b"x" * 100, limits=ExtractLimits(max_file_bytes=99))


def test_an_archive_inside_an_archive_is_never_opened(tmp_path: Path) -> None:
    inner = writers.archive({"bomb": "0" * 30_000_000})
    blocks, _ = read(tmp_path, docx(paragraph("Fine."), parts={"word/embeddings/inner.zip": inner.decode("latin-1")}))
    assert shown(blocks) == ["Fine."]


def test_a_document_of_too_much_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PayloadTooLarge, match="split it"):
        read(tmp_path, docx(paragraph("x" * 600) * 2), limits=ExtractLimits(max_characters=1_000))
    with pytest.raises(PayloadTooLarge, match="split it"):
        read(tmp_path, docx(paragraph("x") * 11), limits=ExtractLimits(max_blocks=10))


GERMAN = "Größe und Gewicht stehen auf dem Schild neben der Tür."
RUSSIAN = "Возврат товара возможен в течение тридцати дней."


@pytest.mark.parametrize(
    ("data", "media_type", "text"),
    [
        (GERMAN.encode(), "", GERMAN),
        (b"\xef\xbb\xbf" + GERMAN.encode(), "", GERMAN),
        (GERMAN.encode("utf-16"), "", GERMAN),
        (GERMAN.encode("utf-16-le"), "", GERMAN),
        (GERMAN.encode("utf-16-be"), "", GERMAN),
        (GERMAN.encode("cp1252"), "", GERMAN),
        (GERMAN.encode("latin-1"), "text/plain; charset=iso-8859-1", GERMAN),
        (RUSSIAN.encode("cp1251"), "", RUSSIAN),
        (RUSSIAN.encode("koi8-r"), "text/plain; charset=KOI8-R", RUSSIAN),
        ("返品は三十日以内にお願いします。".encode("shift_jis"), "", "返品は三十日以内にお願いします。"),
        ("三十天内可以退货。".encode("gbk"), "text/plain; charset=gbk", "三十天内可以退货。"),
        (b"a\0b\x07c" + b" and so on" * 20, "", "ab c" + " and so on" * 20),
    ],
)
def test_text_of_every_usual_encoding(data: bytes, media_type: str, text: str, tmp_path: Path) -> None:
    assert shown(read(tmp_path, data, media_type=media_type)[0]) == [text]


def test_a_page_says_its_own_encoding(tmp_path: Path) -> None:
    page = "<html><head><meta charset=windows-1251></head><body><p>Да, конечно</p></body></html>".encode("cp1251")
    assert shown(read(tmp_path, page)[0]) == ["Да, конечно"]


@given(
    data=st.binary(max_size=400),
    prefix=st.sampled_from([b"", b"%PDF-1.4\n", b"PK\x03\x04", OLE, b"From: a\nTo: b\nX-A: c\n"]),
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused_in_words(
    data: bytes, prefix: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        blocks, _ = read(tmp_path_factory.mktemp("any"), prefix + data)
    except BadRequest:
        return
    assert all(block.text.strip() and "\0" not in block.text for block in blocks)
