"""The documentation hangs together: links lead somewhere, every page is in the index, defaults are the real ones."""

import re
from pathlib import Path

import pytest

from chatwright.app.settings import all_options, env_name, masked
from chatwright.domain.events import EVENT_TYPES
from chatwright.domain.jobs import JobType

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
DECISION = ["Context", "Decision", "Consequences", "Alternatives considered", "References"]


def reference(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text("utf-8")


def test_every_setting_is_listed_with_its_default_and_no_other() -> None:
    rows = {
        match[1]: match[0] for match in re.finditer(r"^\| `([a-z0-9_]+)` \|.*$", reference("settings"), re.MULTILINE)
    }
    assert sorted(rows) == sorted(declared.name for declared in all_options())
    for declared in all_options():
        row, shown = rows[declared.name], masked(declared, declared.default)
        assert f"`{env_name(declared)}`" in row
        assert (f"| `{shown}`" if shown else "| empty |") in row, f"{row}: the default is {shown!r}"


def test_every_job_type_and_frame_is_listed() -> None:
    rest, socket = reference("rest"), reference("websocket")
    assert [job_type.value for job_type in JobType if f"`{job_type.value}`" not in rest] == []
    assert [frame for frame in EVENT_TYPES if f"| `{frame}` |" not in socket] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\s-]", "", one).strip().lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_every_page_has_one_title_and_is_in_the_index(page: Path) -> None:
    lines = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL).splitlines()
    assert sum(line.startswith("# ") for line in lines) == 1
    if page != DOCS / "README.md":
        assert f"({page.relative_to(DOCS).as_posix()})" in (DOCS / "README.md").read_text("utf-8")


@pytest.mark.parametrize("record", sorted((DOCS / "decisions").glob("*.md")), ids=lambda record: record.name)
def test_every_decision_has_its_five_parts(record: Path) -> None:
    headings = re.findall(r"^## (.*)$", record.read_text("utf-8"), re.MULTILINE)
    assert [heading for heading in headings if heading in DECISION] == DECISION
