"""`kb`: knowledge from files, folders, pages and sites; shown, searched and measured. Over the REST API."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from chatwright.app.commands.base import confirm, details, emit, examples, run, table
from chatwright.app.commands.progress import Bar, with_bar
from chatwright.app.commands.rest import Api, Target, open_api, server_options
from chatwright.domain.errors import ChatwrightError

_ADDRESSES = ("http://", "https://")
_LEFT_OUT_SHOWN = 20


class KnowledgeFailed(ChatwrightError):
    """Some documents did not get in; the message says which and why."""

    code = "knowledge_failed"


@click.group(
    epilog=examples(
        "chatwright kb add demo ./handbook FAQ.md",
        "chatwright kb add demo https://example.com/sitemap.xml --sitemap",
        "chatwright kb search demo 'opening hours' --explain",
        "chatwright kb eval demo questions.csv",
        "chatwright kb list demo --state failed",
    )
)
def kb() -> None:
    """The knowledge of a chatbot: what it may quote."""


@kb.command(
    "add",
    epilog=examples(
        "chatwright kb add demo ./handbook                       # a folder; again: only what has changed",
        "chatwright kb add demo ./handbook --prune               # and take out what is gone from it",
        "chatwright kb add demo prices.xlsx terms.pdf --no-wait",
        "chatwright kb add demo https://example.com/returns      # a page",
        "chatwright kb add demo https://example.com/ --follow --max-pages 50",
        "chatwright kb add demo https://example.com/ --sitemap   # all that its sitemap lists",
    ),
)
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("sources", metavar="PATH_OR_ADDRESS...", nargs=-1, required=True)
@click.option("--prune", is_flag=True, help="Remove documents of the folders whose file is gone.")
@click.option("--name", help="Call the folder this, instead of by its own name.")
@click.option("--sitemap", is_flag=True, help="The address is a sitemap, or a site that has one.")
@click.option("--follow", is_flag=True, help="Also read the pages of the same site that the page leads to.")
@click.option("--max-pages", type=click.IntRange(min=1), help="Of a sitemap or site at most. [default: the server's]")
@click.option("--wait/--no-wait", default=True, help="Wait until all is indexed. [default: wait]")
@server_options
def kb_add(
    chatbot_ref: str,
    sources: tuple[str, ...],
    prune: bool,
    name: str | None,
    sitemap: bool,
    follow: bool,
    max_pages: int | None,
    wait: bool,
    target: Target,
) -> None:
    """Add files, folders, pages or sites. What was added before is replaced if it has changed, else left alone."""
    addresses = [source for source in sources if source.lower().startswith(_ADDRESSES)]
    paths = [Path(source) for source in sources if not source.lower().startswith(_ADDRESSES)]
    if addresses and paths:
        raise click.UsageError("Add files and addresses one after the other.")
    if sitemap and follow:
        raise click.UsageError("Choose one of --sitemap and --follow.")
    if paths and (sitemap or follow or max_pages):
        raise click.UsageError("--sitemap, --follow and --max-pages are for addresses.")
    if addresses and (prune or name):
        raise click.UsageError("--prune and --name are for folders.")
    if addresses:
        _add_addresses(target, chatbot_ref, addresses, sitemap=sitemap, follow=follow, max_pages=max_pages, wait=wait)
    else:
        _add_paths(target, chatbot_ref, paths, prune=prune, name=name, wait=wait)


@kb.command("list", epilog=examples("chatwright kb list demo", "chatwright kb list demo --state failed --json"))
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.option("--state", type=click.Choice(["queued", "indexing", "indexed", "failed"]), help="Only these.")
@server_options
def kb_list(chatbot_ref: str, state: str | None, target: Target) -> None:
    """List the documents a chatbot knows, and what is wrong with them."""

    async def work(api: Api, base: str) -> list[dict[str, Any]]:
        return await api.pages(f"{base}/documents", state=state)

    def human(items: list[dict[str, Any]]) -> None:
        columns = ("id", "title", "source_key", "state", "chunks", "language", "error")
        table(columns, [[entry.get(column) for column in columns] for entry in items])

    emit(_asked(target, chatbot_ref, work), as_json=target.as_json, human=human)


@kb.command("show", epilog=examples("chatwright kb show demo 0198…", "chatwright kb show demo 0198… --chunks"))
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("document_id")
@click.option("--chunks", "with_chunks", is_flag=True, help="Also the passages that it was cut into.")
@server_options
def kb_show(chatbot_ref: str, document_id: str, with_chunks: bool, target: Target) -> None:
    """Show one document: state, error, warnings, pages, language, and its passages."""

    async def work(api: Api, base: str) -> dict[str, Any]:
        shown = await api.get(f"{base}/documents/{document_id}")
        if with_chunks:
            shown["passages"] = await api.pages(f"{base}/documents/{document_id}/chunks")
        return shown

    def human(shown: dict[str, Any]) -> None:
        passages = shown.pop("passages", ())
        details(shown)
        for passage in passages:
            where = " · ".join(
                str(part) for part in (passage["heading"], passage["page"] and f"page {passage['page']}") if part
            )
            click.secho(f"\n[{passage['ordinal']}] {where}  ({passage['tokens']} tokens)", bold=True)
            click.echo(passage["text"])

    emit(_asked(target, chatbot_ref, work), as_json=target.as_json, human=human)


@kb.command("status")
@click.argument("chatbot_ref", metavar="CHATBOT")
@server_options
def kb_status(chatbot_ref: str, target: Target) -> None:
    """Show how much a chatbot knows, what is being indexed, and which embedder it has."""

    async def work(api: Api, base: str) -> dict[str, Any]:
        shown = await api.get(base)
        shown["crawls"] = (await api.get(f"{base}/crawls", limit=5))["items"]
        return shown

    def human(shown: dict[str, Any]) -> None:
        crawls = shown.pop("crawls")
        details(shown)
        for crawl in crawls:
            counts = ", ".join(f"{count} {state}" for state, count in crawl["pages"].items())
            told = " · ".join(part for part in (crawl["state"], counts, crawl["error"]) if part)
            click.echo(f"{crawl['kind']} {crawl['url']}  {told}")

    emit(_asked(target, chatbot_ref, work), as_json=target.as_json, human=human)


@kb.command("search", epilog=examples("chatwright kb search demo 'opening hours' -k 10 --explain"))
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("query")
@click.option("-k", "count", default=5, show_default=True, help="Passages to show.")
@click.option(
    "--explain", is_flag=True, help="Show how each score came about, and why a passage would not be a source."
)
@server_options
def kb_search(chatbot_ref: str, query: str, count: int, explain: bool, target: Target) -> None:
    """Search as an answer would, and show the scores."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            chatbot = await _chatbot_with_knowledge(api, chatbot_ref)
            return await api.get(
                f"/api/v1/knowledge-bases/{chatbot['knowledge_base_id']}/search",
                q=query,
                k=count,
                threshold=chatbot.get("relevance_threshold"),
            )

    found = run(work())

    def human(found: dict[str, Any]) -> None:
        columns = ["score", "title", "passage", *(["how", "why not"] if explain else [])]
        rows = [
            [
                f"{hit['score']:.3f}",
                hit["title"],
                _short(hit["text"]),
                *([_how(hit), hit["why_not"]] if explain else []),
            ]
            for hit in found["results"]
        ]
        table(columns, rows, empty="nothing matches")
        if rows and found["results"][0]["score"] < found["threshold"]:
            click.echo(f"nothing reaches {found['threshold']:g}: the chatbot would say that it does not know")

    # Without --explain the list alone, as scripts know it.
    emit(found if explain or not target.as_json else found["results"], as_json=target.as_json, human=human)


@kb.command(
    "eval",
    epilog=examples(
        "chatwright kb eval demo questions.csv",
        "chatwright kb eval demo questions.csv --verbose",
        "printf 'question,expected\\nWhen do you open?,Opening hours\\n' | chatwright kb eval demo -",
    ),
)
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.option("--verbose", is_flag=True, help="List the questions that did not find what was expected.")
@server_options
def kb_eval(chatbot_ref: str, file: Any, verbose: bool, target: Target) -> None:
    """Measure the search with questions of your own.

    FILE is a CSV with the columns `question` and `expected`: a document's title, id, source key or address, several
    with | between them. Or `answer`: words that a passage must hold. A row with neither has no answer in the knowledge.
    """
    from chatwright.app.commands import knowledge_eval
    from chatwright.pipeline.knowledge_eval import read_questions

    questions = read_questions(file)

    async def work(bar: Bar) -> Any:
        bar.grow(len(questions))
        async with open_api(target) as api:
            base = await _knowledge_base(api, chatbot_ref)
            tell = partial(bar.advance, "asking")
            return await knowledge_eval.evaluate_base(api, base, questions, tell=tell)

    report = with_bar(work, quiet=target.as_json)
    if target.as_json:
        emit(knowledge_eval.as_json(report), as_json=True, human=click.echo)
    else:
        knowledge_eval.show(report, verbose=verbose)


@kb.command("remove")
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("document_ids", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def kb_remove(chatbot_ref: str, document_ids: tuple[str, ...], yes: bool, target: Target) -> None:
    """Remove documents; the chatbot no longer quotes them."""
    confirm(f"Remove {len(document_ids)} document(s) from {chatbot_ref}?", yes=yes)

    async def work(api: Api, base: str) -> dict[str, Any]:
        for document_id in document_ids:
            await api.delete(f"{base}/documents/{document_id}")
        return {"removed": list(document_ids)}

    emit(
        _asked(target, chatbot_ref, work),
        as_json=target.as_json,
        human=lambda made: click.echo(f"removed {len(made['removed'])}"),
    )


kb.add_command(kb_remove, "delete")


@kb.command("reindex", epilog=examples("chatwright kb reindex demo 0198…", "chatwright kb reindex demo --failed"))
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("document_ids", nargs=-1)
@click.option("--failed", is_flag=True, help="All that failed.")
@server_options
def kb_reindex(chatbot_ref: str, document_ids: tuple[str, ...], failed: bool, target: Target) -> None:
    """Read and index documents again; those that failed, after their cause was mended."""
    if bool(document_ids) == failed:
        raise click.UsageError("Name documents, or say --failed.")

    async def work(api: Api, base: str) -> dict[str, Any]:
        ids = (
            [entry["id"] for entry in await api.pages(f"{base}/documents", state="failed")] if failed else document_ids
        )
        for document_id in ids:
            await api.post(f"{base}/documents/{document_id}/reindex")
        return {"queued": list(ids)}

    emit(
        _asked(target, chatbot_ref, work),
        as_json=target.as_json,
        human=lambda made: click.echo(f"queued {len(made['queued'])}"),
    )


def _add_paths(
    target: Target, chatbot_ref: str, paths: list[Path], *, prune: bool, name: str | None, wait: bool
) -> None:
    from chatwright.app.commands.knowledge_add import add_files
    from chatwright.app.commands.knowledge_folder import MEDIA_TYPES, scan

    found = scan(paths, name=name)
    if not target.as_json:
        _tell_left_out(found.left_out)
    if not found.files and not prune:
        raise click.UsageError(f"Nothing to add: no file ends with {', '.join(sorted(MEDIA_TYPES))}.")

    async def work(bar: Bar) -> list[dict[str, Any]]:
        async with open_api(target) as api:
            base = await _knowledge_base(api, chatbot_ref)
            return await add_files(api, base, found, prune=prune, wait=wait, bar=bar)

    entries = with_bar(work, quiet=target.as_json)
    _report(target, chatbot_ref, entries, left_out=found.left_out)


def _add_addresses(
    target: Target,
    chatbot_ref: str,
    addresses: list[str],
    *,
    sitemap: bool,
    follow: bool,
    max_pages: int | None,
    wait: bool,
) -> None:
    from chatwright.app.commands.knowledge_add import add_addresses

    async def work(bar: Bar) -> list[dict[str, Any]]:
        async with open_api(target) as api:
            base = await _knowledge_base(api, chatbot_ref)
            return await add_addresses(
                api, base, addresses, sitemap=sitemap, follow=follow, max_pages=max_pages, wait=wait, bar=bar
            )

    _report(target, chatbot_ref, with_bar(work, quiet=target.as_json), left_out={})


def _report(target: Target, chatbot_ref: str, entries: list[dict[str, Any]], *, left_out: dict[str, str]) -> None:
    failed = [entry for entry in entries if entry["state"] == "failed"]
    value = {"documents": entries, "failed": len(failed), "left_out": left_out}
    emit(value, as_json=target.as_json, human=lambda _: click.echo(_summary(entries, chatbot_ref)))
    if failed:
        reasons = "; ".join(f"{entry['path']}: {entry['error']}" for entry in failed[:5])
        raise KnowledgeFailed(f"{len(failed)} of {len(entries)} documents failed: {reasons}")


def _summary(entries: list[dict[str, Any]], chatbot_ref: str) -> str:
    outcomes: dict[str, int] = {}
    for entry in entries:
        told = "failed" if entry["state"] == "failed" else entry["outcome"]
        outcomes[told] = outcomes.get(told, 0) + 1
    if set(outcomes) == {"unchanged"}:
        return f"{outcomes['unchanged']} documents unchanged, 0 embedded"
    order = ("added", "replaced", "unchanged", "removed", "skipped", "crawl", "failed")
    counts = ", ".join(f"{outcomes[one]} {one}" for one in order if one in outcomes)
    waiting = sum(entry["state"] in ("queued", "indexing") for entry in entries)
    rest = f"; {waiting} still to be indexed, see `chatwright kb status {chatbot_ref}`" if waiting else ""
    return f"{counts}{rest}. Try: chatwright kb search {chatbot_ref} 'your question'"


def _tell_left_out(left_out: dict[str, str]) -> None:
    for path, why in list(left_out.items())[:_LEFT_OUT_SHOWN]:
        click.echo(f"left out {path}: {why}", err=True)
    if len(left_out) > _LEFT_OUT_SHOWN:
        click.echo(f"… and {len(left_out) - _LEFT_OUT_SHOWN} more files", err=True)


def _asked(target: Target, chatbot_ref: str, work: Callable[[Api, str], Awaitable[Any]]) -> Any:
    """Run `work` with the API and the path of the chatbot's knowledge base."""

    async def asked() -> Any:
        async with open_api(target) as api:
            return await work(api, f"/api/v1/knowledge-bases/{await _knowledge_base(api, chatbot_ref)}")

    return run(asked())


async def _knowledge_base(api: Api, chatbot_ref: str) -> str:
    return str((await _chatbot_with_knowledge(api, chatbot_ref))["knowledge_base_id"])


async def _chatbot_with_knowledge(api: Api, chatbot_ref: str) -> dict[str, Any]:
    found = await api.get(f"/api/v1/chatbots/{chatbot_ref}")
    if not found.get("knowledge_base_id"):
        raise KnowledgeFailed(f"chatbot {chatbot_ref} has no knowledge base; set knowledge_base_id")
    return found


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else line[:159] + "…"


def _how(hit: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in hit["explain"].items() if value not in (None, "", []))
