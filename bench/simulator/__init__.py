"""A fast pretend LLM provider that can misbehave on demand and keeps its own log of every call.

It speaks OpenAI's chat completions, Responses and embeddings (Azure's paths too), Anthropic's messages, and Google's
generateContent for Gemini keys and Vertex AI, with a token endpoint for service accounts.

Used by tests (`async with run_simulator() as sim:`), the fault drill and the benches
(`python -m bench.simulator --port 0 --print-port`). The verbs of `Behaviour` say how an answer goes wrong; see
`bench/simulator/behaviour.py` for all of them and how one is chosen.
"""

from bench.simulator.behaviour import Behaviour, UnknownVerb, parse_verbs
from bench.simulator.log import Call, CallLog, read_log_file
from bench.simulator.server import Simulator, run_simulator

__all__ = [
    "Behaviour",
    "Call",
    "CallLog",
    "Simulator",
    "UnknownVerb",
    "parse_verbs",
    "read_log_file",
    "run_simulator",
]
