"""`chatwright up`: ready, answering, explaining itself, dying and coming back, leaving nothing behind."""

import json
import os
import signal
import socket
import time
import urllib.error
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from chatwright.app.embedded.home import hold_data_dir
from tests.e2e import conftest as e2e

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

QUESTION = "How do I add knowledge from a folder?"


@pytest.fixture
def data_dir() -> Generator[Path]:
    with e2e.short_folder() as folder:
        yield folder


def soon(check: Callable[[], Any], *, within_s: float) -> float:
    """Wait until `check` is true; returns the seconds it took."""
    started = time.monotonic()
    while time.monotonic() - started < within_s:
        try:
            if check():
                return time.monotonic() - started
        except (urllib.error.URLError, OSError, LookupError, psutil.NoSuchProcess):
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {within_s} s")


def child(live: "Live", role: str) -> psutil.Process:
    for process in psutil.Process(live.process.pid).children():
        if role in process.cmdline()[1:5]:
            return process
    raise LookupError(f"there is no {role}")


def test_the_first_answer_comes_with_sources_and_no_key(live: "Live") -> None:
    answer = live.ask(QUESTION)["answer"]
    assert answer["text"]
    assert answer["provider"] == "extractive"
    assert answer["sources"]
    assert answer["sources"][0]["quote"]


def test_the_same_chatbot_answers_through_an_llm(live: "Live") -> None:
    answer = live.ask("Hello there, language model", chatbot=live.llm_chatbot)["answer"]
    assert (answer["provider"], answer["model"]) == ("openai", "sim-1")
    assert answer["usage"]["output_tokens"] > 0


def test_health_metrics_and_pages(live: "Live") -> None:
    assert live.http("GET", "/health/live", key=None).status == 200
    ready = live.http("GET", "/health/ready", key=None)
    assert (ready.status, ready.json["workers"]) == (200, 1)
    live.ask(QUESTION)
    time.sleep(1.5)  # the worker shows its numbers once a second
    page = live.http("GET", "/metrics", key=None).body.decode()
    assert "ai_queue_wait_seconds_count{" in page
    assert 'process="worker"' in page
    assert page.count("# TYPE ai_queue_depth ") == 1
    assert live.http("GET", "/openapi.json", key=None).json["openapi"].startswith("3.1")
    for path in (f"/demo/{live.chatbot}", "/docs", "/"):
        assert live.http("GET", path, key=None).status == 200
    assert "server" not in ready.headers


def test_a_second_up_explains_itself(live: "Live") -> None:
    done = e2e.chatwright("up", "--data-dir", str(live.data_dir))
    assert done.returncode == 1
    assert str(live.process.pid) in done.stderr
    assert live.base_url in done.stderr
    as_json = e2e.chatwright("up", "--data-dir", str(live.data_dir), "--json")
    assert json.loads(as_json.stdout)["error"]["code"] == "already_running"


def test_ready_goes_false_when_the_worker_stops_consuming_and_true_again(live: "Live") -> None:
    worker = child(live, "worker")
    worker.suspend()
    try:
        took = soon(lambda: live.http("GET", "/health/ready", key=None).status == 503, within_s=8)
        assert took > 0
    finally:
        worker.resume()
    soon(lambda: live.http("GET", "/health/ready", key=None).status == 200, within_s=8)
    assert live.ask(QUESTION)["answer"]["text"]


@pytest.mark.parametrize("role", ["worker", "api"])
def test_a_killed_child_comes_back(live: "Live", role: str) -> None:
    victim = child(live, role)
    live.remember_family()
    victim.kill()
    soon(lambda: child(live, role).pid != victim.pid, within_s=10)
    soon(lambda: live.http("GET", "/health/ready", key=None).status == 200, within_s=15)
    assert live.ask(QUESTION)["answer"]["text"]


def test_the_port_is_taken(data_dir: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = e2e.chatwright("up", "--data-dir", str(data_dir), "--port", str(port))
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_up_beside_a_start_under_way_explains_itself_too(data_dir: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with hold_data_dir(data_dir):  # as the first one does before it is ready
            done = e2e.chatwright("up", "--data-dir", str(data_dir), "--port", str(other.getsockname()[1]))
    assert done.returncode == 1
    assert "already running" in done.stderr
    assert str(os.getpid()) in done.stderr


def test_data_and_keys_survive_restarts(data_dir: Path) -> None:
    first = e2e.start_up(data_dir)
    e2e.settle_knowledge(first)
    answer = first.ask(QUESTION)
    assert first.ready["first_start"] is True
    assert first.stop(signal.SIGINT) == 0

    second = e2e.start_up(data_dir)
    try:
        assert second.ready["first_start"] is False
        assert (second.tenant_key, second.admin_key) == (first.tenant_key, first.admin_key)
        conversations = second.http("GET", "/api/v1/conversations").json["items"]
        assert len(conversations) == 1
        said = second.http("GET", f"/api/v1/conversations/{conversations[0]['id']}/messages").json["items"]
        assert answer["answer"]["text"] in [item["text"] for item in said]
    finally:
        assert second.stop() == 0


@pytest.mark.drill
def test_later_starts_are_quick(data_dir: Path) -> None:
    assert e2e.start_up(data_dir).stop() == 0
    second = e2e.start_up(data_dir)
    took_s = second.ready["took_s"]
    assert second.stop() == 0
    assert took_s < 10, "5 s is the goal on a quiet machine"


def test_a_killed_up_leaves_no_child_and_starts_again(data_dir: Path) -> None:
    first = e2e.start_up(data_dir, "--no-demo")
    first.remember_family()
    roles = [child(first, "api").pid, child(first, "worker").pid]
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    first.close()
    soon(lambda: not any(psutil.pid_exists(pid) for pid in roles), within_s=5)
    again = e2e.start_up(data_dir, "--no-demo")
    assert (again.chatbot, again.tenant_key) == ("", "")
    assert again.http("GET", "/api/v1/tenants", key="admin").status == 200
    assert again.stop() == 0
    assert first.left_over() == []
