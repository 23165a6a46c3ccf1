"""The charset that a stranger's page is written in. Pure."""

import codecs
import re

# What a page may be written in. Python knows more codecs, and some of them take a stranger's page hours to read.
_CHARSETS = re.compile(
    r"ascii|utf-(?:8(?:-sig)?|16(?:-[bl]e)?|32(?:-[bl]e)?)|iso8859-\d+|cp\d+|koi8-[rtu]|tis-620|mac-[a-z]+"
    r"|gb\w+|big5\w*|euc_\w+|shift_jis\w*|iso2022_\w+|hz|johab"
)


def codec_of(charset: str | None) -> str | None:
    """Python's name of a charset that pages are written in; None for one that is unknown, or that is no charset."""
    try:
        codec = codecs.lookup(charset or "").name
    except (LookupError, ValueError):
        return None
    return codec if _CHARSETS.fullmatch(codec) else None
