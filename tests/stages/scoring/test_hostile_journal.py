"""A journal with any content: `--resume` reads rows of the right types, or nothing."""

import json
from pathlib import Path

from stages.scoring.files import write_csv, write_json
from stages.scoring.journal import Journal, read_journal
from stages.scoring.over_time import Curve
from stages.scoring.rows import SongScore
from tests.store.hostile import TEXTS, VALUES, attempt, places, put

ROW = SongScore(
    song_id="a",
    path="a.mp3",
    group="g",
    scores={"Clarity": 3.25},
    spread={"Clarity": 0.5},
    novelty=1.5,
    loudest=-3.0,
    damage={"truncated": True, "missing": 1.5, "skipped": 2},
    caution="c",
    seconds=61.0,
    curve=Curve(seconds=(5.0, 7.0), window=10.0, hop=2.0, scores={"Clarity": (3.0, 3.5)}),
    source="sha256:aa",
    model="sha256:bb",
)


def test_hostile_values_in_a_row(tmp_path: Path) -> None:
    good = json.loads(json.dumps(ROW.to_json()))
    for place in places(good):
        for value in VALUES:
            row = json.loads(json.dumps(good))
            put(row, place, value)
            (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(ROW.to_json())}\n")
            rows = [*read_journal(tmp_path / "rows.jsonl").values()]
            assert ROW.song_id in [found.song_id for found in rows]
            if rows == [ROW]:
                continue
            for found in rows:
                json.dumps(found.to_json(), allow_nan=False)
                assert (found.notes, found.warning, found.overall) is not None
            write_csv(tmp_path / "rows.csv", rows, ["Clarity"])
            write_json(tmp_path / "rows.json", rows)


def test_hostile_lines(tmp_path: Path) -> None:
    for kind in TEXTS.keys() - {"too large"}:  # a limit on one document; a journal has many lines
        path = tmp_path / "rows.jsonl"
        path.write_bytes(json.dumps(ROW.to_json()).encode() + b"\n" + TEXTS[kind])
        problem = attempt(lambda: len(read_journal(path)))  # noqa: B023
        assert not problem or str(path) in problem
        attempt(lambda: Journal(path, fresh=False).close())  # noqa: B023
