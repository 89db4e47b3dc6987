"""A random system call fails in a random command, once or from then on; see `tests/faults/disk.py`."""

from typing import Any


def test_a_disk_that_fails(campaign: Any, faulty_disk: Any) -> None:
    counts: dict[str, dict[str, int]] = {}
    for rng in campaign:
        command = rng.choice(list(faulty_disk.commands))
        if command not in counts:
            counts[command] = faulty_disk.calls(command)
        kind = rng.choice([kind for kind, count in counts[command].items() if count])
        nth, error = rng.randint(1, counts[command][kind]), rng.choice(faulty_disk.errors)
        found = faulty_disk.run_with_fault(command, kind, nth, error, last=rng.choice([nth, 1 << 30]))
        campaign.count("faults")
        campaign.count("refused" if found.status else "overcome")
        assert not found.problems, (command, kind, nth, error, found)
