"""robots.txt after RFC 9309: which addresses a site lets us visit. Pure.

The standard library's parser takes the first rule that fits and knows no wildcards; the standard asks for the longest
one, and real files use both `*` and `$`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

ROBOTS_AT_MOST_BYTES = 512 * 1024
"""What is read of a file; the standard asks for 500 KiB at least."""
DELAY_AT_MOST_S = 30.0
_RULES_AT_MOST = 5_000
_PRODUCT = re.compile(r"[a-zA-Z_-]+")


@dataclass(frozen=True, slots=True)
class _Rule:
    allows: bool
    parts: tuple[bytes, ...]
    """What stands between the wildcards; the address has to hold them in this order, the first at its beginning."""
    is_whole: bool
    length: int

    def fits(self, path: bytes) -> bool:
        if not path.startswith(self.parts[0]):
            return False
        at = len(self.parts[0])
        if len(self.parts) == 1:
            return not self.is_whole or at == len(path)
        for part in self.parts[1:-1]:
            at = path.find(part, at)
            if at < 0:
                return False
            at += len(part)
        last = self.parts[-1]
        if self.is_whole:
            return path.endswith(last) and len(path) - len(last) >= at
        return path.find(last, at) >= 0


@dataclass(frozen=True, slots=True)
class Robots:
    """What one site allows one visitor."""

    rules: tuple[_Rule, ...] = field(default=(), repr=False)
    delay_s: float = 0.0
    """Crawl-delay: the pause that the site asks for between visits; 0.0 if it names none."""
    sitemaps: tuple[str, ...] = ()

    def allows(self, address: str) -> bool:
        """Whether the address may be visited: the longest rule that fits decides, and allowing wins among equals."""
        parts = urlsplit(address)
        path = _plain(f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}")
        if path == b"/robots.txt":
            return True
        best: _Rule | None = None
        for rule in self.rules:
            if (best is None or (rule.length, rule.allows) > (best.length, best.allows)) and rule.fits(path):
                best = rule
        return best is None or best.allows


OPEN = Robots()
"""Of a site that has no robots.txt."""
CLOSED = Robots((_Rule(allows=False, parts=(b"/",), is_whole=False, length=1),))
"""Of a site whose robots.txt could not be asked for: the standard wants it taken as closed."""


def read_robots(text: str, user_agent: str) -> Robots:
    """The rules for `user_agent` (its first word up to the slash counts), else those for everybody."""
    product = _PRODUCT.match(user_agent)
    ours = product[0].lower() if product else ""
    groups: list[tuple[list[str], list[_Rule], list[float]]] = []
    sitemaps: list[str] = []
    naming = False
    for line in text.lstrip("\ufeff").splitlines():
        name, colon, value = line.partition("#")[0].partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon:
            continue
        if name == "user-agent":
            if not naming:
                groups.append(([], [], []))
            found = _PRODUCT.match(value)
            groups[-1][0].append(value if value == "*" else found[0].lower() if found else "")
            naming = True
        elif name == "sitemap":
            sitemaps.append(value)
        elif name in ("allow", "disallow") and groups:
            naming = False
            if value and sum(len(group[1]) for group in groups) < _RULES_AT_MOST:
                groups[-1][1].append(_read_rule(value, allows=name == "allow"))
        elif name == "crawl-delay" and groups:
            naming = False
            groups[-1][2].append(_seconds(value))
    chosen = [group for group in groups if ours in group[0]] or [group for group in groups if "*" in group[0]]
    return Robots(_joined(chosen), max((delay for group in chosen for delay in group[2]), default=0.0), tuple(sitemaps))


def _joined(groups: Sequence[tuple[list[str], list[_Rule], list[float]]]) -> tuple[_Rule, ...]:
    return tuple(rule for group in groups for rule in group[1])


def _read_rule(pattern: str, *, allows: bool) -> _Rule:
    is_whole = pattern.endswith("$")
    body = pattern.removesuffix("$")
    parts = tuple(_plain(part) for part in re.sub(r"\*+", "*", body).split("*"))
    return _Rule(allows=allows, parts=parts, is_whole=is_whole, length=len(_plain(pattern)))


def _plain(text: str) -> bytes:
    """Percent escapes resolved, so that two spellings of one address are equal."""
    return unquote_to_bytes(text)


def _seconds(text: str) -> float:
    try:
        return min(DELAY_AT_MOST_S, max(0.0, float(text)))
    except ValueError:
        return 0.0
