"""The table on a terminal: it fits into 80 columns, and every name and number is readable."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.show.tables import print_scores
from stages.scoring.rows import SongScore
from stages.songs import DIMENSIONS

SPREAD = dict.fromkeys(DIMENSIONS, 0.25)
ROWS = [
    SongScore(song_id="a", path="/music/süß/a.mp3", group="x", scores=dict.fromkeys(DIMENSIONS, 3.0), spread=SPREAD),
    SongScore(song_id="b", path="/music/b.mp3", scores=dict.fromkeys(DIMENSIONS, 4.5), spread=SPREAD, novelty=1.5),
    SongScore(
        song_id="c", path="/music/[red]c\x1b[2J.mp3", group="x", error="soundfile does not read it " + 30 * "very "
    ),
]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """A function that returns the lines on a terminal of a given width, without their colours."""

    def show(rows: list[SongScore], columns: int, **about: object) -> list[str]:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(columns))
        print_scores(rows, DIMENSIONS, **about)  # type: ignore[arg-type]
        return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()

    return show


def test_a_wide_terminal_has_a_song_and_its_spread_in_one_line(printed: Callable[..., list[str]]) -> None:
    lines = printed(ROWS, 140, by="system")
    assert lines[0].strip() == "in /music"
    words = [line.split() for line in lines]
    assert ["song", "system", *DIMENSIONS, "Mean"] in words
    assert ["süß/a.mp3", "x", *(["3.00", "±", "0.25"] * 5), "3.00"] in words
    assert ["b.mp3", *(["4.50", "±", "0.25"] * 5), "4.50"] in words
    assert words[words.index(["b.mp3", *(["4.50", "±", "0.25"] * 5), "4.50"]) + 1] == ["⚠", "novelty", "1.50"]
    # A failed song counts nowhere; its name is not markup and cannot clear the screen.
    assert ["[red]c\\x1b[2J.mp3", "x", *("–" * 6)] in words
    assert ["x", "1", *(["3.00"] * 6)] in words
    assert ["(none)", "1", *(["4.50"] * 6)] in words
    assert ["median", *(["3.75"] * 6)] in words


def test_other_models_share_a_wide_table_and_have_their_own_on_a_narrow_one(
    printed: Callable[..., list[str]],
) -> None:
    rows = [
        SongScore(
            song_id=f"s{number}",
            path=f"/music/song {number}.mp3",
            scores=dict.fromkeys(DIMENSIONS, float(number)),
            beside={"box": {"CE": 9.0 - number, "PQ": 1.0}} if number else {},
            beside_errors={} if number else {"box": "no"},
        )
        for number in range(5)
    ]
    wide = [line.split() for line in printed(rows, 140)]
    assert ["song", *DIMENSIONS, "Mean", "CE", "PQ"] in wide
    assert ["song", "4.mp3", *["4.00"] * 6, "5.00", "1.00"] in wide
    assert ["song", "0.mp3", *["0.00"] * 6, "–", "–"] in wide
    assert ["⚠", "box", "failed"] in wide
    # Of the four songs that both models scored.
    assert ["mean", *["2.00"] * 6, "6.50", "1.00"] in wide
    assert ["CE", *["-1.00"] * 6] in wide
    assert ["PQ", *["–"] * 6] in wide
    assert wide[-1] == ["song", "4.mp3:", "place", "1", "of", "4", "here,", "4", "by", "box"]
    narrow = [line.split() for line in printed(rows, 66)]
    assert ["song", "4.mp3", *["4.00"] * 6] in narrow
    assert ["song", "4.mp3", "5.00", "1.00"] in narrow


def test_warnings_are_below_the_song_and_the_caution_below_all_songs(printed: Callable[..., list[str]]) -> None:
    silent = replace(ROWS[1], loudest=-140.0, caution="trained on the demo: meaningless for music")
    lines = [line.strip() for line in printed([ROWS[0], silent], 140)]
    below = lines.index("⚠ silence")
    assert lines[below - 1].startswith("b.mp3")
    assert lines[below + 1] == "⚠ novelty 1.50"
    assert lines[-1] == "⚠ trained on the demo: meaningless for music"
    # Also if only statistics are printed, beside JSON lines for a program.
    assert printed([silent], 140, top=0)[-1] == "⚠ trained on the demo: meaningless for music"
    assert not any("demo" in line for line in printed(ROWS, 140))


def test_a_narrow_terminal_breaks_headings_and_puts_the_spread_below(printed: Callable[..., list[str]]) -> None:
    lines = printed(ROWS, 80)
    assert max(map(len, lines)) <= 80
    words = [line.split() for line in lines]
    assert ["Cohe-", "Music-", "Memora-", "Natur-"] in words
    assert ["song", "rence", "ality", "bility", "Clarity", "alness", "Mean"] in words
    below = words.index(["süß/a.mp3", *(["3.00"] * 6)]) + 1
    assert words[below] == ["±", "0.25"] * 5
    # The reason is shortened: it was printed in full when the song failed.
    first = words.index(["[red]c\\x1b[2J.mp3", *("–" * 6)]) + 1
    reason = " ".join(line.strip() for line in lines[first : lines.index(" " * 80, first)])
    assert reason.startswith("failed: soundfile does not read it very")
    assert reason.endswith("…")
    assert len(reason) == len("failed: ") + 80


def test_a_single_score_leaves_room_for_its_heading(
    printed: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.DIMENSIONS", ("Musicality",))
    lines = printed([SongScore(song_id="a", path="a.mp3", scores={"Musicality": 3.25})], 80)
    assert [line.split() for line in lines if "a" in line] == [["song", "Musicality"], ["a.mp3", "3.25"]]


def test_songs_without_a_common_folder_have_their_full_path(printed: Callable[..., list[str]]) -> None:
    one = printed(ROWS[:1], 140)
    assert sum("/music/süß/a.mp3 " in line for line in one) == 1
    assert not any("mean" in line for line in one)
    mixed = [
        SongScore(song_id="d", path="d.mp3", scores=ROWS[0].scores),
        SongScore(song_id="e", path="", scores=ROWS[0].scores),
    ]
    lines = printed([*ROWS, *mixed], 140)
    assert not lines[0].strip().startswith("in ")
    for name in ("/music/süß/a.mp3", "/music/b.mp3", "d.mp3", "e"):
        assert sum(line.split()[:1] == [name] for line in lines) == 1
