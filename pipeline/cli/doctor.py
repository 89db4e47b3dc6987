"""`hear doctor`: check this machine, and say how to fix what is wrong."""

from typing import TYPE_CHECKING

import typer

from pipeline.cli.options import Json
from pipeline.cli.pages import App
from pipeline.show.output import say, say_json

if TYPE_CHECKING:
    from pipeline.doctor import Finding

app = App()


@app.command(no_args_is_help=False)
def doctor(as_json: Json = False) -> None:
    """Check this machine: versions, space, weights, hub, decoder and devices; say how to fix what is wrong.

    Nothing is downloaded or changed. The exit code is 1 if there is a problem, and 0 if there are only warnings.

    Example:
      hear doctor
    """
    from pipeline.doctor import count_states, examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        say_json([finding.to_json() for finding in findings], indent=2)
    else:
        say(count_states(findings))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)


def _show(finding: "Finding") -> None:
    say(f"{finding.state:8} {finding.check:16} {finding.found}")
    if finding.fix:
        say(f"{'':25} → {finding.fix}")
