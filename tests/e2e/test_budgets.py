"""Budgets from outside: set, listed, removed and proved over REST and on the command line; kept apart by tenant."""

import asyncio
import json
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil
import pytest

from tests.e2e import conftest as e2e

if TYPE_CHECKING:
    import subprocess

    from tests.e2e.conftest import Live, Reply

PATH = "/api/v1/budgets"
UNKNOWN = "0190a5b0-0000-7000-8000-000000000000"


class Tenant:
    """A tenant of its own with one chatbot that asks the simulator for a model with a known price."""

    def __init__(self, live: "Live") -> None:
        made = live.http("POST", "/api/v1/tenants", {"name": "Thrifty"}, key="admin").json
        self.live = live
        self.id: str = made["id"]
        self.key: str = made["key"]["secret"]
        self.slug = f"thrifty-{uuid.uuid4().hex[:8]}"
        chain = [{"provider": "openai", "model": "gpt-4.1-mini"}]
        body = {"name": "Thrifty", "slug": self.slug, "providers": chain, "max_tokens": 100}
        self.chatbot: dict[str, Any] = self.http("POST", "/api/v1/chatbots", body).json

    def http(self, method: str, path: str, body: Any = None, **more: Any) -> "Reply":
        return self.live.http(method, path, body, key=self.key, **more)

    def put(self, **fields: Any) -> "Reply":
        return self.http("PUT", PATH, {"scope": "tenant", "period": "month", "limit_usd": "12.50", **fields})

    def budgets(self) -> list[dict[str, Any]]:
        return self.http("GET", PATH).json["items"]

    def ask(self, text: str = "Hello") -> "Reply":
        body = {"model": self.slug, "messages": [{"role": "user", "content": text}]}
        return self.http("POST", "/v1/chat/completions", body, timeout_s=60)

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return e2e.chatwright("budget", *arguments, "--data-dir", str(self.live.data_dir), "--key", self.key)

    def settled(self) -> dict[str, Any]:
        """The tenant's usage, when no call is under way any more."""
        until = time.monotonic() + 10
        while True:  # call rows close in groups, a moment after the answer
            calls = self.http("GET", "/api/v1/calls?limit=200").json["items"]
            if calls and all(call["state"] != "open" for call in calls):
                return self.http("GET", "/api/v1/usage").json["total"]
            assert time.monotonic() < until, calls
            time.sleep(0.05)


@pytest.fixture
def tenant(live: "Live") -> Tenant:
    return Tenant(live)


def run_sql(live: "Live", statement: str, *arguments: object) -> None:
    """Run one statement as the operators' role, past the server."""

    async def work() -> None:
        connection = await asyncpg.connect(_database_url(live))
        try:
            await connection.execute("SET ROLE chatwright_ops")
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    asyncio.run(work())


def _database_url(live: "Live") -> str:
    up = psutil.Process(live.process.pid)
    found = [child.environ().get("DATABASE_URL") for child in up.children(recursive=True)]
    return next(url for url in found if url)


# REST -----------------------------------------------------------------------------------------------------------------


def test_a_budget_is_set_changed_listed_and_removed(tenant: Tenant) -> None:
    made = tenant.put()
    assert made.status == 200, made.body
    budget = made.json
    assert {name: budget[name] for name in ("scope", "scope_id", "period", "action", "limit_usd", "limit_nano")} == {
        "scope": "tenant",
        "scope_id": tenant.id,
        "period": "month",
        "action": "block",
        "limit_usd": "12.50",
        "limit_nano": 12_500_000_000,
    }
    assert (budget["spent_nano"], budget["reserved_nano"], budget["percent"]) == (0, 0, 0)
    assert budget["starts_at"] < budget["ends_at"]
    changed = tenant.put(limit_usd="0.000000001", action="alert", scope_id=tenant.id).json
    assert (changed["id"], changed["limit_nano"], changed["action"]) == (budget["id"], 1, "alert")
    assert tenant.budgets() == [changed]
    assert tenant.http("DELETE", f"{PATH}/{budget['id']}").json == {"id": budget["id"], "state": "removed"}
    assert tenant.budgets() == []
    assert tenant.http("DELETE", f"{PATH}/{budget['id']}").status == 404
    entries = tenant.http("GET", "/api/v1/audit").json["items"]
    told = [entry["action"] for entry in entries if entry["target"] == budget["id"]]
    assert told == ["budget.removed", "budget.set", "budget.set"]
    details = [entry["detail"] for entry in entries if entry["action"] == "budget.set"]
    assert [detail["limit_nano"] for detail in details] == [1, 12_500_000_000]


def test_owners_of_each_kind(tenant: Tenant) -> None:
    by_slug = tenant.put(scope="chatbot", scope_id=tenant.slug, period="day").json
    by_id = tenant.put(scope="chatbot", scope_id=tenant.chatbot["id"], period="day", limit_usd="3").json
    assert by_id["id"] == by_slug["id"]
    assert (by_id["scope_id"], by_id["scope_name"]) == (tenant.chatbot["id"], tenant.slug)
    visitor = tenant.put(scope="visitor", scope_id="user-42", period="total").json
    assert (visitor["scope_id"], visitor["scope_name"], visitor["ends_at"]) == ("user-42", None, None)
    assert tenant.put(scope="import", scope_id="spring").status == 200
    assert len(tenant.budgets()) == 3


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"limit_usd": 12.5}, 422, "limit_usd"),
        ({"limit_usd": 12}, 422, "limit_usd"),
        ({"limit_usd": "0.0000000001"}, 422, "limit_usd"),
        ({"limit_usd": "-1"}, 422, "limit_usd"),
        ({"limit_usd": "1e3"}, 422, "limit_usd"),
        ({"limit_usd": "1,50"}, 422, "limit_usd"),
        ({"limit_usd": "١٢"}, 422, "limit_usd"),
        ({"limit_usd": ""}, 422, "limit_usd"),
        ({"limit_usd": "NaN"}, 422, "limit_usd"),
        ({"limit_usd": "9999999999"}, 422, "limit_usd"),
        ({"scope": "platform"}, 422, "scope"),
        ({"period": "week"}, 422, "period"),
        ({"action": "explode"}, 422, "action"),
        ({"limit_nano": 1}, 422, "limit_nano"),
        ({"scope": "chatbot"}, 422, "scope_id"),
        ({"scope": "visitor"}, 422, "scope_id"),
        ({"scope": "visitor", "scope_id": ""}, 422, "scope_id"),
        ({"scope": "visitor", "scope_id": "x" * 201}, 422, "scope_id"),
        ({"scope": "chatbot", "scope_id": "nobody"}, 404, "scope_id"),
        ({"scope_id": UNKNOWN}, 404, "scope_id"),
    ],
)
def test_what_makes_no_budget_is_refused(live: "Live", fields: dict[str, Any], status: int, param: str) -> None:
    body = {"scope": "tenant", "period": "month", "limit_usd": "1", **fields}
    reply = live.http("PUT", PATH, body)
    assert (reply.status, reply.json["error"]["param"]) == (status, param)
    assert live.http("GET", PATH).json["items"] == []


def test_another_tenants_budgets_do_not_exist(live: "Live", tenant: Tenant) -> None:
    other = Tenant(live)
    budget = tenant.put().json
    assert other.budgets() == []
    assert other.http("DELETE", f"{PATH}/{budget['id']}").status == 404
    assert other.http("DELETE", f"{PATH}/nonsense").status == 404
    for whose in (tenant.chatbot["id"], tenant.slug):
        assert other.put(scope="chatbot", scope_id=whose).status == 404
    assert other.put(scope_id=tenant.id).status == 404
    assert [one["id"] for one in tenant.budgets()] == [budget["id"]]


def test_operators_act_for_a_tenant(live: "Live", tenant: Tenant) -> None:
    body = {"scope": "tenant", "period": "day", "limit_usd": "1"}
    assert live.http("PUT", PATH, body, key="admin").status == 403
    acting = {"x-chatwright-tenant": tenant.id}
    made = live.http("PUT", PATH, body, key="admin", headers=acting)
    assert (made.json["tenant_id"], made.json["set_by"]) == (tenant.id, "operator")
    assert [one["id"] for one in tenant.budgets()] == [made.json["id"]]
    refused = tenant.http("DELETE", f"{PATH}/{made.json['id']}")
    assert (refused.status, refused.json["error"]["code"]) == (403, "forbidden")
    assert "only an operator" in refused.json["error"]["message"]
    assert tenant.put(period="day", set_by="operator").status == 403
    own = tenant.put(period="day", limit_usd="7").json
    assert (own["set_by"], own["limit_usd"]) == ("tenant", "7.00")
    assert [one["limit_usd"] for one in tenant.budgets()] == ["1.00", "7.00"], "both hold"
    # An operator may change and remove the tenant's own, too.
    changed = live.http("PUT", PATH, {**body, "limit_usd": "3", "set_by": "tenant"}, key="admin", headers=acting).json
    assert (changed["id"], changed["limit_usd"]) == (own["id"], "3.00")
    for one in (own, made.json):
        assert live.http("DELETE", f"{PATH}/{one['id']}", key="admin", headers=acting).status == 200
    assert tenant.budgets() == []


def test_a_long_list_comes_in_pages(tenant: Tenant) -> None:
    ids = {tenant.put(scope="visitor", scope_id=f"v{place}").json["id"] for place in range(5)}
    seen: list[str] = []
    cursor = ""
    while True:
        page = tenant.http("GET", f"{PATH}?limit=2{cursor}").json
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert (len(seen), set(seen)) == (5, ids)
    assert tenant.http("GET", f"{PATH}?cursor={UNKNOWN}").status == 400


def test_what_is_spent_is_what_the_ledger_says(live: "Live", tenant: Tenant) -> None:
    assert tenant.ask("before there is a budget").status == 200
    before = tenant.settled()["cost_nano"]
    assert before > 0
    first = tenant.put(limit_usd="1").json
    assert first["spent_nano"] == before, "a new budget counts what was spent in its period already"
    assert tenant.put(scope="chatbot", scope_id=tenant.slug, period="day", limit_usd="2").json["spent_nano"] == before
    assert tenant.ask().status == 200
    total = tenant.settled()["cost_nano"]
    assert total > before
    for budget in tenant.budgets():
        assert (budget["spent_nano"], budget["reserved_nano"]) == (total, 0)
    assert tenant.http("POST", f"{PATH}/reconcile", {}).json == {"drifts": [], "repaired": False}


def test_without_room_no_provider_is_called(live: "Live", tenant: Tenant) -> None:
    tenant.put(limit_usd="0")
    refused = tenant.ask()
    assert (refused.status, refused.json["error"]["code"]) == (402, "budget_exceeded")
    (budget,) = tenant.budgets()
    said = refused.json["error"]["message"]
    assert f"the tenant's monthly budget of 0.00 USD ({budget['id']})" in said
    assert f"raise its limit, or wait for its next period, from {budget['ends_at']} on" in said
    assert 0 < int(refused.headers["retry-after"]) <= 32 * 86_400
    assert tenant.http("GET", "/api/v1/calls").json["items"] == []
    tenant.put(limit_usd="5")
    until = time.monotonic() + 5
    while tenant.ask().status != 200:  # a process may hold its last look for a second
        assert time.monotonic() < until
        time.sleep(0.2)


def test_a_counter_that_is_off_is_found_and_repaired(live: "Live", tenant: Tenant) -> None:
    budget = tenant.put(limit_usd="1").json
    assert tenant.ask().status == 200
    spent_nano = tenant.settled()["cost_nano"]
    run_sql(
        live,
        "UPDATE budget_periods SET spent_nano = spent_nano + 7, reserved_nano = 5 WHERE budget_id = $1",
        budget["id"],
    )
    found = tenant.http("POST", f"{PATH}/reconcile", {}).json
    (drift,) = found["drifts"]
    figures = {name: value for name, value in drift.items() if name.endswith("_nano")}
    assert (drift["budget_id"], drift["tenant_id"], found["repaired"]) == (budget["id"], tenant.id, False)
    assert figures == {
        "counter_spent_nano": spent_nano + 7,
        "counter_reserved_nano": 5,
        "ledger_spent_nano": spent_nano,
        "ledger_reserved_nano": 0,
    }
    assert tenant.budgets()[0]["spent_nano"] == spent_nano + 7, "looking changes nothing"
    of_all = live.http("POST", f"{PATH}/reconcile", {}, key="admin").json["drifts"]
    assert drift in of_all
    told = tenant.cli("reconcile")
    assert told.returncode == 1
    assert "differ; --repair mends them" in told.stdout
    mended = tenant.cli("reconcile", "--repair", "--json")
    assert mended.returncode == 0, mended.stderr
    assert json.loads(mended.stdout) == {"drifts": [drift], "repaired": True}
    assert tenant.budgets()[0]["spent_nano"] == spent_nano
    assert "agree" in tenant.cli("reconcile").stdout
    entries = tenant.http("GET", "/api/v1/audit").json["items"]
    repaired = next(entry for entry in entries if entry["action"] == "budget.repaired")
    assert (repaired["target"], repaired["actor"][:4]) == (budget["id"], "key:")


def test_what_is_left_is_a_metric(tenant: Tenant) -> None:
    tenant.put(period="total", limit_usd="1234.5")
    until = time.monotonic() + 30
    # By then the installation may have seen so many tenants that this one is one of the others.
    pattern = r'^ai_budget_remaining_dollars\{[^}]*period="total",[^}]*scope="tenant",[^}]*\} \S+$'
    while not re.search(pattern, tenant.live.http("GET", "/metrics", key=None).body.decode(), re.MULTILINE):
        assert time.monotonic() < until
        time.sleep(0.5)


# The command line -----------------------------------------------------------------------------------------------------


def test_budgets_on_the_command_line(tenant: Tenant) -> None:
    assert "no budgets" in tenant.cli("list").stdout
    made = tenant.cli("set", "2.50", "--period", "day", "--chatbot", tenant.slug, "--action", "downgrade", "--json")
    assert made.returncode == 0, made.stderr
    budget = json.loads(made.stdout)
    assert (budget["scope"], budget["action"], budget["limit_nano"]) == ("chatbot", "downgrade", 2_500_000_000)
    assert tenant.cli("set", "0.05", "--visitor", "user-42").returncode == 0
    run_sql(
        tenant.live,
        "UPDATE budget_periods SET spent_nano = 1250000000, reserved_nano = 250000000 WHERE budget_id = $1",
        budget["id"],
    )
    listed = tenant.cli("list").stdout
    assert re.search(rf"^chatbot {tenant.slug}, day, at the limit: downgrade\s+{budget['id']}$", listed, re.MULTILINE)
    assert "##########==........  50.0 %  1.25 spent and 0.25 reserved of 2.50 USD" in listed
    assert "visitor user-42, month, at the limit: block" in listed
    assert listed.isascii()
    assert len(json.loads(tenant.cli("list", "--json").stdout)) == 2
    asked = tenant.cli("remove", budget["id"])
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    assert tenant.cli("remove", budget["id"], "--yes").returncode == 0
    assert len(tenant.budgets()) == 1


def test_operators_set_budgets_on_the_command_line(tenant: Tenant) -> None:
    as_operator = ("--data-dir", str(tenant.live.data_dir), "--tenant", tenant.id)
    made = e2e.chatwright("budget", "set", "100", *as_operator, "--json")
    assert made.returncode == 0, made.stderr
    budget = json.loads(made.stdout)
    assert budget["set_by"] == "operator"
    assert ", set by the operator    " in tenant.cli("list").stdout
    refused = tenant.cli("remove", budget["id"], "--yes")
    assert (refused.returncode, "only an operator" in refused.stderr) == (1, True)
    assert e2e.chatwright("budget", "remove", budget["id"], "--yes", *as_operator).returncode == 0
    assert tenant.budgets() == []


def test_a_visitor_named_to_v1_has_a_budget_and_a_ledger_row(tenant: Tenant) -> None:
    tenant.put(scope="visitor", scope_id="ada", limit_usd="0")
    for field in ("user", "safety_identifier"):
        body = {"model": tenant.slug, "messages": [{"role": "user", "content": f"Hello, {field}"}]}
        assert tenant.http("POST", "/v1/chat/completions", {**body, field: "ada"}).status == 402
        assert tenant.http("POST", "/v1/chat/completions", {**body, field: "bob"}, timeout_s=60).status == 200
    for wrong, status in (("a\x00b", 400), ("x" * 201, 422)):
        reply = tenant.http("POST", "/v1/chat/completions", {**body, "user": wrong})
        assert (reply.status, reply.json["error"]["param"]) == (status, "user")
    tenant.settled()
    rows = tenant.http("GET", "/api/v1/usage?group_by=visitor").json["rows"]
    assert [(row["visitor"], row["calls"]) for row in rows] == [("bob", 2)]


def test_wrong_calls_of_the_command_line(tenant: Tenant) -> None:
    both = tenant.cli("set", "1", "--chatbot", "a", "--visitor", "b")
    assert (both.returncode, "Name one of" in both.stderr) == (2, True)
    assert tenant.cli("set", "1", "--period", "week").returncode == 2
    text = tenant.cli("set", "lots")
    assert (text.returncode, "decimal string" in text.stderr) == (1, True)
    assert tenant.cli("remove", UNKNOWN, "--yes").returncode == 1
