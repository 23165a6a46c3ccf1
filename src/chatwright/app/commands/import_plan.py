"""What `import plan` does on this machine: a file read to its end as the server would, and what was found shown."""

import io
import tempfile
from collections.abc import AsyncGenerator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from chatwright.app.commands.base import table

if TYPE_CHECKING:
    from collections.abc import Generator

    from chatwright.features.imports import Plan

_PIECE_BYTES = 1 << 20
_ROWS_AT_ONCE = 2_000
_EMPTY_ID = "00000000-0000-0000-0000-000000000000"


async def read_plan(
    file: Path, given: dict[str, Any], presets: dict[str, dict[str, Any]], redact: str | None
) -> dict[str, Any]:
    """The whole file, read as the server would."""
    import msgspec

    from chatwright.domain.errors import Unprocessable
    from chatwright.domain.ids import ChatbotId, TenantId
    from chatwright.features.imports import PRESETS, ItemMaker, Planner, open_records, read_map, read_personal
    from chatwright.pipeline.bulk import redactor
    from chatwright.pipeline.importing import settle_columns

    columns = read_map(given)
    known = {**PRESETS, **presets}
    preset = known.get(columns.preset or "generic")
    if preset is None:
        raise Unprocessable(f"no preset {columns.preset!r}; there are {', '.join(sorted(known))}")
    with _opened(file) as opened:
        rows, head, is_rewritten = await opened(columns.encoding)
        size_bytes = rows.seek(0, io.SEEK_END)
        dialect, settled, _ = settle_columns(
            head, columns, preset, is_all=size_bytes <= len(head), is_rewritten=is_rewritten
        )
        maker = ItemMaker(
            tenant_id=TenantId(_EMPTY_ID),
            chatbot_id=ChatbotId(_EMPTY_ID),
            source="plan",
            columns=settled,
            dialect=dialect,
            redact=redactor(read_personal(redact)),
        )
        planner = Planner(maker)
        reader = open_records(rows, dialect)
        while records := reader.read(_ROWS_AT_ONCE, at_most_bytes=16 << 20):
            planner.add(records)
        found: Plan = planner.plan(size_bytes=size_bytes, is_whole=True)
    plain = cast("dict[str, Any]", msgspec.to_builtins(found))
    shown = cast("dict[str, Any]", msgspec.to_builtins(settled))
    written = {"kind": dialect.kind, "encoding": dialect.encoding, "delimiter": dialect.delimiter}
    return {"file": file.name, "dialect": written, "columns": shown, **plain}


@contextmanager
def _opened(file: Path) -> "Generator[Any]":
    """The file's rows as they would be stored: unpacked, in a narrow encoding."""
    with file.open("rb") as raw, tempfile.TemporaryFile(prefix="chatwright-plan-") as spool:

        async def rows(encoding: str | None) -> tuple[BinaryIO, bytes, bool]:
            from chatwright.features.imports import Arriving

            async def chunks() -> AsyncGenerator[bytes]:
                while piece := raw.read(_PIECE_BYTES):
                    yield piece

            first = raw.read(4)
            raw.seek(0)
            arriving = Arriving(chunks(), limit_bytes=1 << 40, encoding=encoding)
            plain = not first.startswith((b"\x1f\x8b", b"PK\x03\x04"))
            async for piece in arriving:
                if plain and not arriving.is_rewritten and len(arriving.head) >= 1 << 18:
                    raw.seek(0)  # it is read as it stands
                    return raw, arriving.head, False
                spool.write(piece)
            return cast("BinaryIO", spool), arriving.head, arriving.is_rewritten

        yield rows


def show_plan(found: dict[str, Any]) -> None:
    columns = found["columns"]
    fields = ("conversation", "message_id", "role", "text", "answer", "time", "visitor", "messages")
    shown = [(field, columns.get(field) or "-") for field in fields]
    click.echo(f"{found['file']}: {found['dialect']['kind']}, {found['dialect']['encoding']}")
    table(("field", "column"), [*shown, *(("metadata", name) for name in columns.get("metadata", []))])
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in found["skipped"].items())
    click.echo(
        f"{found['rows']:,} rows: {found['messages']:,} messages in {found['conversations']:,} conversations; "
        f"{found['failed']:,} would fail{f'; skipped: {skipped}' if skipped else ''}"
    )
    for problem in found["problems"]:
        click.echo(f"  row {problem['number']}: {problem['reason']}")
    if found["sample"]:
        table(("role", "time", "text"), [(one["role"], one["time"], one["text"]) for one in found["sample"]])
    if found.get("quote_usd") is not None:
        click.echo(f"summaries by the model cost at most ${float(found['quote_usd']):,.4f}; local ones cost nothing")
    elif found.get("note"):
        click.echo(found["note"])
    else:
        click.echo("summaries by the model: no price is known")
