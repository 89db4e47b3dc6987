"""The HTTP service: audio in, scores out, and every limit."""

import asyncio
import base64
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.responses import HTMLResponse

from stages.scoring.deadline import Deadline
from stages.scoring.errors import ScoringError
from stages.scoring.over_time import Windows
from stages.scoring.rows import SongScore
from stages.scoring.scorer import Scorer
from stages.scoring.service.app import make_service
from stages.scoring.service.limits import Limits, RefusedError
from stages.scoring.service.metrics import Metrics
from stages.scoring.service.request_log import RequestRecord
from stages.scoring.service.scoring_queue import ScoringQueue, plain_name
from stages.scoring.service.server import Server, bound, listen
from stages.scoring.service.uploads import Begin
from stages.songs import DIMENSIONS
from tests.stages.scoring.service_client import ADDRESS, Client, blocks, sound


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put uploads into the test's folder, because not every test closes its application."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(scope="module")
def scorer(head_folders: Path) -> Scorer:
    return Scorer.load(head_folders, windows=Windows(1.0, 0.5), device="cpu", precision="fp32")


@pytest.fixture
def client(scorer: Scorer) -> Client:
    limits = Limits(megabytes=0.5, minutes=0.1, seconds=60, waiting=2)
    return Client(make_service(scorer, limits=limits, heads="<a>"))


def test_forms_and_plain_bodies_give_the_same_scores_as_the_command(
    client: Client, scorer: Scorer, song_folder: Path
) -> None:
    path = song_folder / "söng 1.wav"
    expected = {**scorer.score(path).to_json(), "path": "söng 1.wav"}
    form = client.post("/score", files={"audio": ("C:\\music\\söng 1.wav", path.read_bytes())})
    assert form.status_code == 200
    assert form.json() == expected
    assert list(expected["scores"]) == list(DIMENSIONS)
    assert set(expected["std"]) == set(DIMENSIONS)
    assert len(expected["over_time"]["seconds"]) == 3
    plain = client.post("/score", params={"name": "../söng 1.wav"}, content=path.read_bytes())
    assert plain.json() == expected


def test_the_page_and_health(client: Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert 'id="upload"' in page.text
    assert "scored by \\u003ca\\u003e" in page.text
    health = client.get("/health").json()
    assert health["dimensions"] == list(DIMENSIONS)
    # The heads are on the untrained encoders.
    assert health["caution"] == "trained on the demo: meaningless for music"
    assert '"caution": "trained on the demo: meaningless for music"' in page.text
    row = client.post("/score", files={"audio": ("a.flac", sound(1.0))}).json()
    assert row["caution"] == health["caution"]


@pytest.mark.parametrize(
    ("content", "status", "detail"),
    [
        (b"", 422, "the upload is empty"),
        (b"no audio at all", 422, "x.mp3: "),
        (sound(20, rate=8_000), 413, r"x.mp3: is longer than 0.1 min, the longest allowed"),
        (bytes(600_000), 413, "larger than 0.5 MB"),
    ],
)
def test_wrong_uploads_are_refused(client: Client, content: bytes, status: int, detail: str) -> None:
    form = client.post("/score", files={"audio": ("x.mp3", content)})
    plain = client.post("/score", params={"name": "x.mp3"}, content=content)
    streamed = client.post("/score", params={"name": "x.mp3"}, content=blocks(content))
    for answer in (form, plain, streamed):
        assert answer.status_code == status
        assert detail in answer.json()["detail"]
        assert "/tmp" not in answer.json()["detail"]


def test_a_playlist_of_another_file_is_refused_and_the_next_song_is_scored(client: Client, tmp_path: Path) -> None:
    (tmp_path / "secret.flac").write_bytes(sound(1))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:3,\n{tmp_path / 'secret.flac'}\n#EXT-X-ENDLIST\n"
    answer = client.post("/score", params={"name": "list.wav"}, content=playlist.encode())
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("list.wav: FFmpeg cannot decode it as audio")
    assert client.post("/score", content=sound(1)).status_code == 200


def test_broken_forms(client: Client) -> None:
    assert "has no file" in client.post("/score", data={"a": "b"}, files={"": ("", b"")}).json()["detail"]
    headers = {"content-type": "multipart/form-data"}
    assert (
        "cannot read the form: its Content-Type has no boundary"
        in client.post("/score", content=b"x", headers=headers).json()["detail"]
    )
    two = [("audio", ("a.mp3", b"1")), ("audio", ("b.mp3", b"2"))]
    assert client.post("/score", files=two).status_code == 422


def test_other_sites_and_host_names_are_refused(client: Client, scorer: Scorer) -> None:
    other = client.post("/score", content=sound(1), headers={"origin": "http://evil.example"})
    assert other.status_code == 403
    assert client.post("/score", content=sound(1), headers={"origin": ADDRESS}).status_code == 200
    assert client.get("/", headers={"host": "evil.example:8000"}).status_code == 400
    assert Client(make_service(scorer, host="0.0.0.0"), "http://studio.example").get("/").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_loopback_other_host_names_are_refused(scorer: Scorer, host: str) -> None:
    app = make_service(scorer, host=host)
    for address in (ADDRESS, "http://localhost:8000", "http://[::1]:8000"):
        assert Client(app, address).get("/health").status_code == 200
    assert Client(app, "http://evil.example:8000").get("/health").status_code == 400


def test_limits_are_finite() -> None:
    with pytest.raises(ScoringError, match="expected a finite number of megabytes, found inf"):
        Limits(megabytes=float("inf"))


def test_the_page_scores_dropped_files(scorer: Scorer, dump: Callable[[str], dict]) -> None:
    """In a browser, with a server: the page uploads two files, of which one is not audio, and draws the report."""
    drop = """<script>
      const content = Uint8Array.from(atob("CONTENT"), (letter) => letter.charCodeAt(0));
      new MutationObserver(() => {
        if (!document.getElementById("progress").textContent.startsWith("Done")) return;
        const rows = [...document.querySelectorAll("tr.song")].map((row) => row.textContent);
        const players = document.querySelectorAll("#best audio").length;
        const counts = document.getElementById("counts").textContent;
        document.body.dataset.found = JSON.stringify({ rows, players, counts });
      }).observe(document.getElementById("progress"), { childList: true });
      add([new File([content], "sóng.flac"), new File(["no audio"], "bad.mp3")]);
    </script></body>""".replace("CONTENT", base64.b64encode(sound(1)).decode())
    app = make_service(scorer, heads="two heads")
    with listening(app) as address:
        page = httpx.get(address).text.replace("</body>", drop)
        app.add_api_route("/drop", lambda: HTMLResponse(page), methods=["GET"])
        found = dump(f"{address}/drop")
    assert found["counts"].startswith("1 song scored · 1 failed")
    assert found["players"] == 1
    assert found["rows"][0].startswith("sóng")
    assert found["rows"][1].startswith("bad.mp3")


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Serve an application on a free port of this machine, as `hear-serve` does."""
    with bound("127.0.0.1", 0) as sockets:
        listen(sockets)
        server = Server(app, log_level="warning")
        thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
        address = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        thread.start()
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join()


async def _song(begin: Begin) -> None:
    begin("a.flac").write(b"audio")


async def _never() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty temporary folder that the service uses."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_song_that_waits_too_long_and_a_full_queue_are_refused(folder: Path) -> None:
    going = threading.Event()

    def slow(path: Path, deadline: Deadline) -> SongScore:
        going.wait(30)
        assert path.exists()
        return SongScore(song_id="", path="", scores={"A": 3.0})

    async def run() -> list[object]:
        queue = ScoringQueue(slow, Limits(seconds=0.5, waiting=1), Metrics("m"))
        answers = await asyncio.gather(
            *(queue.answer(_song, _never, RequestRecord()) for _ in range(3)), return_exceptions=True
        )
        going.set()
        await asyncio.sleep(0.1)
        assert files_in(folder) == []
        answers.append(await queue.answer(_song, _never, RequestRecord()))
        queue.close()
        return answers

    first, second, third, last = asyncio.run(run())
    assert [getattr(answer, "status", None) for answer in (first, second, third)] == [504, 504, 503]
    assert "not scored within 0.5 s" in str(first)
    assert "the queue is full (at most 1 songs)" in str(third)
    assert isinstance(last, SongScore)
    assert (last.song_id, last.path) == ("a", "a.flac")
    assert list(folder.iterdir()) == []


def test_an_error_after_the_deadline_is_reported_as_too_late(folder: Path) -> None:
    def late(path: Path, deadline: Deadline) -> SongScore:
        deadline.expire()
        raise ScoringError("was ended")

    queue = ScoringQueue(late, Limits(seconds=60), Metrics("m"))
    with pytest.raises(RefusedError, match="not scored within 60 s") as refused:
        asyncio.run(queue.answer(_song, _never, RequestRecord()))
    assert refused.value.status == 504
    queue.close()


def test_an_interrupted_upload_leaves_no_file(folder: Path) -> None:
    async def broken(begin: Begin) -> None:
        begin("a.flac").write(b"audio")
        raise RefusedError(422, "the upload is incomplete")

    queue = ScoringQueue(lambda path, deadline: SongScore(song_id="", path=""), Limits(), Metrics("m"))
    with pytest.raises(RefusedError, match="incomplete"):
        asyncio.run(queue.answer(broken, _never, RequestRecord()))
    assert files_in(folder) == []


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("/a/b.mp3", "b.mp3"),
        ("C:\\x\\b.mp3", "b.mp3"),
        ("", "song"),
        ("..", ".."),
        ("a\x1b[31m\0\u202e.mp3", r"a\x1b[31m\x00\u202e.mp3"),
        ("ä" * 70_000, "ä" * 255),
    ],
)
def test_plain_names(name: str, plain: str) -> None:
    assert plain_name(name) == plain
