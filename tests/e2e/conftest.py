"""The whole product as a user has it: `chatwright up` in a process of its own, and a provider simulator beside it.

    live        one running installation for the whole session, see `Live`
    live_url    its address

`start_up` and friends are for tests that start and stop installations of their own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.console_support import complaints, console
from tests.e2e.widget_support import build_widget, chromium, hosts, make_bot, make_reader, proxy, save_pictures, visit

__all__ = ["chromium", "complaints", "console", "hosts", "make_bot", "make_reader", "proxy", "visit"]  # fixtures

ROOT = Path(__file__).parents[2]
LLM_CHATBOT = "simulated"
_READY_WITHIN_S = 120.0
_STOP_WITHIN_S = 30.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(180))  # the first test of the session waits for the start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" and report.failed and (pictures := save_pictures(item)):
        report.sections.append(("pages at the end", "\n".join(pictures)))
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True, kw_only=True)
class Live:
    """A running installation. `chatbot` is the demo (answers from its knowledge), `llm_chatbot` asks the simulator."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    base_url: str
    admin_key: str
    tenant_id: str
    tenant_key: str
    chatbot: str
    widget_id: str
    data_dir: Path
    log_file: Path
    simulator_url: str = ""
    llm_chatbot: str = ""
    widget_fault: str = ""
    """Why the widget's files are not there, where they are not."""
    family: dict[int, float] = field(default_factory=dict[int, float])

    def http(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "tenant",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> Reply:
        """Send one request. `key` is "tenant", "admin", a key itself, or None; `body` is JSON, or bytes as they are."""
        secret = {"tenant": self.tenant_key, "admin": self.admin_key}.get(key or "", key)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base_url + path, data=data, method=method)
        if data is not None:
            request.add_header("content-type", "application/json")
        if secret is not None:
            request.add_header("authorization", f"Bearer {secret}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                found = {name.lower(): value for name, value in response.headers.items()}
                return Reply(status=response.status, headers=found, body=response.read())
        except urllib.error.HTTPError as error:
            with error:
                found = {name.lower(): value for name, value in error.headers.items()}
                return Reply(status=error.code, headers=found, body=error.read())

    def ask(self, text: str, *, chatbot: str | None = None) -> dict[str, Any]:
        """Open a conversation, ask once, wait for the answer."""
        made = self.http("POST", "/api/v1/conversations", {"chatbot": chatbot or self.chatbot})
        assert made.status == 201, made.body
        path = f"/api/v1/conversations/{made.json['id']}/messages?wait=true"
        reply = self.http("POST", path, {"text": text}, timeout_s=90)
        assert reply.status == 200, reply.body
        return reply.json

    def remember_family(self) -> None:
        """Note every process that belongs to this installation, to look for them after its end."""
        up = psutil.Process(self.process.pid)
        for one in (up, *up.children(recursive=True)):
            self.family[one.pid] = one.create_time()

    def left_over(self) -> list[str]:
        """What still runs of the noted processes."""
        found: list[str] = []
        for pid, started_s in self.family.items():
            try:
                one = psutil.Process(pid)
                if one.create_time() == started_s and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{pid} {' '.join(one.cmdline())}")
            except psutil.Error:
                continue
        return found

    def close(self) -> None:
        """Let go of the pipe from the process."""
        if self.process.stdout is not None:
            self.process.stdout.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask for the end and wait for it; returns the exit code. Nothing may be left."""
        self.remember_family()
        self.process.send_signal(number)
        code = self.process.wait(_STOP_WITHIN_S)
        self.close()
        give_up_at = time.monotonic() + 3
        while self.left_over() and time.monotonic() < give_up_at:
            time.sleep(0.05)
        assert self.left_over() == [], self.log_file.read_text()[-3000:]
        return code


def clean_environment(**more: str) -> dict[str, str]:
    """This environment without anything that would configure chatwright."""
    ours = (
        "CHATWRIGHT_",
        "OPENAI_",
        "ANTHROPIC_",
        "GOOGLE_",
        "VERTEX_",
        "GEMINI_",
        "AZURE_",
        "DATABASE_URL",
        "REDIS_URL",
        "S3_URL",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, **more}


def chatwright(
    *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run one command of ours to its end."""
    return subprocess.run(
        [sys.executable, "-m", "chatwright", *arguments],
        env=dict(env or clean_environment()),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )


def start_up(data_dir: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Live:
    """Run `chatwright up --json` in `data_dir` on a free port; returns when it says that it is ready."""
    log_file = data_dir.with_name(f"{data_dir.name}.log")
    with log_file.open("a") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "chatwright",
                "up",
                "--json",
                "--port",
                "0",
                "--data-dir",
                str(data_dir),
                *arguments,
            ],
            env=dict(env or clean_environment()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line or "ready" not in json.loads(line):
        process.kill()
        process.wait()
        raise AssertionError(f"up said {line!r}\n{log_file.read_text()[-5000:]}")
    ready = json.loads(line)
    known = json.loads((data_dir / "credentials.json").read_text())
    return Live(process=process, ready=ready, data_dir=data_dir, log_file=log_file, **known)


@contextmanager
def short_folder() -> Generator[Path]:
    """A data directory with a short path (unix sockets), in a folder that goes away."""
    folder = Path(tempfile.mkdtemp(prefix="cw-e2e-"))
    folder.chmod(0o755)  # under root the servers run as another user, who has to pass
    try:
        yield folder / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _simulator() -> Generator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.simulator", "--port", "0", "--print-port"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=clean_environment(),
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def settle_knowledge(running: Live) -> None:
    """Leave the demo the pages that it is ready with, the README, the tutorial and the questions, and wait until they are
    read: each page raises the knowledge's version, which cached answers hang on, and all of them are a minute's work."""
    base = running.http("GET", f"/api/v1/chatbots/{running.chatbot}").json["knowledge_base_id"]
    path = f"/api/v1/knowledge-bases/{base}/documents"
    for page in running.http("GET", f"{path}?limit=200").json["items"]:
        if page["state"] != "indexed":
            assert running.http("DELETE", f"{path}/{page['id']}").status in (204, 404)
    give_up_at = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < give_up_at:
        pages = running.http("GET", f"{path}?limit=200").json["items"]
        if pages and all(page["state"] == "indexed" for page in pages):
            return
        time.sleep(0.3)
    raise AssertionError("the demo's pages were not read in time")


@pytest.fixture(scope="session")
def live(request: pytest.FixtureRequest) -> Generator[Live]:
    # The widget's files are read once, when the server starts. WIDGET_UNDER_TEST names a folder built by somebody else.
    widget_dir = os.environ.get("WIDGET_UNDER_TEST")
    is_wanted = any("chromium" in getattr(item, "fixturenames", ()) for item in request.session.items)
    widget_fault = build_widget() if is_wanted and not widget_dir else ""
    elsewhere = {"CHATWRIGHT_WIDGET_DIR": widget_dir} if widget_dir else {}
    with _simulator() as simulator_url, short_folder() as data_dir:
        env = clean_environment(OPENAI_BASE_URL=f"{simulator_url}/v1", CHATWRIGHT_UNKNOWN_PRICES="flag", **elsewhere)
        running = start_up(data_dir, env=env)
        try:
            running.simulator_url = simulator_url
            running.widget_fault = widget_fault
            running.llm_chatbot = LLM_CHATBOT
            only_knowledge = {"providers": [{"provider": "extractive", "model": "extractive"}]}
            assert running.http("PATCH", f"/api/v1/chatbots/{running.chatbot}", only_knowledge).status == 200
            chatbot = {
                "name": "Simulated",
                "slug": LLM_CHATBOT,
                "providers": [{"provider": "openai", "model": "sim-1"}],
                "allowed_origins": [running.base_url],
            }
            made = running.http("POST", "/api/v1/chatbots", chatbot)
            assert made.status == 201, made.body
            settle_knowledge(running)
            yield running
        finally:
            code = running.stop() if running.process.poll() is None else None
            running.close()
        assert code == 0, f"`up` ended with {code} before or at its end"


@pytest.fixture(scope="session")
def live_url(live: Live) -> str:
    return live.base_url
