"""What a file is, by its bytes: a name or a content type only decides between kinds of text. Used by `reading`."""

import re
import zipfile
from pathlib import Path
from typing import Literal

from chatwright.adapters.documents.archive import DAMAGED
from chatwright.domain.errors import Unprocessable, UnsupportedMediaType

Kind = Literal["pdf", "docx", "pptx", "workbook", "epub", "mail", "html", "markdown", "csv", "text"]

READABLE = "PDF, DOCX, PPTX, XLSX, XLS, ODS, CSV, TSV, HTML, EPUB, EML, Markdown and plain text"

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM")
_ARCHIVES = (b"\x1f\x8b", b"BZh", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\xfd7zXZ\0", b"(\xb5/\xfd")
_MARKUP_NAMES = {
    "markdown": (".md", ".markdown", ".mdx", ".mdown"),
    "csv": (".csv", ".tsv", ".tab"),
    "html": (".html", ".htm", ".xhtml"),
    "mail": (".eml",),
}
_MARKUP_TYPES = {
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "message/rfc822": "mail",
}
_HTML = re.compile(rb"\A(?:\xef\xbb\xbf)?\s{0,1000}(?:<!--.{0,2000}?-->\s{0,100}|<\?xml.{0,200}?>\s{0,100}){0,5}<(?:!doctype\s{1,8}html|html|head|body)\b", re.IGNORECASE | re.DOTALL)  # fmt: skip
_MAIL_LINE = re.compile(
    rb"^(?:from|to|subject|date|received|return-path|message-id|mime-version|delivered-to|reply-to|content-type|x-[a-z-]+):",
    re.IGNORECASE | re.MULTILINE,
)


def sniff(path: Path, *, media_type: str = "", name: str = "") -> Kind:
    """Decide how to read a file. Raises UnsupportedMediaType or Unprocessable, with what its owner can do."""
    with path.open("rb") as file:
        start = file.read(65_536)
    if not start.strip():
        raise Unprocessable("the file is empty")
    if b"%PDF-" in start[:1_024]:
        return "pdf"
    if start.startswith(b"PK"):
        return _of_archive(path)
    if start.startswith(_OLE):
        return _of_ole(path)
    if start.startswith(b"{\\rtf"):
        raise UnsupportedMediaType("RTF cannot be read; save it as DOCX or PDF")
    if start.startswith(_PICTURES) or (start.startswith(b"RIFF") and start[8:12] == b"WEBP"):
        raise UnsupportedMediaType("a picture has no text that could be read; run text recognition (OCR) on it first")
    if start.startswith(_ARCHIVES):
        raise UnsupportedMediaType("an archive cannot be read; unpack it and add its files")
    return _of_text(start, media_type.partition(";")[0].strip().lower(), name.lower())


def _of_archive(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = frozenset(archive.namelist())
            mimetype = (
                archive.read("mimetype")[:100]
                if "mimetype" in names and archive.getinfo("mimetype").file_size < 200
                else b""
            )
    except (*DAMAGED, RuntimeError, ValueError) as error:
        raise Unprocessable("the file is damaged: its archive cannot be opened; export it again") from error
    if mimetype.strip() == b"application/epub+zip" or "META-INF/container.xml" in names:
        return "epub"
    if "word/document.xml" in names or any(member.startswith("word/document") for member in names):
        return "docx"
    if "ppt/presentation.xml" in names:
        return "pptx"
    if not names.isdisjoint({"xl/workbook.xml", "xl/workbook.bin"}) or b"opendocument.spreadsheet" in mimetype:
        return "workbook"
    if b"opendocument" in mimetype:
        raise UnsupportedMediaType("OpenDocument text and slides cannot be read; save them as DOCX, PPTX or PDF")
    if (
        names
        and all(member.lower().endswith((".iwa", ".jpg", ".plist", ".png")) or "/" in member for member in names)
        and any(member.endswith(".iwa") for member in names)
    ):
        raise UnsupportedMediaType("Pages, Numbers and Keynote files cannot be read; export them as PDF or DOCX")
    raise UnsupportedMediaType("an archive cannot be read; unpack it and add its files")


def _of_ole(path: Path) -> Kind:
    """Office files of before 2007, and newer ones under a password, share one container; stream names tell which."""
    with path.open("rb") as file:
        data = file.read(64 * 1024 * 1024)
    if _named(data, "EncryptedPackage"):
        raise Unprocessable("the file is protected by a password; save a copy without one")
    if _named(data, "Workbook") or _named(data, "Book"):
        return "workbook"
    if _named(data, "__substg1.0_"):
        raise UnsupportedMediaType("Outlook's MSG cannot be read; save the message as EML")
    raise UnsupportedMediaType("Word and PowerPoint files of before 2007 cannot be read; save them as DOCX or PPTX")


def _named(data: bytes, stream: str) -> bool:
    return stream.encode("utf-16-le") in data


def _of_text(start: bytes, media_type: str, name: str) -> Kind:
    claimed = _MARKUP_TYPES.get(media_type)
    if claimed is None:
        claimed = next((kind for kind, endings in _MARKUP_NAMES.items() if name.endswith(endings)), None)
    if claimed in {"markdown", "csv", "mail"}:
        return claimed  # type: ignore[return-value]
    if claimed == "html" or _HTML.match(start):
        return "html"
    head = start.partition(b"\r\n\r\n" if b"\r\n\r\n" in start else b"\n\n")[0]
    if len(_MAIL_LINE.findall(head)) >= 3 and _MAIL_LINE.match(head):
        return "mail"
    return "text"
