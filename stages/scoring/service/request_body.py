"""A request's body → files: those in a form, or the body itself, up to the size limit."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from stages.scoring.service.limits import Limits, RefusedError
from stages.scoring.service.samples import sample_format
from stages.scoring.service.uploads import Begin, Upload

# Seconds for which the rest of a refused body is read.
DRAIN_SECONDS = 30.0
MOST_FIELDS = 8
# Files in a batch.
MOST_FILES = 100
# Bytes of one header of a part of a form.
LONGEST_HEADER = 4_096

# The answer says what it would warn of.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


def check_request(request: Request, limits: Limits) -> None:
    """Refuse a request with invalid headers.

    Raises
    ------
    RefusedError
        403: a page of another site sent it; 413: its Content-Length is too large.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise RefusedError(
            403, "the request comes from a page of another site; use this service's own page, or send no Origin"
        )
    # Python refuses to read a number of thousands of digits: the first 20 suffice.
    length = request.headers.get("content-length", "")[:20]
    if length.isascii() and length.isdecimal() and int(length) > limits.bytes:
        raise RefusedError(413, f"the upload is larger than {limits.megabytes:g} MB")


class RequestBody:
    """A request's body, block by block, up to the size limit.

    Attributes
    ----------
    ended
        Whether all of it was read, or the client has disconnected.
    """

    def __init__(self, request: Request, limits: Limits) -> None:
        self.ended = False
        self._request, self._limits = request, limits
        self._size = 0

    async def blocks(self) -> AsyncIterator[bytes]:
        """Read the body.

        Raises
        ------
        RefusedError
            413: it is too large; 422: the client disconnected.
        """
        while not self.ended:
            block = await self._next()
            if self._size > self._limits.bytes:
                raise RefusedError(413, f"the upload is larger than {self._limits.megabytes:g} MB")
            yield block

    async def drain(self) -> None:
        """Read and discard the rest, for at most `DRAIN_SECONDS`."""
        if not self._size and "expect" in self._request.headers:
            return  # the client waits for permission to send its body
        with suppress(TimeoutError, RefusedError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.ended and self._size <= 2 * self._limits.bytes:
                    await self._next()

    async def disconnected(self) -> None:
        """Wait until the client disconnects; call it after the body has ended."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    async def _next(self) -> bytes:
        message = await self._request.receive()
        self.ended = not message.get("more_body", False)
        if message["type"] == "http.disconnect":
            raise RefusedError(422, "the upload is incomplete: the client disconnected")
        block: bytes = message.get("body", b"")
        self._size += len(block)
        return block


async def receive(request: Request, body: RequestBody, begin: Begin, *, files: int = 1) -> None:
    """Write the audio in a request to files.

    A form contains up to `files` of them. Any other body is one song, named by the query parameter `name`: raw samples
    if its type says so, else a file.

    Raises
    ------
    RefusedError
        413 too large; 422 incomplete, or no form for several files, or a form without a file; and as `Upload.write`.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind == b"multipart/form-data":
        await _from_form(options.get(b"boundary", b""), body, begin, files)
        return
    if files > 1:
        raise RefusedError(422, "expected a form with files, such as curl -F audio=@a.mp3 -F audio=@b.mp3")
    samples = sample_format(request.headers, kind.decode("latin-1"))
    upload = begin(request.query_params.get("name", "song"))
    if samples is not None:
        await samples.write(body.blocks(), upload)
        return
    async for block in body.blocks():
        upload.write(block)


async def _from_form(boundary: bytes, body: RequestBody, begin: Begin, files: int) -> None:
    if not boundary:
        raise RefusedError(422, "cannot read the form: its Content-Type has no boundary")
    form = _Form(begin, files)
    try:
        parser = MultipartParser(boundary, form.callbacks)  # type: ignore[arg-type]
        async for block in body.blocks():
            parser.write(block)
    except FormParserError as error:
        raise RefusedError(422, f"cannot read the form: {error}") from error
    if not form.files:
        raise RefusedError(422, "the form has no file; send one, such as curl -F audio=@song.mp3")
    if not form.ended:
        raise RefusedError(422, "cannot read the form: its end is missing")


class _Form:
    """Callbacks for python-multipart: they pass on the content of the form's files without keeping it.

    Attributes
    ----------
    files
        The number of files that have begun.
    ended
        Whether the end of the form has arrived.
    """

    def __init__(self, begin: Begin, most: int) -> None:
        self.files, self.ended = 0, False
        self._begin, self._most = begin, most
        self._parts = 0
        self._upload: Upload | None = None
        self._header, self._value, self._disposition = b"", b"", b""

    @property
    def callbacks(self) -> dict[str, Callable[..., None]]:
        """The callbacks by the parser's names."""
        names = ("part_begin", "header_field", "header_value", "header_end", "headers_finished", "part_data", "end")
        return {f"on_{name}": getattr(self, f"_{name}") for name in names}

    def _part_begin(self) -> None:
        self._parts += 1
        self._upload, self._disposition = None, b""
        if self._parts > MOST_FIELDS + self._most:
            raise RefusedError(422, f"the form has too many fields (at most {MOST_FIELDS} besides its files)")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = _extended(self._header, data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value = _extended(self._value, data[start:end])

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            return
        if self.files == self._most:
            several = f"more than {self._most} files" if self._most > 1 else "several files"
            advice = "send fewer" if self._most > 1 else "send them to /score/batch"
            raise RefusedError(422, f"the form has {several}; {advice}")
        self.files += 1
        self._upload = self._begin(options[b"filename"].decode("utf-8", "replace"))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._upload is not None:
            self._upload.write(data[start:end])

    def _end(self) -> None:
        self.ended = True


def _extended(header: bytes, part: bytes) -> bytes:
    if len(header) + len(part) > LONGEST_HEADER:
        raise RefusedError(422, f"cannot read the form: a header is longer than {LONGEST_HEADER} bytes")
    return header + part
