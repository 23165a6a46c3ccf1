"""The provider simulator: it must be right, since tests, drills and benches take its word."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from bench.simulator import Behaviour, Simulator, UnknownVerb, parse_verbs, read_log_file, run_simulator
from bench.simulator.behaviour import with_fault

ROOT = Path(__file__).parents[2]


def body(text: str = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": text}], **fields}


async def chat(http: aiohttp.ClientSession, sim: Simulator, verbs: str = "", **fields: Any) -> tuple[int, bytes]:
    text = fields.pop("text", "Hello")
    async with http.post(
        f"{sim.base_url}/chat/completions", json=body(text, **fields), headers={"x-sim": verbs} if verbs else {}
    ) as answer:
        return answer.status, await answer.read()


def content(raw: bytes) -> str:
    return json.loads(raw)["choices"][0]["message"]["content"]


def events(raw: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in raw.decode().split("\n") if line.startswith("data: {")]


def test_verbs_are_read_and_unknown_ones_refused() -> None:
    assert dict(parse_verbs("latency=20, cut ,reply=a%2Cb=c,stamp=0,retry_after=1.5")) == {
        "latency": 20.0,
        "cut": 1,
        "reply": "a,b=c",
        "stamp": False,
        "retry_after": "1.5",
    }
    for wrong in ("latncy=1", "cut=x", "latency=soon"):
        with pytest.raises(UnknownVerb):
            parse_verbs(wrong)


def test_header_wins_over_model_over_message_over_defaults() -> None:
    async def check() -> None:
        async with run_simulator(reply="default") as sim, aiohttp.ClientSession() as http:
            assert content((await chat(http, sim))[1]) == "default"
            assert content((await chat(http, sim, text="x [[sim:reply=message]] y"))[1]) == "message"
            for model, header, expected in (
                ("", "", "message"),
                ("sim:reply=model", "", "model"),
                ("sim:reply=model", "reply=header", "header"),
            ):
                raw = (await chat(http, sim, header, text="[[sim:reply=message,input_tokens=5]]", model=model or "m"))[
                    1
                ]
                assert content(raw) == expected
                assert json.loads(raw)["usage"]["prompt_tokens"] == 5
            status, raw = await chat(http, sim, "nonsense=1")
            assert (status, "nonsense" in raw.decode()) == (400, True)

    asyncio.run(check())


def test_the_log_holds_every_call_and_how_it_ended() -> None:
    async def check() -> None:
        async with run_simulator() as sim, aiohttp.ClientSession() as http:
            text = "Größe? " * 30
            headers = {"x-chatwright-call-id": "call-7"}
            async with http.post(
                f"{sim.base_url}/chat/completions", json=body(text, stream=True), headers=headers
            ) as answer:
                await answer.read()
            await chat(http, sim, "status=500")
            for verbs, stream in (("cut=2", True), ("cut", False), ("refuse", True), ("error_in_stream=1", True)):
                with pytest.raises(aiohttp.ClientError):
                    await chat(http, sim, f"{verbs},chunks=4", stream=stream)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await chat(http, sim, "stall=3", stream=True)
            await asyncio.sleep(0.05)
            calls = sim.calls()
            assert [(call.n, call.ended, call.chunks_sent) for call in calls] == [
                (1, "complete", 12), (2, "error", 0), (3, "cut", 2), (4, "cut", 0), (5, "refused", 0), (6, "error", 1),
                (7, "client_closed", 3),
            ]  # fmt: skip
            first = calls[0]
            assert (first.model, first.stream, first.call_id, first.head) == ("m", True, "call-7", text[:80])
            assert first.sha256 == sha256(text.encode()).hexdigest()
            assert abs(first.at - time.time()) < 5
            assert calls[2].text == "token1 token2 "
            async with http.get(f"{sim.origin}/stats") as answer:
                stats = await answer.json()
            assert (stats["requests"], stats["open"]) == (7, 0)
            assert stats["ended"] == {"complete": 1, "error": 2, "cut": 2, "refused": 1, "client_closed": 1}
            async with http.get(f"{sim.origin}/log") as answer:
                assert [json.loads(line)["n"] for line in (await answer.read()).splitlines()] == [1, 2, 3, 4, 5, 6, 7]
            async with http.post(f"{sim.origin}/reset") as answer:
                assert (await answer.json())["requests"] == 0
            await chat(http, sim)
            assert [call.n for call in sim.calls()] == [8]

    asyncio.run(check())


def test_streams_report_usage_only_when_asked_and_end_properly() -> None:
    async def check() -> None:
        async with run_simulator(chunks=3) as sim, aiohttp.ClientSession() as http:
            raw = (await chat(http, sim, stream=True, stream_options={"include_usage": True}))[1]
            assert raw.endswith(b"data: [DONE]\n\n")
            assert events(raw)[-1]["usage"]["completion_tokens"] == 3
            assert events(raw)[-2]["choices"][0]["finish_reason"] == "stop"
            assert all(event["usage"] is None for event in events((await chat(http, sim, stream=True))[1]))
            silent = (await chat(http, sim, "no_usage", stream=True, stream_options={"include_usage": True}))[1]
            assert all(event["usage"] is None for event in events(silent))
            assert json.loads((await chat(http, sim, "no_usage"))[1])["usage"] is None

    asyncio.run(check())


def test_pauses_are_kept_and_stamps_tell_the_lag() -> None:
    async def check() -> None:
        async with run_simulator() as sim, aiohttp.ClientSession() as http:
            start = time.monotonic()
            await chat(http, sim, "latency=100")
            assert 0.1 <= time.monotonic() - start < 0.4
            start = time.monotonic()
            raw = (await chat(http, sim, "ttft=50,chunks=6,interval=20,stamp", stream=True))[1]
            assert 0.15 <= time.monotonic() - start < 0.5
            stamps = [int(event["choices"][0]["delta"].get("content") or 0) for event in events(raw)]
            stamps = [stamp for stamp in stamps if stamp]
            assert len(stamps) == 6
            gaps_ms = [(b - a) / 1e6 for a, b in itertools.pairwise(stamps)]
            assert 15 < sum(gaps_ms) / 5 < 30
            assert stamps[-1] < time.monotonic_ns() < stamps[-1] + 1_000_000_000
            assert sim.calls()[-1].text == "".join(f"{stamp} " for stamp in stamps)

    asyncio.run(check())


def test_defaults_change_live_and_go_back() -> None:
    async def check() -> None:
        async with run_simulator(reply="first") as sim, aiohttp.ClientSession() as http:
            async with http.get(f"{sim.origin}/control?reply=a%20b&latency=1") as answer:
                assert (await answer.json())["reply"] == "a b"
            assert content((await chat(http, sim))[1]) == "a b"
            async with http.get(f"{sim.origin}/control?nope=1") as answer:
                assert answer.status == 400
            async with http.get(f"{sim.origin}/control?restore=1") as answer:
                assert (await answer.json())["latency"] == 0
            assert content((await chat(http, sim))[1]) == "first"

    asyncio.run(check())


def test_drawn_faults_have_the_asked_rate_and_repeat_with_the_seed_in_any_order() -> None:
    async def draw(texts: list[str], seed: int) -> dict[tuple[str, int], str]:
        drawn: dict[tuple[str, int], str] = {}
        async with (
            run_simulator(fault_rate=0.3, seed=seed, faults="500+429+error_in_200") as sim,
            aiohttp.ClientSession() as http,
        ):
            for text in texts:
                await chat(http, sim, text=text)
            for call in sim.calls():
                drawn[call.head, sum(head == call.head for head, _ in drawn)] = call.fault
        return drawn

    texts = [f"message {i % 100}" for i in range(200)]
    one = asyncio.run(draw(texts, 1))
    assert one == asyncio.run(draw(texts[::-1], 1))
    assert one != asyncio.run(draw(texts, 2))
    faults = [fault for fault in one.values() if fault]
    assert 0.2 < len(faults) / 200 < 0.4
    assert set(faults) == {"500", "429", "error_in_200"}


def test_every_fault_can_be_drawn_and_really_happens() -> None:
    async def check() -> None:
        async with run_simulator(chunks=4) as sim, aiohttp.ClientSession() as http:
            for fault in (
                "500",
                "529",
                "429",
                "cut",
                "garble",
                "error_in_stream",
                "error_in_200",
                "html_error",
                "refuse",
                "reset",
            ):
                drawn, name = with_fault(Behaviour(fault_rate=1.0, faults=fault), 12345)
                assert name == fault
                assert drawn != Behaviour(fault_rate=1.0, faults=fault)
                for stream in (True, False):
                    try:
                        status, raw = await chat(http, sim, f"fault_rate=1,faults={fault}", stream=stream)
                    except aiohttp.ClientError:
                        assert fault in {"cut", "refuse", "reset", "error_in_stream"}
                        continue
                    if fault == "garble":
                        with pytest.raises(json.JSONDecodeError):
                            (events if stream else json.loads)(raw)
                    else:
                        assert status != 200 or b'"error"' in raw

    asyncio.run(check())


def test_anthropic_models_and_embeddings_answer() -> None:
    async def check() -> None:
        async with run_simulator(chunks=3) as sim, aiohttp.ClientSession() as http:
            asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
            version = {"anthropic-version": "2023-06-01"}
            async with http.post(f"{sim.origin}/v1/messages", json=asked, headers=version) as answer:
                assert (await answer.json())["content"] == [{"type": "text", "text": "token1 token2 token3 "}]
            async with http.post(f"{sim.origin}/v1/messages", json=asked | {"stream": True}, headers=version) as answer:
                kinds = [event["type"] for event in events(await answer.read())]
            assert kinds == [
                "message_start", "content_block_start", "ping", *["content_block_delta"] * 3, "content_block_stop",
                "message_delta", "message_stop",
            ]  # fmt: skip
            async with http.get(f"{sim.base_url}/models") as answer:
                assert (await answer.json())["data"][0]["id"] == "sim"
            async with http.post(f"{sim.base_url}/embeddings", json={"input": ["a", "b"], "dimensions": 8}) as answer:
                vectors = [item["embedding"] for item in (await answer.json())["data"]]
            assert [len(vector) for vector in vectors] == [8, 8]
            assert all(abs(sum(x * x for x in vector) - 1) < 0.01 for vector in vectors)
            async with http.post(f"{sim.base_url}/chat/completions", data=b"{nonsense") as answer:
                assert answer.status == 400
            async with http.get(f"{sim.base_url}/nothing") as answer:
                assert answer.status == 404

    asyncio.run(check())


def test_requests_in_pieces_and_pipelined_ones_are_answered_in_order() -> None:
    def request(text: str) -> bytes:
        data = msgspec.json.encode(body(text))
        return b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)

    async def check() -> None:
        async with run_simulator(echo=True) as sim:
            reader, writer = await asyncio.open_connection(sim.host, sim.port)
            for byte in request("[[sim:latency=30]]one") + request("two") + request("three"):
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            texts: list[str] = []
            for _ in range(3):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.split("content-length: ")[1].split("\r\n")[0])
                texts.append(content(await reader.readexactly(length)))
            writer.close()
            assert texts == ["one", "two", "three"]

    asyncio.run(check())


def test_the_log_file_survives_a_kill_and_numbers_go_on(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"

    def start() -> tuple["subprocess.Popen[str]", int]:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.simulator", "--port", "0", "--print-port", "--log-file", str(path)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    async def send(port: int, verbs: str, *, wait_s: float = 5) -> None:
        async with aiohttp.ClientSession() as http:
            async with asyncio.timeout(wait_s):
                url = f"http://127.0.0.1:{port}/v1/chat/completions"
                async with http.post(url, json=body(stream=True), headers={"x-sim": verbs}) as answer:
                    await answer.read()

    process, port = start()
    try:
        asyncio.run(send(port, ""))
        with pytest.raises(TimeoutError):
            asyncio.run(send(port, "stall=1,latency=200", wait_s=0.1))
        asyncio.run(kill_while_open(port, process))
        process.wait(5)
        close(process)
        process, port = start()
        asyncio.run(send(port, "chunks=2"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()
        close(process)
    calls = read_log_file(path)
    assert [(call.n, call.ended) for call in calls] == [(1, "complete"), (2, "client_closed"), (3, ""), (4, "complete")]


def close(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    process.stdout.close()


async def kill_while_open(port: int, process: "subprocess.Popen[str]") -> None:
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        async with http.post(url, json=body(stream=True), headers={"x-sim": "stall=1"}) as answer:
            await answer.content.readany()
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
