"""Plots as SVG that stands in a page: stacked columns over time, horizontal bars. Pure."""

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH = 920
_LEFT, _BOTTOM, _TOP = 56, 24, 8
_LABELS = 8
_BAR = 24


def stacked(
    columns: Sequence[tuple[str, Mapping[str, int]]],
    colors: Mapping[str, str],
    *,
    height: int,
    is_share: bool = False,
) -> str:
    """A column for each period, its parts on top of each other in the order of `colors`. `is_share`: all as high as one
    another, to compare what they are made of."""
    kinds = [kind for kind in colors if any(kind in parts for _, parts in columns)]
    totals = [sum(parts.values()) for _, parts in columns]
    top = 1 if is_share else _round_up(max(totals, default=1))
    room, wide = height - _BOTTOM - _TOP, (_WIDTH - _LEFT) / max(1, len(columns))
    shapes: list[str] = []
    for line in range(5):
        y = _TOP + room * line / 4
        value = top * (4 - line) / 4
        label = f"{value:.0%}" if is_share else f"{value:,.0f}"
        shapes.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH}" y2="{y:.1f}" stroke="#e3e8ee"/>')
        shapes.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    every = max(1, -(-len(columns) // _LABELS))
    for place, ((name, parts), total) in enumerate(zip(columns, totals, strict=True)):
        x, y = _LEFT + place * wide, float(height - _BOTTOM)
        for kind in kinds:
            share = parts.get(kind, 0) / (max(1, total) if is_share else top)
            high = room * share
            y -= high
            if high > 0:
                shapes.append(
                    f'<rect x="{x + wide * 0.08:.1f}" y="{y:.1f}" width="{wide * 0.84:.1f}" height="{high:.1f}" '
                    f'fill="{colors[kind]}"><title>{escape(name)}: {parts.get(kind, 0):,} {kind}</title></rect>'
                )
        if place % every == 0:
            shapes.append(f'<text x="{x:.1f}" y="{height - 6}">{escape(name)}</text>')
    return _svg(height, shapes)


def bars(rows: Sequence[tuple[str, int]]) -> str:
    """A bar for each name, as long as its number."""
    top = max((n for _, n in rows), default=1) or 1
    left, shapes = 130, list[str]()
    for place, (name, n) in enumerate(rows):
        y, wide = place * _BAR, (_WIDTH - left - 90) * n / top
        shapes.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>')
        shapes.append(
            f'<rect x="{left}" y="{y + 4}" width="{max(1, wide):.1f}" height="{_BAR - 8}" fill="#2563a8" rx="3"/>'
        )
        shapes.append(f'<text x="{left + wide + 8:.1f}" y="{y + 16}">{n:,}</text>')
    return _svg(max(1, len(rows)) * _BAR, shapes)


def _svg(height: int, shapes: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" font-family="system-ui,sans-serif" font-size="12" fill="#5b6877">'
        f"{''.join(shapes)}</svg>"
    )


def _round_up(value: int) -> int:
    """The next number that is easy to read: a digit and zeros."""
    step = 1
    while True:
        for factor in (1, 2, 3, 4, 5, 6, 8):
            if value <= step * factor:
                return max(4, step * factor)
        step *= 10
