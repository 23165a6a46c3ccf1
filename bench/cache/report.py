"""What the streams came to: windows of the curve, the table, the page and its picture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.cache.baselines import Served
from bench.cache.run import WINDOW, Run
from bench.machine import percentile

LATE = 5_000
"""Questions after which the goals hold."""
_COLOURS = {"chatwright": "#2563eb", "similarity": "#d97706", "threshold per entry": "#64748b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of a stream. Shares in 0..1; `precision` None: nothing was served. `strangers`: out-of-scope questions,
    `strangers_served` of them from the cache."""

    upto: int
    questions: int
    hits: float
    precision: float | None
    checks: float
    strangers: int
    strangers_served: int


def windows_of(run: Run, size: int = WINDOW) -> list[Window]:
    """The product's course, window by window."""
    found: list[Window] = []
    for place, start in enumerate(range(0, len(run.told), size)):
        told = run.told[start : start + size]
        hits = [one for one in told if one.cached in ("exact", "semantic")]
        strangers = [one for one in told if one.asked.is_stranger]
        before = run.checks[place - 1] if place else 0
        after = run.checks[min(place, len(run.checks) - 1)]
        found.append(
            Window(
                upto=start + len(told),
                questions=len(told),
                hits=len(hits) / len(told),
                precision=sum(one.right for one in hits) / len(hits) if hits else None,
                checks=(after - before) / len(told),
                strangers=len(strangers),
                strangers_served=sum(one.cached in ("exact", "semantic") for one in strangers),
            )
        )
    return found


def windows_of_served(served: Sequence[Served], strangers: Sequence[bool], size: int = WINDOW) -> list[Window]:
    """The same of another way."""
    found: list[Window] = []
    for start in range(0, len(served), size):
        told = served[start : start + size]
        odd = strangers[start : start + size]
        hits = [one for one in told if one.kind == "hit"]
        found.append(
            Window(
                upto=start + len(told),
                questions=len(told),
                hits=len(hits) / len(told),
                precision=sum(one.right for one in hits) / len(hits) if hits else None,
                checks=sum(one.kind == "check" for one in told) / len(told),
                strangers=sum(odd),
                strangers_served=sum(o and one.kind == "hit" for o, one in zip(odd, told, strict=True)),
            )
        )
    return found


def summed(windows: Sequence[Window], *, after: int = 0) -> Window:
    """All windows that begin at `after` questions or later, as one."""
    late = [one for one in windows if one.upto - one.questions >= after] or list(windows[-1:])
    count = sum(one.questions for one in late)
    hits = sum(one.hits * one.questions for one in late)
    right = sum((one.precision or 0.0) * one.hits * one.questions for one in late)
    return Window(
        upto=late[-1].upto,
        questions=count,
        hits=hits / count,
        precision=right / hits if hits else None,
        checks=sum(one.checks * one.questions for one in late) / count,
        strangers=sum(one.strangers for one in late),
        strangers_served=sum(one.strangers_served for one in late),
    )


def row(name: str, window: Window) -> str:
    precision = "–" if window.precision is None else f"{window.precision:.1%}"
    strangers = f"{window.strangers_served} of {window.strangers}" if window.strangers else "–"
    return f"| {name} | {window.hits:.1%} | {precision} | {window.checks:.1%} | {strangers} |"


HEAD = "| | served from the cache | of them right | checked | out-of-scope served |\n| --- | --- | --- | --- | --- |"


def curve(windows: Sequence[Window]) -> str:
    """A table of a stream's course, by thousands of questions."""
    lines = ["| questions seen | served | right | checked |", "| --- | --- | --- | --- |"]
    for start in range(0, len(windows), 2):
        part = summed(windows[start : start + 2])
        precision = "–" if part.precision is None else f"{part.precision:.1%}"
        lines.append(f"| {part.upto:,} | {part.hits:.1%} | {precision} | {part.checks:.1%} |")
    return "\n".join(lines)


def latencies(run: Run) -> dict[str, float]:
    """Median seconds at the caller, by what the cache said."""
    found: dict[str, float] = {}
    for kind in ("exact", "semantic", "miss"):
        took_s = [one.took_s for one in run.told if one.cached == kind]
        if took_s:
            found[kind] = percentile(took_s, 0.5)
    return found


def to_json(run: Run, ways: Mapping[str, Sequence[Window]]) -> dict[str, Any]:
    return {
        "name": run.name,
        "questions": len(run.told),
        "provider_calls": run.provider_calls,
        "took_s": run.took_s,
        "latency_s": latencies(run),
        "ways": {name: [asdict(window) for window in windows] for name, windows in ways.items()},
        "stats": run.stats,
    }


def draw(path: Path, title: str, ways: Mapping[str, Sequence[Window]]) -> None:
    """Shares served (full lines) and right (dotted) against questions seen, as SVG."""
    width, height, left, top = 640, 300, 50, 40
    most = max(windows[-1].upto for windows in ways.values())

    def at(upto: int, share: float) -> str:
        return f"{left + (width - left - 150) * upto / most:.1f},{top + (height - top - 40) * (1 - share):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/><text x="{left}" y="20" font-size="14">{title}</text>',
    ]
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        x, y = at(0, share).split(",")
        parts.append(f'<line x1="{x}" x2="{at(most, share).split(",")[0]}" y1="{y}" y2="{y}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{left - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    for step in range(0, most + 1, 2_000):
        x, y = at(step, 0).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 18:.1f}" text-anchor="middle">{step:,}</text>')
    for place, (name, windows) in enumerate(ways.items()):
        colour = _COLOURS.get(name, "#000")
        served = " ".join(at(one.upto, one.hits) for one in windows)
        right = " ".join(at(one.upto, one.precision) for one in windows if one.precision is not None)
        parts.append(f'<polyline points="{served}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<polyline points="{right}" fill="none" stroke="{colour}" stroke-dasharray="2 3"/>')
        parts.append(f'<text x="{width - 140}" y="{top + 20 + 36 * place}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{width - 140}" y="{height - 60}">full: served</text>')
    parts.append(f'<text x="{width - 140}" y="{height - 44}">dotted: of them right</text>')
    parts.append(f'<text x="{left}" y="{height - 8}">questions seen</text></svg>')
    path.write_text("\n".join(parts) + "\n", "utf-8")
