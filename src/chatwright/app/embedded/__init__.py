"""The bundled PostgreSQL 18 (with pgvector) and Valkey 9: started, watched and stopped by us, reached by unix sockets.

Owns the two server processes and their files below one data directory; knows nothing of tables, queues or settings.
The CLI (`up`) and the tests hold `run_embedded`; other commands of the same user ask `find_running` for the addresses.
"""

from chatwright.app.embedded.errors import AlreadyRunning, DiskFull, EmbeddedError
from chatwright.app.embedded.home import RunningServers, find_running
from chatwright.app.embedded.run import EmbeddedServers, run_embedded

__all__ = [
    "AlreadyRunning",
    "DiskFull",
    "EmbeddedError",
    "EmbeddedServers",
    "RunningServers",
    "find_running",
    "run_embedded",
]
