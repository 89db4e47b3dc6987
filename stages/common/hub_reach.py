"""Check within seconds whether a hub or another host can be reached.

The hub's library tries an unreachable hub for up to a minute and prints each attempt. So we first open a TCP connection
to the hub, or to the proxy in front of it; the kernel accepts a connection at once, however slow the hub is. Then we
send one request. A host that does not answer counts as unreachable and is not asked again for a while.
"""

import queue
import socket
import threading
import time
import urllib.request
from contextlib import suppress
from urllib.parse import urlsplit

# Seconds: to look up a name and open a connection; to wait for the first answer; until a silent host is asked again.
CONNECT, ANSWER, FORGET = 1.8, 10.0, 30.0
# (host, port) → when it was last found silent, by `time.monotonic`.
_silent: dict[tuple[str, int], float] = {}


def hub_answers() -> bool:
    """Send one request to the hub: whether it is reachable."""
    from huggingface_hub import constants, get_session

    if not accepts_connections(constants.ENDPOINT):
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=ANSWER)
    except silence_errors():
        remember_silent(constants.ENDPOINT)
        return False
    return True


def accepts_connections(url: str) -> bool:
    """Whether a URL's host, or the proxy in front of it, accepts a TCP connection; False in offline mode."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    host, start = _first_host(url), time.monotonic()
    if start - _silent.get(host, -FORGET) < FORGET:
        return False
    accepted = _connects(*host)
    # A refusal comes at once; such a host may be asked again.
    if not accepted and time.monotonic() - start > CONNECT / 2:
        _silent[host] = start
    return accepted


def silence_errors() -> tuple[type[Exception], ...]:
    """Errors of the HTTP client for a host that does not answer or hangs up."""
    import httpx

    return httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError


def remember_silent(url: str) -> None:
    """Count a URL's host as unreachable for `FORGET` seconds."""
    _silent[_first_host(url)] = time.monotonic()


def _first_host(url: str) -> tuple[str, int]:
    """Host and port of a URL, or of the proxy that the environment sets for it."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 1080)


def _connects(host: str, port: int) -> bool:
    """Whether an address of the host accepts a connection within `CONNECT`; all addresses are tried at once.

    The threads may outlive the call, because a lookup at a silent name server cannot be interrupted.
    """
    found: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def attempt(family: int, address: tuple[str, int]) -> None:
        with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as one:
            one.settimeout(CONNECT)
            one.connect(address)
            found.put(True)

    def attempt_all() -> None:
        with suppress(OSError, UnicodeError):
            addresses = {(each[0], each[4]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
            attempts = [threading.Thread(target=attempt, args=each, daemon=True) for each in addresses]
            for each in attempts:
                each.start()
            for each in attempts:
                each.join()
        found.put(False)

    threading.Thread(target=attempt_all, daemon=True).start()
    try:
        return found.get(timeout=CONNECT)
    except queue.Empty:
        return False
