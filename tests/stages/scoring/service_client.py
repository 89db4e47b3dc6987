"""A client of the service without a server, and short songs."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import soundfile

ADDRESS = "http://127.0.0.1:8000"


class Client:
    """Sends requests to an application without a server."""

    def __init__(self, app: Any, address: str = ADDRESS) -> None:
        self._app, self._address = app, address

    def get(self, path: str, **about: Any) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, **about))

    def post(self, path: str, **about: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, **about))

    async def _ask(self, method: str, path: str, **about: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=self._address, timeout=60) as client:
            return await client.request(method, path, **about)


async def blocks(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    """The content in a first block of this size, and a second one."""
    yield content[:size]
    yield content[size:]


def sound(seconds: float, *, rate: int = 24_000, form: str = "FLAC") -> bytes:
    """A tone as a file."""
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(int(seconds * rate)) * 0.05) * 0.5, rate, format=form)
    return file.getvalue()
