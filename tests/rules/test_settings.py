"""Settings: where a value comes from, what is refused, what is hidden."""

from dataclasses import Field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.app.options import SettingsError
from chatwright.app.settings import all_options, env_name, load_settings, mask_url, masked, to_environment


def option(name: str) -> Field[Any]:
    return next(declared for declared in all_options() if declared.name == name)


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "chatwright.toml").write_text(
        "port = 7001\ncoalesce_ms = 5\nallowed_addresses = ['a.lan', '10.0.0.0/8']\n"
    )
    environ = {"CHATWRIGHT_DATA_DIR": str(tmp_path), "CHATWRIGHT_PORT": "7002", "CHATWRIGHT_COALESCE_MS": "9"}
    loaded = load_settings(environ, flags={"port": 7003, "host": None})
    assert (loaded.settings.port, loaded.sources["port"]) == (7003, "flag")
    assert (loaded.settings.coalesce_ms, loaded.sources["coalesce_ms"]) == (9, "CHATWRIGHT_COALESCE_MS")
    assert loaded.settings.allowed_addresses == ("a.lan", "10.0.0.0/8")
    assert loaded.sources["allowed_addresses"] == str(tmp_path / "chatwright.toml")
    assert (loaded.settings.host, loaded.sources["host"]) == ("127.0.0.1", "default")


def test_usual_names_are_kept() -> None:
    environ = {
        "DATABASE_URL": "postgresql://u:p@db/x",
        "REDIS_URL": "redis://v",
        "S3_URL": "s3://bucket",
        "OPENAI_API_KEY": "sk-1",
        "OPENAI_BASE_URL": "http://llm/v1",
        "ANTHROPIC_API_KEY": "a",
        "ANTHROPIC_BASE_URL": "http://claude",
        "GOOGLE_CLOUD_PROJECT": "p",
        "GOOGLE_CLOUD_LOCATION": "europe-west1",
        "GOOGLE_APPLICATION_CREDENTIALS": "/k.json",
        "VERTEX_BASE_URL": "http://vertex",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel",
        "HOME": "/root",
    }
    loaded = load_settings(environ)
    for name, value in environ.items():
        if not name.startswith(("OTEL_", "HOME")):
            assert getattr(loaded.settings, name.lower()) == value
            assert loaded.sources[name.lower()] == name


def test_an_empty_variable_is_not_set() -> None:
    assert load_settings({"CHATWRIGHT_PORT": ""}).settings.port == 8080


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"CHATWRIGHT_PROT": "1"}, "did you mean CHATWRIGHT_PORT"),
        ({"CHATWRIGHT_XYZZY": "1"}, "CHATWRIGHT_XYZZY is no option"),
        ({"CHATWRIGHT_PORT": "http"}, "CHATWRIGHT_PORT: 'http' is no whole number"),
        ({"CHATWRIGHT_PORT": "70000"}, "above 65535"),
        ({"CHATWRIGHT_LEASE_S": "nan"}, "no finite number"),
        ({"CHATWRIGHT_LEASE_S": "0.1"}, "below 1"),
        ({"CHATWRIGHT_DEMO": "perhaps"}, "neither true nor false"),
        ({"CHATWRIGHT_LOG_FORMAT": "xml"}, "none of auto, json, console"),
        ({"CHATWRIGHT_CONFIG": "/no/such/file.toml"}, "there is no file"),
    ],
)
def test_what_cannot_be_meant_is_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_settings(environ)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", "did you mean port"),
        ("[server]\nport = 1", "server is no option"),
        ("data_dir = '/x'", "set by --data-dir"),
        ("port = 1.5", "no whole number"),
        ("port = true", "not what is expected"),
        ("allowed_addresses = [1]", "list of texts"),
        ("port = ", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=words):
        load_settings({}, config_file=file)


def test_the_client_names_are_known() -> None:
    load_settings({"CHATWRIGHT_URL": "http://x", "CHATWRIGHT_KEY": "k"})


def test_secrets_are_masked() -> None:
    key = "sk-" + "verysecret" * 3
    assert key not in masked(option("openai_api_key"), key)
    assert masked(option("openai_api_key"), "") == ""
    assert masked(option("openai_api_key"), "short") == "…"
    assert masked(option("database_url"), "postgresql://me:hidden@db:5/x?a=b") == "postgresql://me:…@db:5/x?a=b"
    assert masked(option("demo"), False) == "false"
    assert mask_url("not a url") == "not a url"


def test_every_option_says_what_it_means_and_seconds_are_named() -> None:
    names = [env_name(declared) for declared in all_options()]
    assert len(names) == len(set(names))
    for declared in all_options():
        assert len(declared.metadata["about"]) > 12, declared.name
        if declared.metadata["unit"] == "s":
            assert declared.name.endswith("_s"), declared.name


@given(
    port=st.integers(0, 65535),
    coalesce_ms=st.integers(0, 1000),
    threshold=st.floats(0, 1),
    demo=st.booleans(),
    addresses=st.lists(st.from_regex(r"[a-z]{1,8}\.lan", fullmatch=True), max_size=3),
)
def test_what_a_child_is_told_is_what_the_parent_read(
    port: int, coalesce_ms: int, threshold: float, demo: bool, addresses: list[str]
) -> None:
    flags = {
        "port": port,
        "coalesce_ms": coalesce_ms,
        "relevance_threshold": threshold,
        "demo": demo,
        "allowed_addresses": tuple(addresses),
    }
    told = load_settings({}, flags=flags).settings
    assert load_settings(to_environment(told, flags.keys())).settings == told


def test_without_anything_set_all_is_at_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings({}).sources == {declared.name: "default" for declared in all_options()}
