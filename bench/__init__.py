"""Load and latency runs, and the provider simulator that they and the tests talk to. Nothing in `src` imports it."""
