"""Access tokens from a real token endpoint on loopback: shared, refreshed ahead, bounded, and without a word of keys."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.simulator.replay import Replay, run_replay
from chatwright.adapters.providers import google_tokens
from chatwright.adapters.providers.google_tokens import (
    MAX_CREDENTIALS,
    SCOPE,
    TOKEN_URI,
    GoogleTokens,
    open_google_tokens,
    read_service_account,
)
from chatwright.domain.errors import AuthenticationError, ProviderError

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def account(pem: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "kid-1",
        "private_key": pem,
        "client_email": "robot@my-project.iam.gserviceaccount.com",
        "token_uri": TOKEN_URI,
        **fields,
    }


def grant(replay: Replay, token: str, expires_in: float = 3600) -> None:
    body = json.dumps({"access_token": token, "expires_in": int(expires_in), "token_type": "Bearer"})
    replay.status, replay.headers, replay.pieces = 200, JSON, [body.encode()]


@asynccontextmanager
async def tenants(token: str = "t-1", *, expires_in: float = 3600, timeout_s: float = 5.0) -> AsyncGenerator[Any]:
    """A token endpoint, and the store whose tenants' accounts are exchanged there."""
    async with run_replay() as replay:
        grant(replay, token, expires_in)
        uri = f"http://127.0.0.1:{replay.port}/token"
        async with open_google_tokens(tenants_token_uri=uri, timeout_s=timeout_s) as tokens:
            yield replay, tokens


async def most_lag_s(stop: asyncio.Event) -> float:
    """The longest that the loop was held up, in seconds."""
    worst = 0.0
    while not stop.is_set():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - before - 0.001)
    return worst


def test_fifty_calls_at_once_ask_once_and_the_loop_goes_on(pem: str, tmp_path: Path) -> None:
    async def check() -> float:
        async with run_replay() as replay:
            grant(replay, "platform-token")
            file = tmp_path / "account.json"
            file.write_text(json.dumps(account(pem, token_uri=f"http://127.0.0.1:{replay.port}/token")))
            async with open_google_tokens(credentials_file=str(file)) as tokens:
                stop = asyncio.Event()
                lag = asyncio.create_task(most_lag_s(stop))
                got = await asyncio.gather(*(tokens.headers(None) for _ in range(50)))
                got += [await tokens.headers(None) for _ in range(1000)]
                stop.set()
                assert {headers["authorization"] for headers in got} == {"Bearer platform-token"}
                assert tokens.refreshes == 1
                assert len(replay.requests) == 1
                sent = parse_qs(replay.requests[0][1].decode())
                claims = json.loads(base64.urlsafe_b64decode(sent["assertion"][0].split(".")[1] + "=="))
                assert claims["iss"] == "robot@my-project.iam.gserviceaccount.com"
                assert claims["scope"] == SCOPE
                return await lag

    # A blocking refresh would hold the loop for the whole exchange with a server that runs on this very loop: for ever.
    assert asyncio.run(check()) < 0.25


def test_a_token_is_refreshed_ahead_while_the_old_one_is_used(pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_tokens, "PAUSE_S", 0.0)
    key = json.dumps(account(pem))

    async def check() -> None:
        async with tenants("old", expires_in=100) as (replay, tokens):
            assert (await tokens.headers(key))["authorization"] == "Bearer old"
            grant(replay, "new")
            replay.pause_s = 0.3
            begun = time.perf_counter()
            got = [(await tokens.headers(key))["authorization"] for _ in range(100)]
            assert time.perf_counter() - begun < 0.1
            assert set(got) == {"Bearer old"}
            await asyncio.sleep(0.6)
            assert (await tokens.headers(key))["authorization"] == "Bearer new"
            assert len(replay.requests) == 2
            # It holds for an hour: nobody asks again.
            await asyncio.gather(*(tokens.headers(key) for _ in range(50)))
            assert len(replay.requests) == 2

    asyncio.run(check())


def test_a_failed_refresh_ahead_changes_nothing_until_the_token_ends(pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_tokens, "PAUSE_S", 0.2)
    key = json.dumps(account(pem))

    async def check() -> None:
        async with tenants("old", expires_in=100) as (replay, tokens):
            await tokens.headers(key)
            await asyncio.sleep(0.25)
            replay.status, replay.pieces = 503, [b"{}"]
            for _ in range(20):
                assert (await tokens.headers(key))["authorization"] == "Bearer old"
                await asyncio.sleep(0.01)
            # The pause holds: one try, not twenty.
            assert len(replay.requests) <= 3

    asyncio.run(check())


def test_a_token_that_google_does_not_take_any_more_is_replaced(pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_tokens, "PAUSE_S", 0.0)
    key = json.dumps(account(pem))

    async def check() -> None:
        async with tenants("revoked") as (replay, tokens):
            await tokens.headers(key)
            grant(replay, "fresh")
            tokens.spoil(key)
            assert (await tokens.headers(key))["authorization"] == "Bearer fresh"

    asyncio.run(check())


def test_the_first_caller_may_leave_and_the_others_get_their_token(pem: str) -> None:
    key = json.dumps(account(pem))

    async def check() -> None:
        async with tenants() as (replay, tokens):
            replay.pause_s = 0.2
            first = asyncio.create_task(tokens.headers(key))
            others = [asyncio.create_task(tokens.headers(key)) for _ in range(3)]
            await asyncio.sleep(0.05)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert [headers["authorization"] for headers in await asyncio.gather(*others)] == ["Bearer t-1"] * 3
            assert len(replay.requests) == 1

    asyncio.run(check())


@pytest.mark.parametrize(
    ("status", "body", "kind", "error_class"),
    [
        (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, AuthenticationError, None),
        (401, {"error": "invalid_client"}, AuthenticationError, None),
        (503, {"error": "unavailable"}, ProviderError, "server_error"),
        (429, {}, ProviderError, "server_error"),
        (302, {}, AuthenticationError, None),
        (200, {"token": "under another name"}, AuthenticationError, None),
    ],
)
def test_what_the_endpoint_says_becomes_an_exception_once_for_all_who_wait(
    pem: str, status: int, body: dict[str, str], kind: type[ProviderError], error_class: str | None
) -> None:
    key = json.dumps(account(pem))

    async def check() -> None:
        async with tenants() as (replay, tokens):
            replay.status, replay.pieces = status, [json.dumps(body).encode()]
            replay.headers = {**JSON, "location": f"http://127.0.0.1:{replay.port}/elsewhere"}
            got = await asyncio.gather(*(tokens.headers(key) for _ in range(20)), return_exceptions=True)
            for _ in range(3):
                with pytest.raises(kind) as caught:
                    await tokens.headers(key)
                got.append(caught.value)
            assert {type(error) for error in got} == {kind}
            assert len({id(error) for error in got}) == 23
            for error in got:
                assert isinstance(error, ProviderError)
                assert error.retriable == (kind is ProviderError)
                assert error_class is None or error.error_class == error_class
                assert "PRIVATE KEY" not in error.message
            assert len(replay.requests) == 1

    asyncio.run(check())


def test_an_endpoint_that_is_away_or_silent_is_a_retriable_error_in_time(pem: str) -> None:
    key = json.dumps(account(pem))

    async def silent() -> None:
        async with tenants(timeout_s=0.4) as (replay, tokens):
            replay.pause_s = 5.0
            begun = time.perf_counter()
            with pytest.raises(ProviderError) as caught:
                await tokens.headers(key)
            assert time.perf_counter() - begun < 0.9
            assert caught.value.retriable
            assert caught.value.error_class in {"timeout", "transport"}

    async def away() -> None:
        async with open_google_tokens(tenants_token_uri="http://127.0.0.1:9/token") as tokens:
            with pytest.raises(ProviderError) as caught:
                await tokens.headers(key)
            assert (caught.value.retriable, caught.value.error_class) == (True, "transport")

    asyncio.run(silent())
    asyncio.run(away())


REFUSED: list[Any] = [
    "sk-not-json",
    "",
    "[]",
    "null",
    "[" * 9000,
    "x" * 20_000,
    {"type": "authorized_user", "refresh_token": "r", "client_id": "c", "client_secret": "s"},
    {
        "type": "external_account",
        "credential_source": {"executable": {"command": "/bin/touch /tmp/owned"}},
        "token_url": "http://169.254.169.254/",
    },
    {"type": "external_account", "client_email": "a@b", "private_key": "k"},
    {"type": "impersonated_service_account", "service_account_impersonation_url": "http://127.0.0.1/"},
]


@pytest.mark.parametrize("text", REFUSED, ids=str)
def test_a_tenants_key_is_a_service_account_or_nothing(text: Any) -> None:
    key = text if isinstance(text, str) else json.dumps(text)

    async def check() -> None:
        async with tenants() as (replay, tokens):
            with pytest.raises(AuthenticationError) as caught:
                await tokens.headers(key)
            assert tokens.refreshes == 0
            assert replay.requests == []
            assert "owned" not in caught.value.message

    asyncio.run(check())


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:9/token", "https://evil.example/token", TOKEN_URI + "/..", "file:///etc/passwd"]
)
def test_a_tenant_cannot_choose_where_its_account_is_exchanged(pem: str, uri: str) -> None:
    with pytest.raises(AuthenticationError, match="token_uri"):
        read_service_account(json.dumps(account(pem, token_uri=uri)))


def test_a_tenants_key_too_long_to_check_in_good_time_is_refused() -> None:
    with pytest.raises(AuthenticationError, match="2,048 bits"):
        read_service_account(json.dumps(account("M" * 3000)))


def test_other_addresses_in_a_tenants_file_are_not_called(pem: str) -> None:
    key = json.dumps(account(pem, universe_domain="evil.example", auth_uri="http://evil.example/", trust_boundary={}))

    async def check() -> None:
        async with tenants() as (replay, tokens):
            assert await tokens.headers(key) == {"authorization": "Bearer t-1"}
            assert len(replay.requests) == 1

    asyncio.run(check())


def test_a_broken_private_key_is_refused_in_words_of_ours(pem: str) -> None:
    async def check() -> None:
        async with tenants() as (_, tokens):
            for broken in ("", "nonsense", pem[:400], pem.replace("PRIVATE", "PUBLIC")):
                with pytest.raises(AuthenticationError) as caught:
                    await tokens.headers(json.dumps(account(broken)))
                assert "MII" not in caught.value.message

    asyncio.run(check())


def test_the_store_of_tenants_tokens_is_bounded_and_shows_no_key(pem: str) -> None:
    async def check() -> None:
        async with tenants() as (_, tokens):
            for n in range(MAX_CREDENTIALS + 20):
                tokens._tenants_slot(json.dumps(account(pem, private_key_id=f"kid-{n}")))
            assert len(tokens._tenants) == MAX_CREDENTIALS
            assert all(isinstance(held, bytes) and len(held) == 32 for held in tokens._tenants)
            shown = repr(tokens._tenants) + repr(vars(tokens)) + repr(read_service_account(json.dumps(account(pem))))
            assert "PRIVATE" not in shown
            assert pem[60:100] not in shown

    asyncio.run(check())


def test_no_log_line_holds_a_key_or_a_token(pem: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def check() -> None:
        async with tenants("ya29.canary-token") as (replay, tokens):
            await tokens.headers(json.dumps(account(pem)))
            replay.status, replay.pieces = 400, [b'{"error": "invalid_grant"}']
            with pytest.raises(AuthenticationError):
                await tokens.headers(json.dumps(account(pem, private_key_id="other")))

    asyncio.run(check())
    logged = "\n".join(str(vars(record)) + record.getMessage() for record in caplog.records)
    assert logged
    assert "canary" not in logged
    assert pem.splitlines()[1] not in logged
    assert "eyJ" not in logged


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials of Google's anywhere."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.mark.usefixtures("bare_machine")
def test_without_credentials_a_gateway_is_called_without_and_google_not_at_all() -> None:
    async def check() -> None:
        async with open_google_tokens(optional=True) as tokens:
            tokens.warm_up()
            assert await tokens.headers(None) == {}
            assert await tokens.headers(None) == {}
            assert tokens.refreshes == 1
        async with open_google_tokens() as tokens:
            with pytest.raises(AuthenticationError, match="GOOGLE_APPLICATION_CREDENTIALS"):
                await tokens.headers(None)

    asyncio.run(check())


@pytest.mark.usefixtures("bare_machine")
def test_a_file_that_is_not_there_is_no_reason_to_call_without(tmp_path: Path) -> None:
    async def check() -> None:
        async with open_google_tokens(credentials_file=str(tmp_path / "none.json"), optional=True) as tokens:
            with pytest.raises(AuthenticationError, match="cannot be read"):
                await tokens.headers(None)

    asyncio.run(check())


def test_closing_ends_what_is_under_way(pem: str) -> None:
    async def check() -> None:
        async with run_replay() as replay:
            replay.pause_s = 1.0
            grant(replay, "late")
            tokens = GoogleTokens(tenants_token_uri=f"http://127.0.0.1:{replay.port}/token", timeout_s=2.0)
            waiting = asyncio.create_task(tokens.headers(json.dumps(account(pem))))
            await asyncio.sleep(0.2)
            begun = time.perf_counter()
            await tokens.close()
            assert time.perf_counter() - begun < 0.2
            with pytest.raises(ProviderError):
                await waiting
            left = [task for task in asyncio.all_tasks() if task.get_name() == "google_tokens.refresh"]
            assert left == []

    asyncio.run(check())
