"""Originals of documents in an object store: S3, Google, Azure, or a folder of this machine."""

from chatwright.adapters.files.store import Files, StoredFile, open_files

__all__ = ["Files", "StoredFile", "open_files"]
