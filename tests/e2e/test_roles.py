"""External servers and single roles: the same code, spread over processes as an operator would spread it."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import conftest as e2e


@pytest.fixture
def data_dir() -> Generator[Path]:
    with e2e.short_folder() as folder:
        yield folder


@pytest.fixture
def servers_env(database_url: str, valkey_url: str, data_dir: Path) -> dict[str, str]:
    return e2e.clean_environment(
        DATABASE_URL=database_url, REDIS_URL=valkey_url, CHATWRIGHT_DATA_DIR=str(data_dir), CHATWRIGHT_LOG_FORMAT="json"
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def role(log: Path, *arguments: str, env: Mapping[str, str]) -> Generator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "chatwright", *arguments], env=dict(env), stdin=subprocess.DEVNULL, stderr=out
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=3) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def until(url: str, wanted: int, *, within_s: float = 30.0) -> None:
    give_up_at = time.monotonic() + within_s
    while (now := status(url)) != wanted:
        assert time.monotonic() < give_up_at, f"{url} says {now}, not {wanted}"
        time.sleep(0.1)


def test_up_takes_external_servers(servers_env: dict[str, str], data_dir: Path) -> None:
    running = e2e.start_up(data_dir, "--no-demo", env=servers_env)
    assert running.ready["pids"]["postgres"] is None
    assert running.ready["pids"]["valkey"] is None
    assert running.http("GET", "/health/ready", key=None).json["workers"] == 1
    assert not (data_dir / "servers" / "postgres").exists()
    assert running.stop() == 0


def test_two_apis_and_a_worker_on_their_own(servers_env: dict[str, str], tmp_path: Path) -> None:
    migrations = [
        subprocess.Popen(
            [sys.executable, "-m", "chatwright", "migrate", "--json"], env=servers_env, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for migration in migrations:
        said, _ = migration.communicate(timeout=60)
        assert migration.returncode == 0
        assert json.loads(said) == {"applied": []}

    ports = [free_port(), free_port()]
    with (
        role(tmp_path / "api-1", "api", "--port", str(ports[0]), env=servers_env) as first,
        role(tmp_path / "api-2", "api", "--port", str(ports[1]), env=servers_env) as second,
    ):
        urls = [f"http://127.0.0.1:{port}/health/ready" for port in ports]
        for url in urls:
            until(url, 503)  # nobody consumes yet
        with role(tmp_path / "worker", "worker", env=servers_env) as worker:
            for url in urls:
                until(url, 200)
            worker.terminate()
            assert worker.wait(20) == 0
        for url in urls:
            until(url, 503, within_s=5)
        for api in (first, second):
            api.terminate()
        assert [first.wait(20), second.wait(20)] == [0, 0]
    stopped = [json.loads(line)["event"] for line in (tmp_path / "worker").read_text().splitlines()]
    assert stopped[0] == "worker.started"
    assert stopped[-1] == "worker.stopped"


@pytest.mark.parametrize("verb", ["api", "worker", "migrate"])
def test_a_role_without_servers_says_what_is_missing(verb: str, data_dir: Path) -> None:
    done = e2e.chatwright(verb, "--data-dir", str(data_dir))
    assert done.returncode == 3
    assert "DATABASE_URL is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_role_with_unreachable_servers_says_so(data_dir: Path) -> None:
    env = e2e.clean_environment(DATABASE_URL="postgresql://u:hidden@127.0.0.1:1/x", REDIS_URL="redis://127.0.0.1:1")
    done = e2e.chatwright("worker", "--data-dir", str(data_dir), env=env)
    assert done.returncode == 3
    assert "cannot be reached" in done.stderr
    assert "hidden" not in done.stderr
    assert "Traceback" not in done.stderr
