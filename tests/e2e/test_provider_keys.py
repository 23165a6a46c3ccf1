"""Provider keys from outside: over REST and the command line, kept apart by tenant, and never seen again anywhere."""

import base64
import json
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis

from chatwright.app.embedded.binaries import find_binaries
from tests.e2e import conftest as e2e

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

PATH = "/api/v1/provider-keys"
CANARIES = [f"cnry{place}-Zq7Xw2Lr9Bv4Tn8Kd3Hs6" for place in range(8)]
ADDED, PIPED, POSTED, ROTATED, REFUSED, REVOKED, PLATFORM, ACCOUNT = CANARIES


def account(private: str) -> str:
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "shop",
            "private_key": f"-----BEGIN PRIVATE {'KEY'}-----\n{private}\n-----END PRIVATE {'KEY'}-----\n",
            "client_email": "bot@shop.iam.gserviceaccount.com",
        }
    )


def add(live: "Live", key: str, secret: str = "sk-of-a-test-0123456789", **more: Any) -> dict[str, Any]:
    made = live.http("POST", PATH, {"provider": "openai", "secret": secret, **more}, key=key)
    assert made.status == 201, made.body
    return made.json


@pytest.fixture
def tenant(live: "Live") -> str:
    """The key of a tenant of its own."""
    return live.http("POST", "/api/v1/tenants", {"name": "Keys"}, key="admin").json["key"]["secret"]


# REST -----------------------------------------------------------------------------------------------------------------


def test_a_key_goes_in_and_its_secret_does_not_come_out(live: "Live", tenant: str) -> None:
    made = add(live, tenant, POSTED, name="main", request_limit=3000, base_url="https://llm.example/v1/")
    assert made["hint"] == f"…{POSTED[-4:]}"
    assert (made["provider"], made["name"], made["request_limit"], made["token_limit"]) == (
        "openai",
        "main",
        3000,
        None,
    )
    assert made["base_url"] == "https://llm.example/v1"
    assert "secret" not in made
    listed = live.http("GET", PATH, key=tenant)
    assert listed.json == {"items": [made], "next_cursor": None}
    assert live.http("GET", f"{PATH}/{made['id']}", key=tenant).json == made
    fresh = live.http("POST", f"{PATH}/{made['id']}/rotate", {"secret": ROTATED, "overlap_s": 60}, key=tenant)
    assert fresh.status == 201
    assert (fresh.json["name"], fresh.json["hint"], fresh.json["ends_at"]) == ("main", f"…{ROTATED[-4:]}", None)
    old = live.http("GET", f"{PATH}/{made['id']}", key=tenant).json
    assert old["successor_id"] == fresh.json["id"]
    assert old["ends_at"] is not None
    again = live.http("POST", f"{PATH}/{made['id']}/rotate", {"secret": REFUSED}, key=tenant)
    assert again.status == 409
    gone = live.http("DELETE", f"{PATH}/{fresh.json['id']}", key=tenant)
    assert gone.status == 200
    assert gone.json["ends_at"] is not None
    assert live.http("DELETE", f"{PATH}/{fresh.json['id']}", key=tenant).json == gone.json
    audit = live.http("GET", "/api/v1/audit", key=tenant).json["items"]
    assert [entry["action"] for entry in audit if entry["action"].startswith("provider_key.")] == [
        "provider_key.revoked",
        "provider_key.revoked",
        "provider_key.rotated",
        "provider_key.created",
    ]
    for text in (listed.body, fresh.body, again.body, gone.body, json.dumps(audit).encode()):
        assert not any(canary.encode() in text for canary in CANARIES)


def test_another_tenants_key_is_unknown(live: "Live", tenant: str) -> None:
    theirs = add(live, tenant)["id"]
    ours_by_admin = live.http("POST", PATH, {"provider": "openai", "secret": PLATFORM}, key="admin").json["id"]
    for key_id in (theirs, ours_by_admin, "x", theirs.upper()):
        assert live.http("GET", f"{PATH}/{key_id}").status == 404
        assert live.http("DELETE", f"{PATH}/{key_id}").status == 404
        assert live.http("POST", f"{PATH}/{key_id}/rotate", {"secret": "sk-mine"}).status == 404
    assert theirs not in live.http("GET", f"{PATH}?limit=200").body.decode()
    assert live.http("GET", f"{PATH}/{theirs}", key="admin").status == 404  # the platform's own keys only
    assert live.http("GET", f"{PATH}/{theirs}", key=tenant).json["ends_at"] is None
    platform = [item["id"] for item in live.http("GET", f"{PATH}?limit=200", key="admin").json["items"]]
    assert (ours_by_admin in platform, theirs in platform) == (True, False)
    assert live.http("DELETE", f"{PATH}/{ours_by_admin}", key="admin").status == 200
    made = live.http("POST", "/api/v1/widget/token", {"widget_id": live.widget_id}, key=None,
                     headers={"origin": live.base_url})  # fmt: skip
    for key in (None, "cw_sk_nobody", made.json.get("token")):
        assert live.http("GET", PATH, key=key).status in (401, 403)
        assert live.http("GET", "/api/v1/alerts", key=key).status in (401, 403)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"provider": "openai"}, 422, "secret"),
        ({"provider": "openai", "secret": ""}, 422, "secret"),
        ({"provider": "openai", "secret": REFUSED + "\r\nx-evil: 1"}, 422, "secret"),
        ({"provider": "openai", "secret": [REFUSED]}, 422, "secret"),
        ({"provider": "openai", "secret": REFUSED * 2000}, 422, "secret"),
        ({"provider": "Open AI", "secret": REFUSED}, 422, "provider"),
        ({"provider": "nobody", "secret": REFUSED}, 422, "provider"),
        ({"provider": "extractive", "secret": REFUSED}, 422, "provider"),
        ({"provider": "openai", "secret": REFUSED, "base_url": "http://169.254.169.254/"}, 422, "base_url"),
        ({"provider": "openai", "secret": REFUSED, "base_url": "http://127.0.0.1:5432"}, 422, "base_url"),
        ({"provider": "openai", "secret": REFUSED, "request_limit": 0}, 422, "request_limit"),
        ({"provider": "openai", "secret": REFUSED, "token_limit": 2**31}, 422, "token_limit"),
        ({"provider": "openai", "secret": REFUSED, "hint": "x"}, 422, "hint"),
        ({"provider": "vertex", "secret": REFUSED, "base_url": "https://llm.example"}, 422, "secret"),
        ({"provider": "openai", "secret": REFUSED + "\0"}, 400, "secret"),
    ],
)
def test_a_refusal_names_the_field_and_never_the_secret(
    live: "Live", tenant: str, body: dict[str, Any], status: int, param: str
) -> None:
    reply = live.http("POST", PATH, body, key=tenant)
    assert (reply.status, reply.json["error"]["param"]) == (status, param), reply.body
    assert REFUSED not in reply.body.decode()
    assert live.http("GET", PATH, key=tenant).json["items"] == []


def test_an_idempotency_key_makes_one_key_of_two_requests(live: "Live", tenant: str) -> None:
    headers = {"idempotency-key": "once"}
    body = {"provider": "openai", "secret": POSTED}
    first = live.http("POST", PATH, body, key=tenant, headers=headers)
    second = live.http("POST", PATH, body, key=tenant, headers=headers)
    assert (first.status, second.status) == (201, 201)
    assert first.json == second.json
    assert second.headers["idempotency-replayed"] == "true"
    other = live.http("POST", PATH, {**body, "secret": REFUSED}, key=tenant, headers=headers)
    assert other.status == 409
    assert len(live.http("GET", PATH, key=tenant).json["items"]) == 1


def test_keys_and_alerts_come_in_pages(live: "Live", tenant: str) -> None:
    made = [add(live, tenant)["id"] for _ in range(3)]
    first = live.http("GET", f"{PATH}?limit=2", key=tenant).json
    second = live.http("GET", f"{PATH}?limit=2&cursor={first['next_cursor']}", key=tenant).json
    assert [item["id"] for item in first["items"] + second["items"]] == made
    assert second["next_cursor"] is None
    assert live.http("GET", "/api/v1/alerts?limit=2", key=tenant).json["items"] == []
    # The operator sees everybody's; other tenants of this installation may have some.
    seen = live.http("GET", "/api/v1/alerts?limit=2", key="admin").json["items"]
    assert not any(alert["kind"].startswith("provider_key.") for alert in seen)
    assert live.http("GET", "/api/v1/alerts?limit=0", key=tenant).status == 400


# The command line -------------------------------------------------------------------------------------------------------


def cli(live: "Live", *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    env = e2e.clean_environment(CHATWRIGHT_DATA_DIR=str(live.data_dir), **environment)
    return e2e.chatwright("provider-key", *arguments, env=env, stdin=stdin)


def test_keys_are_administered_from_the_command_line(live: "Live") -> None:
    done = cli(live, "add", "openai", "--name", "main", "--from-env", "MY_KEY", "--json", MY_KEY=ADDED)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    piped = cli(live, "add", "vertex", "--base-url", "https://llm.example", "--json", stdin=account(ACCOUNT))
    assert json.loads(piped.stdout)["hint"] == "bot@shop.iam.gserviceaccount.com"
    platform = cli(live, "add", "openai", "--platform", "--json", stdin=f"{PIPED}\n")
    shown = cli(live, "show", made["id"], "--json")
    assert json.loads(shown.stdout)["hint"] == f"…{ADDED[-4:]}"
    rotated = cli(live, "rotate", made["id"], "--overlap-s", "60", "--json", stdin=ROTATED)
    fresh = json.loads(rotated.stdout)["id"]
    listed = cli(live, "list")
    assert all(one in listed.stdout for one in (made["id"], fresh, json.loads(piped.stdout)["id"]))
    of_platform = cli(live, "list", "--platform", "--json")
    in_use = [one["id"] for one in json.loads(of_platform.stdout) if one["ends_at"] is None]
    assert in_use == [json.loads(platform.stdout)["id"]]
    for key_id, more in ((fresh, ()), (made["id"], ()), (json.loads(piped.stdout)["id"], ()),
                         (json.loads(platform.stdout)["id"], ("--platform",))):  # fmt: skip
        assert cli(live, "revoke", key_id, "--yes", *more).returncode == 0
    for one in (done, piped, platform, shown, rotated, listed):
        assert not any(canary in one.stdout + one.stderr for canary in CANARIES)


def test_a_secret_is_never_taken_from_the_arguments(live: "Live") -> None:
    assert cli(live, "add", "openai", "--secret", REFUSED).returncode == 2
    assert cli(live, "add", "openai", REFUSED).returncode == 2
    nothing = cli(live, "add", "openai", stdin="")
    assert nothing.returncode == 2
    assert "--from-env" in nothing.stderr
    assert cli(live, "add", "openai", "--from-env", "NO_SUCH_VARIABLE").returncode == 2
    help_text = cli(live, "add", "--help").stdout
    assert "--from-env" in help_text
    assert "Examples:" in help_text
    assert "\n  -s" not in help_text


def test_the_key_encryption_key_is_rotated_while_all_runs(live: "Live") -> None:
    file = live.data_dir / "keys" / "kek.json"
    assert file.stat().st_mode & 0o777 == 0o600, "made by `up`"
    made = add(live, live.tenant_key)
    turned = cli(live, "rotate-kek", "--json")
    assert turned.returncode == 0, turned.stderr
    assert len(json.loads(file.read_text())["keys"]) == 2
    sealed = cli(live, "reseal", "--batch", "2", "--json")
    assert sealed.returncode == 0, sealed.stderr
    report = json.loads(sealed.stdout)
    assert (report["left"], report["broken"], report["done"] > 0) == (0, 0, True)
    assert json.loads(cli(live, "reseal", "--json").stdout)["done"] == 0
    later = add(live, live.tenant_key)  # sealed with the new key by a process that was there before it
    assert json.loads(cli(live, "reseal", "--json").stdout) == {"done": 0, "broken": 0, "left": 0}
    said = cli(live, "reseal")
    assert "every provider key is sealed with the newest" in said.stdout
    for one in (made, later):
        live.http("DELETE", f"{PATH}/{one['id']}")
    printed = cli(live, "rotate-kek", "--print").stdout.strip()
    assert len(base64.b64decode(printed.partition(":")[2])) == 32
    assert len(json.loads(file.read_text())["keys"]) == 2
    refused = cli(live, "rotate-kek", CHATWRIGHT_KEY_ENCRYPTION_KEYS=printed)
    assert refused.returncode == 1
    assert printed not in refused.stderr
    for text in (turned.stdout, sealed.stdout, live.log_file.read_text()):
        assert not any(entry["key"] in text for entry in json.loads(file.read_text())["keys"])


# Canaries -------------------------------------------------------------------------------------------------------------


@contextmanager
def every_argument() -> Generator[set[str]]:
    """Collects the command line of every process of the machine, a hundred times a second."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for process in psutil.process_iter(["cmdline"]):
                seen.add("\0".join(process.info["cmdline"] or []))
            over.wait(0.01)

    thread = threading.Thread(target=look, name="look-at-arguments")
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def forms(canary: str) -> list[bytes]:
    """The canary as text, in hexadecimal, and as the three ways it can stand inside base64."""
    raw = canary.encode()
    coded = [base64.b64encode(b"\0" * pad + raw)[4 if pad else 0 : -4] for pad in range(3)]
    return [raw, raw.hex().encode(), *coded]


def hits(data: bytes) -> list[str]:
    return [canary for canary in CANARIES if any(form in data for form in forms(canary))]


@pytest.mark.parametrize("pad", range(4))
def test_the_search_finds_a_canary_in_every_form(pad: int) -> None:
    raw = b"x" * pad + CANARIES[pad].encode() + b"yyy"
    for data in (raw, raw.hex().encode(), base64.b64encode(raw)):
        assert hits(data) == [CANARIES[pad]]
    assert hits(CANARIES[pad][-4:].encode()) == []


def test_canaries_are_found_nowhere(database_url: str, superuser_url: str, valkey_url: str) -> None:
    """Keys of every kind go in on every way, calls are made with them and fail, at log level debug; afterwards nothing
    that is kept or said holds one of them."""
    said: list[bytes] = []
    with e2e._simulator() as simulator_url, e2e.short_folder() as data_dir, every_argument() as arguments:
        env = e2e.clean_environment(
            DATABASE_URL=database_url,
            REDIS_URL=valkey_url,
            OPENAI_BASE_URL=f"{simulator_url}/v1",
            OPENAI_API_KEY=PLATFORM,
            CHATWRIGHT_UNKNOWN_PRICES="flag",  # the simulator has none
            CHATWRIGHT_LOG_LEVEL="debug",
            CHATWRIGHT_LOG_FORMAT="json",
        )
        live = e2e.start_up(data_dir, env=env)
        try:
            e2e.settle_knowledge(live)
            used = _exercise(live, said)
        finally:
            code = live.stop()
        assert code == 0
        dump = subprocess.run(
            [find_binaries().postgres.with_name("pg_dump"), "--inserts", "--dbname", superuser_url],
            capture_output=True,
            timeout=60,
        )
        assert dump.returncode == 0, dump.stderr
        assert b"INSERT INTO public.provider_keys" in dump.stdout
        assert b"INSERT INTO public.idempotency_keys" in dump.stdout
        booked = [line for line in dump.stdout.splitlines() if line.startswith(b"INSERT INTO public.calls ")]
        assert any(used.encode() in line for line in booked), "the tenant's own key was called with"
        files = {str(file): file.read_bytes() for file in data_dir.rglob("*") if file.is_file()}
        log = live.log_file.read_bytes()
    valkey = redis.Redis.from_url(valkey_url)
    try:
        stored = b"".join(key + (valkey.dump(key) or b"") for key in valkey.scan_iter(count=1000))
    finally:
        valkey.close()
    assert any("provider-key" in one for one in arguments), "the command line was watched"
    assert b"api.started" in log
    for what, data in {
        "replies": b"\n".join(said),
        "log": log,
        "dump": dump.stdout,
        "valkey": stored,
        "arguments": "\n".join(arguments).encode(),
        **files,
    }.items():
        assert hits(data) == [], what
    kek = json.loads(files[str(data_dir / "keys" / "kek.json")])["keys"][0]["key"].encode()
    raw = base64.b64decode(kek)
    for what, data in {"log": log, "dump": dump.stdout, "valkey": stored, "replies": b"\n".join(said)}.items():
        assert kek not in data, what
        assert raw.hex().encode() not in data, what
        assert raw not in data, what


def _exercise(live: "Live", said: list[bytes]) -> str:
    """Returns the id of the key that calls were made with."""

    def ask(method: str, path: str, body: Any = None, **how: Any) -> Any:
        reply = live.http(method, path, body, **how)
        said.append(repr(reply.headers).encode() + reply.body)
        return reply

    own = ask("POST", PATH, {"provider": "openai", "secret": POSTED, "name": "own"}, headers={"idempotency-key": "a"})
    ask("POST", PATH, {"provider": "openai", "secret": POSTED, "name": "own"}, headers={"idempotency-key": "a"})
    ask("POST", PATH, {"provider": "openai", "secret": REFUSED}, headers={"idempotency-key": "a"})
    ask("POST", PATH, {"provider": "nobody", "secret": REFUSED}, headers={"idempotency-key": "b"})
    ask("POST", PATH, {"provider": "openai", "secret": REFUSED, "extra": REFUSED})
    ask("POST", PATH, f'{{"provider":"openai","secret":"{REFUSED}'.encode())
    ask("POST", PATH, {"provider": "openai", "secret": PIPED}, key="admin")
    ask("POST", PATH, {"provider": "vertex", "secret": account(ACCOUNT), "base_url": "https://llm.example"})
    rotated = ask("POST", f"{PATH}/{own.json['id']}/rotate", {"secret": ROTATED, "overlap_s": 600})
    revoked = ask("POST", PATH, {"provider": "openai", "secret": REVOKED})
    ask("DELETE", f"{PATH}/{revoked.json['id']}")
    ask("GET", PATH)
    ask("GET", PATH, key="admin")
    done = cli(live, "add", "openai", "--from-env", "MY_KEY", MY_KEY=ADDED)
    assert done.returncode == 0, done.stderr
    said.append((done.stdout + done.stderr).encode())
    for model in ("sim-1", "sim:status=401", "sim:status=500", "sim:cut=2"):
        slug = f"bot-{model.replace(':', '-').replace('=', '-')}"
        chain = [{"provider": "openai", "model": model, "key_id": rotated.json["id"]}]
        made = ask("POST", "/api/v1/chatbots", {"name": slug, "slug": slug, "providers": chain})
        assert made.status == 201, made.body
        conversation = ask("POST", "/api/v1/conversations", {"chatbot": slug}).json["id"]
        ask("POST", f"/api/v1/conversations/{conversation}/messages?wait=true", {"text": "hello"}, timeout_s=90)
        completion = {"model": slug, "messages": [{"role": "user", "content": "hello"}]}
        ask("POST", "/v1/chat/completions", completion, timeout_s=90)
    ask("POST", "/api/v1/jobs", {"type": "sentiment_analysis", "payload": {"text": "hello"}})
    for path in (
        "/api/v1/audit",
        "/api/v1/alerts",
        "/api/v1/dead-letters",
        "/api/v1/usage",
        "/metrics",
        "/health/ready",
    ):
        ask("GET", path)
    turned = cli(live, "rotate-kek", "--json")
    assert turned.returncode == 0, turned.stderr
    sealed = e2e.chatwright(
        "provider-key",
        "reseal",
        "--json",
        env=e2e.clean_environment(
            CHATWRIGHT_DATA_DIR=str(live.data_dir),
            DATABASE_URL=_variable(live, "DATABASE_URL"),
            CHATWRIGHT_LOG_LEVEL="debug",
        ),
    )
    assert json.loads(sealed.stdout)["left"] == 0, sealed.stderr
    said.append((turned.stdout + turned.stderr + sealed.stdout + sealed.stderr).encode())
    time.sleep(0.2)
    return rotated.json["id"]


def _variable(live: "Live", name: str) -> str:
    return psutil.Process(live.process.pid).environ()[name]
