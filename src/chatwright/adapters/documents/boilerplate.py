"""What of an HTML page belongs to the site around it: navigation, banners, lists of links. Pure; used by `html`."""

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from chatwright.adapters.documents.blocks import listed
from chatwright.domain.documents import Block

_NEVER_TEXT = "script, style, noscript, template, svg, iframe, object, head"
_SITE = (
    "nav, header, footer, aside, form, button, select, dialog, menu, [hidden], [aria-hidden=true], [aria-modal=true], "
    "[role=navigation], [role=banner], [role=contentinfo], [role=search], [role=dialog], [role=alertdialog], "
    "[role=complementary], [role=menu], [role=menubar], [role=toolbar], [role=tablist]"
)
_NAMED = "div[class], div[id], section[class], section[id], ul[class], ul[id], ol[class], p[class], span[class], table[class]"
_NAMES = re.compile(
    r"(?:^|[\s_-])(?:"
    r"cookies?|consent|gdpr|onetrust|cookiebot|breadcrumbs?|nav|navbar|navigation|menu|submenu|masthead|skip-?link|"
    r"side-?bar|footer|social|share|sharing|share-?buttons?|sharedaddy|addthis|newsletter|subscribe|subscription|sign-?up|"
    r"promo|advert|advertisement|ads?|sponsored|banner|outbrain|taboola|popup|modal|overlay|paywall|"
    r"related|recommended|recommendations|read-?more|more-?stories|most-?read|trending|popular|"
    r"comments?|comment-?list|comments-?area|disqus|respond|"
    r"pagination|pager|prev-?next|post-?navigation|tags?|tag-?list|tagcloud|toc|table-of-contents|widgets?|"
    r"author-?(?:bio|box|info)|byline|meta|post-?meta|entry-?meta|print-?only|sr-only|screen-reader-text|visually-?hidden|"
    r"navbox|catlinks|mw-editsection|mw-jump-link|reflist|noprint|edit-?link|headerlink"
    r")(?:$|[\s_-])",
    re.IGNORECASE,
)
_MAX_SHARE = 0.3  # of the page's text: what holds more of it is the page, whatever it is called
_MAIN_SHARE = 0.85
_SHORT_PAGE = 400
_HOLDING = listed("div section article main center form body span font")


def drop_boilerplate(tree: LexborHTMLParser, *, fragment: bool) -> None:
    """Remove what the page shows on every page of its site. In a `fragment` only what is never text falls."""
    for node in tree.css(_NEVER_TEXT):
        node.decompose()
    root = tree.body or tree.root
    if fragment or root is None:
        return
    length = _running_text(root)
    most = length.get(root.mem_id, 0) * _MAX_SHARE
    for node in tree.css(_SITE):
        if length.get(node.mem_id, 0) <= most:
            node.decompose()
    for node in tree.css(_NAMED):
        attributes = node.attributes
        names = f"{attributes.get('class') or ''} {attributes.get('id') or ''}"
        if length.get(node.mem_id, 0) <= most and _NAMES.search(names) and node.css_first("h1, main") is None:
            node.decompose()


def main_part(root: LexborNode) -> LexborNode:
    """The innermost element that holds nearly all running text outside of links."""
    named = root.css("main, [role=main]")
    length = _running_text(root)
    total = length.get(root.mem_id, 0)
    if len(named) == 1 and length.get(named[0].mem_id, 0) * 2 > total:
        root, total = named[0], length[named[0].mem_id]
    while total >= _SHORT_PAGE:
        inside = [child for child in root.iter(include_text=False) if child.tag in _HOLDING]
        best = max(inside, key=lambda child: length.get(child.mem_id, 0), default=None)
        if best is None or length.get(best.mem_id, 0) < total * _MAIN_SHARE:
            break
        root = best
    return root


def _running_text(root: LexborNode) -> dict[int, int]:
    """Characters of text outside of links and headings, of every element that holds others."""
    length: dict[int, int] = {}
    path: list[int] = []
    sums: list[int] = []
    node: LexborNode | None = root
    while node is not None:
        down = None
        if node.is_text_node:
            if sums:
                sums[-1] += len((node.text_content or "").strip())
        elif node.is_element_node and node.tag != "a":
            down = node.child
            if down is not None:
                path.append(node.mem_id)
                sums.append(0)
                node = down
                continue
        while node is not None:
            if path and node.mem_id == path[-1]:
                found = sums.pop()
                length[path.pop()] = found
                if sums:
                    sums[-1] += found
            if node.mem_id == root.mem_id:
                return length
            if node.next is not None:
                node = node.next
                break
            node = node.parent
    return length


def without_link_lists(blocks: list[Block], linked: list[bool]) -> list[Block]:
    """`blocks` without runs of three and more that are nothing but links, unless the page is little else."""
    free = sum(len(block.text) for block, only in zip(blocks, linked, strict=True) if not only)
    if free < 400:
        return blocks
    kept: list[Block] = []
    run: list[Block] = []
    for block, only in zip(blocks, linked, strict=True):
        if only:
            run.append(block)
            continue
        kept += run if len(run) < 3 else []
        run = []
        kept.append(block)
    return kept + (run if len(run) < 3 else [])
