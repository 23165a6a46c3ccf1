"""Documents that are ZIP archives (DOCX, PPTX, XLSX, EPUB): opened within bounds, their XML read as a stream."""

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from chatwright.adapters.documents.limits import MIB, ExtractLimits
from chatwright.domain.errors import PayloadTooLarge, Unprocessable

_SMALL_BYTES = 20 * MIB  # a blank workbook of some megabytes shrinks a thousandfold, and harms nobody
_MAX_PART_BYTES = 32 * MIB
_DOCTYPE = re.compile(rb"<!DOCTYPE|<!ENTITY", re.IGNORECASE)

Element = ET.Element
DAMAGED = (zipfile.BadZipFile, zlib.error, ET.ParseError, EOFError, KeyError, NotImplementedError)


class Archive:
    """One open archive. Parts are named by their path inside it."""

    def __init__(self, path: Path, limits: ExtractLimits) -> None:
        """Raises PayloadTooLarge for what unpacks to too much; Unprocessable for damaged and protected ones."""
        try:
            self._zip = zipfile.ZipFile(path)
        except DAMAGED as error:
            raise Unprocessable("the file is damaged: its archive cannot be opened; export it again") from error
        members = self._zip.infolist()
        unpacked = sum(member.file_size for member in members)
        packed = max(1, path.stat().st_size)
        if len(members) > limits.max_members:
            raise PayloadTooLarge(
                f"the file is an archive of {len(members):,} files, at most {limits.max_members:,} are read"
            )
        if unpacked > limits.max_unpacked_bytes or (unpacked > _SMALL_BYTES and unpacked > packed * limits.max_ratio):
            raise PayloadTooLarge(
                f"the file unpacks to {unpacked // MIB:,} MiB, {unpacked // packed:,} times its size; at most "
                f"{limits.max_unpacked_bytes // MIB:,} MiB and {limits.max_ratio} times are read"
            )
        if any(member.flag_bits & 1 for member in members):
            raise Unprocessable("the file is protected by a password; save a copy without one")
        self.names = frozenset(member.filename for member in members)

    def close(self) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """A whole part. Raises PayloadTooLarge above 32 MiB, KeyError if there is none."""
        if self._zip.getinfo(name).file_size > _MAX_PART_BYTES:
            raise PayloadTooLarge(f"the file's part {name} is larger than {_MAX_PART_BYTES // MIB} MiB")
        return self._zip.read(name)

    def tree(self, name: str) -> Element | None:
        """A small part as a tree, or None if there is none."""
        if name not in self.names:
            return None
        data = self.read(name)
        _refuse_doctype(data[:4_096])
        return ET.fromstring(data)  # noqa: S314 - no DOCTYPE, hence no entities; in a process with bounds

    def stream(self, name: str, holder: str) -> Iterator[Element]:
        """The children of the element `holder` (a local name, the child of the root), one by one; each is let go
        before the next is read."""
        with self._zip.open(name) as part:
            _refuse_doctype(part.read(4_096))
        with self._zip.open(name) as part:
            path: list[Element] = []
            for event, element in ET.iterparse(part, events=("start", "end")):  # noqa: S314 - as above
                if event == "start":
                    path.append(element)
                    continue
                path.pop()
                if len(path) == 2 and local(path[1]) == holder:
                    yield element
                    path[1].clear()

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """Relationship id → (kind, part) of a part of an Office document; links to the outside are left out."""
        folder, _, base = name.rpartition("/")
        tree = self.tree(f"{folder}/_rels/{base}.rels" if folder else f"_rels/{base}.rels")
        found: dict[str, tuple[str, str]] = {}
        for relation in tree if tree is not None else ():
            if relation.get("TargetMode") == "External":
                continue
            kind = relation.get("Type", "").rpartition("/")[2]
            found[relation.get("Id", "")] = (kind, resolve(folder, relation.get("Target", "")))
        return found


def resolve(folder: str, target: str) -> str:
    """The part that a relative address inside `folder` means."""
    address = unquote(target.partition("#")[0])
    return posixpath.normpath(address.lstrip("/") if address.startswith("/") else posixpath.join(folder, address))


def _refuse_doctype(start: bytes) -> None:
    if _DOCTYPE.search(start.replace(b"\0", b"")):
        raise Unprocessable("the file declares XML entities, which no office program does; export it again")


def local(element: Element) -> str:
    """An element's name without its namespace: strict and transitional documents differ in nothing else."""
    tag = element.tag
    return tag[tag.rfind("}") + 1 :]


def attribute(element: Element | None, name: str) -> str | None:
    """An attribute of the element's own namespace."""
    if element is None:
        return None
    return element.get(element.tag[: element.tag.rfind("}") + 1] + name)


def child(element: Element | None, *names: str) -> Element | None:
    """The first child of a child of …, by local names."""
    for name in names:
        if element is None:
            return None
        element = next((inner for inner in element if local(inner) == name), None)
    return element


def descendants(element: Element, name: str) -> Iterator[Element]:
    return (inner for inner in element.iter() if local(inner) == name)


def core_properties(archive: Archive) -> tuple[str, str | None]:
    """Title and language that an Office document declares: ("", None) if it says none."""
    tree = archive.tree("docProps/core.xml")
    title, language = child(tree, "title"), child(tree, "language")
    return (
        " ".join((title.text or "").split()) if title is not None else "",
        language.text if language is not None else None,
    )
