"""A failing system call at evenly spread points of each command: one line, no file lost, and the next run succeeds.

`tests/stress/test_faults.py` covers all points.
"""

from typing import Any

import pytest

# Number of faults to try per kind of call.
TRIED = {
    "folder": {"write": 1, "change": 1},
    "extract": {"open": 1, "read": 2, "write": 1, "change": 1, "close": 1},
    "merge": {"open": 1, "read": 1, "write": 1, "change": 1},
    "train": {"write": 1, "close": 1},
    "score": {"read": 1, "write": 1},
}


@pytest.mark.parametrize("command", TRIED)
def test_a_call_that_fails(faulty_disk: Any, command: str) -> None:
    wrong, counts = [], faulty_disk.calls(command)
    for kind, tried in TRIED[command].items():
        calls = counts[kind]
        for number in range(tried):
            nth = 1 + (2 * number + 1) * calls // (2 * tried)
            error = faulty_disk.errors[(nth + number) % len(faulty_disk.errors)]
            found = faulty_disk.run_with_fault(command, kind, nth, error)
            if found.problems:
                wrong.append((kind, nth, error, *found))
    assert not wrong
