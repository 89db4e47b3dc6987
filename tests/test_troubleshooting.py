"""docs/troubleshooting.md: every quoted message is one that the code can print."""

import ast
import difflib
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GAP = "…"


def texts() -> Iterator[str]:
    """All texts of the code, with a gap for each value that is filled in."""
    for room in ("hear_music", "pipeline", "stages", "store"):
        for path in (ROOT / room).rglob("*.py"):
            inside: set[ast.AST] = set()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    inside.update(node.values)
                    yield "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
                    yield node.value


def test_every_quoted_message_is_in_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^> (.+)$", page, re.MULTILINE)
    assert len(quoted) > 30
    known = sorted(set(texts()))
    gone = {}
    for message in quoted:
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in message.split(GAP)), re.DOTALL)
        if not any(map(pattern.search, known)):
            gone[message] = difflib.get_close_matches(message, known, n=2, cutoff=0.3)
    assert not gone, f"no message of the code says this; similar texts: {gone}"
