"""Logs: one form for everybody's lines, and no secret in any of them."""

import io
import json
import logging
from collections.abc import Generator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from chatwright.telemetry.logging import scrub, set_up_logging

KEY_LETTERS = st.text(st.sampled_from("ABCDEFGHabcdefgh0123456789_-"), min_size=16, max_size=40)


@pytest.fixture
def out() -> Generator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_lines_are_json_off_a_terminal_with_context(out: io.StringIO) -> None:
    set_up_logging(stream=out, role="worker")
    structlog.get_logger().info("job.finished", took_s=0.5)
    logging.getLogger("uvicorn.error").warning("slow %s", "client")
    ours, theirs = lines(out)
    assert (ours["event"], ours["took_s"], ours["role"], ours["level"]) == ("job.finished", 0.5, "worker", "info")
    assert (theirs["event"], theirs["logger"], theirs["role"]) == ("slow client", "uvicorn.error", "worker")


def test_the_level_is_kept(out: io.StringIO) -> None:
    set_up_logging(stream=out, level="warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("anything").info("quiet")
    structlog.get_logger().error("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


@pytest.mark.parametrize("style", ["json", "console"])
def test_secrets_are_cut_from_fields_messages_and_tracebacks(out: io.StringIO, style: str) -> None:
    set_up_logging(stream=out, style="json" if style == "json" else "console")
    log = structlog.get_logger()
    log.info(
        "a", authorization="whatever-it-is", nested={"list": ["cw_sk_abcdefghijkl"]}, url="postgres://me:pw123@db/x"
    )
    logging.getLogger("lib").warning("sent Bearer abcdefghijklmnop to them")
    try:
        raise ValueError("the key sk-abcdefghijklmnop is refused")
    except ValueError:
        log.exception("b")
    written = out.getvalue()
    for secret in ("whatever-it-is", "cw_sk_abc", "pw123", "abcdefghijklmnop"):
        assert secret not in written
    assert "the key [cut] is refused" in written


@given(key=KEY_LETTERS, prefix=st.sampled_from(["cw_sk_", "cw_admin_", "sk-", "Bearer "]), before=st.text(max_size=10))
def test_no_key_survives_whatever_stands_around_it(key: str, prefix: str, before: str) -> None:
    assert key not in scrub(f"{before} {prefix}{key} after")


@given(st.text(st.sampled_from("abc XYZ.,:0123 äé\n"), max_size=60))
def test_plain_words_stay(text: str) -> None:
    assert scrub(text) == text
