"""The work of `kb eval`: asks a server's search a file of questions and shows what that comes to."""

from collections.abc import Callable
from typing import Any

import click

from chatwright.app.commands.base import table
from chatwright.app.commands.rest import Api
from chatwright.pipeline.knowledge_eval import DEPTH, Found, Question, Report, evaluate

_MISSES_SHOWN = 50


async def evaluate_base(api: Api, base: str, questions: list[Question], *, tell: Callable[[int], None]) -> Report:
    """Ask every question; says on standard error which expected documents are not there. Raises ApiError."""
    path = f"/api/v1/knowledge-bases/{base}"
    documents = await api.pages(f"{path}/documents")
    keys = {entry["id"]: entry["source_key"] for entry in documents}
    there = {str(entry.get(name)).casefold() for entry in documents for name in ("id", "title", "source_key", "url")}
    expected = dict.fromkeys(name for question in questions for name in question.expected)
    if strange := [name for name in expected if name.casefold() not in there]:
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        click.echo(f"no document is called {', '.join(map(repr, strange[:5]))}{more}: `kb list` shows them", err=True)
    first = await api.get(f"{path}/search", q=questions[0].text, k=1)

    async def search(question: str) -> list[Found]:
        found = await api.get(f"{path}/search", q=question, k=DEPTH)
        return [
            Found(
                document_id=hit["document_id"],
                title=hit["title"],
                text=hit["text"],
                score=hit["score"],
                source_key=keys.get(hit["document_id"]),
                url=hit.get("url"),
            )
            for hit in found["results"]
        ]

    return await evaluate(search, questions, threshold=first["threshold"], tell=tell)


def as_json(report: Report) -> dict[str, Any]:
    """Everything, the misses with what was found instead."""
    return {
        "questions": report.questions,
        "unanswerable": report.unanswerable,
        "recall": report.recall and {str(k): round(value, 4) for k, value in report.recall.items()},
        "ndcg_10": report.ndcg and round(report.ndcg, 4),
        "mrr": report.mrr and round(report.mrr, 4),
        "kept": report.kept and round(report.kept, 4),
        "abstained": report.abstained and round(report.abstained, 4),
        "threshold": report.threshold,
        "misses": [
            {
                "question": miss.question.text,
                "expected": list(miss.question.expected) or [miss.question.answer],
                "rank": min(miss.ranks) if miss.ranks else None,
                "found": [{"title": hit.title, "score": round(hit.score, 4)} for hit in miss.hits[:3]],
            }
            for miss in report.misses
        ],
    }


def show(report: Report, *, verbose: bool) -> None:
    """A table for people."""
    rows = [["questions", str(report.questions)]]
    if report.recall is not None:
        rows += [[f"recall@{k}", f"{value:.3f}"] for k, value in report.recall.items()]
        rows += [["nDCG@10", f"{report.ndcg:.3f}"], ["MRR", f"{report.mrr:.3f}"]]
        rows.append([f"source in the top 5 and at least {report.threshold:g}", f"{report.kept:.3f}"])
    if report.abstained is not None:
        rows.append(
            [f"of {report.unanswerable} unanswerable: nothing at least {report.threshold:g}", f"{report.abstained:.3f}"]
        )
    table(("measure", "value"), rows)
    if not report.misses:
        return
    if not verbose:
        click.echo(f"{len(report.misses)} questions did not find what was expected in the top 5; --verbose lists them")
        return
    for miss in report.misses[:_MISSES_SHOWN]:
        wanted = " | ".join(miss.question.expected) or miss.question.answer
        click.echo(f"\n{miss.question.text}\n  expected  {wanted}")
        for place, hit in enumerate(miss.hits[:3], 1):
            click.echo(f"  {place} {hit.score:.3f}  {hit.title}")
    if len(report.misses) > _MISSES_SHOWN:
        click.echo(f"\n… and {len(report.misses) - _MISSES_SHOWN} more; --json has them all")
