"""The demo: one tenant with one chatbot that knows chatwright's own documentation. Called by `up` at every start.

Seeding twice changes nothing that its owner has touched: texts are compared with what is stored, a chain or key that
was changed stays. Documents go the same way as anybody's, through the queue and a worker.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.errors import Conflict, NotFound, Unauthenticated
from chatwright.domain.ids import KnowledgeBaseId, TenantId
from chatwright.domain.scope import Scope
from chatwright.features import credentials, knowledge, tenancy
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import manage
from chatwright.pipeline.documents import delete_document, submit_text
from chatwright.pipeline.services import Services

TENANT_ID = TenantId("00000000-0000-7000-8000-00000000d3e0")  # fixed, so that every start finds the same one
SLUG = "demo"
_ACTOR = "setup"
_INDEX_WITHIN_S = 240.0
_FIRST = ("README", "docs/README", "docs/tutorial/", "docs/explanation/questions")
"""Pages that are read before `up` says that it is ready."""
_EXTRACTIVE = ProviderLink(provider="extractive", model="extractive")
_LINKS_AT_MOST = 3

GREETING = "Hello! Ask me anything about chatwright."
QUESTIONS = (
    "How do I teach a chatbot my own documents?",
    "Which language model providers can I use?",
    "What happens to a message when a worker dies?",
    "How are tenants kept apart from each other?",
)
SYSTEM_PROMPT = (
    "You are the help desk of chatwright, a self-hosted AI chat pipeline. Answer from the sources you are given, "
    "briefly and concretely, and name commands exactly. When the sources do not say it, say that you do not know."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoDocument:
    """One page of the documentation. `url`, a path on this server, is how a later start tells our pages from those
    that the owner of the demo has added. `first`: what newcomers ask about stands in it, so it is waited for."""

    title: str
    text: str
    url: str
    first: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoAccess:
    """What a script needs to use the demo. `made_key` is True if `tenant_key` was made just now."""

    tenant_id: str
    tenant_key: str = field(repr=False)
    chatbot: str
    widget_id: str
    made_key: bool


async def seed(
    app: Services,
    *,
    tenant_key: str,
    base_url: str,
    former_url: str = "",
    documents: Sequence[DemoDocument],
    tell: Callable[[str], None],
    keep: Callable[[DemoAccess], None] = lambda _access: None,
    index_within_s: float = _INDEX_WITHIN_S,
) -> DemoAccess:
    """Make or refresh the demo; returns when its chatbot has read the first documents, or after `index_within_s`. It goes
    on with the others by itself.

    `tenant_key` is the key of an earlier start, "" if there is none; one that no longer works is replaced.
    `former_url` is the address of that start: pages from there are no longer allowed if it was another one. `keep` is
    told the access before the documents are read. Raises Unavailable when a server is away.
    """
    key = await _ensure_tenant(app, tenant_key)
    scope = Scope(tenant_id=TENANT_ID)
    chatbot = await _ensure_chatbot(app, scope, base_url, former_url)
    assert chatbot.knowledge_base_id is not None
    access = DemoAccess(
        tenant_id=TENANT_ID,
        tenant_key=key,
        chatbot=chatbot.slug,
        widget_id=chatbot.widget_id,
        made_key=key != tenant_key,
    )
    keep(access)
    missing = await _find_missing(app, scope, chatbot.knowledge_base_id, documents)
    await _submit(app, scope, chatbot.knowledge_base_id, [document for document in missing if document.first])
    first = {document.url for document in documents if document.first}
    await _wait_indexed(app, scope, chatbot.knowledge_base_id, first, tell, within_s=index_within_s)
    others = [document for document in missing if not document.first]
    if others:
        tell(f"the demo chatbot reads on by itself: {len(others)} more pages")
        await _submit(app, scope, chatbot.knowledge_base_id, others)
    return access


async def ensure_admin_key(app: Services, admin_key: str) -> str:
    """Return `admin_key` if it is a platform key that works, else a new one."""
    if admin_key:
        try:
            identity = await app.keys.authenticate(admin_key)
        except Unauthenticated:
            pass
        else:
            if identity.tenant_id is None:
                return admin_key
    return (await manage.create_key(app, None, actor=_ACTOR, name="made by `chatwright up`")).secret


def documentation_folder() -> Path | None:
    """The folder with README.md and docs/: the checkout that we run in, or the installed package's own copy."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parents[1], package / "documentation"):
        if (folder / "README.md").is_file() and (folder / "docs").is_dir():
            return folder
    return None


def load_documentation() -> list[DemoDocument]:
    """The README and every page of docs/, each with its address on this server; empty if they were not shipped."""
    folder = documentation_folder()
    if folder is None:
        return []
    found: list[DemoDocument] = []
    for file in (folder / "README.md", *sorted((folder / "docs").rglob("*.md"))):
        text = file.read_text("utf-8")
        name = file.relative_to(folder).with_suffix("").as_posix()
        title = next((line[2:].strip() for line in text.splitlines() if line.startswith("# ")), name)
        if any(page.title == title for page in found):
            title = f"{title} ({name})"
        if text.strip():
            found.append(DemoDocument(title=title[:200], text=text, url=_guide(name), first=name.startswith(_FIRST)))
    return found


def _guide(name: str) -> str:
    """Where the API shows a page: docs/ below /guide, the README as its page "about"."""
    page = name.removeprefix("docs/")
    if page == name:
        return "/guide/about"
    return "/guide" if page == "README" else f"/guide/{page}"


def _is_guide(url: str | None) -> bool:
    return url == "/guide" or (url or "").startswith("/guide/")


async def _ensure_tenant(app: Services, tenant_key: str) -> str:
    """Make the tenant if it is not there; returns a key of it that works."""
    if tenant_key:
        try:
            identity = await app.keys.authenticate(tenant_key)
        except Unauthenticated:
            pass
        else:
            if identity.tenant_id == TENANT_ID:
                return tenant_key
    try:
        _, made = await manage.create_tenant(app, actor=_ACTOR, name="Demo", tenant_id=TENANT_ID)
    except Conflict:
        made = await manage.create_key(app, Scope(tenant_id=TENANT_ID), actor=_ACTOR, name="made by `chatwright up`")
    return made.secret


async def _ensure_chatbot(app: Services, scope: Scope, base_url: str, former_url: str) -> Chatbot:
    chain, origins = _chain(app), _origins(base_url)
    async with app.db.transaction(scope) as db:
        chatbot = await tenancy.get_chatbot(db, scope, SLUG)
        # A chain that somebody else changed is theirs; one that seeding made follows the settings.
        ours = chatbot is not None and not await tenancy.changed_by_others(
            db, scope, target=chatbot.id, field="providers", actor=_ACTOR
        )
    if chatbot is None:
        new = NewChatbot(
            name="Demo",
            slug=SLUG,
            widget_id=credentials.new_widget_id(),
            providers=chain,
            system_prompt=SYSTEM_PROMPT,
            personality="Friendly, clear, to the point.",
            temperature=0.2,
            allowed_origins=origins,
            greeting=GREETING,
            suggested_questions=QUESTIONS,
        )
        try:
            return await manage.create_chatbot(app, scope, new, actor=_ACTOR)
        except Conflict:  # another machine seeds the same database
            return await app.chatbots.get(scope, SLUG)
    changes: dict[str, object] = {}
    if chatbot.providers != chain and ours:
        changes["providers"] = chain
    former = set(_origins(former_url)) - set(origins) if former_url else set[str]()
    kept = [origin for origin in chatbot.allowed_origins if origin not in former]
    allowed = tuple(dict.fromkeys((*kept, *origins)))
    if allowed != chatbot.allowed_origins:
        changes["allowed_origins"] = allowed
    if changes:
        return await manage.patch_chatbot(app, scope, SLUG, changes, actor=_ACTOR)
    return chatbot


def _chain(app: Services) -> tuple[ProviderLink, ...]:
    """The providers that the operator set up, the knowledge base's own words behind them. Keys stay with the process."""
    links = [
        ProviderLink(provider=name, model=platform.default_model)
        for name, platform in app.platform_providers.items()
        if name != _EXTRACTIVE.provider and platform.default_model
    ]
    return (*links[:_LINKS_AT_MOST], _EXTRACTIVE)


def _origins(base_url: str) -> tuple[str, ...]:
    parts = urlsplit(base_url)
    port = f":{parts.port}" if parts.port else ""
    local = tuple(f"http://{host}{port}" for host in ("127.0.0.1", "localhost"))
    own = f"{parts.scheme}://{parts.hostname}{port}"
    return (own, *(origin for origin in local if origin != own))


async def _find_missing(
    app: Services,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    documents: Sequence[DemoDocument],
) -> list[DemoDocument]:
    """What is new or changed; what is gone is taken out. Others' pages are not touched."""
    async with app.db.transaction(scope) as db:
        pages = await knowledge.list_documents(db, scope, knowledge_base_id, limit=1000)
    wanted = {document.url: document for document in documents}
    for page in pages:
        if page.url is None or not _is_guide(page.url):
            continue
        document = wanted.get(page.url)
        if document is not None and page.state != "failed" and _is_same(page, document):
            del wanted[page.url]
            continue
        with suppress(NotFound):  # somebody was faster
            await delete_document(app, scope, page.id)
    return list(wanted.values())


async def _submit(
    app: Services, scope: Scope, knowledge_base_id: KnowledgeBaseId, documents: Sequence[DemoDocument]
) -> None:
    for document in documents:
        await submit_text(
            app,
            scope,
            knowledge_base_id,
            title=document.title,
            text=document.text,
            url=document.url,
            media_type="text/markdown",
        )


def _is_same(page: knowledge.Document, document: DemoDocument) -> bool:
    return page.title == document.title and page.content_hash == knowledge.content_hash(document.text)


async def _wait_indexed(
    app: Services,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    urls: Collection[str],
    tell: Callable[[str], None],
    *,
    within_s: float,
) -> None:
    give_up_at, told = time.monotonic() + within_s, -1
    while True:
        async with app.db.transaction(scope) as db:
            pages = await knowledge.list_documents(db, scope, knowledge_base_id, limit=1000)
        pages = [page for page in pages if page.url in urls]
        open_pages = [page for page in pages if page.state in ("queued", "indexing")]
        if not open_pages:
            return
        done = len(pages) - len(open_pages)
        if time.monotonic() > give_up_at:  # a slow machine reads on by itself; that a worker runs, `up` sees itself
            tell(f"reading the documentation goes on: {done} of {len(pages)} pages so far")
            return
        if done != told:
            tell(f"reading the documentation: {done} of {len(pages)} pages")
            told = done
        await asyncio.sleep(0.1)
