"""One file → its blocks: finds out what it is and calls that format's reader. Runs in the child process (`child`)."""

from collections.abc import Iterator
from pathlib import Path

from chatwright.adapters.documents.blocks import clean
from chatwright.adapters.documents.limits import ExtractLimits, Notes
from chatwright.adapters.documents.sniff import Kind, sniff
from chatwright.domain.documents import Block
from chatwright.domain.errors import PayloadTooLarge, Unprocessable

# Readers and their libraries are imported where they are called: a child reads one format.


def read_blocks(path: Path, *, media_type: str, name: str, limits: ExtractLimits, notes: Notes) -> Iterator[Block]:
    """Blocks of a file in reading order; `notes` is complete when the last one is read.

    Raises UnsupportedMediaType, Unprocessable and PayloadTooLarge with messages for the document's owner.
    """
    if (size := path.stat().st_size) > limits.max_file_bytes:
        raise PayloadTooLarge(
            f"the file has {size / 1024 / 1024:,.0f} MiB, at most {limits.max_file_bytes // 1024 // 1024:,} can be read"
        )
    kind = sniff(path, media_type=media_type, name=name)
    characters = 0
    for number, block in enumerate(_reader(kind, path, _charset(media_type), limits, notes)):
        characters += len(block.text)
        if characters > limits.max_characters or number >= limits.max_blocks:
            raise PayloadTooLarge(
                f"the document has more than {limits.max_characters:,} characters or {limits.max_blocks:,} paragraphs "
                "of text; split it"
            )
        if block.text.strip():
            yield block


def _charset(media_type: str) -> str | None:
    for part in media_type.split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == "charset":
            return value
    return None


def _reader(kind: Kind, path: Path, declared: str | None, limits: ExtractLimits, notes: Notes) -> Iterator[Block]:
    match kind:
        case "pdf":
            from chatwright.adapters.documents.pdf import pdf_blocks

            yield from pdf_blocks(path, notes, limits)
        case "docx" | "pptx" | "epub":
            yield from _archived(kind, path, limits, notes)
        case "workbook":
            from chatwright.adapters.documents.workbook import workbook_blocks

            _check_archive(path, limits)
            yield from workbook_blocks(path, notes, limits)
        case "csv":
            from chatwright.adapters.documents.workbook import csv_blocks

            yield from csv_blocks(path, declared=declared)
        case "mail":
            from chatwright.adapters.documents.mail import mail_blocks

            yield from mail_blocks(path, notes)
        case "html" | "markdown" | "text":
            yield from _text(kind, path, declared, limits, notes)


def _archived(kind: Kind, path: Path, limits: ExtractLimits, notes: Notes) -> Iterator[Block]:
    from chatwright.adapters.documents.archive import DAMAGED, Archive

    archive = Archive(path, limits)
    try:
        if kind == "docx":
            from chatwright.adapters.documents.docx import docx_blocks

            yield from docx_blocks(archive, notes)
        elif kind == "pptx":
            from chatwright.adapters.documents.pptx import pptx_blocks

            yield from pptx_blocks(archive, notes, limits)
        else:
            from chatwright.adapters.documents.epub import epub_blocks

            yield from epub_blocks(archive, notes, limits)
    except DAMAGED as error:
        raise Unprocessable("the file is damaged: a part of it cannot be read; open it and save it again") from error
    finally:
        archive.close()


def _check_archive(path: Path, limits: ExtractLimits) -> None:
    from chatwright.adapters.documents.archive import Archive

    with path.open("rb") as file:
        packed = file.read(2) == b"PK"
    if packed:
        Archive(path, limits).close()


def _text(kind: Kind, path: Path, declared: str | None, limits: ExtractLimits, notes: Notes) -> Iterator[Block]:
    from chatwright.adapters.documents.encoding import decode
    from chatwright.adapters.documents.html import html_blocks, html_language, html_title
    from chatwright.adapters.documents.markup import front_matter_title, markdown_blocks, plain_blocks

    if path.stat().st_size > limits.max_characters * 4:
        raise PayloadTooLarge(f"the document has more than {limits.max_characters:,} characters of text; split it")
    text, warning = decode(path.read_bytes(), declared=declared)
    if warning:
        notes.warn(warning)
    text = clean(text)
    if kind == "html":
        notes.title, notes.language = html_title(text), html_language(text)
        yield from html_blocks(text)
    elif kind == "markdown":
        notes.title = front_matter_title(text)
        yield from markdown_blocks(text)
    else:
        yield from plain_blocks(text)
