"""The filter over an answer on its way out: what is banned is masked or ends the answer, what leaks ends it. Pure.

One filter for one answer, streamed or whole: text goes out as soon as nothing that may follow can make it a part of a hit,
and the result is the same however the text was cut. What was done stands in `hits`. It is a hold-back window
(`pipeline.hold_back.HoldBack`), the last one before the visitor. Made by `filter_for`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

from chatwright.features.guard.encoded import EncodedWatch
from chatwright.features.guard.leaks import PromptWatch, protected_of, scan_keys, secret_matcher
from chatwright.features.guard.pii import PersonalData
from chatwright.features.guard.policy import GuardPolicy
from chatwright.features.guard.profanity import category_terms
from chatwright.features.guard.terms import IGNORED_CLASS, MAX_IGNORED, Span, TermMatcher, fold_text, matcher_of

HitAction = Literal["flag", "mask", "stop"]
MASK = "***"
MAX_HITS = 100
_CONTEXT = 64
"""Characters of what has gone out that are kept, to know where a word begins."""
_IGNORED = re.compile(f"[{IGNORED_CLASS}]+")
_REFERENCE = re.compile(r"&#(?:(\d{2,7})|[xX]([0-9a-fA-F]{2,6}));?")
_REFERENCE_OPEN = re.compile(r"&(?:#(?:\d{0,7}|[xX][0-9a-fA-F]{0,6}))?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """`rule` held from `start` to `end` of the answer as the provider wrote it, and `action` is what became of it."""

    rule: str
    start: int
    end: int
    action: HitAction


class _Found(NamedTuple):
    span: Span
    action: HitAction


class OutputFilter:
    """Filters one answer. `stopped`: nothing more goes out, and the provider need not go on; `ending` has then gone out
    behind the rest, unless it is to take the place of the whole answer (`replaces`), which is the caller's to do."""

    def __init__(
        self,
        policy: GuardPolicy,
        *,
        refusal: Callable[[], str],
        replaces: bool,
        terms: Sequence[TermMatcher] = (),
        secrets: TermMatcher | None = None,
        personal: PersonalData | None = None,
        prompt: PromptWatch | None = None,
        encoded: EncodedWatch | None = None,
        keys: bool = False,
    ) -> None:
        self.stopped = False
        self._refusal = refusal
        self.replaces = replaces
        self._action: HitAction = "stop" if policy.output == "off" else policy.output
        self._terms, self._secrets, self._personal = terms, secrets, personal
        self._prompt, self._encoded, self._keys = prompt, encoded, keys
        self._hits: list[Hit] = []
        self._text = ""  # the context, then what is held
        self._folded = ""
        self._begin = 0  # where in `_text` that begins
        self._at = 0  # how much of the answer is before it
        self._entering = ""
        self._passed = 0  # invisible characters in a row, so far

    @cached_property
    def ending(self) -> str:
        """The sentence that an answer ends with when it is stopped."""
        return self._refusal()

    @property
    def hits(self) -> tuple[Hit, ...]:
        """What was found, in order, the first `MAX_HITS`."""
        return tuple(self._hits)

    def feed(self, text: str) -> str:
        """Take new text; return what may go out now."""
        return "" if self.stopped else self._out(text, last=False)

    def finish(self) -> str:
        """Return the rest: no text will follow."""
        return "" if self.stopped else self._out("", last=True)

    # --- in ----------------------------------------------------------------------------------------------------------

    def _out(self, text: str, *, last: bool) -> str:
        entered = self._enter(text, last=last)
        if not entered and not last:
            return ""
        folded = fold_text(entered)
        self._text += entered
        self._folded += folded
        spans, safe = self._scan(entered, folded, last=last)
        return self._release(spans, max(safe, self._begin))

    def _enter(self, text: str, *, last: bool) -> str:
        """The text as it is compared and shown: letters that are written as character references as themselves, and
        no long runs of what nobody sees."""
        if self._entering:
            text, self._entering = self._entering + text, ""
        if "&" in text:
            text = _REFERENCE.sub(_dereferenced, text) if last else self._resolve(text)
        if text.isascii():
            if text:
                self._passed = 0
            return text
        parts: list[str] = []
        at = 0
        for run in _IGNORED.finditer(text):
            if run.start():
                self._passed = 0
            parts += (text[at : run.start()], run[0][: max(0, MAX_IGNORED - self._passed)])
            self._passed += len(run[0])
            at = run.end()
        if at < len(text):
            self._passed = 0
        return "".join((*parts, text[at:]))

    def _resolve(self, text: str) -> str:
        if waits := _REFERENCE_OPEN.search(text):
            text, self._entering = text[: waits.start()], waits[0]
        return _REFERENCE.sub(_dereferenced, text)

    # --- found -------------------------------------------------------------------------------------------------------

    def _scan(self, entered: str, folded: str, *, last: bool) -> tuple[list[_Found], int]:
        """(what is certain, up to where nothing is open), in positions of `_text`."""
        found: list[_Found] = []
        safe = len(self._text)
        base = self._at - self._begin  # what turns a position of the answer into one of `_text`, taken away
        leak: HitAction = "flag" if self._action == "flag" else "stop"
        for matcher in self._terms:
            scanned = matcher.scan(self._folded, self._begin, last=last)
            found += [_Found(span, self._action) for span in scanned.spans]
            safe = min(safe, scanned.open_at)
        if self._secrets is not None:
            scanned = self._secrets.scan(self._folded, self._begin, last=last)
            found += [_Found(span, leak) for span in scanned.spans]
            safe = min(safe, scanned.open_at)
        if self._personal is not None:
            scanned = self._personal.scan(self._text, self._begin, last=last)
            found += [_Found(span, "mask") for span in scanned.spans]
            safe = min(safe, scanned.open_at)
        if self._keys:
            scanned = scan_keys(self._text, self._begin, last=last)
            found += [_Found(span, leak) for span in scanned.spans]
            safe = min(safe, scanned.open_at)
        for watch, text in ((self._prompt, folded), (self._encoded, entered)):
            if watch is None:
                continue
            watch.feed(text, last=last)
            if watch.leak_at is None:
                safe = min(safe, watch.open_at - base)
            elif watch.leak_end - base > self._begin:
                found.append(_Found(Span(watch.leak_at - base, watch.leak_end - base, "prompt"), leak))
        found.sort(key=lambda one: (one.span.start, -one.span.end))
        return found, safe

    # --- out ---------------------------------------------------------------------------------------------------------

    def _release(self, found: list[_Found], safe: int) -> str:
        for span, action in reversed(found):
            if action != "stop" and span.start < safe < span.end:
                safe = span.start  # what is masked is masked whole
        parts: list[str] = []
        at = self._begin
        for span, action in found:
            if span.start > safe or (span.start == safe and action != "stop"):
                break
            self._note(span, action)
            if action == "stop":
                parts.append(self._text[at : max(at, span.start)])
                return self._stop("".join(parts))
            if action == "mask" and span.end > at:
                if span.start >= at:
                    parts += (self._text[at : span.start], MASK)
                at = span.end
        parts.append(self._text[at:safe])
        self._drop(safe)
        return "".join(parts)

    def _note(self, span: Span, action: HitAction) -> None:
        if len(self._hits) < MAX_HITS:
            base = self._at - self._begin
            self._hits.append(Hit(rule=span.rule, start=span.start + base, end=span.end + base, action=action))

    def _stop(self, shown: str) -> str:
        self.stopped = True
        self._text = self._folded = self._entering = ""
        if self.replaces:
            return shown
        return f"{shown}\n\n{self.ending}" if shown or self._at else self.ending

    def _drop(self, safe: int) -> None:
        """What goes out is forgotten, but for a little context."""
        cut = max(0, safe - _CONTEXT)
        self._at += safe - self._begin
        self._text, self._folded, self._begin = self._text[cut:], self._folded[cut:], safe - cut


def _dereferenced(match: re.Match[str]) -> str:
    code = int(match[1]) if match[1] else int(match[2], 16)
    return chr(code) if code < 0x30000 and not 0xD800 <= code < 0xE000 and chr(code).isalnum() else match[0]


def filter_for(
    policy: GuardPolicy,
    *,
    prompt: str = "",
    told: Callable[[], Sequence[str]] = tuple,
    canary: str = "",
    more_terms: Sequence[str] = (),
    languages: Sequence[str] = (),
    language: Callable[[], str | None] = lambda: None,
    replaces: bool = False,
) -> OutputFilter | None:
    """The filter for one answer, None where its policy has nothing to look for.

    `prompt`: what the model was told and must not repeat. `told`: the texts that every visitor may read (sources,
    greeting …), asked for when something was found. `more_terms`: the tenant's own banned terms. `languages`: the
    chatbot's, for lists of words; `language`: the visitor's, asked for when an answer is ended. `replaces`: whether the caller
    can put the sentence that ends it in the place of the answer.
    """
    if policy.output == "off" and not policy.redact:
        return None
    looks = policy.output != "off"
    terms = _matchers(policy, more_terms, languages) if looks else []
    leaks = looks and policy.leaks and bool(prompt or canary)
    protected = protected_of(prompt) if leaks and prompt else None
    secrets = [("canary", canary)] if leaks and canary else []
    if protected is not None and protected.secrets:
        secrets += [("secret", value) for value in protected.secrets]
    if not (terms or leaks or policy.redact):
        return None
    return OutputFilter(
        policy,
        refusal=lambda: policy.refusal(language()),
        replaces=replaces and policy.after_stop == "replace",
        terms=terms,
        secrets=secret_matcher(tuple(secrets)) if secrets else None,
        personal=PersonalData(policy.redact, lambda: (*told(), prompt)) if policy.redact else None,
        prompt=PromptWatch(protected, told) if protected is not None and protected.words else None,
        encoded=EncodedWatch(prompt, told) if protected is not None else None,
        keys=leaks,
    )


def term_mask(
    policy: GuardPolicy, more_terms: Sequence[str] = (), languages: Sequence[str] = ()
) -> Callable[[str], str] | None:
    """What masks banned terms in short texts beside an answer (titles, quotes, suggestions), None where none is banned.
    There is nothing to end in them, so `stop` masks, too."""
    terms = _matchers(policy, more_terms, languages) if policy.output in ("mask", "stop") else []
    if not terms:
        return None
    masking = replace(policy, output="mask")

    def mask(text: str) -> str:
        filtered = OutputFilter(masking, refusal=str, replaces=False, terms=terms)
        return filtered.feed(text) + filtered.finish()

    return mask


def _matchers(policy: GuardPolicy, more_terms: Sequence[str], languages: Sequence[str]) -> list[TermMatcher]:
    found: list[TermMatcher] = []
    if policy.banned_terms or more_terms:
        rules = (("banned_term", policy.banned_terms), ("tenant_term", tuple(more_terms)))
        found.append(matcher_of(rules, policy.spaced_letters))
    if policy.categories:
        lists = tuple((category, category_terms(category, tuple(languages))) for category in policy.categories)
        found.append(matcher_of(lists, policy.spaced_letters))
    return found
