"""Plots as SVG that stands in a page: stacked columns over time, horizontal bars. Pure.

Each plot is drawn twice, for wide and for narrow screens; the page's style shows one of them. Colours are the style's, too:
parts, lines and words carry classes.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape

_WIDE, _NARROW = 920, 420
_LEFT, _BOTTOM, _TOP = 56, 24, 8
_LABEL, _LABEL_GAP = 36, 106
"""Half of what a date under a column takes, and how far apart dates stand."""
_BAR = 24


def stacked(
    columns: Sequence[tuple[str, Mapping[str, int]]],
    kinds: Sequence[str],
    *,
    height: int,
    title: str,
    is_share: bool = False,
) -> str:
    """A column for each period, its parts on top of each other in the order of `kinds`, each in the class of that name.
    `is_share`: all as high as one another, to compare what they are made of."""
    return _twice(title, lambda width: (_columns(columns, kinds, width, height, is_share=is_share), height))


def bars(rows: Sequence[tuple[str, int]], *, title: str, shown: Callable[[int], str] = "{:,}".format) -> str:
    """A bar for each name, as long as its number, with what is `shown` of that behind it."""
    return _twice(title, lambda width: (_bars(rows, width, shown), max(1, len(rows)) * _BAR))


def _columns(
    columns: Sequence[tuple[str, Mapping[str, int]]], kinds: Sequence[str], width: int, height: int, *, is_share: bool
) -> list[str]:
    totals = [sum(parts.values()) for _, parts in columns]
    top = 1 if is_share else _round_up(max(totals, default=1))
    room, wide = height - _BOTTOM - _TOP, (width - _LEFT) / max(1, len(columns))
    shapes: list[str] = []
    for line in range(5):
        y = _TOP + room * line / 4
        value = top * (4 - line) / 4
        label = f"{value:.0%}" if is_share else f"{value:,.0f}"
        shapes.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{width}" y2="{y:.1f}"/>')
        shapes.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    every = max(1, -(-len(columns) * _LABEL_GAP // (width - _LEFT)))
    for place, ((name, parts), total) in enumerate(zip(columns, totals, strict=True)):
        x, y = _LEFT + place * wide, float(height - _BOTTOM)
        for kind in kinds:
            share = parts.get(kind, 0) / (max(1, total) if is_share else top)
            high = room * share
            y -= high
            if high > 0:
                shapes.append(
                    f'<rect class="{kind}" x="{x + wide * 0.08:.1f}" y="{y:.1f}" width="{wide * 0.84:.1f}" '
                    f'height="{high:.1f}"><title>{escape(name)}: {parts.get(kind, 0):,} {kind}</title></rect>'
                )
        if place % every == 0:
            middle = min(max(x + wide / 2, _LEFT + _LABEL), width - _LABEL)
            shapes.append(f'<text x="{middle:.1f}" y="{height - 6}" text-anchor="middle">{escape(name)}</text>')
    return shapes


def _bars(rows: Sequence[tuple[str, int]], width: int, shown: Callable[[int], str]) -> list[str]:
    top = max((n for _, n in rows), default=1) or 1
    left, shapes = 130, list[str]()
    for place, (name, n) in enumerate(rows):
        y, wide = place * _BAR, (width - left - 90) * n / top
        shapes.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>')
        shapes.append(
            f'<rect class="bar" x="{left}" y="{y + 4}" width="{max(1, wide):.1f}" height="{_BAR - 8}" rx="3"/>'
        )
        shapes.append(f'<text x="{left + wide + 8:.1f}" y="{y + 16}">{escape(shown(n))}</text>')
    return shapes


def _twice(title: str, draw: Callable[[int], tuple[Sequence[str], int]]) -> str:
    return _svg("wide", _WIDE, title, *draw(_WIDE)) + _svg("narrow", _NARROW, title, *draw(_NARROW))


def _svg(name: str, width: int, title: str, shapes: Sequence[str], height: int) -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg" font-family="system-ui,sans-serif" '
        f'font-size="12">{"".join(shapes)}</svg>'
    )


def _round_up(value: int) -> int:
    """The next number that is easy to read: a digit and zeros."""
    step = 1
    while True:
        for factor in (1, 2, 3, 4, 5, 6, 8):
            if value <= step * factor:
                return max(4, step * factor)
        step *= 10
