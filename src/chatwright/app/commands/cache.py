"""`cache`: what a chatbot's caches hold, where it came from, purging and warming them. Over the REST API."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import click

from chatwright.app.commands.base import confirm, details, emit, examples, run
from chatwright.app.commands.rest import Api, Target, open_api, server_options

_AT_ONCE = 100
_LEFT_OUT_SHOWN = 20
_ENDINGS = (".csv", ".jsonl", ".ndjson", ".json")


@click.group(
    "cache",
    epilog=examples(
        "chatwright cache stats demo",
        "chatwright cache inspect demo --text 'opening hours'",
        "chatwright cache purge demo --answer 0198…      # a wrong answer, with its kin",
        "chatwright cache warm demo                      # the questions of its knowledge base",
        "chatwright cache warm demo --file faq.csv",
    ),
)
def cache() -> None:
    """Answers given again: see what is kept, take out what is wrong, teach what is known."""


@cache.command("stats", epilog=examples("chatwright cache stats demo", "chatwright cache stats demo --json"))
@click.argument("chatbot_ref", metavar="CHATBOT")
@server_options
def stats(chatbot_ref: str, target: Target) -> None:
    """Show how much is kept, what was learned, and how often the semantic tier is wrong."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.get(_path(chatbot_ref))

    def human(shown: dict[str, Any]) -> None:
        exact, semantic, false_hits = shown["exact"], shown["semantic"], shown["false_hits"]
        details(
            {
                "mode": shown["mode"],
                "exact tier": f"{exact['entries']:,} answers, {exact['bytes'] / 1024:,.0f} KiB",
                "semantic tier": semantic["state"],
                "classes": f"{semantic['classes']:,}, with {semantic['live']:,} answers that hold",
                "phrasings": f"{semantic['verified']:,} verified, {semantic['rejected']:,} rejected",
                "hits": f"{semantic['hits']:,}",
                "router": f"trained {semantic['trained_at']} on {semantic['examples']:,} questions"
                if semantic["trained_at"]
                else "not trained yet",
                "wrong answers": _rate(false_hits),
            }
        )

    emit(run(work()), as_json=target.as_json, human=human)


@cache.command(
    "inspect",
    epilog=examples(
        "chatwright cache inspect demo",
        "chatwright cache inspect demo --text refund",
        "chatwright cache inspect demo --document 0198… --json",
        "chatwright cache inspect demo --tier exact --limit 10",
    ),
)
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.option("--document", "document_id", help="Answers made with this document.")
@click.option("--text", help="Words in a question, a phrasing or an answer.")
@click.option("--answer", "answer_id", help="What was made of this answer, or says the same.")
@click.option("--class", "class_id", help="One class.")
@click.option("--tier", type=click.Choice(["semantic", "exact"]), default="semantic", show_default=True)
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="Entries to show.")
@server_options
def inspect(
    chatbot_ref: str,
    document_id: str | None,
    text: str | None,
    answer_id: str | None,
    class_id: str | None,
    tier: str,
    limit: int,
    target: Target,
) -> None:
    """List entries: questions, their answer, and where it came from."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target) as api:
            shown = await api.get(
                f"{_path(chatbot_ref)}/entries",
                document_id=document_id,
                text=text,
                answer_id=answer_id,
                class_id=class_id,
                tier=tier,
                limit=limit,
            )
            return shown["items"]

    def human(items: list[dict[str, Any]]) -> None:
        for item in items:
            _show_class(item) if tier == "semantic" else _show_exact(item)
        if not items:
            click.echo("nothing here: no entry of this tier is meant; `chatwright cache stats` counts what there is")

    emit(run(work()), as_json=target.as_json, human=human)


@cache.command(
    "purge",
    epilog=examples(
        "chatwright cache purge demo --answer 0198…              # it, its class, and what the same documents made",
        "chatwright cache purge demo --document 0198…",
        "chatwright cache purge demo --text 'free shipping' --no-kin",
        "chatwright cache purge demo --class 0198… --forget      # also what was learned of its questions",
        "chatwright cache purge demo --everything --yes",
    ),
)
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.option("--document", "document_id", help="Answers made with this document.")
@click.option("--text", help="Words in a question, a phrasing or an answer.")
@click.option("--answer", "answer_id", help="What was made of this answer, or says the same.")
@click.option("--class", "class_id", help="The answers of this class.")
@click.option("--everything", is_flag=True, help="Every answer of the chatbot.")
@click.option("--kin/--no-kin", default=True, help="Also what shares a class or a document with it. [default: kin]")
@click.option("--forget", is_flag=True, help="Also what was learned of the questions, not only the answers.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def purge(
    chatbot_ref: str,
    document_id: str | None,
    text: str | None,
    answer_id: str | None,
    class_id: str | None,
    everything: bool,
    kin: bool,
    forget: bool,
    yes: bool,
    target: Target,
) -> None:
    """Take answers out of both tiers, in all processes within a second. Their questions are answered anew."""
    given = {"document_id": document_id, "text": text, "answer_id": answer_id, "class_id": class_id}
    wanted = {name: value for name, value in given.items() if value is not None}
    if bool(wanted) == everything:
        raise click.UsageError("Say what: --document, --text, --answer or --class; or --everything alone.")
    if everything or forget:
        what = (
            "everything that was learned"
            if everything and forget
            else "every answer"
            if everything
            else "what it learned"
        )
        confirm(f"Purge {what} of {chatbot_ref}?", yes=yes)

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            body = {**wanted, "everything": everything, "kin": kin, "forget": forget}
            return await api.post(f"{_path(chatbot_ref)}/purge", body)

    def human(gone: dict[str, Any]) -> None:
        told = f"purged {gone['exact']} of the exact tier, {gone['answers']} answers of the semantic one"
        if forget:
            told += f", {gone['classes']} classes"
        if gone["documents"]:
            told += f"; with all that came from {len(gone['documents'])} document(s)"
        click.echo(told)

    emit(run(work()), as_json=target.as_json, human=human)


@cache.command(
    "reject",
    epilog=examples("chatwright cache reject demo --class 0198… 'what is the top-up limit'      # as inspect shows it"),
)
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("text", metavar="QUESTION")
@click.option("--class", "class_id", required=True, help="The class whose answer is wrong for it.")
@server_options
def reject(chatbot_ref: str, text: str, class_id: str, target: Target) -> None:
    """Take one question out of a class: it is given the class's answer no more, and answered anew."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.post(f"{_path(chatbot_ref)}/rejections", {"class_id": class_id, "text": text})

    def human(done: dict[str, Any]) -> None:
        told = (
            "taken out of the class" if done["was_phrasing"] else "noted as a question that the class does not answer"
        )
        click.echo(told + ("; it was the only one, and the class is gone" if done["class_gone"] else ""))

    emit(run(work()), as_json=target.as_json, human=human)


@cache.command(
    "warm",
    epilog=examples(
        "chatwright cache warm demo                      # the questions that stand in its documents",
        "chatwright cache warm demo --file faq.csv       # columns: question, answer, phrasings (with | between)",
        'chatwright cache warm demo --file faq.jsonl     # {"question": …, "answer": …, "phrasings": […]}',
        "cat faq.jsonl | chatwright cache warm demo --file -",
    ),
)
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.option(
    "--file", type=click.File("r", encoding="utf-8-sig"), help="Reviewed questions and answers; - reads JSON lines."
)
@server_options
def warm(chatbot_ref: str, file: TextIO | None, target: Target) -> None:
    """Teach questions with their answers before anybody asks: of a file, or of the chatbot's knowledge base.

    The answers hold for the chatbot as it is now. Warm it again after its configuration or knowledge has changed.
    """
    items = None if file is None else list(read_seeds(file))
    if items == []:
        raise click.UsageError("There is no question in this file.")

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await _warm(api, f"{_path(chatbot_ref)}/seeds", items)

    emit(run(work()), as_json=target.as_json, human=_show_warmed)


def read_seeds(file: TextIO) -> Iterator[dict[str, Any]]:
    """The questions of a CSV or of JSON lines. Raises UsageError naming the line that cannot be read."""
    name = (getattr(file, "name", "") or "").lower()
    text = file.read()
    if name.endswith(".csv"):
        yield from _of_csv(text)
        return
    if name.endswith(_ENDINGS) or text.lstrip()[:1] in ("{", "["):
        yield from _of_json(text)
        return
    raise click.UsageError("The file is a CSV (.csv) or JSON lines (.jsonl).")


def _of_csv(text: str) -> Iterator[dict[str, Any]]:
    rows = csv.DictReader(io.StringIO(text))
    columns = [(name or "").strip().lower() for name in rows.fieldnames or ()]
    if not {"question", "answer"} <= set(columns):
        raise click.UsageError("The first line names the columns: question, answer and, if you like, phrasings.")
    rows.fieldnames = columns
    for row in rows:
        question, answer = (row.get("question") or "").strip(), (row.get("answer") or "").strip()
        if not question and not answer:
            continue
        if not question or not answer:
            raise click.UsageError(f"Line {rows.line_num} lacks its {'answer' if question else 'question'}.")
        phrasings = [part.strip() for part in (row.get("phrasings") or "").split("|") if part.strip()]
        yield {"question": question, "answer": answer, "phrasings": phrasings}


def _of_json(text: str) -> Iterator[dict[str, Any]]:
    lines = enumerate(json.loads(text), 1) if text.lstrip().startswith("[") else _json_lines(text)
    for number, value in lines:
        fields: Any = value
        if not isinstance(fields, Mapping) or not fields.get("question") or not fields.get("answer"):
            raise click.UsageError(f"Line {number} is no object with question and answer.")
        phrasings = fields.get("phrasings") or []
        yield {"question": fields["question"], "answer": fields["answer"], "phrasings": phrasings}


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise click.UsageError(f"Line {number} is no JSON: {error}") from error


async def _warm(api: Api, path: str, items: list[dict[str, Any]] | None) -> dict[str, Any]:
    total: dict[str, Any] = {"classes": 0, "renewed": 0, "phrasings": 0, "left_out": []}
    if items is not None:
        for start in range(0, len(items), _AT_ONCE):
            _add(total, await api.post(path, {"items": items[start : start + _AT_ONCE]}))
        return total
    after: str | None = None
    while True:
        done = await api.post(path, {"from_knowledge": True, **({"after": after} if after else {})})
        _add(total, done)
        after = done["after"]
        if after is None:
            return total


def _add(total: dict[str, Any], done: Mapping[str, Any]) -> None:
    for name in total:
        total[name] += done[name]


def _show_warmed(done: dict[str, Any]) -> None:
    for one in done["left_out"][:_LEFT_OUT_SHOWN]:
        click.echo(f"left out {_short(one['question'])!r}: {one['why']}", err=True)
    if (more := len(done["left_out"]) - _LEFT_OUT_SHOWN) > 0:
        click.echo(f"… and {more} more questions", err=True)
    if not done["phrasings"]:
        click.echo("nothing was taught: give --file, or add documents with questions (`chatwright kb add`)")
        return
    click.echo(f"taught {done['phrasings']} questions: {done['classes']} new answers, {done['renewed']} renewed")


def _show_class(item: dict[str, Any]) -> None:
    click.secho(
        f"class {item['id']}  {item['hits']} hits, {item['agreed']} checks right, {item['disagreed']} wrong", bold=True
    )
    for phrasing in item["phrasings"]:
        mark = "  " if phrasing["verdict"] == "verified" else "✗ "
        click.echo(f"  {mark}{_short(phrasing['text'])}  ({phrasing['origin']})")
    for answer in item["answers"]:
        state = f"holds until {answer['expires_at']}" if answer["live"] else "has expired"
        click.echo(f"  → {_short(answer['text'])}")
        click.echo(f"    {state}; {_origin(answer)}")
    if not item["answers"]:
        click.echo("  → no answer now: the next question is answered anew")


def _show_exact(item: dict[str, Any]) -> None:
    click.secho(_short(item["question"]), bold=True)
    click.echo(f"  → {_short(item['text'])}")
    click.echo(f"    {item['ttl_s']} s left; {_origin(item)}")


def _origin(answer: Mapping[str, Any]) -> str:
    made = answer["provenance"]
    told = [f"{answer['provider']}/{answer['model']}", f"revision {made['revision']}"]
    if made["document_ids"]:
        told.append(f"knowledge {made['knowledge_version']}, documents {', '.join(made['document_ids'])}")
    if made["answer_id"]:
        told.append(f"answer {made['answer_id']}")
    return " · ".join(told)


def _rate(figures: Mapping[str, Any]) -> str:
    if figures["rate"] is None:
        return f"not measured yet; the bound is {figures['max_error']:.1%}"
    spread = f"{figures['low']:.1%} to {figures['high']:.1%}"
    return f"{figures['rate']:.1%} ({spread}, {figures['checks']} checks); the bound is {figures['max_error']:.1%}"


def _short(text: str, at_most: int = 100) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= at_most else flat[: at_most - 1] + "…"


def _path(chatbot_ref: str) -> str:
    return f"/api/v1/chatbots/{chatbot_ref}/cache"
