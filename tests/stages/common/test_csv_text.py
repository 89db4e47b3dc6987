"""CSV: any text reads back, no cell is a formula to a spreadsheet, numbers and other programs' files stay unchanged."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.csv_text import CsvError, read_rows, write_rows

CELLS = st.text() | st.text(st.sampled_from("'=+-@ ;\t\r\n\0\",.1e９＝＋－＠\u3000\x1c-"), max_size=8)
ROWS = st.lists(st.lists(CELLS, min_size=1, max_size=3), max_size=4)


def written(rows: list[list[object]]) -> str:
    file = io.StringIO(newline="")
    write_rows(file, rows)
    return file.getvalue()


def read(text: str, separator: str = ",") -> list[list[str]]:
    return [cells for _, cells in read_rows(io.StringIO(text, newline=""), separator=separator)]


@given(ROWS)
def test_any_text_reads_back(rows: list[list[str]]) -> None:
    assert read(written(rows)) == rows


@given(ROWS)
def test_cells_are_never_formulas(rows: list[list[str]]) -> None:
    text = written(rows)
    for cells in csv.reader(io.StringIO(text, newline="")):
        # With semicolons or tabs for separators, a spreadsheet finds cells within cells.
        for cell in (part for whole in cells for part in (whole, *re.split("[;\t]", whole))):
            begin = cell.lstrip(" \n\u3000\x1c")
            try:
                float(begin)
            except ValueError:
                formula = begin[:1] in {*"=@＝＠", "\r", "\0"} or (begin[:1] in {*"+-＋－"} and begin not in ("+", "-"))
                assert not formula, cell


@pytest.mark.parametrize(
    ("cell", "there"),
    [
        *(
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("-intro", "'-intro"),
            ("@home", "'@home"),
            (" +1+1", "' +1+1"),
        ),
        *(
            ("'=1", "''=1"),
            ("''=1", "'''=1"),
            ("＝1", "'＝1"),
            ("x;=1", "x;'=1"),
            ("\t=1", "'\t'=1"),
            ("-1-1", "'-1-1"),
        ),
        *(("'tis", "'tis"), ("a=b", "a=b"), ("-0.5", "-0.5"), ("+1e-05", "+1e-05"), ("-inf", "-inf"), ("-", "-")),
        *((-0.5, "-0.5"), (-1, "-1"), (float("-inf"), "-inf"), (None, ""), (True, "True"), ("\udcff", "\\udcff")),
    ],
)
def test_cells_as_written(cell: object, there: str) -> None:
    assert next(csv.reader(io.StringIO(written([["x", cell]]), newline=""))) == ["x", there]


def test_files_from_other_programs_read_unchanged() -> None:
    text = "song_id;=sum;-x\n'tis;-0.5;'quoted'\n@home;=1+1;+\n"
    assert read(text, ";") == [["song_id", "=sum", "-x"], ["'tis", "-0.5", "'quoted'"], ["@home", "=1+1", "+"]]


def test_lines_are_counted_and_named() -> None:
    rows = read_rows(io.StringIO('a\n"b\nc"\n\nd\n"e'))
    assert [next(rows) for _ in range(4)] == [(1, ["a"]), (2, ["b\nc"]), (4, []), (5, ["d"])]
    with pytest.raises(CsvError, match="unexpected end of data") as caught:
        next(rows)
    assert caught.value.line == 6


def test_long_cells_are_fast() -> None:
    for piece in ("'", " ", ";", "';", "-", "1", ".", "1.", "=", "\t", "-1e"):
        cell = piece * (60_000 // len(piece))
        assert read(written([[f"-{cell}", f"-{cell}x"]])) == [[f"-{cell}", f"-{cell}x"]]
