"""The usage report from outside: as JSON and CSV over REST, and with its chart on the command line."""

import asyncio
import csv
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil
import pytest

from chatwright.domain.ids import new_id
from tests.e2e import conftest as e2e

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

START = datetime(2026, 1, 1, 23, 30, tzinfo=UTC)
DAYS = 5
RANGE = "from=2026-01-01&to=2026-01-31"


@pytest.fixture(scope="module")
def tenant(live: "Live") -> dict[str, Any]:
    """A tenant whose ledger holds four calls on each of five days."""
    made = live.http("POST", "/api/v1/tenants", {"name": "Ledger, Inc."}, key="admin").json
    asyncio.run(_fill(live, made["id"]))
    return made


async def _fill(live: "Live", tenant_id: str) -> None:
    rows = [
        (new_id(), tenant_id, provider, model, cost_nano, START + timedelta(days=day))
        for day in range(DAYS)
        for provider, model, cost_nano in (
            ("openai", "small", 1_500),
            ("openai", "small", None),
            ("anthropic", "large", 2_000_000_001 * (day + 1)),
            ("local", "=1+1", 0),
        )
    ]
    connection = await asyncpg.connect(_database_url(live))
    try:
        await connection.execute("SET ROLE chatwright_ops")
        await connection.executemany(
            "INSERT INTO calls (id, tenant_id, provider, model, cost_nano, opened_at, state, input_tokens)"
            " VALUES ($1, $2, $3, $4, $5, $6, 'ok', 7)",
            rows,
        )
    finally:
        await connection.close()


def _database_url(live: "Live") -> str:
    up = psutil.Process(live.process.pid)
    found = [child.environ().get("DATABASE_URL") for child in up.children(recursive=True)]
    return next(url for url in found if url)


def cli(live: "Live", *arguments: str) -> "subprocess.CompletedProcess[str]":
    return e2e.chatwright("usage", "report", "--data-dir", str(live.data_dir), *arguments)


def read_csv(raw: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(raw, newline=""), strict=True))


def test_csv_and_json_say_the_same(live: "Live", tenant: dict[str, Any]) -> None:
    key = tenant["key"]["secret"]
    path = f"/api/v1/usage?group_by=model,day&{RANGE}"
    report = live.http("GET", path, key=key).json
    reply = live.http("GET", f"{path}&format=csv", key=key)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/csv")
    assert reply.headers["content-disposition"] == 'attachment; filename="usage-20260101-20260201.csv"'
    rows = read_csv(reply.body.decode())
    assert [row["day"] for row in rows] == sorted(row["day"] for row in rows), "by day first"
    assert len(rows) == len(report["rows"]) == 3 * DAYS
    by_json = {(row["model"], row["day"]): row for row in report["rows"]}
    for row in rows:
        same = by_json[row["model"].removeprefix("'"), row["day"]]
        assert int(row["calls"]) == same["calls"]
        assert int(row["cost_nano"]) == same["cost_nano"]
        whole, _, fraction = row["cost_usd"].partition(".")
        assert int(whole) * 10**9 + int(fraction.ljust(9, "0")) == same["cost_nano"]
    assert {row["model"] for row in rows} == {"small", "large", "'=1+1"}
    assert sum(row["cost_nano"] for row in report["rows"]) == report["total"]["cost_nano"] == 15 * 2_000_000_001 + 7_500
    assert report["total"]["unpriced_calls"] == DAYS


def test_csv_of_nothing_has_its_heading(live: "Live", tenant: dict[str, Any]) -> None:
    for groups in ("day", "model"):
        path = f"/api/v1/usage?format=csv&group_by={groups}&from=2020-01-01&to=2020-01-02"
        reply = live.http("GET", path, key=tenant["key"]["secret"])
        tokens = "input_tokens,cached_tokens,output_tokens"
        money = "cost_usd,cost_nano,saved_usd,saved_nano"
        heading = f"{groups},calls,cache_hits,{tokens},{money},unpriced_calls,estimated_calls\r\n"
        assert reply.body.decode() == heading


def test_all_of_time_by_day_is_no_trouble(live: "Live", tenant: dict[str, Any]) -> None:
    path = "/api/v1/usage?format=csv&group_by=day&from=0001-01-01&to=9999-12-30"
    rows = read_csv(live.http("GET", path, key=tenant["key"]["secret"]).body.decode())
    assert [row["day"] for row in rows] == [f"2026-01-0{day}" for day in range(1, DAYS + 1)]


def test_operators_see_all_tenants_and_tenants_themselves(live: "Live", tenant: dict[str, Any]) -> None:
    path = f"/api/v1/usage?group_by=tenant&{RANGE}"
    all_rows = live.http("GET", path, key="admin").json["rows"]
    mine = next(row for row in all_rows if row["tenant"] == tenant["id"])
    assert (mine["tenant_name"], mine["calls"]) == ("Ledger, Inc.", 4 * DAYS)
    own = live.http("GET", path, key=tenant["key"]["secret"]).json["rows"]
    assert own == [mine]
    assert live.http("GET", path, key="admin", headers={"x-chatwright-tenant": tenant["id"]}).json["rows"] == [mine]
    assert tenant["id"] not in live.http("GET", path).body.decode()


@pytest.mark.parametrize("query", ["format=xml", "group_by=week", "group_by=tenant,tenant", "time_zone=Mars"])
def test_a_report_that_does_not_exist_is_refused(live: "Live", query: str) -> None:
    assert live.http("GET", f"/api/v1/usage?{query}").json["error"]["code"] == "bad_request"


def test_days_are_those_of_the_tenant_or_of_the_zone_asked_for(live: "Live", tenant: dict[str, Any]) -> None:
    """The calls are of half past eleven in the evening, UTC: in Berlin that is the next day."""
    key = tenant["key"]["secret"]
    path = "/api/v1/usage?group_by=day&from=2026-01-02&to=2026-01-02"
    (plain,) = live.http("GET", path, key=key).json["rows"]
    asked = live.http("GET", f"{path}&time_zone=Europe/Berlin", key=key).json
    assert asked["time_zone"] == "Europe/Berlin"
    assert (asked["since"], asked["until"]) == ("2026-01-01T23:00:00Z", "2026-01-02T23:00:00Z")
    (moved,) = asked["rows"]
    assert plain["day"] == moved["day"] == "2026-01-02"
    by_csv = live.http("GET", f"{path}&time_zone=Europe/Berlin&format=csv", key=key)
    (row,) = read_csv(by_csv.body.decode())
    # The first day's calls for Berlin, the second day's for UTC.
    assert (int(row["cost_nano"]), plain["cost_nano"]) == (moved["cost_nano"], 2 * 2_000_000_001 + 1_500)
    assert moved["cost_nano"] == 2_000_000_001 + 1_500
    own = live.http("POST", "/api/v1/tenants", {"name": "There", "time_zone": "Pacific/Chatham"}, key="admin").json
    assert live.http("GET", "/api/v1/usage", key=own["key"]["secret"]).json["time_zone"] == "Pacific/Chatham"


# The command line -----------------------------------------------------------------------------------------------------


def test_a_chart_on_a_pipe_is_plain(live: "Live", tenant: dict[str, Any]) -> None:
    key = ("--key", tenant["key"]["secret"], "--from", "2026-01-01", "--to", "2026-01-31")
    done = cli(live, *key)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    bars = dict(re.findall(r"^(2026-01-0\d)\s+\d+\.\d+\s+(#+)$", done.stdout, re.MULTILINE))
    assert len(bars) == DAYS
    assert len(bars["2026-01-05"]) == 5 * len(bars["2026-01-01"])
    assert "5 calls have no known price" in done.stdout
    calls = cli(live, *key, "--chart", "calls", "--group-by", "model").stdout
    assert re.search(r"^small\s+10\s+#+$", calls, re.MULTILINE)
    assert "#" not in cli(live, *key, "--chart", "none").stdout


def test_a_chart_on_a_terminal_has_blocks(live: "Live", tenant: dict[str, Any]) -> None:
    arguments = ["usage", "report", "--data-dir", str(live.data_dir), "--key", tenant["key"]["secret"]]
    shown = on_a_terminal(*arguments, "--from", "2026-01-01", "--to", "2026-01-31")
    assert shown.count("█") > DAYS
    assert "\x1b[36m" in shown


def test_an_empty_report_says_so(live: "Live", tenant: dict[str, Any]) -> None:
    done = cli(live, "--key", tenant["key"]["secret"], "--from", "2020-01-01", "--to", "2020-01-02")
    assert done.stdout == "nothing was used between 2020-01-01 00:00 and 2020-01-03 00:00 (UTC)\n"


def test_csv_into_a_file_and_to_standard_output(live: "Live", tenant: dict[str, Any], tmp_path: Path) -> None:
    key = ("--key", tenant["key"]["secret"], "--from", "2026-01-01", "--to", "2026-01-31")
    file = tmp_path / "usage.csv"
    told = json.loads(cli(live, *key, "--csv", str(file), "--json").stdout)
    assert told == {"file": str(file), "bytes": file.stat().st_size}
    assert b"\r\n" in file.read_bytes()
    piped = subprocess.run(
        [sys.executable, "-m", "chatwright", "usage", "report", "--data-dir", str(live.data_dir), *key, "--csv", "-"],
        env=e2e.clean_environment(),
        capture_output=True,
        timeout=60,
        cwd=e2e.ROOT,
    )
    assert piped.stdout == file.read_bytes()
    refused = cli(live, *key, "--csv", str(tmp_path / "other.csv"), "--group-by", "nothing")
    assert refused.returncode == 1
    assert os.listdir(tmp_path) == ["usage.csv"], "nothing is left of a report that was refused"


def test_tenants_are_named_for_operators(live: "Live", tenant: dict[str, Any]) -> None:
    arguments = ("--group-by", "tenant,purpose", "--all-tenants", "--from", "2026-01-01", "--to", "2026-01-31")
    done = cli(live, *arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^Ledger, Inc\.\tchat\t{4 * DAYS}\t", done.stdout, re.MULTILINE)
    assert tenant["id"] in {row["tenant"] for row in json.loads(cli(live, *arguments, "--json").stdout)["rows"]}


def on_a_terminal(*arguments: str) -> str:
    """What a command writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "chatwright", *arguments],
            env=e2e.clean_environment(TERM="xterm", COLUMNS="100", LINES="40"),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.STDOUT,
            cwd=e2e.ROOT,
        )
        os.close(theirs)
        said = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                piece = os.read(ours, 65_536)
            except OSError:  # how Linux says that nobody writes any more
                break
            if not piece:
                break
            said += piece
        assert process.wait(30) == 0, said
    finally:
        os.close(ours)
    return said.decode()
