"""Small documents of every kind, written by hand: what a test says stands in them is all that does."""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape

OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
SLIDES = "http://schemas.openxmlformats.org/presentationml/2006/main"
SHEETS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'


def archive(parts: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return out.getvalue()


def relations(entries: Iterable[tuple[str, str, str]]) -> str:
    """(id, kind, target) each."""
    rows = "".join(
        f'<Relationship Id="{key}" Type="{OFFICE}/{kind}" Target="{target}"/>' for key, kind, target in entries
    )
    return f'{HEAD}<Relationships xmlns="{PACKAGE}/relationships">{rows}</Relationships>'


def core(title: str) -> str:
    return (
        f'{HEAD}<cp:coreProperties xmlns:cp="{PACKAGE}/metadata/core-properties" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{escape(title)}</dc:title></cp:coreProperties>'
    )


# --- PDF --------------------------------------------------------------------------------------------------------------

Text = tuple[float, float, float, str, str]
"""(x, y, size, font F1 plain or F2 bold, text) of one line, in points from the lower left corner."""


def pdf(pages: Sequence[Sequence[Text]], *, title: str = "", extra: Mapping[str, str] | None = None) -> bytes:
    """A PDF of text lines in Helvetica; `extra` are entries of the trailer."""
    contents = [
        "BT\n"
        + "".join(f"/{font} {size} Tf 1 0 0 1 {x} {y} Tm ({_literal(text)}) Tj\n" for x, y, size, font, text in page)
        + "ET"
        for page in pages
    ]
    return pdf_of(contents, title=title, extra=extra)


def _literal(text: str) -> str:
    return "".join(
        f"\\{code:03o}" if chr(code) in "()\\" or not 32 <= code < 127 else chr(code) for code in text.encode("cp1252")
    )


def pdf_of(contents: Sequence[str], *, title: str = "", extra: Mapping[str, str] | None = None) -> bytes:
    """A PDF with one page per content stream."""
    objects: dict[int, bytes] = {
        1: b"<</Type/Catalog/Pages 2 0 R/Lang(en-GB)>>",
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        4: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold/Encoding/WinAnsiEncoding>>",
        5: f"<</Title({_literal(title)})>>".encode(),
    }
    kids: list[str] = []
    for number, content in enumerate(contents):
        page, stream = 6 + 2 * number, 7 + 2 * number
        data = content.encode("latin-1")
        objects[page] = (
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {stream} 0 R"
            "/Resources<</Font<</F1 3 0 R/F2 4 0 R>>>>>>"
        ).encode()
        objects[stream] = b"<</Length %d>>stream\n%s\nendstream" % (len(data), data)
        kids.append(f"{page} 0 R")
    objects[2] = f"<</Type/Pages/Count {len(kids)}/Kids[{' '.join(kids)}]>>".encode()
    out = bytearray(b"%PDF-1.7\n")
    offsets: dict[int, int] = {}
    for number in sorted(objects):
        offsets[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, objects[number])
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for number in sorted(objects):
        out += b"%010d 00000 n \n" % offsets[number]
    entries = "".join(f"/{key} {value}" for key, value in (extra or {}).items())
    out += f"trailer<</Size {len(objects) + 1}/Root 1 0 R/Info 5 0 R{entries}>>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def lines(texts: Iterable[str], *, top: float = 720, step: float = 14, size: float = 11) -> list[Text]:
    return [(72, top - step * number, size, "F1", text) for number, text in enumerate(texts)]


# --- Word -------------------------------------------------------------------------------------------------------------


def docx(body: str, *, title: str = "", parts: Mapping[str, str] | None = None) -> bytes:
    """A Word document of paragraphs written as XML (see `paragraph`)."""
    return archive(
        {
            "_rels/.rels": relations([("r1", "officeDocument", "word/document.xml")]),
            "docProps/core.xml": core(title),
            "word/document.xml": f'{HEAD}<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>',
            "word/styles.xml": (
                f'{HEAD}<w:styles xmlns:w="{WORD}">'
                '<w:style w:styleId="Heading1"><w:name w:val="heading 1"/></w:style>'
                '<w:style w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>'
                '<w:style w:styleId="Own"><w:name w:val="My Heading"/><w:basedOn w:val="berschrift2"/></w:style>'
                '<w:style w:styleId="Toc"><w:name w:val="toc 1"/></w:style>'
                '<w:style w:styleId="Code"><w:name w:val="Source Code"/></w:style></w:styles>'
            ),
            "word/numbering.xml": (
                f'{HEAD}<w:numbering xmlns:w="{WORD}"><w:abstractNum w:abstractNumId="0">'
                '<w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/></w:lvl>'
                '<w:lvl w:ilvl="1"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>'
                '<w:num w:numId="7"><w:abstractNumId w:val="0"/></w:num></w:numbering>'
            ),
            **(parts or {}),
        }
    )


def paragraph(text: str, *, style: str = "", numbering: tuple[int, int] | None = None) -> str:
    """`numbering`: list and level."""
    properties = f'<w:pStyle w:val="{style}"/>' if style else ""
    if numbering is not None:
        properties += f'<w:numPr><w:ilvl w:val="{numbering[1]}"/><w:numId w:val="{numbering[0]}"/></w:numPr>'
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{escape(text)}</w:t></w:r></w:p>"


def table(rows: Sequence[Sequence[str]]) -> str:
    cells = ["".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows]
    return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"


# --- PowerPoint -------------------------------------------------------------------------------------------------------


def pptx(slides: Sequence[str], *, title: str = "", extra: Mapping[str, str] | None = None) -> bytes:
    """A presentation of shapes written as XML (see `shape`); `extra` are further parts, by path."""
    order = "".join(f'<p:sldId id="{256 + at}" r:id="s{at}"/>' for at in range(len(slides)))
    return archive(
        {
            "_rels/.rels": relations([("r1", "officeDocument", "ppt/presentation.xml")]),
            "docProps/core.xml": core(title),
            "ppt/presentation.xml": (
                f'{HEAD}<p:presentation xmlns:p="{SLIDES}" xmlns:r="{OFFICE}"><p:sldIdLst>{order}</p:sldIdLst>'
                "</p:presentation>"
            ),
            "ppt/_rels/presentation.xml.rels": relations(
                (f"s{at}", "slide", f"slides/slide{at}.xml") for at in range(len(slides))
            ),
            **{
                f"ppt/slides/slide{at}.xml": (
                    f'{HEAD}<p:sld xmlns:p="{SLIDES}" xmlns:a="{DRAWING}" xmlns:r="{OFFICE}"{_attributes(shapes)}>'
                    f"<p:cSld><p:spTree>{shapes.removeprefix('HIDDEN')}</p:spTree></p:cSld></p:sld>"
                )
                for at, shapes in enumerate(slides)
            },
            **(extra or {}),
        }
    )


def _attributes(shapes: str) -> str:
    return ' show="0"' if shapes.startswith("HIDDEN") else ""


def shape(texts: Sequence[str], *, kind: str = "body") -> str:
    """`kind`: the placeholder's type, "" for a free text box."""
    paragraphs = "".join(f"<a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p>" for text in texts)
    placeholder = f'<p:ph type="{kind}"/>' if kind else ""
    return f"<p:sp><p:nvSpPr><p:nvPr>{placeholder}</p:nvPr></p:nvSpPr><p:txBody>{paragraphs}</p:txBody></p:sp>"


def slide_table(rows: Sequence[Sequence[str]]) -> str:
    cells = [
        "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{escape(cell)}</a:t></a:r></a:p></a:txBody></a:tc>" for cell in row)
        for row in rows
    ]
    body = "".join(f"<a:tr>{row}</a:tr>" for row in cells)
    return (
        f"<p:graphicFrame><a:graphic><a:graphicData><a:tbl>{body}</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
    )


# --- Excel ------------------------------------------------------------------------------------------------------------

Cell = str | int | float


def xlsx(sheets: Mapping[str, Sequence[Sequence[Cell | None]]], *, hidden: Iterable[str] = ()) -> bytes:
    away = frozenset(hidden)
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{at}" r:id="s{at}"{" state=" + chr(34) + "hidden" + chr(34) if name in away else ""}/>'
        for at, name in enumerate(sheets, start=1)
    )
    types = "".join(
        f'<Override PartName="/xl/worksheets/sheet{at}.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        for at in range(1, len(sheets) + 1)
    )
    return archive(
        {
            "[Content_Types].xml": (
                f'{HEAD}<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" ContentType="application/xml"/>'
                '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
                '<Override PartName="/xl/workbook.xml" '
                'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
                f"{types}</Types>"
            ),
            "_rels/.rels": relations([("r1", "officeDocument", "xl/workbook.xml")]),
            "xl/workbook.xml": (
                f'{HEAD}<workbook xmlns="{SHEETS}" xmlns:r="{OFFICE}"><sheets>{listed}</sheets></workbook>'
            ),
            "xl/_rels/workbook.xml.rels": relations(
                (f"s{at}", "worksheet", f"worksheets/sheet{at}.xml") for at in range(1, len(sheets) + 1)
            ),
            **{
                f"xl/worksheets/sheet{at}.xml": (
                    f'{HEAD}<worksheet xmlns="{SHEETS}"><sheetData>{_rows(rows)}</sheetData></worksheet>'
                )
                for at, rows in enumerate(sheets.values(), start=1)
            },
        }
    )


def _rows(rows: Sequence[Sequence[Cell | None]]) -> str:
    return "".join(
        f'<row r="{number}">'
        + "".join(_cell(f"{chr(65 + column)}{number}", cell) for column, cell in enumerate(row) if cell is not None)
        + "</row>"
        for number, row in enumerate(rows, start=1)
    )


def _cell(place: str, cell: Cell) -> str:
    if isinstance(cell, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{escape(cell)}</t></is></c>'
    return f'<c r="{place}"><v>{cell}</v></c>'


# --- books ------------------------------------------------------------------------------------------------------------


def epub(pages: Mapping[str, str], *, title: str = "", language: str = "en", encryption: str = "") -> bytes:
    """A book of pages, by file name; `encryption` is the algorithm that its pages are said to be under."""
    manifest = "".join(
        f'<item id="p{at}" href="{name}" media-type="application/xhtml+xml"/>' for at, name in enumerate(pages)
    )
    spine = "".join(f'<itemref idref="p{at}"/>' for at in range(len(pages)))
    parts: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": (
            f'{HEAD}<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
        ),
        "OEBPS/book.opf": (
            f'{HEAD}<package xmlns="http://www.idpf.org/2007/opf"><metadata '
            f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{escape(title)}</dc:title>'
            f"<dc:language>{language}</dc:language></metadata>"
            '<manifest><item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
            f'{manifest}</manifest><spine><itemref idref="nav"/>{spine}</spine></package>'
        ),
        "OEBPS/nav.xhtml": "<html><body><nav><p>Table of contents</p></nav></body></html>",
        **{f"OEBPS/{name}": page for name, page in pages.items()},
    }
    if encryption:
        parts["META-INF/encryption.xml"] = (
            f'{HEAD}<encryption><EncryptedData><EncryptionMethod Algorithm="{encryption}"/></EncryptedData></encryption>'
        )
    return archive(parts)
