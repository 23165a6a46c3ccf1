"""`kb` against a running installation: folders kept up to date, what is left out, figures of a search."""

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.test_cli import as_json, run

if TYPE_CHECKING:
    from tests.e2e.conftest import Live


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    handbook = tmp_path / "handbook"
    (handbook / "sub").mkdir(parents=True)
    (handbook / ".hidden").mkdir()
    (handbook / ".hidden" / "x.md").write_text("# Hidden")
    (handbook / "hours.md").write_text(
        "# Opening hours\n\nThe bakery opens at half past six in the morning, except on Mondays.\n"
    )
    (handbook / "sub" / "cake.html").write_text("<h1>Cakes</h1><p>Wedding cakes must be ordered three weeks ahead.</p>")
    (handbook / "prices.csv").write_text("bread,price\nRye,4.20\nSpelt,4.80\n")
    (handbook / "logo.png").write_bytes(b"\x89PNG")
    (handbook / "empty.txt").write_bytes(b"")
    return handbook


def outcomes(added: Any) -> dict[str, str]:
    return {entry["source_key"]: entry["outcome"] for entry in added["documents"]}


def test_a_folder_is_added_kept_up_to_date_and_pruned(live: "Live", folder: Path) -> None:
    where = ("--data-dir", str(live.data_dir))
    as_json("chatbot", "create", "kb-folder", *where)
    added = as_json("kb", "add", "kb-folder", str(folder), *where)
    keys = ["handbook/hours.md", "handbook/prices.csv", "handbook/sub/cake.html"]
    assert outcomes(added) == dict.fromkeys(keys, "added")
    assert {entry["state"] for entry in added["documents"]} == {"indexed"}
    assert {Path(path).name: why for path, why in added["left_out"].items()} == {
        "logo.png": "a picture has no text; run OCR and add the text",
        "empty.txt": "it is empty",
    }

    again = run("kb", "add", "kb-folder", str(folder), *where)
    assert again.returncode == 0, again.stderr
    assert "3 documents unchanged, 0 embedded" in again.stdout
    assert "left out" in again.stderr
    before = {entry["id"]: entry["updated_at"] for entry in as_json("kb", "list", "kb-folder", *where)}

    (folder / "hours.md").write_text("# Opening hours\n\nThe bakery opens at seven.\n")
    (folder / "prices.csv").unlink()
    changed = as_json("kb", "add", "kb-folder", str(folder), *where)
    assert outcomes(changed) == {"handbook/hours.md": "replaced", "handbook/sub/cake.html": "unchanged"}
    assert {entry["id"] for entry in as_json("kb", "list", "kb-folder", *where)} == set(before)
    pruned = as_json("kb", "add", "kb-folder", str(folder), "--prune", *where)
    assert outcomes(pruned) == {
        "handbook/hours.md": "unchanged",
        "handbook/sub/cake.html": "unchanged",
        "handbook/prices.csv": "removed",
    }
    assert len(as_json("kb", "list", "kb-folder", *where)) == 2

    shown = as_json("kb", "status", "kb-folder", *where)
    assert shown["documents"] == {"queued": 0, "indexing": 0, "indexed": 2, "failed": 0}
    hours = next(
        entry for entry in as_json("kb", "list", "kb-folder", *where) if entry["source_key"].endswith("hours.md")
    )
    passages = as_json("kb", "show", "kb-folder", hours["id"], "--chunks", *where)["passages"]
    assert "seven" in passages[0]["text"]
    assert as_json("kb", "reindex", "kb-folder", hours["id"], *where)["queued"] == [hours["id"]]
    assert as_json("kb", "reindex", "kb-folder", "--failed", *where)["queued"] == []
    as_json("kb", "delete", "kb-folder", hours["id"], "--yes", *where)
    assert len(as_json("kb", "list", "kb-folder", *where)) == 1


def test_a_search_is_measured_with_questions_of_ones_own(live: "Live", folder: Path, tmp_path: Path) -> None:
    where = ("--data-dir", str(live.data_dir))
    as_json("chatbot", "create", "kb-eval", *where)
    as_json("kb", "add", "kb-eval", str(folder), *where)
    questions = tmp_path / "questions.csv"
    questions.write_text(
        "question,expected,answer\nWhen does the bakery open?,Opening hours,\nHow early are wedding cakes ordered?,handbook/sub/cake.html,\n"
        "When does the bakery open in the morning?,,half past six\nWhen does the bakery open on the moon?,No such document,\n"
    )
    report = as_json("kb", "eval", "kb-eval", str(questions), *where)
    assert (report["questions"], report["unanswerable"]) == (4, 0)
    assert report["recall"]["5"] == 0.75
    assert report["mrr"] <= 0.75
    assert [miss["question"] for miss in report["misses"]] == ["When does the bakery open on the moon?"]
    shown = run("kb", "eval", "kb-eval", str(questions), "--verbose", *where)
    assert "nDCG@10" in shown.stdout
    assert "expected  No such document" in shown.stdout
    assert shown.stderr.startswith("no document is called 'No such document':")
    explained = as_json("kb", "search", "kb-eval", "When does the bakery open?", "--explain", *where)
    assert explained["results"][0]["explain"]
    assert 0 < explained["threshold"] <= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "there is no such file or folder"),
        (("https://example.com/", "."), "one after the other"),
        (("https://example.com/", "--sitemap", "--follow"), "one of --sitemap and --follow"),
        ((".", "--follow"), "are for addresses"),
        (("https://example.com/", "--prune"), "are for folders"),
    ],
)
def test_a_wrong_call_is_told(arguments: tuple[str, ...], words: str) -> None:
    done = run("kb", "add", "x", *arguments, "--url", "http://127.0.0.1:1", "--key", "k")
    assert done.returncode == 2
    assert words in done.stderr


def test_what_cannot_be_read_and_what_may_not_be_visited(live: "Live", tmp_path: Path) -> None:
    where = ("--data-dir", str(live.data_dir))
    as_json("chatbot", "create", "kb-bad", *where)
    refused = run("kb", "add", "kb-bad", f"{live.base_url}/metrics", *where)
    assert (refused.returncode, "CHATWRIGHT_ALLOWED_ADDRESSES" in refused.stderr) == (1, True)
    refused = run("kb", "add", "kb-bad", "http://169.254.169.254/sitemap.xml", "--sitemap", *where)
    assert (refused.returncode, "not on the public internet" in refused.stderr) == (1, True)
    bomb = tmp_path / "bomb.docx"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", b"\0" * 300_000_000)
    (tmp_path / "good.md").write_text("# Good\n\nGood words about good bread.\n")
    done = run("kb", "add", "kb-bad", str(tmp_path), "--json", *where)
    entries = {Path(entry["path"]).name: entry for entry in json.loads(done.stdout.splitlines()[0])["documents"]}
    assert (done.returncode, entries["good.md"]["state"], entries["bomb.docx"]["state"]) == (1, "indexed", "failed")
    assert entries["bomb.docx"]["error"]
