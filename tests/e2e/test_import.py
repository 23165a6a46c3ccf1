"""Imports as an operator has them: over REST with a form, followed as events, and from the command line."""

import gzip
import json
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.test_cli import as_json, run

if TYPE_CHECKING:
    from tests.e2e.conftest import Live, Reply

ROWS = "conversation_id,message_id,role,text,created_at,email\r\n"


def rows(tag: str, conversations: int = 12, turns: int = 4) -> bytes:
    lines = [
        f"{tag}-{number},{turn},{'agent' if turn % 2 else 'customer'},"
        f'"{"We look into it, thank you for waiting" if turn % 2 else "My parcel is broken, this is terrible!"} {tag}",'
        f"2024-05-{number % 28 + 1:02d}T10:0{turn}:00Z,{tag}{number}@example.com\r\n"
        for number in range(conversations)
        for turn in range(turns)
    ]
    return (ROWS + "".join(lines)).encode()


def at(live: "Live", *arguments: str) -> list[str]:
    return [*arguments, "--url", live.base_url, "--key", live.tenant_key]


def send(live: "Live", data: bytes, path: str = "/api/v1/imports", idempotency_key: str = "", **fields: str) -> "Reply":
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{mark}\r\ncontent-disposition: form-data; name="file"; filename="chats.csv"\r\n\r\n'.encode()
    body = b"".join([*parts, head, data, f"\r\n--{mark}--\r\n".encode()])
    headers = {"content-type": f"multipart/form-data; boundary={mark}"}
    if idempotency_key:
        headers["idempotency-key"] = idempotency_key
    return live.http("POST", path, body, headers=headers)


def ended(live: "Live", import_id: str) -> dict[str, Any]:
    until = time.monotonic() + 120
    while True:
        shown: dict[str, Any] = live.http("GET", f"/api/v1/imports/{import_id}").json
        if shown["state"] not in ("queued", "running"):
            return shown
        assert time.monotonic() < until, f"the import does not end: {shown}"
        time.sleep(0.2)


def test_a_form_becomes_conversations_with_readings_and_a_report(live: "Live") -> None:
    made = send(live, rows("form"), chatbot=live.chatbot, enrich="sentiment,intent,summary", summaries="local")
    assert made.status == 202, made.body
    shown = ended(live, made.json["id"])
    assert shown["state"] == "done", shown
    assert [shown[name] for name in ("rows_read", "rows_stored", "rows_failed", "rows_skipped")] == [48, 48, 0, 0]
    assert (shown["conversations"], shown["summaries"], shown["progress"]) == (12, 12, 1.0)

    listed = live.http("GET", f"/api/v1/conversations?chatbot={live.chatbot}&visitor_id=form3@example.com").json
    conversation_id = listed["items"][0]["id"]
    lines = live.http("GET", f"/api/v1/conversations/{conversation_id}/messages").json["items"]
    assert [line["role"] for line in lines] == ["visitor", "assistant"] * 2
    assert lines[0]["reading"]["sentiment"]["label"] == "negative"
    assert lines[1]["tone"]["label"] in ("positive", "neutral")
    summary = live.http("GET", f"/api/v1/conversations/{conversation_id}/summary").json
    assert "parcel" in summary["text"]

    page = live.http("GET", shown["report_url"], key=None)
    assert page.status == 200
    assert b"<svg" in page.body
    assert b"<script" not in page.body
    assert "default-src 'none'" in page.headers["content-security-policy"]
    told = live.http("GET", shown["report_json_url"], key=None).json
    assert told["rows"]["stored"] == 48
    assert sum(told["sentiment"]["visitor"].values()) == 24
    assert live.http("GET", shown["report_url"][:-4] + "AAAA", key=None).status == 401
    assert live.http("GET", shown["report_url"].partition("?")[0], key=None).status == 401
    assert live.http("GET", shown["report_url"].partition("?")[0]).status == 200


def test_an_import_is_followed_as_events(live: "Live") -> None:
    made = send(live, rows("events", 40), chatbot=live.chatbot, enrich="none")
    stream = live.http("GET", f"/api/v1/imports/{made.json['id']}/events", timeout_s=90)
    seen = [json.loads(line[6:]) for line in stream.body.decode().splitlines() if line.startswith("data: ")]
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert seen[-1]["state"] == "done"
    assert seen[-1]["rows_stored"] == 160
    assert [one["rows_read"] for one in seen] == sorted(one["rows_read"] for one in seen)


def test_what_cannot_be_an_import_is_told_at_once(live: "Live") -> None:
    for data, fields, status, words in (
        (b"", {}, 422, "empty"),
        (ROWS.encode(), {}, 422, "no rows"),
        (b",".join([b"column"] * 10_000) + b"\r\n", {}, 422, "10,000 columns"),
        (gzip.compress(b"a,b\r\n" * 60_000_000, 9), {}, 422, "200 times"),
        (rows("bad"), {"mapping": '{"text":"nowhere"}'}, 422, "no column 'nowhere'"),
        (rows("bad"), {"mapping": '{"tekst":"text"}'}, 422, "tekst"),
        (rows("bad"), {"mapping": "[]"}, 422, "JSON object"),
        (rows("bad"), {"mapping": "{"}, 422, "JSON object"),
        (rows("bad"), {"mapping": '{"roles":{"\\u0000":"agent"}}'}, 422, "NUL"),
        (rows("bad"), {"mapping": '{"delimiter":"\\u0000"}'}, 422, "NUL"),
        (rows("bad"), {"enrich": "everything"}, 422, "everything"),
        (rows("bad"), {"limit_usd": "a lot"}, 422, "decimal"),
        (rows("bad"), {"chatbot": "nobody"}, 404, "chatbot"),
        (rows("bad"), {"chatbots": "x"}, 422, "chatbots"),
    ):
        refused = send(live, data, **{"chatbot": live.chatbot, **fields})
        assert (refused.status, words in refused.json["error"]["message"]) == (status, True), refused.body


def test_a_key_that_was_used_for_another_file_is_refused(live: "Live") -> None:
    """However alike the two begin."""
    data, key = rows("once", 2_500), uuid.uuid4().hex
    first = send(live, data, idempotency_key=key, chatbot=live.chatbot, enrich="none")
    again = send(live, data, idempotency_key=key, chatbot=live.chatbot, enrich="none")
    other = send(live, data[:-20] + b"x" * 18 + b"\r\n", idempotency_key=key, chatbot=live.chatbot, enrich="none")
    assert first.status == again.status == 202, first.body
    assert first.json["id"] == again.json["id"]
    assert other.status == 409, other.body
    assert ended(live, first.json["id"])["rows_stored"] == 10_000


def test_a_plan_stores_nothing(live: "Live") -> None:
    before = len(live.http("GET", "/api/v1/imports?limit=200").json["items"])
    planned = send(live, rows("plan"), "/api/v1/imports/plan", chatbot=live.chatbot)
    assert planned.status == 200, planned.body
    found = planned.json
    assert found["columns"]["text"] == "text"
    assert found["columns"]["conversation"] == "conversation_id"
    assert (found["rows"], found["conversations"], found["messages"], found["is_whole"]) == (48, 12, 48, True)
    assert len(live.http("GET", "/api/v1/imports?limit=200").json["items"]) == before


def test_presets_are_kept_by_tenant(live: "Live") -> None:
    path = "/api/v1/import-presets/mine"
    assert live.http("PUT", path, {"text": "Words", "conversation": "Talk"}).status == 200
    names = {one["name"]: one["is_own"] for one in live.http("GET", "/api/v1/import-presets").json["items"]}
    assert names == {"mine": True, "intercom": False, "zendesk": False, "chatwoot": False, "generic": False}
    data = b"Talk,Words\r\na,hello there\r\na,are you open today?\r\n"
    planned = send(live, data, "/api/v1/imports/plan", chatbot=live.chatbot, preset="mine").json
    assert (planned["columns"]["text"], planned["conversations"], planned["messages"]) == ("Words", 1, 2)
    assert live.http("DELETE", path).status == 204
    assert live.http("DELETE", path).status == 404
    assert live.http("PUT", "/api/v1/import-presets/a%00b", {"text": "Words"}).status == 400
    assert live.http("PUT", "/api/v1/import-presets/" + "a" * 101, {"text": "Words"}).status == 422
    assert live.http("DELETE", "/api/v1/import-presets/a%00b").status == 400


def test_the_command_line_plans_runs_and_resumes(live: "Live", tmp_path: Path) -> None:
    file = tmp_path / "chats.csv.gz"
    file.write_bytes(gzip.compress(rows("cli", 20)))
    planned = as_json(*at(live, "import", "plan", str(file), "--chatbot", live.chatbot))
    assert (planned["rows"], planned["conversations"], planned["failed"]) == (80, 20, 0)
    assert planned["quote_nano"] == 0
    done = as_json(*at(live, "import", "run", str(file), "--chatbot", live.chatbot, "--source", "cli"))
    assert (done["state"], done["rows_stored"], done["file"]) == ("done", 80, "chats.csv.gz")
    again = as_json(*at(live, "import", "run", str(file), "--chatbot", live.chatbot, "--source", "cli"))
    assert (again["rows_stored"], again["rows_skipped"]) == (0, 80)
    assert as_json(*at(live, "import", "status", str(file)))["id"] == again["id"]
    assert as_json(*at(live, "import", "status", done["id"]))["id"] == done["id"]
    refused = run(*at(live, "import", "resume", done["id"]))
    assert refused.returncode == 1
    assert "done" in refused.stderr
    shown = run(*at(live, "import", "plan", str(file), "--chatbot", live.chatbot))
    assert "80 rows: 80 messages in 20 conversations" in shown.stdout


@pytest.mark.parametrize("path", ["", "/report", "/errors", "/conversations", "/events"])
def test_another_tenants_import_is_unknown(live: "Live", path: str) -> None:
    made = send(live, rows("mine", 2), chatbot=live.chatbot, enrich="none").json["id"]
    other = live.http("POST", "/api/v1/tenants", {"name": "Other"}, key="admin").json["key"]["secret"]
    assert live.http("GET", f"/api/v1/imports/{made}{path}", key=other).status == 404
    ended(live, made)


def test_an_import_is_deleted_over_rest(live: "Live") -> None:
    made = send(live, rows("gone"), chatbot=live.chatbot, enrich="none")
    path = f"/api/v1/imports/{made.json['id']}"
    shown = ended(live, made.json["id"])
    assert live.http("DELETE", f"{path}?with_conversations=perhaps").status == 400
    assert live.http("GET", shown["report_url"], key=None).status == 200
    begun = live.http("DELETE", f"{path}?with_conversations=true")
    assert (begun.status, begun.json["state"], begun.json["conversations"]) == (202, "deleting", 12), begun.body
    until = time.monotonic() + 60
    while live.http("GET", path).status != 404:
        assert time.monotonic() < until
        time.sleep(0.2)
    listed = live.http("GET", f"/api/v1/conversations?chatbot={live.chatbot}&visitor_id=gone3@example.com").json
    assert listed["items"] == []
    assert live.http("GET", shown["report_url"], key=None).status == 404
    assert live.http("DELETE", path).status == 404

    again = send(live, rows("gone"), chatbot=live.chatbot, enrich="none")
    assert ended(live, again.json["id"])["rows_stored"] == 48
    assert live.http("DELETE", f"/api/v1/imports/{again.json['id']}").status == 204
    listed = live.http("GET", f"/api/v1/conversations?chatbot={live.chatbot}&visitor_id=gone3@example.com").json
    assert len(listed["items"]) == 1


def test_the_command_line_deletes_an_import(live: "Live", tmp_path: Path) -> None:
    file = tmp_path / "cli-gone.csv"
    file.write_bytes(rows("cli-gone"))
    made = as_json(*at(live, "import", "run", str(file), "--chatbot", live.chatbot, "--enrich", "none", "--json"))
    asked = run(*at(live, "import", "delete", "cli-gone.csv"))
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    done = run(*at(live, "import", "delete", "cli-gone.csv", "--with-conversations", "--yes"))
    assert (done.returncode, done.stdout.strip()) == (0, "deleted the import of cli-gone.csv with 12 conversations")
    assert live.http("GET", f"/api/v1/imports/{made['id']}").status == 404
    missing = run(*at(live, "import", "delete", made["id"], "--yes"))
    assert missing.returncode == 1
    assert "no such import" in missing.stderr
