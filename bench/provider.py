"""The provider simulator as a process of its own, for benches and drills: started, steered and stopped from here."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from bench.processes import die_with_parent, quiet_environment, stop_process

_START_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Provider:
    """A running simulator. `log_file` has every call it got, if one was asked for."""

    port: int
    pid: int
    log_file: Path | None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    async def control(self, **verbs: float | str) -> None:
        """Back to the defaults of the start, then these verbs. Raises RuntimeError if it refuses them."""
        await self._get(f"/control?{urlencode({'restore': 1, **verbs})}")

    async def open_now(self) -> int:
        """Answers under way."""
        return int(json.loads(await self._get("/stats"))["open"])

    async def _get(self, target: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            body = await asyncio.wait_for(reader.readexactly(length), 10)
        finally:
            writer.close()
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"the simulator refused {target}: {body[:200]!r}")
        return body


@asynccontextmanager
async def start_provider(
    *, verbs: str = "", log_file: Path | None = None, log_limit: int = 1_000, name: str = "", port: int = 0
) -> AsyncGenerator[Provider]:
    """Run a simulator with `verbs` as defaults until the block ends. Raises RuntimeError if it does not start."""
    command = [sys.executable, "-m", "bench.simulator", "--print-port", "--log-limit", str(log_limit)]
    command += ["--name", name, "--port", str(port)]
    if log_file is not None:
        command += ["--log-file", str(log_file)]
    process = await asyncio.create_subprocess_exec(
        *command,
        verbs,
        env=quiet_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        assert process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(process.stdout.readline(), _START_WITHIN_S)
        if not line.strip().isdigit():
            raise RuntimeError("the provider simulator did not start; its own words stand above")
        yield Provider(int(line), process.pid, log_file)
    finally:
        await stop_process(process, within_s=5)
