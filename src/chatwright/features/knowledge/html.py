"""HTML as blocks, in reading order. Pure; used by `chunking`, and for the HTML inside Markdown.

Boilerplate falls: scripts, navigation, page headers and footers, forms. The walk is iterative: nesting costs memory,
never the stack.
"""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from chatwright.domain.errors import Unprocessable
from chatwright.features.knowledge.blocks import Block, squeeze, table_blocks


def html_title(text: str) -> str:
    """The page's `<title>`, or an empty string."""
    node = _parse_html(text).css_first("title")
    return squeeze(node.text()) if node else ""


_DROPPED = (
    "script, style, nav, header, footer, aside, form, noscript, template, svg, iframe, object, button, select, dialog, "
    "head, [hidden], [aria-hidden=true], [role=navigation], [role=banner], [role=contentinfo], [role=search]"
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BREAKING = frozenset(
    {"address", "article", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption"}
    | {
        "figure",
        "hr",
        "main",
        "ol",
        "p",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    }
)


_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_NOT_NESTING = frozenset(
    {"p", "li", "td", "th", "tr", "dt", "dd", "tbody", "thead", "tfoot", "option", "optgroup", "colgroup", "rp", "rt"}
    | {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
_MAX_DEPTH = 2_000  # the parser's time grows with the square of the depth: 0.4 s at 20,000, over a minute at 200,000


def _parse_html(text: str) -> LexborHTMLParser:
    """Parse a page or a fragment. Raises Unprocessable when elements nest absurdly deep."""
    depth = 0
    for tag in _TAG.finditer(text):
        if tag[2].lower() not in _NOT_NESTING:
            depth = max(0, depth - 1) if tag[1] else depth + 1
            if depth > _MAX_DEPTH:
                raise Unprocessable(f"the HTML nests more than {_MAX_DEPTH:,} elements deep; simplify the page")
    return LexborHTMLParser(text)


class _HtmlReader:
    """Collects blocks from enter/leave/text events of one walk over a page."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._text: list[str] = []
        self._lists: list[int | None] = []
        self._mark: str | None = None
        self._table: list[list[str]] | None = None
        self._tables_open = 0
        self._header_rows = 0

    def enter(self, node: LexborNode) -> bool:
        """Take an element's start. False when its children are already read."""
        tag = node.tag or ""
        if tag == "br":
            self._text.append(" ")
        elif tag == "pre" and self._table is None:
            self.flush()
            code = node.text().strip("\n")
            if code.strip():
                self.blocks.append(Block(kind="code", text=code))
            return False
        elif tag == "code":
            self._text.append("`")
        elif tag == "table":
            self._tables_open += 1
            if self._tables_open == 1:
                self.flush()
                self._table, self._header_rows = [], 0
        elif self._table is not None:
            if self._tables_open == 1 and tag == "tr":
                self._table.append([])
            elif self._tables_open == 1 and tag in {"td", "th"}:
                self._text.clear()
            elif tag in _BREAKING or tag == "li":
                self._text.append(" ")
        elif tag in {"ul", "ol", "menu"}:
            self.flush()
            start = node.attributes.get("start") or ""
            self._lists.append(None if tag != "ol" else int(start) if start.isdecimal() and len(start) < 9 else 1)
        elif tag == "li":
            self.flush()
            number = self._lists[-1] if self._lists else None
            self._mark = "-" if number is None else f"{number}."
            if number is not None:
                self._lists[-1] = number + 1
        elif tag in _HEADINGS or tag in _BREAKING:
            self.flush()
        return True

    def leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "code":
            self._text.append("`")
        elif tag == "table":
            self._tables_open -= 1
            if self._tables_open == 0 and self._table is not None:
                table, self._table = self._table, None
                if all(len(row) < 2 for row in table):  # a layout table: its cells are the page's paragraphs
                    self.blocks.extend(Block(kind="prose", text=cell) for row in table for cell in row if cell)
                else:
                    self.blocks.extend(table_blocks(table, self._header_rows))
        elif self._table is not None:
            if self._tables_open == 1 and tag in {"td", "th"} and self._table:
                self._table[-1].append(squeeze("".join(self._text)))
                self._text.clear()
                if tag == "th" and len(self._table) == 1:
                    self._header_rows = 1
        elif tag in {"ul", "ol", "menu"}:
            self.flush()
            if self._lists:
                self._lists.pop()
        elif tag in _HEADINGS:
            text = squeeze("".join(self._text)).strip("#¶ ")
            self._text.clear()
            if text:
                anchor = node.attributes.get("id") or None
                self.blocks.append(Block(kind="heading", text=text, level=_HEADINGS[tag], anchor=anchor))
        elif tag in _BREAKING or tag == "li":
            self.flush()

    def text(self, text: str) -> None:
        self._text.append(text)

    def flush(self) -> None:
        """End the paragraph in progress."""
        text = squeeze("".join(self._text)).replace("``", "")
        self._text.clear()
        if not text or self._table is not None:
            return
        if self._lists or self._mark:
            level = max(0, len(self._lists) - 1)
            self.blocks.append(Block(kind="item", text=text, level=level, mark=self._mark or ""))
            self._mark = None
        else:
            self.blocks.append(Block(kind="prose", text=text))


def html_blocks(text: str) -> Iterator[Block]:
    tree = _parse_html(text)
    for node in tree.css(_DROPPED):
        node.decompose()
    root = tree.css_first("main, [role=main]") or tree.body or tree.root
    if root is None:
        return
    reader = _HtmlReader()
    node: LexborNode | None = root
    while node is not None:
        down = None
        if node.is_text_node:
            reader.text(node.text_content or "")
        elif node.is_element_node and reader.enter(node):
            down = node.child
        if down is not None:
            node = down
            continue
        while node is not None:
            if node.is_element_node:
                reader.leave(node)
            if node.mem_id == root.mem_id:
                node = None
            elif node.next is not None:
                node = node.next
                break
            else:
                node = node.parent
    reader.flush()
    yield from reader.blocks
