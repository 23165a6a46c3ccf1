"""Plain text and Markdown as blocks, in reading order. Pure; used by `reading` and for documents sent as text.

Markdown is read at block level only: inline marks stay as written. Front matter falls.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from markdown_it import MarkdownIt

from chatwright.adapters.documents.blocks import is_question, squeeze, table_blocks
from chatwright.adapters.documents.html import html_blocks
from chatwright.domain.documents import Block

_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_ITEM_LINE = re.compile(r"[ \t]*([-*+•–]|\d{1,4}[.)])[ \t]+(?=\S)")


def plain_blocks(text: str) -> Iterator[Block]:
    for paragraph in _BLANK_LINES.split(text):
        lines = [line.rstrip() for line in paragraph.split("\n") if line.strip()]
        if any(_ITEM_LINE.match(line) for line in lines):
            yield from _plain_items(lines)
        elif lines:
            yield Block(kind="prose", text="\n".join(lines).strip())


def _plain_items(lines: list[str]) -> Iterator[Block]:
    """Lines of which some begin with a list marker; a line without one goes on with the item before."""
    current: list[str] = []
    mark = ""
    for line in lines:
        marker = _ITEM_LINE.match(line)
        if marker:
            if current:
                yield Block(kind="item" if mark else "prose", text="\n".join(current).strip(), mark=mark)
            current, mark = [line[marker.end() :]], marker[1]
        else:
            current.append(line)
    yield Block(kind="item" if mark else "prose", text="\n".join(current).strip(), mark=mark)


_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?:[^\n]*\n){0,200}?(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_FRONT_TITLE = re.compile(r"^title:[ \t]*[\"']?([^\n]{1,200}?)[\"']?[ \t]*$", re.MULTILINE)
_IMAGE = re.compile(r"!\[([^\[\]\n]{0,400})\]\([^()\s]{0,2000}(?:\s[^()\n]{0,400})?\)")
_DETAILS = re.compile(
    r"<details[^>]{0,200}>\s{0,100}<summary[^>]{0,200}>(.{1,600}?)</summary>", re.IGNORECASE | re.DOTALL
)
_TAG = re.compile(r"<[^<>]{1,400}>")
_BREAK = re.compile(r"<br\s{0,4}/?>", re.IGNORECASE)


@cache
def _markdown() -> MarkdownIt:
    """Blocks only: inline marks stay as written, and without the inline pass hostile input stays linear."""
    return MarkdownIt("commonmark").enable("table").disable("inline", ignoreInvalid=True)


def front_matter_title(text: str) -> str:
    """The `title:` of YAML front matter, or an empty string."""
    front = _FRONT_MATTER.match(text)
    found = _FRONT_TITLE.search(front[0]) if front else None
    return found[1].strip() if found else ""


def markdown_blocks(text: str) -> list[Block]:
    """The blocks of a Markdown text. A `<details>` whose summary asks something is a question with its answer."""
    blocks: list[Block] = []
    lists: list[int | None] = []  # per open list: the next number, or None for bullets
    mark: str | None = None  # marker of an item whose first paragraph has not come yet
    table: list[list[str]] | None = None
    header_rows = heading_level = 0
    question, asked_at = "", 0  # of an open <details>, whose answer is Markdown again; blocks before it
    for token in _markdown().parse(_FRONT_MATTER.sub("", text, count=1)):
        match token.type:
            case "heading_open":
                heading_level = int(token.tag[1])
            case "heading_close":
                heading_level = 0
            case "bullet_list_open":
                lists.append(None)
            case "ordered_list_open":
                lists.append(int(token.attrGet("start") or 1))
            case "bullet_list_close" | "ordered_list_close":
                lists.pop()
            case "list_item_open":
                number = lists[-1]
                mark = "-" if number is None else f"{number}."
                lists[-1] = None if number is None else number + 1
            case "table_open":
                table, header_rows = [], 0
            case "tr_open" if table is not None:
                table.append([])
            case "thead_close" if table is not None:
                header_rows = len(table)
            case "table_close" if table is not None:
                blocks += table_blocks(table, header_rows)
                table = None
            case "fence" | "code_block":
                blocks.append(Block(kind="code", text=token.content.strip("\n"), mark=token.info.strip()))
            case "html_block":
                html = token.content
                opened = _DETAILS.search(html)
                if (
                    opened
                    and "</details" not in html.lower()
                    and is_question(asked := squeeze(_TAG.sub(" ", opened[1])))
                ):
                    blocks += html_blocks(html[: opened.start()], fragment=True)
                    question, asked_at = asked, len(blocks)
                    html = html[opened.end() :]
                blocks += html_blocks(html, fragment=True)
                if question and "</details" in html.lower():
                    blocks[asked_at:] = _answered(question, blocks[asked_at:])
                    question = ""
            case "inline":
                content = _inline(token.content)
                if table is not None:
                    table[-1].append(content)
                elif not content:
                    pass
                elif heading_level:
                    blocks.append(Block(kind="heading", text=content, level=heading_level))
                elif lists:
                    blocks.append(Block(kind="item", text=content, level=len(lists) - 1, mark=mark or ""))
                    mark = None
                else:
                    blocks.append(Block(kind="prose", text=content))
            case _:
                pass
    if question:
        blocks[asked_at:] = _answered(question, blocks[asked_at:])
    return blocks


def _answered(question: str, blocks: list[Block]) -> list[Block]:
    if not blocks:
        return [Block(kind="prose", text=question)]
    return [block if block.kind == "heading" else replace(block, question=question) for block in blocks]


def _inline(text: str) -> str:
    """One paragraph on one line, pictures as their description: badges and paths of images say nothing."""
    return squeeze(_BREAK.sub(" ", _IMAGE.sub(r"\1", text)))
