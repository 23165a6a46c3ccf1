"""The caches from outside: figures, entries, purges and seeds over REST and on the command line, apart by tenant."""

import json
import uuid
from typing import TYPE_CHECKING, Any

from tests.e2e import conftest as e2e

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.e2e.conftest import Live, Reply


class Shop:
    """A tenant of its own with one chatbot that asks the simulator."""

    def __init__(self, live: "Live") -> None:
        made = live.http("POST", "/api/v1/tenants", {"name": "Caching"}, key="admin").json
        self.live = live
        self.key: str = made["key"]["secret"]
        self.slug = f"caching-{uuid.uuid4().hex[:8]}"
        chain = [{"provider": "openai", "model": "gpt-4.1-mini"}]
        body = {"name": "Caching", "slug": self.slug, "providers": chain, "system_prompt": "You sell lamps."}
        self.http("POST", "/api/v1/chatbots", body)
        self.path = f"/api/v1/chatbots/{self.slug}/cache"

    def http(self, method: str, path: str, body: Any = None, **more: Any) -> "Reply":
        return self.live.http(method, path, body, key=self.key, **more)

    def ask(self, text: str, *, mode: str = "on") -> "Reply":
        body = {"model": self.slug, "messages": [{"role": "user", "content": text}]}
        return self.http("POST", "/v1/chat/completions", body, timeout_s=60, headers={"x-chatwright-cache": mode})

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return e2e.chatwright("cache", *arguments, "--data-dir", str(self.live.data_dir), "--key", self.key)


def test_a_cached_answer_is_seen_and_purged(live: "Live") -> None:
    shop = Shop(live)
    first = shop.ask("Which lamps do you have in the store?")
    again = shop.ask("Which lamps do you have in the store?")
    assert (first.headers["x-chatwright-cache"], again.headers["x-chatwright-cache"]) == ("miss", "exact")
    stats = shop.http("GET", shop.path).json
    assert (stats["mode"], stats["exact"]["entries"], stats["semantic"]["state"]) == ("on", 1, "on")
    assert stats["false_hits"]["rate"] is None
    items = shop.http("GET", f"{shop.path}/entries?tier=exact&text=LAMPS").json["items"]
    assert [item["question"] for item in items] == ["Which lamps do you have in the store?"]
    assert items[0]["provenance"]["revision"] == 1
    gone = shop.http("POST", f"{shop.path}/purge", {"answer_id": items[0]["provenance"]["answer_id"]})
    assert gone.json["exact"] == 1
    assert shop.ask("Which lamps do you have in the store?").headers["x-chatwright-cache"] == "miss"


def test_what_is_to_be_purged_must_be_said(live: "Live") -> None:
    shop = Shop(live)
    for body in ({}, {"everything": True, "text": "lamp"}, {"answer_id": "7"}, {"text": "  "}, {"unknown": 1}):
        assert shop.http("POST", f"{shop.path}/purge", body).status == 422, body
    assert shop.http("GET", f"{shop.path}/entries?tier=warm").status == 400
    assert shop.http("GET", f"{shop.path}/entries?document_id=7").status == 422
    assert shop.http("POST", f"{shop.path}/seeds", {}).status == 422
    assert shop.http("POST", f"{shop.path}/purge", {"everything": True}).json == {
        "exact": 0,
        "answers": 0,
        "classes": 0,
        "documents": [],
    }


def test_another_tenants_cache_is_not_there(live: "Live") -> None:
    shop, other = Shop(live), Shop(live)
    for method, path, body in (
        ("GET", shop.path, None),
        ("GET", f"{shop.path}/entries", None),
        ("POST", f"{shop.path}/purge", {"everything": True}),
        ("POST", f"{shop.path}/seeds", {"items": [{"question": "Who are you?", "answer": "Us."}]}),
        ("POST", f"{shop.path}/feedback", {"answer_id": str(uuid.uuid4()), "good": False}),
        ("POST", f"{shop.path}/rejections", {"class_id": str(uuid.uuid4()), "text": "Who are you?"}),
    ):
        assert other.http(method, path, body).status == 404, path


def test_seeds_are_taught_from_a_file_and_given(live: "Live", tmp_path: "Path") -> None:
    shop = Shop(live)
    file = tmp_path / "faq.csv"
    file.write_text(
        "question,answer,phrasings\nDo you repair old lamps?,Yes. Bring them to the store.,Can a lamp be repaired by you?\n"
        "Where is my order 4711-2298?,On its way.,\n",
        "utf-8",
    )
    done = shop.cli("warm", shop.slug, "--file", str(file))
    assert done.returncode == 0, done.stderr
    assert "taught 2 questions: 1 new answers, 0 renewed" in done.stdout
    assert "it holds personal data" in done.stderr
    answer = shop.ask("Can a lamp be repaired by you?")
    assert answer.headers["x-chatwright-cache"] == "semantic"
    assert answer.json["choices"][0]["message"]["content"] == "Yes. Bring them to the store."
    shown = shop.cli("inspect", shop.slug, "--text", "repair")
    assert "Do you repair old lamps?" in shown.stdout
    assert "seed/seed" in shown.stdout
    listed = json.loads(shop.cli("inspect", shop.slug, "--json").stdout)
    gone = shop.cli("purge", shop.slug, "--class", listed[0]["id"], "--forget", "--yes")
    assert "1 classes" in gone.stdout
    assert shop.ask("Can a lamp be repaired by you?").headers["x-chatwright-cache"] == "miss"


def test_a_question_is_taken_out_of_a_class(live: "Live", tmp_path: "Path") -> None:
    """The questions are asked in a mode that teaches nothing: what a miss or a check taught meanwhile might keep the class."""
    shop = Shop(live)
    item = {"question": "Do you repair old lamps?", "answer": "Yes.", "phrasings": ["Can you sell a lamp for me?"]}
    assert shop.http("POST", f"{shop.path}/seeds", {"items": [item]}).status == 201
    assert shop.ask("Can you sell a lamp for me?", mode="read-only").headers["x-chatwright-cache"] == "semantic"
    (listed,) = json.loads(shop.cli("inspect", shop.slug, "--json").stdout)
    done = shop.cli("reject", shop.slug, "Can you sell a lamp for me?", "--class", listed["id"])
    assert done.returncode == 0, done.stderr
    assert done.stdout == "taken out of the class\n"
    assert "✗ Can you sell a lamp for me?" in shop.cli("inspect", shop.slug).stdout
    assert shop.ask("Can you sell a lamp for me?", mode="read-only").headers["x-chatwright-cache"] == "miss"
    assert shop.ask("Do you repair old lamps?", mode="read-only").headers["x-chatwright-cache"] == "semantic"
    asked = {"class_id": listed["id"], "text": "Do you repair old lamps?"}
    assert shop.http("POST", f"{shop.path}/rejections", asked).json == {"was_phrasing": True, "class_gone": True}
    for body in ({"class_id": "7", "text": "x"}, {"class_id": listed["id"], "text": " "}, {"text": "x"}):
        assert shop.http("POST", f"{shop.path}/rejections", body).status == 422, body
    assert shop.http("POST", f"{shop.path}/rejections", asked).status == 404


def test_the_command_line_says_what_it_wants(live: "Live", tmp_path: "Path") -> None:
    shop = Shop(live)
    assert "nothing here" in shop.cli("inspect", shop.slug, "--tier", "exact").stdout
    assert "not measured yet" in shop.cli("stats", shop.slug).stdout
    assert shop.cli("purge", shop.slug).returncode == 2
    assert shop.cli("purge", shop.slug, "--everything", "--text", "x").returncode == 2
    empty = tmp_path / "empty.csv"
    empty.write_text("question,answer\n", "utf-8")
    assert shop.cli("warm", shop.slug, "--file", str(empty)).returncode == 2
    unknown = shop.cli("stats", "no-such-chatbot")
    assert unknown.returncode == 1
    assert "no such chatbot" in unknown.stderr
