"""A page of the web is fetched into the object store, if the site lets us. Called by `pipeline/documents.py` for single
pages and by `pipeline/crawl.py` for those of a site.
"""

import asyncio
from dataclasses import dataclass

from chatwright.adapters.web import PageFailed, Web, open_page
from chatwright.domain.errors import Unprocessable
from chatwright.domain.ids import KnowledgeBaseId
from chatwright.domain.scope import Scope
from chatwright.features import crawling
from chatwright.features.crawling import Robots
from chatwright.features.knowledge import Document, NewDocument
from chatwright.pipeline.originals import HEAD_BYTES, Stream, discard, keep
from chatwright.pipeline.services import Services

PAGE_TYPES = "text/html, application/xhtml+xml, text/markdown, text/plain;q=0.9, application/pdf;q=0.9, */*;q=0.5"
_ROBOTS_TIMEOUT_S = 10.0


class KeptOut(Unprocessable):
    """The site's robots.txt asks not to visit the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A page that was fetched and stored. `new` is the document to make of it, None where the server says that nothing
    has changed; `head` is the beginning of its body."""

    new: NewDocument | None
    address: str
    head: bytes = b""
    is_indexable: bool = True


async def visit_page(
    app: Services,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    address: str,
    *,
    robots: Robots,
    known: Document | None,
    title: str = "",
    head_bytes: int = HEAD_BYTES,
) -> Visit:
    """Fetch one page into the object store. `known` is the document made of it before: a server that says that nothing
    has changed since then sends nothing.

    A page that redirects to another site is held against that site's robots.txt as well.
    Raises PageFailed and what else `open_page` does, and KeptOut.
    """
    _check_robots(robots, address)
    is_current = known is not None and known.state != "failed"
    async with open_page(
        web_of(app),
        address,
        max_bytes=app.settings.document_max_bytes,
        timeout_s=app.settings.page_timeout_s,
        accept=PAGE_TYPES,
        etag=known.etag if known is not None and is_current else None,
        last_modified=known.last_modified if known is not None and is_current else None,
    ) as page:
        final = crawling.normalise_address(page.url)
        if page.is_unchanged:
            return Visit(new=None, address=final)
        if crawling.is_same_site(final, address):
            _check_robots(robots, final)
        elif app.settings.robots_txt:  # another site has rules of its own
            _check_robots(await robots_of(app, final), final)
        codec = crawling.codec_of(page.charset) if page.media_type.startswith("text/") else None
        stream = Stream(page.chunks(), codec=codec, head_bytes=head_bytes)
        key, size_bytes = await keep(app, scope, knowledge_base_id, stream)
    if not size_bytes:
        await discard(app, key)
        raise PageFailed("the page is empty", answered=200)
    new = NewDocument(
        title=title,
        media_type=page.media_type[:200],
        content_hash=stream.digest.digest(),
        size_bytes=size_bytes,
        original_key=key,
        source="url",
        source_key=final,
        url=final,
        etag=page.etag,
        last_modified=page.last_modified,
    )
    wanted = not {"noindex", "none"} & {word.strip() for word in page.robots_tag.split(",")}
    return Visit(new=new, address=final, head=bytes(stream.head), is_indexable=wanted)


async def robots_of(app: Services, address: str) -> Robots:
    """What the site of `address` lets us visit. Raises Unprocessable when it cannot be asked: it counts as closed."""
    site = address.partition("://")
    url = f"{site[0]}://{site[2].partition('/')[0]}/robots.txt"
    try:
        async with open_page(
            web_of(app),
            url,
            max_bytes=app.settings.document_max_bytes,
            timeout_s=_ROBOTS_TIMEOUT_S,
            accept="text/plain",
        ) as page:
            content = bytearray()
            async for chunk in page.chunks():
                content += chunk
                if len(content) > crawling.ROBOTS_AT_MOST_BYTES:
                    break
    except PageFailed as error:
        if error.answered is not None and 300 <= error.answered < 500 and error.answered != 429:
            return crawling.OPEN
        if error.answered is None:
            raise
        raise PageFailed(
            f"robots.txt could not be read, so the site counts as closed: {error.message}",
            answered=error.answered,
            retry_after_s=error.retry_after_s,
        ) from error
    text = content[: crawling.ROBOTS_AT_MOST_BYTES].decode("utf-8", "replace")
    return await asyncio.to_thread(crawling.read_robots, text, app.settings.web_user_agent)


def web_of(app: Services) -> Web:
    """The guarded way to the web."""
    return Web(session=app.http.guarded, check_url=app.http.guard.check_url, user_agent=app.settings.web_user_agent)


def _check_robots(robots: Robots, address: str) -> None:
    if not robots.allows(address):
        raise KeptOut(
            "the site's robots.txt asks not to visit this page; CHATWRIGHT_ROBOTS_TXT=false is for sites of your own",
            param="url",
        )
