"""The command line: help, exit codes, JSON, and the administration verbs against a running installation."""

import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

VERBS = (
    "up api worker migrate doctor config tenant chatbot key provider provider-key models kb chat queue dlq usage budget bench version".split()  # noqa: SIM905
)


def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    ours = ("CHATWRIGHT_", "OPENAI_", "DATABASE_URL", "REDIS_URL", "S3_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-m", "chatwright", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
        env={**kept, **environment},
    )


def as_json(*arguments: str, stdin: str = "") -> Any:
    done = run(*arguments, "--json", stdin=stdin)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_help_lists_every_verb_and_is_quick() -> None:
    took: list[float] = []
    for _ in range(3):
        started = time.perf_counter()
        done = run("--help")
        took.append(time.perf_counter() - started)
        assert done.returncode == 0
        assert all(f"  {verb} " in done.stdout for verb in VERBS)
    assert min(took) < 0.6, took  # 0.1 s on a quiet machine; the goal is 0.3 s


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(verb: str) -> None:
    done = run(verb, "--help")
    assert done.returncode == 0
    assert "Usage: chatwright" in done.stdout
    assert "--json" in done.stdout or "Commands:" in done.stdout


def test_a_misspelt_verb_gets_a_hint_and_code_2() -> None:
    done = run("chatbto")
    assert done.returncode == 2
    assert "Did you mean 'chatbot'?" in done.stderr


def test_a_wrong_option_is_told_as_json_too() -> None:
    done = run("tenant", "list", "--nope", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "usage"


def test_a_wrong_setting_is_one_line_and_code_1() -> None:
    done = run("config", CHATWRIGHT_PROT="1")
    assert done.returncode == 1
    assert "did you mean CHATWRIGHT_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_there_is_code_3() -> None:
    done = run("tenant", "list", "--url", "http://127.0.0.1:1", "--key", "k")
    assert done.returncode == 3
    assert "is `chatwright up` running?" in done.stderr


def test_no_server_known_says_what_to_do(tmp_path: Path) -> None:
    done = run("chatbot", "list", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "run `chatwright up` first" in done.stderr


def test_config_shows_sources_and_masks_secrets(tmp_path: Path) -> None:
    done = run(
        "config", "--json", "--data-dir", str(tmp_path), OPENAI_API_KEY="sk-0123456789abcdef", CHATWRIGHT_PORT="1234"
    )
    shown = {option["name"]: option for option in json.loads(done.stdout)}
    assert shown["port"]["value"] == "1234"
    assert shown["port"]["source"] == "CHATWRIGHT_PORT"
    assert shown["data_dir"]["source"] == "flag"
    assert shown["openai_api_key"]["value"] == "sk-…cdef"
    assert "0123456789" not in done.stdout


def test_version() -> None:
    assert run("version").stdout.startswith("chatwright 0.")
    assert run("--version").stdout.startswith("chatwright 0.")


def test_doctor_without_servers_names_the_mend(tmp_path: Path) -> None:
    done = run("doctor", "--json", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    found = {finding["part"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["postgresql"]["state"] == "fail"
    assert "chatwright up" in found["postgresql"]["detail"]
    assert found["embedder"]["state"] == "ok"


# Against a running installation --------------------------------------------------------------------------------------


def test_doctor_finds_all_well(live: "Live") -> None:
    found = as_json("doctor", "--data-dir", str(live.data_dir))
    states = {finding["part"]: finding["state"] for finding in found["findings"]}
    assert {part: state for part, state in states.items() if state == "fail"} == {}
    assert states["queue"] == states["postgresql"] == states["valkey"] == states["api"] == "ok"


def test_tenant_chatbot_and_key_from_make_to_revoke(live: "Live") -> None:
    where = ("--data-dir", str(live.data_dir))
    made = as_json("tenant", "create", "Corner Shop", "--plan", "free", "--time-zone", "Europe/Paris", *where)
    assert made["id"] in [tenant["id"] for tenant in as_json("tenant", "list", *where)]
    assert as_json("tenant", "show", made["id"], *where)["time_zone"] == "Europe/Paris"
    mine = (*where, "--key", made["key"]["secret"])

    chatbot = as_json("chatbot", "create", "shop", "--name", "Shop", *mine)
    assert chatbot["widget_id"].startswith("cw_pub_")
    changed = as_json("chatbot", "set", "shop", "temperature=0.5", "greeting=Bonjour", *mine)
    assert (changed["temperature"], changed["greeting"]) == (0.5, "Bonjour")
    assert [entry["slug"] for entry in as_json("chatbot", "list", *mine)] == ["shop"]

    key = as_json("key", "create", "--name", "ci", *mine)
    theirs = (*where, "--key", key["secret"])
    assert as_json("chatbot", "show", "shop", *theirs)["id"] == chatbot["id"]
    as_json("key", "revoke", key["id"], "--yes", *mine)
    time.sleep(1.0)
    refused = run("chatbot", "show", "shop", *theirs)
    assert refused.returncode == 1
    assert "unauthenticated" in refused.stderr


def test_knowledge_from_a_folder_is_found_and_answers(live: "Live", tmp_path: Path) -> None:
    where = ("--data-dir", str(live.data_dir))
    as_json("chatbot", "create", "bakery", *where)
    (tmp_path / "sub").mkdir()
    (tmp_path / "hours.md").write_text(
        "# Opening hours\n\nThe bakery opens at half past six in the morning, except on Mondays.\n"
    )
    (tmp_path / "sub" / "cake.html").write_text("<h1>Cakes</h1><p>Wedding cakes must be ordered three weeks ahead.</p>")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    added = as_json("kb", "add", "bakery", str(tmp_path), *where)
    assert {entry["state"] for entry in added["documents"]} == {"indexed"}
    assert len(added["documents"]) == 2

    hits = as_json("kb", "search", "bakery", "When does the bakery open?", *where)
    assert hits[0]["title"] == "Opening hours"
    assert hits[0]["score"] >= hits[-1]["score"]

    listed = as_json("kb", "list", "bakery", *where)
    assert len(listed) == 2
    answer = json.loads(run("chat", "bakery", "-m", "When does the bakery open?", "--json", *where).stdout)
    assert "half past six" in answer["text"]
    assert answer["sources"][0]["title"] == "Opening hours"

    as_json("kb", "remove", "bakery", *(entry["id"] for entry in listed), "--yes", *where)
    assert as_json("kb", "list", "bakery", *where) == []


def test_a_file_that_cannot_be_read_fails_alone(live: "Live", tmp_path: Path) -> None:
    where = ("--data-dir", str(live.data_dir))
    as_json("chatbot", "create", "mixed", *where)
    (tmp_path / "good.txt").write_text("Good words about good bread.")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7\nnothing of a PDF")
    done = run("kb", "add", "mixed", str(tmp_path), "--json", *where)
    assert done.returncode == 1
    assert "bad.pdf" in done.stdout
    states = {entry["title"]: entry["state"] for entry in as_json("kb", "list", "mixed", *where)}
    assert states == {"good": "indexed", "bad.pdf": "failed"}


def test_chat_streams_to_the_terminal(live: "Live") -> None:
    done = run("chat", live.chatbot, "--data-dir", str(live.data_dir), stdin="How do I add knowledge from a folder?\n")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^  \[\d\] \S", done.stdout, re.MULTILINE), "the sources stand below the answer"


def test_queue_numbers_pause_and_resume(live: "Live") -> None:
    where = ("--data-dir", str(live.data_dir))
    stats = as_json("queue", "stats", *where)
    assert {entry["name"] for entry in stats["queues"]} == {"ai-high-priority", "ai-standard", "ai-batch"}
    assert [worker["name"] for worker in stats["workers"]] == ["worker"]
    as_json("queue", "pause", "ai-batch", *where)
    try:
        paused = {entry["name"]: entry["paused"] for entry in as_json("queue", "stats", *where)["queues"]}
        assert paused == {"ai-high-priority": False, "ai-standard": False, "ai-batch": True}
    finally:
        as_json("queue", "resume", *where)
    assert not any(entry["paused"] for entry in as_json("queue", "stats", *where)["queues"])


def test_dead_letters_and_usage(live: "Live") -> None:
    where = ("--data-dir", str(live.data_dir))
    assert isinstance(as_json("dlq", "list", *where), list)
    assert isinstance(as_json("dlq", "list", "--all-tenants", *where), list)
    missing = run("dlq", "show", "0190-nope", *where)
    assert missing.returncode == 1
    assert "not_found" in missing.stderr
    live.ask("What does it cost?", chatbot=live.llm_chatbot)
    report = as_json("usage", "report", "--group-by", "day,model", *where)
    assert report["total"]["calls"] >= 1
    assert any(row["model"] == "sim-1" for row in report["rows"])


def test_credentials_are_for_the_owner_only(live: "Live") -> None:
    file = live.data_dir / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert set(json.loads(file.read_text())) == {
        "base_url",
        "admin_key",
        "tenant_id",
        "tenant_key",
        "chatbot",
        "widget_id",
    }
