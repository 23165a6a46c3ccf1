"""The work of `kb add`: sends what has changed, takes out what is gone, waits until all is indexed. Over the REST API."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from chatwright.app.commands.knowledge_folder import LocalFile, Scan
from chatwright.app.commands.progress import Bar
from chatwright.app.commands.rest import Api, ApiError

_AT_ONCE = 4
_POLL_S = 0.5
_STALL_S = 600.0
"""Indexing that makes no progress for so long is given up on, however many documents there are."""
_PENDING = ("queued", "indexing")
_PENDING_CRAWL = ("queued", "running")

Entry = dict[str, Any]


async def add_files(api: Api, base: str, scan: Scan, *, prune: bool, wait: bool, bar: Bar) -> list[Entry]:
    """One entry per file, `path`, `source_key`, `id`, `outcome`, `state` and `error`, and one per pruned document.

    A refusal is a result, so that the other files still get in.
    """
    path = f"/api/v1/knowledge-bases/{base}/documents"
    known = {entry["source_key"]: entry for entry in await api.pages(path) if entry["source_key"]}
    slots = asyncio.Semaphore(_AT_ONCE)
    bar.grow(2 * len(scan.files))

    async def one(file: LocalFile) -> Entry:
        async with slots:
            entry = await _add_one(api, path, file, known.get(file.source_key))
        bar.advance(f"{entry['outcome'] or 'failed'} {file.path.name}", 1 if entry["state"] in _PENDING and wait else 2)
        return entry

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(file), name=f"add {file.path.name}") for file in scan.files]
    entries = [task.result() for task in tasks]
    if prune:
        entries += await _prune(api, path, scan, known)
    if wait:
        await settle(api, base, entries, bar=bar)
    return entries


async def add_addresses(
    api: Api,
    base: str,
    addresses: Sequence[str],
    *,
    sitemap: bool,
    follow: bool,
    max_pages: int | None,
    wait: bool,
    bar: Bar,
) -> list[Entry]:
    """One entry per page; without `wait` one per crawl. Raises ApiError for an address that is refused."""
    path = f"/api/v1/knowledge-bases/{base}/documents"
    entries: list[Entry] = []
    for address in addresses:
        if not (sitemap or follow):
            entries.append({"path": address, "error": None, **await api.post(path, {"url": address})})
            continue
        body: Entry = {"sitemap": address} if sitemap else {"url": address, "follow": True}
        made = await api.post(path, body if max_pages is None else {**body, "max_pages": max_pages})
        if wait:
            entries += await _follow_crawl(api, f"/api/v1/knowledge-bases/{base}/crawls/{made['id']}", bar)
        else:
            entries.append(
                {"path": address, "id": made["id"], "outcome": "crawl", "state": made["state"], "error": None}
            )
    if wait:
        bar.grow(sum(entry["state"] in _PENDING for entry in entries))
        await settle(api, base, entries, bar=bar)
    return entries


async def _follow_crawl(api: Api, path: str, bar: Bar) -> list[Entry]:
    """Wait until a crawl has ended; an entry per page. Raises ApiError if it failed as a whole."""
    visited = known = 0
    while True:
        crawl = await api.get(path)
        now, waiting = sum(crawl["pages"].values()), crawl["pages"].get("waiting", 0)
        bar.grow(now - known)
        bar.advance("visiting", now - waiting - visited)
        known, visited = now, now - waiting
        if crawl["state"] not in _PENDING_CRAWL:
            break
        await asyncio.sleep(_POLL_S)
    if crawl["state"] == "failed":
        raise ApiError(422, "crawl_failed", crawl["error"] or "the crawl failed")
    return [
        {
            "path": page["url"],
            "id": page["document_id"],
            "outcome": page["state"],
            "state": "queued" if page["state"] in ("added", "replaced") else page["state"],
            "error": page["error"],
        }
        for page in await api.pages(f"{path}/pages")
    ]


async def settle(api: Api, base: str, entries: Sequence[Entry], *, bar: Bar) -> None:
    """Wait until none of the entries' documents is queued or indexing any more, and note how each ended."""
    path = f"/api/v1/knowledge-bases/{base}/documents"
    waiting = {entry["id"]: entry for entry in entries if entry["id"] and entry["state"] in _PENDING}
    seen, moved_at = "", time.monotonic()
    while waiting:
        pending = {doc["id"]: doc for state in _PENDING for doc in await api.pages(path, state=state)}
        for document_id in [one for one in waiting if one not in pending]:
            entry = waiting.pop(document_id)
            entry.update(await _ending(api, f"{path}/{document_id}"))
            bar.advance(f"{entry['state']} {entry['path']}", 1)
        now = str([(one, pending[one]["state"], pending[one]["progress"]) for one in sorted(waiting)])
        if now != seen:
            seen, moved_at = now, time.monotonic()
        if waiting and time.monotonic() - moved_at > _STALL_S:
            for entry in waiting.values():
                entry.update(state="failed", error="not indexed in time; does a worker run?")
            return
        if waiting:
            await asyncio.sleep(_POLL_S)


async def _add_one(api: Api, path: str, file: LocalFile, known: Entry | None) -> Entry:
    entry: Entry = {"path": str(file.path), "source_key": file.source_key, "id": None, "outcome": None, "chunks": 0}
    try:
        if known is not None and known["state"] != "failed":
            digest = await asyncio.to_thread(file.sha256)
            if digest == known["sha256"] and file.media_type == known["media_type"]:
                return {**entry, "id": known["id"], "outcome": "unchanged", "state": known["state"], "error": None}
        made = await api.upload(path, file.path, fields={"source_key": file.source_key}, media_type=file.media_type)
    except ApiError as error:
        return {**entry, "state": "failed", "error": error.message}
    except OSError as error:
        return {**entry, "state": "failed", "error": f"cannot be read: {error.strerror or error}"}
    return {**entry, "id": made["id"], "outcome": made["outcome"], "state": made["state"], "error": None}


async def _ending(api: Api, path: str) -> Entry:
    try:
        shown = await api.get(path)
    except ApiError as error:
        return {"state": "failed", "error": error.message}
    return {"state": shown["state"], "error": shown["error"], "chunks": shown["chunks"]}


async def _prune(api: Api, path: str, scan: Scan, known: dict[str, Entry]) -> list[Entry]:
    """Delete what came from the scanned folders and is not there any more."""
    here = {file.source_key for file in scan.files}
    gone = [
        entry
        for key, entry in known.items()
        if entry["source"] == "upload" and key not in here and key.startswith(tuple(scan.folders))
    ]
    for entry in gone:
        await api.delete(f"{path}/{entry['id']}")
    return [
        {"path": entry["source_key"], "source_key": entry["source_key"], "id": None, "outcome": "removed",
         "state": "removed", "error": None, "chunks": 0}
        for entry in gone
    ]  # fmt: skip
