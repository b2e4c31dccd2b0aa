"""Where our servers listen."""

from __future__ import annotations

import errno
import socket

from conflictscope.errors import InputError


def listen(host: str, port: int, backlog: int = 128) -> socket.socket:
    """A listening socket at host:port (0: a free port). Raises InputError where there can be none."""
    listening = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # The protocol is named because asyncio sends small packets at once on sockets that say that they are TCP only.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(backlog)
    except (OSError, OverflowError) as error:
        if listening is not None:
            listening.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise InputError(f"--port {port}: the port is in use on {host}; another one, or 0 for a free one") from None
        raise InputError(f"cannot listen at {host}, port {port}: {error}") from None
    return listening


def url_of(listening: socket.socket) -> str:
    """`http://HOST:PORT` of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
