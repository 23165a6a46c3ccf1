"""The tutorial's own document answers the tutorial's own question: it is the first thing that a newcomer tries."""

import re
from pathlib import Path

from chatwright.app.options import Settings
from chatwright.domain.ids import KnowledgeBaseId
from chatwright.pipeline.documents import submit_text
from chatwright.pipeline.index import index_document
from chatwright.pipeline.knowledge import explain_search
from chatwright.pipeline.services import Services
from tests.flows.conftest import open_shop

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "first-answer.md"


async def test_the_tutorials_question_finds_its_document(app: Services, tmp_path: Path) -> None:
    page = TUTORIAL.read_text("utf-8")
    [written] = re.findall(r"^printf '(.+)' > hours\.md$", page, re.MULTILINE)
    [question] = re.findall(r'chatwright chat shop -m "(.+)"$', page, re.MULTILINE)
    shop = await open_shop(app, knowledge=True)
    assert shop.chatbot.knowledge_base_id is not None
    base = KnowledgeBaseId(shop.chatbot.knowledge_base_id)
    text = written.replace("\\n", "\n")
    title = text.splitlines()[0].removeprefix("# ")
    made = await submit_text(app, shop.scope, base, title=title, text=text, media_type="text/markdown")
    await index_document(app, shop.scope, made.document.id)
    threshold = Settings(data_dir=tmp_path).relevance_threshold
    [found] = await explain_search(app, shop.scope, base, question, k=3, threshold=threshold)
    assert (found.hit.text in text, found.why_not) == (True, None), found.explain
