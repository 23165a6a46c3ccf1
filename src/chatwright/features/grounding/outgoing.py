"""The window over an answer's text on its way out: what names no source falls, what leads outside loses its power.

A retrieved document is data, but a model may obey it: show this picture, follow this link, both with the visitor's
words in the address. So an address whose host nobody on this side named goes out as its bare host: nothing is fetched, nothing
can be clicked with data in it. A citation of a source that does not exist is dropped. Code keeps its text, because no
reader of Markdown makes a link of it.

Works on a stream: text is held only while such a construct is open, at most `MAX_HELD` characters. What counts as code is
read as CommonMark reads it, and where this window cannot be sure (a fence inside a list, an unpaired backtick) it takes
nothing for code: a text that is mended too much is a blemish, one that is mended too little is a hole. Pure.
"""

import html
import re
from urllib.parse import urlsplit

MAX_HELD = 2_048
_MAX_CITED = 99  # "[2024]" is a year, "[0]" an index

_URL_CHARACTER = r"[^\s<>\"'`\]\[{}|^]"
# With backslashes where Markdown takes them away again before some renderers look for addresses.
_SCHEME = r"[a-zA-Z][a-zA-Z0-9+.-]{0,15}\\?:[/\\]{2,}"
_WWW = r"(?i:www)\\?\."
_CONSTRUCT = re.compile(
    rf"""
      (?P<blank>\n[ \t]*\n)
    | (?P<code>(?<![`\\])(?P<ticks>`{{1,2}})(?!`)[^`\n|]+(?<!`)(?P=ticks)(?!`))
    | (?P<stray>`+)
    | (?P<image>!(?=\[))
    | (?P<cited>(?<![ \t])[ \t]*+[\[【]\^?(?P<numbers>\d{{1,2}}(?:[ ]*,[ ]*\d{{1,2}}){{0,9}})[\]】](?![(:]))
    | (?P<target>\]\([ \t]*+(?:<(?P<angled>[^<>\n`\[\]]*+)>
          |(?P<plain>[^\s()<>`\[\]]*+(?:\([^\s()<>`\[\]]*+\)[^\s()<>`\[\]]*+)*+))(?:[ \t][^)\n`\[\]]*+)?\))
    | (?P<broken>\]\()
    | (?P<definition>\]:[ \t]*+(?:\n[ \t>]*+)?<?(?P<defined>{_URL_CHARACTER}+)>?)
    | (?P<undefined>\]:(?=[ \t]*+(?:\n[ \t>]*+)?<?\Z))
    | (?P<auto><(?P<autolink>[a-zA-Z][a-zA-Z0-9+.-]{{1,31}}:[^\s<>]*)>)
    | (?P<tag><(?=[a-zA-Z/!?]))
    | (?P<bare>(?:{_SCHEME}|{_WWW}|\\?/\\?/(?=\w)){_URL_CHARACTER}*)
    | (?P<reference>&(?:\#\d{{1,7}}|\#[xX][0-9a-fA-F]{{1,6}}|[a-zA-Z][a-zA-Z0-9]{{1,31}});)
    """,
    re.VERBOSE,
)
# Where text must wait, because the construct that begins here is not yet whole.
_OPEN = re.compile(
    rf"""
      (?<![ \t])[ \t]++\Z
    | \n[ \t]*\Z
    | !\Z
    | <\Z | <[a-zA-Z][^\s<>]*\Z
    | (?<![ \t])[ \t]*+[\[【]\^?[\d, ]{{0,40}}[\]】]?\Z
    | \](?:\((?:[^()\n]|\([^()\n]*+(?:\)|\Z))*+)?\Z
    | \]:[ \t]*+(?:\n[ \t>]*+)?<?{_URL_CHARACTER}*\Z
    | [a-zA-Z][a-zA-Z0-9+.-]{{0,15}}\\?(?::[/\\]*)?\Z
    | &[\#a-zA-Z0-9]{{0,32}}\Z
    | [/\\]\Z
    | ~{{1,2}}\Z
    | (?:{_SCHEME}|{_WWW}|\\?/\\?/){_URL_CHARACTER}*\Z
    | (?<![`\\])`{{1,2}}(?:(?!`)[^`\n|]+`{{0,2}})?\Z
    """,
    re.VERBOSE,
)
_FENCE = re.compile(r"(?m)^(?P<marks>(?P<mark>[`~])(?P=mark){2,}+)(?P<info>[^\n]*+)\n")
_FENCE_OPEN = re.compile(r"(?m)^(?:`{1,3}|~{1,3}|`{3,}+[^\n]*+|~{3,}+[^\n]*+)\Z")
_ODD_FENCE = re.compile(r"(?<![\n`~])(?:```|~~~)")  # not at the start of its line: in a list, a quotation, a sentence
_TRAILING = ".,;:!?)*_~"
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_ADDRESS_MARKS = frozenset(":/.\\@")


class Outgoing:
    """A hold-back window (`pipeline.hold_back.HoldBack`) for one answer.

    `sources`: how many there are, numbered from 1. `hosts`: those that addresses may lead to, lower case; "*.example.com"
    stands for every name below, "*" for all.
    """

    def __init__(self, *, sources: int, hosts: frozenset[str]) -> None:
        self._sources = sources
        self._hosts = hosts
        self._held = ""
        self._line_begins = True  # what is held begins a line
        self._fence = ""  # the marks that opened the fence that the text is in
        self._fences_doubtful = False
        self._unpaired = False  # a backtick of this paragraph is open: no pair after it is surely a pair
        self._is_last = False  # nothing follows what is held
        self._returned = False  # the last character was a carriage return

    def feed(self, text: str) -> str:
        """Take new text; return what may go out now."""
        if text:
            # Each of the three line ends that Markdown knows counts as one newline.
            rest = text[1:] if self._returned and text[0] == "\n" else text
            self._returned = text[-1] == "\r"
            self._held += rest.replace("\r\n", "\n").replace("\r", "\n")
        return self._out(last=False)

    def finish(self) -> str:
        """Return the rest."""
        return self._out(last=True)

    def _out(self, *, last: bool) -> str:
        parts: list[str] = []
        while self._held:
            before = len(self._held)
            parts.append(self._code(last=last) if self._fence else self._prose(last=last))
            if len(self._held) == before:
                break
        return "".join(parts)

    def _take(self, count: int) -> str:
        taken, self._held = self._held[:count], self._held[count:]
        if taken:
            self._line_begins = taken.endswith("\n")
        return taken

    # --- code between fences: goes out as it is --------------------------------------------------------------------

    def _code(self, *, last: bool) -> str:
        """Whole lines, up to the one that ends the fence."""
        parts: list[str] = []
        while self._held:
            end = self._held.find("\n") + 1
            line = self._held[: end or len(self._held)]
            may_close = self._line_begins and not line.strip(" \t\n`~")
            if not end and not last and may_close and len(line) <= MAX_HELD:
                break  # the closing line, perhaps
            parts.append(self._take(len(line)))
            if may_close and (closing := re.fullmatch(r" {0,3}([`~]{3,})([ \t]*)\n?", line)):
                marks, space = closing.groups()
                if marks.startswith(self._fence):
                    # Other marks behind these, or a tab, end it for some renderers only.
                    self._fences_doubtful = marks.strip(self._fence[0]) != "" or "\t" in space
                    self._fence = ""
                    break
        return "".join(parts)

    # --- everything else -------------------------------------------------------------------------------------------

    def _prose(self, *, last: bool) -> str:
        """Text up to the next fence, or up to where it must wait."""
        held, self._is_last = self._held, last
        if not self._fences_doubtful:
            odd = next((one for one in _ODD_FENCE.finditer(held) if one.start() or not self._line_begins), None)
            fence = _FENCE.search(held, 0 if self._line_begins else 1)
            if fence is not None and fence["mark"] in fence["info"]:
                odd, fence = fence if odd is None or fence.start() < odd.start() else odd, None
            if odd is not None and (fence is None or odd.start() < fence.start()):
                self._fences_doubtful = True
            elif fence is not None:
                text = self._mended(held, fence.start())
                self._fence, self._unpaired = fence["marks"], False
                self._take(fence.end())
                return text + fence[0]
        cut = len(held) if last else self._settled(held)
        if not last and not cut and len(held) > MAX_HELD:
            cut, self._unpaired = len(held), True  # held too long to know what it would have become
        text = self._mended(held, cut)
        self._take(cut)
        return text

    def _settled(self, text: str) -> int:
        """Up to where `text` means the same whatever follows."""
        cut = position = 0
        tail = max(0, len(text) - MAX_HELD)
        while True:
            waits = _OPEN.search(text, max(position, tail))
            whole = _CONSTRUCT.search(text, position)
            if whole is not None and whole.end() < len(text) and (waits is None or whole.start() < waits.start()):
                position = whole.end()
                continue
            ends = [match.start() for match in (waits, whole) if match is not None]
            cut = max(position, min(ends, default=len(text)))
            break
        line = text.rfind("\n", 0, cut) + 1
        if (line or self._line_begins) and _FENCE_OPEN.search(text, line):
            cut = min(cut, line)
        return cut

    def _mended(self, text: str, end: int) -> str:
        """`text` up to `end`; what follows is looked at, because it says what the last mark is."""
        parts: list[str] = []
        position = 0
        while (match := _CONSTRUCT.search(text, position)) and match.end() <= end:
            parts += (text[position : match.start()], self._mend(match))
            position = match.end()
        parts.append(text[position:end])
        return "".join(parts)

    def _mend(self, match: re.Match[str]) -> str:
        found = match[0]
        match match.lastgroup:
            case "blank":
                self._unpaired = False
                return found
            case "code":
                # A definition of a link is read before code is: its label may hold the first of two backticks.
                if not self._unpaired and not self._fences_doubtful and "]:" not in found:
                    return found
                ticks = match["ticks"]
                inside = found[len(ticks) : -len(ticks)]
                return ticks + self._mended(inside, len(inside)) + ticks
            case "stray":
                self._unpaired = True
                return found
            case "image":
                return ""
            case "cited":
                return self._citation(match)
            case "broken":
                return "] ("
            case "tag":
                return "< "
            case "target":
                target = match["plain"] if match["angled"] is None else match["angled"]
                if not self._is_known(target):
                    return f"] ({_shown(target)})"
                return found if any(map(_leaves, _readings(target))) else "](" + self._mended(found[2:], len(found) - 2)
            case "definition":
                if not self._is_known(match["defined"]):
                    return f"] : {_shown(match['defined'])}"
                return "]:" + self._mended(found[2:], len(found) - 2)
            case "undefined":  # let go before it was whole
                return found if self._is_last else "] :"
            case "auto":
                return found if self._is_known(match["autolink"]) else _shown(match["autolink"])
            case "reference":
                # Renderers that make links of bare addresses may look for them after they resolved these.
                means = html.unescape(found)
                hides = len(means) == 1 and means.isascii() and (means.isalnum() or means in _ADDRESS_MARKS)
                return f"&amp;{found[1:]}" if hides else found
            case _:
                address = found.rstrip(_TRAILING)
                return found if self._is_known(address) else _shown(address) + found[len(address) :]

    def _citation(self, match: re.Match[str]) -> str:
        found = match[0]
        numbers = [int(number) for number in match["numbers"].split(",")]
        if not all(1 <= number <= _MAX_CITED for number in numbers):
            return found
        space = found[: len(found) - len(found.lstrip())]
        kept = dict.fromkeys(number for number in numbers if number <= self._sources)
        return space + "".join(f"[{number}]" for number in kept) if kept else ""

    def _is_known(self, address: str) -> bool:
        """Whether an address stays on this site, or leads to a host that was named on this side."""
        return all(map(self._is_known_as, _readings(address)))

    def _is_known_as(self, plain: str) -> bool:
        scheme = _scheme(plain)
        if scheme in ("mailto", "tel"):
            return True
        if not _leaves(plain):
            return True
        if scheme not in ("", "http", "https"):
            return False
        host = _host(plain).removeprefix("www.")
        names = host.split(".")
        above = ("*." + ".".join(names[at:]) for at in range(1, len(names)))
        return bool(host) and ("*" in self._hosts or host in self._hosts or any(name in self._hosts for name in above))


def _readings(address: str) -> tuple[str, str]:
    """An address as a browser would read it, and as it does after Markdown took the backslashes before punctuation away:
    entities resolved, white space gone, backslashes turned."""
    return _plain(address), _plain(_ESCAPE.sub(r"\1", address))


def _plain(address: str) -> str:
    return re.sub(r"[\x00-\x20]", "", html.unescape(address)).replace("\\", "/")


def _leaves(plain: str) -> bool:
    """Whether an address is more than a path or a fragment of the page that it stands on."""
    return bool(_scheme(plain)) or plain.casefold().startswith(("//", "www."))


def _scheme(plain: str) -> str:
    head, colon, _ = plain.partition(":")
    return head.casefold() if colon and re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", head) else ""


def _host(plain: str) -> str:
    """The host of an address, lower case; empty where there is none or it cannot be read."""
    try:
        return (
            (urlsplit("//" + plain if plain.casefold().startswith("www.") else plain).hostname or "")
            .casefold()
            .rstrip(".")
        )
    except ValueError:
        return ""


def _shown(address: str) -> str:
    """An address without its power: its host, or a few words where it has none."""
    host = _host(_readings(address)[1]).removeprefix("www.")
    return host if re.fullmatch(r"[\w.-]{1,253}", host) else "address removed"
