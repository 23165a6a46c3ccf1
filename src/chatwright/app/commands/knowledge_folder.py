"""What `kb add` finds on this machine: the files to send, each with its source key, and those that are left out."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import click

MEDIA_TYPES = {
    ".csv": "text/csv",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".eml": "message/rfc822",
    ".epub": "application/epub+zip",
    ".htm": "text/html",
    ".html": "text/html",
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".rst": "text/plain",
    ".text": "text/plain",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".xhtml": "application/xhtml+xml",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_INSTEAD = {
    ".doc": "save it as .docx",
    ".ppt": "save it as .pptx",
    ".xls": "save it as .xlsx",
    ".odt": "save it as .docx or .pdf",
    ".ods": "save it as .xlsx or .csv",
    ".odp": "save it as .pptx or .pdf",
    ".rtf": "save it as .docx",
    ".pages": "export it as .docx or .pdf",
    ".zip": "unpack it and add the folder",
    ".gz": "unpack it first",
    ".png": "a picture has no text; run OCR and add the text",
    ".jpg": "a picture has no text; run OCR and add the text",
    ".jpeg": "a picture has no text; run OCR and add the text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file to send. `source_key` is its folder's name and its path within; of a single file its name."""

    path: Path
    source_key: str
    media_type: str

    def sha256(self) -> str:
        """Of its content, as 64 hexadecimal digits. Raises OSError."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(slots=True, kw_only=True)
class Scan:
    """`left_out` says why, by path; `folders` are the key prefixes of whole folders, each with its closing slash."""

    files: list[LocalFile] = field(default_factory=list[LocalFile])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    folders: list[str] = field(default_factory=list[str])


def scan(paths: Iterable[Path], *, name: str | None = None) -> Scan:
    """Look at files and folders; hidden ones inside a folder are passed over. `name` stands for an only folder's own.

    Raises click.UsageError for a path that is not there, two folders of one name, or two files of one key.
    """
    found = Scan()
    given = list(paths)
    if name is not None and not (len(given) == 1 and given[0].is_dir()):
        raise click.UsageError("--name goes with one folder.")
    for path in given:
        if path.is_dir():
            prefix = f"{name or path.resolve().name or 'root'}/"
            if prefix in found.folders:
                raise click.UsageError(f"two folders are called {prefix[:-1]}; add them one after another with --name")
            found.folders.append(prefix)
            for file in sorted(path.rglob("*")):
                relative = file.relative_to(path)
                if not any(part.startswith(".") for part in relative.parts) and file.is_file():
                    _take(found, file, prefix + PurePosixPath(*relative.parts).as_posix())
        elif path.is_file():
            _take(found, path, path.name)
        else:
            mend = "; addresses begin with https:// or http://" if ":" in str(path) else ""
            raise click.UsageError(f"{path}: there is no such file or folder{mend}")
    keys = [file.source_key for file in found.files]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise click.UsageError(f"two files would be called {twice}; add the folder that holds them")
    return found


def _take(found: Scan, file: Path, key: str) -> None:
    suffix = file.suffix.lower()
    media_type = MEDIA_TYPES.get(suffix)
    if media_type is None:
        what = f"{suffix} files" if suffix else "files without an ending"
        found.left_out[str(file)] = _INSTEAD.get(suffix, f"{what} cannot be read")
    elif file.stat().st_size == 0:
        found.left_out[str(file)] = "it is empty"
    else:
        found.files.append(LocalFile(path=file, source_key=key, media_type=media_type))
