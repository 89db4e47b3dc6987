"""Hostile requests as bytes for a socket, for tests and the stress campaign of the service."""

import random
import socket
from collections.abc import Sequence
from contextlib import suppress

HOST = b"Host: 127.0.0.1\r\n"


def post(*headers: bytes, body: bytes = b"", target: bytes = b"/score", length: bool = True) -> bytes:
    """A POST with these header lines, given without line ends."""
    lines = [b"POST " + target + b" HTTP/1.1\r\n" + HOST.rstrip(), *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def form(
    *parts: bytes,
    boundary: bytes = b"b",
    kind: bytes = b"multipart/form-data; boundary=b",
    target: bytes = b"/score",
) -> bytes:
    """A POST of a form with these parts, each with its own headers."""
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
    return post(b"Content-Type: " + kind, body=body, target=target)


FILE = b'Content-Disposition: form-data; name="audio"; filename="%s"\r\n\r\nsound'
SAMPLES = b"Content-Type: audio/x-float32"
CHUNKED = b"Transfer-Encoding: chunked"


def _chunks(rest: bytes, *headers: bytes) -> bytes:
    return post(CHUNKED, *headers, body=rest, length=False)


def _get(*headers: bytes, target: bytes = b"/health", method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([b" ".join([method, target, version]), HOST.rstrip(), *headers]) + b"\r\n\r\n"


# By name: the request, and the statuses that may answer it. 0: the connection is closed without an answer.
REQUESTS: dict[str, tuple[bytes, Sequence[int]]] = {
    # Headers
    "origin with a bracket": (post(b"Origin: http://[", body=b"x"), [403]),
    "origin with two brackets": (post(b"Origin: http://[::1]]:99999/", body=b"x"), [403]),
    "empty origin": (post(b"Origin:", body=b"x"), [403]),
    "origin with high bytes": (post(b"Origin: http://\xff\xfe", body=b"x"), [403]),
    "origin twice": (post(b"Origin: http://127.0.0.1", b"Origin: http://[", body=b"x"), [200, 403]),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", [400]),
    "two hosts": (b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", [400]),
    "host with a bracket": (b"GET /health HTTP/1.1\r\nHost: [\r\n\r\n", [200, 400]),
    "host with a bracket and a slash": (b"POST /score/ HTTP/1.1\r\nHost: [\r\n\r\n", [400, 404]),
    "host with high bytes": (b"GET / HTTP/1.1\r\nHost: \xff\xc3\x28\r\n\r\n", [400]),
    "host with a port of letters": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:abc\r\n\r\n", [200, 400]),
    "host of 15 kB": (b"GET / HTTP/1.1\r\nHost: " + b"a" * 15_000 + b"\r\n\r\n", [400]),
    "HTTP/1.0 without a host": (b"GET /health HTTP/1.0\r\n\r\n", [400]),
    "length of letters": (post(b"Content-Length: abc", length=False), [400]),
    "length below 0": (post(b"Content-Length: -1", length=False), [400]),
    "length of 5,000 digits": (post(b"Content-Length: " + b"9" * 5_000, length=False), [400]),
    "length of 20 digits": (post(b"Content-Length: " + b"9" * 20, length=False), [413]),
    "superscript length": (post("Content-Length: ²".encode("latin-1"), length=False), [400]),
    "two lengths": (post(b"Content-Length: 1", b"Content-Length: 2", length=False, body=b"xx"), [400]),
    "length and chunks": (_chunks(b"1\r\nx\r\n0\r\n\r\n", b"Content-Length: 5"), [200, 400]),
    "unknown transfer coding": (post(b"Transfer-Encoding: gzip, chunked", length=False), [400]),
    "two codings": (post(CHUNKED, CHUNKED, length=False), [400]),
    "chunk size of letters": (_chunks(b"xyz\r\n"), [400]),
    "chunk size below 0": (_chunks(b"-1\r\nx\r\n"), [400]),
    "chunk size of 30 digits": (_chunks(b"f" * 30 + b"\r\n"), [400]),
    "chunk without its end": (_chunks(b"1\r\nxy\r\n"), [400]),
    "chunk with a long extension": (_chunks(b"1;" + b"a" * 70_000), [400]),
    "tiny chunks": (_chunks(b"1\r\nx\r\n" * 5_000 + b"0\r\n\r\n"), [400]),
    "tiny chunks at an unknown path": (
        post(CHUNKED, target=b"/nowhere", length=False, body=b"1\r\nx\r\n" * 5_000 + b"0\r\n\r\n"),
        [0, 400, 404],
    ),
    "a few tiny chunks": (_chunks(b"1\r\nx\r\n" * 900 + b"0\r\n\r\n"), [200]),
    "trailer of 70 kB": (_chunks(b"0\r\nA: " + b"b" * 70_000), [400]),
    "invalid chunks after the answer": (
        post(CHUNKED, b"Origin: null", length=False, body=b"5\r\nabcde\r\nzz\r\n"),
        [400, 403],
    ),
    "invalid chunks at an unknown path": (
        post(CHUNKED, target=b"/nowhere", length=False, body=b"1\r\nx\r\nzz\r\n"),
        [400, 404],
    ),
    "header with a null byte": (_get(b"X: a\0b"), [400]),
    "header without a colon": (_get(b"nonsense"), [400]),
    "folded header": (_get(b"X: a", b" b"), [200, 400]),
    "header with a space in its name": (_get(b"X y: a"), [400]),
    "headers of 100 kB": (_get(b"X: " + b"a" * 100_000), [200, 400]),
    "a thousand headers": (_get(*[b"X%d: a" % number for number in range(1_000)]), [200, 400]),
    "unknown expectation": (post(b"Expect: 200-ok", body=b"x"), [200]),
    "expects 100-continue and is refused": (post(b"Expect: 100-continue", b"Origin: null", length=False), [403]),
    "upgrade": (_get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"), [200]),
    "upgrade to HTTP/2": (
        _get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA"),
        [200],
    ),
    "forwarded for an escape": (_get(b"X-Forwarded-For: \x9b31m", b"X-Forwarded-Proto: x"), [200]),
    # Lines, methods and paths
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), [400]),
    "null bytes": (bytes(1_000), [400]),
    "no request line": (b"\r\n\r\n\r\n\r\nfoo\r\n\r\n", [400]),
    "version 9": (_get(version=b"HTTP/9.9"), [200, 400]),
    "HTTP/0.9": (b"GET /health\r\n\r\n", [400]),
    "method of 20 kB": (_get(method=b"A" * 20_000), [400, 405]),
    "unknown method": (_get(method=b"BREW", target=b"/score"), [405]),
    "TRACE": (_get(method=b"TRACE"), [405]),
    "CONNECT": (_get(method=b"CONNECT", target=b"evil.example:80"), [404]),
    "OPTIONS of all": (_get(method=b"OPTIONS", target=b"*"), [404]),
    "HEAD": (_get(b"Connection: close", method=b"HEAD"), [405]),
    "path of 15 kB": (_get(target=b"/" + b"a" * 15_000), [404]),
    "path of 20 kB": (_get(target=b"/" + b"a" * 20_000), [400, 404]),
    "path with parent folders": (_get(target=b"/../../etc/passwd"), [404]),
    "path with a null byte": (_get(target=b"/%00"), [404]),
    "path that is not UTF-8": (_get(target=b"/%ff%fe%c3"), [404]),
    "path with raw bytes": (_get(target=b"/\xff\xfe"), [400]),
    "path with a line break": (_get(target=b"/%0d%0aSet-Cookie:%20a=b"), [404]),
    "path with an extra slash": (_get(target=b"/health/"), [404]),
    "path of another host": (_get(target=b"http://evil.example/health"), [404]),
    "path without a slash": (_get(target=b"health"), [404]),
    # The query
    "name that is not UTF-8": (post(target=b"/score?name=%ff%fe%80", body=b"x"), [200]),
    "name with a null byte": (post(target=b"/score?name=a%00b.mp3", body=b"x"), [200]),
    "name of a null byte": (post(target=b"/score?name=%00", body=b"x"), [200]),
    "name with an escape": (post(target=b"/score?name=%1b%5b31m%c2%9b.mp3", body=b"x"), [200]),
    "name with half a character": (post(target=b"/score?name=%ed%a0%80", body=b"x"), [200]),
    "name with parent folders": (post(target=b"/score?name=..%2f..%2f..", body=b"x"), [200]),
    "name of 15 kB": (post(target=b"/score?name=" + b"a" * 15_000, body=b"x"), [200]),
    "name of slashes": (post(target=b"/score?name=" + b"%2f%5c" * 1_000, body=b"x"), [200]),
    "name twice": (post(target=b"/score?name=a&name=b&name=", body=b"x"), [200]),
    "query of separators": (post(target=b"/score?" + b"&=;%" * 3_000, body=b"x"), [200]),
    # Bodies and forms
    "no body": (post(), [422]),
    "body that is not audio": (post(body=b"no audio"), [200, 422]),
    "form without a boundary": (form(FILE % b"a", kind=b"multipart/form-data"), [422]),
    "form with an empty boundary": (form(FILE % b"a", kind=b"multipart/form-data; boundary="), [422]),
    "form with a quoted empty boundary": (form(FILE % b"a", kind=b'multipart/form-data; boundary=""'), [422]),
    "form with a long boundary": (
        form(FILE % b"a", boundary=b"b" * 10_000, kind=b"multipart/form-data; boundary=" + b"b" * 10_000),
        [200, 422],
    ),
    "form with a boundary of high bytes": (form(FILE % b"a", kind=b"multipart/form-data; boundary=\xff\xfe"), [422]),
    "form with another boundary": (form(FILE % b"a", kind=b"multipart/form-data; boundary=c"), [422]),
    "form in capitals": (form(FILE % b"a", kind=b"Multipart/Form-Data; boundary=b"), [200]),
    "form with a charset that is none": (form(FILE % b"a", kind=b"multipart/form-data; boundary=b; charset=x"), [200]),
    "form with a charset that fails": (
        form(FILE % b"\xff", b'Content-Disposition: form-data; name="\xff"\r\n\r\n\xff')[:0]
        + form(FILE % b"\xff", kind=b"multipart/form-data; boundary=b; charset=undefined"),
        [200],
    ),
    "form in punycode": (form(FILE % b"\xff", kind=b"multipart/form-data; boundary=b; charset=punycode"), [200]),
    "form of zip bytes": (form(FILE % b"\xff", kind=b"multipart/form-data; boundary=b; charset=zip"), [200]),
    "form with extended parameters": (
        form(FILE % b"a", kind=b"multipart/form-data; boundary*0=b; boundary*1=c"),
        [422],
    ),
    "form that is cut off": (
        post(b"Content-Type: multipart/form-data; boundary=b", body=b"--b\r\n" + FILE % b"a"),
        [422],
    ),
    "form that is empty": (post(b"Content-Type: multipart/form-data; boundary=b"), [422]),
    "form of nonsense": (post(b"Content-Type: multipart/form-data; boundary=b", body=b"\0" * 1_000), [422]),
    "form without a file": (form(b'Content-Disposition: form-data; name="a"\r\n\r\nb'), [422]),
    "form with two files": (form(FILE % b"a", FILE % b"b"), [422]),
    "form with a hundred fields": (form(*[b'Content-Disposition: form-data; name="a"\r\n\r\nb'] * 100), [422]),
    "form with a part without headers": (form(b"\r\nx", FILE % b"a"), [200, 422]),
    "form with a file without a name": (form(FILE % b""), [200]),
    "form with a name of bytes": (form(FILE % b"\xff\xfe\x80\0\x1b[31m"), [200, 422]),
    "form with a name of 3 kB": (form(FILE % (b"a" * 3_000)), [200]),
    "form with a name of 100 kB": (form(FILE % (b"a" * 100_000)), [422]),
    "form with a header of 100 kB": (form(b"X" * 100_000 + b": y\r\n\r\nx"), [422]),
    "form with 10,000 headers": (form(b"A: b\r\n" * 10_000 + b"\r\nx"), [422]),
    "form with a header with a null byte": (form(b"A\0: b\r\n\r\nx"), [422]),
    "form within a form": (
        form(b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--"),
        [422],
    ),
    "invalid content type": (post(b'Content-Type: ;;;=\xff;"', body=b"x"), [200]),
    "type of 15 kB": (post(b"Content-Type: multipart/form-data" + b"; a=b" * 3_000, body=b"x"), [422]),
    "types twice": (
        post(b"Content-Type: multipart/form-data; boundary=b", b"Content-Type: audio/mpeg", body=b"x"),
        [200, 422],
    ),
    # Batches, raw samples and ids
    "batch": (form(FILE % b"a", FILE % b"\x1b[31m", target=b"/score/batch"), [200]),
    "batch without a form": (post(body=b"x", target=b"/score/batch"), [422]),
    "batch without a file": (form(b"\r\nx", target=b"/score/batch"), [422]),
    "batch of 101 files": (form(*[FILE % b"a"] * 101, target=b"/score/batch"), [422]),
    "batch from another site": (post(b"Origin: null", body=b"x", target=b"/score/batch"), [403]),
    "samples without a rate": (post(SAMPLES, body=bytes(8)), [422]),
    "samples with two rates": (post(SAMPLES, b"X-Sample-Rate: 8000", b"X-Sample-Rate: x", body=bytes(8)), [200, 422]),
    "samples with a superscript rate": (post(SAMPLES, "X-Sample-Rate: ²".encode("latin-1"), body=bytes(8)), [422]),
    "samples with a rate of 5 kB": (post(SAMPLES, b"X-Sample-Rate: " + b"9" * 5_000, body=bytes(8)), [422]),
    "samples that are not finite": (post(SAMPLES, b"X-Sample-Rate: 8000", body=b"\xff" * 8), [422]),
    "samples of 3 bytes": (post(SAMPLES, b"X-Sample-Rate: 8000", body=bytes(3)), [422]),
    "id of high bytes": (_get(b"X-Request-ID: \xff\xfe"), [200]),
    "id of 15 kB": (_get(b"X-Request-ID: " + b"a" * 15_000), [200]),
    "two requests at once": (_get() * 2, [200]),
    "a request after an invalid one": (b"nonsense\r\n\r\n" + _get(), [400]),
    "a request after a refused one": (post(b"Origin: null", body=b"x") + _get(), [403]),
}


def mutated(rng: random.Random) -> bytes:
    """One of the requests with bytes changed, repeated or removed, or the end cut off."""
    request = bytearray(rng.choice(list(REQUESTS.values()))[0][:4_000])
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(request) or 1)
        part = rng.choice([bytes([rng.randrange(256)]), b"", b"\r\n", b"\0", b"%", b"[", request[at : at + 9] * 9])
        request[at : at + rng.randrange(3)] = part
    return bytes(request)


def ask(port: int, request: bytes, *, seconds: float = 10.0) -> tuple[int, bytes]:
    """Send bytes and read the first answer: its status and content; status 0 if the connection closes without one."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        with suppress(ConnectionError):
            client.sendall(request)
        with suppress(ConnectionError, TimeoutError):
            while not _whole(answer):
                part = client.recv(65_536)
                if not part:
                    break
                answer += part
    return status(answer), answer


def status(answer: bytes) -> int:
    """The status of an answer; 0 if it is empty."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def _whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and bool(lengths) and len(body) >= int(lengths[0])
