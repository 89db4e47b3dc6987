"""The application on a port: uvicorn with limits on connections, and a prompt end at any time."""

import errno
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import uvicorn
from fastapi import FastAPI

from stages.scoring.errors import ScoringError
from stages.scoring.service.connection import Connection
from stages.scoring.service.scoring_queue import GRACE

# Headers of every answer. The page contains its own content security policy, which also holds for a report on disk;
# these are the policies that a page cannot set itself.
HEADERS = [
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "frame-ancestors 'none'"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
]


class Server(uvicorn.Server):
    """Serves an application of `make_service`.

    On SIGTERM or SIGINT it accepts no more connections, refuses uploads and waiting songs, gives the song being scored
    `GRACE` seconds, and removes all uploads. A second SIGINT ends it without the grace period.
    """

    def __init__(self, app: FastAPI, *, log_level: str | None = None) -> None:
        self._queue = app.state.queue
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            headers=HEADERS,
            server_header=False,
            # The application logs requests itself, with their ids.
            access_log=False,
            # Do not trust or log a client's claims about its own address.
            proxy_headers=False,
            timeout_graceful_shutdown=int(GRACE) + 1,
            # Log lines are escaped like all other output, so colour codes would appear as text.
            use_colors=False,
            log_level=log_level,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, and log the address."""
        await super().startup(sockets)
        for each in sockets or []:
            host, port = each.getsockname()[:2]
            where = f"[{host}]" if ":" in host else host
            logging.getLogger("uvicorn.error").info("Serving on http://%s:%d (press Ctrl-C to stop)", where, port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End requests and remove uploads."""
        self._queue.stop()
        try:
            await super().shutdown(sockets)
        finally:
            self._queue.close()


@contextmanager
def bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Within this context, one socket per address of a host, all at the same port; they do not listen yet.

    Parameters
    ----------
    host
        A name or an address.
    port
        0 takes a free one.

    Raises
    ------
    ScoringError
        This machine does not have the address, or the port is taken.
    """
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        with _binding(host, port):
            places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for number, (family, *_, address) in enumerate(places, start=1):
                each = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                try:
                    each.bind((address[0], port, *address[2:]))
                except OSError as error:
                    # A name may have an IPv6 address on a system without IPv6.
                    if error.errno != errno.EADDRNOTAVAIL or not (sockets or number < len(places)):
                        raise
                    continue
                port = each.getsockname()[1]
                sockets.append(each)
        yield sockets


def listen(sockets: Sequence[socket.socket]) -> None:
    """Start accepting connections. Raises ScoringError if the port was taken meanwhile."""
    for each in sockets:
        with _binding(*each.getsockname()[:2]):
            each.listen()


@contextmanager
def _binding(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ScoringError(f"--host {host} --port {port}: cannot listen there: {reason}; choose another") from error
