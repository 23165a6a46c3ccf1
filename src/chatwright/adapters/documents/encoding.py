"""Bytes of a text file as text, whatever program wrote them. Pure; used by `reading`, `workbook`, `mail`."""

import codecs
import re

from chatwright.domain.errors import Unprocessable

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HTML_CHARSET = re.compile(
    rb"<meta[^>]{0,200}?charset\s{0,8}=\s{0,8}[\"']?\s{0,8}([a-zA-Z0-9_:.-]{1,40})", re.IGNORECASE
)
_XML_CHARSET = re.compile(rb"\A\s{0,8}<\?xml[^>]{0,200}?encoding\s{0,8}=\s{0,8}[\"']([a-zA-Z0-9_:.-]{1,40})")
# What files are written in. Python knows stranger codecs ("unicode_escape"), and no document declares those in earnest.
_KNOWN = re.compile(
    r"utf-?(?:8|16|32)(?:-?[lb]e)?|us-?ascii|ascii|(?:x-|ms-)?(?:windows|cp)-?(?:125\d|874|932|936|949|950)|iso-?8859-?\d+(?:-[ie])?|"
    r"latin-?\d+|koi8-[ru]|gb2312|gbk|gb18030|big5(?:-hkscs)?|shift[_-]?jis|sjis|x-sjis|euc-(?:jp|kr)|iso-2022-jp|"
    r"ks_c_5601-1987|tis-620|mac-?roman|macintosh",
    re.IGNORECASE,
)
_RENAMED = {"x-sjis": "shift_jis", "gb2312": "gb18030", "gbk": "gb18030", "macintosh": "mac_roman", "us-ascii": "ascii"}


def codec_named(name: str | None) -> str | None:
    """The codec that a declared charset means, or None if it means none that documents are written in."""
    wanted = (name or "").strip().strip("\"'").lower()
    if not _KNOWN.fullmatch(wanted):
        return None
    wanted = _RENAMED.get(wanted, wanted)
    if wanted in {"ascii", "iso-8859-1", "iso8859-1", "latin1", "latin-1"}:
        wanted = "cp1252"  # what every browser reads these as
    try:
        return codecs.lookup(wanted).name
    except LookupError:
        return None


def detect(data: bytes, *, declared: str | None = None) -> str:
    """The encoding of `data`. Raises Unprocessable for what is no text.

    A byte order mark decides, then UTF-8 if it fits, then what the file or its sender declares, then a guess between
    Windows' Western and Cyrillic pages.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name
    if (name := _without_mark(data)) is not None:
        return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)  # not final: the file may be cut within a character
        if data.count(b"\0") * 50 <= len(data):
            return "utf-8"
    except UnicodeDecodeError:
        pass
    inside = _XML_CHARSET.search(data[:1_024]) or _HTML_CHARSET.search(data[:4_096])
    for wanted in (inside[1].decode("ascii") if inside else None, declared):
        codec = codec_named(wanted)
        if codec and codec != "utf-8" and not codec.startswith(("utf-16", "utf-32")) and _fits(data, codec):
            return codec
    return _guess(data)


def decode(data: bytes, *, declared: str | None = None) -> tuple[str, str | None]:
    """(text, warning or None). Raises Unprocessable for what is no text."""
    name = detect(data, declared=declared)
    text = data.decode(name, "replace")
    lost = text.count("\ufffd") - (data.count(b"\xef\xbf\xbd") if name.startswith("utf-8") else 0)
    warning = None
    if lost > 0:
        warning = f"{lost:,} characters could not be read as {name}; save the file as UTF-8"
    elif name in {"cp1252", "cp1251"} and codec_named(declared) != name:
        warning = (
            f"read as Windows-{name[2:]}, as the file does not say its encoding; save it as UTF-8 if words look wrong"
        )
    return text, warning


def _without_mark(data: bytes) -> str | None:
    """UTF-16 without a byte order mark: every other byte of Latin text is 0."""
    sample = data[:2_000]
    if len(sample) < 16 or b"\0" not in sample:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > half * 0.4 and even < half * 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > half * 0.4 and odd < half * 0.05 else None


def _fits(data: bytes, codec: str) -> bool:
    sample = data[:100_000]
    return sample.decode(codec, "replace").count("\ufffd") * 20 < len(sample)


def _guess(data: bytes) -> str:
    sample = data[:100_000]
    controls = sum(sample.count(code) for code in (*range(9), 14, 15, *range(16, 27), *range(28, 32), 127))
    if controls * 50 > len(sample):
        raise Unprocessable("the file is no text and no document of a known kind")
    high = sum(byte >= 0x80 for byte in sample)
    letters = sum(65 <= byte <= 90 or 97 <= byte <= 122 for byte in sample)
    if _almost_utf8(sample):
        return "utf-8"
    if high <= letters:
        return "cp1252"
    for codec, scripts, share in _EASTERN:
        text = sample.decode(codec, "replace")
        wide = [character for character in text if character > "\x7f"]
        found = sum(any(low <= character <= top for low, top in scripts) for character in wide)
        if found > share * len(wide) and text.count("\ufffd") * 100 < len(wide):
            return codec
    if sum(byte >= 0xC0 for byte in sample) * 10 > high * 9:
        return "cp1251"
    raise Unprocessable("the text's encoding is unknown; save the file as UTF-8")


# Tried in this order; how much of the text must be of the scripts that the encoding was made for.
_EASTERN = (
    ("shift_jis", (("\u3041", "\u30ff"),), 0.25),
    ("euc_jp", (("\u3041", "\u30ff"),), 0.25),
)


def _almost_utf8(sample: bytes) -> bool:
    """A few broken characters in text that is UTF-8 otherwise: cut or joined by a program that counts bytes."""
    text = sample.decode("utf-8", "replace")
    good = sum(character > "\x7f" and character != "\ufffd" for character in text)
    return good > text.count("\ufffd") * 5
