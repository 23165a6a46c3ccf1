"""An import's report: JSON for programs, one page of HTML for people with its plots in it, a CSV of the rows that failed.
Pure: the same numbers give the same bytes.

The page loads nothing and runs nothing. Words of the file stand in it only where they are escaped.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from html import escape
from typing import Any

import msgspec

from chatwright.features.imports.plots import bars, stacked
from chatwright.features.imports.store import Import

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so would be run as a formula: an apostrophe is put in front, as spreadsheets themselves do."""
SENTIMENTS = ("positive", "neutral", "negative")
_BARS_AT_MOST = 60
_INTENTS_SHOWN = 14
_DAY, _WEEK, _MONTH, _YEAR = 10, 0, 7, 4
"""What is left of a date's text."""

_STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1d2733;--muted:#5b6877;--line:#e3e8ee;--card:#f3f6f9;--positive:#2e8b57;
--neutral:#9aa5b1;--negative:#c0392b;--visitor:#2563a8;--agent:#e0912f}@media(prefers-color-scheme:dark){:root{--page:#12171d;
--ink:#e6ebf0;--muted:#9fadbb;--line:#2c3641;--card:#1c242d;--positive:#45b67a;--neutral:#6b7885;--negative:#e2604f;
--visitor:#5a9be6;--agent:#e8a552}}body{font:15px/1.5 system-ui,sans-serif;background:var(--page);color:var(--ink);
margin:0 auto;max-width:60rem;padding:2rem 1rem}
h1{font-size:1.5rem;margin:0 0 .25rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2rem 0 .5rem}.muted{color:var(--muted)}
.cards{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.25rem 0}.card{background:var(--card);border-radius:.5rem;padding:.6rem .9rem;min-width:7rem}
.card b{display:block;font-size:1.35rem}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem .3rem 0;
border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}svg{display:block;max-width:100%;height:auto;fill:var(--muted)}
svg line{stroke:var(--line)}.narrow{display:none}@media(max-width:40rem){.wide{display:none}.narrow{display:block}}
.positive{fill:var(--positive);background:var(--positive)}.neutral{fill:var(--neutral);background:var(--neutral)}
.negative{fill:var(--negative);background:var(--negative)}.visitor{fill:var(--visitor);background:var(--visitor)}
.agent{fill:var(--agent);background:var(--agent)}.bar{fill:var(--visitor)}
.legend span{margin-right:1rem;white-space:nowrap}.legend i{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin-right:.35em}
"""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is made of. `counts` by kind and name (see `write_store`); `calls` and `cost_nano` from the ledger,
    None where a price is not known; `problems` the first rows that failed."""

    one: Import
    chatbot: str
    counts: dict[str, dict[str, int]]
    problems: list[tuple[int, str, str]]
    calls: int
    cost_nano: int | None
    made_at: str


def report_json(facts: Facts) -> bytes:
    """The report for programs."""
    one, counts = facts.one, facts.counts
    days = sorted({day for kind in ("visitor", "agent", *SENTIMENTS) for day in counts.get(kind, {})})
    value: dict[str, Any] = {
        "id": one.id,
        "file": one.name,
        "source": one.source,
        "chatbot": facts.chatbot,
        "made_at": facts.made_at,
        "rows": {
            "read": one.rows_read,
            "stored": one.rows_stored,
            "failed": one.rows_failed,
            "skipped": one.rows_skipped,
            "skipped_by_reason": counts.get("skipped", {}),
            "recoded_lines": one.rows_recoded,
        },
        "conversations": one.conversations,
        "messages": one.messages,
        "summaries": {"made": one.summaries, "by": counts.get("summary", {})},
        "sentiment": {
            "visitor": {name: sum(counts.get(name, {}).values()) for name in SENTIMENTS},
            "agent": {name: counts.get("agent_sentiment", {}).get(name, 0) for name in SENTIMENTS},
        },
        "attacks": sum(counts.get("attack", {}).values()),
        "intents": counts.get("intent", {}),
        "days": [
            {"day": day, **{kind: counts.get(kind, {}).get(day, 0) for kind in ("visitor", "agent", *SENTIMENTS)}}
            for day in days
        ],
        "cost": {"calls": facts.calls, "cost_nano": facts.cost_nano, "quote_nano": one.quote_nano},
        "worked_s": round(one.worked_s + one.summarised_s, 3),
        "rows_per_s": round(one.rows_read / one.worked_s, 1) if one.worked_s else None,
        "columns": msgspec.to_builtins(one.columns),
        "options": msgspec.structs.asdict(one.options),
        "problems": [{"row": row, "reason": reason} for row, reason, _ in facts.problems[:100]],
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def report_html(facts: Facts) -> bytes:
    """The report for people."""
    one, counts = facts.one, facts.counts
    cards = [
        ("rows read", one.rows_read), ("stored", one.rows_stored), ("failed", one.rows_failed),
        ("skipped", one.rows_skipped), ("conversations", one.conversations), ("messages", one.messages),
        ("summaries", one.summaries),
    ]  # fmt: skip
    parts = [
        f"<h1>Import of {escape(one.name)}</h1>",
        f'<p class="muted">into {escape(facts.chatbot)}, source {escape(one.source)}, {escape(_moment(facts.made_at))}</p>',
        '<div class="cards">',
        *(f'<div class="card"><b>{count:,}</b>{label}</div>' for label, count in cards),
        f'<div class="card"><b>{_usd(facts.cost_nano)}</b>cost, {facts.calls:,} calls</div>',
        "</div>",
        _timings(one),
    ]
    volume = _by_period(counts, ("visitor", "agent"))
    if volume:
        parts += [
            "<h2>Messages over time</h2>",
            _legend(("visitor", "agent")),
            stacked(volume, ("visitor", "agent"), height=190, title="Messages over time"),
        ]
    tones = _by_period(counts, SENTIMENTS)
    if tones:
        parts += [
            "<h2>Sentiment of visitors over time</h2>",
            _legend(SENTIMENTS),
            stacked(tones, SENTIMENTS, height=190, title="Sentiment of visitors over time", is_share=True),
            _tones(counts),
        ]
    if intents := counts.get("intent"):
        ranked = sorted(intents.items(), key=lambda pair: (-pair[1], pair[0]))[:_INTENTS_SHOWN]
        named = [(name.replace("_", " "), n) for name, n in ranked]
        parts += ["<h2>What visitors wanted</h2>", bars(named, title="What visitors wanted")]
    if attacks := sum(counts.get("attack", {}).values()):
        told = f"Messages that read like an attack on the model: {attacks:,}. The guard's log has them."
        parts += ["<h2>Attacks</h2>", f"<p>{told}</p>"]
    if summary := counts.get("summary"):
        made = ", ".join(f"{n:,} {_BY.get(name, f'by {escape(name)}')}" for name, n in sorted(summary.items()))
        paid = f"{facts.calls:,} calls cost {_usd(facts.cost_nano)}" if facts.calls else "They cost nothing"
        parts += ["<h2>Summaries and cost</h2>", f"<p>{made}. {paid}.</p>"]
        if facts.calls:
            amounts = [("quoted at most", one.quote_nano), ("cap", one.options.limit_nano), ("spent", facts.cost_nano)]
            known = [(name, nano) for name, nano in amounts if nano is not None]
            parts.append(bars(known, title="Cost beside what was quoted", shown=_usd))
    if skipped := counts.get("skipped"):
        parts += ["<h2>Rows that were skipped</h2>", _table(("why", "rows"), [(_WHY.get(why, why), f"{n:,}") for why, n in sorted(skipped.items())])]  # fmt: skip
    if facts.problems:
        shown = [(f"{row:,}", reason, raw[:160]) for row, reason, raw in facts.problems[:25]]
        parts += ["<h2>Rows that failed</h2>", _table(("row", "why", "it begins"), shown)]
        if one.rows_failed > len(shown):
            parts.append('<p class="muted">The CSV of errors has more of them.</p>')
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Import of {escape(one.name)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )
    return page.encode("utf-8", "replace")


def problems_csv(problems: Iterable[tuple[int, str, str]], *, with_header: bool) -> bytes:
    """Row number, reason and the row as it was, as CSV; what a spreadsheet would run has an apostrophe in front."""
    page = io.StringIO(newline="")
    writer = csv.writer(page, lineterminator="\r\n")
    if with_header:
        writer.writerow(("row", "reason", "original"))
    writer.writerows((row, _plain(reason), _plain(raw)) for row, reason, raw in problems)
    return page.getvalue().encode("utf-8", "replace")


_WHY = {
    "duplicate": "stored before, or twice in the file",
    "empty": "no text",
    "role": "notes and events, which are no messages",
}


_BY = {"local": "of sentences that were said"}


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULAS) else text


def _usd(nano: int | None) -> str:
    return "unknown" if nano is None else f"${nano / 1e9:,.4f}"


def _moment(iso: str) -> str:
    return f"{iso[:16].replace('T', ' ')} UTC"


def _timings(one: Import) -> str:
    if not one.worked_s:
        return ""
    made = f", summaries in {one.summarised_s:,.1f} s" if one.summarised_s else ""
    return (
        f'<p class="muted">{one.size_bytes / 1e6:,.1f} MB read in {one.worked_s:,.1f} s, '
        f"{one.rows_read / one.worked_s:,.0f} rows a second{made}.</p>"
    )


def _tones(counts: Mapping[str, Mapping[str, int]]) -> str:
    rows = [("visitors", {name: sum(counts.get(name, {}).values()) for name in SENTIMENTS})]
    agents = counts.get("agent_sentiment", {})
    if agents:
        rows.append(("agents", {name: agents.get(name, 0) for name in SENTIMENTS}))
    cells = [
        (who, *(f"{n[name]:,} ({n[name] / max(1, sum(n.values())):.0%})" for name in SENTIMENTS)) for who, n in rows
    ]
    return _table(("", *SENTIMENTS), cells)


def _by_period(counts: Mapping[str, Mapping[str, int]], kinds: Sequence[str]) -> list[tuple[str, dict[str, int]]]:
    """(label, counts by kind) of days, or of weeks, months or years where there are too many days to see; without gaps."""
    days = sorted({day for kind in kinds for day in counts.get(kind, {})})
    if not days:
        return []
    first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    span = (last - first).days + 1
    bars_by_length = {_DAY: span, _WEEK: span // 7 + 1, _MONTH: span // 30 + 1, _YEAR: 0}
    length = next(length for length, count in bars_by_length.items() if count <= _BARS_AT_MOST)
    periods: dict[str, dict[str, int]] = {}
    for number in range(span if length in (_DAY, _WEEK) else 0):
        periods.setdefault(_period((first + timedelta(number)).isoformat(), length), {})
    for kind in kinds:
        for day, n in counts.get(kind, {}).items():
            period = periods.setdefault(_period(day, length), {})
            period[kind] = period.get(kind, 0) + n
    return sorted(periods.items())


def _period(day: str, length: int) -> str:
    """The day cut to its month or year, or the Monday of its week."""
    if length != _WEEK:
        return day[:length]
    moment = date.fromisoformat(day)
    return (moment - timedelta(moment.weekday())).isoformat()


def _legend(kinds: Sequence[str]) -> str:
    return f'<p class="legend">{"".join(f"<span><i class={kind}></i>{kind}</span>" for kind in kinds)}</p>'


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
