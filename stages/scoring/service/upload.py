"""A request's body → a file: a form's file, or the body itself; never more than is allowed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from stages.scoring.service.scoring_queue import Limits, RefusedError, Upload

# Seconds for which what is left of a refused body is read.
DRAIN = 30.0
MOST_FIELDS = 8
# Bytes of one header of a form's part.
LONGEST_HEADER = 4_096

# What it warns of is in the answer.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


def check_request(request: Request, limits: Limits) -> None:
    """Refuse what can be refused by its headers.

    Raises
    ------
    RefusedError
        403: another site's page sent it; 413: it says itself that it is too large.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise RefusedError(403, "requests from other sites' pages are not answered")
    # More digits than any length has are not read as a number.
    length = request.headers.get("content-length", "")[:20]
    if length.isascii() and length.isdecimal() and int(length) > limits.bytes:
        raise RefusedError(413, f"the upload is larger than {limits.megabytes:g} MB")


class Body:
    """A request's body, block by block; never more than is allowed.

    Attributes
    ----------
    ended
        Whether all of it was read, or the client has gone.
    """

    def __init__(self, request: Request, limits: Limits) -> None:
        self.ended = False
        self._request, self._limits = request, limits
        self._size = 0

    async def blocks(self) -> AsyncIterator[bytes]:
        """Go through the body.

        Raises
        ------
        RefusedError
            413: it is too large; 422: it was broken off.
        """
        while not self.ended:
            block = await self._next()
            if self._size > self._limits.bytes:
                raise RefusedError(413, f"the upload is larger than {self._limits.megabytes:g} MB")
            yield block

    async def drain(self) -> None:
        """Read on without use, for `DRAIN` seconds at most."""
        if not self._size and "expect" in self._request.headers:
            return  # it waits to be asked for its body
        with suppress(TimeoutError, RefusedError):
            async with asyncio.timeout(DRAIN):
                while not self.ended and self._size <= 2 * self._limits.bytes:
                    await self._next()

    async def gone(self) -> None:
        """Return when the client has gone, after its body has ended."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    async def _next(self) -> bytes:
        message = await self._request.receive()
        self.ended = not message.get("more_body", False)
        if message["type"] == "http.disconnect":
            raise RefusedError(422, "the upload was broken off")
        block: bytes = message.get("body", b"")
        self._size += len(block)
        return block


async def receive(request: Request, body: Body, upload: Upload) -> str:
    """Write the request's audio to a file and return its name.

    A form has it in its one file; any other body is the audio itself, named by the query's `name`.

    Raises
    ------
    RefusedError
        413 too large; 422 a form without a file, or broken off; and as `Upload.write`.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind == b"multipart/form-data":
        return await _from_form(options.get(b"boundary", b""), body, upload)
    async for block in body.blocks():
        upload.write(block)
    return request.query_params.get("name", "song")


async def _from_form(boundary: bytes, body: Body, upload: Upload) -> str:
    if not boundary:
        raise RefusedError(422, "the form cannot be read: it names no boundary")
    form = _Form(upload.write)
    try:
        parser = MultipartParser(boundary, form.callbacks)  # type: ignore[arg-type]
        async for block in body.blocks():
            parser.write(block)
    except FormParserError as error:
        raise RefusedError(422, f"the form cannot be read: {error}") from error
    if form.name is None:
        raise RefusedError(422, "the form has no file; send one, such as curl -F audio=@song.mp3")
    if not form.ended:
        raise RefusedError(422, "the form cannot be read: its end is missing")
    return form.name


class _Form:
    """What python-multipart calls while it parses a form: passes the content of the one file on, and keeps nothing.

    `name` is the file's; None where no file has come. `ended` tells whether the form's end has come.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.name: str | None = None
        self.ended = False
        self._write = write
        self._parts, self._in_file = 0, False
        self._header, self._value, self._disposition = b"", b"", b""

    @property
    def callbacks(self) -> dict[str, Callable[..., None]]:
        """As the parser wants them."""
        names = ("part_begin", "header_field", "header_value", "header_end", "headers_finished", "part_data", "end")
        return {f"on_{name}": getattr(self, f"_{name}") for name in names}

    def _part_begin(self) -> None:
        self._parts += 1
        self._in_file, self._disposition = False, b""
        if self._parts > MOST_FIELDS + 1:
            raise RefusedError(422, f"the form has more than {MOST_FIELDS} fields beside its file")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = _longer(self._header, data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value = _longer(self._value, data[start:end])

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            return
        if self.name is not None:
            raise RefusedError(422, "the form has several files; send one at a time")
        self.name, self._in_file = options[b"filename"].decode("utf-8", "replace"), True

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._write(data[start:end])

    def _end(self) -> None:
        self.ended = True


def _longer(header: bytes, part: bytes) -> bytes:
    if len(header) + len(part) > LONGEST_HEADER:
        raise RefusedError(422, f"the form cannot be read: a header has more than {LONGEST_HEADER} bytes")
    return header + part
