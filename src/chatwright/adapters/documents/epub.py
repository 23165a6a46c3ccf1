"""Books (EPUB) as blocks: the pages of the spine in order. Used by `reading`."""

from collections.abc import Iterator
from dataclasses import replace

from chatwright.adapters.documents.archive import Archive, Element, child, descendants, local, resolve
from chatwright.adapters.documents.blocks import clean, squeeze
from chatwright.adapters.documents.encoding import decode
from chatwright.adapters.documents.html import html_blocks
from chatwright.adapters.documents.limits import ExtractLimits, Notes, too_many_pages
from chatwright.domain.documents import Block
from chatwright.domain.errors import Unprocessable

_PAGES = frozenset({"application/xhtml+xml", "text/html", "application/x-dtbook+xml"})
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def epub_blocks(archive: Archive, notes: Notes, limits: ExtractLimits) -> Iterator[Block]:
    """Blocks of a book in reading order. Raises Unprocessable for damaged ones and those under copy protection."""
    encryption = archive.tree("META-INF/encryption.xml")
    for method in descendants(encryption, "EncryptionMethod") if encryption is not None else ():
        if method.get("Algorithm") not in _FONTS:
            raise Unprocessable("the book is under copy protection (DRM) and cannot be read")
    container = archive.tree("META-INF/container.xml")
    main = (
        next((file.get("full-path") for file in descendants(container, "rootfile")), None)
        if container is not None
        else None
    )
    package = archive.tree(main) if main else None
    if main is None or package is None:
        raise Unprocessable("the book is damaged: its package file is missing")
    metadata = child(package, "metadata")
    for entry in metadata if metadata is not None else ():
        if local(entry) == "title" and not notes.title:
            notes.title = squeeze(clean(entry.text or ""))
        elif local(entry) == "language" and notes.language is None:
            notes.set_language(entry.text)
    pages = list(_spine(package, main.rpartition("/")[0]))
    if len(pages) > limits.max_pages:
        too_many_pages(len(pages), limits, "parts")
    for part in pages:
        if part not in archive.names:
            notes.warn(f"the part {part} is missing")
            continue
        text, _ = decode(archive.read(part))
        for block in html_blocks(clean(text), fragment=True):
            yield replace(block, anchor="") if block.kind == "heading" else block


def _spine(package: Element, folder: str) -> Iterator[str]:
    manifest = {item.get("id"): item for item in descendants(package, "item")}
    for reference in descendants(package, "itemref"):
        item = manifest.get(reference.get("idref"))
        if (
            item is not None
            and item.get("media-type") in _PAGES
            and reference.get("linear") != "no"
            and "nav" not in (item.get("properties") or "").split()
        ):
            yield resolve(folder, item.get("href") or "")
