"""Rules that find what an attack says, in the text and in what it says when decoded. Pure, some 0.1 ms for a chat message.

Called at accept on every message, at ingest on documents, and to make the features that the model reads beside the
encoder's. What a finding is worth is decided in `judging.py`.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from chatwright.domain.guard import Finding
from chatwright.features.guard.decoding import find_views
from chatwright.features.guard.folding import fold
from chatwright.features.guard.signal_words import FAMILIES, SQUEEZED, Rule, load_rules

MAX_FINDINGS = 32
_WORD = re.compile(r"[^\W\d_]+")
_BLANK = re.compile(r"\s+")
_STEM = 5
_DISGUISED = 0.9
"""What an attack is worth at least when somebody took the trouble to encode it: no customer does."""
_WORTH = 0.5


def find_signals(text: str) -> tuple[Finding, ...]:
    """What the rules find, each with its span in `text`, in order of place; at most `MAX_FINDINGS`. Linear in the text."""
    found = list(_scan(text, 0))
    for view in find_views(text):
        seen = _scan(view.text, view.start) if view.aligned else _place(_scan(view.text, 0), view.start, view.end)
        if view.kind == "spaced" and (squeezed := SQUEEZED.search(fold(view.text).replace(" ", ""))) is not None:
            rule = "override" if squeezed.group().startswith(("ig", "di", "fo", "by", "ov")) else "prompt_leak"
            seen = (*seen, Finding(rule=rule, start=view.start, end=view.end, score=_DISGUISED))
        strongest = max((finding.score or 0.0 for finding in seen), default=0.0)
        if strongest >= _WORTH and not _known(seen, found):
            found += seen
            found.append(Finding(rule="encoded", start=view.start, end=view.end, score=_DISGUISED))
    return tuple(sorted(_once(found), key=lambda finding: (finding.start, finding.end))[:MAX_FINDINGS])


def combine(findings: Iterable[Finding]) -> float:
    """One number of many findings, in 0..1: one minus the product of what each leaves open, each family counted once."""
    open_still = 1.0
    for score in _strongest(findings).values():
        open_still *= 1.0 - score
    return 1.0 - open_still


def as_features(findings: Sequence[Finding]) -> NDArray[np.float32]:
    """float32, shape (len(FAMILIES) + 1,): each family's strongest score, then what they come to together."""
    row = np.zeros(len(FAMILIES) + 1, np.float32)
    for family, score in _strongest(findings).items():
        if family in FAMILIES:
            row[FAMILIES.index(family)] = score
    row[-1] = combine(findings)
    return row


def _strongest(findings: Iterable[Finding]) -> dict[str, float]:
    families: dict[str, float] = {}
    for finding in findings:
        family = "hidden" if finding.rule.startswith("hidden") else finding.rule
        families[family] = max(families.get(family, 0.0), finding.score or 0.0)
    return families


def _scan(text: str, at: int) -> tuple[Finding, ...]:
    """Findings in one reading of the text, whose first character stands at `at`."""
    folded = fold(text)
    stems = {word[:_STEM] for word in _WORD.findall(folded)}
    found: list[Finding] = []
    for rule in load_rules():
        if not rule.stems.isdisjoint(stems) or any(sign in folded for sign in rule.signs):
            found += _apply(rule, folded, at)
    return tuple(found)


def _apply(rule: Rule, folded: str, at: int) -> list[Finding]:
    found: list[Finding] = []
    for match in rule.pattern.finditer(folded):
        found.append(Finding(rule=rule.name, start=at + match.start(), end=at + match.end(), score=rule.score))
        if len(found) >= MAX_FINDINGS:
            break
    return found


def _place(findings: Iterable[Finding], start: int, end: int) -> tuple[Finding, ...]:
    return tuple(Finding(rule=finding.rule, start=start, end=end, score=finding.score) for finding in findings)


def _known(seen: Iterable[Finding], found: Sequence[Finding]) -> bool:
    """A view that shows no more than the text itself did: somebody wrote "3 days" beside an attack in plain letters."""
    spans = {(finding.rule, finding.start, finding.end) for finding in found}
    return all((finding.rule, finding.start, finding.end) in spans for finding in seen)


def _once(findings: Sequence[Finding]) -> list[Finding]:
    """Of findings of one rule at one place the strongest: patterns of a family overlap."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda finding: -(finding.score or 0.0)):
        clash = any(
            other.rule == finding.rule and other.start < finding.end and finding.start < other.end for other in kept
        )
        if not clash:
            kept.append(finding)
    return kept
