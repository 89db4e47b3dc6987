"""Campaigns: tests with random input until their time is over. `make stress` runs them; `make test` does not.

A campaign loops over the fixture `campaign`; each turn gives a seeded generator. To repeat a failed turn, use the seed
in the report: `make stress SEED=…`.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Seconds for all campaigns together, and the seed of the first turn of each."""
    parser.addoption("--seconds", type=float, default=300.0)
    parser.addoption("--seed", type=int, default=0)


class Campaign:
    """An iterator over random generators, one per turn, until the campaign's share of the time is over.

    Parameters
    ----------
    name
        Name of the test.
    seconds
        Time in which turns start; there is at least one.
    seed
        Seed of the first turn; each further turn adds one.
    """

    def __init__(self, name: str, seconds: float, seed: int) -> None:
        self.name = name
        self.seconds = seconds
        self.counts: Counter[str] = Counter()
        self._seed = seed

    def __iter__(self) -> Iterator[random.Random]:
        begun = time.monotonic()
        turn = 0
        while not turn or time.monotonic() - begun < self.seconds:
            self.counts["turns"] += 1
            self.turn_seed = self._seed + turn
            yield random.Random(self.turn_seed)
            turn += 1

    def count(self, what: str, number: int = 1) -> None:
        """Add to a figure of the summary, such as the number of refused inputs."""
        self.counts[what] += number

    @property
    def line(self) -> str:
        """The campaign's figures."""
        return f"{self.name}: " + ", ".join(f"{number} {what}" for what, number in self.counts.items())


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Iterator[Campaign]:
    """This test's campaign; all campaigns share the option `--seconds` equally."""
    config = request.config
    campaigns = sum("campaign" in getattr(item, "fixturenames", ()) for item in request.session.items)
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    seconds = config.getoption("--seconds") * min(1.0, processes / campaigns)
    made = Campaign(request.node.name, seconds, config.getoption("--seed"))
    yield made
    request.node.user_properties.append(("campaign", made.line))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Name the seed of the turn that failed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    made = getattr(item, "funcargs", {}).get("campaign")
    if report.failed and isinstance(made, Campaign) and hasattr(made, "turn_seed"):
        report.sections.append(("campaign", f"run it again with: make stress SEED={made.turn_seed}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of all campaigns."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            # Properties that a fixture adds after its test are in the report of the teardown.
            if getattr(report, "when", "") == "teardown":
                for name, line in report.user_properties:
                    if name == "campaign":
                        terminalreporter.write_line(line)
