"""The service's arrays, batches, request ids, metrics, and its description of itself."""

import asyncio
import io
import json
import logging
import tempfile
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
import soundfile
from prometheus_client.parser import text_string_to_metric_families

from stages.scoring.deadline import Deadline
from stages.scoring.over_time import Windows
from stages.scoring.rows import Curve, SongScore
from stages.scoring.scorer import Scorer
from stages.scoring.service.app import make_service
from stages.scoring.service.documents.introduction import introduction_html
from stages.scoring.service.documents.schemas import SongRow
from stages.scoring.service.limits import Limits, RefusedError
from stages.scoring.service.metrics import Metrics
from stages.scoring.service.request_log import RequestRecord
from stages.scoring.service.scoring_queue import ScoringQueue
from stages.scoring.service.uploads import Begin
from tests.stages.scoring.service_client import Client, blocks, sound

RAW = {"content-type": "audio/x-float32", "x-sample-rate": "24000"}
STEREO = {**RAW, "x-channels": "2"}
LIMITS = Limits(megabytes=0.5, minutes=0.1, seconds=60, waiting=2)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put uploads into the test's folder, because not every test closes its application."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(scope="module")
def scorer(head_folders: Path) -> Scorer:
    return Scorer.load(head_folders / "0", windows=Windows(1.0, 0.5), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def client(scorer: Scorer) -> Client:
    return Client(make_service(scorer, limits=LIMITS, heads="<a>"))


def noise(channels: int) -> np.ndarray:
    return np.random.default_rng(channels).standard_normal((24_000, channels)).astype("<f4") * 0.1


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 24_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize(("channels", "headers"), [(1, RAW), (2, STEREO)])
def test_raw_samples_score_as_the_same_samples_in_a_file(
    client: Client, channels: int, headers: dict[str, str]
) -> None:
    samples = noise(channels)
    expected = client.post("/score", content=wav(samples), params={"name": "a.wav"}).json()
    for content in (samples.tobytes(), blocks(samples.tobytes(), 1_001)):
        row = client.post("/score", content=content, headers=headers, params={"name": "a.wav"}).json()
        assert {**row, "source": expected["source"]} == expected


@pytest.mark.parametrize(
    ("headers", "content", "detail"),
    [
        ({"content-type": "audio/x-float32"}, bytes(8), "X-Sample-Rate: expected a whole number of Hz from 1000 to"),
        ({**RAW, "x-sample-rate": "44.1k"}, bytes(8), "found 44.1k"),
        ({**RAW, "x-sample-rate": "9" * 5_000}, bytes(8), "X-Sample-Rate: expected"),
        ({**RAW, "x-channels": "0"}, bytes(8), "X-Channels: expected a whole number of channels from 1 to 64, found 0"),
        (STEREO, bytes(12), "expected a multiple of 8 bytes (float32, X-Channels: 2), found 12 bytes"),
        (RAW, b"", "the upload is empty; send samples"),
        (RAW, blocks(np.array([0, 1, np.nan], "<f4").tobytes(), 10), "the samples are not all finite"),
        (RAW, np.array([0, np.inf], "<f4").tobytes(), "the samples are not all finite"),
        ({"x-sample-rate": "44100"}, bytes(8), "send them as Content-Type: audio/x-float32"),
    ],
)
def test_wrong_raw_samples_are_refused(client: Client, headers: dict[str, str], content: Any, detail: str) -> None:
    answer = client.post("/score", content=content, headers=headers)
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]


def test_raw_samples_have_the_limits_of_files(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    long = client.post("/score", content=bytes(4 * 10_000), headers={**RAW, "x-sample-rate": "1000"})
    assert (long.status_code, long.json()["detail"][:25]) == (413, "song: is longer than 0.1 ")
    assert client.post("/score", content=bytes(600_000), headers=RAW).status_code == 413
    monkeypatch.setattr("stages.scoring.service.samples._LARGEST", 100)
    large = client.post("/score", content=bytes(104), headers=RAW)
    assert (large.status_code, "larger than 4 GB" in large.json()["detail"]) == (413, True)


def test_a_batch_gives_the_rows_of_single_songs_in_order(client: Client) -> None:
    good, other = sound(1), wav(noise(2))
    files = [("b.flac", good), ("bad.mp3", b"no audio"), ("empty.mp3", b""), ("dir/a.wav", other)]
    answer = client.post("/score/batch", files=[("audio", file) for file in files])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jsonl"
    first, bad, empty, last = map(json.loads, answer.text.splitlines())
    assert first == client.post("/score", content=good, params={"name": "b.flac"}).json()
    assert last == client.post("/score", content=other, params={"name": "a.wav"}).json()
    assert (bad["song_id"], bad["scores"]) == ("bad", {})
    assert bad["error"].startswith("FFmpeg cannot decode it as audio")
    assert empty["error"] == "the upload is empty; send an audio file"
    assert [SongScore.from_json(row).path for row in (first, last)] == ["b.flac", "a.wav"]


def test_batches_are_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.scoring.service.app.MOST_FILES", 2)
    wrong = {
        "expected a form with files": {"content": sound(1)},
        "the form has no file": {"data": {"a": "b"}, "files": {"": ("", b"")}},
        "the form has more than 2 files; send fewer": {"files": [("audio", ("a", b"x"))] * 3},
        "larger than 0.5 MB": {"files": [("audio", ("a", bytes(300_000)))] * 2},
    }
    for detail, body in wrong.items():
        answer = client.post("/score/batch", **body)
        assert answer.status_code == (413 if "MB" in detail else 422)
        assert detail in answer.json()["detail"]
    two = client.post("/score", files=[("audio", ("a", b"x"))] * 2)
    assert two.json()["detail"] == "the form has several files; send them to /score/batch"


def sender(*names: str) -> Callable[[Begin], Any]:
    """A function that writes these songs, each with its name as its content."""

    async def receive(begin: Begin) -> None:
        for name in names:
            begin(name).write(name.encode())

    return receive


async def _never() -> None:
    await asyncio.Event().wait()


def test_a_batch_takes_one_place_and_lets_others_in_between(tmp_path: Path) -> None:
    scored: list[str] = []
    first = threading.Event()

    def score(path: Path, deadline: Deadline) -> SongScore:
        first.wait(10)
        scored.append(path.read_text())
        return SongScore(song_id="", path="", scores={"A": 3.0})

    async def run() -> None:
        queue = ScoringQueue(score, Limits(waiting=1), Metrics("m"))
        rows = queue.batch(sender("a", "b", "c"), _never, RequestRecord())
        begun = asyncio.ensure_future(anext(rows))
        await asyncio.sleep(0.05)
        other = asyncio.ensure_future(queue.answer(sender("other"), _never, RequestRecord()))
        await asyncio.sleep(0.05)
        with pytest.raises(RefusedError, match="the queue is full"):
            await queue.answer(sender("third"), _never, RequestRecord())
        first.set()
        await begun
        # The batch keeps its place while nobody asks for its next row.
        waiting = [queue.answer(sender("d"), _never, RequestRecord()) for _ in range(2)]
        assert (await other).scores == {"A": 3.0}
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [getattr(one, "status", 200) for one in done] == [200, 503]
        with pytest.raises(RefusedError, match=r"too many batches at once \(at most 1\)"):
            await anext(queue.batch(sender("e"), _never, RequestRecord()))
        assert [row.path async for row in rows] == ["b", "c"]
        assert list(tmp_path.glob("*/*")) == []
        queue.close()

    asyncio.run(run())
    assert scored == ["a", "other", "d", "b", "c"]


def test_a_stop_gives_the_rest_of_a_batch_an_error(tmp_path: Path) -> None:
    async def run() -> list[str]:
        row = SongScore(song_id="", path="", scores={"A": 3.0})
        queue = ScoringQueue(lambda path, deadline: row, Limits(), Metrics("m"))
        rows = queue.batch(sender("a", "b", "c"), _never, RequestRecord())
        errors = [(await anext(rows)).error]
        queue.stop()
        errors += [row.error async for row in rows]
        assert list(tmp_path.glob("*/*")) == []
        queue.close()
        return errors

    assert asyncio.run(run()) == ["", *["the service is stopping"] * 2]


def test_answers_and_the_log_have_the_id_of_the_request(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    answers = [
        client.post("/score", content=sound(1), headers={"x-request-id": "my-id"}),
        client.post("/score", content=b"x", headers={"x-request-id": "two words"}),
        client.post("/score", content=b"x", headers={"x-request-id": "a" * 65, "origin": "null"}),
        client.get("/health", headers={"host": "evil.example"}),
        client.get("/nowhere/a%0ab"),
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert ids[0] == "my-id"
    assert all(len(one) == 16 and one.isalnum() for one in ids[1:])
    assert len(set(ids)) == len(ids)
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]
    parts = [dict(part.split("=") for part in line.split(" ")) for line in lines]
    assert [part["id"] for part in parts] == ids
    assert [part["status"] for part in parts] == ["200", "422", "403", "400", "404"]
    assert [part["endpoint"] for part in parts] == ["/score", "/score", "/score", "/health", "other"]
    assert all(float(part["seconds"]) >= float(part["waited"]) >= 0 for part in parts)


def test_an_internal_error_has_an_id_and_no_details(scorer: Scorer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    app = make_service(scorer)
    app.add_api_route("/broken", lambda: 1 // 0)
    answer = Client(app).get("/broken", headers={"x-request-id": "b"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "b")
    assert answer.json()["detail"].startswith("internal error; the service's log has the reason")
    assert "status=500" in caplog.text


def test_metrics_count_what_happened(client: Client, scorer: Scorer) -> None:
    def read() -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families(client.get("/metrics").text)
        return {(one.name, *sorted(one.labels.values())): one.value for family in families for one in family.samples}

    before = read()
    client.post("/score", content=sound(1))
    client.post("/score/batch", files=[("audio", ("a.flac", sound(2))), ("audio", ("b", b"x"))])
    client.get("/nowhere")
    after = read()
    grown = {
        ("hear_requests_total", "/score", "200"): 1,
        ("hear_requests_total", "/score/batch", "200"): 1,
        ("hear_requests_total", "404", "other"): 1,
        ("hear_requests_total", "/metrics", "200"): 1,
        ("hear_songs_total", "scored"): 2,
        ("hear_songs_total", "failed"): 1,
        ("hear_audio_seconds_total",): 3,
        ("hear_scoring_seconds_count",): 3,
        ("hear_waiting_seconds_count",): 3,
        ("hear_queue_places",): 0,
        ("hear_upload_bytes",): 0,
    }
    assert {key: after[key] - before.get(key, 0) for key in grown} == pytest.approx(grown, abs=0.1)
    assert after["hear_scoring_seconds_sum",] > before["hear_scoring_seconds_sum",]
    assert after["hear_uptime_seconds",] > 0
    assert after[("hear_build_info", *sorted([scorer.scoring.model, version("hear-music")]))] == 1
    assert 'result="scored"} 0.0' in Client(make_service(scorer)).get("/metrics").text  # a registry of its own
    assert client.get("/metrics", headers={"host": "evil.example"}).status_code == 400


def check_schema(document: dict[str, Any], answer: httpx.Response, value: Any) -> None:
    """Check an answer, or one row of it, with the schema that the document gives for its endpoint and status."""
    operation = document["paths"][answer.request.url.path][answer.request.method.lower()]
    kind = answer.headers["content-type"].partition(";")[0]
    schema = operation["responses"][str(answer.status_code)]["content"][kind]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def test_real_answers_match_the_openapi_document(client: Client) -> None:
    document = client.get("/openapi.json").json()
    answers = [
        client.get("/health"),
        client.post("/score", content=sound(2)),
        client.post("/score", content=wav(noise(2))[:-2_000]),
        client.post("/score", content=b"no audio"),
        client.post("/score", content=bytes(600_000)),
        client.post("/score", content=b"x", headers={"origin": "null"}),
        client.post("/score/batch", content=b"x"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 422, 413, 403, 422]
    for answer in answers:
        check_schema(document, answer, answer.json())
        assert set(answer.json()) <= {*SongRow.model_fields, "status", "dimensions", "detail"}
    batch = client.post("/score/batch", files=[("audio", ("a.flac", sound(1))), ("audio", ("b", b"x"))])
    for line in batch.text.splitlines():
        check_schema(document, batch, json.loads(line))
    wrong = {**answers[1].json(), "novelty": None}
    with pytest.raises(jsonschema.ValidationError, match="None is not of type 'number'"):
        check_schema(document, answers[1], wrong)
    for path in ("/score", "/score/batch"):
        assert {"400", "403", "408", "413", "422", "503", "504", "507"} < set(
            document["paths"][path]["post"]["responses"]
        )


def test_the_schema_of_a_row_has_all_its_keys() -> None:
    row = SongScore(
        song_id="a",
        path="a.mp3",
        group="g",
        scores={"A": 3.0},
        spread={"A": 0.1},
        novelty=2.0,
        loudest=-60.0,
        damage={"truncated": True, "missing": 1.5, "skipped": 2},
        caution="c",
        error="e",
        seconds=2.0,
        curve=Curve(seconds=(0.5,), window=1.0, hop=1.0, scores={"A": (3.0,)}),
        beside={"other": {"B": 7.0}},
        source="s",
        model="m",
    )
    values = row.to_json()
    assert set(values) == set(SongRow.model_fields)
    assert SongRow.model_validate(values, strict=True).model_dump() == values


def test_the_docs_page_lists_the_document_and_loads_nothing(client: Client) -> None:
    page = client.get("/docs").text
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f">{method.upper()} {path}</h2>" in page
            assert all(f"<code>{status}</code>" in page for status in operation["responses"])
    assert all(f"<h3>{name}</h3>" in page for name in document["components"]["schemas"])
    assert "<code>X-Sample-Rate</code> header, integer, 1000 to 768000" in page
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "src=" not in page


def test_the_page_introduces_the_service(client: Client) -> None:
    page = client.get("/").text
    assert "<dt>Heads</dt><dd>&lt;a&gt;</dd>" in page
    assert "<dt>MuQ</dt><dd>untrained (tiny, seed 1)</dd>" in page
    assert "Up to 0.5 MB and 0.1 minutes per song." in page
    assert "verse, chorus, bridge" in page
    assert "$" not in introduction_html(["<x>"], Limits(), {})
    assert "<dt>&lt;x&gt;</dt><dd>A dimension of this head.</dd>" in introduction_html(["<x>"], Limits(), {})
