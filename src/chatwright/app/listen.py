"""The API's listening socket. Called by `up`, which keeps it over restarts of the API, and by a lone API."""

import socket
from collections.abc import Generator
from contextlib import contextmanager

from chatwright.app.options import Settings
from chatwright.domain.errors import ChatwrightError


class PortTaken(ChatwrightError):
    """Something else listens there, or the address is not ours."""

    code = "port_taken"


@contextmanager
def listening(settings: Settings) -> Generator[socket.socket]:
    """The API's socket, bound and listening. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
            listener.listen(settings.backlog)
        except OSError as error:
            raise PortTaken(
                f"cannot listen on {settings.host} port {settings.port}: {error.strerror}. Choose another port with "
                f"--port {settings.port % 65535 + 1} (0 takes any free one) or CHATWRIGHT_PORT"
            ) from error
        yield listener
