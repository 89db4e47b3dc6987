"""Pieces of which YAML, and text that is nearly YAML, can be put together."""

# fmt: off
YAML_PIECES = [
    "head", "demo", "seed", "beta", "layers", "streams", "device", "<<", "a", "ä", "\x1b[2J", "\u202e",
    ": ", ":", "\n", "\n  ", "- ", "? ", ", ", "[", "]", "{", "}",
    "&a ", "*a", "!!int ", "!x ", "!<", "|\n ", ">-\n ",
    "1", "-0.5", "1:30", "0x1f", "1e9", ".inf", ".nan", "2026-01-01", "yes", "null", "~",
    "''", '"\\x1b"', "'", '"',
    "# c\n", "--- ", "...\n", "%YAML 1.1\n---\n", "%TAG ! x\n",
    "\t", "\r", "\r\n", "\0", "\ufeff", "9" * 400, "=", "@", "`",
]
# fmt: on
