"""`python -m bench.simulator`: run the provider simulator until SIGINT or SIGTERM."""

import argparse
import asyncio
import importlib
import signal
import sys
from pathlib import Path

from bench.simulator.behaviour import Behaviour, UnknownVerb, parse_verbs
from bench.simulator.server import Simulator


async def serve(args: argparse.Namespace) -> None:
    """Listen and wait for a signal."""
    defaults = Behaviour(**dict(parse_verbs(args.verbs)))
    log_file = Path(args.log_file) if args.log_file else None
    simulator = Simulator(defaults, log_file=log_file, log_limit=args.log_limit, name=args.name)
    await simulator.start(args.host, args.port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    if args.print_port:
        print(simulator.port, flush=True)
    else:
        print(f"simulator on {simulator.base_url}", flush=True)
    await stop.wait()
    await simulator.stop()


def main() -> None:
    """Read the command line and run, on uvloop where it is installed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.simulator", description="An LLM provider that can misbehave."
    )
    parser.add_argument("verbs", nargs="?", default="", help="default behaviour, e.g. latency=20,chunks=50,interval=5")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--print-port", action="store_true", help="print only the port number, once it listens")
    parser.add_argument("--name", default="", help="directives `[[sim@NAME:…]]` in messages are for this one")
    parser.add_argument("--log-file", default="", help="append every call to this file as JSON lines")
    parser.add_argument("--log-limit", type=int, default=200_000, help="calls kept in memory")
    args = parser.parse_args()
    try:
        try:
            uvloop = importlib.import_module("uvloop")
        except ImportError:
            asyncio.run(serve(args))
        else:
            uvloop.run(serve(args))
    except (UnknownVerb, OSError) as error:
        sys.exit(f"simulator: {error}")


if __name__ == "__main__":
    main()
