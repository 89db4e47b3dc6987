"""A request's body → a file: a form's file, or the body itself; never more than is allowed."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from typing import IO
from urllib.parse import urlsplit

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from stages.scoring.service.desk import Limits, RefusedError


def check_request(request: Request, limits: Limits) -> None:
    """Refuse what can be refused by its headers.

    Raises
    ------
    RefusedError
        403: another site's page sent it; 413: it says itself that it is too large.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise RefusedError(403, "requests from other sites' pages are not answered")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.bytes:
        raise RefusedError(413, f"the upload is larger than {limits.megabytes:g} MB")


async def receive(request: Request, file: IO[bytes], limits: Limits) -> str:
    """Write the request's audio to a file and return its name.

    A form has it in its one file; any other body is the audio itself, named by the query's `name`.

    Raises
    ------
    RefusedError
        413 too large; 422 a form without a file, or broken off.
    """
    try:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            return await _from_form(request, file, limits)
        async for block in _counted(request, limits):
            file.write(block)
    except ClientDisconnect:
        raise RefusedError(422, "the upload was broken off") from None
    return request.query_params.get("name", "song")


async def _from_form(request: Request, file: IO[bytes], limits: Limits) -> str:
    try:
        form = await MultiPartParser(request.headers, _counted(request, limits), max_files=1, max_fields=8).parse()
    except MultiPartException as error:
        raise RefusedError(422, f"the form cannot be read: {error.message}") from error
    try:
        for value in form.values():
            if isinstance(value, UploadFile):
                await asyncio.to_thread(shutil.copyfileobj, value.file, file)
                return value.filename or "song"
    finally:
        await form.close()
    raise RefusedError(422, "the form has no file; send one, such as curl -F audio=@song.mp3")


async def _counted(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    size = 0
    async for block in request.stream():
        size += len(block)
        if size > limits.bytes:
            raise RefusedError(413, f"the upload is larger than {limits.megabytes:g} MB")
        yield block
