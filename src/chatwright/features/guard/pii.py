"""Finds what is somebody's in an answer that is still being written: mail addresses, telephone, card and account numbers.
Pure.

Formats only, each with its proof where it has one: cards by Luhn's digit, accounts by their country's length and ISO 13616.
What visitors are told on purpose (the chatbot's own texts, its sources) is nobody's secret and stays. Called by `output.py`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Protocol

from chatwright.domain.checksums import is_iban, is_luhn
from chatwright.features.guard.policy import Redaction
from chatwright.features.guard.terms import Scanned, Span

_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}+[@＠](?:[\w-]{1,63}\.){1,8}[\w-]{2,63}(?![\w-])")
_MAIL_OPEN = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}+(?:[@＠](?:[\w-]{1,63}\.){0,8}[\w-]{0,63})?\Z")
_SEPARATORS = " \u00a0().-/"
_RUN = re.compile(r"(?<![\w.,])[+(]{0,2}\d")
_MAX_RUN = 48
"""Characters of a number with what people write between its digits."""
_CARD = (13, 19)
_PHONE = re.compile(
    r"""
      \+\d{1,3}(?:[ \u00a0().\-/]{0,2}\d){6,13}
    | \(?0\d{1,4}\)?(?:[ \u00a0.\-/]{0,2}\d){5,11}
    | \(?[2-9]\d{2}(?:\)[ \u00a0.-]?|[ \u00a0.-])[2-9]\d{2}[ \u00a0.-]\d{4}
    """,
    re.VERBOSE,
)
_DATE = re.compile(r"\(?(?:\d{1,2}[-/. ]\d{1,2}[-/. ](?:19|20)?\d\d|0?\d[-/. ](?:19|20)\d\d)")
# Characters of an account's number by country, as ISO 13616 has them registered.
_LENGTHS_TEXT = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18 FR27 "
    "GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 "
    "MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SD18 SE24 SI19 SK24 SM27 ST25 SV28 "
    "TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _LENGTHS_TEXT.split()}
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}(?:\d|\Z)|(?<![A-Za-z0-9])[A-Za-z]\Z")


class _Finder(Protocol):
    def __call__(self, text: str, begin: int, *, last: bool) -> Iterator[Span | int]:
        """Yield what is certain, and the place from which on nothing is."""
        ...


class PersonalData:
    """Looks for the kinds that a policy names. `told`: texts that every visitor may read."""

    def __init__(self, kinds: Sequence[Redaction], told: Callable[[], Sequence[str]]) -> None:
        finders: dict[Redaction, _Finder] = {
            "email": _mails,
            "card": _cards,
            "iban": _accounts,
            "phone": _phones,
        }
        self._finders = [finders[kind] for kind in finders if kind in kinds]
        self._told_texts = told

    def scan(self, text: str, begin: int, *, last: bool) -> Scanned:
        """As `TermMatcher.scan`, on the text as it is."""
        spans: list[Span] = []
        open_at = len(text)
        for finder in self._finders:
            for found in finder(text, begin, last=last):
                if isinstance(found, int):
                    open_at = min(open_at, found)
                elif not self._is_told(found, text):
                    spans.append(found)
        spans.sort(key=lambda span: (span.start, -span.end))
        return Scanned(spans, open_at)

    def _is_told(self, span: Span, text: str) -> bool:
        mails, numbers = self._told
        found = text[span.start : span.end]
        return found.casefold() in mails if span.rule == "email" else _bare(found) in numbers

    @cached_property
    def _told(self) -> tuple[str, str]:
        texts = "\n".join(self._told_texts())
        return texts.casefold(), _bare(texts)


def _bare(text: str) -> str:
    return re.sub(r"[ \u00a0().\-/]", "", text).casefold()


def _mails(text: str, begin: int, *, last: bool) -> Iterator[Span | int]:
    cut = len(text)
    if not last and (waits := _MAIL_OPEN.search(text, max(begin, len(text) - 640))):
        cut = waits.start()
        yield cut
    if "@" in text or "＠" in text:
        for match in _MAIL.finditer(text, begin):
            if match.start() < cut:
                yield Span(match.start(), match.end(), "email")


def _runs(text: str, begin: int, *, last: bool) -> Iterator[tuple[int, int, bool]]:
    """(start, end, whether it is written to its end) of what may be a number with separators."""
    for match in _RUN.finditer(text, begin):
        start = match.start()
        at, end, apart = match.end(), match.end(), 0
        while at < len(text) and at - start < _MAX_RUN:
            if text[at].isdigit():
                end, apart = at + 1, 0
            elif text[at] in _SEPARATORS and apart < 3:
                apart += 1
            else:
                break
            at += 1
        yield start, end, last or at < len(text)


def _cards(text: str, begin: int, *, last: bool) -> Iterator[Span | int]:
    free = begin
    for start, end, is_whole in _runs(text, begin, last=last):
        if start < free:
            continue
        digits, best, at = "", None, start
        while at < end and len(digits) <= _CARD[1]:
            if text[at].isdigit():
                digits += text[at]
                group_ends = at + 1 >= end or not text[at + 1].isdigit()
                if group_ends and _CARD[0] <= len(digits) <= _CARD[1] and digits[0] in "23456" and is_luhn(digits):
                    best = at + 1
            elif text[at] not in " \u00a0-.":
                break
            at += 1
        if not is_whole and at >= end and len(digits) <= _CARD[1]:
            yield start
            return
        if best is not None and text[best : best + 1].isalnum() is False:
            yield Span(start, best, "card")
            free = best


def _phones(text: str, begin: int, *, last: bool) -> Iterator[Span | int]:
    free = begin
    for start, _end, is_whole in _runs(text, begin, last=last):
        if start < free:
            continue
        if not is_whole:
            yield start
            return
        match = _PHONE.match(text, start)
        if match is None or text[match.end() : match.end() + 1].isalnum() or _DATE.fullmatch(match[0]):
            continue
        yield Span(start, match.end(), "phone")
        free = match.end()
    if not last and (waits := re.search(r"(?<![\w.,])[+(]{1,2}\Z", text[begin - 1 if begin else 0 :])):
        yield waits.start() + (begin - 1 if begin else 0)


def _accounts(text: str, begin: int, *, last: bool) -> Iterator[Span | int]:
    free = begin
    for match in _IBAN.finditer(text, begin):
        start = match.start()
        if start < free:
            continue
        length = _LENGTHS.get(text[start : start + 2].upper())
        if length is None and start + 2 <= len(text):
            continue
        code, at = "", start
        while at < len(text) and (length is None or len(code) < length):
            character = text[at]
            if character.isascii() and character.isalnum():
                code += character
            elif character not in " \u00a0-" or not text[at - 1].isalnum() or len(code) < 4:
                break
            at += 1
        if at >= len(text) and not last:
            yield start
            return
        if len(code) == length and not text[at : at + 1].isalnum() and is_iban(code):
            yield Span(start, at, "iban")
            free = at
