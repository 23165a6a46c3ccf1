"""`kb`: knowledge from files and folders, over the REST API."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from chatwright.app.commands.base import confirm, emit, examples, run, table
from chatwright.app.commands.rest import Api, ApiError, Target, open_api, server_options
from chatwright.domain.errors import ChatwrightError

MEDIA_TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".txt": "text/plain",
    ".rst": "text/plain",
    ".html": "text/html",
    ".htm": "text/html",
}
_AT_ONCE = 4
_INDEX_WITHIN_S = 600.0


class KnowledgeFailed(ChatwrightError):
    """Some documents did not get in; the message says which and why."""

    code = "knowledge_failed"


@click.group(
    epilog=examples(
        "chatwright kb add demo ./handbook FAQ.md",
        "chatwright kb search demo 'opening hours'",
        "chatwright kb list demo --json",
    )
)
def kb() -> None:
    """The knowledge of a chatbot: what it may quote."""


@kb.command("add", epilog=examples("chatwright kb add demo ./handbook", "chatwright kb add demo a.md b.html --no-wait"))
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--wait/--no-wait", default=True, help="Wait until all is indexed. [default: wait]")
@server_options
def kb_add(chatbot_ref: str, paths: tuple[Path, ...], wait: bool, target: Target) -> None:
    """Add files, or every Markdown, text and HTML file under a folder."""
    files = list(_collect(paths))
    if not files:
        raise click.UsageError(f"nothing to add: no file ends with {', '.join(sorted(MEDIA_TYPES))}")

    async def work(advance: Callable[[str, int], None]) -> list[dict[str, Any]]:
        async with open_api(target) as api:
            return await _add(api, chatbot_ref, files, wait=wait, advance=advance)

    results = _with_progress(work, total=len(files) * (2 if wait else 1), quiet=target.as_json)
    failed = [entry for entry in results if entry["state"] == "failed"]
    emit(
        {"documents": results, "failed": len(failed)},
        as_json=target.as_json,
        human=lambda value: click.echo(_summary(value["documents"], chatbot_ref)),
    )
    if failed:
        reasons = "; ".join(f"{entry['path']}: {entry['error']}" for entry in failed[:5])
        raise KnowledgeFailed(f"{len(failed)} of {len(results)} documents failed: {reasons}")


@kb.command("list")
@click.argument("chatbot_ref", metavar="CHATBOT")
@server_options
def kb_list(chatbot_ref: str, target: Target) -> None:
    """List the documents a chatbot knows."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target) as api:
            base = await _knowledge_base(api, chatbot_ref)
            return await api.pages(f"/api/v1/knowledge-bases/{base}/documents")

    def human(items: list[dict[str, Any]]) -> None:
        columns = ("id", "title", "state", "chunk_count", "error")
        table(columns, [[entry.get(column) for column in columns] for entry in items])

    emit(run(work()), as_json=target.as_json, human=human)


@kb.command("search")
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("query")
@click.option("-k", "count", default=5, show_default=True, help="Passages to show.")
@server_options
def kb_search(chatbot_ref: str, query: str, count: int, target: Target) -> None:
    """Search as an answer would, and show the scores."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target) as api:
            base = await _knowledge_base(api, chatbot_ref)
            found = await api.get(f"/api/v1/knowledge-bases/{base}/search", q=query, k=count)
            return found["results"]

    def human(results: list[dict[str, Any]]) -> None:
        rows = [[f"{hit['score']:.3f}", hit["title"], _short(hit["text"])] for hit in results]
        table(["score", "title", "passage"], rows, empty="nothing matches")

    emit(run(work()), as_json=target.as_json, human=human)


@kb.command("remove")
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("document_ids", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def kb_remove(chatbot_ref: str, document_ids: tuple[str, ...], yes: bool, target: Target) -> None:
    """Remove documents; the chatbot no longer quotes them."""
    confirm(f"Remove {len(document_ids)} document(s) from {chatbot_ref}?", yes=yes)

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            base = await _knowledge_base(api, chatbot_ref)
            for document_id in document_ids:
                await api.delete(f"/api/v1/knowledge-bases/{base}/documents/{document_id}")
            return {"removed": list(document_ids)}

    emit(run(work()), as_json=target.as_json, human=lambda made: click.echo(f"removed {len(made['removed'])}"))


async def _add(
    api: Api, chatbot_ref: str, files: list[Path], *, wait: bool, advance: Callable[[str, int], None]
) -> list[dict[str, Any]]:
    import asyncio

    base = await _knowledge_base(api, chatbot_ref)
    slots = asyncio.Semaphore(_AT_ONCE)
    give_up_at = time.monotonic() + _INDEX_WITHIN_S

    async def one(file: Path) -> dict[str, Any]:
        async with slots:
            entry = await _send(api, base, file)
            advance(f"sent {file.name}", 1)
            if not wait:
                return entry
            while entry["state"] not in {"indexed", "failed"} and time.monotonic() < give_up_at:
                await asyncio.sleep(0.25)
                now = await api.get(f"/api/v1/knowledge-bases/{base}/documents/{entry['id']}")
                entry = {**entry, "state": now["state"], "error": now.get("error")}
            advance(f"indexed {file.name}", 1)
            if entry["state"] not in {"indexed", "failed"}:
                entry = {**entry, "state": "failed", "error": "not indexed in time; does a worker run?"}
            return entry

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(file), name=f"add {file.name}") for file in files]
    return [task.result() for task in tasks]


async def _send(api: Api, base: str, file: Path) -> dict[str, Any]:
    """Add one file; a refusal is a result, so that the other files still get in."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return {"path": str(file), "id": None, "state": "failed", "error": f"cannot be read as UTF-8 text: {error}"}
    body = {"title": _title(file, text), "text": text, "media_type": MEDIA_TYPES[file.suffix.lower()]}
    try:
        made = await api.post(f"/api/v1/knowledge-bases/{base}/documents", body)
    except ApiError as error:
        return {"path": str(file), "id": None, "state": "failed", "error": error.message}
    return {"path": str(file), "id": made["id"], "state": made["state"], "error": None}


async def _knowledge_base(api: Api, chatbot_ref: str) -> str:
    found = await api.get(f"/api/v1/chatbots/{chatbot_ref}")
    if not found.get("knowledge_base_id"):
        raise KnowledgeFailed(f"chatbot {chatbot_ref} has no knowledge base; set knowledge_base_id")
    return str(found["knowledge_base_id"])


def _collect(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in MEDIA_TYPES and file.is_file() and not _hidden(file.relative_to(path))
            )
        elif path.suffix.lower() in MEDIA_TYPES:
            yield path
        else:
            raise click.UsageError(f"{path}: only {', '.join(sorted(MEDIA_TYPES))} can be read")


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _title(file: Path, text: str) -> str:
    if file.suffix.lower() in {".md", ".markdown"}:
        for line in text.splitlines()[:20]:
            if line.startswith("# "):
                return line[2:].strip()[:200]
    return file.stem.replace("-", " ").replace("_", " ")[:200]


def _with_progress(
    work: Callable[[Callable[[str, int], None]], Any], *, total: int, quiet: bool
) -> list[dict[str, Any]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return run(work(lambda _text, _count: None))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("reading", total=total)
        return run(work(lambda text, count: progress.update(bar, description=text, advance=count)))


def _summary(documents: list[dict[str, Any]], chatbot_ref: str) -> str:
    counts: dict[str, int] = {}
    for entry in documents:
        counts[entry["state"]] = counts.get(entry["state"], 0) + 1
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return f"{told}. Try: chatwright kb search {chatbot_ref} 'your question'"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else line[:159] + "…"
