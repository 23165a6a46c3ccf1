"""Seals open in their own place only, secrets show themselves to nobody, and keys are compared with their usual."""

import base64
import copy
import json
import logging
import os
import pickle
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.app.keyfile import (
    FILE,
    FileKeys,
    KeyFileUnreadable,
    ensure_key_file,
    new_key_text,
    open_keks,
    rotate_key_file,
)
from chatwright.app.options import Settings, SettingsError
from chatwright.domain.errors import Unprocessable
from chatwright.domain.ids import TenantId, new_id
from chatwright.entrypoints.wire_providers import ProviderKeyCreate, ProviderKeyRotate
from chatwright.features.provider_keys import (
    Activity,
    KeyEncryptionKey,
    ProviderKey,
    SealBroken,
    check_secret,
    find_anomalies,
    hint_of,
    read_keks,
    seal,
    sealed_secret,
)
from chatwright.telemetry.logging import set_up_logging

CANARY = "sk_canary_93kd02kdkw0d2"
KEK = KeyEncryptionKey.of("k1", os.urandom(32))
OTHER = KeyEncryptionKey.of("k2", os.urandom(32))
ROW: dict[str, Any] = {"tenant_id": new_id(), "row_id": new_id(), "version": 3}

rows = st.fixed_dictionaries(
    {
        "tenant_id": st.none() | st.uuids().map(str),
        "row_id": st.uuids().map(str),
        "version": st.integers(1, 2**31 - 1),
    }
)


@given(secret=st.text(min_size=6, max_size=200), row=rows)
def test_a_seal_opens_in_its_own_place(secret: str, row: dict[str, Any]) -> None:
    sealed = seal(KEK, secret, **row)
    assert secret.encode() not in sealed
    assert sealed_secret(KEK, sealed, **row).reveal() == secret
    assert seal(KEK, secret, **row) != sealed, "a nonce was used twice"


@given(row=rows, other=rows)
def test_a_seal_opens_nowhere_else(row: dict[str, Any], other: dict[str, Any]) -> None:
    sealed = seal(KEK, CANARY, **row)
    for field, elsewhere in other.items():
        if elsewhere != row[field]:
            with pytest.raises(SealBroken):
                sealed_secret(KEK, sealed, **{**row, field: elsewhere})
    with pytest.raises(SealBroken):
        sealed_secret(OTHER, sealed, **row)


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.integers(0, 40))
def test_a_seal_that_was_touched_does_not_open(place: int, bit: int, cut: int) -> None:
    sealed = seal(KEK, CANARY, **ROW)
    touched = bytearray(sealed)
    touched[place % len(sealed)] ^= 1 << bit
    with pytest.raises(SealBroken) as caught:
        sealed_secret(KEK, bytes(touched), **ROW)
    assert caught.value.__cause__ is None
    with pytest.raises(SealBroken):
        sealed_secret(KEK, sealed[: min(cut, len(sealed) - 1)], **ROW)


def test_a_secret_shows_itself_to_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    secret = sealed_secret(KEK, seal(KEK, CANARY, **ROW), **ROW)
    key = ProviderKey(
        id=new_id(), tenant_id=TenantId(new_id()), provider="openai", name="main", hint="…wd02", secret=secret
    )
    assert secret.reveal() == CANARY
    body = msgspec.json.decode(f'{{"provider":"openai","secret":"{CANARY}"}}', type=ProviderKeyCreate)
    turn = msgspec.json.decode(f'{{"secret":"{CANARY}"}}', type=ProviderKeyRotate)
    shown = [f"{one!r} {one}" for one in (secret, key, body, turn, KEK, {"key": key}, [body])]
    for refused in (
        lambda: pickle.dumps(secret),
        lambda: pickle.dumps(key),
        lambda: copy.deepcopy(key),
        lambda: copy.copy(secret),
        lambda: asdict(key),
        lambda: json.dumps(secret),
        lambda: pickle.dumps(KEK),
    ):
        with pytest.raises(TypeError) as caught:
            refused()
        shown.append(str(caught.value))
    with pytest.raises((TypeError, AttributeError)):
        msgspec.json.encode(key)
    assert not hasattr(secret, "__dict__")

    import structlog

    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        set_up_logging(level="debug", style="json")
        structlog.get_logger("test").debug("key.loaded", key=key, keys=[key], by_id={"a": secret}, plain=secret)
        logging.getLogger("library").debug("key %s %r", key, secret)
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
        structlog.reset_defaults()
    logged = capsys.readouterr().err
    assert "key.loaded" in logged
    assert "library" in logged
    for text in (*shown, logged):
        assert CANARY not in text
        assert CANARY[:12] not in text


ACCOUNT = {
    "type": "service_account",
    "project_id": "shop",
    "private_key_id": "abc",
    "private_key": "-----BEGIN PRIVATE " + "KEY-----\nMIIE\n-----END PRIVATE " + "KEY-----\n",
    "client_email": "bot@shop.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
}


def test_a_service_account_is_cut_down_to_what_a_token_needs() -> None:
    kept = json.loads(check_secret("vertex", json.dumps({**ACCOUNT, "auth_uri": "x", "quota_project_id": "y"})))
    assert kept == ACCOUNT
    assert hint_of("vertex", json.dumps(kept)) == ACCOUNT["client_email"]


@pytest.mark.parametrize(
    "change",
    [
        {"type": "external_account"},
        {"type": "authorized_user"},
        {"type": None},
        {"token_uri": "http://169.254.169.254/"},
        {"token_uri": "https://oauth2.googleapis.com.example/token"},
        {"universe_domain": "example.com"},
        {"private_key": CANARY},
        {"private_key": 7},
        {"client_email": ""},
        {"project_id": None},
    ],
)
def test_other_google_credentials_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable) as caught:
        check_secret("vertex", json.dumps({**ACCOUNT, **change}))
    assert CANARY not in caught.value.message


@pytest.mark.parametrize(
    ("provider", "text"),
    [
        ("openai", ""),
        ("openai", "  \n"),
        ("openai", f"{CANARY}\r\nx-evil: 1"),
        ("openai", f"{CANARY} {CANARY}"),
        ("openai", f"{CANARY}é"),
        ("openai", CANARY * 1000),
        ("vertex", CANARY),
        ("vertex", f'"{CANARY}"'),
        ("vertex", f"[{CANARY}"),
        ("vertex", "[" * 100_000),
    ],
)
def test_a_secret_that_cannot_be_is_refused_and_not_repeated(provider: str, text: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        check_secret(provider, text)
    assert CANARY not in f"{caught.value.message}{caught.value.__cause__}"


def test_hints_leave_short_secrets_alone() -> None:
    assert check_secret("openai", f" {CANARY}\n") == CANARY
    assert hint_of("openai", CANARY) == "…w0d2"
    assert hint_of("openai", "ollama") == "…"


# Key-encryption keys --------------------------------------------------------------------------------------------------


def test_the_option_holds_several_keys_the_newest_first() -> None:
    texts = [new_key_text() for _ in range(3)]
    keks = open_keks(Settings(key_encryption_keys=",".join(texts)))
    newest = keks.newest()
    assert newest is not None
    assert newest.id == texts[0].partition(":")[0]
    assert all(keks.find(text.partition(":")[0]) is not None for text in texts)
    assert keks.find("nobody") is None
    unpadded = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    assert read_keks(f" a:{unpadded} ")[0].id == "a"


@pytest.mark.parametrize(
    "text", ["x", f"a:{CANARY}", ":" + base64.b64encode(b"x" * 32).decode(), "a:AAAA", "a b:AAAA", "dup", "a:,"]
)
def test_a_malformed_option_is_refused_and_not_repeated(text: str) -> None:
    if text == "dup":
        text = ",".join([f"a:{base64.b64encode(os.urandom(32)).decode()}"] * 2)
    with pytest.raises(SettingsError) as caught:
        open_keks(Settings(key_encryption_keys=text))
    assert "CHATWRIGHT_KEY_ENCRYPTION_KEYS" in caught.value.message
    assert CANARY not in caught.value.message


def test_the_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    keks = open_keks(settings)
    assert keks.newest() is None
    assert ensure_key_file(settings) is True
    file = settings.data_dir / FILE
    before = file.read_bytes()
    assert ensure_key_file(settings) is False
    assert file.read_bytes() == before
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    newest = keks.newest()  # the process that ran all along finds it
    assert newest is not None
    assert ensure_key_file(Settings(data_dir=tmp_path / "none", key_encryption_keys=new_key_text())) is False
    assert not (tmp_path / "none").exists()


def test_a_rotation_is_seen_by_who_runs_and_the_old_key_stays(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    ensure_key_file(settings)
    keks = open_keks(settings)
    old = keks.newest()
    assert old is not None
    fresh, kept = rotate_key_file(settings)
    assert kept == [old.id]
    assert keks.find(fresh) is not None
    newest = keks.newest()
    assert newest is not None
    assert (newest.id, keks.find(old.id)) == (fresh, old)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / FILE).unlink()  # lost: who has read it goes on
    assert keks.newest() is not None
    with pytest.raises(SettingsError, match="--print"):
        rotate_key_file(replace(settings, key_encryption_keys=new_key_text()))


def test_unknown_ids_do_not_make_us_read_the_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path)
    ensure_key_file(settings)
    keks = FileKeys(tmp_path / FILE)
    reads = 0
    plain = Path.read_text

    def counting(self: Path, *args: Any, **kwargs: Any) -> str:
        nonlocal reads
        reads += 1
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", counting)
    assert [keks.find("nobody") for _ in range(50)] == [None] * 50
    assert reads == 0
    rotate_key_file(settings)
    reads = 0
    keks.find("nobody")
    keks.find("nobody")
    assert reads == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"keys":[]}', '{"keys":[{"id":"a"}]}', '{"keys":[{"id":"a","key":"?"}]}']
)
def test_a_broken_file_says_where_it_is_and_ends_nobody_who_runs(tmp_path: Path, text: str) -> None:
    settings = Settings(data_dir=tmp_path)
    ensure_key_file(settings)
    running = open_keks(settings)
    newest = running.newest()
    (tmp_path / FILE).write_text(text)
    with pytest.raises(KeyFileUnreadable, match=r"kek\.json.*backup"):
        open_keks(settings)
    assert running.newest() == newest


# What is unusual ------------------------------------------------------------------------------------------------------

USUAL = Activity(
    key_id=new_id(),
    provider="openai",
    tenant_id=TenantId(new_id()),
    label="main",
    calls=100,
    failures=1,
    cost_nano=2_000_000_000,
    usual_windows=500,
    usual_calls=50_000,
    usual_failures=500,
    usual_cost_nano=2_000_000_000,
)


def kinds(**changes: Any) -> list[tuple[str, str]]:
    return [(found.kind, found.level) for found in find_anomalies(replace(USUAL, **changes))]


def test_the_usual_is_not_told() -> None:
    assert kinds() == []
    assert kinds(cost_nano=5_900_000_000) == []
    assert kinds(failures=19) == []
    assert kinds(calls=0, failures=0, cost_nano=0) == []


def test_spend_far_off_its_usual_is_told() -> None:
    assert kinds(cost_nano=6_000_000_000) == [("provider_key.spend", "warning")]
    assert kinds(cost_nano=20_000_000_000) == [("provider_key.spend", "critical")]
    assert kinds(cost_nano=900_000_000, usual_cost_nano=1000) == [], "small money is no alarm"
    assert kinds(cost_nano=10**12, usual_windows=11) == [], "a new key has no usual"


def test_errors_far_off_their_usual_are_told() -> None:
    assert kinds(failures=20) == [("provider_key.errors", "warning")]
    assert kinds(calls=10, failures=10) == [("provider_key.errors", "critical")]
    assert kinds(calls=9, failures=9) == [], "too few calls to say"
    assert kinds(calls=20, failures=20, usual_calls=0, usual_failures=0, usual_windows=0) == [
        ("provider_key.errors", "critical")
    ]
    often = {"usual_calls": 1000, "usual_failures": 300}
    assert kinds(failures=60, **often) == []
    assert kinds(failures=66, **often) == [("provider_key.errors", "warning")]


@given(
    calls=st.integers(0, 10**6),
    share=st.floats(0, 1),
    cost=st.integers(0, 10**14),
    usual_calls=st.integers(0, 10**9),
    usual_share=st.floats(0, 1),
    usual_cost=st.integers(0, 10**14),
    windows=st.integers(0, 1008),
)
def test_more_is_never_less_unusual(
    calls: int, share: float, cost: int, usual_calls: int, usual_share: float, usual_cost: int, windows: int
) -> None:
    now = replace(
        USUAL,
        calls=calls,
        failures=int(calls * share),
        cost_nano=cost,
        usual_calls=usual_calls,
        usual_failures=int(usual_calls * usual_share),
        usual_cost_nano=usual_cost,
        usual_windows=windows,
    )
    found = {one.kind for one in find_anomalies(now)}
    worse = replace(now, failures=now.calls, cost_nano=cost * 2)
    assert found <= {one.kind for one in find_anomalies(worse)}
    for one in find_anomalies(now):
        assert json.loads(msgspec.json.encode(one.detail))


def test_keys_of_the_environment_are_told_apart_by_provider() -> None:
    first, second = (replace(USUAL, key_id="env", provider=name, cost_nano=10**12) for name in ("openai", "gemini"))
    assert first.subject != second.subject
    assert "environment" in find_anomalies(first)[0].message
    assert find_anomalies(replace(USUAL, cost_nano=10**12))[0].detail["key_id"] == USUAL.subject
